"""Laws of OTLP: JSON and protobuf say the same, batches come apart whole, only server spans are requests."""

from __future__ import annotations

import contextlib
import json
from base64 import b64encode
from typing import Any

import pytest
from clientip.errors import ConfigError, FormatError
from clientip.formats.otlp.records import OTLP_LOGS, OTLP_LOGS_PROTO, OTLP_TRACES, OTLP_TRACES_PROTO
from clientip.model import Format, Observation, Skipped
from clientip.syntax import otlp as otlp_wire
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from tests.worlds.samples_check import check_sample, line_of, reader_of, value_at

FORMATS = [OTLP_TRACES, OTLP_LOGS, OTLP_TRACES_PROTO, OTLP_LOGS_PROTO]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
START = 1714557600000000000


def attribute(key: str, value: object) -> dict[str, Any]:
    if isinstance(value, list):
        return {"key": key, "value": {"arrayValue": {"values": [{"stringValue": item} for item in value]}}}
    return {"key": key, "value": {"intValue" if isinstance(value, int) else "stringValue": value}}


def span_of(attributes: dict[str, object], **fields: object) -> dict[str, Any]:
    listed = [attribute(key, value) for key, value in attributes.items()]
    ids = {"traceId": TRACE, "spanId": "00f067aa0ba902b7"}
    return {"kind": 2, **ids, "startTimeUnixNano": str(START), "attributes": listed, **fields}


def batch_of(*spans: dict[str, Any]) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


def seen_in(span: dict[str, Any], **setup: object) -> Observation:
    seen = reader_of(OTLP_TRACES, **setup)(line_of(batch_of(span)))
    assert isinstance(seen, Observation)
    return seen


def split(chosen: Format, raw: bytes) -> tuple[bytes, ...]:
    assert chosen.split is not None
    return chosen.split(raw)


@pytest.mark.parametrize("chosen", FORMATS, ids=lambda chosen: chosen.name)
def test_samples(chosen: Format) -> None:
    for sample in chosen.samples:
        check_sample(chosen, sample)
        if sample.rejected is None:
            assert split(chosen, sample.line) == (sample.line,)


@pytest.mark.parametrize("chosen", FORMATS, ids=lambda chosen: chosen.name)
def test_what_the_logged_peer_is_must_be_said(chosen: Format) -> None:
    for setup, key in (({"logs_peer": None}, "logs_peer"), ({"options": (("headers", "x"),)}, "options.headers")):
        with pytest.raises(ConfigError) as caught:
            reader_of(chosen, **setup)
        assert [fault.key for fault in caught.value.faults] == [key]


# --- batches


@given(st.lists(st.lists(st.lists(st.integers(0, 5), max_size=3), max_size=3), max_size=3))
def test_every_span_of_a_batch_comes_out_once_in_order_with_its_resource(shape: list[list[list[int]]]) -> None:
    resources = [
        {
            "resource": {"attributes": [attribute("host.name", f"h{r}")]},
            "schemaUrl": "u",
            "scopeSpans": [
                {"scope": {"name": f"s{s}"}, "spans": [{"name": f"{r}.{s}.{n}", "new": [1]} for n in range(len(spans))]}
                for s, spans in enumerate(scopes)
            ],
        }
        for r, scopes in enumerate(shape)
    ]
    found = [json.loads(message) for message in split(OTLP_TRACES, json.dumps({"resourceSpans": resources}).encode())]
    names = []
    for message in found:
        [resource] = message["resourceSpans"]
        [scope] = resource["scopeSpans"]
        [span] = scope["spans"]
        r, s, _ = span["name"].split(".")
        assert resource["resource"] == resources[int(r)]["resource"]
        assert (resource["schemaUrl"], scope["scope"]["name"], span["new"]) == ("u", f"s{s}", [1])
        names.append(span["name"])
    assert names == [f"{r}.{s}.{n}" for r, a in enumerate(shape) for s, b in enumerate(a) for n in range(len(b))]


VALUES = st.recursive(
    st.one_of(
        st.text(max_size=5).map(lambda text: AnyValue(string_value=text)),
        st.integers(-(2**63), 2**63 - 1).map(lambda number: AnyValue(int_value=number)),
        st.booleans().map(lambda said: AnyValue(bool_value=said)),
        st.floats().map(lambda number: AnyValue(double_value=number)),
        st.binary(max_size=5).map(lambda data: AnyValue(bytes_value=data)),
    ),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda items: AnyValue(array_value=ArrayValue(values=items)))
        | inner.map(lambda item: AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=item)])))
    ),
    max_leaves=4,
)
PAIRS = st.lists(
    st.builds(KeyValue, key=st.sampled_from(["a", "client.address", "url.path"]), value=VALUES), max_size=2
)
IDS = st.binary(min_size=16, max_size=16).filter(any)


