"""Law: `internal` is what the log states, never what a path or a status suggests."""

from __future__ import annotations

from typing import Any

import pytest
from clientip.engine import Engine, LogSource
from clientip.model import Coverage, Line, Promise, Record, Setup, System
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds.walks import PROXY, XFF, claim, found, request, system, walk

NLB = system("nlb", "10.0.0.0/24", peers="outside internal", conveys=(PROXY,))
LB = system("lb", "10.0.0.0/24", peers="outside", conveys=(XFF,))
TIME = "[30/Nov/2026:22:38:13 +0000]"
REMOTE = '$remote_addr:$remote_port [$time_local] $status "$request"'
BOTH = '$realip_remote_addr:$realip_remote_port $remote_addr [$time_local] $status "$request"'
SOURCE = '$remote_addr "$proxy_protocol_addr" [$time_local] $status "$request"'


def verdict(line: str, balancer: System = NLB, *, probes: tuple[str, ...] = (), **setup: Any) -> tuple[str, str | None]:
    """(verdict, reason or method) of one line of a server behind PROXY or realip."""
    written = Setup(system="app", **{"format": "nginx", "logs_peer": "proxy", "timezone": "UTC"} | setup)
    app = system("app", peers=balancer.name, believes=balancer.name, logs_peer=written.logs_peer, probes=probes)
    raw = line.encode()
    [became] = Engine([app, balancer], [LogSource(written)], line_bytes=65536).reading("app").feed(Line(raw, raw))
    assert isinstance(became, Record), became
    return found(became.resolution)[0::2]  # type: ignore[return-value]


EARLY = [("405", "TRACE /x HTTP/1.1"), ("405", "CONNECT /x HTTP/1.1"), ("301", "GET /scan HTTP/1.1")]
RENAMED = [("200", "TRACE /x HTTP/1.1"), ("200", "GET /scan HTTP/1.1"), ("503", "GET /scan HTTP/1.1"), ("417", "GET /")]


@pytest.mark.parametrize(("status", "asked"), EARLY + RENAMED)
def test_behind_nginx_the_balancers_address_is_no_sign_that_it_speaks_for_itself(status: str, asked: str) -> None:
    assert verdict(f'10.0.0.9:5 {TIME} {status} "{asked}"', pattern=REMOTE)[0] == "unknown"
    assert verdict(f'10.0.0.9:5 10.0.0.9 {TIME} {status} "{asked}"', pattern=BOTH)[0] == "unknown"
    assert verdict(f'10.0.0.9 "203.0.113.66" {TIME} {status} "{asked}"', pattern=SOURCE)[0] == "unknown"


def test_a_column_of_its_own_for_the_source_says_so_where_it_is_empty() -> None:
    assert verdict(f'10.0.0.9 "-" {TIME} 200 "GET /x"', pattern=SOURCE) == ("internal", "proxy")


@pytest.mark.parametrize(
    ("format_", "pattern", "line"),
    [
        ("haproxy", "%ci:%cp [%tr] %ST %{+Q}r", '10.0.0.9:5 [30/Nov/2026:22:38:13.000] 405 "TRACE /x"'),
        ("varnish", None, f'10.0.0.9 - - {TIME} "GET /x" 405 5 "-" "-"'),
        (
            "envoy_json",
            None,
            '{"downstream_remote_address":"10.0.0.9:5","method":"GET","protocol":"HTTP/1.1",'
            '"response_code":405,"start_time":"2026-11-30T22:38:13.000Z","duration":1}',
        ),
        ("caddy", None, '{"ts":1772443230.5,"request":{"remote_ip":"10.0.0.9","remote_port":"5"},"status":405}'),
        ("traefik_json", None, '{"ClientAddr":"10.0.0.9:5","StartUTC":"2026-03-02T09:20:30Z"}'),
    ],
)
def test_servers_that_replace_the_address_of_the_connection_show_local(
    format_: str, pattern: str | None, line: str
) -> None:
    assert verdict(line, format=format_, pattern=pattern) == ("internal", "proxy")


