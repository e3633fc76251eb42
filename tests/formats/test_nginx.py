"""NGINX: samples, traps, and that nothing a client writes changes what we trust."""

from __future__ import annotations

import json

import pytest
from clientip.errors import ConfigError, FormatError
from clientip.formats.nginx.logformat import NGINX
from clientip.model import Observation, Sample, Setup
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds.samples_check import check_sample, line_of, reader_of, value_at

COMBINED, MAIN, INGRESS = (dict(NGINX.known_patterns)[name] for name in ("combined", "main", "ingress-nginx"))
TIME = "02/Mar/2026:09:20:30 +0000"


@pytest.mark.parametrize("sample", NGINX.samples, ids=lambda sample: sample.line[:60].decode("utf-8", "replace"))
def test_samples(sample: Sample) -> None:
    check_sample(NGINX, sample)


@pytest.mark.parametrize(("name", "pattern"), NGINX.known_patterns)
def test_known_patterns_compile(name: str, pattern: str) -> None:
    NGINX.compile(Setup(system="s", format="nginx", pattern=pattern, logs_peer="socket"))


def faults(**fields: object) -> str:
    with pytest.raises(ConfigError) as caught:
        NGINX.compile(Setup(system="s", format="nginx", **fields))  # type: ignore[arg-type]
    return str(caught.value)


def test_who_the_logged_address_is_must_be_said() -> None:
    said = faults(pattern=COMBINED)
    assert said.startswith("logs_peer:")
    assert all(choice in said for choice in ('"socket"', '"proxy"', '"realip"'))
    NGINX.compile(Setup(system="s", format="nginx", pattern="$realip_remote_addr $remote_addr [$time_local]"))


def test_unescaped_patterns_are_refused_where_a_client_could_forge() -> None:
    assert "`$status` lies among" in faults(pattern="$request $status $http_user_agent", escape="none")
    combined = COMBINED.replace("$remote_user", "$http_x_user")
    assert "`$time_local` lies among" in faults(pattern=combined, escape="none", logs_peer="socket")
    assert "`$remote_addr` lies among" in faults(
        pattern='$http_x_forwarded_for $remote_addr - $remote_user [$time_local] "$request"', logs_peer="socket"
    )


def test_json_patterns_that_make_no_json_are_refused() -> None:
    assert "unquoted and may be empty" in faults(pattern='{"t":$upstream_response_time}', escape="json")
    assert "stands twice" in faults(pattern='{"a":"$msec","a":"$status"}', escape="json")
    assert "looks like JSON but is none" in faults(pattern='{"a":"$msec",}', escape="json")


@pytest.mark.parametrize(
    "pattern", ["log_format hop '$realip_remote_addr';", "$realip_remote_addr $status\n", "$msec '\n  '$status"]
)
def test_a_directive_or_its_pieces_are_no_pattern(pattern: str) -> None:
    assert "write only what stands in the quotes" in faults(pattern=pattern)


def test_a_json_pattern_may_have_lines() -> None:
    pattern = '{"t":"$msec",\n "s":"$status"}'
    assert NGINX.compile(Setup(system="s", format="nginx", pattern=pattern, escape="json"))


def test_other_faults_are_told_together() -> None:
    said = faults(pattern="nothing", escape="xml")
    assert "pattern: holds no $variable" in said
    assert "escape: unknown escape" in said


@pytest.mark.parametrize(("status", "upstream", "stated"), [("400", "-", None), ("400", "10.1.0.8:80", "10.0.0.9")])
def test_a_line_that_failed_before_realip_names_nobody(status: str, upstream: str, stated: str | None) -> None:
    read = reader_of(NGINX, pattern='$remote_addr $status $upstream_addr "$request"', logs_peer="realip")
    seen = read(line_of(f'10.0.0.9 {status} {upstream} "GET / HTTP/1.1"'.encode()))
    assert (value_at(seen, "peer"), value_at(seen, "stated")) == (None, stated)


