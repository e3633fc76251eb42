"""Over which stretches of time a witness has told everything.

A collector numbers its lines, so a stretch is told whole where no number is missing
between its first and its last line.  `lossless` is the operator's word for all time.
Runs are a set: they may come in any order and any number of times.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

from clientip.joins.flows import Stretches
from clientip.model import Address, Numbered, System

MAX_RUNS: Final = 100_000  # of one instance; a log in such disorder covers nothing
NAMES_BYTES: Final = 8 * 1024 * 1024  # of the instances whose runs are told apart, about; there are few, and few nodes
OTHERS: Final = "\0others"  # stands for all further instances
_OF_WITNESS: Final = 500  # bytes of what is held beside a name

Covered = Literal["yes", "word", "lost", "no"]


class Run(Struct, frozen=True, gc=False, array_like=True):
    """Numbered lines of one session without a missing number."""

    session: str
    first: int
    last: int
    from_ns: int
    to_ns: int
    fresh: bool  # began with a list of everything that was there: what is not told did not exist


Witness = tuple[str, str]  # system, instance


class Runs:
    """The runs of one witness's lines as they are read; lines in order cost nothing."""

    __slots__ = ("_open", "done")

    def __init__(self) -> None:
        self._open: Run | None = None
        self.done: list[Run] = []

    def add(self, line: Numbered) -> None:
        """One more line of the log."""
        run = self._open
        if run is not None and line.session == run.session and line.number == run.last + 1 and not line.gap:
            self._open = Run(run.session, run.first, line.number, run.from_ns, max(run.to_ns, line.at_ns), run.fresh)
            return
        if run is not None:
            self.done.append(run)
        fresh = line.gap or line.number <= 1
        self._open = Run(line.session, line.number, line.number, line.since_ns, line.at_ns, fresh)

    def all(self) -> list[Run]:
        """Every run so far."""
        return self.done if self._open is None else [*self.done, self._open]


class _NoRuns(Runs):
    __slots__ = ()

    def add(self, line: Numbered) -> None:
        """Nothing is kept of it."""


class RunsByWitness(dict[Witness, Runs]):
    """The runs of every witness, as many as the memory for their names holds.

    Of the others only that there are some is kept, by an instance without any run: so the system covers nothing for
    which its instance is not known.
    """

    def __init__(self) -> None:
        super().__init__()
        self._left = NAMES_BYTES

    def __missing__(self, witness: Witness) -> Runs:
        system, instance = witness
        self._left -= len(instance) * 4 + _OF_WITNESS
        if self._left < 0 or instance == OTHERS:
            return self.setdefault((system, OTHERS), _NoRuns())
        runs = self[witness] = Runs()
        return runs


def stitch(runs: Iterable[Run]) -> tuple[Run, ...]:
    """The runs with neighbours joined, by session and number.

    >>> one, two = Run("s", 1, 4, 10, 40, True), Run("s", 5, 9, 50, 90, False)
    >>> stitch([two, one])
    (Run(session='s', first=1, last=9, from_ns=10, to_ns=90, fresh=True),)
    """
    joined: list[Run] = []
    for run in sorted(set(runs), key=lambda run: (run.session, run.first, not run.fresh, run.last)):
        last = joined[-1] if joined else None
        follows = last is not None and run.session == last.session and run.first <= last.last + 1
        # A run that begins with a list after a loss is a new one, whatever its number.
        if follows and last is not None and not (run.fresh and run.first > last.first):
            to_ns = max(run.to_ns, last.to_ns)
            joined[-1] = Run(last.session, last.first, max(run.last, last.last), last.from_ns, to_ns, last.fresh)
        else:
            joined.append(run)
    return tuple(joined)


def shown_since(system: System, from_ns: int, *, fresh: bool) -> int | None:
    """From when on a log without losses must be whole to show what held at `from_ns`; None: no stretch is enough.

    `fresh`: also what had begun earlier. A log of begins shows that only as far back as connections last.
    """
    if not fresh or not system.writes_begins:
        return from_ns
    return None if system.longest_ns is None else from_ns - system.longest_ns


