"""PROXY protocol headers, v1 and v2, as bytes of a connection begin with them.

Strict where receivers differ: one blank between the fields of v1, no leading zeros, no
signs, both addresses of the family announced.  Whether to look for a header at all is the
caller's to know: a receiver requires one or never looks, it must not guess.
Specification: haproxy doc/proxy-protocol.txt.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct as Layout
from typing import Final, Literal

from clientip.errors import FormatError
from clientip.model import Endpoint, ProxyHeader
from clientip.syntax.addresses import from_number, parse_address, read_port

SIGNATURE_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_SIGNATURE_V1: Final = b"PROXY"
_MAX_V1: Final = 107  # bytes with CRLF
_FIXED_V2: Final = 16  # signature, version and command, family and transport, length

_FAMILIES: Final = {1: "inet", 2: "inet6", 3: "unix"}
_BLOCK: Final = {0: 0, 1: 12, 2: 36, 3: 216}  # bytes of the two ends, by family
_TRANSPORTS: Final = {
    0x11: "TCP4",
    0x12: "UDP4",
    0x21: "TCP6",
    0x22: "UDP6",
    0x31: "UNIX_STREAM",
    0x32: "UNIX_DGRAM",
}
_PORTS: Final = Layout("!HH")
_TLV: Final = Layout("!BH")
_CRC32C: Final = 0x03

TlvView = dict[str, str | int | dict[str, str | int]]


def parse_proxy(data: bytes) -> ProxyHeader:
    """The PROXY header at the beginning of `data`; what follows `length` is payload.

    LOCAL, UNKNOWN and UNSPEC name no ends: the real connection counts.  UNIX sockets give
    paths.  A checksum that is there must be right; other faults of TLVs leave the addresses
    usable and are named in `tlv_fault`.

    Raises FormatError(reason, byte offset).  Reasons: incomplete (more bytes may mend it),
    no_signature, too_long, line_end_not_crlf, protocol_missing, protocol_unknown,
    field_count, address_invalid, address_family_mismatch, port_invalid; version_or_command,
    family_or_transport, length_too_small, crc32c.

    >>> header = parse_proxy(b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\\r\\nGET /")
    >>> header.source.address.text, header.source.port, header.length
    ('203.0.113.7', 56324, 44)
    """
    if data[:12] == SIGNATURE_V2:
        return _parse_v2(data)
    if data[:5] == _SIGNATURE_V1 and data[5:6] in (b"", b" ", b"\r", b"\n"):
        return _parse_v1(data)
    if SIGNATURE_V2.startswith(data) or _SIGNATURE_V1.startswith(data):
        raise FormatError("incomplete", len(data))
    raise FormatError("no_signature", 0)


def _parse_v1(data: bytes) -> ProxyHeader:
    end = data.find(b"\n", 0, _MAX_V1)
    if end < 0:
        raise FormatError("too_long" if len(data) >= _MAX_V1 else "incomplete", min(len(data), _MAX_V1))
    if data[end - 1 : end] != b"\r":
        raise FormatError("line_end_not_crlf", end)
    fields = data[: end - 1].decode("latin-1").split(" ")
    protocol = fields[1] if len(fields) > 1 else ""
    if protocol == "UNKNOWN":  # whatever follows is to be ignored
        return ProxyHeader(1, "unknown", end + 1)
    if protocol not in ("TCP4", "TCP6"):
        raise FormatError("protocol_unknown" if protocol else "protocol_missing", 6 if len(fields) > 1 else 5)
    if len(fields) != 6:
        raise FormatError("field_count", end - 1)
    source, destination = _ends_v1(fields, protocol)
    return ProxyHeader(1, "proxy", end + 1, protocol, source, destination)


def _ends_v1(fields: list[str], protocol: str) -> tuple[Endpoint, Endpoint]:
    at = [sum(len(field) + 1 for field in fields[:index]) for index in range(6)]
    addresses, ports = [], []
    for index in (2, 3):
        try:
            addresses.append(parse_address(fields[index]))
        except FormatError:
            raise FormatError("address_invalid", at[index]) from None
        # The text decides: ::ffff:192.0.2.1 is IPv6 here, though it names an IPv4 host.
        if (":" in fields[index]) != (protocol == "TCP6"):
            raise FormatError("address_family_mismatch", at[index])
    for index in (4, 5):
        try:
            ports.append(read_port(fields[index]))
        except FormatError:
            raise FormatError("port_invalid", at[index]) from None
    return Endpoint(addresses[0], ports[0]), Endpoint(addresses[1], ports[1])


def _parse_v2(data: bytes) -> ProxyHeader:
    if len(data) > 12 and data[12] not in (0x20, 0x21):
        raise FormatError("version_or_command", 12)
    if len(data) > 13 and (data[13] >> 4 > 3 or data[13] & 15 > 2):
        raise FormatError("family_or_transport", 13)
    if len(data) < _FIXED_V2:
        raise FormatError("incomplete", len(data))
    said = int.from_bytes(data[14:16], "big")
    transport = _TRANSPORTS.get(data[13])
    # Half-said pairs (IPv4 without a transport) announce no block: treated as UNSPEC.
    block = _BLOCK[data[13] >> 4] if transport else 0
    local = data[12] == 0x20
    if local and said < block:
        block = 0  # the receiver discards it anyway
    if said < block:
        raise FormatError("length_too_small", 14)
    length = _FIXED_V2 + said
    if len(data) < length:
        raise FormatError("incomplete", len(data))
    return _body_v2(data[:length], local, transport, block)


def _body_v2(head: bytes, local: bool, transport: str | None, block: int) -> ProxyHeader:
    tlvs, fault = _read_tlvs(head, _FIXED_V2 + block)
    result: Literal["proxy", "local", "unspec"] = "local" if local else "proxy" if transport else "unspec"
    _verify(head, _FIXED_V2 + block)
    if local or transport is None:
        return ProxyHeader(2, result, len(head), tlvs=tlvs, tlv_fault=fault)
    if transport.startswith("UNIX"):
        source, destination = _path(head[16:124]), _path(head[124:232])
        return ProxyHeader(2, result, len(head), transport, None, None, source, destination, tlvs=tlvs, tlv_fault=fault)
    ends = _ends_v2(head, 4 if block == 12 else 6)
    return ProxyHeader(2, result, len(head), transport, *ends, tlvs=tlvs, tlv_fault=fault)


def _ends_v2(head: bytes, version: Literal[4, 6]) -> tuple[Endpoint, Endpoint]:
    size = 4 if version == 4 else 16
    middle, ports = _FIXED_V2 + size, _FIXED_V2 + 2 * size
    source_port, destination_port = _PORTS.unpack_from(head, ports)
    source = from_number(int.from_bytes(head[_FIXED_V2:middle], "big"), version)
    destination = from_number(int.from_bytes(head[middle:ports], "big"), version)
    return Endpoint(source, source_port or None), Endpoint(destination, destination_port or None)


def _path(field: bytes) -> str:
    """A socket path; abstract ones (Linux) begin with a NUL and are written with `@`."""
    name = b"@" + field[1:] if field[:1] == b"\0" and field.strip(b"\0") else field
    return _text(name.split(b"\0", 1)[0])


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _spans(data: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """(type, first, last) of each TLV from `at`; one that does not fit ends with last > len(data)."""
    while at < len(data):
        if at + 3 > len(data):
            yield data[at], at + 3, at + 3
            return
        kind, size = _TLV.unpack_from(data, at)
        yield kind, at + 3, at + 3 + size
        at += 3 + size


def _read_tlvs(data: bytes, at: int) -> tuple[tuple[tuple[int, bytes], ...], str | None]:
    found: list[tuple[int, bytes]] = []
    for kind, first, last in _spans(data, at):
        if last > len(data):
            return tuple(found), "truncated"
        found.append((kind, data[first:last]))
    return tuple(found), None


def _verify(head: bytes, at: int) -> None:
    """The checksum TLV, if there is one, must hold over the whole header with its field zeroed."""
    sums = [(first, last) for kind, first, last in _spans(head, at) if kind == _CRC32C and last <= len(head)]
    for first, last in sums:
        zeroed = head[:first] + bytes(last - first) + head[last:]
        # Two sums cannot both hold, and checking many of them would not be linear.
        if len(sums) > 1 or last - first != 4 or crc32c(zeroed) != int.from_bytes(head[first:last], "big"):
            raise FormatError("crc32c", first)


def _table() -> tuple[int, ...]:
    rows = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901
        rows.append(value)
    return tuple(rows)


_CRC_TABLE: Final = _table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli, RFC 3720 appendix B.4), as PROXY v2 uses it.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    rest = 0xFFFF_FFFF
    for byte in data:
        rest = rest >> 8 ^ _CRC_TABLE[(rest ^ byte) & 0xFF]
    return rest ^ 0xFFFF_FFFF


_NAMES: Final = {0x01: "alpn", 0x02: "authority", 0x30: "netns"}
_SSL_NAMES: Final = {
    0x21: "version",
    0x22: "cn",
    0x23: "cipher",
    0x24: "sig_alg",
    0x25: "key_alg",
    0x26: "group",
    0x27: "sig_scheme",
}


def tlv_view(header: ProxyHeader) -> TlvView:
    """What the TLVs say, by name; those without a known meaning as hex under `0x…`.

    alpn, authority (SNI, chosen by the client), netns, aws_vpce_id: text.  unique_id,
    crc32c: hex.  azure_link_id, gcp_psc_id: numbers.  ssl: client (flag byte), verify
    (0: the certificate was verified), version, cn, cipher, sig_alg, key_alg, group,
    sig_scheme; client_cert in hex; fault `truncated` where the nested ones break off.
    Of a repeated type the first counts.  Never raises.

    >>> tlv_view(ProxyHeader(2, "proxy", 30, tlvs=((0x02, b"example.com"), (0xE3, b"\\1"))))
    {'authority': 'example.com', '0xe3': '01'}
    """
    view: TlvView = {}
    for kind, value in header.tlvs:
        if kind != 0x04:  # padding
            name, said = _said(kind, value)
            view.setdefault(name, said)
    return view


def _said(kind: int, value: bytes) -> tuple[str, str | int | dict[str, str | int]]:
    if kind in _NAMES:
        return _NAMES[kind], _text(value)
    if kind == _CRC32C:
        return "crc32c", value.hex()
    if kind == 0x05 and len(value) <= 128:  # longer ones break the specification
        return "unique_id", value.hex()
    if kind == 0x20 and len(value) >= 5:
        return "ssl", _ssl(value)
    if kind == 0xEA and value[:1] == b"\x01":
        return "aws_vpce_id", _text(value[1:])
    if kind == 0xEE and value[:1] == b"\x01" and len(value) == 5:
        return "azure_link_id", int.from_bytes(value[1:], "little")  # unlike all else in v2
    if kind == 0xE0 and len(value) == 8:
        return "gcp_psc_id", int.from_bytes(value, "big")
    return f"0x{kind:02x}", value.hex()


def _ssl(value: bytes) -> dict[str, str | int]:
    """One level only: what stands inside a nested TLV is never taken apart again."""
    view: dict[str, str | int] = {"client": value[0], "verify": int.from_bytes(value[1:5], "big")}
    tlvs, fault = _read_tlvs(value, 5)
    for kind, said in tlvs:
        if kind in _SSL_NAMES:
            view.setdefault(_SSL_NAMES[kind], _text(said))
        else:
            view.setdefault("client_cert" if kind == 0x28 else f"0x{kind:02x}", said.hex())
    if fault:
        view["fault"] = fault
    return view
