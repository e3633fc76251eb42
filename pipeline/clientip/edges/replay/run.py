"""Historical logs through the engine into a folder or into topics, on all cores; a killed run goes on where it was.

State on disk, in the order in which it becomes true:
1. `plan.json`: what the run is. Another plan in the same folder is refused.
2. `parts/`: finished chunks (temporary file, fsync, rename); then a line in `manifest.ndjson` for each.
   Where lines can answer for each other (`rounds`), a chunk gets a second line once its rows are whole.
3. The results, joined from the parts in input order, or sent in it.
4. `summary.json`: the run is complete.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from clientip import __version__
from clientip.config import load as config
from clientip.edges.disk.inputs import PIPE, Input, find_inputs
from clientip.edges.disk.parts import (
    adopt,
    append_line,
    disk_faults,
    merge,
    refuse_strangers,
    remove_parts,
    replace_file,
    whole_lines,
)
from clientip.edges.geo import open_geo
from clientip.edges.replay.ends import TopicSink, sink_of, source_of
from clientip.edges.replay.join_assemble import Assembled
from clientip.edges.replay.join_files import ROWS, filled
from clientip.edges.replay.join_rounds import Rounds
from clientip.edges.replay.join_walk import Walked
from clientip.edges.replay.kafka_ends import FETCHED, RANGES, SENDING
from clientip.edges.replay.plan import (
    NEVER_IN_PARTS,
    Plan,
    ReplayOptions,
    Request,
    chunks_of,
    differences,
    shards_for,
    size_of,
)
from clientip.edges.replay.pool import at_work
from clientip.edges.replay.progress import Meter
from clientip.edges.replay.read_pass import WHOLE, Done
from clientip.edges.replay.summary import Summary, as_json, miscounted
from clientip.edges.replay.tally import Tally, totals
from clientip.edges.replay.tasks import Task, Work
from clientip.edges.replay.translated import met_in
from clientip.edges.replay.unread import complaints, first_rows, unread_systems
from clientip.engine import build
from clientip.errors import ConfigError, Fault, SinkError
from clientip.formats import FORMATS
from clientip.outputs import OUTPUTS
from clientip.settings import Settings

PROCESS_BYTES: Final = 16 * 1024 * 1024  # of unpacked input, about what one core reads while a process starts
SUFFIX: Final = {"none": "", "gzip": ".gz", "zstd": ".zst"}
PLAN: Final = "plan.json"
PARTS: Final = "parts"
MANIFEST: Final = "manifest.ndjson"
REJECTED: Final = "rejected.ndjson"
SUMMARY: Final = "summary.json"
RESULTS: Final = tuple(f"{output}.ndjson{suffix}" for output in OUTPUTS for suffix in SUFFIX.values())


def plan_of(request: Request, settings: Settings, warn: Callable[[str], None]) -> Plan:
    """What the request comes to on the files as they are now."""
    inputs = find_inputs(settings, request.inputs, request.system)
    for each in inputs.files:
        if not is_text(each.path):  # the plan and the summary are JSON, which has no other names
            raise ConfigError([Fault("", "inputs", f"{each.path!r} is no UTF-8: rename the file")])
    for warning in inputs.warnings:
        warn(warning)
    return planned(request.options, settings, inputs.files, inputs.unmatched)


def refuse_missing(request: Request, settings: Settings, plan: Plan) -> None:
    """ConfigError for a system with `inputs` of which no file is there: its lines would be missing without a word."""
    if request.inputs or not request.strict:
        return
    read = {each.system for each in plan.inputs}
    wanted = [each for each in settings.systems if each.setup is not None and each.inputs]
    missing = [each for each in wanted if request.system in (None, each.system.name) and each.system.name not in read]
    if missing:
        mend = "mend the pattern, or name the files to read in the call"
        raise ConfigError(
            Fault("", f"systems.{each.system.name}.inputs", f"nothing matches {', '.join(each.inputs)}; {mend}")
            for each in missing
        )


def planned(
    options: ReplayOptions,
    settings: Settings,
    inputs: tuple[Input, ...],
    unmatched: Iterable[str] = (),
) -> Plan:
    """The plan of a run over these inputs; `unmatched`: systems of which more inputs are configured than there are."""
    readable = [(each.system.name, each.setup, each.wrapper) for each in settings.systems if each.setup is not None]
    return Plan(
        version=__version__,
        rules=settings.rules,
        digest=settings.digest,
        options=options,
        line_bytes=settings.limits.line_bytes,
        geo=open_geo(settings).identity(),
        inputs=inputs,
        framed=frozenset(name for name, setup, _ in readable if FORMATS[setup.format].framing == "length32"),
        in_parts=frozenset(name for name, _, wrapper in readable if not NEVER_IN_PARTS.issuperset(wrapper)),
        unread=frozenset(unmatched) | {name for name, _, _ in readable} - {each.system for each in inputs},
        shards=shards_for(inputs) if build(settings).joins else 0,
    )


def is_text(path: str) -> bool:
    """Whether a file name can stand in JSON.

    >>> is_text("web.log"), is_text("we\\udcff.log")
    (True, False)
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def replay(request: Request, out: Path, warn: Callable[[str], None]) -> Summary:
    """Run, or go on with, a replay into the folder `out`."""
    settings = config.load(request.config)
    source, sink = source_of(settings, request), sink_of(settings, request)
    if sink is not None:
        request = replace(request, options=replace(request.options, to=sink.records))
    plan = plan_of(request, settings, warn) if source is None else None
    if plan is not None:
        refuse_missing(request, settings, plan)
    with disk_faults("write", out):
        out.mkdir(parents=True, exist_ok=True)
    refuse_strangers(out, PARTS)
    with _locked(out):
        if request.restart:
            _clear(out)
        _refuse_other(out, from_kafka=source is not None)
        if plan is None:
            assert source is not None
            inputs = source.inputs(request.options, out, out / PARTS, warn)
            plan = planned(request.options, settings, inputs)
        plan = _looked_at(out, plan, settings)
        chunks, finished = chunks_of(plan), _resumed(out, plan)
        if finished and len(finished) < len(chunks):
            warn(f"going on: {len(finished)} of {len(chunks)} chunks are finished")
        if not (out / SUMMARY).exists():
            if sink is not None:
                sink.look()
            _work(request, plan, out, finished)
            _deliver(sink, plan, out, [finished[chunk.number] for chunk in chunks], warn)
        else:
            warn(f"{out} is complete: nothing was read again")
        done = [finished[chunk.number] for chunk in chunks]
        summary = summary_of(plan, (each.tally for each in done), (each.fault for each in done if each.fault))
        _complete(out, summary, finished, show_addresses=request.show_addresses)
        _complain(out, plan, summary, warn)
        return summary