def test_only_the_first_line_of_other_headers_is_shown_before_1_23() -> None:
    pattern = '$remote_addr "$http_forwarded" "$http_x_forwarded_for"'
    for options, coverage in (((), "first"), ((("headers", "all"),), "all")):
        seen = reader_of(NGINX, pattern=pattern, options=options)(line_of(b'10.0.0.9 "for=a" "b"'))
        assert value_at(seen, "claims.forwarded.coverage") == coverage
        assert value_at(seen, "claims.x-forwarded-for.coverage") == "all"


def test_the_header_as_sent_on_is_read_only_where_the_received_one_is_missing() -> None:
    for pattern, coverage in (
        ('$remote_addr "$proxy_add_x_forwarded_for" "$http_x_forwarded_for"', "all"),
        ('$remote_addr "$proxy_add_x_forwarded_for" "$http_via"', "appended"),
    ):
        seen = reader_of(NGINX, pattern=pattern)(line_of(b'10.0.0.9 "a, 10.0.0.9" "a"'))
        assert value_at(seen, "claims.x-forwarded-for.coverage") == coverage


def test_the_start_is_the_end_minus_the_duration() -> None:
    read = reader_of(NGINX, pattern="$remote_addr $msec $request_time", max_skew_ns=5)
    seen = read(line_of(b"10.0.0.9 1772443230.500 0.250"))
    assert isinstance(seen, Observation)
    assert (seen.start_ns, seen.start_latest_ns) == (1772443230_250_000_000 - 5, 1772443230_250_999_999 + 5)


def test_the_finer_of_two_stamps_counts() -> None:
    seen = reader_of(NGINX, pattern="$remote_addr [$time_local] $msec")(
        line_of(f"10.0.0.9 [{TIME}] 1772443230.500".encode())
    )
    assert value_at(seen, "end_ns") == 1772443230_500_000_000


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for name, pattern in NGINX.known_patterns:
        try:
            reader_of(NGINX, pattern=pattern)(line_of(data))
        except FormatError as error:
            assert error.reason, name


def escaped(value: str) -> str:
    """As ngx_http_log_escape writes it."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02X}" for byte in value.encode()
    )


HOSTILE = st.text(alphabet=st.sampled_from('ab "\\[]{}:,-01/\n\u00e9'), min_size=1, max_size=30)


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_what_clients_write_changes_nothing_we_trust(
    user: str, request: str, referer: str, agent: str, forwarded: str, rid: str
) -> None:
    texts = [escaped(text) for text in (user, request, referer, agent, forwarded, rid)]
    head = f'203.0.113.7 - {texts[0]} [{TIME}] "{texts[1]}" 200 5 "{texts[2]}" "{texts[3]}"'
    seen = reader_of(NGINX, pattern=MAIN)(line_of(f'{head} "{texts[4]}"'.encode()))
    assert isinstance(seen, Observation)
    assert (value_at(seen, "peer"), seen.end_ns, value_at(seen, "http.status")) == (
        "203.0.113.7",
        1772443230_000_000_000,
        200,
    )
    assert value_at(seen, "http.user_agent") == (None if texts[3] == "-" else agent)
    assert value_at(seen, "claims.x-forwarded-for") == ("" if texts[4] == "-" else forwarded)
    tail = f" 31 0.001 [a-b-80] [] [2001:db8::7]:80, 10.1.0.8:80 0, 5 0.1, 0.2 502, 200 {texts[5]}"
    seen = reader_of(NGINX, pattern=INGRESS)(line_of((head + tail).encode()))
    assert (value_at(seen, "peer"), value_at(seen, "upstream_peer")) == ("203.0.113.7", "10.1.0.8:80")


@given(HOSTILE, HOSTILE)
def test_json_lines_come_back_as_written(request: str, forwarded: str) -> None:
    pattern = '{"a":"$remote_addr","p":{"q":"$remote_port"},"r":"$request","x":"$http_x_forwarded_for","s":$status}'
    line = {"a": "203.0.113.7", "p": {"q": "5555"}, "r": request, "x": forwarded, "s": 200}
    seen = reader_of(NGINX, pattern=pattern, escape="json")(line_of(json.dumps(line).encode()))
    assert value_at(seen, "peer") == "203.0.113.7:5555"
    assert value_at(seen, "claims.x-forwarded-for") == forwarded
