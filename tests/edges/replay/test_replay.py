"""Replay: the same bytes whatever the workers, their order and the kills; nothing lost; counts that add up."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from clientip.config import load as configuration
from clientip.edges.disk.inputs import find_inputs
from clientip.edges.disk.parts import PartFile, merge, part_path
from clientip.edges.replay.plan import ReplayOptions, Request, chunks_of
from clientip.edges.replay.progress import Meter
from clientip.edges.replay.read_pass import open_job, process
from clientip.edges.replay.run import plan_of, replay, summary_of
from clientip.edges.replay.tally import Tally, most_frequent, totals
from clientip.errors import ConfigError, SinkError
from clientip.formats.otlp.samples import TRACE_SAMPLES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.worlds.patience import LIMIT_S
from tests.worlds.standing import Moment, Standing

CONFIG = """
[systems.lb]
addresses = ["10.0.0.10", "10.0.0.11"]
peers = ["outside"]
conveys = [{ header = "x-forwarded-for", mode = "append" }]

[systems.web]
format = "nginx"
escape = "json"
logs_peer = "socket"
pattern = 'PATTERN'
inputs = ["logs/{instance}.log*"]
peers = ["lb", "outside"]

[systems.pods]
format = "nginx"
escape = "json"
logs_peer = "socket"
wrapper = "cri"
pattern = 'PATTERN'
inputs = ["pods/*.log"]
peers = ["lb", "outside"]

[systems.nodes]
format = "conntrack"
inputs = ["nat/*.log"]
peers = ["outside"]

