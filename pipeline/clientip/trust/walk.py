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
from msgspec.structs import replace

from clientip.model import Endpoint, Observation, Resolution, Step, Stop, System, Verdict
from clientip.trust.answers import Answer, Known, Refused, Through, endpoint
from clientip.trust.findings import findings
from clientip.trust.header_cursor import EXHAUSTED, Said
from clientip.trust.owners import Owners

MAX_STEPS = 32

#: Reasons after which another log may know more: a system was met that did not vouch.
ASKING = frozenset(
    {
        "snat_no_witness",
        "header_missing",
        "header_not_logged",
        "header_incomplete",
        "header_unreadable",
        "proxy_missing",
        "owner_unproved",
        "ambiguous",
        "peer_not_logged",
        "not_believed",
    }
)


class Graph(Struct, frozen=True):
    """The drawing, compiled: systems by name, owners by address, who may state what."""

    systems: Mapping[str, System]
    owners: Owners
    may_state: Mapping[str, frozenset[str]]  # neighbours whose address a system's *statement* may be
    logging: frozenset[str] = frozenset()  # systems with inputs of their own
    witnesses: frozenset[str] = frozenset()  # those of them whose lines may answer for others
    behind: Mapping[str, System] = {}  # `resolve` only: who owns whatever address a system met
    private_outside: bool = False  # `resolve` only: unowned private addresses are outside too


def draw(systems: Iterable[System], logging: Iterable[str] = ()) -> Graph:
    """The graph of these systems; `logging` names those with inputs of their own.

    >>> draw([System(name="a", peers=frozenset({"outside"}))]).may_state["a"]
    frozenset({'outside'})
    """
    by_name = {system.name: system for system in systems}
    may_state = {name: _may_state(by_name, system) for name, system in by_name.items()}
    with_log = frozenset(logging)
    witnesses = frozenset(name for name in with_log if name in by_name and by_name[name].tells)
    return Graph(
        systems=by_name, owners=Owners(by_name.values()), may_state=may_state, logging=with_log, witnesses=witnesses
    )


def _may_state(systems: Mapping[str, System], system: System) -> frozenset[str]:
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


