"""Text that others wrote, made fit for the operator's eyes."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text without control characters: a hostile header must not drive the reader's terminal.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
