"""The figures of a worker: the values of its metrics in one process, and their snapshot for another process."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from math import inf
from threading import Lock
from typing import Final

import msgspec
from msgspec import Struct

from clientip.edges.telemetry.metrics import METRICS

Labels = tuple[str, ...]  # values, in the order of `Metric.labels`

MAX_SERIES: Final = 2_000  # of one metric in one worker; all further ones are counted together
SILENT_S: Final = 30.0  # a worker that has not responded for so long hangs
_OTHER: Final = "other"  # every label of the series that are counted together


class Histogram(Struct):
    """How often a value fell into each bucket, and the sum of all values."""

    counts: list[int]
    total: float = 0.0


class Snapshot(Struct, frozen=True):
    """All figures of one worker at one moment, under the names of the metrics."""

    ready: bool
    beat: float  # of the monotonic clock, which all processes of one machine share; the start counts as a beat
    counters: dict[str, list[tuple[Labels, float]]]
    gauges: dict[str, list[tuple[Labels, float]]]
    histograms: dict[str, list[tuple[Labels, Histogram]]]


# A worker that does not run, or has sent nothing yet: the page must show that it is missing.
ABSENT: Final = Snapshot(False, 0.0, {}, {"worker.ready": [((), 0.0)]}, {})


class Figures:
    """The values of one worker; safe for several threads.

    A name that is not in the table or not of this kind, labels that do not fit it, and values that it cannot have are
    defects: ValueError.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._counters: dict[str, dict[Labels, float]] = {}
        self._gauges: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, dict[Labels, Histogram]] = {}
        for metric in METRICS.values():
            if metric.kind == "counter":  # one without labels exists from the start: a rate needs its zero
                self._counters[metric.name] = {} if metric.labels else {(): 0.0}
            elif metric.kind == "gauge":
                self._gauges[metric.name] = {}
            else:
                self._histograms[metric.name] = {}

    def add(self, name: str, amount: float, labels: Labels) -> None:
        """Count `amount` more; it is finite and not negative."""
        if not 0 <= amount < inf:
            raise ValueError(f"{name}: nothing can be counted {amount} times")
        with self._lock:
            series = self._counters.get(name, {})
            if labels not in series:
                labels = _new("counter", name, labels, series)
            series[labels] = series.get(labels, 0.0) + amount

    def set(self, name: str, value: float, labels: Labels) -> None:
        """Set a gauge."""
        if not -inf < value < inf:
            raise ValueError(f"{name}: {value} is no value")
        with self._lock:
            series = self._gauges.get(name, {})
            if labels not in series:
                labels = _new("gauge", name, labels, series)
            series[labels] = float(value)

    def took(self, name: str, value: float, labels: Labels) -> float:
        """Add a value to a histogram; one below zero (clocks differ) counts as zero. Returns the value added."""
        if not -inf < value < inf:
            raise ValueError(f"{name}: {value} is no value")
        value = max(0.0, value)
        with self._lock:
            series = self._histograms.get(name, {})
            if labels not in series:
                labels = _new("histogram", name, labels, series)
                series.setdefault(labels, Histogram([0] * (len(METRICS[name].bounds) + 1)))
            histogram = series[labels]
            histogram.counts[bisect_left(METRICS[name].bounds, value)] += 1
            histogram.total += value
        return value

    def forget(self, name: str, labels: Labels) -> None:
        """Remove a gauge's value, as of a partition that another worker owns now; does nothing if there is none."""
        with self._lock:
            if name not in self._gauges:
                raise ValueError(f"there is no gauge {name!r}")
            self._gauges[name].pop(labels, None)

    def values(self, name: str) -> list[tuple[Labels, float]]:
        """The series of one counter or gauge."""
        with self._lock:
            return list((self._counters.get(name) or self._gauges.get(name) or {}).items())

    def snapshot(self, *, ready: bool, beat: float) -> bytes:
        """All figures, for `read`: JSON on one line."""
        with self._lock:
            return msgspec.json.encode(
                Snapshot(
                    ready,
                    beat,
                    {name: list(series.items()) for name, series in self._counters.items() if series},
                    {name: list(series.items()) for name, series in self._gauges.items() if series},
                    {name: list(series.items()) for name, series in self._histograms.items() if series},
                )
            )


def _new(kind: str, name: str, labels: Labels, series: Mapping[Labels, object]) -> Labels:
    """The labels under which a new series is added."""
    metric = METRICS.get(name)
    if metric is None or metric.kind != kind:
        raise ValueError(f"there is no {kind} {name!r}")
    if len(labels) != len(metric.labels):
        raise ValueError(f"{name} has {len(metric.labels)} labels, not {len(labels)}")
    for label, value in zip(metric.labels, labels, strict=True):
        if not label.shape.fullmatch(value):
            raise ValueError(f"{name}: {value[:64]!r} is no {label.name}")
    return labels if len(series) < MAX_SERIES else (_OTHER,) * len(labels)


def read(snapshot: bytes) -> Snapshot:
    """The snapshot that `Figures.snapshot` wrote; raises msgspec.MsgspecError for anything else."""
    return msgspec.json.decode(snapshot, type=Snapshot)


def alive(snapshots: Mapping[str, Snapshot], now: float) -> bool:
    """Whether all workers respond; `now` is of the monotonic clock."""
    return all(now - snapshot.beat <= SILENT_S for snapshot in snapshots.values())


def ready(snapshots: Mapping[str, Snapshot], workers: Iterable[str]) -> bool:
    """Whether each of these workers does its work."""
    return all(worker in snapshots and snapshots[worker].ready for worker in workers)
