"""ctnetlink messages of the Linux kernel, read and written: no sockets and no clock here.

The messages are the kernel's, and every length in them is checked all the same: a malformed message is counted, and
raises no exception. Reading is linear in the length of the message.

<https://docs.kernel.org/userspace-api/netlink/intro.html>, linux/netfilter/nfnetlink_conntrack.h
"""

from __future__ import annotations

import socket
import struct
import sys
from functools import lru_cache
from typing import Final, NamedTuple

NEW: Final = 0
UPDATE: Final = 1
DESTROY: Final = 2

SEEN_REPLY: Final = 0x2  # bits of `ConntrackEntry.status`
ASSURED: Final = 0x4
SOURCE_NAT: Final = 0x10

TCP: Final = 6
ESTABLISHED: Final = 3  # values of `ConntrackEntry.state`
TIME_WAIT: Final = 7
CLOSE: Final = 8

_WITH_PORTS: Final = frozenset({6, 17, 33, 132, 136})  # GRE has keys in their place

# Attributes, nfnetlink_conntrack.h.
TUPLE_ORIG, TUPLE_REPLY, STATUS, PROTOINFO, ID, ZONE, TIMESTAMP, STATUS_MASK, TIMESTAMP_EVENT = (
    *(1, 2, 3, 4, 12, 18, 20, 26, 27),
)
TUPLE_ZONE: Final = 3
PROTOINFO_TCP: Final = 1
TCP_STATE, TCP_FLAGS_ORIGINAL, TCP_FLAGS_REPLY = 1, 4, 5
CLOSE_INIT: Final = 0x4  # of a direction's flags: its FIN was the first (IP_CT_TCP_FLAG_CLOSE_INIT)
_KIND: Final = 0x3FFF  # of an attribute's type; the two bits above say that it is nested, or in network order

SUBSYSTEM: Final = 1  # NFNL_SUBSYS_CTNETLINK
CREATED: Final = 0x600  # NLM_F_CREATE | NLM_F_EXCL: NEW; without these flags the same message is UPDATE
_GET, _DELETE = 1, 2
_REQUEST_DUMP: Final = 0x301
_ERROR, _DONE, _OVERRUN = 2, 3, 4

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_PAYLOAD: Final = _HEADER.size + 4  # behind nfgenmsg: family, version, resource
_ATTRIBUTE: Final = struct.Struct("=HH")
_U16, _U32, _U64 = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">Q")


def _attribute(kind: int, size: int) -> bytes:
    return _ATTRIBUTE.pack(size + 4, kind)


_LIFE: Final = struct.Struct(">4sQ4sQ")
_START_HEAD, _STOP_HEAD = _attribute(1, 8), _attribute(2, 8)


class ConntrackEntry(NamedTuple):
    """One message about one flow. Times are the kernel's, in ns since the epoch; None: it did not say."""

    event: int  # NEW, UPDATE, DESTROY
    key: bytes  # the original tuple and the id: no other living flow has it
    number: int  # the kernel's id, which it gives again to later flows
    original: bytes  # the attribute's content; `ends` reads it
    reply: bytes
    status: int
    state: int | None  # of TCP
    finished: bool  # one side was seen to send its FIN; the kernel says it of a flow that lives
    zone: int
    start: int | None
    stop: int | None
    stamp: int | None  # of the event itself


class TupleEnds(NamedTuple):
    """One direction of a flow. Ports are None for protocols without."""

    protocol: int
    source: str
    source_port: int | None
    destination: str
    destination_port: int | None


class NetlinkRead(NamedTuple):
    """What one datagram held."""

    entries: list[ConntrackEntry]
    malformed: int  # messages that cannot be read
    lost: bool = False  # whether messages before this datagram are missing
    done: bool = False  # whether the dump ends here
    error: int = 0  # errno with which the kernel refused a request


