"""Traps of real logs that no sample and no law of one format shows: each test names one.

What a format's own lines look like stands in its samples; what clients can do to it, in its test.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from clientip.engine import Engine, LogSource
from clientip.errors import FormatError
from clientip.formats import FORMATS
from clientip.model import Line, Observation, Record, Rejected, Setup, Skipped, System
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds.samples_check import CHECKED, line_of, reader_of, value_at

TIME = "[02/Mar/2026:09:20:30 +0000]"
STAMP_NS = 1772443230_000_000_000
HTTPLOG = "0/0/1/8/9 200 512 - - ---- 3/3/0/0/0 0/0"


def seen_in(name: str, text: str | bytes, **setup: object) -> Observation:
    seen = reader_of(FORMATS[name], **setup)(line_of(text if isinstance(text, bytes) else text.encode()))
    assert isinstance(seen, Observation), seen
    return seen


def refused(name: str, text: str, **setup: object) -> str:
    with pytest.raises(FormatError) as caught:
        reader_of(FORMATS[name], **setup)(line_of(text.encode()))
    return caught.value.reason


# --- all text formats: one address, several spellings


@pytest.mark.parametrize(
    ("name", "pattern", "text", "peer"),
    [
        ("nginx", "$remote_addr $status", "{} 200", "203.0.113.7"),
        ("nginx", "$remote_addr:$remote_port $status", "{}:5 200", "203.0.113.7:5"),
        ("apache", "%a %>s", "{} 200", "203.0.113.7"),
        ("haproxy", "%ci:%cp %ST", "{}:5 200", "203.0.113.7:5"),
        ("envoy_text", "%DOWNSTREAM_REMOTE_ADDRESS% %RESPONSE_CODE%", "[{}]:5 200", "203.0.113.7:5"),
    ],
)
def test_an_ipv4_client_of_a_dual_stack_socket_is_its_ipv4_address(
    name: str, pattern: str, text: str, peer: str
) -> None:
    assert value_at(seen_in(name, text.format("::ffff:203.0.113.7"), pattern=pattern), "peer") == peer


@pytest.mark.parametrize(
    ("name", "pattern", "text"),
    [
        ("nginx", "$remote_addr $status", "203.0.113.7 000"),
        ("haproxy", "%ci %ST", "203.0.113.7 -1"),
        ("envoy_text", "%DOWNSTREAM_REMOTE_ADDRESS% %REQ(:METHOD)% %RESPONSE_CODE%", "203.0.113.7:5 GET 0"),
        ("envoy_json", '{"a":"%DOWNSTREAM_REMOTE_ADDRESS%","m":"%REQ(:METHOD)%","c":"%RESPONSE_CODE%"}', None),
    ],
)
def test_what_stands_for_no_answer_is_no_status(name: str, pattern: str, text: str | None) -> None:
    line = text or '{"a":"203.0.113.7:5","m":"GET","c":0}'
    assert value_at(seen_in(name, line, pattern=pattern), "http.status") is None


# --- logs in which several formats stand side by side

TEXTS = st.text(alphabet=st.sampled_from('ab "#{}|[]:,-01/%'), max_size=30)


def hashed(value: str) -> str:
    """As HAProxy escapes."""
    return "".join(f"#{ord(char):02X}" if char in '"#{|}' else char for char in value)


@given(TEXTS, TEXTS)
def test_no_request_passes_for_a_line_of_another_haproxy_format(forwarded: str, target: str) -> None:
    head = "203.0.113.7:50112 [02/Mar/2026:10:20:30.250] w a/s "
    request = f'{{{hashed(forwarded)}}} "{hashed(target)}"'
    alone = seen_in("haproxy", f"{head}{HTTPLOG} {request}", pattern="httplog")
    assert seen_in("haproxy", f"{head}{HTTPLOG} {request}").http == alone.http
    escaped = (("line_breaks", "escaped"),)
    assert seen_in("haproxy", f"{head}{HTTPLOG} {request}", options=escaped).http == alone.http
    tls = seen_in("haproxy", f"{head}{HTTPLOG} {request} 0/0/0/0/0 {hashed(target)}/TLSv1.3/X", options=escaped)
    assert (value_at(tls, "peer"), value_at(tls, "http.status")) == ("203.0.113.7:50112", 200)


@given(st.text(st.sampled_from('ab "\\[]:,-01/.'), max_size=30))
def test_no_user_or_request_passes_for_a_line_of_another_apache_format(said: str) -> None:
    written = "".join(f"\\{char}" if char in '"\\' else char for char in said)
    common = f'203.0.113.7 - {written or "-"} {TIME} "{written}" 200 5'
    for line in (common, f'{common} "{written}" "{written}"', f'www.example:80 {common} "{written}" "{written}"'):
        seen = seen_in("apache", line)
        assert (value_at(seen, "peer"), seen.start_ns, value_at(seen, "http.status")) == ("203.0.113.7", STAMP_NS, 200)


def test_an_identd_of_a_client_does_not_shift_the_columns() -> None:
    tail = f'x {TIME} "GET / HTTP/1.1" 200 5 "-" "-"'
    assert refused("apache", f"2001:db8::7:80 203.0.113.9 {tail}") == "two_readings"
    assert value_at(seen_in("apache", f"203.0.113.7 bob {tail}"), "peer") == "203.0.113.7"


# --- HAProxy


@pytest.mark.parametrize(
    "message",
    [
        "Timeout while waiting for a NetScaler Client IP header",
        "Received an invalid NetScaler Client IP magic number",
        "Received an unhandled protocol in the NetScaler Client IP header",
    ],
)
def test_a_netscaler_header_that_was_not_read_leaves_the_balancer(message: str) -> None:
    seen = seen_in("haproxy", f"10.0.0.9:41000 [02/Mar/2026:10:20:30.250] www/1: {message}", logs_peer="proxy")
    assert (value_at(seen, "peer"), seen.stated) == ("10.0.0.9:41000", None)


def test_behind_accept_proxy_the_line_names_no_near_end_of_its_own_socket() -> None:
    for logs_peer, local in (("socket", "10.0.0.30:8080"), ("proxy", None)):
        seen = seen_in(
            "haproxy", "203.0.113.7:5 10.0.0.30:8080 200", pattern="%ci:%cp %fi:%fp %ST", logs_peer=logs_peer
        )
        assert value_at(seen, "local") == local


def test_names_and_counters_of_odd_requests_are_read() -> None:
    line = (
        "203.0.113.7:5 [02/Mar/2026:10:20:30.250] www~ www/<STATS> -1/-1/-1/-1/+350 200 +162 - - LR-- 1/1/0/0/+3 0/0 "
    )
    seen = seen_in("haproxy", line + '"GET /stats HTTP/1.1"')
    assert (value_at(seen, "http.status"), value_at(seen, "http.response_bytes"), seen.end_ns) == (200, 162, None)


def test_json_made_by_hand_is_read_as_text_and_forged_keys_have_two_readings() -> None:
    pattern = '{"ip":"%ci","port":"%cp","status":"%ST","xff":"%[capture.req.hdr(0)]","ua":"%[capture.req.hdr(1)]"}'
    setup: dict[str, Any] = {"pattern": pattern, "captures": ("x-forwarded-for", "user-agent")}
    head = '{"ip":"203.0.113.7","port":"5","status":"200",'
    seen = seen_in("haproxy", head + '"xff":"198.51.100.4","ua":"x"}', **setup)
    assert (value_at(seen, "peer"), value_at(seen, "claims.x-forwarded-for")) == ("203.0.113.7:5", "198.51.100.4")
    assert refused("haproxy", head + '"xff":"6.6.6.6","ua":"y","ua":"x"}', **setup) == "two_readings"


# --- NGINX and ingress-nginx


def test_a_json_example_without_the_socket_names_no_peer() -> None:
    """ingress-nginx documents `remote_addr` = $proxy_protocol_addr, and a header to which the client was appended."""
    pattern = (
        '{"time": "$time_iso8601", "remote_addr": "$proxy_protocol_addr", "x_forwarded_for": '
        '"$proxy_add_x_forwarded_for", "request_id": "$req_id", "bytes_sent": $bytes_sent, "request_time": '
        '$request_time, "status": $status, "vhost": "$host", "path": "$uri", "method": "$request_method"}'
    )
    row = {
        "time": "2026-03-02T10:20:30+01:00",
        "remote_addr": "",
        "x_forwarded_for": "192.0.2.6, 203.0.113.7",
        "request_id": "r",
        "bytes_sent": 1,
        "request_time": 0.25,
        "status": 200,
        "vhost": "a.example",
        "path": "/a",
        "method": "GET",
    }
    seen = seen_in("nginx", json.dumps(row), pattern=pattern, escape="json")
    assert (seen.peer, seen.stated, seen.proxied) == (None, None, None)
    assert value_at(seen, "claims.x-forwarded-for.coverage") == "appended"
    assert (value_at(seen, "http.target"), value_at(seen, "ids.requests.x-request-id")) == ("/a", "r")
    named = seen_in("nginx", json.dumps(row | {"remote_addr": "203.0.113.7"}), pattern=pattern, escape="json")
    assert (named.peer, value_at(named, "proxied")) == (None, "203.0.113.7")


@pytest.mark.parametrize(
    ("upstream", "peer"),
    [
        ("backend", None),  # the upstream's name, where all of it is down
        ("unix:/run/app.sock", None),
        ("10.1.0.8:80, unix:/run/app.sock : 10.1.0.9:80", "10.1.0.9:80"),
        ("[2001:db8::7]:5000, [2001:db8::8]:5000", "[2001:db8::8]:5000"),
        ("-", None),
    ],
)
def test_the_last_upstream_answered(upstream: str, peer: str | None) -> None:
    seen = seen_in("nginx", f'203.0.113.7 "{upstream}" 502', pattern='$remote_addr "$upstream_addr" $status')
    assert value_at(seen, "upstream_peer") == peer


def test_lines_of_the_stream_module_are_connections() -> None:
    seen = seen_in("nginx", f"[203.0.113.7] {TIME} TCP 200 10 20 5.000", pattern="ingress-nginx-stream")
    assert (seen.kind, value_at(seen, "peer"), seen.start_ns) == ("connection", "203.0.113.7", STAMP_NS - 5 * 10**9)


def test_the_ids_of_the_otel_module_are_the_servers_own() -> None:
    pattern = "$remote_addr $otel_trace_id $otel_span_id $otel_parent_id"
    seen = seen_in("nginx", f"203.0.113.7 {'4b' * 16} {'0f' * 8} {'53' * 8}", pattern=pattern)
    assert seen.ids is not None
    assert (seen.ids.trace, seen.ids.span, seen.ids.parent) == ("4b" * 16, "0f" * 8, "53" * 8)


def test_a_header_nginx_refused_is_in_the_error_log_only() -> None:
    text = b'2026/03/02 10:20:30 [error] 31#31: *7 broken header: "GET / HTTP/1.1" while reading PROXY protocol, '
    seen = reader_of(FORMATS["nginx"])(line_of(text + b"client: 10.0.0.9, server: 0.0.0.0:80"))
    assert isinstance(seen, Skipped)


# --- Apache


@pytest.mark.parametrize(
    "text",
    [
        "[Mon Mar 02 10:20:30 2026] [error] [client 203.0.113.7] File does not exist: /var/www/x",
        "[Mon Mar 02 10:20:30.103522 2026] [core:notice] [pid 7] AH00094: Command line: 'httpd'",
        "[Mon Mar 02 10:20:30.103522 2026] [ssl:info] [pid 7:tid 9] (70014)End of file: [client 203.0.113.7:5] AH1",
    ],
)
def test_error_lines_of_every_apache_are_no_requests(text: str) -> None:
    assert isinstance(reader_of(FORMATS["apache"])(line_of(text.encode())), Skipped)


# --- Envoy


@pytest.mark.parametrize(
    ("pattern", "head", "tail", "peer"),
    [
        ("emissary", "ACCESS ", "", None),
        ("default", "", "", None),
        (
            "istio-1.8",
            "",
            " inbound|80|| 127.0.0.6:40001 10.1.0.8:80 203.0.113.7:5 outbound_.80_._.a default",
            "203.0.113.7:5",
        ),
    ],
)
def test_an_upstream_may_have_a_scheme_and_a_prefix_may_stand_before(
    pattern: str, head: str, tail: str, peer: str | None
) -> None:
    more = 'via_upstream - "-" ' if tail else ""
    line = f'{head}[2026-03-02T09:20:30.250Z] "GET /a HTTP/1.1" 200 - {more}0 3 9 - "-" "x" "r" "h" "tcp://10.0.2.1:80"'
    seen = seen_in("envoy_text", line + tail, pattern=pattern, options=CHECKED)
    assert (value_at(seen, "upstream_peer"), value_at(seen, "peer")) == ("10.0.2.1:80", peer)


# --- Traefik


def test_a_service_url_is_an_object_or_a_text() -> None:
    head = '{"ClientAddr":"10.1.0.4:5","StartUTC":"2024-05-01T10:00:00Z","ServiceAddr":"10.0.0.1:80","ServiceURL":'
    for url in ('{"Scheme":"http","Host":"10.0.0.1:80","User":null}', '"http://10.0.0.1:80"'):
        assert value_at(seen_in("traefik_json", f"{head}{url}}}"), "upstream_peer") == "10.0.0.1:80"


def test_text_of_a_plugin_among_the_json_is_rejected_as_no_json() -> None:
    assert refused("traefik_json", "DEBUG: SomePlugin: 2024/05/01 10:00:00 ServeHTTP ip:203.0.113.7") == "json"


@pytest.mark.parametrize("referer", ["-", "x\\"])
def test_a_backslash_before_the_closing_quote_is_itself(referer: str) -> None:
    line = f'10.0.0.1 - - [01/May/2024:10:00:00 +0000] "GET / HTTP/1.1" 200 1 "{referer}" "y\\" 9 "a" "b" 0ms'
    assert value_at(seen_in("traefik_clf", line), "http.user_agent") == "y\\"


PIECES = (
    '"',
    "\\",
    " ",
    "x",
    "-",
    ' "',
    '" ',
    ' HTTP/1.1" 404 9 "-" ',
    '" 404 - ',
    ' 1 "r" "http://6.6.6.6:6" 1ms',
    ' 8 - - 1ms "',
)
FORGED = st.lists(st.sampled_from(PIECES), max_size=7).map("".join)


@given(FORGED, FORGED, FORGED, st.booleans(), st.sampled_from(["", ' 7 "r" "http://10.0.0.9:80" 2ms', ' - "r" - 2ms']))
def test_whatever_traefik_escapes_no_quote_forges_status_or_service(
    path: str, referer: str, agent: str, escapes: bool, tail: str
) -> None:
    if escapes:
        referer, agent = (text.replace('"', '\\"') for text in (referer, agent))
    line = f'10.0.0.1 - - [01/May/2024:10:00:00 +0000] "GET /{path} HTTP/1.1" 200 5 "{referer}" "{agent}"{tail}'
    try:
        seen = seen_in("traefik_clf", line)
    except FormatError as error:
        assert error.reason in ("two_readings", "no_match")
        return
    assert value_at(seen, "http.status") == 200
    assert value_at(seen, "upstream_peer") == ("10.0.0.9:80" if "10.0.0.9" in tail else None)
    assert value_at(seen, "http.duration_ns") == (2_000_000 if tail else None)


def test_client_host_and_client_port_make_no_endpoint() -> None:
    line = '{"ClientAddr":"10.1.0.4:5","ClientHost":"203.0.113.7","ClientPort":"5","StartUTC":"2024-05-01T10:00:00Z"}'
    seen = seen_in("traefik_json", line)
    assert (value_at(seen, "peer"), seen.stated, value_at(seen, "claims.x-forwarded-for")) == (
        "10.1.0.4:5",
        None,
        "203.0.113.7",
    )


# --- AWS, OTLP


def test_a_connection_log_of_the_balancer_is_no_access_log() -> None:
    line = '2024-03-21T17:00:00.123456Z 203.0.113.7 51111 443 TLSv1.2 X 4.036 "-" - - Success TID_0123'
    assert refused("aws_alb", line) == "no_match"


def test_a_record_without_a_time_of_its_own_has_the_one_it_was_observed_at() -> None:
    attributes = [{"key": "network.peer.address", "value": {"stringValue": "10.1.0.4"}}]
    record = {"timeUnixNano": "0", "observedTimeUnixNano": 1714557600000000001, "attributes": attributes, "later": {}}
    line = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    assert seen_in("otlp_logs", line).end_ns == 1714557600000000001


# --- conntrack


@pytest.mark.parametrize(
    "more",
    [
        " [OFFLOAD] mark=0 use=1 id=7",
        " [ASSURED] mark=0 secctx=null zone=3 delta-time=8 labels=a,b use=2 id=7 [USERSPACE] portid=9 progname=nlct",
    ],
)
def test_whatever_options_add_behind_the_tuples_is_read(more: str) -> None:
    flow = "src=10.0.1.1 dst=10.1.0.2 sport=5 dport=80 [UNREPLIED] src=10.2.0.9 dst=10.1.0.1 sport=8080 dport=7"
    seen = seen_in("conntrack", f"   [UPDATE] ipv4     2 tcp      6 120 SYN_SENT {flow}{more}")
    assert [value_at(seen, end) for end in ("peer", "local", "upstream_local", "upstream_peer")] == [
        "10.0.1.1:5",
        "10.1.0.2:80",
        "10.1.0.1:7",
        "10.2.0.9:8080",
    ]
    assert seen.connection_serial == "tcp/7/UPDATE"


def test_a_flow_that_ulogd_writes_whole_is_an_end() -> None:
    """With hash_enable=1 there is no event, and only one line for a flow."""
    flow: dict[str, object] = {
        f"{side}.ip.{end}.str": "10.0.1.1" for side in ("orig", "reply") for end in ("saddr", "daddr")
    }
    flow |= {"orig.ip.protocol": 17, "flow.start.sec": 1714557600, "flow.end.sec": 1714557601}
    seen = seen_in("ulogd_json", json.dumps(flow), stamped_within_ns=0)
    assert seen.connection_serial == "udp/-/DESTROY"
    assert (seen.start_ns, seen.end_ns) == (1714557600 * 10**9, 1714557601 * 10**9 + 499_999_999)


# --- wrappers, through the engine


@pytest.mark.parametrize(
    ("wrapper", "text", "reads"),
    [
        (("syslog5424",), "<134>1 2026-03-02T09:20:30Z web nginx 7 - - {}", True),
        (("cri", "syslog3164"), "2026-03-02T09:20:30.000000000Z stdout F Mar  2 09:20:30 web nginx: {}", True),
        (
            ("filebeat",),
            '{{"message":{quoted},"kubernetes":{{}}}}}}',
            False,
        ),  # a brace too many, as one shipper wrote it
    ],
)
def test_a_line_is_read_behind_its_wrappers_or_not_at_all(wrapper: tuple[str, ...], text: str, reads: bool) -> None:
    line = f'203.0.113.7 - - {TIME} "GET / HTTP/1.1" 200 5 "-" "-"'
    raw = text.format(line, quoted=json.dumps(line)).encode()
    setup = Setup(system="web", format="nginx", logs_peer="socket")
    engine = Engine([System(name="web")], [LogSource(setup, wrapper)], line_bytes=1 << 16)
    [outcome] = engine.reading("web").feed(Line(raw, raw))
    if reads:
        assert isinstance(outcome, Record)
        assert value_at(outcome.observation, "peer") == "203.0.113.7"
    else:
        assert isinstance(outcome, Rejected)
        assert outcome.reason == "wrapper"
