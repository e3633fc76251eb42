"""OpenTelemetry: server spans, and access logs that come as log records.

https://opentelemetry.io/docs/specs/otlp/

What is read here is one span or record with its resource, in OTLP/JSON; `split` makes that of any batch, in JSON or
protobuf.  The rules of JSON are kept loosely where writers do: ids in any case (or in base64, by mistake), 64-bit
integers as numbers, `kind` by number or name, unknown fields anywhere.

Peer: `network.peer.address`; `logs_peer` says whether that is the socket (see `otlp_fields`).  With `realip` the port
beside it belongs to another connection, and is dropped.

Traces: only SERVER spans are requests; spans of other kinds are skipped.  A skipped CLIENT or INTERNAL span with ids,
parent and both times is a link: a synchronous call on the way from the span a callee names to the one that served the
request.  PRODUCER and CONSUMER spans are none, since a queue does not answer for who filled it, and a span of no kind
says nothing.  A start of zero is none.

Logs: what Traefik exports (v3.3 on) has its fields as attributes, and is read like its JSON log.  Other records are
read by the semantic conventions, their time taken as the end; the body is not parsed.  Records that name neither peer
nor header nor request are skipped.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from clientip.errors import ConfigError, Fault, FormatError
from clientip.formats.otlp.fields import (
    attributes_of,
    headers_of,
    http_of,
    instance_of,
    local_of,
    merges_names,
    peer_of,
    transport_of,
)
from clientip.formats.otlp.samples import LOG_SAMPLES, TRACE_SAMPLES
from clientip.formats.traefik.access import FieldsReader, compile_fields
from clientip.model import Endpoint, Format, Ids, Line, Link, Observation, Reader, Setup, Skipped
from clientip.patterns.minting import refuse_minted
from clientip.syntax.jsonlines import extendable, read_object
from clientip.syntax.otlp import LOGS, TRACES, Signal, groups_of, split
from clientip.syntax.times import MICROSECOND_NS, MILLISECOND_NS, spread
from clientip.syntax.traceids import span_id, trace_id

_SERVER: Final = (2, "SPAN_KIND_SERVER", "2")
_SYNCHRONOUS: Final = (1, "SPAN_KIND_INTERNAL", "1", 3, "SPAN_KIND_CLIENT", "3")
_TICK_NS: Final = 100  # .NET and Windows count in these
_OPTIONS: Final = ("underscores", "dashes")

Record = dict[str, Any]


def _checked(setup: Setup, *, own_traces: bool) -> None:
    if setup.logs_peer is None:
        text = (
            'network.peer.address may have been replaced: write "socket" if it is taken from the socket, "proxy" '
            'behind a PROXY listener, "realip" if middleware before it puts the forwarded address there'
        )
        raise ConfigError([Fault("", "logs_peer", text)])
    refuse_minted(setup, own_traces=own_traces)
    if dict(setup.options).get("headers", "dashes") not in _OPTIONS:
        raise ConfigError(
            [Fault("", "options.headers", 'write "underscores" for conventions before 1.21, or "dashes"')]
        )


def _compile_traces(setup: Setup) -> Reader:
    _checked(setup, own_traces=True)

    def read(line: Line) -> Observation | Skipped:
        batch = read_object(line.text)
        resource, scope, span = _single(TRACES, batch)
        if span.get("kind") not in _SERVER:
            return Skipped(line, "inner_span", setup, _link(span))
        attributes = attributes_of(span.get("attributes"))
        start, end = _nanos(span, "startTimeUnixNano"), _nanos(span, "endTimeUnixNano")
        duration = end - start if start is not None and end is not None and end >= start else None
        earliest, latest = (None, None) if start is None else spread(start, _resolution(start), setup.max_skew_ns)
        if start is None and end is not None:
            latest = end + setup.max_skew_ns
        headers = headers_of(setup, attributes, merged=merges_names(setup, resource, scope))
        peer, stated = _far(setup, attributes)
        return Observation(
            setup,
            "span",
            earliest,
            latest,
            end,
            "own" if start is not None or end is not None else None,
            peer=peer,
            stated=stated,
            local=local_of(attributes),
            claims=headers.claims,
            ids=_ids(setup, attributes, span, headers.ids),
            http=http_of(attributes, duration),
            instance=instance_of(resource) or line.instance,
            extendable=extendable(line.text, batch),
            proofs=headers.proofs,
            notes=headers.notes,
            transport=transport_of(attributes),
            source_column=None if setup.logs_peer == "socket" else "late",
        )

    return read


def _link(span: Record) -> Link | None:
    """The link a skipped span is; None for one that lacks something or is no synchronous call."""
    if span.get("kind") not in _SYNCHRONOUS:
        return None
    trace = trace_id(_text(span, "traceId"))
    own, parent = span_id(_text(span, "spanId")), span_id(_text(span, "parentSpanId"))
    try:
        start, end = _nanos(span, "startTimeUnixNano"), _nanos(span, "endTimeUnixNano")
    except FormatError:
        return None  # the line is skipped whatever its times are
    if trace is None or own is None or parent is None or start is None or end is None or end < start:
        return None
    return Link(trace, own, parent, start, end)


def _compile_logs(setup: Setup) -> Reader:
    _checked(setup, own_traces=False)
    traefik = compile_fields(setup) if setup.logs_peer != "realip" else None

    def read(line: Line) -> Observation | Skipped:
        batch = read_object(line.text)
        resource, scope, record = _single(LOGS, batch)
        attributes = attributes_of(record.get("attributes"))
        instance = instance_of(resource) or line.instance
        if traefik is not None and "ClientAddr" in attributes:
            seen = _from_traefik(traefik, line, attributes, record)
        else:
            seen = _from_record(setup, line, attributes, record, merged=merges_names(setup, resource, scope))
        if isinstance(seen, Skipped):
            return seen
        return replace(seen, instance=instance, extendable=extendable(line.text, batch))

    return read


def _single(signal: Signal, batch: Record) -> tuple[dict[str, Any], str | None, Record]:
    """Of a batch of one: the resource's attributes, the scope's name, the record.  FormatError: `no_match`."""
    found = [(resource, scope, record) for resource, scope, records in groups_of(signal, batch) for record in records]
    if len(found) != 1:
        raise FormatError("no_match")
    resource, scope, record = found[0]
    described, named = resource.get("resource"), scope.get("scope")
    attributes = attributes_of(described.get("attributes") if type(described) is dict else None)
    return attributes, _text(named, "name") if type(named) is dict else None, record


def _nanos(record: Record, key: str) -> int | None:
    """Nanoseconds since the epoch, as text or as a number; 0 is none.  A float has lost digits, and is refused."""
    value = record.get(key)
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) <= 19:
        value = int(value)
    if value in (None, 0, ""):
        return None
    if type(value) is not int or not 0 < value < 1 << 63:
        raise FormatError("time")
    return value


def _resolution(stamp: int) -> int:
    """How fine the writer's clock was, by the zeros at the end; too coarse an answer only widens the interval."""
    return next((step for step in (MILLISECOND_NS, MICROSECOND_NS, _TICK_NS) if stamp % step == 0), 1)


