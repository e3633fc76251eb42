"""The whole of it: `clientip replay` with one worker over a file, and VRL over the same file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.cases import Case
from benchmarks.lines import requests

CLIENTIP: Final = "from clientip.edges.cli.main import main; main()"  # needs no installed script


class Spent(NamedTuple):
    """Seconds of one run of a program, its children included."""

    processor: float
    wall: float


class Replayed(NamedTuple):
    """Medians of the rounds."""

    lines: int
    size: int  # bytes
    ours: Spent
    theirs: Spent


def replay(case: Case, megabytes: int, rounds: int) -> Replayed:
    """Both programs in turn, `rounds` times; every run starts with nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, config = folder / "web.log", folder / "clientip.toml"
        config.write_text(case.config)
        count = _write(case, source, megabytes * 1_000_000)
        ours, theirs = [], []
        for number in range(rounds):
            out = folder / f"out{number}"
            call = ["-c", CLIENTIP, "replay", "-c", config, "-o", out, "--workers", "1", "--system", "web", source]
            ours.append(run(list(map(str, call))))
            theirs.append(run(["-m", "benchmarks.peer_vrl_replay", case.name, str(source), str(folder / "vrl.out")]))
            for part in out.iterdir():
                part.unlink()
        return Replayed(count, source.stat().st_size, _middle(ours), _middle(theirs))


def _write(case: Case, target: Path, size: int) -> int:
    """Lines until the file has `size` bytes; how many they are."""
    count = written = 0
    with target.open("wb") as out:
        for request in requests(1, sys.maxsize):
            written += out.write(case.write(request).encode() + b"\n")
            count += 1
            if written >= size:
                return count
    raise AssertionError


def run(arguments: list[str]) -> Spent:
    """Python with these arguments: what it and its children took."""
    before, began = os.times(), time.monotonic()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Spent(used, time.monotonic() - began)


def _middle(runs: list[Spent]) -> Spent:
    return Spent(median(run.processor for run in runs), median(run.wall for run in runs))
