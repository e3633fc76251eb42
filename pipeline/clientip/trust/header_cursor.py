"""What the headers of one line say, read from the trusted end and used up as the walk goes.

Nothing here decides whom to believe: the walk asks for the next entry that a
system promised, and gets an endpoint or the reason why there is none.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from msgspec import Struct

from clientip.model import Claim, Endpoint, Node, Observation, Ownership, Promise, Unbelieved
from clientip.syntax.addresses import MAX_ENTRIES, format_endpoint, holds, parse_node
from clientip.syntax.headers import claim_nodes


class Stopped(Struct, frozen=True, gc=False):
    """Why there is no next address."""

    reason: str  # word of reasons.UNKNOWN
    at_end: bool = False  # the list was read to its left end: every entry belonged to a system
    by_itself: bool = False  # the system says that it opened the connection for itself


EXHAUSTED: Final = Stopped("header_missing", at_end=True)
_MISSING: Final = Stopped("header_missing")
_NOT_LOGGED: Final = Stopped("header_not_logged")
_INCOMPLETE: Final = Stopped("header_incomplete")
_DOUBTFUL: Final = {"cut": _INCOMPLETE, "twin": Stopped("header_twin")}  # whatever the column shows, or shows not
_UNREADABLE: Final = Stopped("header_unreadable")
_CONTRADICTION: Final = Stopped("contradiction")
_NO_PROXY: Final = Stopped("proxy_missing")

_MAX_REMEMBERED: Final = 64  # characters; longer members are read, but not remembered
_node = lru_cache(maxsize=65536)(parse_node)  # with the blanks round it, as it stands in the list

Members = list[str | Node]  # of a list header, farthest first; a text is read when it is taken


class Said:
    """The unread part of one line's forwarding headers. Lives for one walk."""

    __slots__ = ("_believed", "_lists", "_proxy_used", "_stated", "_used", "dropped", "noticed", "over", "seen")

    def __init__(self, seen: Observation, *, stated: bool, believed: bool) -> None:
        self.seen = seen
        self._believed = believed  # the server accepts headers from drawn systems only
        self._stated = stated  # the walk began at the server's statement, not at the socket
        self._lists: dict[str, Members] = {}  # name → unread entries
        self._used: tuple[str, ...] = ()  # headers of which something was read
        self._proxy_used = seen.proxied is None
        self.noticed: tuple[str, ...] = ()  # findings of the walk itself
        self.dropped: frozenset[str] = frozenset()  # headers that a hop met so far never passes on
        self.over: tuple[Ownership, ...] = ()  # whose addresses realip may have stepped over to find its statement

    def claim(self, name: str) -> Claim | None:
        """The header as logged; None: the log has no column for it."""
        for claim in self.seen.claims:
            if claim.name == name:
                return claim
        return None

    def take(self, promise: Promise, at_socket: bool) -> Endpoint | Stopped:
        """The next address under a promise, or why there is none.

        `at_socket`: the promising system is the one at the observer's own
        connection; only its PROXY header can be in this line.
        """
        source = promise.source
        if source == "proxy":
            if not at_socket or self.seen.proxied is None:
                return _NO_PROXY
            self._proxy_used = True
            return self.seen.proxied
        if source in self.dropped:
            claim = self.claim(source)
            return _CONTRADICTION if claim is not None and claim.values else _MISSING
        if promise.mode == "append":
            return self._take_entry(source)
        if promise.mode == "overwrite":
            return self._take_single(source)
        entry = self._take_entry(source)
        if isinstance(entry, Stopped):
            return entry
        # Google's balancer writes `<client>,<its own address>`: the entry to the left is its peer.
        entry = self._take_entry(source)
        return _MISSING if entry is EXHAUSTED else entry

    def _take_single(self, name: str) -> Endpoint | Stopped:
        claim = self.claim(name)
        if claim is None:
            return _NOT_LOGGED
        if claim.coverage in _DOUBTFUL:
            return _DOUBTFUL[claim.coverage]
        if not claim.values or name in self._used:
            return _MISSING
        if len(claim.values) > 1:
            return _UNREADABLE  # a system that always overwrites leaves one line; of two, another one wrote one
        [node] = claim_nodes(name, claim.values)
        if node.fault == "empty":
            return _MISSING
        self._used += (name,)
        if node.address is None or node.address.scope == "impossible":
            return _UNREADABLE
        return Endpoint(node.address, node.port)

    def _take_entry(self, name: str) -> Endpoint | Stopped:
        unread = self._lists.get(name)
        if unread is None:
            opened = self._open(name)
            if isinstance(opened, Stopped):
                return opened
            unread = opened
        node = _pop(unread)
        if node is not None:
            if name not in self._used:
                self._used += (name,)
            address = node.address
            if address is None or address.scope == "impossible":
                return _UNREADABLE
            return Endpoint(address, node.port)
        claim = self.claim(name)
        if claim is not None and claim.values and claim.coverage == "last":
            return _INCOMPLETE  # further lines may stand to the left
        return EXHAUSTED if name in self._used else _MISSING

    def _open(self, name: str) -> Members | Stopped:
        claim = self.claim(name)
        if claim is None:
            return _NOT_LOGGED
        coverage = claim.coverage
        if coverage != "all":
            if coverage in _DOUBTFUL:
                return _DOUBTFUL[coverage]
            if coverage == "first" and claim.values:
                return _INCOMPLETE
            if coverage == "remainder" and not self._stated and (not self._believed or self.seen.stated is None):
                return _INCOMPLETE
        unread = self._lists[name] = _members(claim)
        if coverage == "appended":
            return self._without_own(unread)
        if coverage == "remainder" and not self._stated:
            self._put_back(unread)
        if self._stated and self.seen.setup.logs_peer == "realip":
            self._used += (name,)  # realip has read at least one entry itself
            if coverage != "remainder" and not self._drop_what_realip_used(unread):
                return _CONTRADICTION
        return unread

    def _without_own(self, unread: Members) -> Members | Stopped:
        """The entries left of the one that the observing system appended, which must name its peer."""
        own = self.seen.stated if self._stated else self.seen.peer
        last = _pop(unread)
        if last is None:
            return _MISSING
        if own is None or last.address != own.address:
            return _CONTRADICTION  # without this check we would step over a vouched entry
        return unread

    def _put_back(self, unread: Members) -> None:
        """Append what realip took off the list and states instead, unless it only repeats the socket's peer."""
        stated, peer = self.seen.stated, self.seen.peer
        if stated is not None and (peer is None or stated.address != peer.address):
            unread.append(parse_node(stated.address.text))

    def _drop_what_realip_used(self, unread: Members) -> bool:
        """Drop the statement and what stands right of it; False if it came from elsewhere.

        Only addresses that realip trusts can stand right of it.  Any other is the client's own peer, and then the
        statement is not of this list: realip did not run, and the client wrote an entry that looks like it.
        """
        stated = self.seen.stated
        while (node := _pop(unread)) is not None:
            if stated is not None and node.address == stated.address:
                return True
            if node.address is None or not any(holds(own, node.address) for own in self.over):
                return False
        return False

    def unread(self) -> tuple[Unbelieved, ...]:
        """Everything for which no system on the path vouched, as written."""
        left: list[Unbelieved] = []
        if not self._proxy_used and self.seen.proxied is not None:
            left.append(Unbelieved("proxy", format_endpoint(self.seen.proxied)))
        for claim in self.seen.claims:
            name = claim.name
            unread = self._lists.get(name)
            if unread is not None:
                text = _joined(unread)
            elif not claim.values or name in self._used:
                continue
            else:
                text = claim.values[0] if len(claim.values) == 1 else ", ".join(claim.values)
            if text:
                left.append(Unbelieved(name, text))
        return tuple(left)


def _members(claim: Claim) -> Members:
    """A list header's entries; those of X-Forwarded-For are read only when they are taken.

    Joined over all lines (RFC 9110 section 5.3) and bounded: what stands left of
    MAX_ENTRIES stays one unreadable text, which no walk can reach.
    """
    values = claim.values
    if claim.name == "forwarded":
        return list(claim_nodes(claim.name, values))
    if not values:
        return []
    text = values[0] if len(values) == 1 else ",".join(values)
    # The list is new, so that it may hold nodes, too; to copy it for the type's sake costs a sixtieth of the walk.
    return [text] if "," not in text else text.rsplit(",", MAX_ENTRIES)  # type: ignore[return-value]


def _pop(unread: Members) -> Node | None:
    """The rightmost entry, taken off; empty members do not count (RFC 9110 section 5.6.1.2)."""
    while unread:
        member = unread.pop()
        if isinstance(member, Node):
            return member
        node = _node(member) if len(member) <= _MAX_REMEMBERED else parse_node(member)
        if node.text:
            return node
    return None


def _joined(unread: Members) -> str:
    return ", ".join([each.strip(" \t") if isinstance(each, str) else each.text for each in unread])
