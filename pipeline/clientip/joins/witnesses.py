"""What a line proves to others, under every key that a question can have.

Only systems drawn with `tells` (by default all but spans and logs over OTLP) tell, and only
what a system nearer to the observer could ask: an edge that nobody stands behind tells nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from clientip.joins.facts import JoinFact, Role, conn_key, line_key, request_key, trace_key
from clientip.model import Fact, Ids, Observation, Outcome, Record, Skipped, System
from clientip.syntax.headers import TRACE_HEADERS
from clientip.trust.answers import Ended, ended, site
from clientip.trust.graph import Graph
from clientip.trust.owners import networks_of

_OF_HEADER: Final = MappingProxyType({"xray_root": "x-amzn-trace-id", "xray_self": "x-amzn-trace-id"})  # by scheme
_SECOND: Final = 1_000_000_000


class _Homes(NamedTuple):
    """Whose addresses are whose, among the instances of one system; canonical text."""

    of: Mapping[str, frozenset[str]]  # by instance
    moving: frozenset[str]  # those of more than one


def _homes(system: System) -> _Homes:
    of = {name: frozenset(each.address.text for each in own) for name, own in system.instances}
    met = Counter(address for own in of.values() for address in own)
    return _Homes(of, frozenset(address for address, count in met.items() if count > 1))


class Witnesses:
    """Which systems' lines tell what; compiled once from the drawing."""

    def __init__(self, graph: Graph) -> None:
        self._systems = graph.systems
        self._witnesses = _asked_of(graph)
        self._homes = {name: _homes(graph.systems[name]) for name in self._witnesses}

    def any(self) -> bool:
        """Whether any system's lines can answer for others."""
        return bool(self._witnesses)

    def connects(self, system: str) -> bool:
        """Whether lines of `system` can say who was behind one of its connections."""
        return system in self._witnesses and self._systems[system].connects

    def tells(self, system: str) -> bool:
        """Whether a line of `system` can be of use to another line."""
        return system in self._witnesses

    def facts(self, outcome: Outcome) -> Iterator[JoinFact]:
        """Everything one line tells; a line whose own walk still asks tells the end of it later, under `line`."""
        if isinstance(outcome, Skipped):
            if outcome.link is not None and outcome.setup is not None and outcome.setup.system in self._witnesses:
                yield _link(outcome)
            return
        record = outcome.record if isinstance(outcome, Fact) else outcome
        if not isinstance(record, Record) or record.observation.setup.system not in self._witnesses:
            return
        system = self._systems[record.observation.setup.system]
        yield from _connection(record, system, self._homes[system.name])
        if record.observation.kind in ("request", "span"):
            yield from _ids(record, system)


def settled(record: Record) -> JoinFact:
    """How the walk of a line that others await has ended."""
    seen = record.observation
    return JoinFact(
        line_key(record.record_id),
        seen.setup.system,
        seen.instance or "",
        record.record_id,
        "request",
        "",
        seen.start_ns,
        seen.start_latest_ns,
        seen.end_ns,
        0,
        ended=ended(record.resolution),
    )


def _asked_of(graph: Graph) -> frozenset[str]:
    """The systems a walk of some other system's line can meet, of those whose lines may answer."""
    met: set[str] = set()
    for name in graph.logging & frozenset(graph.systems):
        waiting = [*graph.may_state[name]]
        seen: set[str] = set()
        while waiting:
            other = waiting.pop()
            if other in seen or other not in graph.systems:
                continue
            seen.add(other)
            waiting += [*graph.may_state[other], *graph.systems[other].carries]
        met |= seen
    return frozenset(met & graph.witnesses)


