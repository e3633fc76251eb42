"""A flow of Linux connection tracking as a translation: what its readers share, whatever notation they read.

`peer` sent to `local` (the original tuple), and the next hop sees `upstream_local` connect to `upstream_peer` (the
reply tuple, turned round).

`connection_serial` is `<protocol>/<ct id>/<EVENT>` (`tcp/3668417984/NEW`); the id is `-` where it is not shown, and
unique only while its entry lives.  Two zones may hold the same tuple at the same time: those are two entries with two
ids, and two facts, which disagree where they name different ends.  EVENT is NEW, UPDATE, DESTROY, or LIST for a line
of a table.

`assured`: True with the flag; False at the end of a flow that never got an answer; otherwise it may still come, or
the event does not say.

Stamps of receipt trail their events by an amount that no line shows: without the operator's bound (`stamped_within`)
they say only that the flow had begun by then.

The kernel's stop is the moment the entry expired, so it is later than the last packet.  Until then no other flow can
have had the tuple.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final, NamedTuple

from clientip.errors import FormatError
from clientip.model import Endpoint, Line, Observation, Setup
from clientip.syntax.addresses import parse_address, read_port
from clientip.syntax.times import SECOND_NS, local_ns, spread

UNKNOWN: Final = "unknown"  # what conntrack-tools call a protocol without a name


class Ends(NamedTuple):
    """Source and destination of one direction."""

    source: Endpoint
    destination: Endpoint


class Stamp(NamedTuple):
    """When something was: earliest and latest instant the text can mean, and its resolution, in ns."""

    earliest: int
    latest: int
    resolution: int
    is_receipt: bool = False  # made when the event was received or printed, so later than the event


class NatFlow(NamedTuple):
    """What one line tells of one flow."""

    protocol: str | None  # name, or the number of one without a name
    number: str | None  # the entry's id
    event: str  # NEW UPDATE DESTROY LIST
    original: Ends
    reply: Ends
    start: Stamp | None = None
    end: Stamp | None = None
    seen: Stamp | None = None  # moment of a line that is neither start nor end
    assured: bool | None = None


def endpoint(address: str, port: str | None) -> Endpoint:
    """One end of a tuple."""
    return Endpoint(parse_address(address), None if port is None else read_port(port))


def printed_stamp(text: str, zone: str) -> Stamp:
    """When a line was printed, in whole seconds of local time, `2024/05/01 10:00:00`."""
    earliest, latest = local_ns(text, "nginx_error", zone)
    return Stamp(earliest, latest, SECOND_NS, is_receipt=True)


def nanosecond_stamp(digits: str) -> Stamp:
    """A stamp of the kernel's own, in ns since the epoch."""
    moment = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 19 else 0
    if not 0 < moment < 1 << 63:
        raise FormatError("time")
    return Stamp(moment, moment, 1)


def assured_of(event: str, flags: Container[str]) -> bool | None:
    """Whether both ends were seen to speak; `flags` holds `assured` and `unreplied` where they are set."""
    if "assured" in flags:
        return True
    if event == "DESTROY" and "unreplied" in flags:
        return False
    return None


def translation(setup: Setup, line: Line, flow: NatFlow, *, is_extendable: bool = False) -> Observation:
    """The observation of one line."""
    start, end, seen = flow.start, flow.end, flow.seen
    time_by = "own"
    if start is None and end is None and seen is None and line.stamp_ns is not None:
        time_by, seen = "wrapper", Stamp(line.stamp_ns, line.stamp_ns, 1, is_receipt=True)
        start, end = (seen if flow.event == event else None for event in ("NEW", "DESTROY"))
    begun = start or end or seen  # whatever was seen of a flow, it had begun by then
    skew = setup.max_skew_ns
    start, end = _bounded(start, setup), _bounded(end, setup)
    over, slack = (None, None) if end is None else _end(end, skew)
    return Observation(
        setup,
        "translation",
        None if start is None else spread(start.earliest, start.resolution, skew)[0],
        None if begun is None else spread(begun.latest, begun.resolution, skew)[1],
        over,
        None if begun is None else time_by,
        peer=flow.original.source,
        local=flow.original.destination,
        upstream_local=flow.reply.destination,
        upstream_peer=flow.reply.source,
        instance=line.instance,
        connection_serial=f"{flow.protocol or '-'}/{flow.number or '-'}/{flow.event}",
        extendable=is_extendable,
        transport=flow.protocol,
        assured=flow.assured,
        end_slack_ns=slack,
    )


def _bounded(stamp: Stamp | None, setup: Setup) -> Stamp | None:
    """The stamp as an interval that holds its event; None: nobody says how far it trails."""
    if stamp is None or not stamp.is_receipt:
        return stamp
    if setup.stamped_within_ns is None:
        return None
    return stamp._replace(earliest=stamp.earliest - setup.stamped_within_ns)


def _end(end: Stamp, skew: int) -> tuple[int, int | None]:
    """The end, and how far it may be off; None: as far as the start."""
    if not end.is_receipt:
        return end.earliest, None  # of two readings of local time, the one that claims less
    low, high = spread(end.earliest, 1, skew)[0], spread(end.latest, end.resolution, skew)[1]
    middle = (low + high) // 2
    return middle, high - middle
