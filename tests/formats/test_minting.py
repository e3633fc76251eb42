"""Law: an id counts as minted only from a column that the server wrote for the next hop; clients write none of them."""

from __future__ import annotations

import json

import pytest
from clientip.errors import ConfigError
from clientip.formats import FORMATS
from clientip.joins.facts import request_key, trace_key
from clientip.joins.witnesses import mints_trace
from clientip.model import Ids, Line, Observation, Setup, System
from hypothesis import given
from hypothesis import strategies as st

TP = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
OWN_TRACE, OWN_ID = "5b8efff798038103d269b633813fc60c", "00112233445566778899aabbccddeef0"
STOLEN = "ffffffffffffffffffffffffffffff01"
ENVOY = '{{"start": "%START_TIME(%s.%6f)%", "peer": "%DOWNSTREAM_REMOTE_ADDRESS%", "m": "%REQ(:METHOD)%"{}}}'

VARIABLE = (("var.txn.rid", "x-request-id"),)
VARIABLE_LOG = "%ci:%cp [%tr] %[var(txn.rid)] end"

#: format, what Setup says beside, a pattern's end → the minted header, and a word of what to log instead.
RECEIVED = [
    ("nginx", {"pattern": '$msec $remote_addr "$http_x_request_id" "$request"'}, "x-request-id", "$request_id"),
    ("nginx", {"pattern": '$msec $remote_addr "$http_traceparent" "$request"'}, "traceparent", "$otel_trace_id"),
    ("nginx", {"pattern": '$msec $remote_addr "$http_b3" $request_id "$request"'}, "b3", "$otel_trace_id"),
    ("nginx", {"pattern": "ingress-nginx"}, "x-request-id", "$request_id"),
    ("haproxy", {"pattern": "httplog", "captures": ("x-request-id",), "timezone": "UTC"}, "x-request-id", "%ID"),
    (
        "haproxy",
        {"pattern": "%ci:%cp [%tr] %[req.hdr(traceparent)] end", "timezone": "UTC"},
        "traceparent",
        "set-header",
    ),
    ("varnish", {"pattern": '%h %t "%{X-Request-ID}i"'}, "x-request-id", "nginx"),
    ("traefik_json", {}, "x-request-id", "nginx"),
    ("traefik_json", {}, "traceparent", "nginx"),
    ("caddy", {}, "traceparent", "nginx"),
    ("aws_alb", {"logs_peer": None}, "x-amzn-trace-id", "nginx"),
    ("otlp_traces", {}, "x-request-id", "nginx"),
    ("otlp_logs", {}, "traceparent", "nginx"),
    ("envoy_json", {"pattern": ENVOY.format("")}, "x-request-id", "%REQ(NAME)%"),
    ("apache", {"pattern": '%{c}a %t "%r"'}, "x-request-id", "%{UNIQUE_ID}e"),
]
SENT = [
    ("nginx", {"pattern": '$msec $remote_addr $request_id "$request"'}, "x-request-id"),
    ("nginx", {"pattern": '$msec $remote_addr $otel_trace_id "$request"'}, "traceparent"),
    ("haproxy", {"pattern": "%ci:%cp [%tr] %ID end", "timezone": "UTC"}, "x-request-id"),
    ("haproxy", {"pattern": VARIABLE_LOG, "timezone": "UTC", "options": VARIABLE}, "x-request-id"),
    ("envoy_json", {"pattern": ENVOY.format(', "id": "%REQ(X-REQUEST-ID)%"')}, "x-request-id"),
    ("envoy_json", {"pattern": ENVOY.format(', "id": "%TRACE_ID%"')}, "traceparent"),
    ("apache", {"pattern": '%{c}a %t "%{X-Request-ID}i" "%r"'}, "x-request-id"),
    ("apache", {"pattern": '%{c}a %t %{UNIQUE_ID}e "%r"'}, "x-request-id"),
    ("otlp_traces", {}, "traceparent"),
]  # fmt: skip


def setup_of(name: str, more: dict[str, object], *mints: str) -> Setup:
    said = {"logs_peer": "socket", **more}
    return Setup(system="edge", format=name, mints=mints, **said)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "more", "header", "instead"), RECEIVED)
