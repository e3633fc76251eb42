"""Replay with joins: what `settle` gives on everything at once, whatever the chunks, shards, workers and kills."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from clientip.config import load as config
from clientip.edges.disk.files import Block
from clientip.edges.disk.spill import BlockWriter, BucketReader, BucketWriter, read_blocks
from clientip.edges.replay import tasks
from clientip.edges.replay.join_slices import Desk
from clientip.edges.replay.plan import ChunkReader, ReplayOptions, Request, chunks_of
from clientip.edges.replay.run import plan_of, replay
from clientip.engine import Engine, LogSource, build
from clientip.errors import SinkError
from clientip.formats import FORMATS
from clientip.joins.holes import LogOrders
from clientip.joins.inquiry import Inquiry
from clientip.joins.join import settle
from clientip.model import Line, Outcome, Record, Resolution, Setup, System
from clientip.outputs import OUTPUTS
from clientip.pending import Codec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.worlds.patience import LIMIT_S
from tests.worlds.replay_worlds import BEGIN, MS, Files, Shape, world, write
from tests.worlds.sizes import SIZE
from tests.worlds.standing import Moment, Standing

REPLAY = ["replay", "-c", "c.toml", "-o", "out", "--output", "record", "--chunk-size", "20000", "--workers", "2"]
MAIN = [sys.executable, "-c", "from clientip.edges.cli.main import main; main()"]
ROOT = str(Path(__file__).parents[3] / "pipeline")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ROOT)
    return tmp_path


def run(home: Path, *inputs: str, out: str = "out", workers: int = 1, **options: Any) -> dict[str, Any]:
    """The summary of a replay into `out`, whose result is then whole."""
    options = {"output": "record", **options}
    request = Request((home / "c.toml",), inputs, options=ReplayOptions(**options), workers=workers, restart=True)
    replay(request, home / out, print)
    summary: dict[str, Any] = json.loads((home / out / "summary.json").read_text())
    assert not (home / out / "parts").exists()
    return summary


def rows(home: Path, out: str = "out") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / out / "record.ndjson").read_bytes().splitlines()]


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def settled(home: Path, *inputs: str) -> bytes:
    """What `settle` makes of the same files, all in memory."""
    request = Request((home / "c.toml",), inputs)
    loaded = config.load(request.config)
    plan, engine = plan_of(request, loaded, print), build(loaded)
    outcomes: list[Outcome] = []
    orders = LogOrders()
    for chunk in chunks_of(plan):
        source = chunk.input
        reading = engine.reading(source.system, source.instance)
        for frame in ChunkReader(chunk, plan).frames():
            assert isinstance(frame, Block)
            for raw, offset in frame.placed():
                outcomes += reading.feed(Line(raw, raw, source.fingerprint, offset, 0, None, source.instance))
                orders.see(source.system, source.instance or "", source.path, outcomes[-1])
    assert engine.joining is not None
    ended = settle(engine.joining, outcomes, orders, plan.unread)
    return b"".join(OUTPUTS["record"](each, loaded.rules) + b"\n" for each in ended if isinstance(each, Record))


def clients(home: Path, files: Files, out: str = "out") -> int:
    """How many requests at the application have a client; none of them a wrong one."""
    found = 0
    for row in rows(home, out):
        client, target = row.get("client"), row["http"]["target"]
        if row["system"] == "app" and client is not None:
            assert f"{client['ip']}:{client['port']}" == files.truth[target], row
            found += 1
    return found


SHAPES = st.builds(
    Shape,
    seed=st.integers(0, 10_000),
    flows=st.integers(1, 25),
    ports=st.integers(1, 4),
    balancer=st.booleans(),
    outer=st.booleans(),
    mints=st.booleans(),
    lossless=st.booleans(),
    shows_port=st.booleans(),
    shows_id=st.booleans(),
    one_id=st.booleans(),
    marks=st.booleans(),
    lost=st.sampled_from([0.0, 0.0, 0.05, 0.3]),
    error=st.sampled_from([0, MS, 4 * MS]),
    keepalive=st.integers(1, 4),
)


@pytest.mark.edge
@settings(max_examples=15 * SIZE, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SHAPES, st.integers(200, 5000), st.randoms(use_true_random=False), st.booleans())
def test_records_are_those_of_all_lines_settled_together(
    home: Path, monkeypatch: pytest.MonkeyPatch, shape: Shape, size: int, dice: random.Random, rotated: bool
) -> None:
    files = world(shape)
    if rotated:  # the application's log in two files, given in any order
        lines = files.logs.pop("app/app.log")
        files.logs |= {"app/app.log.1": lines[: len(lines) // 2], "app/app.log": lines[len(lines) // 2 :]}
    files.logs = {name: lines for name, lines in files.logs.items() if lines}
    folder = Path(tempfile.mkdtemp(dir=home))
    write(files, folder)
    names = [str(folder / name) for name in files.logs]
    dice.shuffle(names)
    with monkeypatch.context() as patch:
        items, direct = dice.choice([600, 100_000]), dice.choice([9, 4_000_000])
        patch.setattr(tasks, "Desk", partial(Desk, items=items, direct=direct))
        patch.setattr("clientip.edges.replay.plan.SHARD_RANGE", (dice.randint(1, 9), 9))
        patch.setattr("clientip.edges.disk.spill.SPILL_BYTES", dice.choice([300, 16 << 20]))
        patch.setattr("clientip.edges.disk.spill.BLOCK_BYTES", dice.choice([300, 16 << 20]))
        sheet = dice.choice([3, 50_000])
        for module in ("join_shard", "join_walk", "join_rounds"):
            patch.setattr(f"clientip.edges.replay.{module}.SHEET_HOLES", sheet)
        summary = run(folder, *names, chunk_bytes=size)
    expected = settled(folder, *names)
    got = (folder / "out/record.ndjson").read_bytes()
    assert got.splitlines() == expected.splitlines()
    for tally in summary["systems"].values():
        assert sum(tally["verdicts"].values()) == tally["records"]
    minted_twice = shape.mints and shape.one_id and shape.lost  # what no server does: the lost line's id is another's
    if shape.error <= MS and not minted_twice:
        clients(folder, files)


@pytest.mark.edge
def test_a_key_cut_by_time_gives_the_same_answers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "Desk", partial(Desk, items=60, direct=50))
    monkeypatch.setattr("clientip.edges.replay.join_heavy_key.MAX_SLICES_OF_FACT", 3)
    cut = 0
    for seed in range(5 * SIZE):
        shape = Shape(seed, flows=150, ports=40, balancer=True, one_id=True, shows_port=False, mints=seed % 2 == 0)
        folder = home / str(seed)
        folder.mkdir()
        write(world(shape), folder)
        run(folder, chunk_bytes=3_000)
        assert (folder / "out/record.ndjson").read_bytes() == settled(folder)
        cut += sum(row["verdict"] == "joined" for row in rows(folder))
    assert cut > 50


def test_a_key_with_more_nat_events_than_memory_holds_is_refused_and_never_answered_from_a_part(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = world(Shape(flows=100, balancer=True, ports=1))
    write(files, home)
    monkeypatch.setattr(tasks, "Desk", partial(Desk, items=60))
    reasons = run(home)["systems"]["app"]["reasons"]
    monkeypatch.setattr(tasks, "Desk", partial(Desk, direct=50, largest=50))
    assert reasons == run(home)["systems"]["app"]["reasons"]
    clients(home, files)
    write(world(Shape(flows=100, ports=1)), home)
    assert run(home)["systems"]["app"]["reasons"].keys() == {"crowded"}


def test_what_other_logs_know_is_found(home: Path) -> None:
    files = world(Shape(flows=100, balancer=True, outer=True, ports=200))
    write(files, home)
    run(home)
    requests = len(files.truth)
    assert clients(home, files) > requests * 0.9


@pytest.mark.edge
@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_the_same_bytes_for_any_number_of_workers(home: Path, compress: str) -> None:
    write(world(Shape(flows=300, balancer=True, outer=True, ports=6, lost=0.02)), home)
    digests = []
    for workers in (1, 2, 7):
        run(home, out=f"out{workers}", workers=workers, chunk_bytes=20_000, compress=compress)
        digests.append(digest(home / f"out{workers}"))
    assert digests[0] == digests[1] == digests[2]


@pytest.mark.edge
def test_a_run_killed_at_any_moment_goes_on_to_the_same_bytes(home: Path) -> None:
    write(world(Shape(flows=400, balancer=True, outer=True, ports=6, lost=0.02, lossless=False)), home)
    run(home, out="clean", chunk_bytes=20_000)
    moments = [
        Moment("manifest.ndjson"),
        *(Moment("parts/stages.ndjson", count, 1 + count % 3) for count in (1, 3, 5, 9, 14, 20, 30)),
        Moment("manifest.ndjson", 31),
        Moment("record.ndjson.partial"),
        Moment("summary.json"),
    ]
    for moment in moments:
        assert interrupted(home, moment) == -signal.SIGKILL, moment
    subprocess.run([*MAIN, *REPLAY], check=True, stderr=subprocess.DEVNULL, timeout=LIMIT_S)
    assert digest(home / "out") == digest(home / "clean")


def interrupted(home: Path, moment: Moment) -> int:
    """Start or go on with a run and kill it at this moment; the exit code."""
    standing = Standing(home / "out", moment, REPLAY, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return standing.end(signal.SIGKILL)


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


@pytest.mark.edge
def test_a_run_that_ends_between_any_two_steps_goes_on_to_the_same_bytes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(world(Shape(flows=12, balancer=True, outer=True)), home)
    monkeypatch.setattr("clientip.edges.replay.plan.SHARD_RANGE", (2, 2))
    run(home, out="clean", chunk_bytes=2_500)
    request = Request((home / "c.toml",), options=ReplayOptions(output="record", chunk_bytes=2_500))
    step = stop = attempts = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **named: Any) -> Any:
            nonlocal step
            step += 1
            if step == stop:
                raise Killed
            return real(*arguments, **named)

        return act

    with monkeypatch.context() as patch:
        for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "fsync"), (shutil, "rmtree")):
            patch.setattr(owner, name, dying(getattr(owner, name)))
        while not (home / "out/summary.json").exists() or (home / "out/parts").exists():
            # Each attempt goes on where the one before was ended, and a little further than that one did.
            step, stop, attempts = 0, 20 + attempts, attempts + 1
            with contextlib.suppress(Killed):
                replay(request, home / "out", lambda _: None)
    assert attempts > 10
    assert digest(home / "out") == digest(home / "clean")


def test_a_range_of_time_cuts_records_and_never_what_they_tell(home: Path) -> None:
    write(world(Shape(flows=60, balancer=True, outer=True, ports=20)), home)
    run(home, out="all")
    border = BEGIN + 90 * MS
    early = run(home, out="early", until_ns=border)["systems"]["app"]
    late = run(home, out="late", from_ns=border)["systems"]["app"]
    assert early["skipped"]["out_of_range"] == late["records"] > 10
    assert late["skipped"]["out_of_range"] == early["records"] > 10
    whole = {row["record_id"]: row for row in rows(home, "all")}
    parts = {row["record_id"]: row for out in ("early", "late") for row in rows(home, out)}
    assert parts == whole


def test_facts_stand_among_the_records_where_their_lines_stood(home: Path) -> None:
    write(world(Shape(flows=30, balancer=True)), home)
    run(home, out="without")
    summary = run(home, out="with", facts=True)
    found = rows(home, "with")
    assert [row for row in found if row["kind"] == "request"] == rows(home, "without")
    assert len(found) - len(rows(home, "without")) == summary["systems"]["nodes"]["facts"] - 2  # marks are no records


LOOP = """
[systems.a]
format = "haproxy"
pattern = '%ci:%cp [%t] %fi:%fp %{+Q}[var(txn.rid)] %ST'
options = { "var.txn.rid" = "x-request-id" }
timezone = "UTC"
inputs = ["a.log"]
logs_peer = "socket"
addresses = ["198.51.100.1"]
peers = ["b"]
lossless = true
longest = "1s"
passes_ids = ["x-request-id"]

