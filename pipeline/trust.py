"""Whom we believe. The security page: everything that decides about trust is in this file.

The operator draws who connects to whom (`model.System`). A walk starts at the
address the observing system's socket met and goes outward, one step at a time.
Two rules for whoever edits this file:

1. An address becomes the client only if every system between it and us vouched,
   one by one. When in doubt the walk ends with a reason, never with a guess.
2. Nothing a client can write may change where the walk ends. A system that did
   not promise is not believed; a promise that fails is not replaced by a weaker one.

The numbers in the comments are the rules of ARCHITECTURE.md, "The walk".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from pipeline.findings import findings
from pipeline.model import Endpoint, Observation, Resolution, Step, System, Verdict
from pipeline.owners import Owners
from pipeline.said import EXHAUSTED, Said

MAX_STEPS = 32


class Graph(Struct, frozen=True):
    """The drawing, compiled: systems by name, owners by address, who may state what."""

    systems: Mapping[str, System]
    owners: Owners
    told: Mapping[str, frozenset[str]]  # neighbours whose address a system's *statement* may be
    logging: frozenset[str] = frozenset()  # systems with inputs of their own
    behind: Mapping[str, System] = {}  # `resolve` only: who owns whatever address a system met
    private_outside: bool = False  # `resolve` only: unowned private addresses are outside too


def draw(systems: Iterable[System], logging: Iterable[str] = ()) -> Graph:
    """The graph of these systems; `logging` names those with inputs of their own.

    >>> draw([System(name="a", peers=frozenset({"outside"}))]).told["a"]
    frozenset({'outside'})
    """
    by_name = {system.name: system for system in systems}
    told = {name: _told(by_name, system) for name, system in by_name.items()}
    return Graph(systems=by_name, owners=Owners(by_name.values()), told=told, logging=frozenset(logging))


def _told(systems: Mapping[str, System], system: System) -> frozenset[str]:
    """Whose address `system` may name as its peer: its own peers, or those of whom it believes (7)."""
    if system.logs_peer in (None, "socket"):
        return system.peers
    allowed, waiting, met = set(system.peers), list(system.believes), set[str]()
    while waiting:
        name = waiting.pop()
        if name in met or name not in systems:
            continue
        met.add(name)
        hop = systems[name]
        if hop.carries:
            waiting += hop.carries
            continue
        allowed |= hop.peers
    return frozenset(allowed)


def resolve(graph: Graph, seen: Observation, owner: System | None = None) -> Resolution:
    """Walk from the peer to the client, or to the reason why it cannot be known.

    `owner`: who owns the peer, where that is known although its address is not.
    """
    here = graph.systems[seen.setup.system]
    stated = seen.peer is None and owner is None
    believed = _is_believed(graph, here)
    said, path = Said(seen, stated=stated, believed=believed), list[Step]()
    at, by, evidence, allowed = seen.peer, "socket", "seen", here.peers
    if stated:
        # The socket was not logged: begin at the statement.
        if seen.stated is None:
            return _unknown("peer_not_logged", path, said, seen)
        if not believed:
            return _unknown("not_believed", path, said, seen)
        at, by, evidence, allowed = seen.stated, here.logs_peer or "realip", "stated", graph.told[here.name]
        said.over = tuple(own for name in here.believes for own in graph.systems[name].owns)
    probe = here.probes and _is_probe(here, seen)
    for _ in range(MAX_STEPS):
        hop, reason = (owner, None) if at is None else _owner(graph, here, at, seen)
        name = hop.name if hop is not None else None
        path.append(Step(name, at.address.text, at.port, by, evidence) if at is not None else _unshown(name))
        if reason is None and hop is None:
            return _unowned(graph, allowed, path, at, said, seen)
        if hop is None or hop.name not in allowed:  # 2. May it be there?
            return _unknown(reason or "unexpected_neighbour", path, said, seen, hop)
        if probe:  # 10. A header-less request to a probe's path from an owner's own address.
            return Resolution("internal", at, "probe", None, tuple(path), said.unread(), seen.notes)
        teller = _teller(graph, hop, seen, path) if hop.shared or hop.carries else hop
        if teller.__class__ is str:
            return _unknown(teller, path, said, seen, hop)
        told = _vouch(teller, said, at is seen.peer)  # type: ignore[arg-type]
        if told == EXHAUSTED:
            # Every entry was written by a system that vouched, and the last one read names a
            # system, which wrote nothing itself: the request began there, not outside.
            if at is not None and teller is hop and hop.name not in graph.behind and not hop.anywhere:
                return _resolution("internal", at, path, said, seen)
            told = "header_missing"
        if told == "proxy_missing" and len(path) == 1 and by == "proxy":
            # The PROXY source is the balancer itself: LOCAL, it spoke for itself (a health check).
            return _resolution("internal", seen.stated, path, said, seen)  # type: ignore[arg-type]
        if told.__class__ is str:
            return _unknown(told, path, said, seen, teller)  # type: ignore[arg-type]
        here, owner = teller, None  # type: ignore[assignment]
        source = here.conveys[0].source
        if source == "proxy" and at is not None and told.address == at.address:  # type: ignore[union-attr]
            # PROXY LOCAL: the system opened this connection for itself (a health check).
            return _resolution("internal", at, path, said, seen)
        at = told  # type: ignore[assignment]
        by = (seen.proxied_by or "proxy") if source == "proxy" else source
        # 7, further out: what a system writes after PROXY or realip replaced its peer is a statement too.
        evidence = "vouched" if here.logs_peer in (None, "socket") else "stated"
        if evidence == "stated" and not _is_believed(graph, here):
            return _unknown("not_believed", path, said, seen, here)
        allowed = graph.told[here.name]
    return _unknown("too_many_steps", path, said, seen)


def _is_believed(graph: Graph, server: System) -> bool:
    """7. A statement counts if its server accepts headers from drawn peers only, and these are systems, not anybody."""
    from_peers = bool(server.believes) and server.peers.issuperset(server.believes)
    return from_peers and all(name in graph.systems for name in server.believes)


def _owner(graph: Graph, here: System, at: Endpoint, seen: Observation) -> tuple[System | None, str | None]:
    """1. Who owns the address, then? (None, None): nobody; (None, reason): that cannot be said."""
    if graph.behind and here.name in graph.behind:
        return graph.behind[here.name], None
    sole = graph.owners.sole[here.network].get(at.address.text, here)
    if sole is not here:  # `here` stands for "not asked before", a system's own address for "ask again"
        return sole, None
    owners, certain = graph.owners.of(here.network, at.address, seen.start_ns, seen.start_latest_ns)
    if not owners:
        return None, None
    if not certain or (len(owners) > 1 and not all(_alike(other, owners[0]) for other in owners)):
        return None, "ambiguous"
    return owners[0], None


def _teller(graph: Graph, hop: System, seen: Observation, path: list[Step]) -> System | str:
    """Who must vouch for the next step: the owner, or whom it carries; or why nobody may."""
    if hop.shared and not _proved(hop, seen):  # 6. Shared with strangers: needs a proof.
        return "owner_unproved"
    if not hop.carries:
        return hop
    # 5. It passes bytes and hides its peer: go on as if the carried system had connected.
    first, *others = [graph.systems[name] for name in hop.carries]
    if not all(_alike(other, first) for other in others):
        return "ambiguous"
    path.append(_unshown(first.name))
    if first.shared and not _proved(first, seen):
        return "owner_unproved"
    return first


def _alike(one: System, other: System) -> bool:
    """Whether it makes no difference to a walk which of the two it met."""
    return one.name == other.name or (
        one.conveys == other.conveys
        and one.carries == other.carries
        and one.peers == other.peers
        and one.shared == other.shared
        and one.proof == other.proof
        and one.network == other.network
        and (one.logs_peer, one.believes) == (other.logs_peer, other.believes)
    )


def _unowned(
    graph: Graph, allowed: frozenset[str], path: list[Step], at: Endpoint | None, said: Said, seen: Observation
) -> Resolution:
    """3. Nobody owns it: the client if the last system may meet clients; a workload; or unlisted."""
    assert at is not None
    scope = at.address.scope
    if "outside" in allowed and (scope == "global" or (scope == "local" and graph.private_outside)):
        return _resolution("seen" if path[-1].evidence == "seen" else "vouched", at, path, said, seen)
    if "internal" in allowed and scope == "local":
        return _resolution("internal", at, path, said, seen)
    return _unknown("peer_unlisted", path, said, seen)


def _vouch(hop: System, said: Said, at_socket: bool) -> Endpoint | str:
    """4. What the hop told of its peer. Several promises must all be kept, and agree."""
    if not hop.conveys:
        return "snat_no_witness"
    told = said.take(hop.conveys[0], at_socket)
    for promise in hop.conveys[1:]:
        other = said.take(promise, at_socket)
        if told.__class__ is str:
            return told
        if other.__class__ is str:
            return "header_missing" if other == EXHAUSTED else other
        agreed = _agreed(told, other)  # type: ignore[arg-type]
        if agreed is None:
            return "contradiction"
        told = agreed
    return told


def _agreed(one: Endpoint, other: Endpoint) -> Endpoint | None:
    """The endpoint both name; a port that only one of them says is taken from it."""
    if one.address != other.address:
        return None
    if one.port is not None and other.port is not None and one.port != other.port:
        return None
    return one if one.port is not None else other


def _proved(hop: System, seen: Observation) -> bool:
    """6. Whether the line shows a secret that only the true owner of the range can have written."""
    return any((proof.header, proof.value) in seen.proofs for proof in hop.proof)


def _is_probe(here: System, seen: Observation) -> bool:
    """10. A request without any header to a path of health checks."""
    target = seen.http.target if seen.http is not None else None
    if target is None or target.partition("?")[0] not in here.probes or seen.proxied is not None:
        return False
    return not any(claim.values for claim in seen.claims)


def _unshown(system: str | None) -> Step:
    """A step whose address no line shows; the drawing says who stands there."""
    return Step(system, None, None, "config", "config")


def _resolution(verdict: Verdict, client: Endpoint, path: list[Step], said: Said, seen: Observation) -> Resolution:
    walked = tuple(path)
    return Resolution(
        verdict, client, walked[-1].by, None, walked, said.unread(), findings(seen, walked, None, client, None)
    )


def _unknown(reason: str, path: list[Step], said: Said, seen: Observation, hop: System | None = None) -> Resolution:
    """No client. 9. Whatever nobody vouched for stays a claim: kept, shown, never believed."""
    walked = tuple(path)
    found = findings(seen, walked, reason, None, hop)
    return Resolution(
        "unknown", None, None, reason, walked, said.unread(), found, hop.name if hop is not None else None
    )
