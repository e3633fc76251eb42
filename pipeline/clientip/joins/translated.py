"""The addresses that NAT logs translate to: a node's own, so never a client's.

Only the target of source NAT counts, as the node's log shows it: the destination of the reply, where it is not the
source of the original.  The node's rules choose that address.  Who sends the packets chooses the source and the
destination of the original, and whatever he writes there comes back in the reply as it was, or as the node's own
address; so he cannot bring the address of somebody else into the set.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from clientip.model import Fact, Heartbeat, Line, Observation, Outcome, Reader, Skipped, System
from clientip.syntax.addresses import holds

NOTE: Final = "translated_undrawn"
MAX_TRANSLATED: Final = 4096  # addresses in no system; a network that has more of them lists their range
_MAX_REMEMBERED: Final = 65_536


def translated(seen: Observation) -> str | None:
    """The address that source NAT put in the place of the sender's; None: it stayed, or the line tells of none.

    >>> from clientip.model import Endpoint, Setup
    >>> from clientip.syntax.addresses import parse_address
    >>> client, node = (Endpoint(parse_address(text), 4711) for text in ("203.0.113.7", "198.51.100.11"))
    >>> nodes = Setup(system="nodes", format="conntrack")
    >>> flow = Observation(nodes, "translation", None, None, None, None, peer=client)
    >>> translated(replace(flow, upstream_local=node)), translated(replace(flow, upstream_local=client))
    ('198.51.100.11', None)
    """
    before, after = seen.peer, seen.upstream_local
    if seen.kind != "translation" or before is None or after is None or before.address == after.address:
        return None
    return after.address.text


class Undrawn:
    """Which translated addresses are in no system, and not in the operator's list of them either.

    A function of the systems and the list; what it remembers only saves time.
    """

    __slots__ = ("_known", "_listed", "_owns")

    def __init__(self, systems: Iterable[System], listed: frozenset[str] = frozenset()) -> None:
        self._owns = tuple(own for system in systems for own in system.owns)
        self._listed = listed
        self._known: dict[str, bool] = {}

    def __call__(self, seen: Observation) -> bool:
        """Whether the line translates to such an address."""
        address = translated(seen)
        if address is None:
            return False
        known = self._known.get(address)
        if known is None:
            assert seen.upstream_local is not None
            after = seen.upstream_local.address
            known = address not in self._listed and not any(holds(own, after) for own in self._owns)
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            self._known[address] = known
        return known


def noting_translated(read: Reader, undrawn: Undrawn) -> Reader:
    """The reader, which notes a line that translates to an undrawn address."""

    def noting(line: Line) -> Observation | Skipped | Heartbeat:
        seen = read(line)
        if type(seen) is Observation and undrawn(seen):
            return replace(seen, notes=(*seen.notes, NOTE))
        return seen

    return noting


def undrawn_in(outcomes: Iterable[Outcome]) -> frozenset[str]:
    """The addresses of the lines that were noted; canonical text."""
    facts = (each.record.observation for each in outcomes if isinstance(each, Fact))
    return frozenset(filter(None, (translated(seen) for seen in facts if NOTE in seen.notes)))