def read_messages(data: bytes) -> NetlinkRead:
    """All messages of one datagram."""
    entries: list[ConntrackEntry] = []
    at, end, malformed = 0, len(data), 0
    lost, done, error = False, False, 0
    while end - at >= _HEADER.size:
        size, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= size <= end - at:
            break
        if kind >> 8 == SUBSYSTEM:
            event = UPDATE if kind & 0xFF == 0 else kind & 0xFF
            if event in (UPDATE, _DELETE):
                entry = _entry(data, at + _PAYLOAD, at + size, NEW if event == UPDATE and flags & CREATED else event)
                if entry is None:
                    malformed += 1
                else:
                    entries.append(entry)
        elif kind == _DONE:
            done = True
        elif kind == _ERROR:
            error = _errno(data, at + _HEADER.size, at + size)
        elif kind == _OVERRUN:
            lost = True
        at += (size + 3) & ~3
    return NetlinkRead(entries, malformed + (at < end), lost, done, error)


def _errno(data: bytes, at: int, end: int) -> int:
    return 0 if end - at < 4 else -int.from_bytes(data[at : at + 4], sys.byteorder, signed=True)


def _entry(data: bytes, at: int, end: int, event: int) -> ConntrackEntry | None:
    """One message from its first attribute to its end; None if a part is missing or does not fit."""
    original = reply = b""
    number = status = state = stamp = None
    finished = False
    start = stop = None
    zone = 0
    while end - at >= 4:
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if not 4 <= size <= end - at:
            return None
        kind &= _KIND
        if kind == TUPLE_ORIG:
            original = data[at + 4 : at + size]
        elif kind == TUPLE_REPLY:
            reply = data[at + 4 : at + size]
        elif kind == ID and size == 8:
            (number,) = _U32.unpack_from(data, at + 4)
        elif kind == STATUS and size == 8:
            (status,) = _U32.unpack_from(data, at + 4)
        elif kind == TIMESTAMP_EVENT and size == 12:
            (stamp,) = _U64.unpack_from(data, at + 4)
        elif kind == PROTOINFO:
            state, finished = _tcp(data, at + 4, at + size)
        elif kind == TIMESTAMP:
            start, stop = _life(data, at + 4, at + size)
        elif kind == ZONE and size == 6:
            (zone,) = _U16.unpack_from(data, at + 4)
        at += (size + 3) & ~3
    if number is None or status is None or not original or not reply or at < end:
        return None
    if len(original) not in _USUAL and not zone:
        zone = _zone_of(original)
    key = original + _U32.pack(number)
    key += _U16.pack(zone) if zone else b""
    ends = key, number, original, reply
    return ConntrackEntry(event, *ends, status, state, finished, zone, start, stop, stamp)


def _attributes(data: bytes, at: int, end: int) -> dict[int, bytes]:
    """Attributes by kind; the last one if a kind comes twice. An attribute that does not fit ends the search."""
    found: dict[int, bytes] = {}
    while end - at >= 4:
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if not 4 <= size <= end - at:
            break
        found[kind & _KIND] = data[at + 4 : at + size]
        at += (size + 3) & ~3
    return found


def _tcp(data: bytes, at: int, end: int) -> tuple[int | None, bool]:
    """The state, and whether a side has sent its FIN."""
    tcp = _attributes(data, at, end).get(PROTOINFO_TCP, b"")
    found = _attributes(tcp, 0, len(tcp))
    state = found.get(TCP_STATE, b"")
    flags = found.get(TCP_FLAGS_ORIGINAL, b"")[:1], found.get(TCP_FLAGS_REPLY, b"")[:1]
    finished = any(each and each[0] & CLOSE_INIT for each in flags)
    return state[0] if len(state) == 1 else None, finished


def _zone_of(original: bytes) -> int:
    """The zone of a flow that has one in this direction only."""
    zone = _attributes(original, 0, len(original)).get(TUPLE_ZONE, b"")
    return _U16.unpack(zone)[0] if len(zone) == 2 else 0


