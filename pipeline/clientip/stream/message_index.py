"""Where the messages of a join partition stand: from which one a successor has to read again."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class MessageStart(NamedTuple):
    """One message."""

    offset: int
    number: int  # of its first question
    appended_ns: int


class MessageIndex:
    """The messages of one partition, in the order of their offsets; append times do not fall."""

    def __init__(self) -> None:
        self._starts: deque[MessageStart] = deque()

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, offset: int, number: int, appended_ns: int) -> None:
        """The next message."""
        self._starts.append(MessageStart(offset, number, appended_ns))

    def first_from(self, offset: int) -> MessageStart | None:
        """The first message at or after `offset`; None if there is none."""
        return next((each for each in self._starts if each.offset >= offset), None)

    def first_since(self, moment_ns: int) -> int:
        """Offset of the first message appended then or later; of the last message if all are older; 0 without any."""
        for each in self._starts:
            if each.appended_ns >= moment_ns:
                return each.offset
        return self._starts[-1].offset if self._starts else 0

    def drop_before(self, offset: int | None) -> None:
        """Forget the messages before `offset` (None: all), but always keep the last one."""
        while len(self._starts) > 1 and (offset is None or self._starts[0].offset < offset):
            self._starts.popleft()
