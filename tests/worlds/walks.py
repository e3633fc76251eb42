"""Small words for tests of the walk: a drawing in a line, a request in a line."""

from __future__ import annotations

from typing import Literal

from clientip.model import (
    Claim,
    Coverage,
    Endpoint,
    Http,
    LogsPeer,
    Observation,
    Ownership,
    Promise,
    Proof,
    Resolution,
    Setup,
    System,
)
from clientip.syntax.addresses import parse_address, parse_range, read_endpoint
from clientip.trust.graph import draw
from clientip.trust.walk import resolve

XFF = Promise("x-forwarded-for", "append")
FORWARDED = Promise("forwarded", "append")
PROXY = Promise("proxy")


def owns(
    *ranges: str, from_ns: int | None = None, until_ns: int | None = None, network: str | None = None
) -> tuple[Ownership, ...]:
    return tuple(Ownership(*parse_range(text), from_ns, until_ns, network) for text in ranges)  # type: ignore[arg-type]


def system(
    name: str,
    *addresses: str,
    peers: str = "",
    conveys: tuple[Promise, ...] = (),
    carries: str = "",
    own: tuple[Ownership, ...] = (),
    shared: bool = False,
    proof: tuple[Proof, ...] = (),
    logs_peer: LogsPeer | None = None,
    believes: str = "",
    probes: tuple[str, ...] = (),
    network: str = "default",
) -> System:
    return System(
        name=name,
        network=network,
        owns=own or owns(*addresses),
        peers=frozenset(peers.split()),
        conveys=conveys,
        carries=tuple(carries.split()),
        shared=shared,
        proof=proof,
        logs_peer=logs_peer,
        believes=tuple(believes.split()),
        probes=probes,
    )


def claim(name: str, *values: str, coverage: Coverage = "all") -> Claim:
    return Claim(name, values, coverage)


def request(
    peer: str | None,
    *claims: Claim,
    by: str = "app",
    stated: str | None = None,
    proxied: str | None = None,
    logs_peer: LogsPeer | None = None,
    at: tuple[int, int] | None = None,
    target: str | None = None,
    proofs: tuple[tuple[str, str], ...] = (),
    notes: tuple[str, ...] = (),
    source_column: Literal["sure", "late"] | None = None,
) -> Observation:
    return Observation(
        Setup(system=by, format="x", logs_peer=logs_peer),
        "request",
        at[0] if at else None,
        at[1] if at else None,
        None,
        "own" if at else None,
        peer=endpoint(peer),
        stated=endpoint(stated),
        proxied=endpoint(proxied),
        proxied_by="proxy_v2" if proxied else None,
        claims=claims,
        http=None if target is None else Http(target=target),
        proofs=proofs,
        notes=notes,
        source_column=source_column,
    )


def endpoint(text: str | None) -> Endpoint | None:
    return None if text is None else read_endpoint(text)


def walk(systems: list[System], seen: Observation) -> Resolution:
    return resolve(draw(systems), seen)


def found(resolution: Resolution) -> tuple[str, str | None, str | None]:
    """(verdict, client address or None, reason or method)."""
    client = resolution.client
    return resolution.verdict, client and client.address.text, resolution.reason or resolution.method


def address(text: str) -> str:
    return parse_address(text).text


def said(resolution: Resolution) -> tuple[tuple[str, str], ...]:
    """What was claimed and not believed, as pairs."""
    return tuple((claim.header, claim.value) for claim in resolution.claims)