@given(IDS, st.integers(0, 2**64 - 1), st.integers(0, 5), PAIRS)
def test_protobuf_spans_read_as_json(trace: bytes, start: int, kind: Any, attributes: list[KeyValue]) -> None:
    span = Span(trace_id=trace, span_id=trace[:8], start_time_unix_nano=start, kind=kind, attributes=attributes)
    resource = Resource(attributes=[KeyValue(key="host.name", value=AnyValue(string_value="h"))])
    batch = TracesData(resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=[span, span])])])
    first, second = split(OTLP_TRACES, batch.SerializeToString())
    assert first == second
    with contextlib.suppress(FormatError):  # random values under known keys, times past 2262
        seen = reader_of(OTLP_TRACES)(line_of(first))
        assert isinstance(seen, Observation) == (kind == 2)
        if isinstance(seen, Observation):
            assert value_at(seen, "ids.trace") == trace.hex()
            assert seen.instance == "h"
            assert seen.start_ns == (start // 1 or None)


@given(IDS, PAIRS)
def test_protobuf_log_records_come_apart(trace: bytes, attributes: list[KeyValue]) -> None:
    record = LogRecord(trace_id=trace, time_unix_nano=START, attributes=attributes, body=AnyValue(string_value="x"))
    batch = LogsData(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=[record] * 3)])])
    messages = split(OTLP_LOGS, batch.SerializeToString())
    assert len(messages) == 3
    assert json.loads(messages[0])["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["traceId"] == trace.hex()


def test_a_message_that_begins_like_a_blank_line_and_a_brace_is_protobuf() -> None:
    span = Span(trace_id=b"\1" * 16, span_id=b"\1" * 8, kind=2, start_time_unix_nano=START, name="x" * 78)
    data = TracesData(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])]).SerializeToString()
    assert data[:2] == b"\n{"
    assert len(split(OTLP_TRACES, data)) == 1


def test_the_names_of_old_are_read() -> None:
    old = {"instrumentationLibrary": {"name": "l"}, "spans": [span_of({"net.peer.ip": "10.0.0.1"})] * 2}
    raw = json.dumps({"resourceSpans": [{"instrumentationLibrarySpans": [old]}]}).encode()
    first, _ = split(OTLP_TRACES, raw)
    assert value_at(reader_of(OTLP_TRACES)(line_of(first)), "peer") == "10.0.0.1"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"resourceLogs":[]}', "no_match"),
        (b'{"resourceSpans":{}}', "no_match"),
        (b'{"resourceSpans":[1]}', "no_match"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"a":1,"a":2},{}]}]}]}', "json_repeated_key"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"a":123456789012345678901234567890},{}]}]}]}', "number"),
        (b"\x0a\xff", "protobuf"),
        (b"hello", "protobuf"),
        (b"[]", "protobuf"),
    ],
)
def test_what_is_no_batch_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(FormatError) as caught:
        split(OTLP_TRACES, raw)
    assert caught.value.reason == reason


def test_a_batch_cannot_grow_without_bound_by_its_resource() -> None:
    resource = {"attributes": [attribute("host.name", "x" * 1_000_000)]}
    many = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [{}] * 200}]}]}
    with pytest.raises(FormatError, match="too_long"):
        split(OTLP_TRACES, json.dumps(many).encode())
    small = {"resourceSpans": [{"scopeSpans": [{"spans": [{}] * (otlp_wire.MAX_RECORDS + 1)}]}]}
    with pytest.raises(FormatError, match="too_long"):
        split(OTLP_TRACES, json.dumps(small).encode())


def test_a_message_of_several_spans_is_not_read_as_one() -> None:
    with pytest.raises(FormatError, match="no_match"):
        reader_of(OTLP_TRACES)(line_of(batch_of(span_of({}), span_of({}))))


# --- spans


@pytest.mark.parametrize("kind", [0, 1, 3, 4, 5, "SPAN_KIND_CLIENT", None, "server", [2]])
def test_only_server_spans_are_requests(kind: object) -> None:
    skipped = reader_of(OTLP_TRACES)(line_of(batch_of(span_of({}, kind=kind))))
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "inner_span"


INNER = {"parentSpanId": "53995c3f42cd8ad8", "endTimeUnixNano": str(START + 5)}


