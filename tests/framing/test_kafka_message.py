"""Laws of raw messages: lines joined and cut are the lines again, and any bytes are cut or refused, in linear time."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from clientip.errors import FormatError
from clientip.framing.kafka_message import MAX_DEPTH, MAX_HEADERS, MAX_LINES, MESSAGES, cut, ids_of
from clientip.syntax.traceids import MAX_VALUE
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, ResourceLogs, ScopeLogs

from tests.worlds.patience import processor_s
from tests.worlds.sizes import EXAMPLES

MEGABYTE = 1 << 20
LINES = st.binary(max_size=30).filter(lambda line: b"\n" not in line and line.strip() != b"" and line[-1:] != b"\r")
TEXTS = st.text(max_size=20).filter(lambda text: not text.endswith("\n"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)
BLANKS = st.text(" \t\r\n", max_size=3)
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SHAPES = st.lists(st.lists(TEXTS, max_size=3), max_size=3)  # bodies of records, by resource


def reason_of(kind: str, message: bytes, most: int = MAX_LINES) -> str:
    with pytest.raises(FormatError) as caught:
        cut(kind, message, most)
    return caught.value.reason


def json_batch(shape: list[list[Any]]) -> bytes:
    """Log records in OTLP/JSON, one scope for each resource; `shape` holds their bodies."""
    resources = [
        {"resource": {}, "scopeLogs": [{"logRecords": [{"timeUnixNano": "1", "body": body} for body in bodies]}]}
        for bodies in shape
    ]
    return json.dumps({"resourceLogs": resources}).encode()


def proto_batch(shape: list[list[AnyValue]]) -> bytes:
    resources = [
        ResourceLogs(scope_logs=[ScopeLogs(log_records=[LogRecord(time_unix_nano=1, body=body) for body in bodies])])
        for bodies in shape
    ]
    raw: bytes = LogsData(resource_logs=resources).SerializeToString()
    return raw


# --- what goes in comes out


@given(st.binary(max_size=50).filter(lambda line: line[-1:] not in (b"\n", b"\r")))
def test_a_line_is_its_message_without_one_line_end(line: bytes) -> None:
    assert cut("line", line) == cut("line", line + b"\n") == cut("line", line + b"\r\n") == (line,)
    assert cut("line", line + b"\n\n") == (line + b"\n",)
    assert cut("line", line + b"\r") == (line + b"\r",)


@given(st.lists(LINES, max_size=8), st.sampled_from([b"\n", b"\r\n", b"\n \n", b"\n\r\n\n"]), st.booleans())
def test_lines_joined_and_cut_are_the_lines_again(lines: list[bytes], end: bytes, is_ended: bool) -> None:
    assert cut("lines", end.join(lines) + (end if is_ended else b"")) == tuple(lines)


@settings(max_examples=EXAMPLES)
@given(st.lists(OBJECTS | TEXTS, max_size=5), st.booleans(), BLANKS, st.sampled_from([(",", ":"), (" , ", " : ")]))
def test_an_object_of_an_array_keeps_its_very_bytes_and_a_string_gives_its_text(
    values: list[Any], ascii_only: bool, blank: str, separators: tuple[str, str]
) -> None:
    written = [json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode() for value in values]
    message = b"[%b]" % b",".join(blank.encode() + each + blank.encode() for each in written)
    expected = [value.encode() if isinstance(value, str) else each for value, each in zip(values, written, strict=True)]
    assert list(cut("json_array", blank.encode() + message + blank.encode())) == expected


@given(st.lists(st.binary(max_size=10), min_size=1, max_size=3))
def test_bytes_that_are_no_utf8_are_kept_in_arrays(stray: list[bytes]) -> None:
    plain = [bytes(byte for byte in each if byte >= 0x20 and byte not in b'"\\') for each in stray]
    message = b"[%b]" % b",".join(b'"%b",{"a":"%b"}' % (each, each) for each in plain)
    assert list(cut("json_array", message)) == [line for each in plain for line in (each, b'{"a":"%b"}' % each)]


@given(SHAPES)
def test_bodies_of_log_records_come_in_order_from_json_and_protobuf_alike(shape: list[list[str]]) -> None:
    expected = tuple(body.encode() for bodies in shape for body in bodies)
    assert cut("otlp_json", json_batch([[{"stringValue": body} for body in bodies] for bodies in shape])) == expected
    assert cut("otlp_proto", proto_batch([[AnyValue(string_value=body) for body in each] for each in shape])) == (
        expected
    )


@pytest.mark.parametrize("kind", ["json_array", "otlp_json", "otlp_proto"])
def test_a_shipper_that_leaves_the_line_end_on_gives_the_line_without_it(kind: str) -> None:
    body = "a line\r\n"
    messages = {
        "json_array": json.dumps([body]).encode(),
        "otlp_json": json_batch([[{"stringValue": body}]]),
        "otlp_proto": proto_batch([[AnyValue(string_value=body)]]),
    }
    assert cut(kind, messages[kind]) == (b"a line",)


# --- what cannot be cut is refused whole


@settings(max_examples=EXAMPLES)
@given(st.sampled_from(list(MESSAGES)), st.binary(max_size=60) | st.text('[]{}",:\\u0dce1 n\n', max_size=40))
@example("json_array", b'["\\ud800"]')
@example("json_array", b'["\\u0000"]')
@example("otlp_json", b'{"resourceLogs":null}')
@example("otlp_json", b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":[]}]}]}]}')
def test_any_bytes_are_cut_or_refused(kind: str, message: bytes | str) -> None:
    raw = message.encode() if isinstance(message, str) else message
    try:
        lines = cut(kind, raw)
    except FormatError as error:
        assert kind not in ("line", "lines")
        assert error.reason in ("json", "json_not_object", "json_repeated_key", "json_too_deep", "no_match", "protobuf")
    else:
        assert all(isinstance(line, bytes) for line in lines)


@pytest.mark.parametrize(
    ("kind", "message", "reason"),
    [
        ("json_array", b'{"a":1}', "no_match"),
        ("json_array", b'[{"a":1},2]', "no_match"),
        ("json_array", b"[null]", "no_match"),
        ("json_array", b'[["a"]]', "no_match"),
        ("json_array", b'[{"a":1},]', "json"),
        ("json_array", b'[{"a":1}]{}', "json"),
        ("json_array", b"", "json"),
        ("otlp_json", b'{"resourceSpans":[]}', "no_match"),
        ("otlp_json", b'{"resourceLogs":[],"resourceLogs":[]}', "json_repeated_key"),
        ("otlp_proto", b"\xff", "protobuf"),
        ("otlp_proto", b'{"resourceLogs":[]}', "protobuf"),
    ],
)
def test_what_is_no_batch_of_its_kind_is_refused(kind: str, message: bytes, reason: str) -> None:
    assert reason_of(kind, message) == reason


@pytest.mark.parametrize(
    "body", [None, {}, "x", {"intValue": "1"}, {"stringValue": 1}, {"stringValue": "x", "intValue": "1"}]
)
def test_one_body_that_is_no_text_refuses_all_of_a_batch_in_json(body: object) -> None:
    assert reason_of("otlp_json", json_batch([[{"stringValue": "a"}], [body]])) == "no_match"


@pytest.mark.parametrize("body", [None, AnyValue(), AnyValue(int_value=1), AnyValue(bytes_value=b"x")])
def test_one_body_that_is_no_text_refuses_all_of_a_batch_in_protobuf(body: AnyValue) -> None:
    assert reason_of("otlp_proto", proto_batch([[AnyValue(string_value="a")], [body]])) == "no_match"


@pytest.mark.parametrize("inner", [(b'{"a":', b"}"), (b'{"a":[', b"]}")])
def test_depth_is_bounded_exactly_and_brackets_in_text_are_none(inner: tuple[bytes, bytes]) -> None:
    levels = MAX_DEPTH // (2 if b"[" in inner[0] else 1)
    deepest = inner[0] * levels + b"1" + inner[1] * levels
    assert cut("json_array", b"[%b]" % deepest) == (deepest,)
    for deeper in (levels + 1, 2 * levels, 100_000):
        assert reason_of("json_array", b"[%b]" % (inner[0] * deeper + b"1" + inner[1] * deeper)) == "json_too_deep"
    flat = b'{"a":"%b\\"%b"}' % (b"[{" * MAX_DEPTH, b"{" * MAX_DEPTH)
    assert cut("json_array", b"[%b]" % flat) == (flat,)


@pytest.mark.parametrize("kind", ["lines", "json_array", "otlp_json", "otlp_proto"])
def test_the_number_of_lines_is_bounded_exactly(kind: str) -> None:
    def message(count: int) -> bytes:
        return {
            "lines": b"a\n" * count,
            "json_array": json.dumps(["a"] * count).encode(),
            "otlp_json": json_batch([[{"stringValue": "a"}] * count]),
            "otlp_proto": proto_batch([[AnyValue(string_value="a")] * count]),
        }[kind]

    assert cut(kind, message(7), 7) == (b"a",) * 7
    assert reason_of(kind, message(8), 7) == "too_many_lines"


def seconds(kind: str, message: bytes) -> float:
    """Processor time of the faster of two runs; nothing below 5 ms can be told apart."""

    def cut_it() -> None:
        with contextlib.suppress(FormatError):
            cut(kind, message)

    return max(0.005, processor_s(cut_it, runs=2))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("line", lambda n: b"\n" * n),
        ("lines", lambda n: b"\n" * n),
        ("lines", lambda n: b"a\n" * (n // 2)),
        ("lines", lambda n: b" " * n),
        ("json_array", lambda n: b"[" * n),
        ("json_array", lambda n: b"[%b1]" % (b"1," * (n // 2))),
        ("json_array", lambda n: b"[%b{}]" % (b"{}," * (n // 4))),
        ("json_array", lambda n: b'["%b"]' % (b'\\"' * (n // 2))),
        ("json_array", lambda n: b'["%b"]' % (b"\xff" * n)),
        ("json_array", lambda n: b'[{"a":"%b"}]' % (b"[" * n)),
        ("json_array", lambda n: b'[{"a":[%b{}]}]' % (b"{}," * (n // 4))),
        ("json_array", lambda n: b'[{"a":[%b""]}]' % (b'"",' * (n // 4))),
        ("otlp_json", lambda n: b'{"resourceLogs":[%b{}]}' % (b"{}," * (n // 4))),
        ("otlp_json", lambda n: json_batch([[{"stringValue": "a"}] * (n // 60)])),
        ("otlp_proto", lambda n: b"\n\0" * (n // 2)),
        ("otlp_proto", lambda n: proto_batch([[AnyValue(string_value="a")] * (n // 28)])),
    ],
    ids=range(16),
)
def test_time_does_not_grow_with_the_square_of_a_message(kind: str, message: Callable[[int], bytes]) -> None:
    assert seconds(kind, message(2 * MEGABYTE)) < 30 * seconds(kind, message(MEGABYTE // 4))  # the square would be 64


# --- ids in headers


@given(st.sampled_from(["traceparent", "Traceparent", "TRACEPARENT"]), st.lists(st.sampled_from("abc"), max_size=3))
def test_the_trace_of_a_message_is_found_in_any_case_and_among_others(name: str, others: list[str]) -> None:
    found = ids_of([*((other, b"x") for other in others), (name, TRACE)])
    assert found is not None
    assert (found.trace, found.parent, found.scheme) == (TRACE[3:35].decode(), TRACE[36:52].decode(), "w3c")


def test_headers_that_belong_together_are_read_together() -> None:
    found = ids_of([("X-B3-TraceId", b"80f198ee56343ba864fe8b2a57d3eff7"), ("X-B3-SpanId", b"e457b5a2e4d86bd1")])
    assert found is not None
    assert (found.trace, found.parent) == ("80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1")


def test_a_request_id_without_a_trace_is_an_id_too() -> None:
    found = ids_of([("X-Request-ID", b"785918d6-06b6-9312-bf77-6d9bd968dc21")])
    assert found is not None
    assert (found.trace, found.requests) == (None, (("x-request-id", "785918d6-06b6-9312-bf77-6d9bd968dc21"),))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", None)],
        [("traceparent", b"")],
        [("traceparent", b"\xff" + TRACE[1:])],
        [("traceparent", TRACE + b" " * MAX_VALUE)],
        [("traceparent", TRACE), ("TraceParent", TRACE)],
        [("traceparent", TRACE), ("b3", b"802bd09f480b5faa-e457b5a2e4d86bd1-1")],
        [("traceparent", TRACE), *[("other", b"")] * MAX_HEADERS],
        [("ce_traceparent", TRACE)],
    ],
    ids=range(9),
)
def test_ids_that_are_absent_broken_repeated_or_disagree_are_none(headers: list[tuple[str, bytes | None]]) -> None:
    assert ids_of(headers) is None


@given(st.lists(st.tuples(st.sampled_from(["b3", "traceparent", "x-amzn-trace-id", "é"]), st.binary(max_size=60))))
def test_any_headers_are_read_or_none(headers: list[tuple[str, bytes]]) -> None:
    found = ids_of(headers)
    assert found is None or found.trace or found.requests
