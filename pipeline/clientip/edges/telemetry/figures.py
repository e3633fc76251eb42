"""The figures of the workers: values of the metrics in one process, their snapshot, and the page of all processes.

https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from threading import Lock
from typing import Final

import msgspec
from msgspec import Struct

from clientip.edges.telemetry.metrics import METRICS, Metric

Labels = tuple[str, ...]  # values, in the order of `Metric.labels`

MAX_SERIES: Final = 2_000  # of one metric in one worker; what comes then is counted together
SILENT_S: Final = 30.0  # a worker that has not come round for so long hangs
_REST: Final = "other"  # every label of what is counted together


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


# A worker that does not run, or has not said anything yet: it must be seen to be missing.
ABSENT: Final = Snapshot(False, 0.0, {}, {"worker.ready": [((), 0.0)]}, {})


class Figures:
    """The values of one worker; safe for several threads.

    A name that is not in the table or not of this kind, labels that do not fit it, and amounts that no such figure
    can have are defects: ValueError.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._counters: dict[str, dict[Labels, float]] = {}
        self._gauges: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, dict[Labels, Histogram]] = {}
        for metric in METRICS.values():
            if metric.kind == "counter":  # one without labels is there from the start: a rate needs its zero
                self._counters[metric.name] = {} if metric.labels else {(): 0.0}
            elif metric.kind == "gauge":
                self._gauges[metric.name] = {}
            else:
                self._histograms[metric.name] = {}

    def add(self, name: str, amount: float, labels: Labels) -> None:
        """Count `amount` more, which is finite and not negative."""
        if not 0 <= amount < inf:
            raise ValueError(f"{name}: nothing can be counted {amount} times")
        with self._lock:
            series = self._counters.get(name, {})
            if labels not in series:
                labels = _new("counter", name, labels, series)
            series[labels] = series.get(labels, 0.0) + amount

    def set(self, name: str, value: float, labels: Labels) -> None:
        """It has this value now."""
        if not -inf < value < inf:
            raise ValueError(f"{name}: {value} is no value")
        with self._lock:
            series = self._gauges.get(name, {})
            if labels not in series:
                labels = _new("gauge", name, labels, series)
            series[labels] = float(value)

    def took(self, name: str, value: float, labels: Labels) -> float:
        """One value more; one below zero, as clocks that differ make it, is zero.  Gives back what was taken."""
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
        """It has no value any more, as of a partition that another worker has now; nothing if it had none."""
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
    """Under which labels a series may be added that is not there yet."""
    metric = METRICS.get(name)
    if metric is None or metric.kind != kind:
        raise ValueError(f"there is no {kind} {name!r}")
    if len(labels) != len(metric.labels):
        raise ValueError(f"{name} has {len(metric.labels)} labels, not {len(labels)}")
    for label, value in zip(metric.labels, labels, strict=True):
        if not label.shape.fullmatch(value):
            raise ValueError(f"{name}: {value[:64]!r} is no {label.name}")
    return labels if len(series) < MAX_SERIES else (_REST,) * len(labels)


def read(snapshot: bytes) -> Snapshot:
    """What `Figures.snapshot` wrote; raises msgspec.MsgspecError for anything else."""
    return msgspec.json.decode(snapshot, type=Snapshot)


def alive(snapshots: Mapping[str, Snapshot], now: float) -> bool:
    """Whether all workers still come round; `now` is of the monotonic clock."""
    return all(now - snapshot.beat <= SILENT_S for snapshot in snapshots.values())


def ready(snapshots: Mapping[str, Snapshot], workers: Iterable[str]) -> bool:
    """Whether each of the workers that there should be does its work."""
    return all(worker in snapshots and snapshots[worker].ready for worker in workers)


def merged(snapshots: Mapping[str, Snapshot]) -> str:
    """One page of all workers' figures, in the text format of Prometheus; the keys are the workers' names."""
    workers = sorted(snapshots.items())
    lines = [line for metric in METRICS.values() for line in _family(metric, workers)]
    return "".join(line + "\n" for line in lines)


def _family(metric: Metric, workers: list[tuple[str, Snapshot]]) -> Iterator[str]:
    samples = [sample for worker, snapshot in workers for sample in _samples(metric, worker, snapshot)]
    if samples:
        meaning = metric.meaning.replace("\\", r"\\").replace("\n", r"\n")
        yield f"# HELP {metric.exposed} {meaning}"
        yield f"# TYPE {metric.exposed} {metric.kind}"
        yield from samples


def _samples(metric: Metric, worker: str, snapshot: Snapshot) -> Iterator[str]:
    plain = snapshot.counters if metric.kind == "counter" else snapshot.gauges
    for labels, value in sorted(plain.get(metric.name, ())):
        yield f"{metric.exposed}{{{_pairs(metric, worker, labels)}}} {_number(value)}"
    for labels, histogram in sorted(snapshot.histograms.get(metric.name, ()), key=lambda series: series[0]):
        pairs, count = _pairs(metric, worker, labels), 0
        for bound, times in zip((*metric.bounds, inf), histogram.counts, strict=True):
            count += times
            yield f'{metric.exposed}_bucket{{{pairs},le="{_number(bound)}"}} {count}'
        yield f"{metric.exposed}_sum{{{pairs}}} {_number(histogram.total)}"
        yield f"{metric.exposed}_count{{{pairs}}} {count}"


def _pairs(metric: Metric, worker: str, labels: Labels) -> str:
    names = ("worker", *(label.name for label in metric.labels))
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, (worker, *labels), strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if value == inf:
        return "+Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 1 << 53 else repr(value)