@pytest.mark.parametrize("kind", [1, 3, "SPAN_KIND_INTERNAL", "SPAN_KIND_CLIENT"])
def test_a_synchronous_inner_span_is_a_link_with_the_ids_as_server_spans_have_them(kind: object) -> None:
    inner = {**INNER, "kind": kind, "traceId": TRACE.upper(), "spanId": "APBnqguqkCt="}
    skipped = reader_of(OTLP_TRACES)(line_of(batch_of(span_of({}, **inner))))
    assert isinstance(skipped, Skipped)
    assert skipped.setup is not None
    assert skipped.setup.system == "s"
    link = skipped.link
    assert link is not None
    assert (link.trace, link.parent, link.start_ns, link.end_ns) == (TRACE, "53995c3f42cd8ad8", START, START + 5)
    server = seen_in(span_of({}, **{**inner, "kind": 2}))
    assert server.ids is not None
    assert (server.ids.trace, server.ids.span, server.ids.parent) == (link.trace, link.span, link.parent)
    assert (server.start_ns, server.end_ns) == (link.start_ns, link.end_ns)


@pytest.mark.parametrize("kind", [0, 4, 5, "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER", "SPAN_KIND_UNSPECIFIED", None])
def test_queues_and_spans_of_no_kind_do_not_link(kind: object) -> None:
    skipped = reader_of(OTLP_TRACES)(line_of(batch_of(span_of({}, **INNER, kind=kind))))
    assert isinstance(skipped, Skipped)
    assert skipped.link is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("traceId", "0" * 32),
        ("spanId", "x"),
        ("parentSpanId", ""),
        ("parentSpanId", "0" * 16),
        ("startTimeUnixNano", "0"),
        ("endTimeUnixNano", None),
        ("endTimeUnixNano", str(START - 1)),
        ("endTimeUnixNano", 1.7e18),
        ("startTimeUnixNano", "x"),
    ],
)
def test_an_inner_span_that_lacks_something_is_skipped_without_a_link(field: str, value: object) -> None:
    skipped = reader_of(OTLP_TRACES)(line_of(batch_of(span_of({}, **{**INNER, "kind": 3, field: value}))))
    assert isinstance(skipped, Skipped)
    assert skipped.link is None


@pytest.mark.parametrize(
    ("attributes", "transport"),
    [
        ({}, None),
        ({"network.transport": "tcp", "network.protocol.version": "2"}, "tcp"),
        ({"network.transport": "QUIC"}, "udp"),
        ({"network.transport": "unix", "network.protocol.version": "3"}, None),
        ({"net.transport": "ip_udp"}, "udp"),
        ({"network.protocol.name": "http", "network.protocol.version": "3"}, "udp"),
        ({"network.protocol.name": "amqp", "network.protocol.version": "3"}, None),
        ({"network.protocol.version": "1.1"}, None),
        ({"http.flavor": "QUIC"}, "udp"),
    ],
)
def test_the_transport_is_what_the_span_says_or_follows_from_http3(
    attributes: dict[str, object], transport: str | None
) -> None:
    assert seen_in(span_of(attributes)).transport == transport


@pytest.mark.parametrize("text", ["shop.example", "/tmp/my.sock", "unknown", "", "10.0.0.1:80"])
def test_a_peer_that_is_no_address_is_none(text: str) -> None:
    assert seen_in(span_of({"network.peer.address": text, "network.peer.port": 80})).peer is None


@pytest.mark.parametrize(
    ("attributes", "peer"),
    [
        ({"network.peer.address": "10.0.0.1", "client.port": 9}, "10.0.0.1"),
        ({"network.peer.address": "10.0.0.1", "net.peer.port": 9}, "10.0.0.1"),
        ({"network.peer.address": "10.0.0.1", "network.peer.port": -1}, "10.0.0.1"),
        ({"network.peer.address": "::ffff:10.0.0.1", "network.peer.port": 9}, "10.0.0.1:9"),
        ({"net.peer.ip": "10.0.0.1", "net.peer.port": "9"}, "10.0.0.1:9"),
        ({"client.address": "203.0.113.7", "client.port": 9, "net.peer.name": "203.0.113.7"}, None),
    ],
)
def test_address_and_port_come_from_one_pair_of_names(attributes: dict[str, object], peer: str | None) -> None:
    assert value_at(seen_in(span_of(attributes)), "peer") == peer


@pytest.mark.parametrize("said", ["proxy", "realip"])
def test_a_replaced_address_is_a_statement_and_realip_keeps_no_port(said: str) -> None:
    seen = seen_in(span_of({"network.peer.address": "203.0.113.7", "network.peer.port": 9}), logs_peer=said)
    assert seen.peer is None
    assert value_at(seen, "stated") == ("203.0.113.7" if said == "realip" else "203.0.113.7:9")


