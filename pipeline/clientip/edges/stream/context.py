"""What a worker process of the stream is given: its configuration, its name, and whom it tells how it fares."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from clientip.model import Ids
from clientip.settings import Settings


class Told(Protocol):
    """Where a worker's figures go (`telemetry.Telemetry`); names and labels are those of `metrics.METRICS`."""

    def add(self, name: str, amount: float = 1, *labels: str) -> None:
        """Something was counted."""

    def set(self, name: str, value: float, *labels: str) -> None:
        """Something has this value now."""

    def forget(self, name: str, *labels: str) -> None:
        """The gauge has no value here any more, as of a partition that another worker has now."""

    def took(self, name: str, seconds: float, *labels: str) -> None:
        """Something took so long, or was so many."""

    def say(self, event: str, **fields: str | float) -> None:
        """One line of the log; never an address, an id or any text of a line that was read."""

    def beat(self, *, ready: bool) -> None:
        """The worker's loop has come round; to be called at least once a second."""

    def batch(self, links: Iterable[Ids] = (), **counts: int) -> AbstractContextManager[None]:
        """The span of one transaction; `links` are what the headers of its messages named, `counts` its attributes."""


class Context(NamedTuple):
    """One worker: `reader.work(context)` and `answerer.work(context)` return when they are told to stop."""

    settings: Settings
    previous: tuple[Settings, ...]  # older configurations under which questions may still be open
    name: str  # of this worker, the same after every restart: group.instance.id and part of transactional.id
    telemetry: Told
    stopping: Callable[[], bool]  # whether SIGTERM or SIGINT came
    reloaded: Callable[[], Settings | None]  # a new configuration after SIGHUP, once; None: as before
