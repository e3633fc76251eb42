"""What a worker process of the stream is given: its configuration, its name, and where its figures go."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from clientip.edges.telemetry.port import TelemetryPort
from clientip.settings import Settings


class Context(NamedTuple):
    """One worker: `reader.work(context)` and `answerer.work(context)` return when `stopping` says so."""

    settings: Settings
    previous: tuple[Settings, ...]  # older configurations under which questions may still be open
    name: str  # of this worker, the same after every restart: group.instance.id and part of transactional.id
    telemetry: TelemetryPort
    stopping: Callable[[], bool]  # whether SIGTERM or SIGINT came
    reloaded: Callable[[], Settings | None]  # a new configuration after SIGHUP, once; None: as before
