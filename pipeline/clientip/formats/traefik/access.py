"""Traefik access logs in JSON, v1 to v3.

https://doc.traefik.io/traefik/observe/logs-and-access-logs/

Peer: `ClientAddr` is Go's RemoteAddr: the socket, or with `proxyProtocol` on the entry point the PROXY source
(`logs_peer`).  `ClientHost` never is: it is the X-Forwarded-For header, first line, wherever one survived, and the
peer's host otherwise.  Where it differs from the host of ClientAddr it is the header for certain, and stands in for
`request_X-Forwarded-For` if that is not logged.

Headers: `request_<Name>` as received, all lines (joined with a comma); `accesslog.fields.headers` must keep them.  From
peers outside `forwardedHeaders.trustedIPs` the X-Forwarded ones were deleted before.  `X-Real-Ip` is written by Traefik
itself if it is absent: one that only repeats the peer counts as absent.

Time: `StartUTC` is the start.  `time` is the writing, to the second, and only used where the start was dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from msgspec import Struct

from clientip.errors import ConfigError, Fault, FormatError
from clientip.formats.traefik.samples import JSON_SAMPLES
from clientip.model import Claim, Endpoint, Format, Http, Ids, Line, Observation, Reader, Setup, Skipped
from clientip.patterns.minting import refuse_minted
from clientip.syntax.addresses import parse_address, read_endpoint, read_port
from clientip.syntax.headers import FORWARDING, ID_HEADERS, goes_on, sort_headers
from clientip.syntax.jsonlines import extendable, int_of, read_object, text_of
from clientip.syntax.remembering import remembering
from clientip.syntax.times import SECOND_NS, rfc3339_ns, spread
from clientip.syntax.traceids import plain_w3c, span_id, trace_id

FieldsReader = Callable[[Line, dict[str, Any], bool], "Observation | Skipped"]

_PREFIX: Final = "request_"
_ACCESS_KEYS: Final = ("RequestMethod", "ClientAddr", "ClientHost", "DownstreamStatus", "RequestAddr", "StartUTC")
_TRACE_KEYS: Final = ("TraceId", "trace_id")
_SPAN_KEYS: Final = ("SpanId", "span_id")
_USUAL_KEYS: Final = (
    "RequestMethod",
    "RequestPath",
    "RequestProtocol",
    "RequestHost",
    "DownstreamStatus",
    "RequestContentSize",
    "DownstreamContentSize",
)
_usual: Final = itemgetter(*_USUAL_KEYS)
_NOTHING: Final = (None,) * len(_USUAL_KEYS)
_TEXT: Final = frozenset((str, type(None)))

# Traefik's own log in the same stream: logrus text, and the console of v3.
OWN_LOG: Final = re.compile(rb'time="|\d{4}-\d\d-\d\dT[0-9:.+Z-]{8,20} (?:TRC|DBG|INF|WRN|ERR|FTL|PNC) ')


class _Plan(Struct, frozen=True, gc=False):
    """What lines with the same keys have in common."""

    claims: tuple[tuple[str, str], ...]  # (key, header) of plain forwarding headers
    others: tuple[tuple[str, str], ...]  # (key, header) of the rest: proofs, ids, Forwarded
    parent: str | None  # key of a traceparent that stands alone: the usual case, read without ado
    trace: str | None  # key of the trace id
    span: str | None
    derive: bool  # whether ClientHost must stand in for X-Forwarded-For
    real_ip: str | None  # key of X-Real-Ip
    extendable: bool  # whether no key is `clientip`
    access: bool  # whether this is an access log line at all
    usual: bool  # whether it has every key of _USUAL_KEYS


def _compile_json(setup: Setup) -> Reader:
    observe = compile_fields(setup)

    def read(line: Line) -> Observation | Skipped:
        text = line.text
        try:
            fields = read_object(text)
        except FormatError:
            if OWN_LOG.match(text):
                return Skipped(line, "no_request")
            raise
        return observe(line, fields, True)

    return read


def compile_fields(setup: Setup) -> FieldsReader:
    """The function from Traefik's fields, wherever they came from, to the observation.

    Its last argument says whether the fields are those of the line's own JSON object.
    """
    if setup.logs_peer not in ("socket", "proxy"):
        text = 'write "proxy" if the entry point has proxyProtocol (ClientAddr is then the PROXY source), else "socket"'
        raise ConfigError([Fault("", "logs_peer", text)])
    refuse_minted(setup)
    return _Fields(setup).observe


class _Fields:
    """The fields of one system's lines."""

    __slots__ = ("_is_socket", "_plan_of", "_setup", "_skew")

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._is_socket, self._skew = setup.logs_peer == "socket", setup.max_skew_ns
        self._plan_of = remembering(lambda keys: _plan(setup, keys))

    # Hot: the stage `parse` of `python -m benchmarks`. Called once per line of the most common log: flat, and with the
    # rare cases in functions of their own.
    def observe(self, line: Line, fields: dict[str, Any], own: bool) -> Observation | Skipped:
        plan = self._plan_of(tuple(fields))
        if not plan.access:
            return Skipped(line, "no_request")
        get, is_socket = fields.get, self._is_socket
        duration = get("Duration")
        if duration.__class__ is not int:
            duration = int_of(fields, "Duration")
        start_text = get("StartUTC")
        if start_text.__class__ is str:
            start, skew = rfc3339_ns(start_text), self._skew
            earliest: int | None = start - skew
            latest: int | None = start + skew
            end = None if duration is None else start + duration
            time_by: str | None = "own"
        else:
            earliest, latest, end, time_by = _other_time(line, fields, duration, self._skew)
        logged = get("ClientAddr")
        if logged.__class__ is not str:
            logged = text_of(fields, "ClientAddr") or "-"
        host, _, port = logged.rpartition(":")
        if host and host[0] != "[":
            far: Endpoint | None = Endpoint(parse_address(host), _port(port))
        else:
            far = None if logged in ("", "-", "@") else read_endpoint(logged)  # @: an unnamed UNIX socket
            host = host or logged
        claims: tuple[Claim, ...] = ()
        for key, header in plan.claims:
            value = fields[key]
            claims += (Claim(header, (value if value.__class__ is str else _text(value),), "all"),)
        if plan.real_ip is not None:
            value = _text(fields[plan.real_ip])
            claims += (Claim("x-real-ip", () if value == host or _repeats(value, host) else (value,), "all"),)
        if plan.derive and (said := _text(fields["ClientHost"])) != host:
            claims += _client_host_claim(said, host)
        proofs: tuple[tuple[str, str], ...] = ()
        notes: tuple[str, ...] = ()
        ids: Ids | None = None
        if plan.parent is not None:
            ids = plain_w3c(_text(fields[plan.parent]))
        if plan.others and ids is None:
            found = sort_headers(self._setup, [(name, (_text(fields[key]),), "all") for key, name in plan.others])
            claims, proofs, ids, notes = claims + found.claims, found.proofs, found.ids, found.notes
        ids = ids if plan.trace is None else _own_ids(fields, plan, ids)
        service, serial = get("ServiceAddr") or get("BackendAddr"), get("RequestCount")
        return Observation(
            self._setup,
            "request",
            earliest,
            latest,
            end,
            time_by,
            far if is_socket else None,
            None if is_socket else far,
            None,
            None,
            None,
            claims,
            None,
            service_endpoint(service) if service.__class__ is str else None,
            ids,
            _http(fields, plan.usual, duration),
            line.instance,
            None,
            serial if serial.__class__ is int else None,
            own and plan.extendable and (line.text.isascii() or extendable(line.text, fields)),
            proofs,
            notes,
            source_column=None if is_socket else "sure",
        )


