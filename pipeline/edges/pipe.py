"""Replay to standard output: one process, rows as soon as their lines are there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from pipeline import config
from pipeline.edges.chunks import Reader, chunks_of
from pipeline.edges.files import Broken
from pipeline.edges.parts import told
from pipeline.edges.replay import Request, plan_of, summary_of
from pipeline.edges.summary import Summary
from pipeline.edges.tally import Tally
from pipeline.edges.worker import Job, Pass, Rows, open_geo
from pipeline.engine import build
from pipeline.errors import SinkError

STDOUT: Final = 1
RELOAD_SECONDS: Final = 5.0


def stream(request: Request, rejected: Path | None, warn: Callable[[str], None]) -> Summary:
    """All inputs in order to standard output. Rejected lines go to `rejected`, or are counted only.

    BrokenPipeError where nobody reads any more.
    """
    settings = config.load(request.config)
    plan, geo = plan_of(request, settings, warn), open_geo(settings)
    job = Job(plan, build(settings), geo)
    tallies: list[Tally] = []
    faults: list[str] = []
    with told(rejected or Path(os.devnull)), (rejected or Path(os.devnull)).open("wb", buffering=0) as sink:
        looked = time.monotonic()
        for chunk in chunks_of(plan):
            through = Pass(job, chunk)
            for frame in Reader(chunk, plan).frames():
                if isinstance(frame, Broken):
                    faults.append(f"{chunk.input.path}: {frame.text}")
                    break
                _write(through.frame(frame), sink)
                if time.monotonic() - looked > RELOAD_SECONDS:  # a pipe may run for months
                    geo.reload_if_replaced()
                    looked = time.monotonic()
            _write(through.end(), sink)
            tallies.append(through.tally())
    return summary_of(plan, tallies, faults)


def _write(rows: Rows, sink: BinaryIO) -> None:
    left = memoryview(rows.records)
    while left:
        try:
            left = left[os.write(STDOUT, left) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise SinkError(f"cannot write to standard output: {error.strerror}", retry=False) from error
    sink.write(rows.rejected)
