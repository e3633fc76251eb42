"""When a worker ends a batch: `stream.commit` after the end of the one before, however long its work took."""

from __future__ import annotations

import time
from typing import Final

MIN_GATHER_S: Final = 0.005  # long enough for messages that have come meanwhile


class Pace:
    """Keeps the time between the ends of two batches: messages that come meanwhile do not wait any longer."""

    def __init__(self, commit_ns: int) -> None:
        self._commit_s = commit_ns / 1e9
        self._cut_s = time.monotonic()

    def left_s(self) -> float:
        """How long to gather from now on."""
        return max(MIN_GATHER_S, self._cut_s + self._commit_s - time.monotonic())

    def cut(self) -> None:
        """A batch has ended."""
        self._cut_s = time.monotonic()