def resolve(  # noqa: PLR0915 - one loop; cut up it costs a tenth of the whole engine
    graph: Graph, seen: Observation, owner: System | None = None, answers: tuple[Answer, ...] = ()
) -> Resolution:
    """Walk from the peer to the client, or to the reason why it cannot be known.

    `owner`: who owns the peer, where that is known although its address is not.  `answers`: what other
    logs told at the places where this walk stopped before, in order; the walk goes on with each of them.
    """
    here = graph.systems[seen.setup.system]
    stated = seen.peer is None and owner is None
    believed = _is_believed(graph, here)
    said, path = Said(seen, stated=stated, believed=believed), list[Step]()
    at, by, evidence, allowed = seen.peer, "socket", "seen", here.peers
    wire, target, used, record = True, seen.local, 0, None  # wire: still on the observer's own connection
    carried: tuple[str, ...] = ()  # whom the hop that another log saw through should only have passed on
    if stated:
        # The socket was not logged: begin at the statement.
        at, by, evidence, allowed = seen.stated, here.logs_peer or "realip", "stated", graph.may_state[here.name]
        wire, target = False, None
        reason = "peer_not_logged" if at is None else None if believed else "not_believed"
        if reason is not None:
            return _stopped(graph, seen, reason, path, said, answers, None)
        said.over = tuple(own for name in here.believes for own in graph.systems[name].owns)
    probe = here.probes and _is_probe(here, seen)
    sole: System | None = None  # whose process it must be on a device that passed nobody on
    for _ in range(MAX_STEPS):
        hop, reason = (owner, None) if at is None else _owner(graph, here, at, seen)
        if sole is not None:
            hop, reason, sole = sole, None, None
        name = hop.name if hop is not None else None
        step = Step(name, at.address.text, at.port, by, evidence, record) if at is not None else _unshown(name)
        path.append(step)
        if carried and name not in carried:
            said.noticed = ("reached_around",)
        carried = ()
        if reason is None and hop is None:
            return _unowned(graph, allowed, path, at, said, seen)
        if hop is not None and hop.name not in allowed:  # 2. May it be there?
            return _unknown("unexpected_neighbour", path, said, seen, hop)
        # 10. A header-less request to a probe's path from an owner's own address; behind NAT that may be anybody.
        if probe and hop is not None and not (hop.translates and name in graph.witnesses):
            return Resolution("internal", at, "probe", None, tuple(path), said.unread(), seen.notes)
        told: Endpoint | str
        witness: System | str
        if hop is None:
            witness = told = reason or "ambiguous"
        else:
            witness = _witness(graph, hop, seen, path) if hop.shared or hop.carries else hop
            told = witness if isinstance(witness, str) else _vouch(witness, said, wire)
        if told == EXHAUSTED:
            # Every entry was written by a system that vouched, and the last one read names a
            # system, which wrote nothing itself: the request began there, not outside.
            if at is not None and witness is hop and hop.name not in graph.behind and not hop.anywhere:
                return _resolution("internal", at, path, said, seen)
            told = "header_missing"
        if told == "proxy_missing" and len(path) == 1 and by == "proxy":
            # The PROXY source is the balancer itself: LOCAL, it spoke for itself (a health check).
            return _resolution("internal", seen.stated, path, said, seen)  # type: ignore[arg-type]
        if told.__class__ is str:
            # 8. It did not vouch: another log may have seen this connection.
            through = answers[used] if used < len(answers) else None
            if through.__class__ is not Through or through.system not in allowed:
                at_hop = hop if witness.__class__ is str else witness
                stop = _stop(graph, here, at, target, path, used, seen, allowed)
                return _stopped(graph, seen, told, path, said, answers, at_hop, stop)  # type: ignore[arg-type]
            used += 1
            here, owner = graph.systems[through.system], None
            if path[-1].system != here.name:
                path[-1] = Step(here.name, step.address, step.port, by, evidence, record)
            at, record = endpoint(through.peer), through.record
            target = None if through.local is None else endpoint(through.local)
            moved = at.address.text != step.address or at.port != step.port
            if through.own:
                # The device itself began it: if a drawn proxy runs there, that one; otherwise a workload.
                tenants, certain = _tenants(graph, here, at, seen)
                if len(tenants) > 1 or not certain:
                    return _unknown("ambiguous", path, said, seen, here)
                sole = tenants[0] if tenants and tenants[0].name in allowed else None
                if sole is None:
                    if moved:
                        path.append(Step(here.name, at.address.text, at.port, through.method, "joined", record))
                    return _resolution("internal", at, path, said, seen)
                if not moved:
                    path.pop()
            if moved or not through.own:
                by, evidence = through.method, "joined"
            if not through.own:
                allowed, carried = graph.may_state[here.name], here.carries
            wire = wire and not through.stated
            continue
        here, owner, record = witness, None, None  # type: ignore[assignment]
        source = here.conveys[0].source
        if source == "proxy" and at is not None and told.address == at.address:  # type: ignore[union-attr]
            # PROXY LOCAL: the system opened this connection for itself (a health check).
            return _resolution("internal", at, path, said, seen)
        at, target, wire = told, None, False  # type: ignore[assignment]
        by = (seen.proxied_by or "proxy") if source == "proxy" else source
        # 7, further out: what a system writes after PROXY or realip replaced its peer is a statement too.
        evidence = "vouched" if here.logs_peer in (None, "socket") else "stated"
        if evidence == "stated" and not _is_believed(graph, here):
            return _unknown("not_believed", path, said, seen, here)
        allowed = graph.may_state[here.name]
    return _unknown("too_many_steps", path, said, seen)


