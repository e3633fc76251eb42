"""The whole record as one JSON object in our own terms (`--output record`)."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from clientip.model import Http, Record
from clientip.outputs.rows import Enrichment, Socket, enrichment, socket

_ENCODE: Final = msgspec.json.Encoder().encode


class Origin(Struct, frozen=True, gc=False):
    """Where the line stands: fingerprint of the input, byte offset uncompressed, index in its message."""

    file: str
    offset: int
    index: int


class Times(Struct, frozen=True, gc=False, omit_defaults=True):
    """ns since the Unix epoch as decimal text, because JSON readers lose digits above 2^53."""

    by: str
    start_earliest: str | None = None
    start_latest: str | None = None
    end: str | None = None


class RequestId(Struct, frozen=True, gc=False):
    """One request id; a scheme may stand several times."""

    scheme: str
    value: str


class IdsRow(Struct, frozen=True, gc=False, omit_defaults=True):
    """Ids as claims: the sender of the request may have chosen them."""

    trace: str | None = None
    span: str | None = None
    parent: str | None = None
    scheme: str | None = None
    requests: tuple[RequestId, ...] = ()


class RecordRow(Enrichment, frozen=True, gc=False, omit_defaults=True, kw_only=True, rename={"as_": "as"}):
    """Everything clientip knows of one line, without the line."""

    system: str
    format: str
    kind: str
    network: str
    origin: Origin
    instance: str | None = None
    times: Times | None = None
    local: Socket | None = None
    stated: Socket | None = None
    upstream_local: Socket | None = None
    upstream_peer: Socket | None = None
    ids: IdsRow | None = None
    http: Http | None = None


def record(of: Record, rules: str) -> bytes:
    """One row without a line end; no field holds the time of processing."""
    seen, line = of.observation, of.line
    added = enrichment(of, rules)
    return _ENCODE(
        RecordRow(
            *[getattr(added, name) for name in Enrichment.__struct_fields__],
            system=seen.setup.system,
            format=seen.setup.format,
            kind=seen.kind,
            network=seen.setup.network,
            origin=Origin(line.file, line.offset, line.index),
            instance=seen.instance,
            times=_times(of),
            local=socket(seen.local),
            stated=socket(seen.stated),
            upstream_local=socket(seen.upstream_local),
            upstream_peer=socket(seen.upstream_peer),
            ids=_ids(of),
            http=seen.http,
        )
    )


def _times(of: Record) -> Times | None:
    seen = of.observation
    if seen.time_by is None:
        return None
    stamps = (seen.start_ns, seen.start_latest_ns, seen.end_ns)
    return Times(seen.time_by, *[None if stamp is None else str(stamp) for stamp in stamps])


def _ids(of: Record) -> IdsRow | None:
    ids = of.observation.ids
    if ids is None:
        return None
    requests = tuple(RequestId(scheme, value) for scheme, value in ids.requests)
    return IdsRow(ids.trace, ids.span, ids.parent, ids.scheme, requests)
