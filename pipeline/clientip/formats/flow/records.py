"""Flow records that carry the addresses before and after NAT, as JSON: one object in a line.

Read are, told apart by their keys:

- IPFIX by the names of IANA's information elements, flat (ipfixcol2, also with its prefix `iana:`) or below `ipfix` or
  `netflow` (go-ipfix, Logstash).  Of NAT events (RFC 8158) the sessions are read, 4 to 7, and 1 and 2 of old; their
  create is the start, their delete the end.
- Antrea's FlowAggregator, which adds `proxySnat*` and `destinationService*`.  Its destination is already the pod, and
  the service's address where the client meant to go.
- NetObserv: `SrcAddr`, `XlatSrcAddr` …  A sampled record is as true as any other; it is others that are missing.

`peer` and `local` are the ends before NAT, `upstream_local` and `upstream_peer` those after it: what the next hop sees.
A side without a post-NAT field was not translated; a translated address without its port has none.  Addresses and
ports of zero are what exporters write for nothing.  Records without any post-NAT field are skipped.

Time: an exporter keeps one record for a tuple, and writes it out from time to time.  What it shows is the translation
of its last packet: a client that reuses a source port quickly gets another translation, and the record still says when
the first packet came.  So a record tells for certain only that its translation was there when it ends, and its start
lies between its first and its last packet (`start_ns` to `start_latest_ns`): it fits a moment, and never proves one by
itself.  Only a record that says that its flow ended (flowEndReason 3, or a session deleted) holds one flow, and its
start is that of the flow.  Antrea's hold what it has put together by address and port, and NetObserv's never say.

Numbers are in the unit of their element; under the prefix `iana:` they are milliseconds, as that writer has it.

https://www.iana.org/assignments/ipfix  https://github.com/CESNET/ipfixcol2
https://antrea.io/docs/main/docs/network-flow-visibility/  https://github.com/netobserv/flowlogs-pipeline
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final, NamedTuple

from clientip.errors import FormatError
from clientip.formats.flow.samples import SAMPLES
from clientip.model import Address, Endpoint, Format, Line, Observation, Reader, Setup, Skipped
from clientip.syntax.addresses import parse_address, read_port
from clientip.syntax.jsonlines import extendable, int_of, read_object, text_of
from clientip.syntax.times import MICROSECOND_NS, MILLISECOND_NS, SECOND_NS, resolution_of, rfc3339_ns, spread
from clientip.syntax.transports import PROTOCOLS

_PREFIXES: Final = ("iana:", "antrea:")
_ENVELOPES: Final = ("ipfix", "netflow")
_NOTHING: Final = (None, "", "0.0.0.0", "::")  # noqa: S104 - what exporters write for no address
_UNITS: Final = MappingProxyType(
    {"Nanoseconds": 1, "Microseconds": MICROSECOND_NS, "Milliseconds": MILLISECOND_NS, "Seconds": SECOND_NS}
)
_END_OF_FLOW: Final = 3  # flowEndReason
_CREATED: Final = frozenset({1, 4, 6})  # natEvent; 1 and 2 are of the drafts
_DELETED: Final = frozenset({2, 5, 7})
_ICMP6: Final = "ipv6-icmp"  # IANA's keyword for what is called icmpv6 everywhere else

Record = dict[str, Any]


class _End(NamedTuple):
    """The keys of one end: its address, of either version, and its port."""

    addresses: tuple[str, ...]
    port: str


class _Dialect(NamedTuple):
    """Where a kind of record says what: the ends before NAT, and after it."""

    peer: _End
    local: _End
    near: _End  # post-NAT source
    far: _End  # post-NAT destination
    protocol: str


_IPFIX: Final = _Dialect(
    _End(("sourceIPv4Address", "sourceIPv6Address"), "sourceTransportPort"),
    _End(("destinationIPv4Address", "destinationIPv6Address"), "destinationTransportPort"),
    _End(("postNATSourceIPv4Address", "postNATSourceIPv6Address"), "postNAPTSourceTransportPort"),
    _End(("postNATDestinationIPv4Address", "postNATDestinationIPv6Address"), "postNAPTDestinationTransportPort"),
    "protocolIdentifier",
)
_ANTREA_SNAT: Final = _End(("proxySnatIPv4", "proxySnatIPv6"), "proxySnatPort")
_ANTREA_SERVICE: Final = _End(("destinationServiceIPv4", "destinationServiceIPv6"), "destinationServicePort")
_NETOBSERV: Final = _Dialect(
    _End(("SrcAddr",), "SrcPort"),
    _End(("DstAddr",), "DstPort"),
    _End(("XlatSrcAddr",), "XlatSrcPort"),
    _End(("XlatDstAddr",), "XlatDstPort"),
    "Proto",
)


class _Ends(NamedTuple):
    peer: Endpoint
    local: Endpoint | None
    near: Endpoint
    far: Endpoint | None


class _Stamp(NamedTuple):
    moment: int
    resolution: int


class _Times(NamedTuple):
    """What the record says of time; `event` only of NAT events, `whole` if it holds one flow to its end."""

    start: _Stamp | None
    end: _Stamp | None
    event: str | None = None
    whole: bool = False


def _compile(setup: Setup) -> Reader:
    def read(line: Line) -> Observation | Skipped:
        fields = read_object(line.text)
        if fields.get("@type", "ipfix.entry") != "ipfix.entry":
            return Skipped(line, "no_request")  # a template or an exporter's statistics
        record, in_ms = _record(fields)
        netobserv = "SrcAddr" in record
        ends = _ends(record, _NETOBSERV) if netobserv else _antrea_ends(record) or _ends(record, _IPFIX)
        times = _netobserv_times(record) if netobserv else _ipfix_times(record, in_ms=in_ms)
        if ends is None or times is None:
            return Skipped(line, "no_request")
        protocol = _protocol(record, _NETOBSERV if netobserv else _IPFIX)
        start, latest, end, time_by = _span(setup, line, times)
        return Observation(
            setup,
            "translation",
            start,
            latest,
            end,
            time_by,
            peer=ends.peer,
            local=ends.local,
            upstream_local=ends.near,
            upstream_peer=ends.far,
            instance=text_of(record, "AgentIP") or line.instance,
            connection_serial=None if times.event is None else f"{protocol or '-'}/-/{times.event}",
            extendable=extendable(line.text, fields),
            transport=protocol,
        )

    return read


def _record(fields: Record) -> tuple[Record, bool]:
    """The record without envelope and prefixes, and whether its times are in milliseconds whatever their names."""
    for name in _ENVELOPES:
        if type(fields.get(name)) is dict:
            return fields[name], False
    if not any(key.startswith(_PREFIXES) for key in fields):
        return fields, False
    bare = {key.partition(":")[2] if key.startswith(_PREFIXES) else key: value for key, value in fields.items()}
    if len(bare) != len(fields):
        raise FormatError("two_readings")
    return bare, True


def _ends(record: Record, dialect: _Dialect) -> _Ends | None:
    """The four ends; None where nothing says that the record is of a translation."""
    near, far = _end(record, dialect.near), _end(record, dialect.far)
    if near == far == (None, None):
        return None
    peer, local = _endpoint(record, dialect.peer), _endpoint(record, dialect.local)
    if peer is None:
        raise FormatError("field_missing")
    return _Ends(peer, local, _translated(peer, near), None if local is None else _translated(local, far))


def _antrea_ends(record: Record) -> _Ends | None:
    """The four ends of a flow that Antrea's proxy translated; None for any other."""
    snat, service = _end(record, _ANTREA_SNAT), _endpoint(record, _ANTREA_SERVICE)
    if snat[0] is None and service is None:
        return None
    peer, pod = _endpoint(record, _IPFIX.peer), _endpoint(record, _IPFIX.local)
    if peer is None or pod is None:
        raise FormatError("field_missing")
    return _Ends(peer, service or pod, _translated(peer, snat), pod)


