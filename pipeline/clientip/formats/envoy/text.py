"""Envoy's text access log: the default, Istio's, Emissary's, Contour's, and any other format string.

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage

Nothing is escaped: a header may hold quotes and look like columns (envoyproxy/envoy#4191).  Lines are read from both
ends, and a header value with a quote in it makes a line of two readings.  No blank ends a *soft* column for certain
(`envoy_operators`), so beside one, quotes must: the pattern says how many a line has, and only a client can add some.

Peer: `%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%` is the socket.  `%DOWNSTREAM_REMOTE_ADDRESS%` is the socket, or what PROXY
or X-Forwarded-For put there: `logs_peer` says.  Port 0 marks an address from a header, whatever `logs_peer` says.
The default format shows neither: then nobody knows the peer.
A line without method and protocol and with status 0 is of the TCP proxy: a connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from clientip.errors import ConfigError, Fault, FormatError
from clientip.formats.envoy.operators import ADVICE, IDS, REQUESTS, TARGET, Operator, operator_kind
from clientip.model import Format, Line, Observation, Reader, Sample, Setup
from clientip.patterns.columns import compile_columns
from clientip.patterns.matcher import (
    QUOTELESS,
    RAW,
    WORD,
    Field,
    LineEnd,
    Token,
    Values,
    compile_tokens,
    decode_text,
    line_end,
    refuse,
)
from clientip.patterns.minting import require_minted
from clientip.patterns.roles import Manner, Role, index_of, loosened

_OPERATOR: Final = re.compile(r"%(?:%|([A-Z_0-9]+(?:\([^)]*\))?(?::[0-9]+)?)%)")


def compile_envoy_text(setup: Setup) -> Reader:
    """The reader of a system's `pattern`; ConfigError for keys `pattern`, `logs_peer`."""
    pattern = dict(_KNOWN_PATTERNS).get(setup.pattern or "default", setup.pattern or "")
    pattern = pattern.removesuffix("\\n").removesuffix("\n")
    counted = _is_counted(setup, pattern)
    written = list(_tokens(setup, pattern, _counted_unit if counted else _unit))
    roles_of = {token.name: role for token, role in written if isinstance(token, Field)}
    _check(setup, pattern, list(roles_of.values()))
    require_minted(setup, list(roles_of.values()), ADVICE)
    matcher = compile_tokens([token for token, _ in written])
    end = _line_end(setup, pattern)
    roles = loosened([roles_of.get(name) for name in matcher.names], end.loose)
    manner = Manner(port_zero_said=True, closed=end.closed, forgeable=end.forgeable and setup.relayed)
    of_request = compile_columns(setup, roles, manner)
    of_connection = compile_columns(setup, roles, manner._replace(kind="connection"))
    is_tcp, values_of = _tcp(roles), _counting(matcher.read, written) if counted else matcher.read

    def read(line: Line) -> Observation:
        values = values_of(decode_text(line.text))
        return of_connection(line, values) if is_tcp(values) else of_request(line, values)

    return read


def _line_end(setup: Setup, pattern: str) -> LineEnd:
    """By what the columns can hold, however many quotes a whole line has: a cut one has lost some."""
    return line_end([token for token, _ in _tokens(setup, pattern, _worst_unit)], raw=True)


def _is_counted(setup: Setup, pattern: str) -> bool:
    """Whether the pattern has both a peer and a soft column, so that the quotes of a line must be counted."""
    kinds = [operator_kind(found[1], setup) for found in _OPERATOR.finditer(pattern) if found[1] is not None]
    words = {kind.role.word.partition(".")[0] for kind in kinds if kind.role is not None}
    return any(kind.soft for kind in kinds) and not words.isdisjoint(("peer", "logged"))


def _counting(read: Callable[[str], Values], written: list[tuple[Token, Role | None]]) -> Callable[[str], Values]:
    quotes = sum(token.count('"') for token, _ in written if isinstance(token, str))

    def counted(text: str) -> Values:
        if text.count('"') > quotes:
            raise FormatError("two_readings")
        return read(text)

    return counted


def _tokens(setup: Setup, pattern: str, unit_of: Callable[[Operator], str]) -> Iterator[tuple[Token, Role | None]]:
    place = 0
    direct_local = "%DOWNSTREAM_DIRECT_LOCAL_ADDRESS%" in pattern
    for found in _OPERATOR.finditer(pattern):
        if found.start() > place:
            yield pattern[place : found.start()], None
        place = found.end()
        if found[1] is None:
            yield "%", None
            continue
        kind = operator_kind(found[1], setup)
        original = direct_local and found[1] == "DOWNSTREAM_LOCAL_ADDRESS"  # where the client meant to go
        field = Field(name=found[0], unit=unit_of(kind), ending=kind.ending, weight=kind.weight)
        yield field, None if original else kind.role
    if place < len(pattern):
        yield pattern[place:], None