class _Whole:
    """The stretches that runs cover, to find the one that holds another without looking at all."""

    def __init__(self, runs: Sequence[Run]) -> None:
        rising = sorted(runs, key=lambda run: run.from_ns)
        self._from = [run.from_ns for run in rising]
        self._to = list(accumulate((run.to_ns for run in rising), max))

    def holds(self, from_ns: int, to_ns: int) -> bool:
        """Whether one run covers all of it."""
        count = bisect_right(self._from, from_ns)
        return count > 0 and to_ns <= self._to[count - 1]

    def surrounds(self, from_ns: int, to_ns: int) -> bool:
        """Whether it lies between the first and the last moment of them all."""
        return bool(self._from) and self._from[0] <= from_ns and to_ns <= self._to[-1]


class Coverage:
    """What all witnesses of a run, or of a moment of the stream, have told whole."""

    def __init__(
        self,
        systems: Mapping[str, System],
        runs: Mapping[Witness, Iterable[Run]],
        holes: Mapping[Witness, Sequence[tuple[int, int]]] = MappingProxyType({}),
        written: Mapping[Witness, tuple[int, int]] | None = None,
    ) -> None:
        self._systems = systems
        self._written: dict[str, dict[str, tuple[int, int]]] | None = None if written is None else defaultdict(dict)
        for (system, instance), stretch in (written or {}).items():
            assert self._written is not None
            self._written[system][instance] = stretch
        self._holes: dict[str, dict[str, Stretches]] = defaultdict(dict)
        for (system, instance), stretches in holes.items():
            self._holes[system][instance] = Stretches(stretches)
        self._whole: dict[Witness, tuple[_Whole, _Whole]] = {}  # all runs, and those that began with a list
        self._instances: dict[str, list[str]] = defaultdict(list)
        for witness, each in sorted(runs.items()):
            self.tell(witness, each)
        self._of_address: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name, drawn in systems.items():
            for instance, own in drawn.instances:
                for address in {each.address.text for each in own}:
                    self._of_address[name, address].append(instance)

    def tell(self, witness: Witness, runs: Iterable[Run]) -> None:
        """All runs of one witness, in place of those that were known."""
        stitched = stitch(runs)
        stitched = stitched if len(stitched) <= MAX_RUNS else ()
        if witness not in self._whole:
            insort(self._instances[witness[0]], witness[1])
        self._whole[witness] = _Whole(stitched), _Whole([run for run in stitched if run.fresh])

    def of(self, system: str, address: Address | None, from_ns: int, to_ns: int, *, fresh: bool = False) -> Covered:
        """Whether `system` told everything of [from, to] that concerns connections from `address`.

        `word`: the operator says so; `lost`: it numbers its lines, and some of this stretch are missing;
        `no`: nothing says so.
        `fresh`: also of what had begun earlier.
        """
        listed = None if address is None else self._of_address.get((system, address.text))
        drawn = self._systems[system]
        if drawn.lossless:
            since_ns = shown_since(drawn, from_ns, fresh=fresh)
            if self._is_broken(system, listed, from_ns if since_ns is None else since_ns, to_ns):
                return "lost"
            return "word" if since_ns is not None and self._is_written(system, listed, since_ns, to_ns) else "no"
        instances = listed or self._instances.get(system, [])
        if not instances:
            return "no"
        found = {self._of_instance((system, instance), from_ns, to_ns, fresh=fresh) for instance in instances}
        return "yes" if found == {"yes"} else "lost" if "lost" in found else "no"

    def _is_broken(self, system: str, listed: Sequence[str] | None, from_ns: int, to_ns: int) -> bool:
        """Whether a line of that time was not understood, in a log that could hold the connection."""
        holes = self._holes.get(system)
        if not holes:
            return False
        names = holes if listed is None else [each for each in ("", *listed) if each in holes]
        return any(holes[name].touch(from_ns, to_ns) for name in names)

    def _is_written(self, system: str, listed: Sequence[str] | None, from_ns: int, to_ns: int) -> bool:
        """Whether all that held then is logged, in every log that could hold the connection."""
        if self._written is None:
            return True
        stretches = self._written.get(system, {})
        names = list(stretches) if listed is None or "" in stretches else list(listed)
        if any(name not in stretches for name in names):
            return False
        return bool(names) and all(stretches[name][0] <= from_ns and to_ns <= stretches[name][1] for name in names)

    def _of_instance(self, witness: Witness, from_ns: int, to_ns: int, *, fresh: bool) -> Covered:
        whole = self._whole.get(witness)
        if whole is None:
            return "no"
        runs, fresh_runs = whole
        if (fresh_runs if fresh else runs).holds(from_ns, to_ns):
            return "yes"
        return "lost" if runs.surrounds(from_ns, to_ns) else "no"