def _translated(before: Endpoint, after: tuple[Address | None, int | None]) -> Endpoint:
    """An end after NAT: the same if nothing is said of it, and without a port if only its address is."""
    address, port = after
    return before if address is None and port is None else Endpoint(address or before.address, port)


def _end(record: Record, keys: _End) -> tuple[Address | None, int | None]:
    found = [text for key in keys.addresses if (text := text_of(record, key)) not in _NOTHING]
    if len(found) > 1:
        raise FormatError("two_readings")
    port = int_of(record, keys.port)
    return parse_address(found[0] or "") if found else None, None if port is None else read_port(str(port))


def _endpoint(record: Record, keys: _End) -> Endpoint | None:
    address, port = _end(record, keys)
    return None if address is None else Endpoint(address, port)


def _protocol(record: Record, dialect: _Dialect) -> str | None:
    """The protocol, written as its number or as IANA's keyword."""
    value = record.get(dialect.protocol)
    if type(value) is str and not value.isdecimal():
        name = value.lower()[:16]
        return "icmpv6" if name == _ICMP6 else name or None
    number = int_of(record, dialect.protocol)
    return None if number is None else PROTOCOLS.get(number, str(number))


def _netobserv_times(record: Record) -> _Times:
    start, end = (_stamp(record, f"TimeFlow{word}Ms", MILLISECOND_NS, MILLISECOND_NS) for word in ("Start", "End"))
    return _Times(start, end)


