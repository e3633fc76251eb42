"""`clientip stream --role`: one worker in this process, for Kubernetes and systemd, which start it again themselves.

SIGTERM and SIGINT end it; SIGHUP makes it read its configuration again. It serves its own figures and health. After a
restart it knows the configurations from before only if `--previous` names them: there is no supervisor to keep them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Final

from clientip.config import load as config
from clientip.edges.stream.context import Context
from clientip.edges.stream.reload import ConfigurationFiles
from clientip.edges.stream.worker import WORK, StopAndReload, report_defect, run
from clientip.edges.telemetry import figures
from clientip.edges.telemetry.health import serve
from clientip.edges.telemetry.prometheus_page import prometheus_page
from clientip.edges.telemetry.systemd import ALIVE, READY, STOPPING, notify, reloading
from clientip.edges.telemetry.telemetry import Telemetry, open_telemetry
from clientip.settings import Settings

_NOTIFY_S: Final = 1.0


def run_alone(role: str, paths: Sequence[Path], name: str, listen: str | None, previous: Sequence[Path]) -> int:
    """Be one worker until a signal ends it; the exit code: 0 if a signal did, 3 if the world failed.

    `name`: the worker's own, the same after every restart. `listen`: HOST:PORT of its page; None: it has none.
    Errors: ConfigError; SinkError if the page's address cannot be had. A defect ends the process with 4.
    """
    sys.excepthook = report_defect
    signals = StopAndReload()
    with open_telemetry(name) as telemetry:
        older = tuple(config.load([path]) for path in previous)
        files = ConfigurationFiles(paths, telemetry)
        context = Context(files.settings, older, name, telemetry, signals.is_stop_asked, _reloads(signals, files))
        with _served(name, listen, telemetry), _manager_told(signals, telemetry):
            return run(WORK[role], context)


def _reloads(signals: StopAndReload, files: ConfigurationFiles) -> Callable[[], Settings | None]:
    """What gives a new configuration after SIGHUP, once, and None otherwise."""

    def reloaded() -> Settings | None:
        if not signals.take_reload():
            return None
        notify(reloading())
        found = files.reload()
        notify(READY)
        return found

    return reloaded


@contextmanager
def _served(name: str, listen: str | None, telemetry: Telemetry) -> Iterator[None]:
    """Serve the worker's figures and health meanwhile."""

    def own() -> dict[str, figures.Snapshot]:
        return {name: figures.read(telemetry.snapshot())}

    if listen is None:
        yield
        return
    page, live = lambda: prometheus_page(own()), lambda: figures.alive(own(), time.monotonic())
    with serve(listen, page, live, lambda: figures.ready(own(), [name])) as (host, port):
        telemetry.say("listening", host=host, port=port)
        yield


@contextmanager
def _manager_told(signals: StopAndReload, telemetry: Telemetry) -> Iterator[None]:
    """Tell the service manager meanwhile that the worker runs, as long as its loop comes round, and that it ends."""
    ended = Event()

    def tell() -> None:
        while not ended.wait(_NOTIFY_S):
            if figures.alive({"": figures.read(telemetry.snapshot())}, time.monotonic()):
                notify(ALIVE)

    notify(READY)
    signals.on_stop = lambda: notify(STOPPING)
    Thread(target=tell, name="manager", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
