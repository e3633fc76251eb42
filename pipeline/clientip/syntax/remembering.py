"""Remembering what was made of text that others write: bounded by bytes, because clients choose how long it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

MEMORY_BYTES: Final = 4 * 1024 * 1024  # of all that one function remembers, about
LONGEST_BYTES: Final = 16 * 1024  # of one key; what is made of a longer one is made again each time

_OF_TEXT: Final = 80  # bytes of a string beside its characters, and of its place in a tuple
_OF_ENTRY: Final = 1000  # bytes of what is made, and of its place among the others

Made = TypeVar("Made")


def remembering(make: Callable[[tuple[str, ...]], Made]) -> Callable[[tuple[str, ...]], Made]:
    """`make`, with its last results remembered by their keys; it must give something else than None.

    Where the memory is full everything is forgotten: keys that come again and again are soon back, and whoever
    sends others all the time only costs himself what they cost.

    >>> made = remembering(lambda keys: len(keys))
    >>> made(("a", "b")), made(("a", "b"))
    (2, 2)
    """
    held: dict[tuple[str, ...], Made] = {}
    known, left = held.get, MEMORY_BYTES

    def remembered(keys: tuple[str, ...]) -> Made:
        found = known(keys)
        if found is not None:
            return found
        nonlocal left
        found = make(keys)
        size = sum(map(len, keys)) * 4 + len(keys) * _OF_TEXT  # a character may take four bytes
        if size <= LONGEST_BYTES:
            if size + _OF_ENTRY > left:
                held.clear()
                left = MEMORY_BYTES
            held[keys] = found
            left -= size + _OF_ENTRY
        return found

    return remembered
