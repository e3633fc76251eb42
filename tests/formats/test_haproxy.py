"""HAProxy: samples, traps, and that nothing a client writes changes what we trust."""

from __future__ import annotations

import pytest
from clientip.errors import ConfigError, FormatError
from clientip.formats.haproxy.logformat import HAPROXY
from clientip.model import Observation, Sample, Setup
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds.samples_check import check_sample, line_of, reader_of, value_at

HEAD = "203.0.113.7:50112 [02/Mar/2026:10:20:30.250] www app/web1 0/0/1/8/9 200 512 - - ---- 3/3/0/0/0 0/0 "
REFUSED = (
    "Connection closed while waiting for PROXY protocol header",
    "Connection error while waiting for PROXY protocol header",
    "Timeout while waiting for PROXY protocol header",
    "Truncated PROXY protocol header received",
    "Received something which does not look like a PROXY protocol header",
    "Received an invalid PROXY protocol header",
    "Received an unhandled protocol in the PROXY protocol header",
)


@pytest.mark.parametrize("sample", HAPROXY.samples, ids=lambda sample: sample.line[:60].decode())
def test_samples(sample: Sample) -> None:
    check_sample(HAPROXY, sample)


@pytest.mark.parametrize(("name", "pattern"), HAPROXY.known_patterns)
def test_known_patterns_compile(name: str, pattern: str) -> None:
    escaped = (("line_breaks", "escaped"),) if name == "httpslog" else ()
    reader_of(HAPROXY, pattern=pattern, options=escaped)


def test_faults_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        HAPROXY.compile(
            Setup(
                system="s",
                format="haproxy",
                pattern="%ci [%tr] %ST",
                captures=("a",),
                options=(("capture_length.a", "x"),),
            )
        )
    assert [fault.key for fault in caught.value.faults] == [
        "logs_peer",
        "timezone",
        "captures",
        "options.capture_length.a",
    ]


def test_an_expression_is_raw_text_even_in_quotes() -> None:
    with pytest.raises(ConfigError, match="`%ST` lies among"):
        HAPROXY.compile(
            Setup(system="s", format="haproxy", pattern="%{+Q}[req.hdr(a)] %ST %{+Q}[req.hdr(b)]", logs_peer="socket")
        )


@pytest.mark.parametrize("message", REFUSED)
@pytest.mark.parametrize("logs_peer", ["socket", "proxy"])
def test_a_proxy_header_that_was_not_read_leaves_the_balancer(message: str, logs_peer: str) -> None:
    seen = reader_of(HAPROXY, logs_peer=logs_peer)(
        line_of(f"10.0.0.9:41000 [02/Mar/2026:10:20:30.250] www/pp: {message}".encode())
    )
    assert (value_at(seen, "peer"), value_at(seen, "stated")) == ("10.0.0.9:41000", None)
    assert value_at(seen, "kind") == "connection"


@pytest.mark.parametrize(
    ("logs_peer", "peer", "stated"),
    [
        ("socket", "10.0.0.9:41000", None),
        ("realip", "10.0.0.9:41000", "198.51.100.4"),
        ("proxy", None, "198.51.100.4:7"),
    ],
)
def test_fc_src_is_the_socket_unless_proxy_replaced_it(logs_peer: str, peer: str | None, stated: str | None) -> None:
    address = "10.0.0.9:41000" if logs_peer == "socket" else "198.51.100.4:7"
    read = reader_of(HAPROXY, pattern="%ci:%cp %[fc_src]:%[fc_src_port] %ST", logs_peer=logs_peer)
    socket = "198.51.100.4:7" if logs_peer == "proxy" else "10.0.0.9:41000"
    seen = read(line_of(f"{address} {socket} 200".encode()))
    assert (value_at(seen, "peer"), value_at(seen, "stated")) == (peer, stated)


def test_unix_sockets_have_no_address() -> None:
    seen = reader_of(HAPROXY, pattern="%ci:%cp %ST")(line_of(b"unix:1 200"))
    assert value_at(seen, "peer") is None


