"""What the joins answer to a walk that stopped: plain data, so that it can travel and wait.

Addresses are canonical text; ports are None if they were not said.
"""

from __future__ import annotations

from msgspec import Struct

from clientip.model import Candidate, Endpoint, Resolution, Step, Verdict
from clientip.syntax.addresses import parse_address

Site = tuple[str, int | None]  # an endpoint as plain data


class Ended(Struct, frozen=True, gc=False, array_like=True):
    """How a line's own walk ended."""

    verdict: Verdict
    client: Site | None
    method: str | None
    reason: str | None
    path: tuple[Step, ...]
    stopped_at: str | None


class Through(Struct, frozen=True, gc=False, array_like=True, tag="through"):
    """The system passed this very connection on; its own far and near end were these."""

    system: str
    peer: Site
    local: Site | None
    method: str  # conntrack, connection_log, flow_record
    record: str
    stated: bool = False  # `peer` is what PROXY put in the socket's place
    own: bool = False  # the system opened the connection itself: no peer is behind it


class Known(Struct, frozen=True, gc=False, array_like=True, tag="known"):
    """The request is the one of this line, whose own walk ended so."""

    system: str
    ended: Ended
    method: str  # connection_log, request_id, trace
    record: str


class Refused(Struct, frozen=True, gc=False, array_like=True, tag="refused"):
    """No answer, and why."""

    reason: str  # word of reasons.UNKNOWN
    candidates: tuple[Candidate, ...] = ()
    finding: str = ""  # word of reasons.FINDINGS that the logs together show


class Awaits(Struct, frozen=True, gc=False, array_like=True, tag="awaits"):
    """The request is the one of this line, whose own walk is still asking."""

    system: str
    method: str
    record: str


Answer = Through | Known | Refused


def site(endpoint: Endpoint | None) -> Site | None:
    """The endpoint as plain data."""
    return None if endpoint is None else (endpoint.address.text, endpoint.port)


def endpoint(of: Site) -> Endpoint:
    """The endpoint again."""
    return Endpoint(parse_address(of[0]), of[1])


def ended(found: Resolution) -> Ended:
    """The end of a walk as plain data."""
    return Ended(found.verdict, site(found.client), found.method, found.reason, found.path, found.stopped_at)
