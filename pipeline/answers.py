"""What the joins answer to a walk that stopped: nouns only."""

from __future__ import annotations

from msgspec import Struct

from pipeline.model import Candidate, Endpoint, Resolution


class Through(Struct, frozen=True, gc=False):
    """An answer: the system passed this very connection on; its own far and near end were these."""

    system: str
    peer: Endpoint
    local: Endpoint | None
    method: str  # conntrack, connection_log, flow_record
    record: str
    stated: bool = False  # `peer` is what PROXY put in the socket's place


class Known(Struct, frozen=True, gc=False):
    """An answer: the request is the one of this line, whose own walk ended so."""

    system: str
    resolution: Resolution
    method: str  # connection_log, request_id, trace
    record: str


class Refused(Struct, frozen=True, gc=False):
    """No answer, and why."""

    reason: str  # word of reasons.UNKNOWN
    candidates: tuple[Candidate, ...] = ()


Answer = Through | Known | Refused
