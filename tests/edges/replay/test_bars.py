"""The bars that need size: memory that does not grow with the input, and a kill in the middle of much work."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worlds.patience import until
from tests.worlds.sizes import SIZE

MIB = 1 << 20
CONFIG = """
[systems.lb]
addresses = ["10.0.0.0/24"]
peers = ["outside"]
conveys = [{ header = "x-forwarded-for", mode = "append" }]

[systems.web]
format = "traefik_json"
logs_peer = "socket"
peers = ["lb"]
inputs = ["web.log"]
"""


def write_log(folder: Path, mebibytes: int) -> None:
    """A log of about this size: distinct lines for 8 MiB, then the same again at other offsets."""
    block = b"".join(
        b'{"ClientAddr":"10.0.0.%d:%d","ClientHost":"203.0.113.%d","DownstreamStatus":200,"Duration":1200000,'
        b'"RequestAddr":"www.example.com","RequestHost":"www.example.com","RequestMethod":"GET","RequestPath":"/%d",'
        b'"RequestProtocol":"HTTP/1.1","StartUTC":"2026-03-02T10:%02d:%02d.%09dZ","msg":"%s",'
        b'"request_X-Forwarded-For":"8.8.%d.%d, 203.%d.%d.%d"}\n'
        % (
            number % 250 + 1, 1024 + number % 60000, number % 250 + 1, number, number // 60 % 60, number % 60,
            number, b"x" * 700, number % 256, number % 251, number % 250, number // 250 % 250, number % 199 + 1,
        )
        for number in range(7900)
    )  # fmt: skip
    with (folder / "web.log").open("wb") as log:
        for _ in range(mebibytes * MIB // len(block) + 1):
            log.write(block)
    (folder / "clientip.toml").write_text(CONFIG)


def command(folder: Path, out: str) -> list[str]:
    return [
        sys.executable, "-c", "from clientip.edges.cli.main import main; main()", "replay",
        "-c", str(folder / "clientip.toml"), "-o", str(folder / out), "--workers", "2",
    ]  # fmt: skip


def peak_kib(arguments: list[str]) -> int:
    """Peak memory of the largest process of a command, from a child that runs nothing else."""
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    return int(done.stdout)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.prove
def test_memory_after_a_hundred_times_the_input_is_as_before(tmp_path: Path) -> None:
    peaks = []
    for name, mebibytes in (("small", 100), ("large", 100 * SIZE)):
        folder = tmp_path / name
        folder.mkdir()
        write_log(folder, mebibytes)
        peaks.append(peak_kib(command(folder, "out")))
        for path in (folder / "out").glob("*.ndjson"):
            path.unlink()
        (folder / "web.log").unlink()
    print(f"peak KiB after 100 MiB and {100 * SIZE} MiB: {peaks}")
    assert peaks[1] < peaks[0] * 1.1 + 8 * 1024, peaks


@pytest.mark.prove
def test_killed_again_and_again_in_the_middle_of_much_work_it_gives_the_same_bytes(tmp_path: Path) -> None:
    write_log(tmp_path, 300)
    subprocess.run(command(tmp_path, "whole"), check=True, stderr=subprocess.DEVNULL)
    done = tmp_path / "killed" / "manifest.ndjson"
    for number in range(max(3, SIZE // 5)):
        run = subprocess.Popen(command(tmp_path, "killed"), stderr=subprocess.DEVNULL, start_new_session=True)
        wanted = number // 2  # half of the kills come before anything more is done
        until(lambda run=run, wanted=wanted: run.poll() is not None or lines(done) >= wanted)  # type: ignore[misc]
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    subprocess.run(command(tmp_path, "killed"), check=True, stderr=subprocess.DEVNULL)
    for name in ("enriched.ndjson", "rejected.ndjson", "summary.json"):
        assert digest(tmp_path / "whole" / name) == digest(tmp_path / "killed" / name)
