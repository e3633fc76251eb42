"""When a worker ends a batch: `stream.commit` after it ended the one before, whatever that one's work took."""

from __future__ import annotations

import time
from typing import Final

LEAST_S: Final = 0.005  # how long to gather at least: what has come meanwhile is there


class Pace:
    """The time between the ends of two batches: what comes while one is worked on does not wait for one more."""

    def __init__(self, commit_ns: int) -> None:
        self._commit_s = commit_ns / 1e9
        self._cut_s = time.monotonic()

    def left_s(self) -> float:
        """How long to gather from now on."""
        return max(LEAST_S, self._cut_s + self._commit_s - time.monotonic())

    def cut(self) -> None:
        """A batch has ended."""
        self._cut_s = time.monotonic()
