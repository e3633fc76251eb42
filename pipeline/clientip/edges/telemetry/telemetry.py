"""How a worker reports: figures for Prometheus and OpenTelemetry, spans, and the lines of its log.

The figures live in `figures.Figures`. The counters and gauges of OpenTelemetry read them there, so both say the same.
Without the SDK, or if no endpoint is named, the API of OpenTelemetry does nothing.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and …/protocol/exporter/
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter_provider
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TracerProvider,
    get_tracer_provider,
)

from clientip import __version__
from clientip.edges.telemetry.figures import Figures
from clientip.edges.telemetry.log_line import log_line
from clientip.edges.telemetry.metrics import METRICS, Metric
from clientip.errors import ConfigError, Fault
from clientip.model import Ids

if TYPE_CHECKING:
    from clientip.edges.telemetry.otlp_export import Exporters

MAX_LINKS: Final = 32  # trace contexts of one batch
_STANDARD_ERROR: Final = 2
_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Telemetry:
    """One worker's `TelemetryPort`; safe for several threads, and meant for a call per batch, not per line.

    A name that is no metric, other labels, or a value that the metric cannot have are defects: ValueError.
    """

    def __init__(
        self,
        worker: str,
        meters: MeterProvider | None = None,
        tracers: TracerProvider | None = None,
        *,
        log: int = _STANDARD_ERROR,
    ) -> None:
        """Without providers, the global ones of this process; `log` is a file descriptor."""
        self._worker, self._log = worker, log
        self._figures = Figures()
        self._ready, self._beat = False, time.monotonic()
        meter = (meters or get_meter_provider()).get_meter("clientip", __version__)
        self._histograms = {
            metric.name: meter.create_histogram(
                f"clientip.{metric.name}",
                metric.unit,
                metric.meaning,
                explicit_bucket_boundaries_advisory=metric.bounds,
            )
            for metric in METRICS.values()
            if metric.kind == "histogram"
        }
        for metric in METRICS.values():
            _show(meter, metric, self._figures)
        self._tracer = (tracers or get_tracer_provider()).get_tracer("clientip", __version__)

    def add(self, name: str, amount: float = 1, *labels: str) -> None:
        """Count so many more."""
        self._figures.add(name, amount, labels)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._figures.set(name, value, labels)

    def forget(self, name: str, *labels: str) -> None:
        """Remove a gauge's value here, as of a partition that another worker owns now."""
        self._figures.forget(name, labels)

    def took(self, name: str, seconds: float, *labels: str) -> None:
        """Add a duration or a size to a histogram. If clocks differ it may be below zero, and counts as zero."""
        value = self._figures.took(name, seconds, labels)
        names = (label.name for label in METRICS[name].labels)
        self._histograms[name].record(value, dict(zip(names, labels, strict=True)))

    def say(self, event: str, **fields: str | float) -> None:
        """Write one line of the log; a field `level` is one of `log_line.LEVELS`. Lost lines are counted."""
        line = log_line(datetime.now(UTC), self._worker, event, fields)
        try:
            whole = os.write(self._log, line) == len(line)
        except OSError:
            whole = False
        if not whole:
            self.add("log.lost")

    def beat(self, *, ready: bool) -> None:
        """Report that the worker responds."""
        self._ready, self._beat = ready, time.monotonic()
        self.set("worker.ready", float(ready))
        self.set("worker.beat.timestamp", time.time())

    @contextmanager
    def batch(self, links: Iterable[Ids] = (), **counts: int) -> Iterator[None]:
        """The span of one transaction. `links`: the ids in the headers of its messages; `counts`: its attributes."""
        attributes = {f"clientip.{name}": count for name, count in counts.items()}
        span = self._tracer.start_span("clientip.batch", Context(), SpanKind.CONSUMER, attributes)
        if span.is_recording():
            for linked in _contexts(links):
                span.add_link(linked)
        done = False
        try:
            yield
            done = True
        finally:
            if not done:
                span.set_status(Status(StatusCode.ERROR))
            span.end()

    def snapshot(self) -> bytes:
        """All figures, for `figures.read`: JSON on one line."""
        return self._figures.snapshot(ready=self._ready, beat=self._beat)


