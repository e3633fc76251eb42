"""The command operators of Envoy's access log: what each tells.  Shared by the text and the JSON format.

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#command-operators

`operator_kind("REQ(X-FORWARDED-FOR):64", setup)` → `Operator(role, unit, weight)`:

- `role`: a `roles.Role`, or None for what nobody needs.  Addresses are `ip:port` in one (`peer`, `logged`, `local`,
  `upstream_local`, `upstream_peer`), or `.ip` and `.port` for the operators that split them.  `peer` is the socket
  (DIRECT); `logged` is the socket, or what PROXY or X-Forwarded-For replaced it by (`Setup.logs_peer`).
  A header has its lower-case name, its coverage in `how`, and in `limit` the bytes at which Envoy cuts it.
- `unit`: what a character of the value can be in the text format, which escapes nothing.
- `weight`: see `patterns.Field`.
- `soft`: usually one word, but it may be what a client wrote: a server name (checked since Envoy 1.32 only), the
  original path (a client's own header before 1.26), parts of certificates, and every operator not known here.

X-Forwarded-For is one value however many lines came, and is read after Envoy's own append: coverage `appended`
with `Setup.appends_before_log` (use_remote_address: true), else `all`.  Of any other header only the first line
is shown.  All are shown as they go on, for the log is written when the request is over.  `%REQ(X?Y)%` shows Y where X
is absent and does not say so, so it is a claim of neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from clientip.model import Setup
from clientip.patterns.matcher import QUOTELESS, RAW, Weight
from clientip.patterns.minting import Advice
from clientip.patterns.roles import Role

_WORD: Final = '[^ "]'
TARGET: Final = "[^ ]"
_DIGITS: Final = "[0-9-]"
_ADDRESS: Final = r"[^ \"]"  # may be a path or the name of an internal listener, too
_HEX: Final = "[0-9a-f-]"


ADVICE: Final = Advice(
    "%REQ(NAME)%, which shows the id that goes on; without preserve_external_request_id Envoy mints X-Request-ID",
    "%REQ(TRACEPARENT)%, or %TRACE_ID%",
)
IDS: Final[tuple[tuple[str, str], ...]] = (
    ("%REQ(NAME)%", "sent"),
    ("%TRACE_ID%, %SPAN_ID%", "own"),
    ("%STREAM_ID%", "continued"),
)


class Operator(NamedTuple):
    """What one operator tells; see the head of this module."""

    role: Role | None = None
    unit: str = _WORD
    weight: Weight = "text"
    soft: bool = False
    ending: str | None = None  # patterns.Field.ending


def _trusted(word: str, unit: str = _ADDRESS, how: str = "", name: str = "") -> Operator:
    return Operator(Role(word, how, name), unit, "trusted")


def _address(operator: str, word: str) -> dict[str, Operator]:
    """`X_ADDRESS`, `X_ADDRESS_WITHOUT_PORT` and `X_PORT`."""
    return {
        f"{operator}_ADDRESS": _trusted(word),
        f"{operator}_ADDRESS_WITHOUT_PORT": _trusted(f"{word}.ip"),
        f"{operator}_PORT": _trusted(f"{word}.port", _DIGITS),
    }


REQUESTS: Final = r"%REQ\(|%RESPONSE_CODE%|%PROTOCOL%"  # of these none stands in a pattern of TCP connections
# Words that Envoy or its operator chooses.
_MACHINE_WORDS: Final = (
    "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "FILTER_CHAIN_NAME",
    "GRPC_STATUS",
    "GRPC_STATUS_NUMBER",
    "REQUEST_DURATION",
    "REQUEST_TX_DURATION",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_TX_DURATION",
    "ROUTE_NAME",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_VERSION",
    "VIRTUAL_CLUSTER_NAME",
)

OPERATORS: Final[Mapping[str, Operator]] = MappingProxyType(
    {
        **_address("DOWNSTREAM_REMOTE", "logged"),
        **_address("DOWNSTREAM_DIRECT_REMOTE", "peer"),
        **_address("DOWNSTREAM_LOCAL", "local"),
        **_address("DOWNSTREAM_DIRECT_LOCAL", "local"),
        **_address("UPSTREAM_LOCAL", "upstream_local"),
        **_address("UPSTREAM_REMOTE", "upstream_peer"),
        "UPSTREAM_HOST": _trusted("upstream_peer"),
        "DURATION": _trusted("duration", _DIGITS, "ms"),
        "RESPONSE_CODE": _trusted("status", _DIGITS)._replace(ending="(?:0|[1-9][0-9]{2})"),
        "UPSTREAM_REQUEST_ATTEMPT_COUNT": _trusted("tries", _DIGITS, "1"),
        "CONNECTION_ID": _trusted("connection_serial", _DIGITS),
        "TRACE_ID": Operator(Role("trace", sent=True), _HEX, "trusted"),
        "SPAN_ID": Operator(Role("span", sent=True), _HEX, "trusted"),
        "STREAM_ID": Operator(Role("request_id", name="envoy-stream"), RAW, "claim"),
        "PROTOCOL": Operator(Role("protocol")),
        "BYTES_RECEIVED": Operator(Role("request_bytes"), _DIGITS),
        "BYTES_SENT": Operator(Role("response_bytes"), _DIGITS),
        "UPSTREAM_TRANSPORT_FAILURE_REASON": Operator(None, QUOTELESS),
        "DOWNSTREAM_TRANSPORT_FAILURE_REASON": Operator(None, QUOTELESS),
        "HOSTNAME": Operator(Role("instance")),
        **dict.fromkeys(_MACHINE_WORDS, Operator(None)),
    }
)

_REQUEST_HEADERS: Final[Mapping[str, Operator]] = MappingProxyType(
    {
        ":method": Operator(Role("method")),
        ":path": Operator(Role("target"), TARGET),
        "x-envoy-original-path?:path": Operator(Role("target"), TARGET, soft=True),
        ":authority": Operator(Role("host"), RAW),
        ":scheme": Operator(None),
        "user-agent": Operator(Role("user_agent"), RAW),
        "referer": Operator(Role("referer"), RAW),
        "cookie": Operator(None, RAW),
    }
)
_STAMPS: Final = MappingProxyType(
    {"": "rfc3339", "%s": "epoch", "%s.%3f": "epoch", "%s.%6f": "epoch", "%s.%9f": "epoch", "%s%3f": "ms"}
)
_RFC3339: Final = re.compile(r"(?:%Y-%m-%d|%F)T(?:%H:%M:%S|%T)(?:\.%[1-9]f)?(?:Z|%z|%Ez|\+00:00)")
_OPERATOR: Final = re.compile(r"([A-Z_0-9]+)(?:\((.*)\))?(?::([0-9]+))?", re.DOTALL)


def operator_kind(text: str, setup: Setup) -> Operator:
    """What `text` tells: an operator without its percent signs.  An unknown one is text that a client may write.

    >>> operator_kind("REQ(X-Forwarded-For):64", Setup(system="s", format="envoy_text")).role
    Role(word='header', how='all', name='x-forwarded-for', limit=64, sent=True)
    """
    found = _OPERATOR.fullmatch(text)
    if found is None:
        return Operator(None, RAW)
    name, argument, length = found[1], found[2] or "", int(found[3] or "0")
    if name == "REQ":
        return _request_header(argument.lower(), length, setup)
    if name == "RESP":
        return Operator(None, _DIGITS if argument.upper() == "X-ENVOY-UPSTREAM-SERVICE-TIME" else RAW)
    if name == "START_TIME":
        layout = _STAMPS.get(argument) or ("rfc3339" if _RFC3339.fullmatch(argument) else None)
        return Operator(None, RAW) if layout is None else _trusted("start", "[0-9T:Z.+-]", layout)
    if name == "DYNAMIC_METADATA" and argument == "istio.mixer:status":
        return Operator(None)
    if name in ("DYNAMIC_METADATA", "FILTER_STATE", "TRAILER", "CUSTOM_TAG", "COMMON_DURATION"):
        return Operator(None, RAW)
    return OPERATORS.get(name, Operator(None, soft=True))


def _request_header(name: str, length: int, setup: Setup) -> Operator:
    known = _REQUEST_HEADERS.get(name)
    if known is not None:
        return known
    if name in (field.lower() for field in setup.trace_fields):
        return Operator(Role("trace"), RAW, "claim")
    if "?" in name:
        return Operator(None, RAW)
    coverage = "first"
    if name == "x-forwarded-for":
        coverage = "appended" if setup.appends_before_log else "all"
    return Operator(Role("header", coverage, name, length, sent=True), RAW, "claim")
