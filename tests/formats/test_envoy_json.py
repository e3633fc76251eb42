"""Laws of Envoy's JSON log: the configured keys say what is read, however the values are typed."""

from __future__ import annotations

import contextlib
import json

import pytest
from clientip.errors import ConfigError, FormatError
from clientip.formats.envoy.json_lines import ENVOY_JSON, SAMPLES
from clientip.model import Observation, Sample, Skipped
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds.samples_check import check_sample, line_of, reader_of, value_at

LINE = {
    "start_time": "2024-05-01T10:00:00.123Z",
    "downstream_remote_address": "10.1.0.4:51111",
    "upstream_local_address": "10.0.0.1:40000",
    "upstream_host": "10.0.0.9:80",
    "method": "GET",
    "protocol": "HTTP/1.1",
    "response_code": 200,
    "duration": 5,
    "bytes_sent": 12,
    "x-forwarded-for": "203.0.113.7",
}


def seen_in(fields: dict[str, object], **setup: object) -> Observation:
    seen = reader_of(ENVOY_JSON, **setup)(line_of(json.dumps(fields).encode()))
    assert isinstance(seen, Observation)
    return seen


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples(sample: Sample) -> None:
    check_sample(ENVOY_JSON, sample)


def test_numbers_may_be_strings_or_floats() -> None:
    texts = {key: str(value) for key, value in LINE.items()}
    floats = {**LINE, "response_code": 200.0, "duration": 5.0, "bytes_sent": 12.0}
    assert seen_in(LINE) == seen_in(texts) == seen_in(floats)


@pytest.mark.parametrize("nothing", ["-", "", None])
def test_what_says_nothing_is_absent(nothing: object) -> None:
    empty = dict.fromkeys(LINE, nothing) | {"start_time": LINE["start_time"], "method": "GET"}
    dropped = {"start_time": LINE["start_time"], "method": "GET"}
    assert seen_in(empty) == seen_in(dropped)
    assert seen_in(empty).peer is None


@pytest.mark.parametrize("said", ["socket", "proxy", "realip"])
def test_an_address_with_port_zero_is_no_socket(said: str) -> None:
    seen = seen_in({**LINE, "downstream_remote_address": "10.128.0.64:0"}, logs_peer=said)
    assert (value_at(seen, "peer"), value_at(seen, "stated")) == (None, "10.128.0.64")


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("[%START_TIME%]", "pattern"),
        ("{}", "pattern"),
        ('{"a":"text"}', "pattern"),
        ('{"a":"%PROTOCOL%","a":"%DURATION%"}', "pattern"),
        ('{"a":"%DOWNSTREAM_REMOTE_ADDRESS%"}', "logs_peer"),
    ],
)
def test_a_pattern_that_cannot_be_read_is_refused(pattern: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        reader_of(ENVOY_JSON, pattern=pattern, logs_peer=None)
    assert [fault.key for fault in caught.value.faults] == [key]


def test_the_direct_address_needs_no_word_on_what_the_peer_is() -> None:
    pattern = '{"a":"%DOWNSTREAM_REMOTE_ADDRESS%","b":"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"}'
    seen = seen_in({"a": "203.0.113.7:0", "b": "10.1.0.4:5"}, pattern=pattern, logs_peer=None)
    assert (value_at(seen, "peer"), value_at(seen, "stated")) == ("10.1.0.4:5", "203.0.113.7")


def test_behind_proxy_the_logged_near_end_is_the_balancers() -> None:
    near = {**LINE, "downstream_local_address": "10.0.0.10:443"}
    assert value_at(seen_in(near, logs_peer="socket"), "local") == "10.0.0.10:443"
    assert value_at(seen_in(near, logs_peer="proxy"), "local") is None


def test_a_key_that_the_pattern_does_not_name_is_not_read() -> None:
    seen = seen_in({**LINE, "forwarded": "for=203.0.113.9", "peer": "203.0.113.9:1"})
    assert [claim.name for claim in seen.claims] == ["x-forwarded-for"]


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
    | st.sampled_from(["10.0.0.1:0", "[::1]:80", "tcp://10.0.2.1:80", "/run/x.sock", "envoy://internal/", [], {}])
)


@given(st.dictionaries(st.sampled_from(list(LINE)), VALUES))
def test_any_values_under_the_known_keys_read_or_raise_format_error(fields: dict[str, object]) -> None:
    with contextlib.suppress(FormatError):
        reader_of(ENVOY_JSON)(line_of(json.dumps(fields).encode()))


@given(st.binary(max_size=200))
def test_every_byte_string_reads_or_raises_format_error(text: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert isinstance(reader_of(ENVOY_JSON)(line_of(text)), Observation | Skipped)