def _far(setup: Setup, attributes: dict[str, Any]) -> tuple[Endpoint | None, Endpoint | None]:
    """(peer, stated) by `logs_peer`."""
    far = peer_of(attributes)
    if far is None or setup.logs_peer == "socket":
        return far, None
    return None, Endpoint(far.address) if setup.logs_peer == "realip" else far


def _text(record: Record, key: str) -> str | None:
    value = record.get(key)
    return value if type(value) is str else None


def _ids(setup: Setup, attributes: dict[str, Any], record: Record, said: Ids | None) -> Ids | None:
    """The writer's own ids; without them, those of a configured field or of the headers."""
    raw = _text(record, "traceId")
    fields = [_text(attributes, name) for name in setup.trace_fields]
    own = trace_id(raw)
    trace = own or next((found for text in fields if (found := trace_id(text))), None)
    if trace is None:
        return said
    span, parent = span_id(_text(record, "spanId")), span_id(_text(record, "parentSpanId"))
    if parent is None and said is not None and said.trace == trace:
        parent = said.parent
    requests = () if said is None else said.requests
    header = None if own else ""
    return Ids(trace, span, parent, "otlp", 128, raw if raw and raw != trace else None, requests, header)


def _from_traefik(read: FieldsReader, line: Line, attributes: dict[str, Any], record: Record) -> Observation | Skipped:
    """Traefik's fields; the record's ids are its own, too, where no field has them."""
    fields = {key: value for key, value in attributes.items() if value is not None and type(value) is not list}
    if "TraceId" not in fields and (trace := _text(record, "traceId")):
        fields["TraceId"] = trace
        fields["SpanId"] = _text(record, "spanId")
    return read(line, fields, False)