def test_a_variable_holds_the_header_the_operator_names() -> None:
    read = reader_of(HAPROXY, pattern="%ci:%cp %[var(txn.xff)]", options=(("var.txn.xff", "X-Forwarded-For"),))
    seen = read(line_of(b"10.0.0.9:1 198.51.100.4, 10.0.0.8"))
    assert value_at(seen, "claims.x-forwarded-for") == "198.51.100.4, 10.0.0.8"


def captured(value: str) -> str:
    """As HAProxy writes a captured header."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"#{|}' else f"#{byte:02X}" for byte in value.encode()
    )


HOSTILE = st.text(alphabet=st.sampled_from('ab "#{}|[]:,-01/\u00e9'), min_size=1, max_size=30)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_what_clients_write_changes_nothing_we_trust(forwarded: str, agent: str, target: str) -> None:
    read = reader_of(HAPROXY, captures=("x-forwarded-for", "user-agent"))
    blocks = f"{{{captured(forwarded)}|{captured(agent)}}} {{x}} "
    seen = read(line_of(f'{HEAD}{blocks}"{captured(target)}"'.encode()))
    assert (value_at(seen, "peer"), value_at(seen, "http.status")) == ("203.0.113.7:50112", 200)
    assert value_at(seen, "claims.x-forwarded-for") == forwarded


@given(HOSTILE)
def test_raw_text_at_the_end_changes_nothing_we_trust(base: str) -> None:
    pattern = dict(HAPROXY.known_patterns)["haproxytech-ingress"]
    seen = reader_of(HAPROXY, pattern=pattern)(line_of(f'{HEAD}"GET {base} HTTP/2.0"'.encode()))
    assert (value_at(seen, "peer"), value_at(seen, "http.status")) == ("203.0.113.7:50112", 200)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for name, pattern in HAPROXY.known_patterns:
        try:
            reader_of(HAPROXY, pattern=pattern, options=(("line_breaks", "escaped"),))(line_of(data))
        except FormatError as error:
            assert error.reason, name


TRIED = "%ci:%cp [%tr] %bi:%bp %si:%sp %TR/%Tw/%Tc/%Tr/%Ta %ST %rc %{+Q}r"


@pytest.mark.parametrize(
    ("timers", "tries", "until"),
    [
        ("0/0/1/5/900", "0", None),
        ("1/2/3/4/900", "1", 1714557600999999999 + 14_000_000),
        ("1/2/3/4/900", "+1", 1714557600999999999 + 14_000_000),
        ("1/2/3/-1/900", "2", 1714557600900000000),  # no response came: until the end
    ],
)
def test_a_request_that_was_sent_on_twice_may_be_elsewhere_up_to_its_responses_first_byte(
    timers: str, tries: str, until: int | None
) -> None:
    text = f'203.0.113.9:5 [01/May/2024:10:00:00] 10.0.0.5:4000 10.0.0.9:80 {timers} 200 {tries} "GET / HTTP/1.1"'
    seen = reader_of(HAPROXY, pattern=TRIED, logs_peer="socket", timezone="UTC")(line_of(text.encode()))
    assert isinstance(seen, Observation)
    assert seen.retried_until_ns == until
    safe = reader_of(HAPROXY, pattern=TRIED, logs_peer="socket", timezone="UTC", retries=False)(line_of(text.encode()))
    assert isinstance(safe, Observation)
    assert safe.retried_until_ns is None


def test_a_line_of_a_connection_that_goes_on_says_by_when_it_had_begun() -> None:
    text = b"203.0.113.9:5 [01/May/2024:10:00:00.100] fe be/s1 10.0.0.5:4000 10.0.0.9:80 0/3/+4 0 --"
    pattern = "%ci:%cp [%t] %ft %b/%s %bi:%bp %si:%sp %Tw/%Tc/%Tt %B %ts"
    seen = reader_of(HAPROXY, pattern=pattern, logs_peer="socket", timezone="UTC")(line_of(text))
    assert isinstance(seen, Observation)
    assert (seen.end_ns, seen.connected_ns) == (None, 1714557600100999999 + 5_000_000)