def _unit(kind: Operator) -> str:
    return kind.unit


def _worst_unit(kind: Operator) -> str:
    return RAW if kind.soft else kind.unit


def _counted_unit(kind: Operator) -> str:
    """What a value can hold in a line without a client's quotes."""
    if kind.soft or kind.unit == RAW:
        return QUOTELESS
    return WORD if kind.unit == TARGET else kind.unit


def _check(setup: Setup, pattern: str, roles: list[Role | None]) -> None:
    words = {role.word for role in roles if role is not None}
    if not words:
        raise refuse("holds no %OPERATOR% that is known; write the format string")
    if _SERVER_NAME in pattern and dict(setup.options).get("server_name") != "checked":
        raise refuse(_OLD_ENVOY)
    replaceable, direct = words & {"logged", "logged.ip"}, words & {"peer", "peer.ip"}
    if setup.logs_peer is None and replaceable and not direct:
        text = (
            '%DOWNSTREAM_REMOTE_ADDRESS% may have been replaced: write "socket" if nothing does that, "proxy" with '
            'the proxy_protocol listener filter, "realip" where it is inferred from X-Forwarded-For'
        )
        raise ConfigError([Fault("", "logs_peer", text)])


_SERVER_NAME: Final = "%REQUESTED_SERVER_NAME"
_OLD_ENVOY: Final = (
    "has %REQUESTED_SERVER_NAME%, with which a client of an old Envoy can end the line and write lines of its own: log "
    'JSON, or write options = { server_name = "checked" } if yours is 1.29.9, 1.30.6, 1.31.2 or from 1.32 on'
)


def _tcp(roles: list[Role | None]) -> Callable[[Values], bool]:
    """Whether a line is of the TCP proxy."""
    method, protocol, status = (index_of(roles, word) for word in ("method", "protocol", "status"))
    if method is None or protocol is None or status is None:
        nothing_of_http = method is None and status is None
        return lambda _: nothing_of_http
    return lambda values: values[method] == "-" and values[protocol] == "-" and values[status] == "0"


_REQUEST: Final = '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
_HEADERS: Final = (
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"'
)
_DEFAULT: Final = _REQUEST + "%RESPONSE_FLAGS% " + _HEADERS
_ISTIO: Final = (
    _REQUEST
    + '%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" '
    + _HEADERS
)
_ENDS: Final = (
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% "
    "%ROUTE_NAME%"
)
_KNOWN_PATTERNS: Final = (
    ("default", _DEFAULT),
    ("istio", f"{_ISTIO} %UPSTREAM_CLUSTER_RAW% {_ENDS}"),
    ("istio-1.8", f"{_ISTIO} %UPSTREAM_CLUSTER% {_ENDS}"),
    (
        "istio-1.4",
        f'{_REQUEST}%RESPONSE_FLAGS% "%DYNAMIC_METADATA(istio.mixer:status)%" "%UPSTREAM_TRANSPORT_FAILURE_REASON%" '
        f"{_HEADERS} %UPSTREAM_CLUSTER% {_ENDS}",
    ),
    ("emissary", "ACCESS " + _DEFAULT),
)

_HEAD: Final = b'[2026-03-02T09:20:30.250Z] "GET /a?b="c" HTTP/1.1" 200 - 0 3 9 8 '
_ISTIO_HEAD: Final = b'[2026-03-02T09:20:30.250Z] "GET /a HTTP/1.1" 200 - via_upstream - "-" 0 3 9 8 '
_TAIL: Final = b' "7f3c2a10-5d1e-9c55-9a51-0242ac120002" "www.example.com" "10.1.0.8:80"'
_ISTIO_TAIL: Final = _TAIL + b" inbound|80|| 127.0.0.6:40001 10.1.0.8:80 "
_CHECKED: Final = ("options", (("server_name", "checked"),))
_SIDE: Final = (("pattern", "istio"), ("logs_peer", "socket"), _CHECKED)

