"""The whole core put together: a line in, its outcome out. No clock, no I/O, no globals.

`Engine.reading` gives one reading per input (its only state is the parts of a
line still waiting for their end); `feed` it lines in order, then `end` it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from xxhash import xxh3_128_digest

from clientip.errors import FormatError
from clientip.formats import FORMATS
from clientip.framing.wrappers import EMPTY, IN_PARTS, OpenLines, join, peel
from clientip.joins.join import Joining
from clientip.joins.translated import Undrawn, noting_translated
from clientip.model import (
    Fact,
    Heartbeat,
    Line,
    Observation,
    Outcome,
    Reader,
    Record,
    Rejected,
    Resolution,
    Setup,
    Skipped,
    Step,
    System,
)
from clientip.reasons import REJECTED
from clientip.settings import Joins, Settings
from clientip.trust.graph import Graph, draw
from clientip.trust.walk import resolve

Walk = Callable[[Graph, Observation], Resolution]

MAX_MESSAGES: Final = 1 << 20  # that one line holds at most, as far as their places are concerned
BLOCK_LINES: Final = 64  # lines that `Reading.feed_all` takes best at a time


class LogSource(Struct, frozen=True):
    """What the engine needs to read one system's log."""

    setup: Setup
    wrapper: tuple[str, ...] = ()


class Engine:
    """Every system's reader and the drawing, compiled once.

    >>> from clientip.model import Setup, System
    >>> setup = Setup(system="web", format="nginx", pattern="$remote_addr $status", logs_peer="socket")
    >>> engine = Engine([System(name="web", peers=frozenset({"outside"}))], [LogSource(setup)], line_bytes=65536)
    >>> [outcome] = engine.reading("web").feed(Line(b"203.0.113.7 200", b"203.0.113.7 200"))
    >>> outcome.resolution.verdict, outcome.resolution.named.address.text
    ('seen', '203.0.113.7')
    """

    def __init__(
        self,
        systems: Iterable[System],
        sources: Iterable[LogSource],
        *,
        line_bytes: int,
        joins: Joins | None = None,
        translated: Iterable[str] = (),
        met: Iterable[str] = (),
        holds: bool = False,
    ) -> None:
        """`translated`: the addresses NAT translates to by the configuration; `met`: those a run found before.

        `holds`: promises are held to the logs of those who gave them.
        """
        self.sources: Mapping[str, LogSource] = {source.setup.system: source for source in sources}
        listed = frozenset(translated)
        self.graph: Graph = draw(systems, self.sources, listed.union(met), holds=holds)
        self.line_bytes = line_bytes
        self.joining = None if joins is None else Joining(self.graph, joins)
        self._readers: Mapping[str, Reader] = {
            name: self._reader(source, self.graph.systems.get(name), listed) for name, source in self.sources.items()
        }

    @property
    def joins(self) -> bool:
        """Whether any line can answer for another one."""
        return self.joining is not None and self.joining.active

    def reading(
        self, system: str, instance: str | None = None, *, walks_facts: bool = True, rotated: bool = False
    ) -> Reading:
        """A reading of one input of `system`, from its beginning or from any line start.

        Without `walks_facts` translations and connections are not walked from: then only what they tell counts.
        `rotated`: the input is a file that may continue another one, in the middle of a line that came in parts.
        """
        source = self.sources[system]
        seed = sha256(f"{system}\0{instance or ''}\0".encode(), usedforsecurity=False)
        walk = resolve if walks_facts else _walk_requests
        rotates = rotated and not IN_PARTS.isdisjoint(source.wrapper)
        return Reading(self.graph, source, self._readers[system], self.line_bytes, seed.digest(), walk, rotates)

    def _reader(self, source: LogSource, system: System | None, listed: frozenset[str]) -> Reader:
        row = FORMATS[source.setup.format]
        read = _bounded(row.compile(source.setup), system)
        return read if row.connections != "" else noting_translated(read, Undrawn(self.graph.systems.values(), listed))

    def again(self, system: str, line: Line) -> Observation:
        """What a line that became a record before was read as: its text is what the wrappers left of it."""
        seen = self._readers[system](line)
        assert isinstance(seen, Observation)
        return seen


