"""Laws of the collector's lines: every field is what was written, and what is not exactly of the shape is refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from clientip.errors import FormatError
from clientip.formats.conntrack.json_lines import CONNTRACK_JSON, GRACE_NS, SAMPLES
from clientip.model import Heartbeat, Numbered, Observation, Sample
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.samples_check import check_sample, line_of, reader_of, value_at
from tests.worlds.sizes import EXAMPLES

SESSION = "8f1c2d34-5e6f-4a1b-9c0d-7e8f9a0b1c2d-18eb4f7a3c5d6e7f"
T = 1_714_557_600_123_456_789
MARK = {"n": 18, "session": SESSION, "at": T, "mark": True, "stamps": "kernel"}
WHOLE = {
    "n": 17,
    "session": SESSION,
    "at": T,
    "event": "DESTROY",
    "proto": "tcp",
    "id": 3109841302,
    "start": T - 9,
    "end": T + 9,
    "assured": True,
    "zone": 7,
    "orig": ["203.0.113.10", 40001, "198.51.100.11", 30080],
    "reply": ["10.244.2.5", 8080, "198.51.100.11", 50691],
}

MOMENTS = st.integers(1, 2**63 - 1)
HOSTS = st.ip_addresses().map(str)
PORTS = st.integers(1, 65535)


def read(fields: dict[str, Any], **setup: object) -> Observation | Heartbeat:
    seen = reader_of(CONNTRACK_JSON, **setup)(line_of(json.dumps(fields).encode()))
    assert isinstance(seen, Observation | Heartbeat)
    return seen


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in WHOLE.items() if key not in keys}


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples(sample: Sample) -> None:
    check_sample(CONNTRACK_JSON, sample)


@given(st.lists(HOSTS, min_size=4, max_size=4), st.lists(PORTS, min_size=4, max_size=4), MOMENTS, MOMENTS)
def test_the_next_hop_sees_the_reply_turned_round(hosts: list[str], ports: list[int], one: int, other: int) -> None:
    start, end = sorted((one, other))
    orig, reply = [hosts[0], ports[0], hosts[1], ports[1]], [hosts[2], ports[2], hosts[3], ports[3]]
    seen = read({**WHOLE, "orig": orig, "reply": reply, "start": start, "end": end})
    assert isinstance(seen, Observation)
    wanted = [(hosts[0], ports[0]), (hosts[1], ports[1]), (hosts[3], ports[3]), (hosts[2], ports[2])]
    for path, (host, port) in zip(("peer", "local", "upstream_local", "upstream_peer"), wanted, strict=True):
        plain = read({**WHOLE, "orig": [host, port, host, port]})
        assert isinstance(plain, Observation)
        assert value_at(seen, path) == value_at(plain, "peer")
    assert (seen.start_ns, seen.start_latest_ns, seen.end_ns) == (start, start, end)


def test_the_bound_of_the_clock_spreads_the_start_and_narrows_what_is_told() -> None:
    seen = read(WHOLE, max_skew_ns=5)
    assert isinstance(seen, Observation)
    assert (seen.start_ns, seen.start_latest_ns, seen.end_ns) == (T - 14, T - 4, T + 9)
    assert seen.numbered == Numbered(SESSION, 17, T - 5, T + 2 * GRACE_NS + 5)
    assert (seen.connection_serial, seen.transport, seen.assured) == ("tcp/3109841302@7/DESTROY", "tcp", True)


def test_a_mark_says_its_number_and_nothing_else() -> None:
    mark, gap = read(MARK), read({**MARK, "gap": True, "stamps": "user", "read": T + 5})
    assert isinstance(mark, Heartbeat)
    assert isinstance(gap, Heartbeat)
    assert mark.numbered == Numbered(SESSION, 18, T, T + 2 * GRACE_NS)
    assert gap.numbered == Numbered(SESSION, 18, T, T, gap=True)
    assert (mark.setup.system, json.loads(mark.line.raw)) == ("s", MARK)


def test_a_line_that_was_read_late_vouches_for_nothing_before_it_was_read() -> None:
    late = T + 5 * GRACE_NS
    mark = read({**MARK, "stamps": "user", "read": late})
    whole = read({**WHOLE, "start_since": T - 10, "since": T, "read": late})
    begun = read({**without("end", "assured"), "event": "NEW", "start": late, "since": T})
    for each in (mark, whole, begun):
        assert isinstance(each, Heartbeat | Observation)
        assert each.numbered is not None
        assert each.numbered.since_ns == late
        assert each.numbered.at_ns == T


def test_an_older_collectors_stamps_of_reading_need_the_operators_bound() -> None:
    with pytest.raises(FormatError) as refused:
        read({**MARK, "stamps": "user"})
    assert refused.value.reason == "stamps_unbounded"
    mark, whole = read({**MARK, "stamps": "user"}, stamped_within_ns=4), read(WHOLE, stamped_within_ns=4)
    assert isinstance(mark, Heartbeat)
    assert isinstance(whole, Observation)
    assert mark.numbered.at_ns == T - 4
    assert (whole.start_ns, whole.start_latest_ns) == (T - 13, T - 9)
    assert (whole.end_ns, whole.end_slack_ns) == (T + 7, 2)


def test_since_after_its_stamp_is_no_time() -> None:
    with pytest.raises(FormatError):
        read({**WHOLE, "since": T + 10})


def test_a_flow_without_a_start_had_begun_when_it_was_seen_or_over() -> None:
    seen = read({**without("start", "end", "assured"), "event": "LIST", "seen": T}, max_skew_ns=1)
    over = read(without("start"), max_skew_ns=1)
    nothing = read({**without("start", "end"), "event": "LIST"})
    assert isinstance(seen, Observation)
    assert isinstance(over, Observation)
    assert isinstance(nothing, Observation)
    assert (seen.start_ns, seen.start_latest_ns, seen.end_ns) == (None, T + 1, None)
    assert (over.start_ns, over.start_latest_ns, over.end_ns) == (None, T + 10, T + 9)
    assert (nothing.start_ns, nothing.start_latest_ns) == (None, None)


@pytest.mark.parametrize("key", sorted({*WHOLE} - {"zone", "assured", "start"}))
def test_a_line_without_a_field_is_refused(key: str) -> None:
    with pytest.raises(FormatError):
        read(without(key))


@pytest.mark.parametrize("key", sorted({*MARK} - {"mark"}))
def test_a_mark_without_a_field_is_refused(key: str) -> None:
    with pytest.raises(FormatError):
        read({name: value for name, value in MARK.items() if name != key})


HUGE = 2**63
WRONG: list[tuple[str, Any, str]] = [
    *(("n", value, "number") for value in (0, -1, HUGE, 10**30, "1", 1.0, True)),
    *((key, value, "time") for key in ("at", "start", "end") for value in (0, -1, HUGE, 10**30, "1", 1.5, True)),
    *(("session", value, "no_match") for value in ("", "a" * 81, "8F", "8f 1", "8f\n", "x", 8)),
    *(("event", value, "no_match") for value in ("UPDATE", "new", 1, ["NEW"])),
    ("event", "NEW", "time"),  # with an end
    ("event", "LIST", "time"),
    *(("proto", value, "no_match") for value in ("TCP", "", "0", "1000", "a" * 17, "tcp/1", 6)),
    *(("id", value, "number") for value in (-1, 2**32, "1", True)),
    *(("zone", value, "number") for value in (0, 65536, "1")),
    *(("assured", value, "no_match") for value in (None, 1, "true")),
    *(("gap", value, "no_match") for value in (None, 1)),
    ("seen", T, "time"),  # beside a start
    ("end", T - 10, "time"),
    ("user", 1, "no_match"),
    *((key, value, "no_match") for key in ("orig", "reply") for value in ("", {}, [], ["10.0.0.1", 1, "10.0.0.2"])),
    *(("orig", ["10.0.0.1", port, "10.0.0.2", 1], "port") for port in (-1, 65536, "1", 1.0, True, HUGE)),
    *(("orig", [host, 1, "10.0.0.2", 1], "address") for host in (None, 1, [], "", "x", "10.0.0.1:1", "10.0.0.256")),
]


@pytest.mark.parametrize(("key", "value", "reason"), WRONG)
def test_a_field_out_of_its_bounds_is_refused(key: str, value: object, reason: str) -> None:
    with pytest.raises(FormatError) as caught:
        read({**WHOLE, key: value})
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "more", [{"mark": False}, {"mark": 1}, {"stamps": "Kernel"}, {"stamps": None}, {"event": "NEW"}, {"id": 1}]
)
def test_a_mark_with_anything_else_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        read({**MARK, **more})


def test_a_repeated_key_is_refused() -> None:
    text = json.dumps(WHOLE).replace('"n": 17,', '"n": 17, "n": 18,').encode()
    with pytest.raises(FormatError, match="json_repeated_key"):
        reader_of(CONNTRACK_JSON)(line_of(text))


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.text(max_size=5),
    st.floats(),
    st.lists(st.none() | st.integers(0, 70000) | st.just("10.0.0.1"), max_size=4),
)


@settings(max_examples=EXAMPLES)
@given(st.sampled_from([WHOLE, MARK]), st.dictionaries(st.sampled_from([*WHOLE, *MARK, "gap", "seen", "x"]), VALUES))
def test_any_values_are_read_or_raise_format_error(base: dict[str, Any], fields: dict[str, Any]) -> None:
    with contextlib.suppress(FormatError):
        seen = read({**base, **fields})
        assert seen.numbered is not None
        assert 0 < seen.numbered.number < 2**63
