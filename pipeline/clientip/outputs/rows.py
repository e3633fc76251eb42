"""The rows of `schemas/`, as types; every output that writes JSON shares them.

Only outside clients are named: for `internal` and `unknown`, `client` is absent
and the path shows where the walk ended.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from clientip.model import Candidate, Endpoint, Record, Step, Unbelieved, Verdict

SCHEMA: Final = "clientip/1"


class Socket(Struct, frozen=True, gc=False, omit_defaults=True):
    """An address and its port; the port is absent if it was not said."""

    ip: str
    port: int | None = None


class CandidateRow(Struct, frozen=True, gc=False):
    """A client that fits and is not proved, and the line that names it: for people to look at, never for a ban."""

    ip: str
    port: int | None
    method: str
    record: str


class Enrichment(Struct, frozen=True, gc=False, omit_defaults=True, rename={"as_": "as"}):
    """What clientip adds to a line: the value of the key `clientip`."""

    schema: str
    record_id: str
    verdict: Verdict
    entry: bool  # no system nearer to the client on the path has inputs: count these, not all
    rules: str
    path: tuple[Step, ...]
    client: Socket | None = None
    method: str | None = None
    reason: str | None = None
    peer: Socket | None = None
    claims: tuple[Unbelieved, ...] = ()
    findings: tuple[str, ...] = ()
    geo: dict[str, str | int | float] | None = None  # of the client only, never of a claim
    as_: dict[str, str | int | float] | None = None
    candidates: tuple[CandidateRow, ...] = ()


def socket(endpoint: Endpoint | None) -> Socket | None:
    """The row of an endpoint; None stays None."""
    return None if endpoint is None else Socket(endpoint.address.text, endpoint.port)


def enrichment(record: Record, rules: str) -> Enrichment:
    """The added value of one record; built by position, once per line."""
    found = record.resolution
    client, peer = found.named, record.observation.peer
    geo = record.geo
    return Enrichment(
        SCHEMA,
        record.record_id,
        found.verdict,
        record.entry,
        rules,
        found.path,
        None if client is None else Socket(client.address.text, client.port),
        found.method,
        found.reason,
        None if peer is None else Socket(peer.address.text, peer.port),
        found.claims,
        found.findings,
        group(geo, "geo") if geo else None,
        group(geo, "as") if geo else None,
        tuple(map(_candidate, found.candidates)) if found.candidates else (),
    )


def _candidate(of: Candidate) -> CandidateRow:
    return CandidateRow(of.address, of.port, of.method, of.record)


def group(pairs: tuple[tuple[str, str | int | float], ...], name: str) -> dict[str, str | int | float] | None:
    """The pairs whose dotted key begins with `name`, without it; None if there are none.

    >>> group((("geo.city_name", "Bern"), ("as.number", 1)), "as")
    {'number': 1}
    """
    prefix = name + "."
    return {key.removeprefix(prefix): value for key, value in pairs if key.startswith(prefix)} or None
