"""The page of figures that Prometheus reads: snapshots of all workers → text, rendered by `prometheus_client`.

https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from clientip.edges.telemetry.figures import Histogram, Labels, Snapshot
from clientip.edges.telemetry.metrics import METRICS, Metric


def prometheus_page(snapshots: Mapping[str, Snapshot]) -> str:
    """One page of all workers' figures; the keys are the workers' names. A metric without any value is left out."""
    return generate_latest(_Workers(sorted(snapshots.items()))).decode()


class _Workers(Collector):
    """The snapshots as `prometheus_client` asks for them."""

    def __init__(self, workers: Sequence[tuple[str, Snapshot]]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Family]:
        for metric in METRICS.values():
            family = _histograms(metric, self._workers) if metric.kind == "histogram" else _plain(metric, self._workers)
            if family.samples:
                yield family


def _names(metric: Metric) -> list[str]:
    return ["worker", *(label.name for label in metric.labels)]


def _plain(metric: Metric, workers: Iterable[tuple[str, Snapshot]]) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.exposed, metric.meaning, labels=_names(metric))
    for worker, snapshot in workers:
        series = snapshot.counters if metric.kind == "counter" else snapshot.gauges
        for labels, value in sorted(series.get(metric.name, ())):
            family.add_metric(_values(worker, labels), value)
    return family


def _histograms(metric: Metric, workers: Iterable[tuple[str, Snapshot]]) -> Family:
    family = HistogramMetricFamily(metric.exposed, metric.meaning, labels=_names(metric))
    for worker, snapshot in workers:
        for labels, histogram in sorted(snapshot.histograms.get(metric.name, ()), key=lambda series: series[0]):
            family.add_metric(_values(worker, labels), _buckets(metric, histogram), histogram.total)
    return family


def _values(worker: str, labels: Labels) -> list[str]:
    """The label values; half a surrogate pair, which UTF-8 cannot hold, is written out."""
    return [value.encode("utf-8", "backslashreplace").decode() for value in (worker, *labels)]


def _buckets(metric: Metric, histogram: Histogram) -> list[tuple[str, float]]:
    """Upper bounds and how many values lie at or below them. The text of a bound is part of the series' name."""
    found, count = [], 0
    for bound, times in zip((*metric.bounds, inf), histogram.counts, strict=True):
        count += times
        found.append(("+Inf" if bound == inf else f"{bound:.10g}", float(count)))
    return found
