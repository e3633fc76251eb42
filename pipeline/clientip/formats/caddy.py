"""Caddy access logs (`http.log.access`), JSON.

https://caddyserver.com/docs/caddyfile/directives/log

Peer: `remote_ip` and `remote_port` (`remote_addr` before 2.5) are the socket, or with the `proxy_protocol` listener
wrapper the PROXY source (`logs_peer`).  `client_ip` is what Caddy derived behind its `trusted_proxies`: a statement,
kept where it differs.  Peers on UNIX sockets have a path instead of an address: no peer.

Headers: all of them, every line of its own, as received.  One that is not there was not sent.

Time: `ts` is the end, as seconds since the epoch by default, in digits read exactly; the start lies `duration` before.
Milliseconds and nanoseconds are told by their size; `wall` stamps need `timezone`.
Option `duration` = `s` (the default), `ms` or `ns` is Caddy's `duration_format`.

Lines of Caddy's other loggers are skipped; so is the error log, whose requests the access log tells too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from clientip.errors import ConfigError, Fault, FormatError
from clientip.model import Coverage, Endpoint, Format, Http, Ids, Line, Observation, Reader, Sample, Setup, Skipped
from clientip.patterns.minting import refuse_minted
from clientip.syntax.addresses import parse_address, read_endpoint, read_port
from clientip.syntax.headers import FORWARDING, ID_HEADERS, SortedHeaders, sort_headers
from clientip.syntax.jsonlines import extendable, int_of, read_object, text_of
from clientip.syntax.times import (
    MICROSECOND_NS,
    MILLISECOND_NS,
    SECOND_NS,
    epoch_ns,
    local_ns,
    resolution_of,
    rfc3339_ns,
    seconds_ns,
    spread,
)
from clientip.syntax.traceids import span_id, trace_id

_ACCESS: Final = "handled request"
_DURATION_UNITS: Final = MappingProxyType({"s": SECOND_NS, "ms": MILLISECOND_NS, "ns": 1})
_ALWAYS_SHOWN: Final = frozenset({"x-forwarded-for", "forwarded"})

# The digits of `ts` where Caddy writes it: a parsed float has lost what does not fit its 53 bits.
_TS: Final = re.compile(rb'\{"level":"[a-z]{1,9}","ts":([0-9]{1,19}(?:\.[0-9]{1,30})?),')
_WALL: Final = re.compile(r"[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9:]{8}(?:\.[0-9]{1,9})?")

# The float has a quarter of a microsecond between neighbours in this century, and is rounded, not cut.
_FLOAT_ERROR_NS: Final = MICROSECOND_NS


def _compile(setup: Setup) -> Reader:
    if setup.logs_peer not in ("socket", "proxy"):
        text = (
            'write "proxy" if the listener has the proxy_protocol wrapper (remote_ip is then its source), else "socket"'
        )
        raise ConfigError([Fault("", "logs_peer", text)])
    refuse_minted(setup)
    is_socket = setup.logs_peer == "socket"
    unit, headers_of = _duration_unit(setup), _compile_headers(setup)

    def read(line: Line) -> Observation | Skipped:
        fields = read_object(line.text)
        request = fields.get("request")
        if type(request) is not dict or fields.get("msg", _ACCESS) != _ACCESS:
            return Skipped(line, "no_request")
        earliest, latest, end = _end(line.text, fields, setup.timezone)
        duration = _duration(fields, unit)
        far, headers = _remote(request), headers_of(request)
        back = duration or 0
        return Observation(
            setup,
            "request",
            None if duration is None else earliest - back - setup.max_skew_ns,
            latest - back + setup.max_skew_ns,
            end,
            "own",
            peer=far if is_socket else None,
            stated=_client(request, far) if is_socket else far,
            claims=headers.claims,
            upstream_peer=_upstream(fields),
            ids=_ids(fields, headers.ids),
            http=_http(fields, request, duration),
            instance=line.instance,
            extendable=extendable(line.text, fields),
            proofs=headers.proofs,
            notes=headers.notes,
            source_column=None if is_socket else "sure",
        )

    return read


def _duration_unit(setup: Setup) -> int:
    word = dict(setup.options).get("duration", "s")
    if word not in _DURATION_UNITS:
        raise ConfigError([Fault("", "options.duration", 'write "s", "ms" or "ns", as in duration_format')])
    return _DURATION_UNITS[word]


def _end(text: bytes, fields: Mapping[str, Any], zone: str | None) -> tuple[int, int, int]:
    """The instant `ts` names, in ns: earliest, latest, best."""
    value = fields.get("ts")
    if type(value) is str:
        if zone is not None and _WALL.fullmatch(value):
            first, last = local_ns(value, "nginx_error", zone)
        else:
            first = last = rfc3339_ns(value)
        return first, spread(last, resolution_of(value), 0)[1], first
    if type(value) not in (int, float):
        raise FormatError("time")
    shown = _TS.match(text)
    moment = _number_ns(shown[1].decode() if shown else repr(value))
    return moment - _FLOAT_ERROR_NS, moment + _FLOAT_ERROR_NS, moment


def _number_ns(text: str) -> int:
    """Seconds, milliseconds or nanoseconds since the epoch: of today they have 10, 13 and 19 digits."""
    whole, _, fraction = text.partition(".")
    if len(whole) <= 11:
        return epoch_ns(text)
    if len(whole) <= 14 and whole.isdigit():
        return epoch_ns(f"{whole[:-3]}.{whole[-3:]}{fraction}")
    if whole.isdigit():
        return epoch_ns(f"{whole[:-9]}.{whole[-9:]}")
    raise FormatError("time")


def _duration(fields: Mapping[str, Any], unit: int) -> int | None:
    value = fields.get("duration")
    if value is None:
        return None
    if type(value) not in (int, float):
        raise FormatError("number")
    return seconds_ns(repr(value)) * unit // SECOND_NS


def _remote(request: dict[str, Any]) -> Endpoint | None:
    """The socket's far end; None for a UNIX socket and where the log filter took it away."""
    host = text_of(request, "remote_ip")
    if host is None:
        joint = text_of(request, "remote_addr")
        return None if not joint or joint.startswith(("/", "@")) else read_endpoint(joint)
    if not host or host.startswith(("/", "@")):
        return None
    port = text_of(request, "remote_port")
    return Endpoint(parse_address(host.partition("%")[0]), read_port(port) if port else None)


