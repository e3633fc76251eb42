"""Rule 7: when it counts what a server says of its peer without having logged the socket (`logs_peer`)."""

from __future__ import annotations

from clientip.model import System
from clientip.trust.graph import Graph


def doubt_of(graph: Graph, server: System) -> str | None:
    """Why what the server says of its peer does not count: `not_believed` or `source_unproved`; None: it counts."""
    if not _is_believed(graph, server):
        return "not_believed"
    return "source_unproved" if _is_held_to_a_log(graph, server) else None


def _is_believed(graph: Graph, server: System) -> bool:
    """Whether a statement counts: the server accepts headers from peers alone, and these are drawn systems."""
    from_peers = bool(server.believes) and server.peers.issuperset(server.believes)
    return from_peers and all(name in graph.systems for name in server.believes)


def _is_held_to_a_log(graph: Graph, server: System) -> bool:
    """Whether a log knows each connection in which the header can have come, and no line shows which one it was.

    Who reaches the server's port round the balancer writes a header of his own.
    """
    hops = (graph.systems[name] for name in server.believes)
    return any(hop.carries and hop.connects and hop.name in graph.witnesses for hop in hops)
