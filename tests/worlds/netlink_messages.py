"""ctnetlink messages as the kernel writes them, for tests that have no kernel."""

from __future__ import annotations

import ipaddress
import struct

NEW, UPDATE, DESTROY = "NEW", "UPDATE", "DESTROY"
STATUS_SEEN, STATUS_NAT = 0x2, 0x198  # the second: confirmed, source NAT, both NATs done

Side = tuple[str, int | None, str, int | None]

ORIGINAL: Side = ("203.0.113.10", 40001, "198.51.100.11", 30080)
REPLY: Side = ("10.244.2.5", 8080, "198.51.100.11", 50691)


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute with its padding."""
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def side(ends: Side, protocol: int) -> bytes:
    """A tuple's content."""
    source, destination = ipaddress.ip_address(ends[0]), ipaddress.ip_address(ends[2])
    kinds = (1, 2) if source.version == 4 else (3, 4)
    addresses = attribute(kinds[0], source.packed) + attribute(kinds[1], destination.packed)
    inner = attribute(1, bytes([protocol]))
    for kind, port in ((2, ends[1]), (3, ends[3])):
        if port is not None:
            inner += attribute(kind, struct.pack(">H", port))
    return attribute(0x8001, addresses) + attribute(0x8002, inner)


def message(
    event: str = NEW,
    *,
    protocol: int = 6,
    original: Side = ORIGINAL,
    reply: Side = REPLY,
    number: int = 123,
    status: int = STATUS_NAT,
    state: int | None = None,
    flags: tuple[int, int] | None = None,
    stamp: int | None = None,
    life: tuple[int, int | None] | None = None,
    zone: int = 0,
) -> bytes:
    """One message of one flow; `flags` of both directions of TCP."""
    body = struct.pack(">BBH", 2, 0, 0)
    body += attribute(0x8001, side(original, protocol)) + attribute(0x8002, side(reply, protocol))
    body += attribute(12, struct.pack(">I", number)) + attribute(3, struct.pack(">I", status))
    if zone:
        body += attribute(18, struct.pack(">H", zone))
    if life is not None:
        parts = attribute(1, struct.pack(">Q", life[0]))
        parts += attribute(2, struct.pack(">Q", life[1])) if life[1] is not None else b""
        body += attribute(0x8014, parts)
    if state is not None:
        tcp = attribute(1, bytes([state])) + attribute(2, b"\7")
        tcp += b"".join(attribute(4 + at, bytes([each, 0])) for at, each in enumerate(flags or ()))
        body += attribute(0x8004, attribute(0x8001, tcp))
    if stamp is not None:
        body += attribute(27, struct.pack(">Q", stamp))
    kind = 0x102 if event == DESTROY else 0x100
    return struct.pack("=IHHII", 16 + len(body), kind, 0x600 if event == NEW else 0, 0, 0) + body
