"""What a worker tells of itself: the figures are those that were counted, whoever reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import isfinite
from pathlib import Path
from socket import create_server
from threading import Thread
from typing import Any

import pytest
from clientip.edges.telemetry.figures import read
from clientip.edges.telemetry.log_line import MAX_LINE, log_line
from clientip.edges.telemetry.metrics import METRICS
from clientip.edges.telemetry.telemetry import MAX_LINKS, Telemetry, open_telemetry
from clientip.errors import ConfigError
from clientip.model import Ids
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from tests.worlds.patience import LIMIT_S
from tests.worlds.sizes import EXAMPLES

ROOT = Path(__file__).parents[3]
FIELDS = st.dictionaries(
    st.text(st.characters()),
    st.one_of(st.text(st.characters(), max_size=2000), st.floats(), st.integers(), st.booleans()),
    max_size=40,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text(st.characters()), st.text(st.characters()), FIELDS)
def test_a_line_of_the_log_is_one_short_json_object_whatever_it_is_given(
    worker: str, event: str, fields: dict[str, str | float]
) -> None:
    line = log_line(datetime.now(UTC), worker, event, fields)
    assert len(line) <= MAX_LINE
    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])

    def refused(word: str) -> float:
        raise AssertionError(word)

    said = json.loads(line, parse_constant=refused)
    assert list(said) in (
        ["time", "level", "worker", "event", "fields"],
        ["time", "level", "worker", "event", "fields", "cut"],
    )
    assert datetime.fromisoformat(said["time"]).tzinfo == UTC
    assert said["level"] in {"debug", "info", "warning", "error"}
    for name, value in said["fields"].items():
        if name in fields and isinstance(fields[name], float) and isfinite(fields[name]):
            assert value == fields[name]


def test_a_line_says_when_something_was_cut() -> None:
    assert "cut" not in json.loads(log_line(datetime.now(UTC), "w", "e", {"text": "x" * 500}))
    assert json.loads(log_line(datetime.now(UTC), "w", "e", {"text": "x" * 501}))["cut"] is True
    many: dict[str, str | float] = {f"f{number}": "\x00" * 400 for number in range(9)}
    said = json.loads(log_line(datetime.now(UTC), "w", "e", many))
    assert said["cut"] is True
    assert len(said["fields"]) == 1


def test_the_longest_names_leave_the_line_short_enough() -> None:
    line = log_line(datetime.now(UTC), "\U0001f600" * 9999, "\U0001f600" * 9999, {"\U0001f600" * 9999: 1})
    assert len(line) <= MAX_LINE
    assert json.loads(line)["fields"] == {}


def test_what_a_worker_says_is_written_at_once_and_what_nobody_takes_is_counted() -> None:
    reading, writing = os.pipe()
    worker = Telemetry("reader-0", log=writing)
    worker.say("started", level="warning", partitions=3)
    said = json.loads(os.read(reading, MAX_LINE))
    assert (said["worker"], said["event"], said["level"], said["fields"]) == (
        "reader-0",
        "started",
        "warning",
        {"partitions": 3},
    )
    os.close(reading)
    worker.say("nobody hears this")
    os.close(writing)
    assert read(worker.snapshot()).counters["log.lost"] == [((), 1)]


# OpenTelemetry


@contextmanager
def receiver() -> Iterator[tuple[str, dict[str, list[bytes]]]]:
    """An OTLP receiver: its address, and the requests it got, by path."""
    got: dict[str, list[bytes]] = {"/v1/metrics": [], "/v1/traces": []}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got[self.path].append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", got
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def otel(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def points(requests: list[bytes]) -> dict[str, list[Any]]:
    """The data points of the last export, by metric."""
    found: dict[str, list[Any]] = {}
    for resource in ExportMetricsServiceRequest.FromString(requests[-1]).resource_metrics:
        for scope in resource.scope_metrics:
            assert scope.scope.name == "clientip"
            for metric in scope.metrics:
                found[metric.name] = list(getattr(metric, metric.WhichOneof("data")).data_points)
    return found


def number(point: NumberDataPoint) -> float:
    return point.as_double if point.WhichOneof("value") == "as_double" else point.as_int


def test_a_receiver_of_otlp_gets_what_was_counted(otel: pytest.MonkeyPatch) -> None:
    with receiver() as (address, got):
        otel.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        otel.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        with open_telemetry("reader-0") as told:
            told.add("lines", 3, "ingress", "record")
            told.add("lines", 4, "ingress", "record")
            told.set("questions.open", 5, "12")
            told.set("questions.open", 6, "13")
            told.forget("questions.open", "13")
            told.took("transactions.time", 0.02)
            told.took("transactions.time", 7)
            expected = read(told.snapshot())
    found = points(got["/v1/metrics"])
    resource = ExportMetricsServiceRequest.FromString(got["/v1/metrics"][-1]).resource_metrics[0].resource
    said = attributes(resource.attributes)
    assert (said["service.name"], said["service.instance.id"]) == ("clientip", "reader-0")
    assert said["deployment.environment"] == "test"
    for name, series in [*expected.counters.items(), *expected.gauges.items()]:
        names = [label.name for label in METRICS[name].labels]
        assert {
            frozenset(attributes(point.attributes).items()): number(point) for point in found[f"clientip.{name}"]
        } == {frozenset(zip(names, labels, strict=True)): value for labels, value in series}
    taken = found["clientip.transactions.time"][0]
    assert (taken.count, taken.sum) == (2, 7.02)
    assert list(taken.bucket_counts) == expected.histograms["transactions.time"][0][1].counts
    assert list(taken.explicit_bounds) == list(METRICS["transactions.time"].bounds)


def test_a_batch_is_one_span_with_its_counts_and_at_most_so_many_links(otel: pytest.MonkeyPatch) -> None:
    links = [Ids(f"{number:032x}", parent=f"{number:016x}") for number in range(1, MAX_LINKS + 9) for _ in range(2)]
    with receiver() as (address, got):
        otel.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{address}/v1/traces")
        with open_telemetry("reader-0") as told:
            with told.batch([Ids(), Ids("1" * 32), *links], lines=10, records=9):
                pass
            with pytest.raises(KeyError, match=r"secret"), told.batch():
                raise KeyError("secret")
    assert got["/v1/metrics"] == []
    spans = [
        span
        for request in got["/v1/traces"]
        for resource in ExportTraceServiceRequest.FromString(request).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    good, bad = spans
    assert (good.name, bad.name, good.status.code, bad.status.code) == ("clientip.batch", "clientip.batch", 0, 2)
    assert attributes(good.attributes) == {"clientip.lines": 10, "clientip.records": 9}
    assert [link.trace_id.hex() for link in good.links] == [f"{number:032x}" for number in range(1, MAX_LINKS + 1)]
    assert [link.span_id.hex() for link in good.links] == [f"{number:016x}" for number in range(1, MAX_LINKS + 1)]
    assert (good.parent_span_id, bad.parent_span_id) == (b"", b"")
    assert b"secret" not in b"".join(got["/v1/traces"])


def ran(code: str, **environment: str) -> str:
    """What a Python of its own writes to standard error."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    program, clean = [sys.executable, "-c", code], clean | environment
    ended = subprocess.run(program, env=clean, capture_output=True, text=True, timeout=LIMIT_S, cwd=ROOT, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def test_without_an_exporter_nothing_touches_the_network_and_the_sdk_is_not_even_loaded() -> None:
    code = """
import sys
touched = []
sys.addaudithook(lambda event, _: touched.append(event) if event.startswith("socket.") else None)
from clientip.edges.telemetry.telemetry import open_telemetry
from clientip.model import Ids
with open_telemetry("w") as told:
    told.add("lines", 1, "s", "record"); told.set("questions.open", 1, "0"); told.took("transactions.time", 1)
    with told.batch([Ids("1" * 32, parent="1" * 16)], lines=1):
        told.beat(ready=True)
    told.say("ended")
assert not touched, touched
assert "opentelemetry.sdk" not in sys.modules
"""
    assert json.loads(ran(code))["event"] == "ended"


def test_an_exporter_that_is_not_installed_is_a_fault_that_says_what_to_install() -> None:
    code = """
import sys
sys.modules["opentelemetry.sdk"] = sys.modules["opentelemetry.exporter"] = None
from clientip.edges.telemetry.telemetry import open_telemetry
from clientip.errors import ConfigError
try:
    with open_telemetry("w"): raise SystemExit("no fault")
except ConfigError as error:
    sys.stderr.write(str(error))
"""
    said = ran(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert said.startswith("OTEL_EXPORTER_OTLP_ENDPOINT: ")
    assert "pip install 'clientip[otlp]'" in said


def test_a_collector_that_never_answers_holds_nobody_up_and_its_errors_are_lines_of_the_log() -> None:
    code = """
from clientip.edges.telemetry.telemetry import open_telemetry
with open_telemetry("w") as told:
    with told.batch(lines=1):
        told.add("lines", 1, "s", "record")
"""
    with create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ran(code, OTEL_EXPORTER_OTLP_ENDPOINT=address)  # it ends while the collector is still silent
    refusing = ran(code, OTEL_EXPORTER_OTLP_ENDPOINT=address, OTEL_EXPORTER_OTLP_TIMEOUT="1")
    said = [json.loads(line) for line in refusing.splitlines()]
    assert said
    assert {line["event"] for line in said} == {"opentelemetry"}
    assert {line["level"] for line in said} <= {"warning", "error"}


def test_every_fault_of_the_environment_is_told_at_once_and_no_secret_with_it(otel: pytest.MonkeyPatch) -> None:
    otel.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "user:secret@collector:4317")
    otel.setenv("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc")
    otel.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(ConfigError) as caught, open_telemetry("w"):
        pass
    assert sorted(fault.key for fault in caught.value.faults) == [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        "OTEL_TRACES_EXPORTER",
    ]
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "off",
    [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none"}],
)
def test_what_the_environment_switches_off_is_not_sent(otel: pytest.MonkeyPatch, off: dict[str, str]) -> None:
    with receiver() as (address, got):
        otel.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        for name, value in off.items():
            otel.setenv(name, value)
        with open_telemetry("w") as told, told.batch(lines=1):
            told.add("lines", 1, "s", "record")
        assert got == {"/v1/metrics": [], "/v1/traces": []}
