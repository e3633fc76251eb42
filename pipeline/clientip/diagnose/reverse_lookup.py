"""The mirror question: who was behind this source address at that moment?

It is put as the line of a server that everybody may connect to and that saw nothing but the source, so the
walk and the joins answer it as they answer any line: no rule here is a rule of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from clientip.model import Endpoint, Http, Line, Observation, Record, Resolution, Setup, System
from clientip.syntax.addresses import format_endpoint
from clientip.syntax.times import SECOND_NS, resolution_of, rfc3339_ns
from clientip.trust.graph import Graph, draw
from clientip.trust.owners import networks_of
from clientip.trust.walk import resolve

#: What a walk says that only misses what the question does not show: the hop told *us* nothing.
_UNSHOWN: Final = frozenset({"header_missing", "header_not_logged", "proxy_missing"})
_NAME: Final = "?"  # of the asking server


class ReverseLookup(Struct, frozen=True):
    """Who connected from `peer`, to `local` where that is known, during [start, latest]?"""

    peer: Endpoint
    start_ns: int
    latest_ns: int
    local: Endpoint | None = None
    transport: str = "tcp"
    http1: bool = False  # requests followed each other on it, one at a time


def moment(text: str) -> tuple[int, int]:
    """The first and the last instant an RFC 3339 time can mean, by how many digits are given.

    Errors: FormatError("time").

    >>> moment("1970-01-01T00:00:01Z"), moment("1970-01-01T00:00:00.25Z")
    ((1000000000, 1999999999), (250000000, 259999999))
    """
    start = rfc3339_ns(text)
    return start, start + resolution_of(text) - 1


def asked_in(systems: Sequence[System], mirror: ReverseLookup) -> tuple[str, ...]:
    """The networks in which the drawing knows an owner of the address; else those a system is in."""
    owned = {network for system in systems for network in networks_of(system, mirror.peer.address)}
    return tuple(sorted(owned)) or tuple(sorted({system.network for system in systems}))[:1]


def mirrored(
    systems: Sequence[System], logging: Sequence[str], mirror: ReverseLookup, network: str
) -> tuple[Graph, Record]:
    """The drawing with the asking server in it, and its line."""
    names = frozenset(system.name for system in systems)
    name = next(each for each in (_NAME * length for length in range(1, len(names) + 2)) if each not in names)
    graph = draw([*systems, System(name=name, network=network, peers=names)], [*logging, name])
    setup = Setup(system=name, format="question", network=network)
    seen = Observation(
        setup,
        "connection",
        mirror.start_ns,
        mirror.latest_ns,
        None,
        "own",
        peer=mirror.peer,
        local=mirror.local,
        http=Http(protocol="HTTP/1.1") if mirror.http1 else None,
        transport=mirror.transport,
    )
    text = wording(mirror).encode()
    record_id = sha256(b"%b\0%b" % (network.encode(), text), usedforsecurity=False).hexdigest()[:32]
    return graph, Record(Line(text, text), seen, resolve(graph, seen), record_id, entry=False)


def concluded(record: Record) -> Record:
    """The answer: what only the question did not show is not held against the hop."""
    found = record.resolution
    if found.reason in _UNSHOWN:
        record = replace(record, resolution=replace(found, reason="snat_no_witness", findings=_own(found)))
    return record


def _own(found: Resolution) -> tuple[str, ...]:
    return tuple(word for word in found.findings if word != "promised_header_missing")


def wording(mirror: ReverseLookup) -> str:
    """The question in words."""
    return "".join(_words(mirror))


def _words(mirror: ReverseLookup) -> Iterator[str]:
    yield f"who connected from {format_endpoint(mirror.peer)}"
    if mirror.local is not None:
        yield f" to {format_endpoint(mirror.local)}"
    yield f" ({mirror.transport}) between {_stamp(mirror.start_ns)} and {_stamp(mirror.latest_ns)}"


def _stamp(ns: int) -> str:
    second, fraction = divmod(ns, SECOND_NS)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
