"""Where the word of a log has a hole, in a stream: what readers say of it, and what answerers keep.

A reader knows of one log (a raw partition and an instance) what `joins.holes` knows of a file, but it does not know
the line that comes next.  So it says that a hole begins, and says where it ends as soon as a line is understood again.
A reader that takes a partition over does not know whether a hole is open there: it says with its first line that none
is open any more.  Units: ns since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from msgspec import Struct

from clientip.joins.flows import FOREVER, NEVER
from clientip.joins.holes import Hole, WriteTime, merged

MAX_HOLES: Final = 256  # of one system's instance; of more, neighbours become one, which only claims less


class HoleNews(Struct, frozen=True, gc=False, array_like=True):
    """What a reader says of one log."""

    system: str
    instance: str
    log: str  # topic and partition
    begin: int | None  # None: what was open ends here
    end: int = FOREVER  # FOREVER: it is open


class LogWatch:
    """The lines of one log as a reader reads them."""

    def __init__(self, system: str, instance: str, log: str, longest: int) -> None:
        self._name, self._longest = (system, instance, log), longest
        self._last: int | None = None
        self._disorder = self._slack = self._later = 0
        self._broken = self._is_open = False
        self._is_new = True  # a reader before this one may have told of a hole that is open
        self._news: list[HoleNews] = []

    def see(self, written: WriteTime | None, tried: Hole | None = None) -> None:
        """One more line: when it was written; None: it was not understood, or does not say when.

        `tried`: when its request may have been on a connection that it does not show.
        """
        if tried is not None:
            self._news.append(HoleNews(*self._name, *tried))
        if written is None:
            self._broken = True
            return
        moment, slack, is_begin = written
        latest = moment if self._last is None else max(self._last, moment)
        self._slack = max(self._slack, slack)
        self._disorder = max(self._disorder, latest - moment)
        self._later = self._longest if is_begin else self._later
        end = latest + self._disorder + self._slack + self._later
        if self._broken:
            self._news.append(HoleNews(*self._name, self._begin(), end))
        if self._is_open or self._is_new:
            self._news.append(HoleNews(*self._name, None, end))
        self._broken = self._is_open = self._is_new = False
        self._last = latest

    def news(self) -> Sequence[HoleNews]:
        """What is new since the last call; to be called at the end of every batch."""
        if self._broken and not self._is_open:
            self._news.append(HoleNews(*self._name, self._begin()))
            self._is_open = True
        found, self._news = self._news, []
        return found

    def _begin(self) -> int:
        return NEVER if self._last is None else self._last - self._disorder - self._slack - self._longest


class HoleStore:
    """All holes that readers have told of; what one reader says of one log comes in its order."""

    def __init__(self, said: Iterable[HoleNews] = ()) -> None:
        self._holes: dict[str, dict[str, dict[tuple[str, int], int]]] = {}  # system, instance, (log, begin) → end
        for each in said:
            self.note(each)

    def note(self, news: HoleNews) -> None:
        """One more word of a reader."""
        of_instance = self._holes.setdefault(news.system, {}).setdefault(news.instance, {})
        if news.begin is None:
            for (log, begin), end in of_instance.items():
                if log == news.log and end == FOREVER:
                    of_instance[log, begin] = news.end
            return
        before = of_instance.get((news.log, news.begin), FOREVER)
        # Two holes begin alike where only one line was understood between them.
        of_instance[news.log, news.begin] = news.end if before == FOREVER else max(before, news.end)
        if len(of_instance) > MAX_HOLES:
            self._holes[news.system][news.instance] = _fewer(of_instance)

    def state(self, system: str, instances: Sequence[str] | None, low: int, high: int) -> Literal["lost", "no"] | None:
        """Whether the log of `system` may miss something of [low, high]; None: it does not.

        `instances`: whose logs alone count; None: all.  `no`: more may be known later.
        """
        ends = [
            end
            for instance, of_instance in self._holes.get(system, {}).items()
            if instances is None or instance in ("", *instances)
            for (_, begin), end in of_instance.items()
            if begin <= high and low <= end
        ]
        if not ends:
            return None
        return "no" if FOREVER in ends else "lost"

    def listed(self) -> tuple[HoleNews, ...]:
        """Everything, for a successor."""
        return tuple(
            HoleNews(system, instance, log, begin, end)
            for system, of_system in self._holes.items()
            for instance, of_instance in of_system.items()
            for (log, begin), end in of_instance.items()
        )


def _fewer(holes: dict[tuple[str, int], int]) -> dict[tuple[str, int], int]:
    """Those that are open as they are; of the others half as many, which hold the same moments."""
    open_ = {key: end for key, end in holes.items() if end == FOREVER}
    closed = merged((begin, end) for (_, begin), end in holes.items() if end != FOREVER)
    pairs = (closed[at : at + 2] for at in range(0, len(closed), 2))
    return open_ | {("", pair[0][0]): pair[-1][1] for pair in pairs}