def _ipfix_times(record: Record, *, in_ms: bool) -> _Times | None:
    """None for an event that is of no session: a pool, a block of ports, a binding without its other end."""
    start, end, seen = (_element(record, word, in_ms=in_ms) for word in ("flowStart", "flowEnd", "observationTime"))
    event = int_of(record, "natEvent")
    if not event:
        put_together = any(key in record for key in (*_ANTREA_SNAT.addresses, *_ANTREA_SERVICE.addresses))
        return _Times(start, end, None, not put_together and int_of(record, "flowEndReason") == _END_OF_FLOW)
    if event in _CREATED:
        return _Times(seen or start, None, "NEW", True)
    return _Times(start, seen or end, "DESTROY", True) if event in _DELETED else None


def _element(record: Record, word: str, *, in_ms: bool) -> _Stamp | None:
    """The finest of the elements that say the same time in different units."""
    for name, unit in _UNITS.items():
        found = _stamp(record, word + name, unit, MILLISECOND_NS if in_ms else unit)
        if found is not None:
            return found
    return None


def _stamp(record: Record, key: str, unit: int, written: int) -> _Stamp | None:
    """A time as text, or as a number of `written` ns; it is no finer than its element's unit.  0 is none."""
    value = record.get(key)
    if type(value) is str and "T" in value:
        return _Stamp(rfc3339_ns(value), max(unit, resolution_of(value)))
    number = int_of(record, key)
    if not number:
        return None
    if not 0 < number * written < 1 << 63:
        raise FormatError("time")
    return _Stamp(number * written, max(unit, written))


def _span(setup: Setup, line: Line, times: _Times) -> tuple[int | None, int | None, int | None, str | None]:
    """start_ns, start_latest_ns, end_ns, time_by; see the head of this module."""
    skew, (start, end, _, whole) = setup.max_skew_ns, times
    if start is not None and end is not None and end.moment + end.resolution <= start.moment:
        raise FormatError("time")
    if start is None and end is None:
        return None, line.stamp_ns, None, None if line.stamp_ns is None else "wrapper"
    earliest = None if start is None else spread(start.moment, start.resolution, skew)[0]
    begun = start if whole and start is not None else end or start
    latest = None if begun is None else spread(begun.moment, begun.resolution, skew)[1]
    return earliest, latest, None if end is None else end.moment, "own"


FLOW_JSON: Final = Format(
    name="flow_json",
    title="Flow records with NAT fields, JSON lines: IPFIX by IANA's names, Antrea FlowAggregator, NetObserv",
    compile=_compile,
    samples=SAMPLES,
    connections="",
    ask_for=(
        "IPFIX elements 225 to 228 (post-NAT addresses and ports), 136 (flowEndReason) or 230 (natEvent), and times in "
        "milliseconds or finer; Antrea: recordFormat JSON; NetObserv: the agent feature PacketTranslation, sampling 1"
    ),
)
