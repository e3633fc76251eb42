"""What a worker may say of itself: the port that `telemetry.Telemetry` fills, and a test can."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from clientip.model import Ids


class TelemetryPort(Protocol):
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
