"""The drawing, compiled: which systems there are, what they own, and whose address each may state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from clientip.model import System
from clientip.trust.owners import Owners
from clientip.trust.statements import doubt_of


class Graph(Struct, frozen=True):
    """The operator's drawing as a walk uses it."""

    systems: Mapping[str, System]
    owners: Owners
    may_state: Mapping[str, frozenset[str]]  # neighbours whose address a system's *statement* may be
    doubts: Mapping[str, str | None]  # why a system's *statement* does not count; None: it counts
    logging: frozenset[str] = frozenset()  # systems with inputs of their own
    witnesses: frozenset[str] = frozenset()  # those of them whose lines may answer for others
    translated: frozenset[str] = frozenset()  # addresses that NAT logs translate to: without an owner, never a client
    held: frozenset[str] = frozenset()  # systems whose promises are held to their own logs
    behind: Mapping[str, System] = {}  # `resolve` only: the owner of every address that a system met
    private_outside: bool = False  # `resolve` only: unowned private addresses are outside too


def draw(
    systems: Iterable[System], logging: Iterable[str] = (), translated: Iterable[str] = (), *, holds: bool = False
) -> Graph:
    """The graph of these systems; `logging` names those with inputs of their own.

    `translated`: addresses, as canonical text, that NAT logs translate to.  `holds`: promises are held to the logs.

    >>> draw([System(name="a", peers=frozenset({"outside"}))]).may_state["a"]
    frozenset({'outside'})
    """
    by_name = {system.name: system for system in systems}
    may_state = {name: _may_state(by_name, system) for name, system in by_name.items()}
    with_log = frozenset(logging)
    witnesses = frozenset(name for name in with_log if name in by_name and by_name[name].tells)
    doubts = {name: doubt_of(by_name, witnesses, system) for name, system in by_name.items()}
    held = frozenset(name for name in witnesses if holds and _vouches_by_header(by_name[name]))
    return Graph(by_name, Owners(by_name.values()), may_state, doubts, with_log, witnesses, frozenset(translated), held)


def _vouches_by_header(system: System) -> bool:
    return bool(system.conveys) and system.conveys[0].source != "proxy" and not system.carries


def _may_state(systems: Mapping[str, System], system: System) -> frozenset[str]:
    """The systems whose address `system` may name as its peer: its peers, or those of the systems it believes (7)."""
    if logs_socket(system):
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


def logs_socket(system: System) -> bool:
    """Whether the peer that the system logs and conveys is that of its own socket."""
    return system.logs_peer in (None, "socket")