SAMPLES: Final = (
    Sample(  # no peer in the default format
        line=_HEAD + b'"198.51.100.4,10.0.0.9" "x y"' + _TAIL,
        expect=(
            ("peer", None),
            ("stated", None),
            ("start_ns", 1772443230_250_000_000),
            ("start_latest_ns", 1772443230_250_999_999),
            ("end_ns", 1772443230_259_000_000),
            ("http.target", '/a?b="c"'),
            ("http.status", 200),
            ("http.host", "www.example.com"),
            ("claims.x-forwarded-for", "198.51.100.4,10.0.0.9"),
            ("claims.x-forwarded-for.coverage", "all"),
            ("upstream_peer", "10.1.0.8:80"),
            ("ids.requests.x-request-id", "7f3c2a10-5d1e-9c55-9a51-0242ac120002"),
        ),
    ),
    Sample(  # use_remote_address: true
        setup=(("appends_before_log", True),),
        line=_HEAD + b'"198.51.100.4,10.0.0.9" "x y"' + _TAIL,
        expect=(("claims.x-forwarded-for.coverage", "appended"),),
    ),
    Sample(line=_HEAD + b'"-" "x" "y"' + _TAIL, rejected="two_readings"),  # a User-Agent that forges a column
    Sample(
        setup=_SIDE,
        line=_ISTIO_HEAD + b'"-" "x"' + _ISTIO_TAIL + b"[2001:db8::7]:50112 - default",
        expect=(
            ("peer", "[2001:db8::7]:50112"),
            ("local", "10.1.0.8:80"),
            ("upstream_local", "127.0.0.6:40001"),
            ("upstream_peer", "10.1.0.8:80"),
            ("claims.x-forwarded-for", ""),
        ),
    ),
    Sample(  # port 0: taken from X-Forwarded-For, so it is no end of any connection
        setup=_SIDE,
        line=_ISTIO_HEAD + b'"198.51.100.4" "x"' + _ISTIO_TAIL + b"198.51.100.4:0 - default",
        expect=(("peer", None), ("stated", "198.51.100.4")),
    ),
    Sample(  # a server name that holds what no name can
        setup=_SIDE,
        line=_ISTIO_HEAD + b'"-" "x"' + _ISTIO_TAIL + b'10.0.0.9:1 " "a" 1 2 3 6.6.6.6:5 y default',
        rejected="two_readings",
    ),
    Sample(  # the TCP proxy
        setup=_SIDE,
        line=b'[2026-03-02T09:20:30.250Z] "- - -" 0 UF,URX - - "-" 0 0 9 - "-" "-" "-" "-" "10.1.0.8:80" '
        b"outbound|80|| - 10.1.0.8:80 203.0.113.7:50112 - -",
        expect=(("kind", "connection"), ("peer", "203.0.113.7:50112"), ("http", None), ("upstream_local", None)),
    ),
    Sample(  # … that reached its upstream
        setup=_SIDE,
        line=b'[2026-03-02T09:20:30.250Z] "- - -" 0 - - - "-" 10 20 5009 - "-" "-" "-" "-" "10.1.0.8:5432" '
        b"outbound|5432|| 10.0.0.5:40000 198.51.100.10:5432 203.0.113.7:50112 - -",
        expect=(
            ("kind", "connection"),
            ("peer", "203.0.113.7:50112"),
            ("local", "198.51.100.10:5432"),
            ("upstream_local", "10.0.0.5:40000"),
            ("upstream_peer", "10.1.0.8:5432"),
            ("start_ns", 1772443230_250_000_000),
            ("start_latest_ns", 1772443230_250_999_999),
            ("end_ns", 1772443235_259_000_000),
        ),
    ),
    Sample(
        setup=(
            (
                "pattern",
                "%START_TIME(%s.%6f)% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %CONNECTION_ID% "
                "%TRACE_ID% %RESPONSE_CODE% %REQ(X-FORWARDED-FOR):15%\n",
            ),
            ("logs_peer", None),
        ),
        line=b"1772443230.250111 10.0.0.9:41000 198.51.100.4:0 77 0af7651916cd43dd8448eb211c80319c 200 a, 198.51.100.4",
        expect=(
            ("peer", "10.0.0.9:41000"),
            ("stated", "198.51.100.4"),
            ("start_latest_ns", 1772443230_250_111_999),
            ("connection_serial", "77"),
            ("ids.trace", "0af7651916cd43dd8448eb211c80319c"),
            ("claims.x-forwarded-for.coverage", "cut"),
        ),
    ),
    Sample(line=b'[2026-03-02] "GET / HTTP/1.1" 200', rejected="no_match"),
)

ENVOY_TEXT: Final = Format(
    name="envoy_text",
    title="Envoy, Istio, Contour, Emissary: text access log in any format",
    compile=compile_envoy_text,
    samples=SAMPLES,
    logs_peer=("socket", "proxy", "realip"),
    pattern="optional",
    options=(("server_name", '"checked": this Envoy refuses server names that are none, as it does from 1.32 on'),),
    ids=IDS,
    known_patterns=_KNOWN_PATTERNS,
    connections="UPSTREAM_LOCAL_ADDRESS",
    tries=(REQUESTS, "UPSTREAM_REQUEST_ATTEMPT_COUNT"),
    ask_for=(
        "json_format (see envoy_json), which cannot be forged; in text: [%START_TIME%] "
        "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %UPSTREAM_LOCAL_ADDRESS% "
        "%UPSTREAM_REMOTE_ADDRESS% %RESPONSE_CODE% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %DURATION% "
        '"%REQ(X-FORWARDED-FOR)%" "%REQ(TRACEPARENT)%"'
    ),
)
