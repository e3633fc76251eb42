"""Up to when the witnesses of a stream have told everything: watermarks of raw partitions, and runs of numbered lines.

They are two kinds of evidence. A run, numbered lines without a gap, proves that no line of its stretch is missing. A
watermark says up to which append time a reader has read. With `arrives_within` it follows which lines must have come,
and with `longest` which requests must be over and so logged: for both, the operator's word is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from msgspec import Struct

from clientip.joins.connections import MAX_ACCEPT_NS
from clientip.joins.coverage import Coverage, Run, Witness, shown_since, stitch
from clientip.joins.flows import NEVER
from clientip.joins.join import Joining
from clientip.model import Address, System
from clientip.settings import Feed
from clientip.stream.holes import HoleNews, HoleStore
from clientip.stream.join_messages import Watermark

MAX_RUNS: Final = 256  # of one witness; the latest are kept
SILENCE_NS: Final = MAX_ACCEPT_NS + 5_000_000_000  # how long to wait for a NAT device's log to say that it did nothing
WATERMARK_NS: Final = 3_000_000_000  # how long a watermark takes to come: an idle reader sends one each second
_RUNS_BEFORE_STITCH: Final = 2 * MAX_RUNS
_STILL_NS: Final = 10_000_000_000  # a reader whose watermark has not risen for so long is not catching up


class _Last(Struct, gc=False):
    """The last watermark of one raw partition."""

    upto_ns: int
    at_end: bool
    partitions: int
    rose_ns: int  # when it rose last, by the clock of the join partition


class Watermarks:
    """All watermarks and runs so far, under no configuration in particular."""

    def __init__(self, runs: Iterable[tuple[str, str, tuple[Run, ...]]] = (), holes: Iterable[HoleNews] = ()) -> None:
        self.holes = HoleStore(holes)
        self._last: dict[tuple[str, str], dict[int, _Last]] = {}  # (system, topic) → partition
        self._runs: dict[Witness, list[Run]] = {}
        self.version = 0  # rises with the runs
        self._changed: dict[Witness, int] = {}  # version with which the runs of a witness changed last
        for system, instance, each in runs:
            self.run(system, instance, each)

    def watermark(self, watermark: Watermark, appended_ns: int) -> None:
        """Take a reader's watermark. It cannot speak of messages that were appended after itself."""
        upto_ns = min(watermark.upto_ns, appended_ns)
        said = self._last.setdefault((watermark.system, watermark.topic), {})
        before = said.get(watermark.partition)
        if before is None:
            said[watermark.partition] = _Last(upto_ns, watermark.at_end, watermark.partitions, appended_ns)
            return
        before.at_end, before.partitions = watermark.at_end, watermark.partitions
        if upto_ns > before.upto_ns:
            before.upto_ns, before.rose_ns = upto_ns, appended_ns

    def run(self, system: str, instance: str, runs: Iterable[Run]) -> None:
        """Take runs of a witness, in any order and any number of times."""
        held = self._runs.setdefault((system, instance), [])
        for run in runs:
            last = held[-1] if held else None
            if last is None or (run.session, run.first) != (last.session, last.first):
                held.append(run)
            elif run.last > last.last:
                held[-1] = run
        self.version += 1
        self._changed[system, instance] = self.version
        if len(held) > _RUNS_BEFORE_STITCH:
            held[:] = sorted(stitch(held), key=lambda run: run.to_ns)[-MAX_RUNS:]

    def runs(self) -> dict[Witness, list[Run]]:
        """All runs, by witness."""
        return self._runs

    def changed(self, since: int) -> list[Witness]:
        """The witnesses whose runs changed after that version."""
        return [witness for witness, version in self._changed.items() if version > since]

    def listed(self) -> list[tuple[str, str, tuple[Run, ...]]]:
        """All runs, as the changelog takes them."""
        return [(*witness, tuple(stitch(runs))) for witness, runs in sorted(self._runs.items())]

    def read_upto(self, system: str, topics: Iterable[str]) -> int:
        """Up to which append time all partitions of these topics have been read; NEVER: not known."""
        moments = [NEVER] if not topics else []
        for topic in topics:
            said = self._last.get((system, topic))
            if said is None or len(said) < max(each.partitions for each in said.values()):
                return NEVER
            moments += [each.upto_ns or NEVER for each in said.values()]
        return min(moments)

    def any(self, system: str, topics: Iterable[str]) -> bool:
        """Whether any watermark of the system has come."""
        return any((system, topic) in self._last for topic in topics)

    def catches_up(self, system: str, topics: Iterable[str], clock_ns: int) -> bool:
        """Whether a partition is not read to its end, and its watermark rises."""
        said = [each for topic in topics for each in self._last.get((system, topic), {}).values()]
        return any(not each.at_end and clock_ns - each.rose_ns < _STILL_NS for each in said)