def test_a_header_shown_as_it_came_is_no_minted_one(
    name: str, more: dict[str, object], header: str, instead: str
) -> None:
    FORMATS[name].compile(setup_of(name, more))
    with pytest.raises(ConfigError) as caught:
        FORMATS[name].compile(setup_of(name, more, header))
    [fault] = caught.value.faults
    assert fault.key == "mints"
    assert header in fault.text
    assert instead in fault.text


@pytest.mark.parametrize(("name", "more", "header"), SENT)
def test_a_column_of_what_went_on_tells_minted_ids(name: str, more: dict[str, object], header: str) -> None:
    FORMATS[name].compile(setup_of(name, more, header))


def test_a_header_of_which_no_id_is_read_cannot_be_minted() -> None:
    with pytest.raises(ConfigError, match=r"no id is read from x-shop-id; write one of .*x-request-id"):
        FORMATS["nginx"].compile(setup_of("nginx", {"pattern": "$msec $remote_addr $request_id"}, "x-shop-id"))


def test_every_format_whose_lines_show_ids_says_how_it_shows_them() -> None:
    silent = {name for name, each in FORMATS.items() if not each.ids}
    nat = {"conntrack", "conntrack_xml", "conntrack_json", "ulogd_json", "flow_json", "vpc_flow"}
    assert silent == nat | {"traefik_clf"}


COLUMNS = '"tp":"$http_traceparent","b3":"$http_b3","xrid":"$http_x_request_id","cid":"$http_x_correlation_id"'
JSON = (
    f'{{"msec":"$msec","peer":"$remote_addr",{COLUMNS},"rid":"$request_id","ot":"$otel_trace_id","os":"$otel_span_id"}}'
)
MINTS = ("traceparent", "b3", "x-request-id", "x-correlation-id")
SAID = st.sampled_from(
    ["", "-", TP, f"{TP},{TP}", STOLEN, OWN_ID, f"{STOLEN}-00f067aa0ba902b7-1", "a,b", "\u00e9"]
) | st.text(max_size=60)


def read(mints: tuple[str, ...], **said: str) -> Observation:
    setup = setup_of("nginx", {"pattern": JSON, "escape": "json"}, *mints)
    fields = {"msec": "1772443230.050", "peer": "203.0.113.7", "tp": "", "b3": "", "xrid": "", "cid": "", **said}
    raw = json.dumps({**fields, "rid": OWN_ID, "ot": said.get("ot", OWN_TRACE), "os": ""}).encode()
    seen = FORMATS["nginx"].compile(setup)(Line(raw, raw))
    assert isinstance(seen, Observation)
    return seen


@given(SAID, SAID, SAID, SAID)
def test_whatever_a_client_sends_no_minted_id_is_his(tp: str, b3: str, rid: str, cid: str) -> None:
    """The ids under which a minting system tells are those that it made; without an own trace it tells none."""
    for own in (OWN_TRACE, ""):
        ids = read(MINTS, tp=tp, b3=b3, xrid=rid, cid=cid, ot=own).ids
        assert ids is not None
        assert {value for _, value in ids.requests} == {OWN_ID}
        assert {scheme for scheme, _ in ids.requests} == {"nginx", "x-request-id", "x-correlation-id"}
        assert ids.trace == (own or None)


def test_what_another_header_said_is_still_shown_and_not_minted() -> None:
    ids = read(("x-request-id",), tp=TP, ot="").ids
    edge = System(name="edge", mints=("x-request-id", "b3"))
    assert ids is not None
    assert (ids.trace, ids.header) == (TP[3:35], "traceparent")
    assert not mints_trace(edge, ids)
    assert mints_trace(System(name="edge", mints=("traceparent",)), Ids(trace=TP[3:35], header=None))
    assert request_key("x-request-id", OWN_ID) != trace_key(OWN_ID)


@pytest.mark.parametrize("header", ["b3", "x-b3-traceid"])
def test_one_of_two_headers_of_a_family_minted_leaves_the_other_to_the_client(header: str) -> None:
    """`b3` and `X-B3-TraceId` pass side by side: who overwrites one lets a client choose the other."""
    other = {"b3": "x-b3-traceid", "x-b3-traceid": "b3"}[header]
    system = System(name="edge", mints=(header,))
    assert mints_trace(system, Ids(trace=STOLEN, scheme="b3", header=header))
    assert not mints_trace(system, Ids(trace=STOLEN, scheme="b3", header=other))
    assert not mints_trace(system, Ids(trace=STOLEN, scheme="other", header=""))
