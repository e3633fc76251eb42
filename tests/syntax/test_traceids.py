"""Laws of trace, span and request ids, one scheme at a time."""

from __future__ import annotations

import pytest
from clientip.model import Endpoint, Ids
from clientip.syntax import traceids
from clientip.syntax.addresses import parse_address
from hypothesis import given
from hypothesis import strategies as st

TRACE, HALF, SPAN = "0af7651916cd43dd8448eb211c80319c", "8448eb211c80319c", "b7ad6b7169203331"
PADDED = "0" * 16 + HALF
ZERO32, ZERO16 = "0" * 32, "0" * 16
HEX128 = st.integers(1, 2**128 - 1).map(lambda n: format(n, "032x"))
HEX64 = st.integers(1, 2**64 - 1).map(lambda n: format(n, "016x"))


def brief(ids: Ids | None) -> tuple[str | None, str | None, int | None, str | None] | None:
    return None if ids is None else (ids.trace, ids.parent, ids.bits, ids.raw)


# --- W3C


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        (f"00-{TRACE}-{SPAN}-01", None),
        (f" 00-{TRACE}-{SPAN}-00 ", None),
        (f"cc-{TRACE}-{SPAN}-01-more-to-come", None),
        (f"cc-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN.upper()}-01", TRACE.upper()),
    ],
)
def test_traceparent_gives_the_trace_and_the_callers_span(text: str, raw: str | None) -> None:
    ids = traceids.w3c(text)
    assert brief(ids) == (TRACE, SPAN, 128, raw)
    assert ids and (ids.scheme, ids.span) == ("w3c", None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{ZERO32}-{SPAN}-01",
        f"00-{TRACE}-{ZERO16}-01",
        f"00-{TRACE}-{SPAN}-01-x",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01x",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
    ],
)
def test_a_traceparent_the_standard_calls_invalid_names_no_trace(text: str) -> None:
    assert traceids.w3c(text) is None


# --- the others


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (traceids.b3_single(f"{TRACE}-{SPAN}"), (TRACE, SPAN, 128, None)),
        (traceids.b3_single(f"{HALF}-{SPAN}-d"), (PADDED, SPAN, 64, HALF)),
        (traceids.b3_single(f"{TRACE.upper()}-{SPAN}-1-05e3ac9a4f6e3b90"), (TRACE, SPAN, 128, TRACE.upper())),
        (traceids.b3_single(f"{TRACE}-{ZERO16}-0"), (TRACE, None, 128, None)),
        (traceids.b3_multi(TRACE, SPAN), (TRACE, SPAN, 128, None)),
        (traceids.b3_multi(HALF), (PADDED, None, 64, HALF)),
        (traceids.b3_multi(PADDED, "xyz"), (PADDED, None, 64, None)),
        (traceids.xray(f"Root=1-{TRACE[:8]}-{TRACE[8:]}"), (TRACE, None, 128, f"1-{TRACE[:8]}-{TRACE[8:]}")),
        (traceids.gcp(TRACE), (TRACE, None, 128, None)),
        (traceids.gcp(f"{TRACE}/1"), (TRACE, "0000000000000001", 128, None)),
        (traceids.gcp(f"{TRACE}/18446744073709551615;o=0"), (TRACE, "f" * 16, 128, None)),
        (traceids.gcp(f"{TRACE}/0;o=1"), (TRACE, None, 128, None)),
        (traceids.gcp(f"{TRACE}/18446744073709551616"), (TRACE, None, 128, None)),
        (traceids.gcp(f"{TRACE};o=1"), (TRACE, None, 128, None)),
        (traceids.jaeger(f"{TRACE}:{SPAN}:0:1"), (TRACE, SPAN, 128, None)),
        (traceids.jaeger("1a2:3b::f"), ("1a2".rjust(32, "0"), "3b".rjust(16, "0"), 64, "1a2")),
        (traceids.jaeger(f"{TRACE[:-1]}%3a{SPAN}%3A0%3A1"), ("0" + TRACE[:-1], SPAN, 128, TRACE[:-1])),
        (traceids.datadog("1"), ("1".rjust(32, "0"), None, 64, "1")),
        (traceids.datadog("1", "2"), ("1".rjust(32, "0"), "2".rjust(16, "0"), 64, "1")),
        (traceids.datadog("1", "0", f"a=b,_dd.p.tid={HALF}"), (HALF + "1".rjust(16, "0"), None, 128, "1")),
        (traceids.datadog("18446744073709551615", None, "_dd.p.tid=12"), ("f" * 16, None, 64, "18446744073709551615")),
    ],
)
def test_each_scheme_gives_canonical_ids(ids: Ids | None, expected: tuple[str, str | None, int, str | None]) -> None:
    expected = (expected[0].rjust(32, "0"), *expected[1:])
    assert brief(ids) == expected


