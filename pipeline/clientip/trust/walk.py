"""Whom we believe. The security page: what decides about trust is in this file, but for probes (`probes`).

The operator draws who connects to whom (`model.System`). A walk starts at the
address that the observing system's socket met and goes outward, one step at a time.
Two rules hold for every change of this file:

1. An address becomes the client only if every system between it and us vouched,
   one by one. When in doubt the walk ends with a reason, never with a guess.
2. Nothing a client can write may change where the walk ends. A system that did
   not promise is not believed; a promise that fails is not replaced by a weaker one.

The numbers in the comments are the rules of ARCHITECTURE.md, "The walk".
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec.structs import replace

from clientip.model import Endpoint, Observation, Resolution, Step, Stop, System, Verdict
from clientip.trust.answers import Answer, Known, Refused, Through, endpoint
from clientip.trust.findings import findings
from clientip.trust.graph import Graph, logs_socket
from clientip.trust.header_cursor import Said, Stopped
from clientip.trust.probes import is_probe, is_silent

MAX_STEPS: Final = 32

#: Reasons after which another log may know more: the walk met a system that did not vouch.
ASKING: Final = frozenset(
    {
        "snat_no_witness",
        "header_missing",
        "header_not_logged",
        "header_incomplete",
        "header_twin",
        "header_unreadable",
        "proxy_missing",
        "owner_unproved",
        "ambiguous",
        "peer_not_logged",
        "not_believed",
        "source_unproved",
    }
)

_NO_WITNESS: Final = Stopped("snat_no_witness")
_CONTRADICTION: Final = Stopped("contradiction")
_UNPROVED: Final = Stopped("owner_unproved")
_AMBIGUOUS: Final = Stopped("ambiguous")
_LOCAL: Final = Stopped("proxy_missing", by_itself=True)  # PROXY LOCAL: a connection of the sender's own
_STRANGERS: Final = frozenset({"outside", "internal"})  # peers that own no address
_NO_ENDS: Final = Stop((), None, None, (), 0)


def resolve(
    graph: Graph, seen: Observation, owner: System | None = None, answers: tuple[Answer, ...] = ()
) -> Resolution:
    """Walk from the peer to the client, or to the reason why it cannot be known.

    `owner`: who owns the peer, if that is known although its address is not.  `answers`: what other logs said
    of the connections at which this walk stopped before, in order; the walk goes on with each of them.
    """
    # Hot: the stage `resolve` of `python -m benchmarks`. Cut up further, it costs a tenth of the whole engine.
    here = graph.systems[seen.setup.system]
    stated, doubt = seen.peer is None and owner is None, graph.doubts[here.name]
    said, path = Said(seen, stated=stated, believed=doubt != "not_believed"), list[Step]()
    at, by, evidence, record, allowed = seen.peer, "socket", "seen", None, here.peers
    target, on_wire, used = seen.local, True, 0  # on_wire: this is still the observer's own connection
    known = owner if at is None else None  # who stands here, if that is known without the address
    witness: System | None
    stop: Stopped | None
    if stated:
        # 7. The socket was not logged: begin at the system's statement.
        reason = "peer_not_logged" if seen.stated is None else doubt
        if reason is not None:
            return _stopped(reason, path, said, answers, None, _NO_ENDS)
        at, by, evidence, allowed = seen.stated, here.logs_peer or "realip", "stated", graph.may_state[here.name]
        target, on_wire = None, False
        said.over = tuple(own for name in here.believes for own in graph.systems[name].owns)
    probe = here.probes and is_probe(here, seen)
    for _ in range(MAX_STEPS):
        # 1. Who owns the address?
        hop = known if known is not None or at is None else _owner(graph, here, at, seen)
        known, name = None, hop.name if type(hop) is System else None
        step = _unshown(name) if at is None else Step(name, at.address.text, at.port, by, evidence, record)
        path.append(step)
        if hop is None:
            return _unowned(graph, allowed, path, at, said, answers)  # 3. It has no owner.
        if isinstance(hop, System):
            if name not in allowed:  # 2. May it be there?
                return _unknown("unexpected_neighbour", path, said, hop)
            # 10. A request to a probe's path, from an owner's own address; the log shows that the owner said nothing.
            if probe and is_silent(graph, hop, seen) and not (hop.translates and name in graph.witnesses):
                return Resolution("internal", at, "probe", None, tuple(path), said.unread(), seen.notes)
            witness, stop = hop, None
            if hop.shared or hop.carries:
                witness, stop = _witness(graph, hop, path, seen)  # 5. It carries.  6. Its range is shared.
            vouched = stop or _vouch(witness, at, said, on_wire)  # 4. A system owns it: it must vouch.
            if isinstance(vouched, Endpoint):
                # 7, further out: what a system writes after PROXY or realip replaced its peer is a statement, too.
                evidence = "vouched" if logs_socket(witness) else "stated"
                if evidence == "stated" and (doubt := graph.doubts[witness.name]) is not None:
                    return _unknown(doubt, path, said, witness)
                here, at, target, record, on_wire = witness, vouched, None, None, False
                if witness.drops:
                    said.dropped |= witness.drops
                source, allowed = here.conveys[0].source, graph.may_state[here.name]
                by = (seen.proxied_by or "proxy") if source == "proxy" else source
                continue
            if at is not None and _began_here(graph, hop, witness, path, vouched, seen):
                return _resolution("internal", at, path, said)
        else:
            witness, vouched = None, hop
        # 8. It did not vouch: another log may have seen this connection.
        through = answers[used] if used < len(answers) else None
        if not isinstance(through, Through) or through.system not in allowed:
            ends = _stop(graph, here, at, target, path, used, allowed, said)
            return _stopped(vouched.reason, path, said, answers, witness, ends)
        beyond = _go_through(graph, through, path, step, said, allowed)
        if isinstance(beyond, Resolution):
            return beyond
        here, at, target, by, evidence, record, allowed, known = beyond
        used, on_wire = used + 1, on_wire and not through.stated
    return _unknown("too_many_steps", path, said)


# 1. Who owns the address?


def _owner(graph: Graph, here: System, at: Endpoint, seen: Observation) -> System | Stopped | None:
    """The owner of the address as `here` met it; None: it has no owner."""
    if graph.behind and here.name in graph.behind:
        return graph.behind[here.name]
    sole = graph.owners.sole[here.network].get(at.address.text, here)
    if sole is not here:  # `here` stands for "not looked up before"; for a system's own address it looks up again
        return sole
    owners, certain = graph.owners.of(here.network, at.address, seen.start_ns, seen.start_latest_ns)
    if not owners:
        return None
    if not certain or (len(owners) > 1 and not all(_alike(other, owners[0]) for other in owners)):
        return _AMBIGUOUS
    return owners[0]


def _alike(one: System, other: System) -> bool:
    """Whether it makes no difference to a walk which of the two it met."""
    return one.name == other.name or (
        one.conveys == other.conveys
        and (one.carries, one.drops) == (other.carries, other.drops)
        and one.peers == other.peers
        and one.shared == other.shared
        and one.proof == other.proof
        and one.network == other.network
        and (one.logs_peer, one.believes) == (other.logs_peer, other.believes)
    )


def _unshown(system: str | None) -> Step:
    """A step whose address no line shows; the drawing says who stands there."""
    return Step(system, None, None, "config", "config")


# 3. It has no owner.


def _unowned(
    graph: Graph,
    allowed: frozenset[str],
    path: list[Step],
    at: Endpoint | None,
    said: Said,
    answers: tuple[Answer, ...],
) -> Resolution:
    """The client, if the last system may meet clients; a workload; or an address that is not listed."""
    assert at is not None
    scope = at.address.scope
    if at.address.text in graph.translated and allowed & _STRANGERS:
        return _unknown("translated_address", path, said)  # A node that nobody listed: its clients stand behind it.
    if "outside" in allowed and (scope == "global" or (scope == "local" and graph.private_outside)):
        joined = any(step.evidence == "joined" for step in path)
        verdict: Verdict = "joined" if joined else "seen" if path[-1].evidence == "seen" else "vouched"
        return _held(graph, _resolution(verdict, at, path, said), said, answers)
    if "internal" in allowed and scope == "local":
        return _held(graph, _resolution("internal", at, path, said), said, answers)
    return _unknown("peer_unlisted", path, said)


# 11. A promise is held to the log of who gave it, if the operator wants that.


def _held(graph: Graph, found: Resolution, said: Said, answers: tuple[Answer, ...]) -> Resolution:
    """The end of the walk, with what to ask the log of the first hop; unknown if that log tells of another client."""
    first, seen = found.path[0], said.seen
    if first.system not in graph.held or first.evidence != "seen":
        return found
    if not answers:
        return replace(found, stop=Stop((first.system,), seen.peer, seen.local, (), 0))
    last = answers[-1]
    if not isinstance(last, Known) or last.ended.client is None or found.client is None:
        return found
    if last.ended.client[0] == found.client.address.text:
        return found
    broken = _unknown("contradiction", list(found.path), said, graph.systems[first.system])
    return replace(broken, findings=(*broken.findings, "promise_broken"))


# 4. A system owns it: it must vouch.


def _vouch(hop: System, at: Endpoint | None, said: Said, on_wire: bool) -> Endpoint | Stopped:
    """What the hop said of its peer. Several promises must all be kept, and agree."""
    if not hop.conveys:
        return _NO_WITNESS
    first = hop.conveys[0]
    vouched = said.take(first, on_wire)
    for promise in hop.conveys[1:]:
        other = said.take(promise, on_wire)
        if isinstance(vouched, Stopped):
            return vouched
        if isinstance(other, Stopped):
            return Stopped(other.reason)
        agreed = _agreed(vouched, other)
        if agreed is None:
            return _CONTRADICTION
        vouched = agreed
    if first.source == "proxy" and at is not None and isinstance(vouched, Endpoint) and vouched.address == at.address:
        return _LOCAL  # a health check
    return vouched


def _agreed(one: Endpoint, other: Endpoint) -> Endpoint | None:
    """The endpoint that both name; a port that only one of them says is taken from it."""
    if one.address != other.address:
        return None
    if one.port is not None and other.port is not None and one.port != other.port:
        return None
    return one if one.port is not None else other


def _began_here(
    graph: Graph, hop: System, witness: System, path: list[Step], stopped: Stopped, seen: Observation
) -> bool:
    """Whether the request began at this hop: it did not vouch because there was no peer of whom to speak."""
    if stopped.by_itself:
        return True
    begun = len(path) == 1 and path[0].evidence == "stated"
    if begun and seen.source_column == "late" and hop.name in graph.systems[seen.setup.system].peers:
        return False  # The statement may be the socket's far end: a request that failed before it was replaced.
    if stopped.at_end:
        # Every entry was written by a system that vouched, and the last one names a system that wrote none.
        return witness is hop and hop.name not in graph.behind and not hop.anywhere
    # The statement is the source that PROXY gave, and it is the balancer itself: LOCAL again.
    is_local = seen.source_column == "sure" and seen.proxied is None
    return stopped.reason == "proxy_missing" and begun and path[0].by == "proxy" and is_local


# 5. It carries.  6. Its range is shared.


def _witness(graph: Graph, hop: System, path: list[Step], seen: Observation) -> tuple[System, Stopped | None]:
    """The system that must vouch for the next step, the owner or the one it carries; or why none may."""
    if hop.shared and not _is_proved(hop, seen):
        return hop, _UNPROVED
    if not hop.carries:
        return hop, None
    if hop.connects and hop.name in graph.witnesses:
        return hop, _NO_WITNESS  # Its own log knows each connection: that decides, not the drawing.
    # It passes bytes and hides its peer: go on as if the carried system had connected.
    first, *others = [graph.systems[name] for name in hop.carries]
    if not all(_alike(other, first) for other in others):
        return hop, _AMBIGUOUS
    path.append(_unshown(first.name))
    return (hop, _UNPROVED) if first.shared and not _is_proved(first, seen) else (first, None)


def _is_proved(hop: System, seen: Observation) -> bool:
    """Whether the line shows a secret that only the true owner of the range can have written."""
    return any((proof.header, proof.value) in seen.proofs for proof in hop.proof)


# 8. It did not vouch: what other logs know.


class _Beyond(NamedTuple):
    """Where a walk goes on behind a connection that another log saw through."""

    here: System
    at: Endpoint
    target: Endpoint | None
    by: str
    evidence: str
    record: str
    allowed: frozenset[str]
    known: System | None


def _go_through(
    graph: Graph, through: Through, path: list[Step], step: Step, said: Said, allowed: frozenset[str]
) -> _Beyond | Resolution:
    """Go on behind a connection that another log saw through, or end at the device that began it."""
    device, at = graph.systems[through.system], endpoint(through.peer)
    if path[-1].system != device.name:
        path[-1] = replace(step, system=device.name)
    target = None if through.local is None else endpoint(through.local)
    behind = graph.may_state[device.name]
    beyond = _Beyond(device, at, target, through.method, "joined", through.record, behind, None)
    if through.own:
        return _begun_on(graph, beyond, path, step, said, allowed)
    if device.carries:
        hop = _owner(graph, device, at, said.seen)
        if not isinstance(hop, System) or hop.name not in device.carries:
            said.noticed = ("reached_around",)
    return beyond


def _begun_on(
    graph: Graph, beyond: _Beyond, path: list[Step], step: Step, said: Said, allowed: frozenset[str]
) -> _Beyond | Resolution:
    """The device itself began the connection: if a drawn proxy runs there, that one; otherwise a workload."""
    device, at, seen = beyond.here, beyond.at, said.seen
    owners, certain = graph.owners.of(device.network, at.address, seen.start_ns, seen.start_latest_ns)
    tenants = [owner for owner in owners if owner.name != device.name]
    if len(tenants) > 1 or not certain:
        return _unknown("ambiguous", path, said, device)
    moved = at.address.text != step.address or at.port != step.port
    if not tenants or tenants[0].name not in allowed:
        if moved:
            path.append(Step(device.name, at.address.text, at.port, beyond.by, "joined", beyond.record))
        return _resolution("internal", at, path, said)
    beyond = beyond._replace(allowed=allowed, known=tenants[0])
    if moved:
        return beyond
    path.pop()  # the same address again, now with its tenant
    return beyond._replace(by=step.by, evidence=step.evidence)


def _stop(
    graph: Graph,
    here: System,
    at: Endpoint | None,
    target: Endpoint | None,
    path: list[Step],
    used: int,
    allowed: frozenset[str],
    said: Said,
) -> Stop:
    """What the walk would have to know of the connection at which it stopped."""
    seen = said.seen
    owners: tuple[System, ...] = ()
    if at is not None:
        owners, _ = graph.owners.of(here.network, at.address, seen.start_ns, seen.start_latest_ns)
    systems = tuple(owner.name for owner in owners if owner.name in allowed)
    passed = tuple(dict.fromkeys(step.system for step in path[:-1] if step.system is not None))
    return Stop(systems, at, target, passed, used)


def _stopped(
    reason: str, path: list[Step], said: Said, answers: tuple[Answer, ...], hop: System | None, stop: Stop
) -> Resolution:
    """The end of a walk for which no system vouched further: adopted from another line, refused, or to be asked."""
    last = answers[-1] if answers else None
    if isinstance(last, Known):
        return _adopted(last, path, said)
    found = _unknown(reason, path, said, hop)
    if isinstance(last, Refused):
        shown = (*found.findings, last.finding) if last.finding else found.findings
        return replace(found, reason=last.reason, candidates=last.candidates, findings=shown)
    return replace(found, stop=stop) if reason in ASKING else found


def _adopted(answer: Known, path: list[Step], said: Said) -> Resolution:
    """The end of the walk of the line that is this very request, with the steps of both."""
    end, own = answer.ended, tuple(path)
    walked = own
    if end.path:
        first = replace(end.path[0], evidence="joined", record=answer.record)
        walked = (*own, first, *end.path[1:])
    verdict: Verdict = end.verdict if end.verdict in ("internal", "unknown") else "joined"
    method = answer.method if end.verdict != "unknown" else None
    client = None if end.client is None else endpoint(end.client)
    found = findings(said.seen, own, end.reason, None, None)
    return Resolution(verdict, client, method, end.reason, walked, said.unread(), found, end.stopped_at)


# 9. Everything left over is a claim: kept, shown, never believed.


def _resolution(verdict: Verdict, client: Endpoint, path: list[Step], said: Said) -> Resolution:
    walked = tuple(path)
    found = findings(said.seen, walked, None, client, None) + said.noticed
    return Resolution(verdict, client, walked[-1].by, None, walked, said.unread(), found)


def _unknown(reason: str, path: list[Step], said: Said, hop: System | None = None) -> Resolution:
    """No client; `hop`: the system that did not vouch."""
    walked, stopped_at = tuple(path), None if hop is None else hop.name
    found = findings(said.seen, walked, reason, None, hop) + said.noticed
    return Resolution("unknown", None, None, reason, walked, said.unread(), found, stopped_at)