def _http(fields: dict[str, Any], usual: bool, duration: int | None) -> Http:
    """What the line says of the request; `usual`: it has all keys of `_usual`."""
    method, target, protocol, name, status, received, sent = _usual(fields) if usual else _NOTHING
    agent, referer = fields.get("request_User-Agent"), fields.get("request_Referer")
    if not (
        method.__class__ is target.__class__ is name.__class__ is protocol.__class__ is str
        and agent.__class__ in _TEXT
        and referer.__class__ in _TEXT
    ):
        method, target, name, protocol, agent, referer = _http_texts(fields)
    if not status.__class__ is received.__class__ is sent.__class__ is int:
        status, received, sent = _http_numbers(fields)
    return Http(method, target, name, protocol, status, agent, referer, received, sent, duration)


def _plan(setup: Setup, keys: tuple[str, ...]) -> _Plan:
    """Sort the keys of a line.

    Only the header's own characters decide: `X_Forwarded_For`, which clients can send past Traefik's deletion, is not
    `X-Forwarded-For`.  Raises FormatError("two_readings") for a header under two keys; Traefik writes one spelling.
    """
    names = [(key, key.removeprefix(_PREFIX).lower()) for key in keys if key.startswith(_PREFIX)]
    if len({name for _, name in names}) != len(names):
        raise FormatError("two_readings")
    plain = (FORWARDING | setup.claim_headers) - setup.proof_headers - {"forwarded", "x-real-ip"}
    special = ID_HEADERS | setup.proof_headers | {"forwarded"}
    special = frozenset(name for name in special if goes_on(setup, name))
    others = tuple((key, name) for key, name in names if name in special and name not in plain)
    return _Plan(
        claims=tuple((key, name) for key, name in names if name in plain),
        others=others,
        parent=others[0][0] if [name for _, name in others] == ["traceparent"] else None,
        trace=next((key for key in (*_TRACE_KEYS, *setup.trace_fields) if key in keys), None),
        span=next((key for key in _SPAN_KEYS if key in keys), None),
        derive="ClientHost" in keys and "ClientAddr" in keys and (_PREFIX + "X-Forwarded-For") not in keys,
        real_ip=next((key for key, name in names if name == "x-real-ip" and name not in setup.proof_headers), None),
        extendable="clientip" not in keys,
        access=any(key in keys for key in _ACCESS_KEYS),
        usual=set(keys).issuperset(_USUAL_KEYS),
    )


