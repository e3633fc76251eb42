"""How a worker reports: the port that `telemetry.Telemetry` implements, and tests may, too."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from clientip.model import Ids


class TelemetryPort(Protocol):
    """Where a worker's figures go (`telemetry.Telemetry`); names and labels are those of `metrics.METRICS`."""

    def add(self, name: str, amount: float = 1, *labels: str) -> None:
        """Count so many more."""

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""

    def forget(self, name: str, *labels: str) -> None:
        """Remove a gauge's value here, as of a partition that another worker owns now."""

    def took(self, name: str, seconds: float, *labels: str) -> None:
        """Add a duration or a size to a histogram."""

    def say(self, event: str, **fields: str | float) -> None:
        """Write one line of the log; never an address, an id or any text of a line that was read."""

    def beat(self, *, ready: bool) -> None:
        """Report that the worker responds; to be called at least once a second."""

    def batch(self, links: Iterable[Ids] = (), **counts: int) -> AbstractContextManager[None]:
        """The span of one transaction. `links`: the ids in the headers of its messages; `counts`: its attributes."""
