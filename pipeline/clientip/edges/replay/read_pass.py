"""One chunk through the engine: frames in, rows and counts out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from clientip.config import load as config
from clientip.edges.disk.compression import Compression
from clientip.edges.disk.files import Block, Broken, Frame, RefusedFrame
from clientip.edges.disk.inputs import FINGERPRINT_BYTES, fingerprint_of
from clientip.edges.disk.parts import PartFile, disk_faults, temporary
from clientip.edges.geo import GeoDatabases, open_geo
from clientip.edges.replay.plan import Chunk, ChunkReader, Plan, ReadLines
from clientip.edges.replay.tally import Endings, Tally
from clientip.engine import BLOCK_LINES, Engine, Reading, build
from clientip.errors import ConfigError, Fault
from clientip.model import Fact, Heartbeat, Line, Outcome, Part, Record, Rejected, Skipped
from clientip.outputs import OUTPUTS, rejected_row
from clientip.settings import Settings

REPORT_SECONDS: Final = 0.5
WHOLE: Final = ("records", "rejected")  # parts of a chunk to which nothing is to come any more

Feed = Callable[[Sequence[Line]], list[Outcome]]
Judge = Callable[[Outcome], Outcome]


class Rows(NamedTuple):
    """What a block became, each row with its line end."""

    records: bytes
    rejected: bytes


class Job(NamedTuple):
    """What a process needs to work on any chunk of a plan."""

    plan: Plan
    engine: Engine
    geo: GeoDatabases
    settings: Settings


class Done(Struct, frozen=True):
    """A finished chunk: a line of the manifest."""

    chunk: int
    records: int  # bytes of the part
    rejected: int
    tally: Tally
    process_id: int  # whose temporary parts they are
    fault: str | None = None  # why its input could not be read to the end
    parts: tuple[str, ...] = WHOLE
    holes: int = 0  # lines that wait for answers; their rows come later, and so do their counts


def open_job(paths: tuple[Path, ...], plan: Plan) -> Job:
    """Load in this process what the plan was made from; ConfigError if it has changed since."""
    settings = config.load(paths)
    geo = open_geo(settings)
    if (settings.digest, geo.identity()) != (plan.digest, plan.geo):
        raise ConfigError([Fault("", "", "the configuration or a geo database changed during the run: use --restart")])
    return Job(plan, build(settings, plan.met), geo, settings)


class Pass:
    """One input going through the engine."""

    def __init__(self, job: Job, chunk: Chunk) -> None:
        options, source = job.plan.options, chunk.input
        self._source = source
        self._reading: Reading = job.engine.reading(
            source.system, source.instance, walks_facts=options.facts, rotated=source.fetched is None
        )
        self._feed: Feed = self._reading.feed_all
        self._judged = within(options.from_ns, options.until_ns)
        self._judged_first = self._judged
        self._render = rendering(job)
        self._facts, self._rules = options.facts, job.plan.rules
        self._file = source.fingerprint
        self._endings = Endings()
        self._tally = Tally(source.system)

    def frame(self, frame: Block | RefusedFrame | ReadLines) -> Rows:
        """The rows of one frame."""
        if isinstance(frame, ReadLines):
            return self._rows([self._taken(frame)])
        if not self._file:
            self._file = _name_of_pipe(frame, self._source.system)
        return self._rows(self._fed(frame)) if isinstance(frame, Block) else self._refused(frame)

    def end(self) -> Rows:
        """The rows of parts whose end never came."""
        rows: list[bytes] = []
        rejected: list[bytes] = []
        for outcome in self._reading.end():
            self._tally.parts -= 1  # it was counted as a part when it came
            self._other(outcome, rows, rejected)
        return joined_rows(rows, rejected)

    def tally(self) -> Tally:
        """The counts so far; to be called once, at the end."""
        return self._endings.into(self._tally)

    def _taken(self, read: ReadLines) -> Sequence[Outcome]:
        if read.were_parts:
            self._tally.parts -= len(read.outcomes)
        else:
            self._tally.lines += len(read.outcomes)
        judged = self._judged_first
        return read.outcomes if judged is None else list(map(judged, read.outcomes))

    def _fed(self, block: Block) -> Iterator[Sequence[Outcome]]:
        """What a block's lines became, as many at a time as the engine takes best."""
        feed, judged, file, instance = self._feed, self._judged_first, self._file, self._source.instance
        offset, step, lines = block.offset, block.step, block.lines
        self._tally.lines += block.total
        if block.blanks:
            self._tally.skipped["blank"] = self._tally.skipped.get("blank", 0) + block.total
        for first in range(0, len(lines), BLOCK_LINES):
            framed = []
            for raw in lines[first : first + BLOCK_LINES]:
                framed.append(Line(raw, raw, file, offset, 0, None, instance))
                offset += len(raw) + step
            if block.unended:
                framed = [replace(framed[0], unended=True)]
            outcomes = feed(framed)
            self._tally.lines += len(outcomes) - len(framed)  # messages beyond the first of a line
            yield outcomes if judged is None else list(map(judged, outcomes))

    def _rows(self, fed: Iterable[Sequence[Outcome]]) -> Rows:
        # The hot loop: everything that can be chosen before it has been.
        render, rules, count = self._render, self._rules, self._endings.count
        rows: list[bytes] = []
        append = rows.append
        rejected: list[bytes] = []
        for outcomes in fed:
            for outcome in outcomes:
                if type(outcome) is Record:
                    count(outcome)
                    append(render(outcome, rules))
                else:
                    self._other(outcome, rows, rejected)
        return joined_rows(rows, rejected)

    def _other(self, outcome: Outcome, rows: list[bytes], rejected: list[bytes]) -> None:
        tally = self._tally
        if isinstance(outcome, Skipped):
            tally.skipped[outcome.reason] = tally.skipped.get(outcome.reason, 0) + 1
        elif isinstance(outcome, Part):
            tally.parts += 1
        elif isinstance(outcome, Rejected):
            tally.rejected[outcome.reason] = tally.rejected.get(outcome.reason, 0) + 1
            rejected.append(rejected_row(outcome, tally.system, self._rules))
        elif isinstance(outcome, Heartbeat):
            tally.facts += 1
        elif isinstance(outcome, Fact):
            tally.facts += 1
            for word in outcome.record.observation.notes:
                tally.findings[word] = tally.findings.get(word, 0) + 1
            if self._facts:
                rows.append(self._render(outcome.record, self._rules))

    def _refused(self, frame: RefusedFrame) -> Rows:
        rejected: list[bytes] = []
        self._tally.lines += 1
        line = Line(frame.head, frame.head, self._file, frame.offset, 0, None, self._source.instance)
        self._other(Rejected(line, frame.reason, None, frame.detail), [], rejected)
        return joined_rows([], rejected)


