"""OTLP batches cut into messages of one span or one log record each, as OTLP/JSON.

https://opentelemetry.io/docs/specs/otlp/#otlphttp and opentelemetry-proto

A batch is JSON if it begins with `{`, else protobuf: 0x7B, `{`, would open a group, which OTLP has not.  What comes out
is OTLP/JSON with its resource and scope, unknown fields included; of a batch of one in JSON, the very bytes that went
in.  Ids made from protobuf are lower-case hex, 64-bit integers strings, as the standard says.

Every message carries its own copy of resource and scope, so what comes out is bounded (`too_long`).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple

import orjson

from clientip.errors import FormatError
from clientip.syntax.jsonlines import read_object

MAX_RECORDS: Final = 20_000  # spans or log records of one batch; collectors send 8,192 by default
MAX_OUTPUT: Final = 64 << 20  # bytes of all messages of one batch
MAX_DEPTH: Final = 16  # attribute values inside one another


class Signal(NamedTuple):
    """The names under which one kind of telemetry is nested, the present one first."""

    resources: str
    scopes: tuple[str, ...]
    records: tuple[str, ...]
    message: Callable[[], Any]
    convert: Callable[[Any], dict[str, Any]]


def split(signal: Signal, raw: bytes) -> tuple[bytes, ...]:
    """One message for each span or record, in their order.

    Raises FormatError: `protobuf`, `no_match` for JSON that is another signal, `too_long`, and what `read_object`
    raises.
    """
    if raw.lstrip(b" \t")[:1] == b"{":
        batch = read_object(raw)
        groups = groups_of(signal, batch)
        is_one = len(batch[signal.resources] or ()) == len(groups) == 1 and len(groups[0][2]) == 1
        return (raw,) if is_one else tuple(_cut(groups, signal))
    return tuple(_cut(_groups(signal, _decoded(signal, raw)), signal))


def groups_of(signal: Signal, batch: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any], list[Any]]]:
    """(resource entry, scope entry, records) of a batch in JSON; FormatError("no_match") for what is none."""
    return list(_groups(signal, batch))


def bodies(raw: bytes) -> Iterator[str]:
    """The body of every log record of a protobuf batch, in order.

    Raises FormatError: `protobuf`, `no_match` at the first body that is no string.
    """
    for resource in _parsed(LOGS, raw):
        for scope in resource.scope_logs:
            for record in scope.log_records:
                if record.body.WhichOneof("value") != "string_value":
                    raise FormatError("no_match")
                yield record.body.string_value


def _groups(signal: Signal, batch: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any], list[Any]]]:
    if signal.resources not in batch:
        raise FormatError("no_match", 0)
    for resource in _objects(batch[signal.resources]):
        for scope in _objects(_first(resource, signal.scopes)):
            records = _first(scope, signal.records)
            yield resource, scope, list(_objects(records))


def _first(fields: dict[str, Any], names: Sequence[str]) -> Any:
    return next((fields[name] for name in names if name in fields), None)


def _objects(value: Any) -> Iterable[dict[str, Any]]:
    """The objects of a list; null is an empty list, as protobuf's JSON has it."""
    if value is None:
        return ()
    if type(value) is not list or any(type(item) is not dict for item in value):
        raise FormatError("no_match")
    return value


def _cut(groups: Iterable[tuple[dict[str, Any], dict[str, Any], list[Any]]], signal: Signal) -> Iterator[bytes]:
    count = size = 0
    for resource, scope, records in groups:
        outer = _without(resource, signal.scopes)
        inner = _without(scope, signal.records)
        head = b'{"%b":[{%b"%b":[{%b"%b":[' % (
            signal.resources.encode(),
            outer,
            signal.scopes[0].encode(),
            inner,
            signal.records[0].encode(),
        )
        for record in records:
            message = head + _dumps(record) + b"]}]}]}"
            count, size = count + 1, size + len(message)
            if count > MAX_RECORDS or size > MAX_OUTPUT:
                raise FormatError("too_long")
            yield message


def _without(fields: dict[str, Any], names: Sequence[str]) -> bytes:
    """The members of an object but for `names`, each with a comma behind it."""
    rest = {name: value for name, value in fields.items() if name not in names}
    return _dumps(rest)[1:-1] + b"," if rest else b""


