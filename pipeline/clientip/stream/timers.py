"""When to look at open questions again: at a moment of the clock, or once their witnesses have told more."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Final

_NUMBER_BITS: Final = 48  # of a question's number
_NUMBER_MASK: Final = (1 << _NUMBER_BITS) - 1


class Timers:
    """Questions by the moment at which they are due. A question may have several timers.

    >>> timers = Timers()
    >>> timers.set(20, 1)
    >>> timers.set(10, 2)
    >>> timers.pop_due(15), timers.pop_due(15)
    (2, None)
    """

    def __init__(self) -> None:
        self._heap: list[int] = []  # moment and number as one integer: half the memory of a pair, in the same order

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, moment_ns: int, number: int) -> None:
        """Let question `number` be due at that moment."""
        heapq.heappush(self._heap, moment_ns << _NUMBER_BITS | number)

    def pop_due(self, now_ns: int) -> int | None:
        """The number of the question that is due first, and its timer is gone; None if no question is due yet."""
        if not self._heap or self._heap[0] >> _NUMBER_BITS > now_ns:
            return None
        return heapq.heappop(self._heap) & _NUMBER_MASK


class EvidenceTimers:
    """Questions by the moment up to which their witnesses must have told everything."""

    def __init__(self) -> None:
        self._groups: dict[tuple[tuple[str, ...], str], Timers] = {}  # (witnesses, address asked about) → timers

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def set(self, witnesses: tuple[str, ...], source: str, need_ns: int, number: int) -> None:
        """Let question `number` be due when these witnesses have told everything of `source` up to that moment."""
        self._groups.setdefault((witnesses, source), Timers()).set(need_ns, number)

    def pop_due(self, told_until: Callable[[tuple[str, ...], str], int]) -> Iterator[int]:
        """Numbers of the questions that are due. The caller may stop early: the others stay due.

        `told_until`: up to which moment these witnesses have told everything of an address.
        """
        for group, timers in list(self._groups.items()):
            moment_ns = told_until(*group)
            number = timers.pop_due(moment_ns)
            while number is not None:
                if not timers:
                    del self._groups[group]
                yield number
                number = timers.pop_due(moment_ns)
