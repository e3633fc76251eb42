"""A record as one flat row, for tables (Arrow, Parquet): the columns, their kinds and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from clientip.model import Endpoint, Http, Ids, Record
from clientip.outputs.rows import CandidateRow

Kind = Literal["text", "texts", "json", "bytes", "flag", "integer", "port", "time"]
"""`json` is text; `time` is ns since the Unix epoch, UTC, and null also outside of the years 1678 to 2261."""


class Column(Struct, frozen=True):
    """One column; `take` gives its value of a record under the digest of the rules, or None."""

    name: str
    kind: Kind
    meaning: str
    take: Callable[[Record, str], Any]


def _json(value: object) -> str | None:
    return msgspec.json.encode(value).decode() if value else None


def _ip(end: Endpoint | None) -> str | None:
    return None if end is None else end.address.text


def _port(end: Endpoint | None) -> int | None:
    return None if end is None else end.port


def _int64(value: int | None) -> int | None:
    return value if value is not None and -(2**63) <= value < 2**63 else None


def _candidates(record: Record) -> str | None:
    found = record.resolution.candidates
    return _json([CandidateRow(each.address, each.port, each.method, each.record) for each in found])


def _requests(record: Record) -> str | None:
    found = (record.observation.ids or _NO_IDS).requests
    return _json([{"scheme": scheme, "value": value} for scheme, value in found])


def _of_ids(name: str) -> Callable[[Record, str], Any]:
    return lambda record, _: getattr(record.observation.ids or _NO_IDS, name)


def _of_http(name: str) -> Callable[[Record, str], Any]:
    return lambda record, _: getattr(record.observation.http or _NO_HTTP, name)


def _count(name: str) -> Callable[[Record, str], Any]:
    return lambda record, _: _int64(getattr(record.observation.http or _NO_HTTP, name))


def _geo(key: str) -> Callable[[Record, str], Any]:
    return lambda record, _: next((value for name, value in record.geo if name == key), None)


_NO_IDS: Final = Ids()
_NO_HTTP: Final = Http()

COLUMNS: Final = (
    Column("record_id", "text", "32 hex: system, place and bytes of the line", lambda of, _: of.record_id),
    Column("system", "text", "the system that wrote the line", lambda of, _: of.observation.setup.system),
    Column("instance", "text", "which process of the system wrote it", lambda of, _: of.observation.instance),
    Column("kind", "text", "`request` or `span`", lambda of, _: of.observation.kind),
    Column("time", "time", "when the request began, at the earliest", lambda of, _: _int64(of.observation.start_ns)),
    Column("time_latest", "time", "and at the latest", lambda of, _: _int64(of.observation.start_latest_ns)),
    Column("end", "time", "when it ended", lambda of, _: _int64(of.observation.end_ns)),
    Column("verdict", "text", "how the client is known", lambda of, _: of.resolution.verdict),
    Column("reason", "text", "why it is not; of `unknown` only", lambda of, _: of.resolution.reason),
    Column("client_address", "text", "of `seen`, `vouched`, `joined` only", lambda of, _: _ip(of.resolution.named)),
    Column("client_port", "port", "its port; null if it is not known", lambda of, _: _port(of.resolution.named)),
    Column("method", "text", "what gave the client", lambda of, _: of.resolution.method),
    Column("entry", "flag", "no system nearer to the client has a log here: count these", lambda of, _: of.entry),
    Column("peer_address", "text", "the far end of the system's own socket", lambda of, _: _ip(of.observation.peer)),
    Column("peer_port", "port", "its port", lambda of, _: _port(of.observation.peer)),
    Column("path", "json", "the steps walked, nearest first", lambda of, _: _json(of.resolution.path)),
    Column("claims", "json", "what was said and not believed", lambda of, _: _json(of.resolution.claims)),
    Column("findings", "texts", "contradictions and attacks", lambda of, _: of.resolution.findings),
    Column("candidates", "json", "clients that fit and are not proved", lambda of, _: _candidates(of)),
    Column("country", "text", "ISO code, of the client only", _geo("geo.country_iso_code")),
    Column("city", "text", "its name, of the client only", _geo("geo.city_name")),
    Column("as_number", "integer", "autonomous system, of the client only", _geo("as.number")),
    Column("as_organization", "text", "its name", _geo("as.organization.name")),
    Column("http_method", "text", "as logged", _of_http("method")),
    Column("http_target", "text", "path and query, as logged", _of_http("target")),
    Column("http_host", "text", "as logged", _of_http("host")),
    Column("http_protocol", "text", "as logged", _of_http("protocol")),
    Column("http_status", "integer", "of the answer", _count("status")),
    Column("http_user_agent", "text", "as logged", _of_http("user_agent")),
    Column("http_referer", "text", "as logged", _of_http("referer")),
    Column("request_bytes", "integer", "of the request", _count("request_bytes")),
    Column("response_bytes", "integer", "of the answer", _count("response_bytes")),
    Column("duration_ns", "integer", "from begin to end, ns", _count("duration_ns")),
    Column("trace_id", "text", "32 hex; a claim, as all ids are", _of_ids("trace")),
    Column("span_id", "text", "16 hex", _of_ids("span")),
    Column("parent_id", "text", "16 hex: the span that called", _of_ids("parent")),
    Column("request_ids", "json", "pairs of scheme and value", lambda of, _: _requests(of)),
    Column("network", "text", "the space in which addresses are unique", lambda of, _: of.observation.setup.network),
    Column("file", "text", "fingerprint of the input", lambda of, _: of.line.file),
    Column("offset", "integer", "bytes before the line, in the uncompressed input", lambda of, _: of.line.offset),
    Column("index", "integer", "which one, where a line holds several messages", lambda of, _: _int64(of.line.index)),
    Column("rules", "text", "16 hex: digest of the drawing and the program that decided", lambda _, rules: rules),
    Column("line", "bytes", "the line itself, with its wrappers", lambda of, _: of.line.raw),
)
"""In the order of the table; further ones may come, at its end."""