def joined_rows(records: list[bytes], rejected: list[bytes]) -> Rows:
    # The empty string at the end gives the last row its line end.
    return Rows(
        b"\n".join([*records, b""]) if records else b"",
        b"\n".join([*rejected, b""]) if rejected else b"",
    )


def within(from_ns: int | None, until_ns: int | None) -> Judge | None:
    """What makes of records and facts outside the range skipped lines; adjacent ranges share every record between them.

    The start counts; where the log does not show it, the end. Without any time a record cannot be said to lie outside.
    """
    if from_ns is None and until_ns is None:
        return None
    low = -1 if from_ns is None else from_ns
    high = 2**63 if until_ns is None else until_ns

    def judged(outcome: Outcome) -> Outcome:
        record = outcome.record if isinstance(outcome, Fact) else outcome
        if not isinstance(record, Record):
            return outcome
        seen = record.observation
        moment = seen.end_ns if seen.start_ns is None else seen.start_ns
        if moment is None or low <= moment < high:
            return outcome
        return Skipped(record.line, "out_of_range")

    return judged


def rendering(job: Job) -> Callable[[Record, str], bytes]:
    """How this run writes a record."""
    render = OUTPUTS[job.plan.options.output]
    return _located(render, job.geo) if job.geo else render


def _located(render: Callable[[Record, str], bytes], geo: GeoDatabases) -> Callable[[Record, str], bytes]:
    return lambda record, rules: render(geo.add_to(record), rules)


def _name_of_pipe(frame: Block | RefusedFrame, system: str) -> str:
    # The first line whatever it says: a pipe may hold the next one back for hours.
    head = next(iter(frame.lines), b"") if isinstance(frame, Block) else frame.head
    return fingerprint_of(head[:FINGERPRINT_BYTES], system, None, 0)


class HasFrames(Protocol):
    """What reads a chunk; `position` is how far into its file on disk."""

    @property
    def position(self) -> int: ...
    def frames(self) -> Iterator[Frame | ReadLines]: ...


def reader_of(job: Job, chunk: Chunk, folder: Path) -> HasFrames:
    """What reads the chunk; `folder` is that of the parts."""
    if chunk.input.fetched is None:
        return ChunkReader(chunk, job.plan)
    from clientip.edges.replay.kafka_fetched import FetchedReader  # noqa: PLC0415 - others start faster without

    return FetchedReader(job.settings, job.engine, chunk, folder)


class Moved(Protocol):
    """Told how many more bytes of input have been read."""

    def __call__(self, amount: int, /) -> None: ...


def process(job: Job, chunk: Chunk, folder: Path, moved: Moved) -> Done:
    """Read a chunk into two temporary parts named after this process; the caller renames them."""
    through = Pass(job, chunk)
    lengths, fault = run_through(job, chunk, through, (folder, "records", job.plan.options.compress), moved)
    return Done(chunk.number, *lengths, through.tally(), os.getpid(), fault)


def run_through(
    job: Job, chunk: Chunk, through: Pass, into: tuple[Path, str, Compression], moved: Moved
) -> tuple[tuple[int, int], str | None]:
    """A chunk into a part of records and one of rejected lines: their lengths, and what ended it early."""
    folder, name, compress = into
    with disk_faults("write", folder):
        records = PartFile(temporary(folder, chunk.number, name, os.getpid()), compress)
        rejected = PartFile(temporary(folder, chunk.number, "rejected", os.getpid()), "none")
    fault = None
    reader = reader_of(job, chunk, folder)
    for frame in _reported(reader, moved):
        if isinstance(frame, Broken):
            fault = f"{chunk.input.path}: {frame.text}"
            break
        rows = through.frame(frame)
        records.write(rows.records)
        rejected.write(rows.rejected)
    rows = through.end()
    records.write(rows.records)
    rejected.write(rows.rejected)
    records.close()
    rejected.close()
    return (records.length, rejected.length), fault


def _reported(reader: HasFrames, moved: Moved) -> Iterator[Frame | ReadLines]:
    told_at, position = time.monotonic(), reader.position
    for frame in reader.frames():
        yield frame
        now = time.monotonic()
        if now - told_at >= REPORT_SECONDS:
            moved(reader.position - position)
            told_at, position = now, reader.position
    moved(reader.position - position)
