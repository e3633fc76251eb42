"""One worker process of a stream, as its supervisor starts it: `python -m clientip.edges.stream.worker reader 0 …`.

Its configuration comes from the supervisor's settings log; SIGHUP says that there is a new one. The exit codes are
those of `clientip`: 0 stopped by a signal, 2, 3, 4.
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
from threading import Thread
from types import TracebackType
from typing import Final

from clientip.edges.kafka.waiting import StoppedError
from clientip.edges.stream.context import Context
from clientip.edges.stream.settings_log import SettingsLog
from clientip.edges.telemetry.telemetry import Telemetry, open_telemetry
from clientip.errors import ConfigError, SinkError
from clientip.settings import Settings

Work = Callable[[Context], None]

SNAPSHOT_S: Final = 1.0
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # blocked in a worker that starts, until it is ready
_PR_SET_PDEATHSIG: Final = 1


def _reader(context: Context) -> None:
    import_module("clientip.edges.stream.reader").work(context)


def _answerer(context: Context) -> None:
    import_module("clientip.edges.stream.answerer").work(context)


WORK: Final[Mapping[str, Work]] = {"reader": _reader, "answerer": _answerer}  # each loads only its own half


class StopAndReload:
    """What signals have asked of this process: SIGTERM and SIGINT to stop, SIGHUP to read the configuration again."""

    def __init__(self) -> None:
        self._stop = self._reload = False
        self.on_stop: Callable[[], object] = lambda: None  # called at each signal to stop
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        signal.signal(signal.SIGHUP, self._asked_to_reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _asked_to_stop(self, _number: int, _frame: object) -> None:
        self._stop = True
        self.on_stop()

    def _asked_to_reload(self, _number: int, _frame: object) -> None:
        self._reload = True

    def is_stop_asked(self) -> bool:
        """Whether to stop."""
        return self._stop

    def take_reload(self) -> bool:
        """Whether to read the configuration again; True once for all signals since the last call."""
        asked, self._reload = self._reload, False
        return asked


class _Configurations:
    """The configurations of this worker, one after the other, as the supervisor appends them to its log."""

    def __init__(self, signals: StopAndReload, log: SettingsLog) -> None:
        self._signals, self._log = signals, log
        self._waiting: list[Settings] = []

    def next(self) -> Settings | None:
        """The one after the present one; None if there is none."""
        if self._signals.take_reload():
            self._waiting += self._log.news()
        return self._waiting.pop(0) if self._waiting else None


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m clientip.edges.stream.worker", description="One worker of a supervised stream."
    )
    parser.add_argument("role", choices=tuple(WORK))
    parser.add_argument("number", type=int)
    parser.add_argument("--name", required=True, help="of the instance; the worker is NAME-ROLE-NUMBER")
    parser.add_argument("--settings", type=int, required=True, help="descriptor of the supervisor's settings log")
    parser.add_argument("--snapshots", type=int, required=True, help="descriptor that takes all figures every second")
    parser.add_argument("--parent", type=int, required=True, help="process with which this one ends")
    return parser.parse_args(arguments)


def worker_name(name: str, role: str, number: int) -> str:
    """The name that a supervised worker keeps through all restarts."""
    return f"{name}-{role}-{number}"


def main(arguments: list[str], work: Mapping[str, Work] = WORK) -> int:
    """Be one supervised worker until a signal ends it; the exit code."""
    sys.excepthook = report_defect
    given = _arguments(arguments)
    _die_with(given.parent)
    signals, name = StopAndReload(), worker_name(given.name, given.role, given.number)
    try:
        with open_telemetry(name) as telemetry:
            log = SettingsLog(given.settings)
            *previous, settings = log.news()
            Thread(target=_report, args=(telemetry, given.snapshots), daemon=True).start()
            reloaded = _Configurations(signals, log).next
            context = Context(settings, tuple(previous), name, telemetry, signals.is_stop_asked, reloaded)
            return run(work[given.role], context)
    except ConfigError as error:
        for fault in error.faults:
            sys.stderr.write(f"clientip: {fault}\n")
        return 2


def run(work: Work, context: Context) -> int:
    """Do the work of one worker in this process until it is asked to stop; the exit code: 0, or 3 if the world failed.

    Errors: ConfigError.
    """
    # The data of lines has no reference cycles, and there is much of it: a search for cycles at the usual pace costs
    # a tenth of the time.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    telemetry = context.telemetry
    telemetry.say("started", pid=os.getpid())
    try:
        work(context)
    except StoppedError as stopped:
        telemetry.say("stopped", text=str(stopped))
        return 0
    except SinkError as error:
        telemetry.say("failed", level="error", text=str(error), lasting="no" if error.retry else "yes")
        return 3
    telemetry.say("stopped")
    return 0


def _report(telemetry: Telemetry, pipe: int) -> None:
    """Send the figures to the supervisor as long as there is one."""
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


def report_defect(_kind: type[BaseException], error: BaseException, _at: TracebackType | None) -> None:
    """Write where a defect happened, but not the errors' own texts: they may quote lines that were read."""
    chain: BaseException | None = error
    while chain is not None:
        frames = "".join(traceback.format_tb(chain.__traceback__))
        sys.stderr.write(f"{frames}{type(chain).__module__}.{type(chain).__qualname__}\n")
        chain = chain.__cause__ or chain.__context__
    sys.stderr.write("clientip: this is a defect of clientip\n")
    raise SystemExit(4)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
