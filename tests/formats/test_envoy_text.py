"""Envoy text: samples, traps, and that nothing a client writes changes what we trust."""

from __future__ import annotations

import pytest
from clientip.errors import ConfigError, FormatError
from clientip.formats.envoy.text import ENVOY_TEXT
from clientip.model import Sample, Setup
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds.samples_check import CHECKED, check_sample, line_of, reader_of, value_at

HEAD = '[2026-03-02T09:20:30.250Z] "GET /a HTTP/1.1" 200 - via_upstream - "-" 0 3 9 8 '
TAIL = ' "10.1.0.8:80" inbound|80|| 127.0.0.6:40001 10.1.0.8:80 203.0.113.7:50112 - default'


@pytest.mark.parametrize("sample", ENVOY_TEXT.samples, ids=lambda sample: sample.line[:60].decode())
def test_samples(sample: Sample) -> None:
    check_sample(ENVOY_TEXT, sample)


@pytest.mark.parametrize(("name", "pattern"), ENVOY_TEXT.known_patterns)
def test_known_patterns_compile(name: str, pattern: str) -> None:
    reader_of(ENVOY_TEXT, pattern=pattern, options=CHECKED)


def test_who_the_logged_address_is_must_be_said() -> None:
    with pytest.raises(ConfigError, match=r"^logs_peer:"):
        ENVOY_TEXT.compile(Setup(system="s", format="envoy_text", pattern="istio", options=CHECKED))
    ENVOY_TEXT.compile(Setup(system="s", format="envoy_text"))  # the default shows no address


def test_a_trusted_operator_among_headers_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"%DOWNSTREAM_REMOTE_ADDRESS%. lies among"):
        ENVOY_TEXT.compile(
            Setup(
                system="s",
                format="envoy_text",
                pattern='"%REQ(USER-AGENT)%" %DOWNSTREAM_REMOTE_ADDRESS% "%REQ(X-FORWARDED-FOR)%"',
                logs_peer="socket",
            )
        )


HOSTILE = st.text(alphabet=st.sampled_from('ab "\\[]:,-01/\u00e9'), max_size=30)


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_what_clients_write_changes_nothing_we_trust(forwarded: str, agent: str, rid: str, host: str) -> None:
    read = reader_of(ENVOY_TEXT, pattern="istio", options=CHECKED)
    try:
        seen = read(line_of(f'{HEAD}"{forwarded}" "{agent}" "{rid}" "{host}"{TAIL}'.encode()))
    except FormatError as error:
        assert error.reason == "two_readings"
        assert '"' in forwarded + agent + rid + host
        return
    assert value_at(seen, "peer") == "203.0.113.7:50112"
    assert value_at(seen, "local") == "10.1.0.8:80"
    assert value_at(seen, "http.status") == 200
    assert value_at(seen, "claims.x-forwarded-for") == ("" if forwarded == "-" else forwarded)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for name, pattern in ENVOY_TEXT.known_patterns:
        try:
            reader_of(ENVOY_TEXT, pattern=pattern, options=CHECKED)(line_of(data))
        except FormatError as error:
            assert error.reason, name


def test_a_server_name_that_no_envoy_checked_is_refused_in_text() -> None:
    for pattern in (
        "istio",
        '[%START_TIME%] %DOWNSTREAM_REMOTE_ADDRESS% "%REQUESTED_SERVER_NAME(SNI_FIRST)%" %PROTOCOL% .',
    ):
        with pytest.raises(ConfigError, match="server_name"):
            reader_of(ENVOY_TEXT, pattern=pattern)