def _life(data: bytes, at: int, end: int) -> tuple[int | None, int | None]:
    """When a flow began and ended."""
    if end - at == _LIFE.size:
        first, start, second, stop = _LIFE.unpack_from(data, at)
        if first == _START_HEAD and second == _STOP_HEAD:
            return start, stop
    parts = _attributes(data, at, end)
    return _u64(parts.get(1)), _u64(parts.get(2))


def _u64(value: bytes | None) -> int | None:
    return None if value is None or len(value) != 8 else _U64.unpack(value)[0]


# Nearly every tuple is one of IPv4 or IPv6 with ports, and then always of the same layout.
_PORTS: Final = "8sB3x4sH2x4sH2x"
_TUPLE4, _TUPLE6 = struct.Struct(">8s4s4s4s" + _PORTS), struct.Struct(">8s16s4s16s" + _PORTS)
_USUAL: Final = (_TUPLE4.size, _TUPLE6.size)


_NESTED: Final = 0x8000
_PROTO_HEAD: Final = _attribute(2 | _NESTED, 24) + _attribute(1, 1)
_SPORT_HEAD, _DPORT_HEAD = _attribute(2, 2), _attribute(3, 2)
_HEADS4: Final = (
    _attribute(1 | _NESTED, 16) + _attribute(1, 4),
    _attribute(2, 4),
    _PROTO_HEAD,
    _SPORT_HEAD,
    _DPORT_HEAD,
)
_HEADS6: Final = (
    _attribute(1 | _NESTED, 40) + _attribute(3, 16),
    _attribute(4, 16),
    _PROTO_HEAD,
    _SPORT_HEAD,
    _DPORT_HEAD,
)


def ends(content: bytes) -> TupleEnds | None:
    """The two ends that a tuple names; None if it is no tuple."""
    size = len(content)
    if size in _USUAL:
        form, heads = (_TUPLE4, _HEADS4) if size == _TUPLE4.size else (_TUPLE6, _HEADS6)
        head, source, second, destination, proto, protocol, third, sport, fourth, dport = form.unpack(content)
        if (head, second, proto, third, fourth) == heads and protocol in _WITH_PORTS:
            return TupleEnds(protocol, _address(source), sport, _address(destination), dport)
    return _ends_slowly(content)


def _ends_slowly(content: bytes) -> TupleEnds | None:
    outer = _attributes(content, 0, len(content))
    addresses = _attributes(outer.get(1, b""), 0, len(outer.get(1, b"")))
    inner = _attributes(outer.get(2, b""), 0, len(outer.get(2, b"")))
    source = addresses.get(1, addresses.get(3, b""))
    destination = addresses.get(2, addresses.get(4, b""))
    protocol = inner.get(1, b"")
    if len(source) not in (4, 16) or len(source) != len(destination) or len(protocol) != 1:
        return None
    sport = dport = None
    if protocol[0] in _WITH_PORTS:
        if len(inner.get(2, b"")) != 2 or len(inner.get(3, b"")) != 2:
            return None
        sport, dport = _U16.unpack(inner[2])[0], _U16.unpack(inner[3])[0]
    return TupleEnds(protocol[0], _address(source), sport, _address(destination), dport)


@lru_cache(4096)
def _address(packed: bytes) -> str:
    return socket.inet_ntoa(packed) if len(packed) == 4 else socket.inet_ntop(socket.AF_INET6, packed)


def dump_request(*, source_nat: bool) -> bytes:
    """The request to list all flows; kernels since 5.11 leave out flows without source NAT by themselves."""
    body = struct.pack(">BBH", socket.AF_UNSPEC, 0, 0)
    if source_nat:
        for kind in (STATUS, STATUS_MASK):
            body += _attribute(kind, 4) + _U32.pack(SOURCE_NAT)
    return _HEADER.pack(_HEADER.size + len(body), SUBSYSTEM << 8 | _GET, _REQUEST_DUMP, 1, 0) + body