def test_neither_apache_nor_spans_show_local() -> None:
    apache = '%{c}a %a [%{sec}t] %>s "%r"'
    assert verdict('10.0.0.9 10.0.0.9 [1772443230] 200 "GET /x"', format="apache", pattern=apache)[0] == "unknown"
    assert verdict('10.0.0.9 203.0.113.7 [1772443230] 200 "GET /x"', format="apache", pattern=apache)[0] == "vouched"
    assert verdict(f'10.0.0.9 - - {TIME} "OPTIONS *" 417 5 "-" "-"', format="apache")[0] == "unknown"


def test_an_apache_line_that_may_have_failed_before_remoteip_is_no_request_of_the_balancer() -> None:
    line = '10.0.0.9 [1772443230] 200 "-" "GET /x"'
    pattern = '%a [%{sec}t] %>s "%{X-Forwarded-For}i" "%r"'
    assert verdict(line, LB, format="apache", logs_peer="realip", pattern=pattern)[0] == "unknown"


PROBE = "GET /healthz?deep=1 HTTP/1.1"


@pytest.mark.parametrize(
    ("status", "asked", "expected"),
    [
        ("200", PROBE, "proxy_missing"),  # or plain HTTP on a TLS port, renamed by error_page
        ("204", "HEAD /healthz", "proxy_missing"),
        ("301", PROBE, "proxy_missing"),
        ("200", "TRACE /healthz HTTP/1.1", "proxy_missing"),
        ("405", "TRACE /healthz HTTP/1.1", "peer_not_logged"),
        ("400", PROBE, "peer_not_logged"),
    ],
)
def test_no_status_makes_a_probe_of_what_shows_no_source(status: str, asked: str, expected: str) -> None:
    line = f'10.0.0.9:5 {TIME} {status} "{asked}"'
    assert verdict(line, pattern=REMOTE, probes=("/healthz",)) == ("unknown", expected)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [(None, "header_not_logged"), ("cut", "header_incomplete"), ("twin", "header_twin"), ("remainder", None)],
)
def test_a_probes_path_proves_nothing_without_a_whole_column_of_what_is_promised(
    shown: Coverage | None, expected: str | None
) -> None:
    app = system("app", peers="lb", probes=("/healthz",))
    claims = () if shown is None else (claim("x-forwarded-for", coverage=shown),)
    end = found(walk([app, LB], request("10.0.0.1:3", *claims, target="/healthz")))
    assert end[0] == "unknown"
    assert expected in (None, end[2])
    other = (*claims, claim("x-real-ip"))  # of another header that nobody promises
    assert found(walk([app, LB], request("10.0.0.1:3", *other, target="/healthz")))[0] == "unknown"


def test_of_several_promises_all_have_a_column_and_are_empty() -> None:
    both = system("lb", "10.0.0.0/24", peers="outside", conveys=(XFF, Promise("x-real-ip", "overwrite")))
    app = system("app", peers="lb", probes=("/healthz",))
    empty = (claim("x-forwarded-for"), claim("x-real-ip"))
    assert found(walk([app, both], request("10.0.0.1:3", *empty, target="/healthz")))[0] == "internal"
    assert found(walk([app, both], request("10.0.0.1:3", *empty[:1], target="/healthz")))[0] == "unknown"


def test_a_hop_without_any_promise_has_no_probes_and_one_that_carries_has_those_of_whom_it_carries() -> None:
    app = system("app", peers="node", probes=("/healthz",))
    seen = request("10.0.9.1:3", claim("x-forwarded-for"), target="/healthz")
    node = system("node", "10.0.9.0/24", peers="lb")
    assert found(walk([app, node, LB], seen)) == ("unknown", None, "snat_no_witness")
    carrier = system("node", "10.0.9.0/24", peers="lb", carries="lb")
    assert found(walk([app, carrier, LB], seen))[0::2] == ("internal", "probe")
    assert found(walk([app, carrier, LB], request("10.0.9.1:3", target="/healthz")))[0] == "unknown"


@given(
    st.sampled_from(["GET", "POST", "TRACE", "CONNECT", "PURGE"]),
    st.integers(200, 599),
    st.sampled_from(["/", "/x", "/healthz/../x", "/Healthz"]),
)
def test_no_method_status_or_path_of_a_client_makes_him_internal(method: str, status: int, path: str) -> None:
    line = f'10.0.0.9:5 {TIME} {status} "{method} {path} HTTP/1.1"'
    assert verdict(line, pattern=REMOTE, probes=("/healthz",))[0] == "unknown"
