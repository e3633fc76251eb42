"""Attacks that once named a wrong client, hid a request or stopped a run. Each test names the law that they broke."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from clientip.config.lint import warnings
from clientip.config.load import load
from clientip.diagnose.sandbox import answer
from clientip.engine import Engine, LogSource
from clientip.errors import ConfigError
from clientip.formats import FORMATS
from clientip.model import Fact, Line, LogsPeer, Outcome, Record, Rejected, Setup, Skipped, System
from clientip.outputs import OUTPUTS
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds.samples_check import CHECKED
from tests.worlds.walks import PROXY, XFF, claim, found, request, system, walk

LB = system("lb", "10.0.0.0/24", peers="outside", conveys=(XFF,))
STAMP = "[02/Mar/2026:10:20:30.250]"
HTTPLOG = f"10.0.0.9:50112 {STAMP} www~ app/web1 0/0/1/8/9 200 512"


def outcome(
    line: str | bytes, *others: System, wrapper: tuple[str, ...] = (), app: System | None = None, **setup: Any
) -> Outcome:
    """What becomes of one line of `app`, which stands behind `others`, or outside where there are none."""
    written = Setup(system="app", **{"logs_peer": "socket", "timezone": "UTC"} | setup)
    peers = " ".join(each.name for each in others) or "outside"
    drawn = [app or system("app", peers=peers, logs_peer=written.logs_peer), *others]
    raw = line if isinstance(line, bytes) else line.encode()
    [became] = Engine(drawn, [LogSource(written, wrapper)], line_bytes=65536).reading("app").feed(Line(raw, raw))
    return became


def client(became: Outcome) -> str | None:
    """The client a record or fact names; None where it names none, or nothing was read."""
    record = became.record if isinstance(became, Fact) else became
    if not isinstance(record, Record):
        return None
    for write in OUTPUTS.values():
        json.loads(write(record, "rules").decode())
    named = record.resolution.client
    return None if named is None else named.address.text


# --- HAProxy


def length(value: str) -> dict[str, Any]:
    return {"options": (("capture_length.x-forwarded-for", value),)}


@pytest.mark.parametrize("pattern", [None, "%ci:%cp [%tr] %ST %[capture.req.hdr(0)] %{+Q}r"])
def test_a_captured_header_that_a_system_conveys_is_not_read_without_its_length(pattern: str | None) -> None:
    setup = Setup(
        system="app",
        format="haproxy",
        pattern=pattern,
        logs_peer="socket",
        timezone="UTC",
        captures=("X-Forwarded-For", "User-Agent"),
        claim_headers=frozenset({"x-forwarded-for"}),
    )
    with pytest.raises(ConfigError) as caught:
        FORMATS["haproxy"].compile(setup)
    assert [fault.key for fault in caught.value.faults] == ["options.capture_length.x-forwarded-for"]


def test_who_pads_a_captured_header_does_not_choose_its_right_end() -> None:
    captures: dict[str, Any] = {"format": "haproxy", "captures": ("X-Forwarded-For",)}
    cut, whole = "x" * 11 + ", 6.6.6.6", "x, 203.0.113.7"
    block, column = f'{HTTPLOG} - - ---- 3/3/0/0/0 0/0 {{%s}} "GET /"', f'10.0.0.9:50112 {STAMP} 200 %s "GET /"'
    pattern = {"pattern": "%ci:%cp [%tr] %ST %[capture.req.hdr(0)] %{+Q}r"}
    for line, more in ((block, {}), (column, pattern)):
        assert client(outcome(line % cut, LB, **captures, **more, **length("20"))) is None
        assert client(outcome(line % whole, LB, **captures, **more, **length("20"))) == "203.0.113.7"


@pytest.mark.parametrize("value", ["x", "0", "-1", "9" * 5000, "٣"])
def test_a_length_that_is_none_is_a_fault_and_not_a_crash(value: str) -> None:
    setup = Setup(system="app", format="haproxy", logs_peer="socket", timezone="UTC", **length(value))
    with pytest.raises(ConfigError):
        FORMATS["haproxy"].compile(setup)


def test_a_captured_cookie_in_a_line_that_was_cut_forges_no_header() -> None:
    setup: dict[str, Any] = {"format": "haproxy", "captures": ("X-Forwarded-For",), **length("2000")}
    counts = "---- 3/3/0/0/0 0/0"
    cookie = f'SID=x - {counts} {{6.6.6.6}} "'
    assert client(outcome(f"{HTTPLOG} {cookie} - {counts} {{{'x' * 300}", LB, **setup)) is None
    assert client(outcome(f'{HTTPLOG} SID=x - {counts} {{203.0.113.7}} "GET /"', LB, **setup)) == "203.0.113.7"
    assert client(outcome(f'{HTTPLOG} - - {counts} {{203.0.113.7}} "GET /aaa', LB, **setup)) == "203.0.113.7"


@pytest.mark.parametrize(
    "cookie",
    [
        '{{{evil}}} "GET /" 0/0/0/0/0 a',
        '{{{evil}}} "a" 0/0/0/0/0',
        '{{{evil}}} "a',
        '{{{evil}}} "a" 0/0/0/0/0 a/b/c',
        "{{{evil}}}",
        "{{{evil}}} {{x}}",
    ],
)
@pytest.mark.parametrize("tail", ["", " 0/0/0/0/0 a.example/TLSv1.3/X", " 0/0/0/0/0 -/-/-"])
@pytest.mark.parametrize("pattern", [None, "httplog", "httpslog"])
def test_a_captured_cookie_that_looks_like_columns_forges_no_header(
    cookie: str, tail: str, pattern: str | None
) -> None:
    options = (*length("2000")["options"], ("line_breaks", "escaped"))
    setup: dict[str, Any] = {"format": "haproxy", "captures": ("X-Forwarded-For",), "pattern": pattern}
    setup["options"] = options
    counts = "- ---- 3/3/0/0/0 0/0"
    forged = f"SID=x {counts} {cookie.format(evil='6.6.6.6')}"
    rest = f'{counts} {{192.0.2.6, 203.0.113.7}} "GET /a HTTP/1.1"{tail}'
    assert client(outcome(f"{HTTPLOG} {forged} {rest}", LB, **setup)) in (None, "203.0.113.7")
    for cut in range(len(rest)):
        assert client(outcome(f"{HTTPLOG} {forged} {rest[:cut]}", LB, **setup)) in (None, "203.0.113.7")


@pytest.mark.parametrize("cookie", ["SID=x", 'SID=x" "-" "6.6.6.6', 'SID=x" "-" "6.6.6.6" "', 'SID=x - "6.6.6.6" "'])
def test_a_captured_cookie_that_looks_like_quoted_columns_forges_no_header(cookie: str) -> None:
    head = '10.0.0.9 - - [02/Mar/2026:10:20:30 +0000] "GET / HTTP/1.1" 200 5 "" "" 50112 250 "www" "app" "web" '
    line = f'{head}0 0 0 1 1 ---- 1 1 0 0 0 0 0 "{cookie}" "-" "192.0.2.6, 203.0.113.7"'
    setup: dict[str, Any] = {"format": "haproxy", "captures": ("X-Forwarded-For",), "pattern": "clf"}
    expected = "203.0.113.7" if cookie == "SID=x" else None
    assert client(outcome(line, LB, **setup, **length("2000"))) == expected


@pytest.mark.parametrize("column", ["%CC", "%{+Q}CC", "%CS"])
@given(st.text(st.sampled_from('a6.:5"{}- '), max_size=20))
def test_a_captured_cookie_before_the_peer_does_not_move_it(column: str, said: str) -> None:
    with pytest.raises(ConfigError):
        outcome("x", format="haproxy", pattern=f"{column} %ci:%cp [%tr] %[req.hdr(user-agent)]")
    shown = f'"S={said}"' if "Q" in column else f"S={said}"
    became = outcome(f"{shown} 203.0.113.7 5 .", format="haproxy", pattern=f"{column} %ci %cp .")
    assert isinstance(became, Fact)
    assert became.record.observation.peer is not None
    assert became.record.observation.peer.address.text == "203.0.113.7"


# --- lines of other kinds in the same log

FAILED = f"6.6.6.6:77 {STAMP} www/1: SSL handshake failure"
NGINX_ERROR = "2026/03/02 10:20:30 [error] 1#1: x"


def test_no_client_writes_the_failed_connection_of_somebody_else() -> None:
    pattern = "%[req.hdr(x-forwarded-for)] %[req.hdr(x-real-ip)] %ST"
    setup: dict[str, Any] = {"format": "haproxy", "logs_peer": "socket"}
    assert client(outcome(f"{FAILED} x 200", pattern=pattern, **setup)) is None
    assert client(outcome(f"{FAILED} x", pattern="%[req.hdr(user-agent)] - %ST", **setup)) is None
    for own in (None, "%ci:%cp [%tr] %ST", "%{+json}o %(r)r %(ci)ci %(cp)cp"):
        assert client(outcome(FAILED, pattern=own, **setup)) == "6.6.6.6"


@pytest.mark.parametrize(
    ("name", "pattern", "line"),
    [
        ("nginx", '$http_x_forwarded_for $http_x_real_ip $remote_addr "$status"', f'{NGINX_ERROR} y 203.0.113.7 "200"'),
        ("apache", '%{X-Forwarded-For}i %{X-Real-IP}i %a "%>s"', '[Mon Mar 02 10:20:30 2026] [x] y 203.0.113.7 "200"'),
        ("apache", '[%{X-Forwarded-For}i] %{X-Real-IP}i %a "%>s"', '[Mon Mar 02 10:20:30 2026] [x] y 203.0.113.7 "2"'),
        ("haproxy", "%[req.hdr(x-forwarded-for)] %[req.hdr(x-real-ip)] %ST", "Proxy x y 200"),
        ("traefik_clf", None, 'time="x - - [02/Mar/2026:10:20:30 +0000] "GET / HTTP/1.1" 200 5 "-" "-"'),
    ],
)
def test_no_client_hides_its_request_among_the_lines_that_are_none(name: str, pattern: str | None, line: str) -> None:
    assert not isinstance(outcome(line, format=name, pattern=pattern), Skipped)


@pytest.mark.parametrize("pattern", ["combined", "[$time_local] $remote_addr .", "$host $remote_addr ."])
def test_the_error_log_beside_a_log_that_begins_its_own_way_is_passed_over(pattern: str) -> None:
    assert isinstance(outcome(NGINX_ERROR, format="nginx", pattern=pattern), Skipped)


# --- Envoy text

ENVOY_LINE = '[2026-03-02T09:20:30.250Z] "GET {} HTTP/1.1" {} {} "{}"'
SOFT = (
    "REQUESTED_SERVER_NAME",
    "DOWNSTREAM_PEER_SUBJECT",
    "QUERY_PARAM(x)",
    'CEL(request.headers["x"])',
    "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)",
    "NOT_YET_INVENTED",
)
EVIL = st.lists(st.sampled_from(["6.6.6.6:5", " ", '"', '" ', ' "', "x", "HTTP/1.1", "-"]), max_size=8).map("".join)


@pytest.mark.parametrize("soft", SOFT)
@given(EVIL, EVIL)
def test_whatever_a_client_puts_into_a_word_the_peer_does_not_move(soft: str, said: str, agent: str) -> None:
    peer = "203.0.113.7:44"
    for pattern, line in (
        (f'"%{soft}%" %DOWNSTREAM_REMOTE_ADDRESS% "%REQ(USER-AGENT)%"', f'"{said}" {peer} "{agent}"'),
        (f'"%{soft}% %PROTOCOL%" %DOWNSTREAM_REMOTE_ADDRESS% "%REQ(USER-AGENT)%"', f'"{said} H/1" {peer} "{agent}"'),
        (f'"%REQ(USER-AGENT)%" %DOWNSTREAM_REMOTE_ADDRESS% %{soft}%', f'"{agent}" {peer} {said}'),
        (f'"%REQ(USER-AGENT)%" %DOWNSTREAM_REMOTE_ADDRESS% %{soft}% %ROUTE_NAME%', f'"{agent}" {peer} {said} r'),
    ):
        became = outcome(line, format="envoy_text", pattern=pattern, options=CHECKED)
        assert client(became) == "203.0.113.7" or (isinstance(became, Rejected) and became.reason == "two_readings")


@pytest.mark.parametrize("soft", SOFT)
def test_a_soft_column_beside_the_peer_that_no_quote_ends_is_refused(soft: str) -> None:
    for pattern in (
        f"%{soft}% %DOWNSTREAM_REMOTE_ADDRESS% %REQ(USER-AGENT)%",
        f"%REQ(USER-AGENT)% %DOWNSTREAM_REMOTE_ADDRESS% %{soft}%",
    ):
        with pytest.raises(ConfigError):
            FORMATS["envoy_text"].compile(Setup(system="a", format="envoy_text", pattern=pattern, logs_peer="socket"))


# --- wrappers


@pytest.mark.parametrize("host", ["2001:db8::5", "fe80::1", "::1", "web1", "10.0.0.5"])
def test_the_address_of_a_syslog_host_is_never_read_as_the_clients(host: str) -> None:
    line = f"<190>Mar  2 09:20:30 {host} nginx: 203.0.113.7 x"
    setup: dict[str, Any] = {"format": "nginx", "pattern": "$remote_addr $http_user_agent"}
    assert client(outcome(line, wrapper=("syslog3164",), **setup)) == "203.0.113.7"


# --- nginx


@given(st.text(st.sampled_from("\\ud800DC12abn/\"' "), max_size=24))
def test_no_escape_in_a_line_makes_output_that_is_no_text(said: str) -> None:
    for write in (f'203.0.113.7 "{said}"', f'203.0.113.7 "{said}\\ud800"'):
        became = outcome(write, format="nginx", pattern='$remote_addr "$http_x_forwarded_for"', escape="json")
        assert client(became) == "203.0.113.7" or isinstance(became, Rejected)


@pytest.mark.parametrize("separator", ["|", ";", "\t", "} "])
def test_the_separator_behind_the_upstreams_is_none_of_theirs(separator: str) -> None:
    pattern = f"$upstream_addr{separator}$remote_addr ."
    for upstreams in ("10.0.0.1:80, 10.0.0.2:80", "[2001:db8::1]:80 : unix:/run/a.sock", "-"):
        assert client(outcome(f"{upstreams}{separator}203.0.113.7 .", format="nginx", pattern=pattern)) == "203.0.113.7"


# --- trust


def test_an_entry_that_looks_like_the_statement_is_not_what_realip_used() -> None:
    """A request on which realip did not run shows the balancer as its statement, beside the whole header."""
    app = system("app", peers="lb cdn", believes="lb cdn", logs_peer="realip")
    cdn = system("cdn", "198.51.100.0/24", peers="outside", conveys=(XFF,))
    lb = system("lb", "10.0.0.0/24", peers="outside cdn", conveys=(XFF,))

    def says(*entries: str, stated: str) -> tuple[str, str | None, str | None]:
        seen = request(None, claim("x-forwarded-for", ", ".join(entries)), stated=stated, logs_peer="realip")
        return found(walk([app, lb, cdn], seen))

    assert says("6.6.6.6", "10.0.0.9", "203.0.113.7", stated="10.0.0.9")[2] == "contradiction"
    assert says("6.6.6.6", "10.0.0.9", "unknown", stated="10.0.0.9")[2] == "contradiction"
    assert says("6.6.6.6", "203.0.113.7", "198.51.100.3", stated="198.51.100.3")[:2] == ("vouched", "203.0.113.7")
    assert says("203.0.113.7", "198.51.100.3", "198.51.100.4", stated="198.51.100.3")[:2] == ("vouched", "203.0.113.7")


@pytest.mark.parametrize("logs_peer", ["realip", "proxy"])
@pytest.mark.parametrize("believes", ["", "outside", "elsewhere"])
def test_a_hop_that_takes_addresses_from_anybody_is_not_believed_further_in(logs_peer: LogsPeer, believes: str) -> None:
    hop = system("hop", "10.0.0.0/24", peers="outside", conveys=(XFF,), logs_peer=logs_peer, believes=believes)
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "6.6.6.6"))
    assert found(walk([system("app", peers="hop"), hop], seen)) == ("unknown", None, "not_believed")


def test_a_hop_that_takes_addresses_from_drawn_systems_is_believed_further_in() -> None:
    nlb = system("nlb", "10.1.0.0/24", peers="outside", conveys=(PROXY,))
    hop = system("hop", "10.0.0.0/24", peers="nlb", conveys=(XFF,), logs_peer="proxy", believes="nlb")
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7"))
    assert found(walk([system("app", peers="hop"), hop, nlb], seen))[:2] == ("vouched", "203.0.113.7")


def test_a_hop_without_a_log_that_believes_nobody_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        '[systems.app]\nformat = "traefik_json"\nlogs_peer = "socket"\npeers = ["hop"]\n'
        '[systems.hop]\naddresses = ["10.0.0.1"]\npeers = ["outside"]\nlogs_peer = "realip"\n'
        'conveys = [{ header = "x-forwarded-for", mode = "append" }]\n'
    )
    assert [text.partition(":")[0] for text in warnings(load([path]))] == ["systems.hop.believes"]


# --- questions without a log


@pytest.mark.parametrize(
    "row", [b'{"id":"\xff","peer":"192.0.2.1"}', b'{"id":"\xed\xa0\x80","peer":"x"}', b'{"id":"\xff"']
)
def test_an_answer_is_text_whatever_the_question_is(row: bytes) -> None:
    assert json.loads(answer(row).decode())["id"] is None


def test_a_row_of_very_many_systems_is_refused_and_not_walked() -> None:
    rows = ",".join(['{"hops":30}'] * 40 + ['{"hops":-1000000}'])
    assert json.loads(answer(f'{{"id":1,"peer":"192.0.2.1","trust":[{rows}]}}'.encode())) == {
        "id": 1,
        "error": "trust: more than 1000 systems",
    }


def test_a_header_called_proxy_is_not_the_proxy_protocol() -> None:
    row = {"id": 1, "peer": "192.0.2.1", "trust": [{"conveys": [{"header": "Proxy", "mode": "append"}]}]}
    assert "no header" in json.loads(answer(json.dumps(row).encode()))["error"]