def _show(meter: Meter, metric: Metric, figures: Figures) -> None:
    """Make the counter or gauge of OpenTelemetry that reads its values from the figures."""
    names = [label.name for label in metric.labels]

    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        for labels, value in figures.values(metric.name):
            yield Observation(value, dict(zip(names, labels, strict=False)))

    if metric.kind == "counter":
        meter.create_observable_counter(f"clientip.{metric.name}", [observe], metric.unit, metric.meaning)
    elif metric.kind == "gauge":
        meter.create_observable_gauge(f"clientip.{metric.name}", [observe], metric.unit, metric.meaning)


def _contexts(links: Iterable[Ids]) -> Iterator[SpanContext]:
    """The first distinct trace contexts."""
    seen: set[tuple[str, str]] = set()
    for ids in links:
        if len(seen) == MAX_LINKS:
            return
        if ids.trace is None or ids.parent is None or (ids.trace, ids.parent) in seen:
            continue
        seen.add((ids.trace, ids.parent))
        yield SpanContext(int(ids.trace, 16), int(ids.parent, 16), is_remote=True, trace_flags=TraceFlags())


@contextmanager
def open_telemetry(worker: str) -> Iterator[Telemetry]:
    """The telemetry of this process, to be opened once in it and after it was forked.

    The standard environment of OpenTelemetry says whether metrics and spans are sent by OTLP over HTTP. At the end the
    rest is sent, within `otlp_export.CLOSE_S`. Raises ConfigError if the environment asks for something we cannot do.
    """
    exporters = _exporters(worker)
    telemetry = Telemetry(worker) if exporters is None else Telemetry(worker, exporters.meters, exporters.tracers)
    handler = _ExporterLog(telemetry.say)
    exporting = logging.getLogger("opentelemetry")
    exporting.addHandler(handler)
    propagated, exporting.propagate = exporting.propagate, False
    try:
        yield telemetry
    finally:
        if exporters is not None:
            exporters.close()
        exporting.removeHandler(handler)
        exporting.propagate = propagated


class _ExporterLog(logging.Handler):
    """Makes the exporters' messages lines of our log."""

    def __init__(self, say: Callable[..., None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self._say("opentelemetry", level=level, text=record.getMessage())


def _exporters(worker: str) -> Exporters | None:
    """The exporters that the environment asks for; None if it asks for none."""
    faults: list[Fault] = []
    metrics, traces = (_wanted(signal, os.environ, faults) for signal in ("METRICS", "TRACES"))
    if faults:
        raise ConfigError(dict.fromkeys(faults))
    if not (metrics or traces):
        return None
    try:
        from clientip.edges.telemetry.otlp_export import Exporters  # noqa: PLC0415 - what it needs is an extra
    except ImportError as error:
        text = f"to export by OTLP, install clientip with its extra: pip install 'clientip[otlp]' ({error})"
        raise ConfigError([Fault("", _ENDPOINT, text)]) from None
    return Exporters(worker, metrics=metrics, traces=traces)


def _wanted(signal: str, environment: Mapping[str, str], faults: list[Fault]) -> bool:
    """Whether the signal is to be exported."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get(f"OTEL_{signal}_EXPORTER", "").strip() or "otlp"
    if exporter == "none":
        return False
    own = f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
    key = own if environment.get(own, "").strip() else _ENDPOINT
    endpoint = environment.get(key, "").strip()
    if not endpoint:
        return False
    if exporter != "otlp":
        faults.append(Fault("", f"OTEL_{signal}_EXPORTER", "write otlp or none"))
    if not endpoint.startswith(("http://", "https://")):
        faults.append(Fault("", key, "write an address that begins with http:// or https://"))
    for protocol in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        spoken = environment.get(protocol, "").strip()
        if spoken and spoken != "http/protobuf":
            faults.append(Fault("", protocol, "write http/protobuf: clientip sends nothing else"))
        if spoken:
            break
    return True
