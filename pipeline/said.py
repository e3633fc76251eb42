"""What the headers of one line say, read from the trusted end and used up as the walk goes.

Nothing here decides whom to believe: `trust` asks for the next entry that a
system promised, and gets an endpoint or the reason why there is none.
"""

from __future__ import annotations

from pipeline.addresses import format_endpoint
from pipeline.headers import claim_nodes
from pipeline.model import Claim, Endpoint, Node, Observation, Promise

#: Told instead of an endpoint when a list was read to its left end: every entry belonged to a system.
EXHAUSTED = "exhausted"


class Said:
    """The unread part of one line's forwarding headers. Lives for one walk."""

    __slots__ = ("_lists", "_proxy_used", "_seen", "_stated", "_used")

    def __init__(self, seen: Observation, *, stated: bool) -> None:
        self._seen = seen
        self._stated = stated  # the walk began at the server's statement, not at the socket
        self._lists: dict[str, tuple[tuple[Node, ...], int, int]] = {}  # name → (entries, unread, all)
        self._used: set[str] = set()
        self._proxy_used = seen.proxied is None

    def claim(self, name: str) -> Claim | None:
        """The header as logged; None where the log has no column for it."""
        for claim in self._seen.claims:
            if claim.name == name:
                return claim
        return None

    def take(self, promise: Promise, *, at_socket: bool) -> Endpoint | str:
        """The next address under a promise, or a word of `reasons.UNKNOWN` or EXHAUSTED.

        `at_socket`: the promising system is the one at the observer's own
        connection; only its PROXY header can be in this line.
        """
        if promise.source == "proxy":
            if not at_socket or self._seen.proxied is None:
                return "proxy_missing"
            self._proxy_used = True
            return self._seen.proxied
        if promise.mode == "overwrite":
            return self._take_single(promise.source)
        entry = self._take_entry(promise.source)
        if promise.mode == "append2" and entry.__class__ is Endpoint:
            # Google's balancer writes `<client>,<its own address>`: the entry to the left is its peer.
            entry = self._take_entry(promise.source)
            return "header_missing" if entry == EXHAUSTED else entry
        return entry

    def _take_single(self, name: str) -> Endpoint | str:
        claim = self.claim(name)
        if claim is None:
            return "header_not_logged"
        if claim.coverage == "cut":
            return "header_incomplete"
        if not claim.values or name in self._used:
            return "header_missing"
        if len(claim.values) > 1:
            return "header_unreadable"  # who always overwrites leaves one line; two are somebody's
        [node] = claim_nodes(name, claim.values)
        if node.fault == "empty":
            return "header_missing"
        self._used.add(name)
        return _endpoint(node)

    def _take_entry(self, name: str) -> Endpoint | str:
        state = self._lists.get(name)
        if state is None:
            opened = self._open(name)
            if opened.__class__ is str:
                return opened
            state = opened  # type: ignore[assignment]
        nodes, unread, whole = state  # type: ignore[misc]
        if unread == 0:
            claim = self.claim(name)
            if claim is not None and claim.coverage == "last":
                return "header_incomplete"  # further lines may stand to the left
            return EXHAUSTED if unread < whole else "header_missing"
        self._lists[name] = (nodes, unread - 1, whole)
        return _endpoint(nodes[unread - 1])

    def _open(self, name: str) -> tuple[tuple[Node, ...], int, int] | str:
        claim = self.claim(name)
        if claim is None:
            return "header_not_logged"
        if claim.coverage in ("first", "cut") and claim.values:
            return "header_incomplete"
        if claim.coverage == "remainder" and not self._stated:
            return "header_incomplete"
        nodes = claim_nodes(name, claim.values)
        unread = len(nodes)
        by_realip = self._stated and self._seen.setup.logs_peer == "realip"
        if claim.coverage == "appended":
            own = self._seen.stated if self._stated else self._seen.peer
            if not nodes:
                return "header_missing"
            if own is None or nodes[-1].address != own.address:
                return "contradiction"  # without this check we would step over a vouched entry
            unread -= 1
        elif by_realip and claim.coverage != "remainder":
            used = _used_by_realip(nodes, self._seen.stated)
            if used is None:
                return "contradiction"
            unread = used
        state = (nodes, unread, unread + by_realip)  # realip has read at least one entry itself
        self._lists[name] = state
        return state

    def unread(self) -> tuple[tuple[str, str], ...]:
        """(header, text) of everything that nobody on the path vouched for, as written."""
        left: list[tuple[str, str]] = []
        if not self._proxy_used and self._seen.proxied is not None:
            left.append(("proxy", format_endpoint(self._seen.proxied)))
        for claim in self._seen.claims:
            if not claim.values or claim.name in self._used:
                continue
            state = self._lists.get(claim.name)
            left_over = claim.values if state is None else [node.text for node in state[0][: state[1]]]
            text = ", ".join(left_over)
            if text:
                left.append((claim.name, text))
        return tuple(left)


def _endpoint(node: Node) -> Endpoint | str:
    address = node.address
    if address is None or address.scope == "impossible":
        return "header_unreadable"
    return Endpoint(address, node.port)


def _used_by_realip(nodes: tuple[Node, ...], stated: Endpoint | None) -> int | None:
    """How many entries stand left of the one realip stopped at; None if it used another header."""
    if stated is None:
        return None
    for index in range(len(nodes) - 1, -1, -1):
        if nodes[index].address == stated.address:
            return index
    return None