def result_path(out: Path, options: ReplayOptions) -> Path:
    """Where a run puts its records, if they are not sent to a topic."""
    return out / f"{options.output}.ndjson{SUFFIX[options.compress]}"


def _complain(out: Path, plan: Plan, summary: Summary, warn: Callable[[str], None]) -> None:
    """Name the systems of which nothing could be read, with the first line of each."""
    systems, path = unread_systems(summary), out / REJECTED
    if not systems:
        return
    first: Mapping[str, bytes] = {}
    with disk_faults("read", path):
        if path.exists():  # with `--to kafka` it is a topic
            with path.open("rb") as rows:
                first = first_rows(rows, systems)
    for complaint in complaints(systems, first, plan.inputs):
        warn(complaint)


def _refuse_other(out: Path, *, from_kafka: bool) -> None:
    """A folder holds a run over files, or one over topics, whose ranges come before everything else."""
    with disk_faults("read", out):
        if from_kafka == (out / RANGES).exists():
            return
        found = [name for name in (RANGES, PLAN, REJECTED, *RESULTS) if (out / name).exists()]
    if found:
        raise _refusal(out, f"holds {found[0]} of a run over {'files' if from_kafka else 'topics'}")


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """No other process writes into the folder meanwhile; the lock dies with the process."""
    descriptor = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SinkError(f"another run is writing into {out}", retry=True) from error
        yield
    finally:
        os.close(descriptor)


def _clear(out: Path) -> None:
    """Remove what runs leave behind, and nothing else; what decides the rest last: a kill leaves a known state."""
    with disk_faults("remove", out):
        shutil.rmtree(out / PARTS, ignore_errors=True)
        for name in (SUMMARY, MANIFEST, REJECTED, *RESULTS, SENDING, FETCHED, PLAN, RANGES):
            (out / name).unlink(missing_ok=True)
            (out / f"{name}.partial").unlink(missing_ok=True)


def _looked_at(out: Path, plan: Plan, settings: Settings) -> Plan:
    """The plan after the first pass; a run that goes on keeps what its own has found."""
    path = out / PLAN
    with disk_faults("read", path):
        found = path.read_bytes() if path.exists() else b""
    with suppress(msgspec.DecodeError):  # `_resumed` says so
        old = msgspec.json.decode(found, type=Plan)
        if replace(old, met=()) == plan:
            return old
    return replace(plan, met=met_in(settings, plan, out / PARTS))


def _resumed(out: Path, plan: Plan) -> dict[int, Done]:
    """The finished chunks of this plan; ConfigError if the folder holds anything else."""
    path = out / PLAN
    with disk_faults("read", path):
        found = path.read_bytes() if path.exists() else None
        strangers = [name for name in (REJECTED, *RESULTS) if (out / name).exists()]
    if found is None:
        if strangers:
            raise _refusal(out, f"holds {strangers[0]} of something else")
        replace_file(path, msgspec.json.format(msgspec.json.encode(plan, order="sorted"), indent=2) + b"\n")
        return {}
    try:
        old = msgspec.json.decode(found, type=Plan)
    except msgspec.DecodeError as error:
        raise _refusal(out, f"holds a {PLAN} that cannot be read") from error
    if old != plan:
        raise _refusal(out, "holds a run under another plan: " + "; ".join(differences(old, plan)))
    if any(each.path == PIPE for each in plan.inputs):
        raise _refusal(out, "holds a run, and standard input cannot be read again")
    return _manifest(out)


