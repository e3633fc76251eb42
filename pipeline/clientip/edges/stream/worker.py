"""One worker process of a stream, as a program: `python -m clientip.edges.stream.worker reader 0 --name NAME …`.

Its configuration comes from the supervisor's settings log or, where it runs alone, from files (`-c`, `--previous`).
SIGHUP says that there is a new one. The exit codes are `clientip`'s: 0 stopped as asked, 2, 3, 4.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Final

from clientip.config import load as config
from clientip.edges.stream.context import Context
from clientip.edges.stream.settings_log import SettingsLog
from clientip.edges.telemetry.telemetry import Telemetry, open_telemetry
from clientip.errors import ConfigError, SinkError
from clientip.settings import Settings

Work = Callable[[Context], None]

SNAPSHOT_S: Final = 1.0
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # a starting worker is born with them blocked
_PR_SET_PDEATHSIG: Final = 1


def _reader(context: Context) -> None:
    import_module("clientip.edges.stream.reader").work(context)


def _answerer(context: Context) -> None:
    import_module("clientip.edges.stream.answerer").work(context)


WORK: Final[Mapping[str, Work]] = {"reader": _reader, "answerer": _answerer}  # each loads only its own half


class _Asked:
    """What signals asked of the process meanwhile."""

    def __init__(self) -> None:
        self.stop = self.reload = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _stop(self, _number: int, _frame: object) -> None:
        self.stop = True

    def _reload(self, _number: int, _frame: object) -> None:
        self.reload = True


class _Configurations:
    """The configurations of this worker, one after the other."""

    def __init__(self, asked: _Asked, log: SettingsLog, files: list[Path], telemetry: Telemetry) -> None:
        self._asked, self._log, self._files, self._telemetry = asked, log, files, telemetry
        self._waiting: list[Settings] = []

    def next(self) -> Settings | None:
        """The one after the present one; None where there is none."""
        if self._asked.reload:
            self._asked.reload = False
            if self._files:
                self._load()
            self._waiting += self._log.news()
        return self._waiting.pop(0) if self._waiting else None

    def _load(self) -> None:
        try:
            self._log.append(config.load(self._files))
        except ConfigError as error:
            for fault in error.faults:
                self._telemetry.say("config.fault", level="error", text=str(fault))


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m clientip.edges.stream.worker", description="One worker of a stream."
    )
    parser.add_argument("role", choices=tuple(WORK))
    parser.add_argument("number", type=int)
    parser.add_argument("--name", required=True, help="of the instance; the worker is NAME-ROLE-NUMBER")
    parser.add_argument("-c", "--config", type=Path, action="append", default=[])
    parser.add_argument("--previous", type=Path, action="append", default=[], help="an older configuration")
    parser.add_argument("--settings", type=int, help="descriptor of the supervisor's settings log")
    parser.add_argument("--snapshots", type=int, help="descriptor that takes a snapshot of all figures every second")
    parser.add_argument("--parent", type=int, help="process with which this one ends")
    given = parser.parse_args(arguments)
    if bool(given.config) == (given.settings is not None):
        parser.error("give either files or the descriptor of a settings log")
    return given


def worker_name(name: str, role: str, number: int) -> str:
    """The name that a worker keeps through all restarts."""
    return f"{name}-{role}-{number}"


def main(arguments: list[str], work: Mapping[str, Work] = WORK) -> int:
    """Be one worker until told to end; the exit code."""
    sys.excepthook = _defect
    given = _arguments(arguments)
    if given.parent is not None:
        _die_with(given.parent)
    asked = _Asked()
    try:
        with open_telemetry(worker_name(given.name, given.role, given.number)) as telemetry:
            return _work(work[given.role], given, asked, telemetry)
    except ConfigError as error:
        for fault in error.faults:
            sys.stderr.write(f"clientip: {fault}\n")
        return 2


def _work(work: Work, given: argparse.Namespace, asked: _Asked, telemetry: Telemetry) -> int:
    log = SettingsLog(given.settings)
    for path in given.previous:
        log.append(config.load([path]))
    if given.config:
        log.append(config.load(given.config))
    *previous, settings = log.news()
    if given.snapshots is not None:
        Thread(target=_report, args=(telemetry, given.snapshots), daemon=True).start()
    configurations = _Configurations(asked, log, given.config, telemetry)
    name = worker_name(given.name, given.role, given.number)
    # What lines become has no cycles, and there is much of it: looking for some at the usual pace costs a tenth.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    telemetry.say("started", pid=os.getpid())
    try:
        work(Context(settings, tuple(previous), name, telemetry, lambda: asked.stop, configurations.next))
    except SinkError as error:
        telemetry.say("failed", level="error", text=str(error), lasting="no" if error.retry else "yes")
        return 3
    telemetry.say("stopped")
    return 0


def _report(telemetry: Telemetry, pipe: int) -> None:
    """Tell the supervisor how this worker fares, as long as there is one."""
    while True:
        snapshot = memoryview(telemetry.snapshot() + b"\n")
        while snapshot:
            try:
                snapshot = snapshot[os.write(pipe, snapshot) :]
            except BrokenPipeError:
                return
        time.sleep(SNAPSHOT_S)


def _die_with(parent: int) -> None:
    """The kernel kills this process when its parent ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before
        raise SystemExit(3)


def _defect(_kind: type[BaseException], error: BaseException, _at: TracebackType | None) -> None:
    """Where it happened, but not the errors' own texts: they may quote lines that were read."""
    chain: BaseException | None = error
    while chain is not None:
        frames = "".join(traceback.format_tb(chain.__traceback__))
        sys.stderr.write(f"{frames}{type(chain).__module__}.{type(chain).__qualname__}\n")
        chain = chain.__cause__ or chain.__context__
    sys.stderr.write("clientip: this is a defect of clientip\n")
    raise SystemExit(4)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
