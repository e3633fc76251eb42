"""How far a run is: a bar on a terminal, a line now and then elsewhere. Never data of the logs."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_SECONDS: Final = 10.0
_MIB: Final = 1024 * 1024


class Meter:
    """Counts bytes of input read from disk, of `total`; in a named phase, its tasks."""

    def __init__(self, total: int, done: int = 0, *, phase: str = "") -> None:
        self._phase = phase
        self._total, self._done, self._began_with = total, done, done
        self._began = self._said_s = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = _bar(phase)
            self._task = self._bar.add_task(phase or "reading", total=total, completed=done)

    def __enter__(self) -> Meter:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def moved(self, amount: int) -> None:
        """`amount` more bytes have been read, or tasks been done."""
        self._done += amount
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
        elif time.monotonic() - self._said_s >= LINE_SECONDS:
            self._said_s = time.monotonic()
            sys.stderr.write(self._line() + "\n")
            sys.stderr.flush()

    def _line(self) -> str:
        if self._phase:
            return f"{self._phase}: {self._done:,} of {self._total:,}"
        rate = (self._done - self._began_with) / (time.monotonic() - self._began)
        so_far = f"{self._done / _MIB:,.0f} of {self._total / _MIB:,.0f} MiB, {rate / _MIB:,.1f} MiB/s"
        left = max(0, self._total - self._done)
        return f"{so_far}, {left / rate:,.0f} s left" if rate else so_far


def _bar(phase: str) -> Progress:
    from rich.console import Console  # noqa: PLC0415 - a run without a terminal starts faster without
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    named = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*(named if phase else columns), console=Console(stderr=True), transient=True)