[systems.b]
format = "haproxy"
pattern = '%ci:%cp [%t] %fi:%fp %{+Q}[var(txn.rid)] %ST'
options = { "var.txn.rid" = "x-request-id" }
timezone = "UTC"
inputs = ["b.log"]
logs_peer = "socket"
addresses = ["198.51.100.2"]
peers = ["a"]
lossless = true
longest = "1s"
passes_ids = ["x-request-id"]
"""


def test_lines_that_wait_for_each_other_end(home: Path) -> None:
    (home / "c.toml").write_text(LOOP)
    for name, peer in (("a", 2), ("b", 1)):
        line = '{}:4000 [01/May/2024:10:0{}:00.000] 198.51.100.9:80 "{}" 200\n'.format
        before, after = line("203.0.113.1", 0, "before"), line("203.0.113.1", 2, "after")
        (home / f"{name}.log").write_text(before + line(f"198.51.100.{peer}", 1, "same") + after)
    run(home)
    assert [row["reason"] for row in rows(home)] == ["peer_unlisted", "too_many_steps", "peer_unlisted"] * 2
    assert (home / "out/record.ndjson").read_bytes() == settled(home)


# What lies on disk.


def damages(path: Path) -> Iterator[bytes]:
    whole = path.read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        yield whole[:cut]
    for place in (0, len(whole) // 3, len(whole) - 12):
        yield whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]


def test_a_torn_or_damaged_file_is_told_and_never_read_as_a_shorter_one(tmp_path: Path) -> None:
    blocks, buckets = BlockWriter(tmp_path / "blocks"), BucketWriter(tmp_path / "buckets")
    for number in range(1000):
        blocks.add((number, "x" * 50))
        buckets.add(number % 7, (number, "x" * 50))
    assert blocks.close()
    assert buckets.close()
    items = [item for block in read_blocks(tmp_path / "blocks", list[tuple[int, str]]) for item in block]
    assert [number for number, _ in items] == list(range(1000))
    reader = BucketReader(tmp_path / "buckets", list[tuple[int, str]])
    for bucket in range(9):
        found = [number for block in reader.read(bucket) for number, _ in block]
        assert found == [number for number in range(1000) if number % 7 == bucket]
        assert reader.count(bucket) == len(found)
    for damage in damages(tmp_path / "blocks"):
        (tmp_path / "torn").write_bytes(damage)
        with pytest.raises(SinkError, match="torn is damaged; use --restart"):
            list(read_blocks(tmp_path / "torn", list[tuple[int, str]]))
    for damage in damages(tmp_path / "buckets"):
        (tmp_path / "torn").write_bytes(damage)
        with pytest.raises(SinkError, match="torn is damaged; use --restart"):
            torn = BucketReader(tmp_path / "torn", list[tuple[int, str]])
            assert sum(len(block) for bucket in range(7) for block in torn.read(bucket)) == 1000


@pytest.mark.edge
@pytest.mark.parametrize("part", ["holes.1", "asked.1", "facts.0", "answers.1", "filled.1", "runs"])
def test_a_run_over_damaged_parts_ends_in_words(home: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    write(world(Shape(flows=30)), home)
    request = Request((home / "c.toml",), options=ReplayOptions(output="record"))
    real, hurt = Path.replace, []

    def hurting(self: Path, target: Path) -> Path:
        if Path(target).name.endswith(f".{part}"):
            whole = self.read_bytes()
            self.write_bytes(whole[:-9])
            hurt.append(target)
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", hurting)
        with pytest.raises(SinkError, match=r"is damaged; use --restart"):
            replay(request, home / "out", lambda _: None)
    assert hurt
    run(home, out="out")
    assert (home / "out/record.ndjson").read_bytes() == settled(home)


def test_what_every_format_reads_is_suspended_and_read_again_the_same() -> None:
    packed = 0
    for made in FORMATS.values():
        for sample in made.samples:
            if sample.rejected is not None or sample.skipped is not None:
                continue
            known = {"timezone": "UTC", "logs_peer": "socket" if made.logs_peer else None}
            setup = Setup(system="web", format=made.name, **(known | dict(sample.setup)))  # type: ignore[arg-type]
            engine = Engine([System(name="web")], [LogSource(setup)], line_bytes=1 << 20)
            codec, line = Codec(engine, "web"), Line(sample.line, sample.line)
            seen = engine.again("web", line)
            record = Record(line, seen, Resolution("unknown", None, None, None, ()), "", entry=True)
            pending = codec.suspend(record, Inquiry())
            body = pending.observation
            packed += bool(body) and body[:1] != b"{"
            assert body
            assert setup.proof_key == b"" or setup.proof_key not in body
            assert pending.line() == line
            assert codec.observation(pending, line) == seen, sample
    assert packed > 50


def test_an_empty_file_is_none(tmp_path: Path) -> None:
    assert not BlockWriter(tmp_path / "blocks").close()
    assert not BucketWriter(tmp_path / "buckets").close()
    assert list(tmp_path.iterdir()) == []


# Bounds.


@pytest.mark.edge
def test_one_id_in_every_line_costs_neither_memory_nor_all_of_the_time(home: Path) -> None:
    hostile(home, 20_000)


@pytest.mark.prove
def test_one_id_a_million_times_and_a_million_foreign_ids(home: Path) -> None:
    hostile(home, 1_000_000)


def hostile(home: Path, count: int) -> None:
    """Lines of which half show the same id, the others one nobody knows; nothing is known of the connections."""
    files = world(Shape(flows=1, balancer=True, shows_port=False))
    app, (first, lb, *_, last) = files.logs["app/app.log"][0], files.logs["lb/lb.log"]
    write(files, home)
    own = json.loads(app)["xrid"].encode()
    with (home / "app/app.log").open("wb") as out:
        for number in range(count):
            out.write(app.replace(own, own if number % 2 else b"no-%d" % number) + b"\n")
    with (home / "lb/lb.log").open("wb") as out:
        for line in chain([first], repeat(lb, count), [last]):
            out.write(line + b"\n")
    code = (
        "from clientip.edges.cli.main import app; app(standalone_mode=False)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    arguments = ["replay", "-c", "c.toml", "-o", "out", "--workers", "1"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.PIPE)
    assert int(done.stdout) < 250 * 1024  # kB, of which 50 MB are the program itself
    reasons = json.loads((home / "out/summary.json").read_text())["systems"]["app"]["reasons"]
    assert reasons == {"crowded": count // 2, "evidence_missing": count // 2}
