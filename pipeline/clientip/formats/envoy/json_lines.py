"""Envoy's JSON access log (`json_format`, `typed_json_format`): Envoy Gateway's default, and any other.

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#format-dictionaries

`pattern` is the json_format itself, as JSON: `{"key": "%OPERATOR%", "group": {"key": "%OPERATOR%"}}`.  What an operator
tells, and whom the addresses name, is said in `envoy_operators`.  A value made of several operators, or of an
operator and text, is not read.  Absent is `-`, null, "" or no key; numbers may be strings.

A line without method and protocol and with status 0 is of the TCP proxy: a connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec.structs import replace

from clientip.errors import ConfigError, Fault, FormatError
from clientip.formats.envoy.operators import ADVICE, IDS, REQUESTS, operator_kind
from clientip.model import Format, Line, Observation, Reader, Sample, Setup, Skipped
from clientip.patterns.columns import compile_columns
from clientip.patterns.matcher import Values, refuse
from clientip.patterns.minting import require_minted
from clientip.patterns.roles import Manner, Role, Roles, index_of
from clientip.syntax.jsonlines import extendable, read_object

_OPERATOR: Final = re.compile(r"%([A-Z_0-9]+(?:\([^)]*\))?(?::[0-9]+)?)%")

Path = tuple[str, ...]


def _compile(setup: Setup) -> Reader:
    places = tuple(_places(setup, dict(_KNOWN_PATTERNS).get(setup.pattern or "envoy-gateway", setup.pattern or "")))
    paths, roles = tuple(path for path, _ in places), tuple(role for _, role in places)
    _check(setup, roles)
    require_minted(setup, roles, ADVICE)
    manner = Manner(port_zero_said=True, is_json=True)
    of_request = compile_columns(setup, roles, manner)
    of_connection = compile_columns(setup, roles, manner._replace(kind="connection"))
    is_tcp, keys = _tcp(roles), frozenset(path[0] for path in paths)

    def read(line: Line) -> Observation | Skipped:
        fields = read_object(line.text)
        if keys.isdisjoint(fields):
            return Skipped(line, "no_request")
        values = tuple([_value(fields, path) for path in paths])
        seen = of_connection(line, values) if is_tcp(values) else of_request(line, values)
        return replace(seen, extendable=extendable(line.text, fields))

    return read


def _places(setup: Setup, pattern: str) -> Iterator[tuple[Path, Role]]:
    """Where in the object each operator that tells something stands."""
    try:
        template = read_object(pattern.encode("utf-8", "replace"))
    except FormatError as error:
        raise refuse(f"is no JSON object ({error}); write the json_format of Envoy's configuration as JSON") from None
    # The PROXY header names the balancer's near end; beside DIRECT_LOCAL, LOCAL is where the client meant to go.
    not_ours = setup.logs_peer == "proxy" or "%DOWNSTREAM_DIRECT_LOCAL_ADDRESS%" in pattern
    for key, value in template.items():
        inner = value.items() if type(value) is dict else ((None, value),)
        for name, text in inner:
            operator = _OPERATOR.fullmatch(text) if type(text) is str else None
            if operator is None:
                continue
            role = operator_kind(operator[1], setup).role
            if role is not None and not (operator[1] == "DOWNSTREAM_LOCAL_ADDRESS" and not_ours):
                yield (key,) if name is None else (key, name), role


def _check(setup: Setup, roles: Roles) -> None:
    words = {role.word for role in roles if role is not None}
    if not words:
        raise refuse("holds no %OPERATOR% that is known; write the json_format of Envoy's configuration as JSON")
    if setup.logs_peer is None and words & {"logged", "logged.ip"} and not words & {"peer", "peer.ip"}:
        text = (
            '%DOWNSTREAM_REMOTE_ADDRESS% may have been replaced: write "socket" if nothing does that, "proxy" with '
            'the proxy_protocol listener filter, "realip" where it is inferred from X-Forwarded-For'
        )
        raise ConfigError([Fault("", "logs_peer", text)])


def _value(fields: dict[str, Any], path: Path) -> str | None:
    value = fields.get(path[0])
    if len(path) == 2:
        if value is None:
            return None
        if type(value) is not dict:
            raise FormatError("no_match")
        value = value.get(path[1])
    if value is None or type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if type(value) is float:
        return str(int(value)) if value.is_integer() else repr(value)
    raise FormatError("no_match")


def _tcp(roles: Roles) -> Callable[[Values], bool]:
    """Whether a line is of the TCP proxy."""
    method, protocol, status = (index_of(roles, word) for word in ("method", "protocol", "status"))
    if method is None or protocol is None or status is None:
        nothing_of_http = method is None and status is None
        return lambda _: nothing_of_http
    none = (None, "-", "")
    return lambda values: values[method] in none and values[protocol] in none and values[status] in ("0", *none)


_GATEWAY: Final = (
    '{":authority":"%REQ(:AUTHORITY)%","bytes_received":"%BYTES_RECEIVED%","bytes_sent":"%BYTES_SENT%",'
    '"connection_termination_details":"%CONNECTION_TERMINATION_DETAILS%",'
    '"downstream_local_address":"%DOWNSTREAM_LOCAL_ADDRESS%","downstream_remote_address":"%DOWNSTREAM_REMOTE_ADDRESS%",'
    '"duration":"%DURATION%","method":"%REQ(:METHOD)%","protocol":"%PROTOCOL%",'
    '"requested_server_name":"%REQUESTED_SERVER_NAME%","response_code":"%RESPONSE_CODE%",'
    '"response_code_details":"%RESPONSE_CODE_DETAILS%","response_flags":"%RESPONSE_FLAGS%","route_name":"%ROUTE_NAME%",'
    '"start_time":"%START_TIME%","upstream_cluster":"%UPSTREAM_CLUSTER%","upstream_host":"%UPSTREAM_HOST%",'
    '"upstream_local_address":"%UPSTREAM_LOCAL_ADDRESS%",'
    '"upstream_transport_failure_reason":"%UPSTREAM_TRANSPORT_FAILURE_REASON%","user-agent":"%REQ(USER-AGENT)%",'
    '"x-envoy-origin-path":"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",'
    '"x-envoy-upstream-service-time":"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%","x-forwarded-for":"%REQ(X-FORWARDED-FOR)%",'
    '"x-request-id":"%REQ(X-REQUEST-ID)%"}'
)
_FULL: Final = (
    '{"start":"%START_TIME(%s.%6f)%","direct":"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",'
    '"remote":"%DOWNSTREAM_REMOTE_ADDRESS%","near":"%UPSTREAM_LOCAL_ADDRESS%","far":"%UPSTREAM_REMOTE_ADDRESS%",'
    '"code":"%RESPONSE_CODE%","trace":{"id":"%TRACE_ID%","parent":"%REQ(TRACEPARENT)%"},"zone":"eu-%PROTOCOL%"}'
)
_KNOWN_PATTERNS: Final = (("envoy-gateway", _GATEWAY),)

SAMPLES: Final = (
    Sample(
        setup=(("appends_before_log", True),),
        line=b'{":authority":"shop.example","bytes_received":0,"bytes_sent":512,"downstream_local_address":"10.244.1.5:10443",'
        b'"downstream_remote_address":"10.1.0.4:51111","duration":25,"method":"GET","protocol":"HTTP/2","response_code":200,'
        b'"start_time":"2024-05-01T10:00:00.123Z","upstream_host":"10.244.1.9:8080",'
        b'"upstream_local_address":"10.244.1.5:40001","upstream_transport_failure_reason":null,"user-agent":"probe/1.0",'
        b'"x-envoy-origin-path":"/cart?id=7","x-forwarded-for":"203.0.113.7,10.1.0.4",'
        b'"x-request-id":"7f3c2a10-5d1e-9c55-9a51-0242ac120002"}',
        expect=(
            ("kind", "request"),
            ("peer", "10.1.0.4:51111"),
            ("local", "10.244.1.5:10443"),
            ("upstream_local", "10.244.1.5:40001"),
            ("upstream_peer", "10.244.1.9:8080"),
            ("claims.x-forwarded-for", "203.0.113.7,10.1.0.4"),
            ("claims.x-forwarded-for.coverage", "appended"),
            ("start_ns", 1714557600123000000),
            ("start_latest_ns", 1714557600123999999),
            ("end_ns", 1714557600148000000),
            ("http.target", "/cart?id=7"),
            ("http.status", 200),
            ("ids.requests.x-request-id", "7f3c2a10-5d1e-9c55-9a51-0242ac120002"),
            ("extendable", True),
        ),
    ),
    Sample(  # all as text; the remote address came from X-Forwarded-For, so it has port 0 and is no socket's
        setup=(("pattern", _FULL), ("logs_peer", "realip")),
        line=b'{"start":"1714557600.000250","direct":"10.1.0.4:51111","remote":"203.0.113.7:0","near":"-","far":"-",'
        b'"code":"404","trace":{"id":"4bf92f3577b34da6a3ce929d0e0e4736","parent":"-"},"zone":"eu-HTTP/2","clientip":1}',
        expect=(
            ("peer", "10.1.0.4:51111"),
            ("stated", "203.0.113.7"),
            ("upstream_local", None),
            ("start_ns", 1714557600000250000),
            ("http.status", 404),
            ("ids.trace", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("extendable", False),
        ),
    ),
    Sample(  # the TCP proxy
        line=b'{"downstream_remote_address":"203.0.113.7:51111","method":null,"protocol":null,"response_code":0,'
        b'"start_time":"2024-05-01T10:00:00.123Z","duration":4877,"upstream_local_address":"10.244.1.5:40001",'
        b'"upstream_host":"10.0.0.9:53"}',
        expect=(
            ("kind", "connection"),
            ("peer", "203.0.113.7:51111"),
            ("http", None),
            ("upstream_local", "10.244.1.5:40001"),
            ("upstream_peer", "10.0.0.9:53"),
            ("start_ns", 1714557600123000000),
            ("start_latest_ns", 1714557600123999999),
            ("end_ns", 1714557605000000000),
        ),
    ),
    Sample(line=b'{"level":"info","message":"all clusters initialized"}', skipped="no_request"),
    Sample(line=b'{"start_time":"2024-05-01","method":"GET"}', rejected="time"),
    Sample(line=b'{"method":"GET","method":"PUT"}', rejected="json_repeated_key"),
)

ENVOY_JSON: Final = Format(
    name="envoy_json",
    title="Envoy, Envoy Gateway, Contour, Istio: JSON access log",
    compile=_compile,
    samples=SAMPLES,
    logs_peer=("socket", "proxy", "realip"),
    pattern="optional",
    ids=IDS,
    known_patterns=_KNOWN_PATTERNS,
    connections="UPSTREAM_LOCAL_ADDRESS",
    tries=(REQUESTS, "UPSTREAM_REQUEST_ATTEMPT_COUNT"),
    ask_for=(
        "json_format with %START_TIME(%s.%6f)%, %DURATION%, %DOWNSTREAM_DIRECT_REMOTE_ADDRESS%, "
        "%DOWNSTREAM_REMOTE_ADDRESS%, %DOWNSTREAM_LOCAL_ADDRESS%, %UPSTREAM_LOCAL_ADDRESS%, %UPSTREAM_REMOTE_ADDRESS%, "
        "%UPSTREAM_REQUEST_ATTEMPT_COUNT%, "
        "%REQ(X-FORWARDED-FOR)%, %REQ(FORWARDED)%, %REQ(TRACEPARENT)%, %REQ(X-REQUEST-ID)%, %TRACE_ID%, %CONNECTION_ID%"
    ),
)