def _tenants(graph: Graph, device: System, at: Endpoint, seen: Observation) -> tuple[list[System], bool]:
    """The other systems drawn with an address of the device's own, as proxies on its network; whether that is sure."""
    owners, certain = graph.owners.of(device.network, at.address, seen.start_ns, seen.start_latest_ns)
    return [owner for owner in owners if owner.name != device.name], certain


def _stop(
    graph: Graph,
    here: System,
    at: Endpoint | None,
    target: Endpoint | None,
    path: list[Step],
    used: int,
    seen: Observation,
    allowed: frozenset[str],
) -> Stop:
    """What the walk would have to know of the connection it stopped at."""
    owners: tuple[System, ...] = ()
    if at is not None:
        owners, _ = graph.owners.of(here.network, at.address, seen.start_ns, seen.start_latest_ns)
    systems = tuple(owner.name for owner in owners if owner.name in allowed)
    passed = tuple(dict.fromkeys(step.system for step in path[:-1] if step.system is not None))
    return Stop(systems, at, target, passed, used)


def _stopped(
    graph: Graph,
    seen: Observation,
    reason: str,
    path: list[Step],
    said: Said,
    answers: tuple[Answer, ...],
    hop: System | None,
    stop: Stop | None = None,
) -> Resolution:
    """The end of a walk that nobody vouched further for: adopted from another line, refused, or to be asked."""
    last = answers[-1] if answers else None
    if isinstance(last, Known):
        return _adopted(last, path, said, seen)
    if isinstance(last, Refused):
        return replace(_unknown(reason, path, said, seen, hop), reason=last.reason, candidates=last.candidates)
    found = _unknown(reason, path, said, seen, hop)
    if reason in ASKING:
        found = replace(found, stop=stop or Stop((), None, None, (), 0))
    return found


def _adopted(answer: Known, path: list[Step], said: Said, seen: Observation) -> Resolution:
    """The end of the walk of the line that is this very request, with the steps of both."""
    told = answer.ended
    steps = told.path
    if steps:
        path = [*path, replace(steps[0], evidence="joined", record=answer.record), *steps[1:]]
    verdict: Verdict = "joined"
    if told.verdict in ("internal", "unknown"):
        verdict = told.verdict  # type: ignore[assignment]
    method = answer.method if told.verdict != "unknown" else None
    client = None if told.client is None else endpoint(told.client)
    found = findings(seen, tuple(path[: len(path) - len(steps)]), told.reason, None, None)
    return Resolution(verdict, client, method, told.reason, tuple(path), said.unread(), found, told.stopped_at)


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


def _witness(graph: Graph, hop: System, seen: Observation, path: list[Step]) -> System | str:
    """Who must vouch for the next step: the owner, or whom it carries; or why nobody may."""
    if hop.shared and not _proved(hop, seen):  # 6. Shared with strangers: needs a proof.
        return "owner_unproved"
    if not hop.carries:
        return hop
    if hop.connects and hop.name in graph.witnesses:
        return "snat_no_witness"  # Its own log knows each connection: that decides, not the drawing.
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
        joined = any(step.evidence == "joined" for step in path)
        verdict: Verdict = "joined" if joined else "seen" if path[-1].evidence == "seen" else "vouched"
        return _resolution(verdict, at, path, said, seen)
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
    found = findings(seen, walked, None, client, None) + said.noticed
    return Resolution(verdict, client, walked[-1].by, None, walked, said.unread(), found)


def _unknown(reason: str, path: list[Step], said: Said, seen: Observation, hop: System | None = None) -> Resolution:
    """No client. 9. Whatever nobody vouched for stays a claim: kept, shown, never believed."""
    walked = tuple(path)
    found = findings(seen, walked, reason, None, hop) + said.noticed
    return Resolution(
        "unknown", None, None, reason, walked, said.unread(), found, hop.name if hop is not None else None
    )