def _client(request: dict[str, Any], far: Endpoint | None) -> Endpoint | None:
    host = text_of(request, "client_ip")
    if not host:
        return None
    address = parse_address(host.partition("%")[0])
    return None if far is not None and far.address == address else Endpoint(address)


def _compile_headers(setup: Setup) -> Callable[[dict[str, Any]], SortedHeaders]:
    """The function from a request to its headers; only those that tell something are looked into."""
    always = tuple(sorted((_ALWAYS_SHOWN | setup.claim_headers) - setup.proof_headers))
    wanted = FORWARDING | ID_HEADERS | setup.claim_headers | setup.proof_headers

    def headers_of(request: dict[str, Any]) -> SortedHeaders:
        shown = request.get("headers")
        if shown is None:
            return SortedHeaders()
        if type(shown) is not dict:
            raise FormatError("no_match")
        pairs: list[tuple[str, tuple[str, ...], Coverage]] = []
        for written, lines in shown.items():
            name = written.lower()
            if name in wanted:
                if type(lines) is not list or any(type(text) is not str for text in lines):
                    raise FormatError("no_match")
                pairs.append((name, tuple(lines), "all"))
        there = {name for name, _, _ in pairs}
        pairs += [(name, (), "all") for name in always if name not in there]
        return sort_headers(setup, pairs)

    return headers_of


def _ids(fields: dict[str, Any], said: Ids | None) -> Ids | None:
    """Caddy's own trace and span, which its `tracing` directive adds to the line."""
    trace = trace_id(text_of(fields, "traceID"))
    if trace is None:
        return said
    span = span_id(text_of(fields, "spanID"))
    parent = said.parent if said is not None and said.trace == trace else None
    return Ids(trace, span, parent, "otlp", 128, None, () if said is None else said.requests)