def _connection(record: Record, system: System, homes: _Homes) -> Iterator[JoinFact]:
    seen = record.observation
    near, far = seen.upstream_local, seen.upstream_peer
    is_shown = seen.retried_until_ns is None  # else a server that is not shown may have read it: `holes.tried_in`
    if near is None or near.port is None or seen.time_by in (None, "arrival") or not is_shown:
        return
    role: Role = "translation" if seen.kind == "translation" else "request"
    if seen.kind == "connection":
        role = "connection"
    peer = seen.peer if seen.peer is not None else seen.stated
    begin, own = seen.start_ns, False
    if role == "translation":
        mine = homes.of.get(seen.instance or "")
        own = peer is not None and mine is not None and peer.address.text in mine
        if not own and (seen.peer == near or (mine is not None and near.address.text not in mine)):
            return  # passed on as it came, or as somebody else: it says nothing of who is behind
        if seen.end_ns is not None and near.address.text in homes.moving:
            begin = None  # a flow may outlive the stay of an address that moves: no line of it proves alone
    ended_as = _end_of(record) if role == "request" else None
    # Its own network where the drawing does not list the address.
    for network in sorted(networks_of(system, near.address)) or [system.network]:
        yield JoinFact(
            conn_key(network, seen.transport or "tcp", (near.address.text, near.port)),
            system.name,
            seen.instance or "",
            record.record_id,
            role,
            _event(seen),
            begin,
            seen.start_latest_ns if seen.connected_ns is None else seen.connected_ns,
            seen.end_ns,
            slack_of(seen),
            target=site(far),
            peer=None if role == "request" else site(peer),
            local=None if role == "request" else site(seen.local),
            stated=seen.peer is None,
            own=own,
            assured=seen.assured,
            ended=ended_as,
        )


def _ids(record: Record, system: System) -> Iterator[JoinFact]:
    seen = record.observation
    if seen.ids is None or seen.time_by in (None, "arrival"):
        return
    ids, end = seen.ids, _end_of(record)
    keys = {request_key(scheme, value): header_of(scheme) in system.mints for scheme, value in ids.requests}
    if ids.trace is not None:
        keys[trace_key(ids.trace)] = mints_trace(system, ids)
    for key, minted in keys.items():
        yield JoinFact(
            key,
            system.name,
            seen.instance or "",
            record.record_id,
            "request",
            "",
            seen.start_ns,
            seen.start_latest_ns,
            seen.end_ns,
            slack_of(seen),
            minted=minted,
            span=ids.span,
            parent=ids.parent,
            ended=end,
        )


def _link(skipped: Skipped) -> JoinFact:
    link, setup = skipped.link, skipped.setup
    assert link is not None
    assert setup is not None
    return JoinFact(
        trace_key(link.trace),
        setup.system,
        skipped.line.instance or "",
        f"{skipped.line.file}:{skipped.line.offset}:{skipped.line.index}",
        "link",
        "",
        link.start_ns,
        link.start_ns,
        link.end_ns,
        0,
        span=link.span,
        parent=link.parent,
    )


def _end_of(record: Record) -> Ended | None:
    """How its walk ended, unless another log may still lead it further."""
    return None if record.resolution.stop is not None else ended(record.resolution)


def _event(seen: Observation) -> str:
    if seen.kind != "translation":
        return "" if seen.connected_ns is None else "NEW"
    return (seen.connection_serial or "").rpartition("/")[2]


def slack_of(seen: Observation) -> int:
    """How far the end may be off: as far as the start can be, where the line shows that."""
    skew = seen.setup.max_skew_ns
    if seen.end_slack_ns is not None:
        return max(skew, seen.end_slack_ns)
    if seen.start_latest_ns is None:
        return max(skew, _SECOND)
    if seen.start_ns is not None:
        return max(skew, seen.start_latest_ns - seen.start_ns)
    if seen.kind == "translation" and seen.end_ns is not None:
        return max(skew, seen.start_latest_ns - seen.end_ns)  # it had begun by its end, give or take the same error
    return max(skew, _SECOND)


def header_of(scheme: str) -> str:
    """The header in which an asker read a request id of this scheme.

    >>> header_of("xray_root"), header_of("x-request-id")
    ('x-amzn-trace-id', 'x-request-id')
    """
    return _OF_HEADER.get(scheme, scheme)


def mints_trace(system: System, ids: Ids) -> bool:
    """Whether the system made this trace id itself, whatever came from outside."""
    if ids.header is None:
        return not TRACE_HEADERS.isdisjoint(system.mints)
    return ids.header in system.mints
