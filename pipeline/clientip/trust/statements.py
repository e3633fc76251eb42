"""Rule 7: when it counts what a server says of its peer without having logged the socket (`logs_peer`)."""

from __future__ import annotations

from collections.abc import Container, Mapping

from clientip.model import System


def doubt_of(systems: Mapping[str, System], witnesses: Container[str], server: System) -> str | None:
    """Why what the server says of its peer does not count: `not_believed` or `source_unproved`; None: it counts."""
    if not _is_believed(systems, server):
        return "not_believed"
    return "source_unproved" if _is_held_to_a_log(systems, witnesses, server) else None


def _is_believed(systems: Mapping[str, System], server: System) -> bool:
    """Whether the server accepts headers from peers alone, and these are drawn systems."""
    from_peers = bool(server.believes) and server.peers.issuperset(server.believes)
    return from_peers and all(name in systems for name in server.believes)


def _is_held_to_a_log(systems: Mapping[str, System], witnesses: Container[str], server: System) -> bool:
    """Whether a log knows each connection in which the header can have come, and no line shows which one it was.

    Who reaches the server's port round the balancer writes a header of his own.
    """
    hops = (systems[name] for name in server.believes)
    return any(hop.carries and hop.connects and hop.name in witnesses for hop in hops)