[limits]
line_bytes = 4096
"""
PATTERN = (
    '{"t":"$msec","rt":"$request_time","peer":"$remote_addr","port":"$remote_port",'
    '"xff":"$http_x_forwarded_for","req":"$request","st":$status}'
)

MAIN = [sys.executable, "-c", "from clientip.edges.cli.main import main; main()"]
NAT = (
    b"[1714557600.123456] [NEW] tcp 6 120 SYN_SENT src=203.0.113.7 dst=192.0.2.10 sport=40000 dport=443 [UNREPLIED] "
    b"src=10.244.1.5 dst=10.1.0.7 sport=8443 dport=61001 id=3668417984"
)


def log_lines(count: int, seed: int = 1, start: int = 1_700_000_000) -> Iterator[bytes]:
    rng = random.Random(seed)
    for number in range(count):
        client = f"203.0.113.{rng.randrange(256)}"
        peer = rng.choice([client, "10.0.0.10", "10.0.0.11", "192.168.7.7"])
        row = {
            "t": f"{start + number}.005",
            "rt": "0.005",
            "peer": peer,
            "port": str(rng.randrange(1024, 65535)),
            "xff": "-" if peer == client else f"1.2.3.4, {client}",
            "req": f"GET /{number} HTTP/1.1",
            "st": 200,
        }
        yield json.dumps(row, separators=(",", ":")).encode() if rng.random() > 0.02 else rng.choice([b"", b"nonsense"])


def text_of(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "c.toml").write_text(CONFIG.replace("PATTERN", PATTERN))
    for folder in ("logs", "pods", "nat"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3] / "pipeline"))
    return tmp_path


def run(home: Path, *inputs: str, out: str = "out", workers: int = 1, **options: Any) -> dict[str, Any]:
    restart = options.pop("restart", False)
    request = Request(
        config=(home / "c.toml",), inputs=inputs, options=ReplayOptions(**options), workers=workers, restart=restart
    )
    replay(request, home / out, print)
    summary: dict[str, Any] = json.loads((home / out / "summary.json").read_text())
    return summary


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*MAIN, *arguments], capture_output=True, timeout=LIMIT_S, check=False, **options)


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.edge
@pytest.mark.parametrize("compress", ["none", "gzip", "zstd"])
def test_the_same_bytes_for_any_number_of_workers(home: Path, compress: str) -> None:
    for number in range(3):
        (home / f"logs/w{number}.log").write_bytes(text_of(log_lines(700, seed=number)))
    (home / "logs/w3.log.gz").write_bytes(gzip.compress(text_of(log_lines(500, seed=3))))
    digests = []
    for workers in (1, 2, 7):
        run(home, out=f"out{workers}", workers=workers, chunk_bytes=20_000, compress=compress)
        digests.append(digest(home / f"out{workers}"))
    assert digests[0] == digests[1] == digests[2]
    suffix = {"none": "", "gzip": ".gz", "zstd": ".zst"}[compress]
    assert set(digests[0]) == {
        f"enriched.ndjson{suffix}",
        "rejected.ndjson",
        "summary.json",
        "manifest.ndjson",
        "plan.json",
    }


def test_compressed_outputs_hold_the_rows_of_the_plain_one(home: Path) -> None:
    (home / "logs/a.log").write_bytes(text_of(log_lines(300)))
    for compress in ("none", "gzip", "zstd"):
        run(home, out=compress, compress=compress, chunk_bytes=10_000)
    plain = (home / "none/enriched.ndjson").read_bytes()
    assert gzip.decompress((home / "gzip/enriched.ndjson.gz").read_bytes()) == plain
    packed = (home / "zstd/enriched.ndjson.zst").open("rb")
    with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as reader:
        assert reader.read() == plain


def test_the_same_bytes_for_any_order_of_chunks(home: Path) -> None:
    (home / "logs/a.log").write_bytes(text_of(log_lines(500)))
    request = Request(config=(home / "c.toml",), options=ReplayOptions(chunk_bytes=9_000))
    loaded = configuration.load(request.config)
    plan = plan_of(request, loaded, print)
    chunks, job, found = list(chunks_of(plan)), open_job(request.config, plan), set()
    assert len(chunks) > 5
    for seed in range(3):
        folder = home / f"parts{seed}"
        folder.mkdir()
        random.Random(seed).shuffle(chunks)
        lengths = [0] * len(chunks)
        for chunk in chunks:
            done = process(job, chunk, folder, lambda _: None)
            lengths[done.chunk] = done.records
            temporary = folder / f"{part_path(folder, done.chunk, 'records').name}.{os.getpid()}.tmp"
            temporary.rename(part_path(folder, done.chunk, "records"))
        merge(folder, "records", lengths, folder / "whole")
        found.add((folder / "whole").read_bytes())
    assert len(found) == 1


def test_records_are_the_same_whatever_the_chunk_size_and_compression(home: Path) -> None:
    text = text_of(log_lines(400)).removesuffix(b"\n")
    seen = set()
    for name, data in {
        "a.log": text,
        "a.log.gz": gzip.compress(text[:5000]) + gzip.compress(text[5000:]),
        "a.log.bz2": bz2.compress(text),
        "a.log.zst": zstandard.compress(text),
    }.items():
        (home / "logs" / name).write_bytes(data)
        for size in (500, 7_777, 1 << 26):
            run(home, f"logs/{name}", chunk_bytes=size, restart=True)
            seen.add((home / "out/enriched.ndjson").read_bytes() + (home / "out/rejected.ndjson").read_bytes())
        (home / "logs" / name).unlink()
    assert len(seen) == 1


def cri(line: bytes, size: int) -> Iterator[bytes]:
    pieces = [line[start : start + size] for start in range(0, len(line), size)] or [b""]
    for number, piece in enumerate(pieces):
        yield b"2024-05-01T10:00:00.%09dZ stdout %s %s" % (number, b"F" if number == len(pieces) - 1 else b"P", piece)


def test_parts_of_container_lines_are_joined_across_chunk_borders(home: Path) -> None:
    whole = [line for line in log_lines(200) if line.startswith(b"{")]
    parts = [part for line in whole for part in cri(line, 60)]
    (home / "pods/p.log").write_bytes(text_of(parts))
    (home / "logs/p.log").write_bytes(text_of(whole))
    summary = run(home, "pods/p.log", chunk_bytes=1000)["systems"]["pods"]
    assert summary["records"] == len(whole)
    assert summary["parts"] == len(parts) - len(whole)
    verdicts = [row["clientip"]["verdict"] for row in rows(home / "out/enriched.ndjson")]
    run(home, "logs/p.log", out="plain")
    assert verdicts == [row["clientip"]["verdict"] for row in rows(home / "plain/enriched.ndjson")]


def test_parts_whose_end_never_came_are_rejected_and_counted_once(home: Path) -> None:
    *_, whole = log_lines(3)
    first, *_ = cri(whole, 60)
    (home / "pods/p.log").write_bytes(text_of([first]))
    summary = run(home, "pods")["systems"]["pods"]
    assert (summary["lines"], summary["parts"], summary["rejected"]) == (1, 0, {"truncated": 1})


def test_a_damaged_file_gives_its_lines_and_fails_the_run(home: Path) -> None:
    packed = gzip.compress(text_of(log_lines(3000)))
    (home / "logs/a.log.gz").write_bytes(packed[: len(packed) * 2 // 3])
    (home / "logs/b.log").write_bytes(text_of(log_lines(10)))
    done = command("replay", "logs", "-c", "c.toml", "-o", "out", "--workers", "1")
    assert done.returncode == 3
    assert b"a.log.gz: the compressed data ends too early" in done.stderr
    summary = json.loads((home / "out/summary.json").read_text())
    assert len(summary["faults"]) == 1
    web = summary["systems"]["web"]
    assert web["lines"] > 1000
    assert web["rejected"]["truncated"] == 1


def test_a_line_without_end_and_nul_bytes_and_crlf_are_lines(home: Path) -> None:
    good = next(iter(log_lines(1)))
    (home / "logs/a.log").write_bytes(good + b"\r\n\0\0\0\r\n\n" + good)
    web = run(home)["systems"]["web"]
    assert (web["lines"], web["records"], web["skipped"]) == (4, 2, {"blank": 1})
    assert sum(web["rejected"].values()) == 1


def test_an_over_long_line_is_kept_in_part_and_its_length_told(home: Path) -> None:
    good = next(iter(log_lines(1)))
    (home / "logs/a.log").write_bytes(good + b"\n" + b"x" * 10_000 + b"\n" + good + b"\n")
    web = run(home, chunk_bytes=700)["systems"]["web"]
    assert (web["records"], web["rejected"]) == (2, {"too_long": 1})
    [row] = rows(home / "out/rejected.ndjson")
    assert (row["reason"], row["detail"], len(row["raw"]), row["offset"]) == (
        "too_long",
        "10000 bytes",
        4096,
        len(good) + 1,
    )


def test_memory_does_not_grow_with_the_longest_line(home: Path) -> None:
    with (home / "logs/a.log").open("wb") as file:
        for _ in range(300):
            file.write(b"x" * (1 << 20))
    code = (
        "from clientip.edges.cli.main import app; app(standalone_mode=False)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    arguments = ["replay", "logs", "-c", "c.toml", "-o", "out", "--workers", "1"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.PIPE)
    assert int(done.stdout) < 200 * 1024  # kB, of which most is the program itself


def test_a_range_of_time_shares_every_record_with_its_neighbour(home: Path) -> None:
    (home / "logs/a.log").write_bytes(text_of(log_lines(100)))
    border = (1_700_000_000 + 40) * 10**9
    everything = run(home, out="all")["systems"]["web"]["records"]
    early = run(home, out="early", until_ns=border)["systems"]["web"]
    late = run(home, out="late", from_ns=border)["systems"]["web"]
    assert early["records"] + late["records"] == everything
    assert early["records"] == late["skipped"]["out_of_range"] > 30


def test_facts_are_counted_and_written_only_when_asked_for(home: Path) -> None:
    (home / "nat/n.log").write_bytes(NAT + b"\n")
    assert run(home)["systems"]["nodes"]["facts"] == 1
    assert rows(home / "out/enriched.ndjson") == []
    run(home, out="with", facts=True)
    assert len(rows(home / "with/enriched.ndjson")) == 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([*log_lines(20), b"", b" ", b"{}", b"\0", b"x" * 5000, b"\r"]), max_size=30),
    st.integers(1, 3000),
    st.booleans(),
)
def test_counts_add_up_and_every_line_is_somewhere(home: Path, lines: list[bytes], size: int, ended: bool) -> None:
    text = text_of(lines)
    (home / "logs/a.log").write_bytes(text if ended else text.removesuffix(b"\n"))
    summary = run(home, chunk_bytes=size, restart=True)
    web = summary["systems"]["web"]
    assert web["lines"] == web["records"] + sum(web["skipped"].values()) + sum(web["rejected"].values())
    assert web["records"] == len(rows(home / "out/enriched.ndjson")) == sum(web["verdicts"].values())
    assert sum(web["rejected"].values()) == len(rows(home / "out/rejected.ndjson"))
    assert web["lines"] == text.count(b"\n") - (not ended and text.endswith(b"\n\n")) - (not ended and text == b"\n")


def test_systems_and_instances_follow_from_the_paths(home: Path) -> None:
    (home / "logs/one.log").write_bytes(b"1\n")
    (home / "logs/two.log.1.gz").write_bytes(gzip.compress(b"2\n"))
    (home / "pods/p.log").write_bytes(b"3\n")
    (home / "pods/.hidden").write_bytes(b"4\n")
    loaded = configuration.load([home / "c.toml"])
    found = find_inputs(loaded, (), None).files
    assert [(Path(each.path).name, each.system, each.instance) for each in found] == [
        ("one.log", "web", "one"),
        ("two.log.1.gz", "web", "two"),
        ("p.log", "pods", None),
    ]
    named = find_inputs(loaded, ("pods", "logs/*.log", "logs/one.log"), None).files
    assert [Path(each.path).name for each in named] == ["p.log", "one.log"]
    (home / "stray.txt").write_bytes(b"5\n")
    with pytest.raises(ConfigError, match=r"stray\.txt.*--system"):
        find_inputs(loaded, ("stray.txt",), None)
    assert find_inputs(loaded, ("stray.txt",), "web").files[0].system == "web"
    with pytest.raises(ConfigError, match="nothing matches nowhere"):
        find_inputs(loaded, ("nowhere",), None)


def test_a_path_is_of_its_system_however_it_and_the_pattern_are_written(home: Path) -> None:
    (home / "logs/one.log").write_bytes(b"1\n")
    (home / "here").mkdir()
    text = (home / "c.toml").read_text().replace('"logs/', '"../logs/')
    (home / "here/c.toml").write_text(text)
    for place in ("c.toml", "here/c.toml"):
        loaded = configuration.load([home / place])
        for name in ("logs/one.log", "here/../logs/one.log", "./logs/one.log"):
            [found] = find_inputs(loaded, (name,), None).files
            assert (found.system, found.instance) == ("web", "one")


def test_inputs_that_begin_alike_get_ids_of_their_own_and_a_warning(home: Path) -> None:
    for name in ("logs/a.log", "logs/b.log"):
        (home / name).write_bytes(b"same\n")
    found = find_inputs(configuration.load([home / "c.toml"]), (), "web")
    fingerprints = {each.fingerprint for each in found.files}
    assert len(fingerprints) == 2  # as instances `a` and `b`; and as generations where the instance is the same
    (home / "logs/a.log.1").write_bytes(b"same\n")
    found = find_inputs(configuration.load([home / "c.toml"]), (), "web")
    assert len({each.fingerprint for each in found.files}) == 3
    assert any("begins like" in warning for warning in found.warnings)


def test_another_plan_in_the_same_folder_is_refused_until_restart(home: Path) -> None:
    (home / "logs/a.log").write_bytes(text_of(log_lines(10)))
    run(home)
    before = digest(home / "out")
    run(home)
    assert digest(home / "out") == before
    with pytest.raises(ConfigError, match=r"chunk_bytes was .* --restart"):
        run(home, chunk_bytes=99)
    (home / "logs/a.log").write_bytes(text_of(log_lines(11)))
    with pytest.raises(ConfigError, match=r"a\.log has changed.*--restart"):
        run(home)
    run(home, restart=True)
    assert digest(home / "out") != before


def test_a_folder_with_somebody_elses_results_is_left_alone(home: Path) -> None:
    (home / "logs/a.log").write_bytes(text_of(log_lines(10)))
    (home / "out").mkdir()
    (home / "out/rejected.ndjson").write_text("precious")
    with pytest.raises(ConfigError, match="holds rejected"):
        run(home)
    assert (home / "out/rejected.ndjson").read_text() == "precious"


def interrupted(home: Path, moment: Moment, sent: signal.Signals) -> int:
    """Start a run into `out`, or go on with it, and stop it at this moment; the exit code."""
    arguments = ["replay", "logs", "-c", "c.toml", "-o", "out", "--workers", "3", "--chunk-size", "20000"]
    run = Standing(home / "out", moment, arguments, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert run.stands()
    return run.end(sent)


@pytest.mark.edge
def test_a_run_killed_at_any_moment_goes_on_to_the_same_bytes(home: Path) -> None:
    for number in range(3):
        (home / f"logs/w{number}.log").write_bytes(text_of(log_lines(2000, seed=number)))
    run(home, out="clean", chunk_bytes=20_000)
    moments = [
        Moment("plan.json"),
        Moment("parts", more=4),
        *(Moment("manifest.ndjson", count) for count in (1, 2, 5, 9, 14, 20)),
        Moment("enriched.ndjson.partial"),
        Moment("enriched.ndjson"),
        Moment("rejected.ndjson"),
        Moment("summary.json"),
    ]
    for moment in moments:
        assert interrupted(home, moment, signal.SIGKILL) == -signal.SIGKILL
    assert command("replay", "logs", "-c", "c.toml", "-o", "out", "--chunk-size", "20000").returncode == 0
    assert digest(home / "out") == digest(home / "clean")


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


def dying(real: Callable[..., None], moments: Iterator[int], stop: int) -> Callable[..., None]:
    def act(*arguments: object) -> None:
        if next(moments) == stop:
            raise Killed
        real(*arguments)

    return act


def test_a_killed_merge_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [b"part %d;" % number * number for number in range(12)]
    monkeypatch.setattr("clientip.edges.disk.parts.SYNC_BYTES", 100)
    for stop in range(24):
        folder, moments = tmp_path / str(stop), itertools.count()
        folder.mkdir()
        for number, content in enumerate(contents):
            part_path(folder, number, "records").write_bytes(content)
        lengths = [len(content) for content in contents]
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(os, "fsync", dying(os.fsync, moments, stop))
            patch.setattr(Path, "unlink", dying(Path.unlink, moments, stop))
            merge(folder, "records", lengths, folder / "whole")
        merge(folder, "records", lengths, folder / "whole")
        assert (folder / "whole").read_bytes() == b"".join(contents)
        assert [path.name for path in folder.iterdir()] == ["whole"]


@pytest.mark.edge
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_so_and_can_go_on(home: Path, sent: signal.Signals, code: int) -> None:
    for number in range(3):
        (home / f"logs/w{number}.log").write_bytes(text_of(log_lines(4000, seed=number)))
    assert interrupted(home, Moment("manifest.ndjson", 3), sent) == code
    assert not (home / "out/summary.json").exists()
    done = command("replay", "logs", "-c", "c.toml", "-o", "out", "--chunk-size", "20000")
    assert done.returncode == 0, done.stderr
    assert b"going on" in done.stderr
    run(home, out="clean", chunk_bytes=20_000)
    assert digest(home / "out") == digest(home / "clean")


def test_a_dead_worker_is_an_error_and_no_hang(home: Path) -> None:
    for number in range(6):
        (home / f"logs/w{number}.log").write_bytes(text_of(log_lines(8000, seed=number)))
    arguments = ["replay", "logs", "-c", "c.toml", "-o", "out", "--workers", "2"]
    run = Standing(home / "out", Moment("manifest.ndjson", 1), arguments, stderr=subprocess.PIPE)
    pid = run.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    run.go_on()
    _, said = run.process.communicate(timeout=LIMIT_S)
    assert run.process.returncode == 3
    assert b"a worker process ended" in said


def test_a_full_disk_is_told_in_words_and_the_run_goes_on_later(home: Path) -> None:
    (home / "logs/a.log").write_bytes(text_of(log_lines(3000)))
    limited = ["bash", "-c", 'ulimit -f 200; trap "" XFSZ; exec "$@"', "-"]
    done = subprocess.run(
        [*limited, *MAIN, "replay", "logs", "-c", "c.toml", "-o", "out", "--workers", "1"],
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 3
    assert b"cannot write" in done.stderr
    assert b"Traceback" not in done.stderr
    assert command("replay", "logs", "-c", "c.toml", "-o", "out").returncode == 0


def test_no_space_left_is_called_a_full_disk() -> None:
    part = PartFile(Path("/dev/full"), "none")
    with pytest.raises(SinkError, match="disk full"):
        part.write(b"x")


def test_a_line_unaccounted_for_is_a_defect_and_told(home: Path) -> None:
    (home / "logs/a.log").write_bytes(b"x\n")
    request = Request(config=(home / "c.toml",))
    plan = plan_of(request, configuration.load(request.config), print)
    with pytest.raises(RuntimeError, match="web: 2 lines came in, 1 are accounted for"):
        summary_of(plan, [Tally("web", lines=2, facts=1)], [])


def test_addresses_nobody_listed_are_counted_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clientip.edges.replay.tally.MAX_KEPT_UNLISTED", 2)
    assert most_frequent({"a": 1, "b": 5, "c": 3, "other": 9}) == {"b": 5, "c": 3, "other": 10}
    assert most_frequent({"b": 1, "a": 1, "c": 1}) == {"a": 1, "b": 1, "other": 1}
    monkeypatch.setattr("clientip.edges.replay.tally.MAX_UNLISTED", 2)
    [total] = totals(Tally("web", unlisted={word: number}) for number, word in enumerate("abcd", start=1))
    assert sum(total.unlisted.values()) == 10
    assert len(total.unlisted) <= 3


def test_progress_is_told_in_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clientip.edges.replay.progress.LINE_SECONDS", 0.0)
    with Meter(total=4 << 20, done=1 << 20) as meter:
        meter.moved(1 << 20)
    assert re.match(r"2 of 4 MiB, [0-9,.]+ MiB/s, \d+ s left\n", capsys.readouterr().err)
    with Meter(total=4096, phase="answering, round 1") as meter:
        meter.moved(17)
    assert capsys.readouterr().err == "answering, round 1: 17 of 4,096\n"


def test_a_pipe_with_a_name_is_refused_because_its_size_says_nothing(home: Path) -> None:
    os.mkfifo(home / "fifo")
    with pytest.raises((SinkError, ConfigError), match="fifo"):
        run(home, "fifo")


@pytest.mark.edge
def test_a_defect_in_a_worker_shows_its_traceback_and_ends_the_run(home: Path) -> None:
    (home / "logs/a.log").write_bytes(text_of(log_lines(500)))
    (home / "sitecustomize.py").write_text(
        "import clientip.edges.replay.read_pass as worker\n"
        "def broken(*_): raise ZeroDivisionError('planted')\n"
        "worker.Pass.frame = broken\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{home}:{os.environ['PYTHONPATH']}"}
    for workers in ("1", "2"):
        arguments = [
            "replay",
            "logs",
            "-c",
            "c.toml",
            "-o",
            f"out{workers}",
            "--workers",
            workers,
            "--chunk-size",
            "20000",
        ]
        done = command(*arguments, env=environment)
        assert done.returncode == 4
        assert b"planted" in done.stderr
        assert b"this is a defect of clientip" in done.stderr


def test_messages_behind_their_lengths_hold_several_spans_each_counted(home: Path) -> None:
    drawn = (
        '[systems.spans]\nformat = "otlp_traces_proto"\nlogs_peer = "socket"\ninputs = ["s.bin"]\npeers = ["outside"]\n'
    )
    (home / "c.toml").write_text(drawn)
    batch = json.loads(TRACE_SAMPLES[0].line)
    [span] = batch["resourceSpans"][0]["scopeSpans"][0]["spans"]
    batch["resourceSpans"][0]["scopeSpans"][0]["spans"] = [span, span | {"kind": 3}, span]
    message = json.dumps(batch).encode()
    (home / "s.bin").write_bytes((len(message).to_bytes(4, "big") + message) * 2 + b"\0\0\0\x09cut")
    spans = run(home, chunk_bytes=100)["systems"]["spans"]
    assert spans["lines"] == 7
    assert (spans["records"], spans["skipped"], spans["rejected"]) == (4, {"inner_span": 2}, {"truncated": 1})
