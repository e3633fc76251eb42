"""`clientip stream`: keeps the worker processes of a stream at work. It touches no line itself.

Workers that die are started again, workers that do not respond are killed, and all of them end with this process.
None of that does harm, because a transaction is whole or not there.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from clientip.config import load as config
from clientip.edges.stream.child import PAUSES_S, Child, running
from clientip.edges.stream.reload import ConfigurationFiles
from clientip.edges.stream.settings_log import SettingsLog
from clientip.edges.telemetry import figures
from clientip.edges.telemetry.health import DEFAULT, served
from clientip.edges.telemetry.prometheus_page import prometheus_page
from clientip.edges.telemetry.systemd import ALIVE, READY, STOPPING, notify, reloading
from clientip.edges.telemetry.telemetry import Telemetry

STOP_S: Final = 8.0  # how long workers may take to end
_KILLED_S: Final = 1.0  # how long a killed one may take to be gone
_TURN_S: Final = 1.0
_LAST_TURN_S: Final = 0.2  # while the workers end
_FINAL_CODES: Final = (2, 4)  # exit codes that another start would only repeat
_END: Final = (signal.SIGTERM, signal.SIGINT)


class StreamOptions(NamedTuple):
    """The options of the command line."""

    name: str  # of this instance, the same after every restart
    listen: str | None = DEFAULT  # HOST:PORT of figures, and of health where it has no other; None: none
    previous: tuple[Path, ...] = ()  # older configurations, under which questions may still be open
    watchdog_s: float = 60.0
    module: str = "clientip.edges.stream.worker"
    probes: str | None = None  # HOST:PORT of health alone


def supervise(paths: Sequence[Path], readers: int, answerers: int, options: StreamOptions) -> int:
    """Run so many workers until a signal ends them; the exit code: 0, or that of a worker that no other start can mend.

    Errors: ConfigError; SinkError if the page's address is taken.
    """
    telemetry = Telemetry(f"{options.name}-supervisor")
    files, log = ConfigurationFiles(paths, telemetry), SettingsLog()
    for path in options.previous:
        log.append(config.load([path]))
    log.append(files.settings)
    roles = {"reader": readers, "answerer": answerers}
    children = [
        Child(options.module, options.name, role, number) for role, count in roles.items() for number in range(count)
    ]
    with ExitStack() as held:
        signals = held.enter_context(_signals())
        supervisor = _Supervisor(children, log, files, options, telemetry)
        shown = supervisor.page, supervisor.is_live, supervisor.is_ready
        for host, port in held.enter_context(served(options.listen, options.probes, *shown)):
            telemetry.say("listening", host=host, port=port)
        return supervisor.run(signals)


@contextmanager
def _signals() -> Iterator[int]:
    """A descriptor from which the numbers of arriving signals are read."""
    ours, theirs = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in (*_END, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)  # without a handler nothing is written to the descriptor
    signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(-1)
        os.close(ours)
        os.close(theirs)


class _Supervisor:
    def __init__(
        self,
        children: Sequence[Child],
        log: SettingsLog,
        files: ConfigurationFiles,
        options: StreamOptions,
        telemetry: Telemetry,
    ) -> None:
        self._children, self._log, self._files = children, log, files
        self._options, self._telemetry = options, telemetry
        self._code: int | None = None  # exit code; None: no reason to end yet
        self._until_s = 0.0  # when workers that still run are killed
        self._turned_s = time.monotonic()

    def page(self) -> str:
        """The figures of all processes, for Prometheus."""
        workers = {child.name: figures.ABSENT for child in self._children} | self._snapshots()
        own = figures.read(self._telemetry.snapshot())
        return prometheus_page({**workers, f"{self._options.name}-supervisor": own})

    def is_live(self) -> bool:
        """Whether this process and every worker that runs respond."""
        now = time.monotonic()
        return now - self._turned_s <= figures.SILENT_S and figures.alive(self._snapshots(), now)

    def is_ready(self) -> bool:
        """Whether every worker does its work."""
        return self._code is None and figures.ready(self._snapshots(), [child.name for child in self._children])

    def _snapshots(self) -> dict[str, figures.Snapshot]:
        pairs = [(child.name, child.snapshot) for child in self._children]
        return {name: snapshot for name, snapshot in pairs if snapshot is not None}

    def run(self, signals: int) -> int:
        """Work until there is a reason to end, and all workers have ended."""
        try:
            self._start_due()
            notify(READY)
            while not self._over():
                self._wait(signals)
                self._note_ended()
                self._kill_silent()
                self._start_due()
                notify(ALIVE)
        finally:
            for child in self._children:
                child.signal(signal.SIGKILL)
        assert self._code is not None
        self._telemetry.say("stopped", code=self._code)
        return self._code

    def _over(self) -> bool:
        """Whether to return: all workers have ended, or not even SIGKILL has ended them."""
        if self._code is None:
            return False
        left = running(self._children)
        return not left or time.monotonic() > self._until_s + _KILLED_S

    def _wait(self, signals: int) -> None:
        """Wait until there is something to do, a second at most, and take snapshots and signals."""
        now = self._turned_s = time.monotonic()
        times = [child.due_s for child in self._children if child.due_s is not None and self._code is None]
        turn_s = _TURN_S if self._code is None else _LAST_TURN_S
        wait_s = max(0.0, min([turn_s, *(each - now for each in times)]))
        pipes = {child.pipe: child for child in self._children if child.pipe is not None}
        readable, _, _ = select.select([signals, *pipes], [], [], wait_s)
        for pipe in readable:
            if pipe in pipes:
                pipes[pipe].listen()
        if signals in readable:
            for number in set(os.read(signals, 4096)):
                self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        if number in _END:
            self._telemetry.say("stopping", signal=signal.Signals(number).name)
            self._end(0)
        elif number == signal.SIGHUP and self._code is None:
            notify(reloading())
            self._reload()
            notify(READY)

    def _end(self, code: int) -> None:
        """Have all workers stop, and then this process with `code`. The first reason decides the code."""
        if self._code is not None:
            return
        self._code, self._until_s = code, time.monotonic() + STOP_S
        notify(STOPPING)
        for child in self._children:
            child.signal(signal.SIGTERM)

    def _note_ended(self) -> None:
        """Log the workers that ended; they are due to start again."""
        now = time.monotonic()
        for child in self._children:
            pid, code = child.pid, child.ended(now)
            if pid is None or code is None:
                continue
            if self._code is None or code != 0:
                assert child.due_s is not None
                pause = {} if self._code is not None else {"again_s": round(child.due_s - now)}
                self._telemetry.say("worker.ended", level="error", name=child.name, pid=pid, code=code, **pause)
            if code in _FINAL_CODES:
                self._end(code)

    def _kill_silent(self) -> None:
        """Kill workers that do not respond, and workers that do not end in time."""
        now = time.monotonic()
        overdue = self._code is not None and now > self._until_s
        for child in running(self._children):
            silent_s = child.silent_s(now)
            if not child.killed and (overdue or silent_s > self._options.watchdog_s):
                self._telemetry.say("worker.killed", level="error", name=child.name, silent_s=round(silent_s, 1))
                child.signal(signal.SIGKILL)

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if self._code is None and child.due_s is not None and child.due_s <= now:
                try:
                    child.start(self._log.fd)
                except OSError as error:
                    self._telemetry.say("worker.not_started", level="error", name=child.name, text=error.strerror or "")
                    child.due_s = now + PAUSES_S[-1]

    def _reload(self) -> None:
        settings = self._files.reload()
        if settings is not None:
            self._log.append(settings)
            for child in self._children:
                child.signal(signal.SIGHUP)