def _upstream(fields: dict[str, Any]) -> Endpoint | None:
    """What `log_append upstream {http.reverse_proxy.upstream.hostport}` adds; None for a name."""
    text = text_of(fields, "upstream")
    try:
        return read_endpoint(text) if text else None
    except FormatError:
        return None


def _http(fields: dict[str, Any], request: dict[str, Any], duration: int | None) -> Http:
    headers = request.get("headers") or {}
    return Http(
        text_of(request, "method"),
        text_of(request, "uri"),
        text_of(request, "host"),
        text_of(request, "proto"),
        int_of(fields, "status") or None,  # 0: nothing was answered
        _one(headers, "User-Agent"),
        _one(headers, "Referer"),
        int_of(fields, "bytes_read"),
        int_of(fields, "size"),
        duration,
    )


def _one(headers: dict[str, Any], name: str) -> str | None:
    lines = headers.get(name)
    return lines[0] if type(lines) is list and lines and type(lines[0]) is str else None


_LINE: Final = (
    b'{"level":"info","ts":1714557600.1234567,"logger":"http.log.access.log0","msg":"handled request","request":{%b,'
    b'"proto":"HTTP/2.0","method":"GET","host":"shop.example","uri":"/cart?id=7","headers":{%b"User-Agent":["probe/1.0"],'
    b'"Cookie":["REDACTED"],"Authorization":[]}},"bytes_read":0,"user_id":"","duration":0.025,"size":512,"status":%b,'
    b'"resp_headers":{"Server":["Caddy"]}}'
)

SAMPLES: Final = (
    Sample(
        line=_LINE
        % (
            b'"remote_ip":"10.1.0.4","remote_port":"51111","client_ip":"203.0.113.7"',
            b'"X-Forwarded-For":["203.0.113.7","192.0.2.9"],'
            b'"Traceparent":["00-4bf92f3577b34da6a3ce929d0e0e4736-53995c3f42cd8ad8-01"],',
            b"200",
        ),
        expect=(
            ("kind", "request"),
            ("peer", "10.1.0.4:51111"),
            ("stated", "203.0.113.7"),
            ("claims.x-forwarded-for", "203.0.113.7, 192.0.2.9"),
            ("claims.forwarded", ""),
            ("ids.trace", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("ids.parent", "53995c3f42cd8ad8"),
            ("start_ns", 1714557600098455700),
            ("start_latest_ns", 1714557600098457700),
            ("http.status", 200),
            ("http.user_agent", "probe/1.0"),
            ("extendable", True),
        ),
    ),
    Sample(  # nothing was answered; the derived address is the peer's
        line=_LINE % (b'"remote_ip":"2001:db8::7","remote_port":"51111","client_ip":"2001:db8::7"', b"", b"0"),
        expect=(("peer", "[2001:db8::7]:51111"), ("stated", None), ("http.status", None)),
    ),
    Sample(
        line=_LINE % (b'"remote_addr":"203.0.113.7:51111"', b"", b"200"),
        setup=(("logs_peer", "proxy"),),
        expect=(("peer", None), ("stated", "203.0.113.7:51111")),
    ),
    Sample(
        line=b'{"level":"info","ts":1714557600.5,"logger":"http","msg":"servers shutting down"}', skipped="no_request"
    ),
    Sample(
        line=b'{"level":"error","ts":1714557600.5,"logger":"http.log.error","msg":"dial","request":{},"status":502}',
        skipped="no_request",
    ),
    Sample(line=_LINE % (b'"remote_ip":"10.1.0.400","remote_port":"1"', b"", b"200"), rejected="address"),
    Sample(line=b'caddy  | {"level":"info"}', rejected="json"),
)

CADDY: Final = Format(
    name="caddy",
    title="Caddy access log, JSON",
    compile=_compile,
    samples=SAMPLES,
    logs_peer=("socket", "proxy"),
    ids=(("request.headers.NAME", "received"), ("traceID, spanID", "continued")),
    options=(("duration", '"s" (the default), "ms" or "ns": Caddy\'s duration_format'),),
    ask_for="log { format json }; tracing for traceID; log_append upstream {http.reverse_proxy.upstream.hostport}",
)
