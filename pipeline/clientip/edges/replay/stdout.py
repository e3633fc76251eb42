"""Replay to standard output: one process, rows as soon as their lines are there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from clientip.config import load as config
from clientip.edges.disk.files import Broken
from clientip.edges.disk.parts import disk_faults
from clientip.edges.geo import open_geo
from clientip.edges.replay.ends import sink_of, source_of
from clientip.edges.replay.plan import ChunkReader, Request, chunks_of
from clientip.edges.replay.read_pass import Job, Pass, Rows
from clientip.edges.replay.run import plan_of, refuse_missing, summary_of
from clientip.edges.replay.summary import Summary
from clientip.edges.replay.tally import Tally
from clientip.edges.replay.translated import met_in
from clientip.edges.replay.unread import complaints, unread_systems
from clientip.engine import build
from clientip.errors import ConfigError, Fault, SinkError

STDOUT: Final = 1
RELOAD_SECONDS: Final = 5.0


def stream(request: Request, rejected: Path | None, warn: Callable[[str], None]) -> Summary:
    """All inputs in order to standard output. Rejected lines go to `rejected`, or are counted only.

    BrokenPipeError if the reader has gone.
    """
    settings = config.load(request.config)
    if source_of(settings, request) is not None or sink_of(settings, request) is not None:
        raise ConfigError([Fault("", "--out", "give a folder: what is read from Kafka, or sent to it, is noted there")])
    plan, geo = plan_of(request, settings, warn), open_geo(settings)
    refuse_missing(request, settings, plan)
    job = Job(plan, build(settings, met_in(settings, plan)), geo, settings)
    tallies: list[Tally] = []
    faults: list[str] = []
    sink = _Sink(rejected or Path(os.devnull))
    looked = time.monotonic()
    for chunk in chunks_of(plan):
        through = Pass(job, chunk)
        for frame in ChunkReader(chunk, plan).frames():
            if isinstance(frame, Broken):
                faults.append(f"{chunk.input.path}: {frame.text}")
                break
            sink.write(through.frame(frame), chunk.input.system)
            if time.monotonic() - looked > RELOAD_SECONDS:  # a pipe may run for months
                geo.reload_if_replaced()
                looked = time.monotonic()
        sink.write(through.end(), chunk.input.system)
        tallies.append(through.tally())
    summary = summary_of(plan, tallies, faults)
    for complaint in complaints(unread_systems(summary), sink.first, plan.inputs):
        warn(complaint)
    return summary


class _Sink:
    """Standard output, and the file of rejected lines; unbuffered, so that a reader of the pipe waits for nothing."""

    def __init__(self, rejected: Path) -> None:
        self._path = rejected
        self.first: dict[str, bytes] = {}  # rejected row of each system
        with disk_faults("write", rejected):
            self._rejected = rejected.open("wb", buffering=0)

    def write(self, rows: Rows, system: str) -> None:
        left = memoryview(rows.records)
        while left:
            try:
                left = left[os.write(STDOUT, left) :]
            except BrokenPipeError:
                raise
            except OSError as error:
                raise SinkError(f"cannot write to standard output: {error.strerror}", retry=False) from error
        if rows.rejected:
            self.first.setdefault(system, rows.rejected.partition(b"\n")[0])
            with disk_faults("write", self._path):
                self._rejected.write(rows.rejected)