@pytest.mark.parametrize(
    "ids",
    [
        *map(
            traceids.b3_single,
            ("0", "1", "d", f"{TRACE}", f"{ZERO32}-{SPAN}", f"{TRACE[:24]}-{SPAN}", f"{TRACE}-{SPAN}-2", ""),
        ),
        *map(traceids.b3_multi, ("", ZERO16, TRACE[:24], "x" * 16, TRACE + "0")),
        *map(
            traceids.xray, ("", "-", "Self=1-2-3", f"Root=2-{TRACE[:8]}-{TRACE[8:]}", f"root=1-{TRACE[:8]}-{TRACE[8:]}")
        ),
        *map(traceids.xray, (f"1-{TRACE[:8]}-{TRACE[8:]}0", f"Root=1-{ZERO32[:8]}-{ZERO32[8:]}")),
        traceids.xray(f"Root=1-{TRACE[:8]}-{TRACE[8:]};Root=1-{TRACE[8:16]}-{TRACE[8:]}"),
        *map(
            traceids.gcp, ("", TRACE[:16], f"{TRACE}/x", f"{TRACE}/", f"{ZERO32}/1", f"{TRACE}/123456789012345678901")
        ),
        *map(
            traceids.jaeger,
            ("", f"{TRACE}:{SPAN}:0", f"{TRACE}0:{SPAN}:0:1", f"{TRACE}:0:0:1", f"0:{SPAN}:0:1", "a:b:c:123"),
        ),
        *map(traceids.datadog, ("", "0", "-1", "abc", "18446744073709551616", "1" * 21)),
        traceids.w3c(f"cc-{TRACE}-{SPAN}-01-" + "x" * traceids.MAX_VALUE),
    ],
)
def test_what_is_no_id_is_none(ids: Ids | None) -> None:
    assert ids is None


def test_x_ray_fields_come_in_any_order_and_names_are_case_sensitive() -> None:
    text = (
        f"Self=1-67891234-12456789abcdef012345678;Sampled=1; Parent={SPAN};Root=1-{TRACE[:8]}-{TRACE[8:]};Lineage=a:1"
    )
    found = Ids(TRACE, None, SPAN, "xray", 128, f"1-{TRACE[:8]}-{TRACE[8:]}", header="x-amzn-trace-id")
    assert traceids.xray(text) == found
    assert brief(traceids.xray(f"1-{TRACE[:8]}-{TRACE[8:]}"))[:2] == (TRACE, None)  # type: ignore[index]
    for parent in (f"parent={SPAN}", "Parent=1", f"Parent={SPAN};Parent={HALF}"):
        assert traceids.xray(f"Root=1-{TRACE[:8]}-{TRACE[8:]};{parent}").parent is None  # type: ignore[union-attr]


# --- log fields


@given(HEX128, HEX64)
def test_canonical_ids_are_their_own_reading(trace: str, span: str) -> None:
    assert traceids.trace_id(trace) == traceids.trace_id(f' "{trace.upper()}" ') == trace
    assert traceids.span_id(span) == traceids.span_id(span.lstrip("0").upper()) == span
    assert traceids.trace_id(span) == span.rjust(32, "0")
    assert traceids.trace_bytes(bytes.fromhex(trace)) == trace
    assert traceids.span_bytes(bytes.fromhex(span)) == span
    assert traceids.datadog_trace_id(trace) == trace
    assert traceids.datadog_trace_id(str(int(span, 16))) == span.rjust(32, "0")
    assert traceids.datadog_span_id(str(int(span, 16))) == span


@pytest.mark.parametrize(
    ("text", "trace"),
    [
        (f"projects/p-1/traces/{TRACE}", TRACE),
        (f"Root=1-{TRACE[:8]}-{TRACE[8:]}", TRACE),
        (f"1-{TRACE[:8]}-{TRACE[8:]}", TRACE),
        ("CvdlGRbNQ92ESOshHIAxnA==", TRACE),
        ("AAAAAAAAAAAAAAAAAAAAAA==", None),
        (f"projects/p/traces/{ZERO32}", None),
        (TRACE[:24], None),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", None),
        ("0af76519-16cd-43dd-8448-eb211c80319c", None),
        ("null", None),
        (ZERO32, None),
        (None, None),
    ],
)
def test_a_trace_field_is_read_by_its_name_and_then_by_its_shape(text: str | None, trace: str | None) -> None:
    assert traceids.trace_id(text) == trace


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("t61rcWkgMzE=", SPAN),
        ("2", "2".rjust(16, "0")),
        (SPAN + "0", None),
        ("g", None),
        ("", None),
        (None, None),
        ("AAAAAAAAAAA=", None),
    ],
)
def test_a_span_field_may_have_lost_its_zeros(text: str | None, span: str | None) -> None:
    assert traceids.span_id(text) == span