def _dumps(value: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer past 64 bits: no field of OTLP holds one
        raise FormatError("number") from None


def _decoded(signal: Signal, raw: bytes) -> dict[str, Any]:
    """A protobuf batch as OTLP/JSON."""
    return {signal.resources: [_resource(signal, entry) for entry in _parsed(signal, raw)]}


def _parsed(signal: Signal, raw: bytes) -> Sequence[Any]:
    """The resources of a protobuf batch."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped] # noqa: PLC0415 - as below

    message = signal.message()
    try:
        message.ParseFromString(raw)
    except DecodeError:
        raise FormatError("protobuf") from None
    resources: Sequence[Any] = getattr(message, "resource_spans" if signal is TRACES else "resource_logs")
    if raw and not resources:
        raise FormatError("protobuf")
    return resources


def _resource(signal: Signal, entry: Any) -> dict[str, Any]:
    scopes = entry.scope_spans if signal is TRACES else entry.scope_logs
    made: dict[str, Any] = {"resource": {"attributes": _attributes(entry.resource.attributes)}}
    if entry.schema_url:
        made["schemaUrl"] = entry.schema_url
    made[signal.scopes[0]] = [_scope(signal, scope) for scope in scopes]
    return made


def _scope(signal: Signal, entry: Any) -> dict[str, Any]:
    scope: dict[str, Any] = {"name": entry.scope.name}
    if entry.scope.version:
        scope["version"] = entry.scope.version
    if entry.scope.attributes:
        scope["attributes"] = _attributes(entry.scope.attributes)
    made: dict[str, Any] = {"scope": scope}
    if entry.schema_url:
        made["schemaUrl"] = entry.schema_url
    records = entry.spans if signal is TRACES else entry.log_records
    made[signal.records[0]] = [signal.convert(record) for record in records]
    return made


def _span(span: Any) -> dict[str, Any]:
    made = {
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "parentSpanId": span.parent_span_id.hex(),
        "traceState": span.trace_state,
        "flags": span.flags,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_time_unix_nano),
        "endTimeUnixNano": str(span.end_time_unix_nano),
        "attributes": _attributes(span.attributes),
        "droppedAttributesCount": span.dropped_attributes_count,
        "events": [_event(event) for event in span.events],
        "droppedEventsCount": span.dropped_events_count,
        "links": [_link(link) for link in span.links],
        "droppedLinksCount": span.dropped_links_count,
        "status": _said({"message": span.status.message, "code": span.status.code}),
    }
    return _said(made)


def _event(event: Any) -> dict[str, Any]:
    attributes = _attributes(event.attributes)
    return _said({"timeUnixNano": str(event.time_unix_nano), "name": event.name, "attributes": attributes})


def _link(link: Any) -> dict[str, Any]:
    ids = {"traceId": link.trace_id.hex(), "spanId": link.span_id.hex(), "traceState": link.trace_state}
    return _said({**ids, "flags": link.flags, "attributes": _attributes(link.attributes)})


def _log(record: Any) -> dict[str, Any]:
    made = {
        "timeUnixNano": str(record.time_unix_nano),
        "observedTimeUnixNano": str(record.observed_time_unix_nano),
        "severityNumber": record.severity_number,
        "severityText": record.severity_text,
        "body": _any_value(record.body, MAX_DEPTH),
        "attributes": _attributes(record.attributes),
        "droppedAttributesCount": record.dropped_attributes_count,
        "flags": record.flags,
        "traceId": record.trace_id.hex(),
        "spanId": record.span_id.hex(),
        "eventName": record.event_name,
    }
    return _said(made)


def _said(fields: dict[str, Any]) -> dict[str, Any]:
    """Without the defaults, which protobuf does not tell from absence."""
    return {name: value for name, value in fields.items() if value not in (0, "", "0", [], {})}


def _attributes(attributes: Any) -> list[dict[str, Any]]:
    return [{"key": one.key, "value": _any_value(one.value, MAX_DEPTH)} for one in attributes]


def _any_value(value: Any, depth: int) -> dict[str, Any]:
    if depth == 0:
        raise FormatError("json_too_deep")
    kind = value.WhichOneof("value")
    if kind == "int_value":
        return {"intValue": str(value.int_value)}
    if kind == "bytes_value":
        return {"bytesValue": b64encode(value.bytes_value).decode()}
    if kind == "double_value":
        number = value.double_value
        return {"doubleValue": number if isfinite(number) else str(number)}
    if kind == "array_value":
        return {"arrayValue": {"values": [_any_value(item, depth - 1) for item in value.array_value.values]}}
    if kind == "kvlist_value":
        pairs = value.kvlist_value.values
        return {
            "kvlistValue": {"values": [{"key": one.key, "value": _any_value(one.value, depth - 1)} for one in pairs]}
        }
    if kind == "bool_value":
        return {"boolValue": value.bool_value}
    return {"stringValue": value.string_value} if kind == "string_value" else {}


def _traces_data() -> Any:
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData  # noqa: PLC0415 - only protobuf batches need it

    return TracesData()


def _logs_data() -> Any:
    from opentelemetry.proto.logs.v1.logs_pb2 import LogsData  # noqa: PLC0415 - as above

    return LogsData()


TRACES: Final = Signal("resourceSpans", ("scopeSpans", "instrumentationLibrarySpans"), ("spans",), _traces_data, _span)
LOGS: Final = Signal(
    "resourceLogs", ("scopeLogs", "instrumentationLibraryLogs"), ("logRecords", "logs"), _logs_data, _log
)
