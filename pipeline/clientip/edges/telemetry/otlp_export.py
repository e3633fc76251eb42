"""Sending figures and spans by OTLP over HTTP, with the SDK of OpenTelemetry; only the extra `otlp` installs it.

The SDK reads the rest of its standard environment itself: headers, certificates, intervals, the sampler.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from clientip import __version__

CLOSE_S: Final = 3.0  # how long the end of a worker waits for a collector that does not answer


class Exporters:
    """The providers that send; None for a signal that is not wanted."""

    def __init__(self, worker: str, *, metrics: bool, traces: bool) -> None:
        ours = {"service.name": "clientip", "service.version": __version__, "service.instance.id": worker}
        resource = Resource.create(ours).merge(OTELResourceDetector().detect())  # the operator's values win
        self.meters: MeterProvider | None = None
        self.tracers: TracerProvider | None = None
        if metrics:
            reader = PeriodicExportingMetricReader(OTLPMetricExporter())
            self.meters = MeterProvider([reader], resource, shutdown_on_exit=False)
        if traces:
            self.tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
            self.tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

    def close(self) -> None:
        """Send everything that is left, within CLOSE_S."""
        _within(CLOSE_S, [each.shutdown for each in (self.meters, self.tracers) if each is not None])


def _within(seconds: float, shutdowns: Iterable[Callable[[], None]]) -> None:
    """Run each in a thread of its own, because a shutdown may wait without a limit."""
    threads = [Thread(target=shutdown, daemon=True) for shutdown in shutdowns]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