@pytest.mark.parametrize(
    "text", [None, "", "-", "0", ZERO32, "null", "UNDEFINED", "none", "00000000-0000-0000-0000-000000000000", "{}"]
)
def test_the_many_ways_to_say_nothing_are_nothing(text: str | None) -> None:
    assert traceids.clean(text) == ""
    for read in (traceids.trace_id, traceids.span_id, traceids.datadog_trace_id, traceids.datadog_span_id):
        assert read(text) is None


@pytest.mark.parametrize(
    ("text", "trace"),
    [("1234567890123456", format(1234567890123456, "032x")), (SPAN, None), ("18446744073709551616", None)],
)
def test_sixteen_digits_of_datadog_are_decimal(text: str, trace: str | None) -> None:
    assert traceids.datadog_trace_id(text) == trace


def test_a_datadog_span_may_be_hex_if_a_letter_says_so() -> None:
    assert traceids.datadog_span_id(SPAN) == SPAN
    assert traceids.datadog_span_id("abc") is None


def test_bytes_of_another_length_or_all_zero_are_no_id() -> None:
    assert [traceids.trace_bytes(value) for value in (b"", bytes(16), b"\1" * 15, b"\1" * 17)] == [None] * 4
    assert [traceids.span_bytes(value) for value in (b"", bytes(8), b"\1" * 7, b"\1" * 16)] == [None] * 4


# --- request ids


def test_envoys_moving_character_does_not_count() -> None:
    ids = {f"785918d6-06b6-{kind}312-bf77-6d9bd968dc21" for kind in "479ab"}
    assert {traceids.request_key(value) for value in ids} == {"785918d6-06b6-x312-bf77-6d9bd968dc21"}


@given(st.text(max_size=50))
def test_only_ids_of_36_characters_are_masked_and_only_there(value: str) -> None:
    key = traceids.request_key(value)
    assert len(key) == len(value)
    assert key[:14] + key[15:] == value[:14] + value[15:]
    assert key == traceids.request_key(key)
    assert len(value) == 36 or key == value


def test_a_haproxy_id_comes_apart() -> None:
    seen = traceids.haproxy_unique_id("C0000201:C350_CB007107:01BB_65920080_00FF:0010")
    assert seen == traceids.HaproxyId(
        Endpoint(parse_address("192.0.2.1"), 50000),
        Endpoint(parse_address("203.0.113.7"), 443),
        1704067200 * 10**9,
        255,
        16,
    )
    six = traceids.haproxy_unique_id("20010DB8000000000000000000000007:0000_CB007107:01BB_65920080_0:1")
    assert six and six.client == Endpoint(parse_address("2001:db8::7"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "C0000201:C350",
        "C00002:C350_CB007107:01BB_65920080_00FF:0010",
        "C0000201:C350_CB007107:01BB_65920080_00FF:0010x",
    ],
)
def test_another_unique_id_format_is_not_guessed_at(text: str) -> None:
    assert traceids.haproxy_unique_id(text) is None


READERS = (
    traceids.w3c, traceids.b3_single, traceids.b3_multi, traceids.xray, traceids.gcp, traceids.jaeger, traceids.datadog,
)  # fmt: skip


@given(st.one_of(st.text(), st.text(alphabet='0123456789abcdefABCDEF-:/;=%RootSelfd, "{}', max_size=80)))
def test_any_text_is_ids_in_canonical_form_or_none(text: str) -> None:
    for read in READERS:
        ids = read(text)
        if ids is not None:
            assert (
                ids.trace and len(ids.trace) == 32 and set(ids.trace) <= set("0123456789abcdef") and ids.trace != ZERO32
            )
            assert ids.parent is None or (len(ids.parent) == 16 and ids.parent != ZERO16)
            assert (ids.bits == 64) == ids.trace.startswith(ZERO16)
    for field in (traceids.trace_id, traceids.datadog_trace_id):
        assert (found := field(text)) is None or (len(found) == 32 and found != ZERO32)
    for field in (traceids.span_id, traceids.datadog_span_id):
        assert (found := field(text)) is None or (len(found) == 16 and found != ZERO16)
    traceids.haproxy_unique_id(text)