def _end(runs: list[Run]) -> int:
    return max((run.to_ns for run in runs), default=NEVER)


def _wait_ns(feed: Feed) -> int:
    return feed.arrives_ns + (feed.longest_ns if feed.bounded else 0) + WATERMARK_NS


def longest_wait_ns(feeds: Iterable[Feed]) -> int:
    """How long any question waits under its first key, if no lines are read with a delay."""
    return max([SILENCE_NS, *map(_wait_ns, feeds)])


class View:
    """The watermarks and runs as one configuration understands them. Call `renew` when more have come."""

    def __init__(self, watermarks: Watermarks, joining: Joining, feeds: Mapping[str, Feed]) -> None:
        self._watermarks, self._feeds = watermarks, feeds
        self.joining = joining
        self.systems: Mapping[str, System] = joining.graph.systems
        self._version = -1
        self._coverage = joining.coverage({})
        self._told: dict[str, int] = {}
        self._reach: dict[str, int] = {}  # up to when the runs of a system's instances reach, all together
        self._of_address: dict[tuple[str, str], list[str]] = {}
        for name, drawn in self.systems.items():
            for instance, own in drawn.instances:
                for address in {each.address.text for each in own}:
                    self._of_address.setdefault((name, address), []).append(instance)

        self.longest_wait_ns = longest_wait_ns(feeds.values())

    def renew(self) -> None:
        """Take in everything that has come since the last call."""
        self._told.clear()
        self._reach.clear()
        for witness in self._watermarks.changed(self._version):
            if witness[0] in self.systems:
                self._coverage.tell(witness, self._watermarks.runs()[witness])
        self._version = self._watermarks.version

    def coverage(self) -> Coverage:
        """The stretches that runs cover."""
        return self._coverage

    def told_until(self, system: str) -> int:
        """Requests and connections begun up to then are over and logged, by the operator's word; NEVER: not known."""
        found = self._told.get(system)
        if found is None:
            feed = self._feeds.get(system)
            is_known = feed is not None and (feed.bounded or self.systems[system].writes_begins)
            read = self._watermarks.read_upto(system, feed.topics) if feed is not None and is_known else NEVER
            stay = 0 if feed is None or self.joining.has_begins_only(system) else feed.longest_ns
            found = NEVER if feed is None or read == NEVER else read - feed.arrives_ns - stay
            self._told[system] = found
        return found

    def reach(self, system: str, source: str) -> int:
        """Up to which moment a system's watermarks and runs speak about this address."""
        listed, runs = self._of_address.get((system, source)), self._watermarks.runs()
        if listed:
            ends = [_end(runs[system, instance]) for instance in listed if (system, instance) in runs]
            return max(self.told_until(system), max(ends, default=NEVER))
        found = self._reach.get(system)
        if found is None:
            found = max((_end(each) for (name, _), each in runs.items() if name == system), default=NEVER)
            self._reach[system] = found
        return max(self.told_until(system), found)

    def missing(self, system: str, low: int, high: int) -> str | None:
        """Whether lines of [low, high] were not understood: `lost`, or `no` if more will be known; None: they were."""
        return self._watermarks.holes.state(system, None, low, high)

    def wait_ns(self, system: str) -> int:
        """How long after a question facts of this system may come for it."""
        feed = self._feeds.get(system)
        return 0 if feed is None else _wait_ns(feed)

    def is_silent(self, system: str) -> bool:
        """Whether no watermark of the system has come."""
        feed = self._feeds.get(system)
        return feed is None or not self._watermarks.any(system, feed.topics)

    def catches_up(self, system: str, clock_ns: int) -> bool:
        """Whether its lines are being read with a delay."""
        feed = self._feeds.get(system)
        return feed is not None and self._watermarks.catches_up(system, feed.topics, clock_ns)


class Licence:
    """Whether witnesses have told everything of a stretch, for one question. It keeps the answers it gave."""

    def __init__(self, view: View, forgotten: Callable[[str], int]) -> None:
        self._view, self._forgotten = view, forgotten  # forgotten(system): up to which moment facts were dropped
        self.states: set[str] = set()
        self.need_ns = NEVER  # up to which moment the witnesses would have to tell everything

    def __call__(self, system: str, source: Address | None, low: int, high: int, fresh: bool) -> str:
        """As `joins.IsCovered`."""
        state: str = "no"
        drawn = self._view.systems[system]
        since = shown_since(drawn, low, fresh=fresh) if drawn.lossless else low
        if since is not None and self._forgotten(system) < since:
            if drawn.lossless:
                word = "word" if self._view.told_until(system) >= high else "no"
                state = self._view.missing(system, since, high) or word
            else:
                state = self._view.coverage().of(system, source, low, high, fresh=fresh)
            if state not in ("yes", "word"):
                self.need_ns = max(self.need_ns, high)
        self.states.add(state)
        return state