def _text(value: object) -> str:
    if type(value) is not str:
        raise FormatError("no_match")
    return value


_LONGEST_SERVICE: Final = 256  # characters; what is longer is no address with a port
_port: Final = lru_cache(65536)(read_port)


def _repeats(said: str, host: str) -> bool:
    """Whether `said` is the host of the logged address, which has brackets and perhaps a zone if it is IPv6."""
    return host.startswith("[") and said.partition("%")[0] == host[1:-1].partition("%")[0]


def _client_host_claim(said: str, host: str) -> tuple[Claim, ...]:
    """X-Forwarded-For out of ClientHost, where it cannot be the peer."""
    if said in ("", "-") or _repeats(said, host):
        return ()
    return (Claim("x-forwarded-for", (said,), "first"),)


def _other_time(
    line: Line, fields: dict[str, Any], duration: int | None, skew: int
) -> tuple[int | None, int | None, int | None, str | None]:
    """(earliest, latest, end, time_by) of a line without StartUTC as text."""
    start = fields.get("StartUTC", fields.get("StartLocal"))
    if start is not None:
        moment = start if type(start) is int else rfc3339_ns(_text(start))  # OTLP attributes are integers
        return moment - skew, moment + skew, None if duration is None else moment + duration, "own"
    end, time_by, resolution = line.stamp_ns, "wrapper", 1
    if "time" in fields:
        end, time_by, resolution = rfc3339_ns(_text(fields["time"])), "own", SECOND_NS
    if end is None:
        return None, None, None, None
    earliest, latest = spread(end - (duration or 0), resolution, skew)
    return None if duration is None else earliest, latest, end, time_by


def _own_ids(fields: dict[str, Any], plan: _Plan, said: Ids | None) -> Ids | None:
    """Traefik's own trace and span, with the caller's span where the headers name the same trace."""
    trace = trace_id(text_of(fields, plan.trace or ""))
    if trace is None:
        return said
    span = span_id(text_of(fields, plan.span)) if plan.span is not None else None
    if said is None:
        return Ids(trace, span, None, "otlp", 128)
    parent, bits = (said.parent, said.bits) if said.trace == trace else (None, 128)
    return Ids(trace, span, parent, "otlp", bits, None, said.requests)


def service_endpoint(text: str) -> Endpoint | None:
    """Where the request went, from the service's URL; None for a name."""
    return _short_service(text) if len(text) <= _LONGEST_SERVICE else None


@lru_cache(4096)
def _short_service(text: str) -> Endpoint | None:
    try:
        return read_endpoint(text)
    except FormatError:
        return None


def _http_texts(fields: dict[str, Any]) -> list[str | None]:
    """The texts of the request where one is missing or written otherwise."""
    return [text_of(fields, key) for key in _HTTP_TEXTS]


def _http_numbers(fields: dict[str, Any]) -> list[int | None]:
    return [int_of(fields, key) for key in _HTTP_NUMBERS]


_HTTP_TEXTS: Final = (
    "RequestMethod",
    "RequestPath",
    "RequestHost",
    "RequestProtocol",
    "request_User-Agent",
    "request_Referer",
)
_HTTP_NUMBERS: Final = ("DownstreamStatus", "RequestContentSize", "DownstreamContentSize")


TRAEFIK_JSON: Final = Format(
    name="traefik_json",
    title="Traefik access log, JSON",
    compile=_compile_json,
    samples=JSON_SAMPLES,
    logs_peer=("socket", "proxy"),
    ids=(("request_NAME", "received"), ("TraceId, SpanId", "continued")),
    ask_for=(
        "accesslog.format=json; accesslog.fields.headers.names.X-Forwarded-For=keep, likewise Forwarded, X-Real-Ip, "
        "X-Request-Id, Traceparent and the header of your CDN; tracing on for TraceId"
    ),
)