def _refusal(out: Path, text: str) -> ConfigError:
    return ConfigError([Fault("", "--out", f"{out} {text}; name another folder, or discard it with --restart")])


def _manifest(out: Path) -> dict[int, Done]:
    """The finished chunks; of one that was put together later, the last line counts."""
    done = (msgspec.json.decode(line, type=Done) for line in whole_lines(out / MANIFEST))
    return {each.chunk: each for each in done}


def _work(request: Request, plan: Plan, out: Path, finished: dict[int, Done]) -> None:
    """Process what is not finished yet."""
    chunks, parts = chunks_of(plan), out / PARTS
    todo = [Task("read", chunk.number) for chunk in chunks if chunk.number not in finished]
    if not todo and all(ROWS not in each.parts for each in finished.values()):
        return
    with disk_faults("write", parts):
        parts.mkdir(exist_ok=True)
        for leftover in parts.glob("*.tmp"):
            leftover.unlink()
    # Standard input belongs to this process; a single worker saves the start of another one.
    pipe = any(each.path == PIPE for each in plan.inputs)
    most = _as_many_as_pay(plan) if request.workers is None else request.workers
    count = min(most, max(len(todo), len(chunks) if plan.shards else 0))
    with at_work(request.config, plan, parts, 1 if pipe else count) as work:
        cost = sum(chunk.cost for chunk in chunks)
        with Meter(cost, cost - sum(chunks[task.unit].cost for task in todo)) as meter:
            for each in work(todo, meter.moved):
                assert isinstance(each, Done)
                _keep(out, each, each.parts, each.process_id)
                finished[each.chunk] = each
        if plan.shards:
            _join(plan, out, work, finished)


def _as_many_as_pay(plan: Plan) -> int:
    """Processes: at most one per core, and none whose start takes longer than its share of the work."""
    return int(min(len(os.sched_getaffinity(0)), 1 + size_of(plan.inputs) // PROCESS_BYTES))


def _join(plan: Plan, out: Path, work: Work, finished: dict[int, Done]) -> None:
    """Lead all lines that wait to their ends, and put every chunk together."""
    done, parts = [finished[number] for number in sorted(finished)], out / PARTS
    walked = Rounds(plan, parts, work, done).run()
    open_ = [each.chunk for each in done if ROWS in each.parts]
    tasks = [Task("assemble", chunk, 0, _rounds(walked.get(chunk, ()))) for chunk in open_]
    with Meter(len(tasks), phase="putting together") as meter:
        for each in work(tasks, lambda _: None):
            assert isinstance(each, Assembled)
            read, rows = finished[each.unit], walked.get(each.unit, ())
            tally = totals([read.tally, *(one.tally for one in rows)])[0]
            whole = replace(read, records=each.records, tally=tally, parts=WHOLE)
            _keep(out, whole, each.parts, each.process_id)
            finished[each.unit] = whole
            remove_parts(parts, [each.unit], [ROWS, *map(filled, _rounds(rows))])
            meter.moved(1)


def _rounds(walked: Sequence[Walked]) -> tuple[int, ...]:
    return tuple(each.round for each in walked if filled(each.round) in each.parts)


def _keep(out: Path, done: Done, parts: Iterable[str], process_id: int) -> None:
    """A chunk is finished once its line stands in the manifest, after its parts are safe."""
    adopt(out / PARTS, done.chunk, parts, process_id)
    append_line(out / MANIFEST, msgspec.json.encode(done))


def _deliver(sink: TopicSink | None, plan: Plan, out: Path, done: Sequence[Done], warn: Callable[[str], None]) -> None:
    """The rows to where they shall be."""
    if sink is None:
        merge(out / PARTS, "records", [each.records for each in done], result_path(out, plan.options))
    else:
        sink.send(plan, done, out, out / PARTS, warn)
    if sink is None or sink.rejected is None:
        merge(out / PARTS, "rejected", [each.rejected for each in done], out / REJECTED)


def summary_of(plan: Plan, tallies: Iterable[Tally], faults: Iterable[str]) -> Summary:
    """The numbers of a finished run; RuntimeError if a line is unaccounted for, which is a defect of ours."""
    summary = Summary(plan.rules, totals(tallies), tuple(faults))
    wrong = miscounted(summary)
    if wrong is not None:
        raise RuntimeError(f"the counts do not add up: {wrong}")
    return summary


def _complete(out: Path, summary: Summary, finished: Mapping[int, Done], *, show_addresses: bool) -> None:
    """Write down the result, and tidy up: the same files for the same run, however it went."""
    replace_file(out / SUMMARY, as_json(summary, show_addresses=show_addresses))
    ordered = (msgspec.structs.replace(finished[number], process_id=0) for number in sorted(finished))
    replace_file(out / MANIFEST, b"".join(msgspec.json.encode(each) + b"\n" for each in ordered))
    with disk_faults("remove", out / PARTS):
        if (out / PARTS).exists():
            shutil.rmtree(out / PARTS)
