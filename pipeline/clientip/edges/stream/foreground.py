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
from typing import Final, NamedTuple

from clientip.config import load as config
from clientip.edges.stream.context import Context
from clientip.edges.stream.reload import ConfigurationFiles
from clientip.edges.stream.worker import WORK, StopAndReload, report_defect, run
from clientip.edges.telemetry import figures
from clientip.edges.telemetry.health import served
from clientip.edges.telemetry.prometheus_page import prometheus_page
from clientip.edges.telemetry.systemd import ALIVE, READY, STOPPING, notify, reloading
from clientip.edges.telemetry.telemetry import Telemetry, open_telemetry
from clientip.settings import Settings

_NOTIFY_S: Final = 1.0


class AloneOptions(NamedTuple):
    """What was asked for on the command line."""

    name: str  # the worker's own, the same after every restart
    listen: str | None  # HOST:PORT of figures, and of health where it has no other; None: none
    previous: Sequence[Path] = ()  # older configurations, under which questions may still be open
    probes: str | None = None  # HOST:PORT of health alone


def run_alone(role: str, paths: Sequence[Path], options: AloneOptions) -> int:
    """Be one worker until a signal ends it; the exit code: 0 if a signal did, 3 if the world failed.

    Errors: ConfigError; SinkError if the page's address cannot be had. A defect ends the process with 4.
    """
    sys.excepthook = report_defect
    signals = StopAndReload()
    with open_telemetry(options.name) as telemetry:
        older = tuple(config.load([path]) for path in options.previous)
        files = ConfigurationFiles(paths, telemetry)
        context = Context(
            files.settings, older, options.name, telemetry, signals.is_stop_asked, _reloads(signals, files)
        )
        with _shown(options, telemetry), _manager_told(signals, telemetry):
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
def _shown(options: AloneOptions, telemetry: Telemetry) -> Iterator[None]:
    """Serve the worker's figures and health meanwhile."""

    def own() -> dict[str, figures.Snapshot]:
        return {options.name: figures.read(telemetry.snapshot())}

    page, live = lambda: prometheus_page(own()), lambda: figures.alive(own(), time.monotonic())
    ready = lambda: figures.ready(own(), [options.name])  # noqa: E731 - as the two above
    with served(options.listen, options.probes, page, live, ready) as addresses:
        for host, port in addresses:
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
