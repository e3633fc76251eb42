"""The three errors, by who must act: the data's author, the operator, the world.

Bad data becomes a value (`model.Rejected`) at the engine; nothing else is ever raised on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class FormatError(ValueError):
    """Bytes that cannot be read as what they claim to be.

    `reason` is a word of `reasons.REJECTED`, or for one address or header the
    finer word of the function that raised it.  `at` is the byte (or character)
    offset of the first unreadable place; None means the whole.

    >>> str(FormatError("port", 9))
    'port at 9'
    """

    def __init__(self, reason: str, at: int | None = None) -> None:
        super().__init__(reason if at is None else f"{reason} at {at}")
        self.reason = reason
        self.at = at


class Fault(NamedTuple):
    """One thing that is wrong in the configuration, and what to write instead."""

    file: str  # path as given; "" for faults that belong to no file
    key: str  # dotted TOML key, e.g. systems.ingress.format
    text: str  # one sentence: what is wrong and what to write instead

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.key) if part)
        return f"{place}: {self.text}" if place else self.text


class ConfigError(Exception):
    """What the operator must mend; holds every fault, not just the first.

    >>> print(ConfigError([Fault("c.toml", "systems.a.format", "unknown format 'x'")]))
    c.toml: systems.a.format: unknown format 'x'
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


class SinkError(Exception):
    """The world failed us: a file, a disk, a socket.

    `retry` says whether trying the same again may help.
    """

    def __init__(self, text: str, *, retry: bool) -> None:
        super().__init__(text)
        self.retry = retry