def _from_record(
    setup: Setup, line: Line, attributes: dict[str, Any], record: Record, *, merged: bool
) -> Observation | Skipped:
    end = _nanos(record, "timeUnixNano") or _nanos(record, "observedTimeUnixNano")
    peer, stated = _far(setup, attributes)
    headers, http = headers_of(setup, attributes, merged=merged), http_of(attributes, None)
    if peer is None and stated is None and http is None and not headers.claims:
        return Skipped(line, "no_request")
    return Observation(
        setup,
        "request",
        None,
        None if end is None else spread(end, _resolution(end), setup.max_skew_ns)[1],
        end,
        None if end is None else "own",
        peer=peer,
        stated=stated,
        local=local_of(attributes),
        claims=headers.claims,
        ids=_ids(setup, attributes, record, headers.ids),
        http=http,
        proofs=headers.proofs,
        notes=headers.notes,
        transport=transport_of(attributes),
    )


_ASK: Final = (
    "capture the request headers x-forwarded-for and forwarded (in SDKs by "
    "OTEL_INSTRUMENTATION_HTTP_SERVER_CAPTURE_REQUEST_HEADERS, in Traefik by "
    "tracing.capturedRequestHeaders); check that network.peer.address and .port are set"
)
_IDS: Final[tuple[tuple[str, str], ...]] = (("traceId, spanId", "own"), ("http.request.header.NAME", "received"))
_LOG_IDS: Final[tuple[tuple[str, str], ...]] = (("traceId, spanId", "continued"), _IDS[1])
_OPTION: Final = (("headers", '"underscores" for conventions before 1.21, which wrote dashes so; "dashes" otherwise'),)
OTLP_TRACES: Final = Format(
    name="otlp_traces",
    title="OpenTelemetry server spans, OTLP in JSON lines or in messages of JSON or protobuf",
    compile=_compile_traces,
    samples=TRACE_SAMPLES,
    logs_peer=("socket", "proxy", "realip"),
    ids=_IDS,
    options=_OPTION,
    drops_underscores=False,
    split=partial(split, TRACES),
    ask_for=_ASK,
)

OTLP_LOGS: Final = Format(
    name="otlp_logs",
    title="OpenTelemetry log records of requests, OTLP in JSON lines or in messages of JSON or protobuf",
    compile=_compile_logs,
    samples=LOG_SAMPLES,
    logs_peer=("socket", "proxy", "realip"),
    ids=_LOG_IDS,
    options=_OPTION,
    drops_underscores=False,
    split=partial(split, LOGS),
    ask_for=_ASK,
)

OTLP_TRACES_PROTO: Final = replace(
    OTLP_TRACES,
    name="otlp_traces_proto",
    title="OpenTelemetry server spans, file of protobuf messages behind their lengths (collector, format: proto)",
    framing="length32",
)

OTLP_LOGS_PROTO: Final = replace(
    OTLP_LOGS,
    name="otlp_logs_proto",
    title="OpenTelemetry log records, file of protobuf messages behind their lengths (collector, format: proto)",
    framing="length32",
)