class Reading:
    """One input being read. Feed lines in order, end with `end`."""

    def __init__(
        self,
        graph: Graph,
        source: LogSource,
        reader: Reader,
        line_bytes: int,
        seed: bytes,
        walk: Walk,
        rotates: bool,
    ) -> None:
        self._resolve = walk
        self._begun: set[str] | None = set() if rotates else None  # streams of which something was read
        self._graph = graph
        self._logging = graph.logging
        self._reader = reader
        self._wrapper = source.wrapper
        self._line_bytes = line_bytes
        self._seed = seed
        self._file, self._origin = "", seed
        self._split = FORMATS[source.setup.format].split
        self._held: OpenLines = EMPTY

    def feed(self, line: Line) -> tuple[Outcome, ...]:
        """One line to its outcomes: one, unless the format packs several messages into it."""
        return tuple(self.feed_all((line,)))

    def feed_all(self, lines: Sequence[Line]) -> list[Outcome]:
        """Lines in order to their outcomes in order, the same as line by line.

        Stage by stage, because the code of one stage then stays in the processor's
        cache: a third less time than line by line.  About BLOCK_LINES lines at a time is best.
        """
        framed: Sequence[Line | Outcome] = lines
        if self._wrapper or self._split is not None:
            framed = [each for line in lines for each in self._unwrap(line)]
        read = [self._read(each) if each.__class__ is Line else each for each in framed]
        graph, resolve = self._graph, self._resolve
        found = [resolve(graph, each) if each.__class__ is Observation else None for each in read]
        return [
            each if end is None else self._outcome(line, each, end)  # type: ignore[arg-type, misc]
            for line, each, end in zip(framed, read, found, strict=True)
        ]

    def _unwrap(self, line: Line) -> Sequence[Line | Outcome]:
        """Take wrappers off, rejoin parts, cut batches: what is to be read, or why nothing is."""
        if not line.text or line.text.isspace():
            return (Skipped(line, "blank"),)
        try:
            peeled = peel(line, self._wrapper) if self._wrapper else line
            if self._begun is not None and peeled.stream not in self._begun:
                self._begun.add(peeled.stream)
                peeled = replace(peeled, headless=True)
            self._held, whole = join(self._held, peeled, self._line_bytes)
        except FormatError as error:
            return (_rejected(line, error),)
        if not isinstance(whole, Line) or self._split is None:
            return (whole,)
        try:
            messages = self._split(whole.text)
        except FormatError as error:
            return (_rejected(whole, error),)
        first = whole.index * MAX_MESSAGES  # a line may itself be one of several of a message
        return [replace(whole, raw=each, text=each, index=first + at) for at, each in enumerate(messages)] or (
            Skipped(whole, "no_request"),
        )

    def end(self) -> tuple[Outcome, ...]:
        """The parts whose end never came, each rejected as `truncated`."""
        left = tuple(Rejected(line, "truncated") for line in self._held.lines())
        self._held = EMPTY
        return left

    def begun(self) -> int | None:
        """The offset at which the oldest line begins whose last part has not come; None: there is none."""
        return min((line.offset for line in self._held.beginnings()), default=None)

    def _read(self, line: Line) -> Observation | Skipped | Heartbeat | Rejected:
        text = line.text
        if not text or text.isspace():
            return Skipped(line, "blank")
        try:
            return self._reader(line)
        except FormatError as error:
            return _rejected(line, error)

    def _outcome(self, line: Line, seen: Observation, resolution: Resolution) -> Record | Fact:
        record = Record(line, seen, resolution, self._record_id(line), self._is_entry(resolution.path))
        return record if seen.kind in ("request", "span") else Fact(record)

    def _is_entry(self, path: tuple[Step, ...]) -> bool:
        for step in path:  # noqa: SIM110 - a generator costs more than the walk's whole path
            if step.system in self._logging:
                return False
        return True

    def _record_id(self, line: Line) -> str:
        """32 hex, a function of system, instance, origin and raw bytes: writing twice is writing once.

        The origin goes through a cryptographic hash, because the writer of a line must not be
        able to give it the id of another one.  Of the bytes a fast hash is enough: one origin
        holds one line.
        """
        if line.file != self._file:
            self._file, self._origin = line.file, b"%b%b" % (self._seed, line.file.encode())
        whole = b"%b\0%d\0%d\0%b" % (self._origin, line.offset, line.index, xxh3_128_digest(line.raw))
        return sha256(whole, usedforsecurity=False).hexdigest()[:32]


def _bounded(read: Reader, system: System | None) -> Reader:
    """The reader, which notes a line that lasted longer than the system's `longest` allows."""
    longest = None if system is None or system.writes_begins else system.longest_ns
    if longest is None:
        return read

    def bounded(line: Line) -> Observation | Skipped | Heartbeat:
        seen = read(line)
        if type(seen) is not Observation or seen.end_ns is None or seen.start_latest_ns is None:
            return seen
        lasted = seen.end_ns - seen.start_latest_ns > longest
        return replace(seen, notes=(*seen.notes, "longest_broken")) if lasted else seen

    return bounded


_NO_WALK: Final = Resolution("unknown", None, None, None, ())


def _walk_requests(graph: Graph, seen: Observation) -> Resolution:
    return resolve(graph, seen) if seen.kind in ("request", "span") else _NO_WALK


def _rejected(line: Line, error: FormatError) -> Rejected:
    """The line with a word of `reasons.REJECTED`; a finer word of the parser becomes the detail."""
    if error.reason in ("no_match", "json") and _has_length_of_cut(line):
        return Rejected(line, "truncated", error.at, f"cut_after_{len(line.raw)}_bytes")
    if error.reason in REJECTED:
        return Rejected(line, error.reason, error.at)
    return Rejected(line, "no_match", error.at, error.reason)


# Bytes at which HAProxy's `log … len`, rsyslog, syslog-ng, journald and relays cut messages if nothing else is said.
_CUTS: Final = (1024, 2048, 4096, 8096, 8192, 16384, 32768, 49152, 65536)
_LINE_END: Final = 2  # bytes of it that may count


def _has_length_of_cut(line: Line) -> bool:
    lengths = (len(line.raw), len(line.text))
    return any(0 <= size - length <= _LINE_END for size in _CUTS for length in lengths)


def build(settings: Settings, met: Iterable[str] = (), *, holds: bool = False) -> Engine:
    """The engine a configuration describes.

    `met`: addresses that a first pass found NAT to translate to.  `holds`: hold promises whatever the configuration
    says.
    """
    sources = [LogSource(each.setup, each.wrapper) for each in settings.systems if each.setup is not None]
    systems = [each.system for each in settings.systems]
    return Engine(
        systems,
        sources,
        line_bytes=settings.limits.line_bytes,
        joins=settings.joins,
        translated=settings.translated,
        met=met,
        holds=holds or settings.joins.holds_promises,
    )
