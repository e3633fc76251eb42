"""Apache and Varnish: samples, traps, and that nothing a client writes changes what we trust."""

from __future__ import annotations

import pytest
from clientip.errors import ConfigError, FormatError
from clientip.formats.apache.logformat import APACHE
from clientip.formats.apache.varnish import VARNISH
from clientip.model import Format, Observation, Sample, Setup
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds.samples_check import check_sample, line_of, reader_of, value_at

TIME = "[02/Mar/2026:09:20:30 +0000]"


@pytest.mark.parametrize("sample", APACHE.samples, ids=lambda sample: sample.line[:60].decode())
def test_samples(sample: Sample) -> None:
    check_sample(APACHE, sample)


@pytest.mark.parametrize("sample", VARNISH.samples, ids=lambda sample: sample.line[:60].decode())
def test_varnish_samples(sample: Sample) -> None:
    check_sample(VARNISH, sample)


@pytest.mark.parametrize("chosen", [APACHE, VARNISH], ids=lambda chosen: chosen.name)
def test_known_patterns_compile(chosen: Format) -> None:
    for _, pattern in chosen.known_patterns:
        chosen.compile(Setup(system="s", format=chosen.name, pattern=pattern, logs_peer="socket"))
        with pytest.raises(ConfigError, match="known"):
            chosen.compile(Setup(system="s", format=chosen.name, pattern="no directive", logs_peer="socket"))


@pytest.mark.parametrize("chosen", [APACHE, VARNISH], ids=lambda chosen: chosen.name)
def test_who_the_logged_address_is_must_be_said(chosen: Format) -> None:
    with pytest.raises(ConfigError, match=r"^logs_peer:"):
        chosen.compile(Setup(system="s", format=chosen.name))


def test_backend_mode_of_varnish_is_refused() -> None:
    with pytest.raises(ConfigError, match="varnishncsa -b"):
        VARNISH.compile(Setup(system="s", format="varnish", pattern="%h %{VSL:BackendOpen[2]}x", logs_peer="socket"))


def test_the_remote_port_belongs_to_the_derived_address() -> None:
    read = reader_of(APACHE, pattern="%{c}a %a:%{remote}p %>s", logs_peer="proxy")
    seen = read(line_of(b"10.0.0.9 198.51.100.4:7 200"))
    assert (value_at(seen, "peer"), value_at(seen, "proxied")) == ("10.0.0.9", "198.51.100.4:7")


def test_a_realip_statement_has_no_port_and_the_header_is_a_remainder() -> None:
    read = reader_of(APACHE, pattern='%a:%{remote}p "%{X-Forwarded-For}i" %>s', logs_peer="realip")
    seen = read(line_of(b'198.51.100.4:41000 "192.0.2.1" 200'))
    assert (value_at(seen, "peer"), value_at(seen, "stated")) == (None, "198.51.100.4")
    assert value_at(seen, "claims.x-forwarded-for.coverage") == "remainder"


def test_patterns_may_be_written_as_in_the_configuration() -> None:
    read = reader_of(APACHE, pattern=r"%h %l %u %t \"%r\" %>s %b")
    seen = read(line_of(f'203.0.113.7 - - {TIME} "GET / HTTP/1.1" 200 5'.encode()))
    assert value_at(seen, "http.status") == 200


def escaped(value: str) -> str:
    """As ap_escape_logitem writes it."""
    return "".join(
        f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
        for byte in value.encode()
    )


HOSTILE = st.text(alphabet=st.sampled_from('ab "\\[]:,-01/\u00e9'), min_size=1, max_size=30)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_what_clients_write_changes_nothing_we_trust(user: str, request: str, agent: str) -> None:
    text = f'203.0.113.7 - {escaped(user)} {TIME} "{escaped(request)}" 200 5 "-" "{escaped(agent)}"'
    seen = reader_of(APACHE)(line_of(text.encode()))
    assert isinstance(seen, Observation)
    assert (value_at(seen, "peer"), seen.start_ns, value_at(seen, "http.status")) == (
        "203.0.113.7",
        1772443230_000_000_000,
        200,
    )
    assert value_at(seen, "http.user_agent") == (None if agent == "-" else agent)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for chosen in (APACHE, VARNISH):
        for name, pattern in chosen.known_patterns:
            try:
                reader_of(chosen, pattern=pattern)(line_of(data))
            except FormatError as error:
                assert error.reason, name