@pytest.mark.parametrize(("said", "claims"), [("203.0.113.7", 1), ("10.0.0.1", 0), ("shop.example", 1)])
def test_client_address_is_a_claim_where_it_says_more_than_the_peer(said: str, claims: int) -> None:
    seen = seen_in(span_of({"network.peer.address": "10.0.0.1", "client.address": said}))
    assert [claim.values for claim in seen.claims] == [(said,)] * claims
    assert all(claim.name == "client.address" for claim in seen.claims)


def test_headers_are_arrays_of_lines_and_a_plain_string_may_be_the_first() -> None:
    name = "http.request.header.x-forwarded-for"
    assert value_at(seen_in(span_of({name: ["a, b", "c"]})), "claims.x-forwarded-for") == "a, b, c"
    assert value_at(seen_in(span_of({name: "a, b"})), "claims.x-forwarded-for.coverage") == "first"


def test_underscores_become_dashes_only_where_the_setup_says_so() -> None:
    span = span_of({"http.request.header.x_forwarded_for": ["203.0.113.7"]})
    assert seen_in(span).claims == ()
    seen = seen_in(span, options=(("headers", "underscores"),))
    assert value_at(seen, "claims.x-forwarded-for") == "203.0.113.7"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (TRACE.upper(), TRACE),
        (b64encode(bytes.fromhex(TRACE)).decode(), TRACE),
        ("0" * 32, None),
        ("", None),
        ("xyz", None),
        (7, None),
    ],
)
def test_trace_ids_are_read_as_writers_write_them(written: object, read: str | None) -> None:
    assert value_at(seen_in(span_of({}, traceId=written)), "ids.trace") == read


@pytest.mark.parametrize(
    ("stamp", "width"),
    [(START, 10**6), (START + 1000, 10**3), (START + 100, 100), (START + 1, 1), (str(START + 1), 1)],
)
def test_a_coarse_clock_widens_the_start(stamp: object, width: int) -> None:
    seen = seen_in(span_of({}, startTimeUnixNano=stamp))
    assert seen.start_ns == int(str(stamp))
    assert seen.start_latest_ns == int(str(stamp)) + width - 1


@pytest.mark.parametrize("stamp", [1.7e18, "-1", 2**63, "x", True])
def test_a_start_that_is_no_time_is_refused(stamp: object) -> None:
    with pytest.raises(FormatError, match="time"):
        seen_in(span_of({}, startTimeUnixNano=stamp))


def test_an_attribute_with_two_values_has_two_readings() -> None:
    span = span_of({})
    span["attributes"] = [attribute("network.peer.address", "10.0.0.1"), attribute("network.peer.address", "10.0.0.2")]
    with pytest.raises(FormatError, match="two_readings"):
        seen_in(span)
    span["attributes"] = [attribute("a", "1"), attribute("a", "2"), attribute("network.peer.address", "10.0.0.1")] * 2
    assert value_at(seen_in(span), "peer") == "10.0.0.1"


# --- hostile input


@pytest.mark.parametrize("chosen", [OTLP_TRACES, OTLP_LOGS], ids=lambda chosen: chosen.name)
@given(raw=st.binary(max_size=120))
def test_every_byte_string_splits_and_reads_or_raises_format_error(chosen: Format, raw: bytes) -> None:
    with contextlib.suppress(FormatError):
        for message in split(chosen, raw):
            with contextlib.suppress(FormatError):
                reader_of(chosen)(line_of(message))
    with contextlib.suppress(FormatError):
        reader_of(chosen)(line_of(raw))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["key", "value", "values", "stringValue", "intValue", "arrayValue", "kvlistValue", "attributes"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)
KEYS = ["network.peer.address", "network.peer.port", "client.address", "http.request.header.forwarded", "ClientAddr"]


@given(
    st.dictionaries(
        st.sampled_from(["traceId", "spanId", "kind", "startTimeUnixNano", "timeUnixNano", "attributes", "body"]), JSON
    ),
    st.lists(st.tuples(st.sampled_from(KEYS), JSON), max_size=4),
    JSON,
)
def test_any_values_in_any_place_read_or_raise_format_error(
    fields: dict[str, Any], attributes: list[tuple[str, Any]], resource: Any
) -> None:
    record = {"kind": 2, "attributes": [{"key": key, "value": value} for key, value in attributes], **fields}
    for chosen, names in ((OTLP_TRACES, ("Spans", "spans")), (OTLP_LOGS, ("Logs", "logRecords"))):
        batch = {f"resource{names[0]}": [{"resource": resource, f"scope{names[0]}": [{names[1]: [record]}]}]}
        with contextlib.suppress(FormatError):
            reader_of(chosen)(line_of(json.dumps(batch).encode()))
