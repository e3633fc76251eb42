"""Laws of Caddy's log: socket and derived address apart, headers line by line, time to the digit."""

from __future__ import annotations

import contextlib
import json

import pytest
from clientip.errors import ConfigError, FormatError
from clientip.formats.caddy import CADDY, SAMPLES
from clientip.framing.wrappers import peel
from clientip.model import Observation, Sample, Skipped
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds.samples_check import check_sample, line_of, reader_of, value_at

REMOTE = {"remote_ip": "10.1.0.4", "remote_port": "51111", "client_ip": "10.1.0.4"}
END_NS = 1714557600_000000000


def line(request: dict[str, object] | None = None, **fields: object) -> bytes:
    whole = {
        "ts": 1714557600,
        "msg": "handled request",
        "request": {**REMOTE, **(request or {})},
        "duration": 0.5,
        **fields,
    }
    return json.dumps(whole).encode()


def seen_in(text: bytes, **setup: object) -> Observation:
    seen = reader_of(CADDY, **setup)(line_of(text))
    assert isinstance(seen, Observation)
    return seen


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples(sample: Sample) -> None:
    check_sample(CADDY, sample)


def test_what_remote_ip_is_and_how_durations_are_written_must_be_known() -> None:
    for setup, key in (({"logs_peer": None}, "logs_peer"), ({"options": (("duration", "h"),)}, "options.duration")):
        with pytest.raises(ConfigError) as caught:
            reader_of(CADDY, **setup)
        assert [fault.key for fault in caught.value.faults] == [key]


@given(st.lists(st.text(max_size=9), max_size=4))
def test_lines_of_a_header_stay_apart(lines: list[str]) -> None:
    seen = seen_in(line({"headers": {"X-Forwarded-For": lines}}))
    assert [claim.values for claim in seen.claims if claim.name == "x-forwarded-for"] == [tuple(lines)]


def test_a_header_that_is_not_there_was_not_sent() -> None:
    seen = seen_in(line({"headers": {}}), claim_headers=frozenset({"x-edge"}))
    assert {claim.name: claim.values for claim in seen.claims} == {"x-forwarded-for": (), "forwarded": (), "x-edge": ()}
    assert seen_in(line()).claims == ()


def test_a_header_with_underscores_is_another_header() -> None:
    assert value_at(seen_in(line({"headers": {"X_forwarded_for": ["203.0.113.7"]}})), "claims.x-forwarded-for") == ""


@pytest.mark.parametrize(
    ("request_fields", "peer", "stated"),
    [
        ({"client_ip": "203.0.113.7"}, "10.1.0.4:51111", "203.0.113.7"),
        ({"client_ip": ""}, "10.1.0.4:51111", None),
        ({"client_ip": "::ffff:10.1.0.4"}, "10.1.0.4:51111", None),
        ({"remote_ip": "fe80::1%eth0", "client_ip": "fe80::1"}, "[fe80::1]:51111", None),
        ({"remote_ip": "/run/caddy.sock", "remote_port": "", "client_ip": ""}, None, None),
        ({"remote_port": 51111}, "10.1.0.4:51111", None),
    ],
)
def test_socket_and_derived_address_stay_apart(
    request_fields: dict[str, object], peer: str | None, stated: str | None
) -> None:
    seen = seen_in(line(request_fields))
    assert (value_at(seen, "peer"), value_at(seen, "stated")) == (peer, stated)


@pytest.mark.parametrize(
    ("ts", "near"),
    [
        (1714557600, END_NS),
        (1714557600000.25, END_NS + 250000),
        (1714557600000000001, END_NS + 1),
        ("2024-05-01T12:00:00.000+0200", END_NS),
        ("2024-05-01T10:00:00Z", END_NS),
        ("2024/05/01 12:00:00.000", END_NS),
    ],
)
def test_every_time_format_names_the_instant(ts: object, near: int) -> None:
    seen = seen_in(line(ts=ts), timezone="Europe/Berlin")
    assert seen.start_ns is not None
    assert seen.start_latest_ns is not None
    assert seen.start_ns <= near - 500_000_000 <= seen.start_latest_ns


@given(st.integers(10**9, 9 * 10**9), st.integers(0, 10**9 - 1))
def test_the_digits_of_a_stamp_are_read_exactly(seconds: int, fraction: int) -> None:
    text = b'{"level":"info","ts":%d.%09d,"msg":"handled request","request":{}}' % (seconds, fraction)
    seen = seen_in(text)
    assert seen.start_ns is None
    assert seen.end_ns == seconds * 10**9 + fraction


def test_without_a_duration_the_start_is_any_time_before() -> None:
    seen = seen_in(line(duration=None))
    assert seen.start_ns is None
    assert seen.start_latest_ns is not None


@pytest.mark.parametrize(("unit", "value"), [("s", 0.5), ("ms", 500), ("ns", 500000000)])
def test_durations_are_read_in_their_unit(unit: str, value: float) -> None:
    assert value_at(seen_in(line(duration=value), options=(("duration", unit),)), "http.duration_ns") == 500_000_000


def test_the_writers_own_span_and_upstream_are_kept() -> None:
    seen = seen_in(line(traceID="4bf92f3577b34da6a3ce929d0e0e4736", spanID="00f067aa0ba902b7", upstream="10.0.0.9:80"))
    assert value_at(seen, "ids.span") == "00f067aa0ba902b7"
    assert value_at(seen, "upstream_peer") == "10.0.0.9:80"


def test_a_line_out_of_docker_compose_is_read_behind_its_wrapper() -> None:
    wrapped = line_of(b"caddy-1  | " + line())
    seen = reader_of(CADDY)(peel(wrapped, ["compose"]))
    assert isinstance(seen, Observation)
    assert seen.instance == "caddy-1"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["User-Agent", "X-Forwarded-For"]), inner)
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["ts", "duration", "status", "size", "msg", "traceID", "upstream", "spanID"]), VALUES
    ),
    st.dictionaries(
        st.sampled_from(["remote_ip", "remote_port", "client_ip", "remote_addr", "headers", "uri"]), VALUES
    ),
)
def test_any_values_under_the_known_keys_read_or_raise_format_error(
    fields: dict[str, object], request_fields: dict[str, object]
) -> None:
    with contextlib.suppress(FormatError):
        reader_of(CADDY)(line_of(line(request_fields, **fields)))


@given(st.binary(max_size=200))
def test_every_byte_string_reads_or_raises_format_error(text: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert isinstance(reader_of(CADDY)(line_of(text)), Observation | Skipped)
