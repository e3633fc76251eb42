"""Text to address, endpoint, range and list entry: syntax only, decides nothing.

One reading per text: leading zeros, short forms, integers and hex are refused, because
other programs read them differently (CVE-2021-29921).  IPv4-mapped IPv6 is IPv4; text
going out is RFC 5952.  Everything here takes time linear in its input.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_network
from typing import Final, Literal

from clientip.errors import FormatError
from clientip.model import Address, Endpoint, Node, Ownership

Scope = Literal["global", "local", "impossible"]
Version = Literal[4, 6]

MAX_ENTRIES: Final = 1000  # of one header; a walk needs far fewer
MAX_ENTRY: Final = 128  # characters of one entry: address, zone, port and quotes fit twice
_MAX_ADDRESS: Final = 45  # characters of the longest IPv6 text, with a dotted end
_OWS: Final = " \t"  # RFC 9110 section 5.6.3

# Who may hold an address, where that is not everybody on the Internet.  First match counts.
# Documentation space, NAT64 64:ff9b::/96, 6to4, Teredo, AS112, AMT and ORCHIDv2 stay global.
_SPECIAL: Final[tuple[tuple[str, Scope], ...]] = (
    ("0.0.0.0/8", "impossible"),  # "this network", RFC 1122 3.2.1.3
    ("10.0.0.0/8", "local"),  # RFC 1918
    ("100.64.0.0/10", "local"),  # carrier NAT, RFC 6598
    ("127.0.0.0/8", "local"),  # loopback, RFC 1122
    ("169.254.0.0/16", "local"),  # link-local, RFC 3927
    ("172.16.0.0/12", "local"),  # RFC 1918
    ("192.0.0.0/24", "local"),  # protocol assignments, DS-Lite: RFC 6890, RFC 7335
    ("192.168.0.0/16", "local"),  # RFC 1918
    ("198.18.0.0/15", "local"),  # benchmarks, RFC 2544; used inside overlays
    ("224.0.0.0/4", "impossible"),  # multicast never is a source, RFC 1112
    ("240.0.0.0/4", "impossible"),  # class E and broadcast, RFC 1112; Cloudflare's Pseudo IPv4
    ("::/128", "impossible"),  # unspecified, RFC 4291 2.5.2
    ("::1/128", "local"),  # loopback, RFC 4291 2.5.3
    ("::/96", "impossible"),  # IPv4-compatible, deprecated by RFC 4291 2.5.5.1
    ("64:ff9b:1::/48", "local"),  # local NAT64, RFC 8215
    ("100::/64", "impossible"),  # discard, RFC 6666
    ("2001:2::/48", "local"),  # benchmarks, RFC 5180
    ("2001:10::/28", "impossible"),  # ORCHID, returned: RFC 4843
    ("5f00::/16", "local"),  # segment routing, RFC 9602
    ("fc00::/7", "local"),  # unique local, RFC 4193
    ("fe80::/10", "local"),  # link-local, RFC 4291 2.5.6
    ("fec0::/10", "local"),  # site-local, deprecated by RFC 3879 but still in use
    ("ff00::/8", "impossible"),  # multicast, RFC 4291 2.7
)


def _special(version: Version) -> tuple[tuple[int, int, Scope], ...]:
    nets = ((ip_network(text), scope) for text, scope in _SPECIAL)
    return tuple((int(n[0]), int(n[-1]), scope) for n, scope in nets if n.version == version)


_SPECIAL_4: Final = _special(4)
_SPECIAL_6: Final = _special(6)

_OCTETS: Final = {str(number): number for number in range(256)}  # so "01", "+1" and "²" are none
_ZONE: Final = re.compile(r"[0-9A-Za-z._~-]++")  # RFC 6874 without percent escapes
_HIDDEN: Final = re.compile(r"_[0-9A-Za-z._-]++")  # obfnode, RFC 7239 section 6.3


def scope_of(number: int, version: Version) -> Scope:
    """Who may hold this address, by the IANA special-purpose registries.

    `impossible`: no host sends from it.  `local`: hosts of some private network.
    `global`: everybody else, documentation ranges included (they stand for clients).

    >>> scope_of(0x0A000001, 4), scope_of(0xCB007107, 4), scope_of(0, 6)
    ('local', 'global', 'impossible')
    """
    for low, high, scope in _SPECIAL_4 if version == 4 else _SPECIAL_6:
        if low <= number <= high:
            return scope
    return "global"


def from_number(number: int, version: Version) -> Address:
    """The address with this number; IPv4-mapped IPv6 becomes IPv4.

    The number must fit the version.

    >>> from_number(0xFFFF_CB00_7107, 6).text
    '203.0.113.7'
    """
    if version == 6 and number >> 32 == 0xFFFF:
        number, version = number & 0xFFFF_FFFF, 4
    if version == 4:
        text = f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    else:
        text = str(IPv6Address(number))
    return Address(text, number, version, scope_of(number, version))


@lru_cache(maxsize=65536)
def parse_address(text: str) -> Address:
    """One address, nothing round it: no port, brackets, zone or blanks.

    Raises FormatError("address").

    >>> parse_address("2001:0DB8:0:0::0007").text, parse_address("::ffff:203.0.113.7").text
    ('2001:db8::7', '203.0.113.7')
    """
    try:
        if ":" not in text:
            a, b, c, d = text.split(".", 4)
            number = _OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d]
            return Address(text, number, 4, scope_of(number, 4))
        if len(text) <= _MAX_ADDRESS and "%" not in text:
            found = IPv6Address(text)
            number = int(found)
            if number >> 32 == 0xFFFF:
                return from_number(number, 6)
            return Address(str(found), number, 6, scope_of(number, 6))
    except (KeyError, ValueError):
        raise FormatError("address") from None
    raise FormatError("address")


def read_port(text: str) -> int | None:
    """A port, 0-65535 in plain decimal without leading zeros; 0 is None.

    Raises FormatError("port").

    >>> read_port("8080"), read_port("0")
    (8080, None)
    """
    if text.isascii() and text.isdecimal() and len(text) <= 5 and (text[0] != "0" or text == "0"):
        number = int(text)
        if number <= 65535:
            return number or None
    raise FormatError("port")


def _prefix(text: str, bits: int) -> int:
    """Length of a prefix written as a number or, for IPv4, as a contiguous mask."""
    if bits == 32 and "." in text and ":" not in text:
        wild = parse_address(text).number ^ 0xFFFF_FFFF
        if wild & (wild + 1):  # wild cards must be the low bits, all of them
            raise FormatError("range")
        return 32 - wild.bit_length()
    length = 0 if text == "0" else read_port(text)
    if length is None or length > bits:
        raise FormatError("range")
    return length


def holds(own: Ownership, address: Address) -> bool:
    """Whether the address lies in the range, whenever that is owned.

    >>> holds(Ownership(*parse_range("10.0.0.0/8")), parse_address("10.1.2.3"))
    True
    """
    return own.version == address.version and own.low <= address.number <= own.high


def parse_range(text: str) -> tuple[int, int, Version, str]:
    """First and last address as numbers, version, canonical text.

    An address, or one with `/` and a prefix length or (IPv4) a dotted contiguous mask.
    Host bits may be set.  The text is CIDR, or the bare address if there is only one.
    IPv4-mapped ranges become IPv4; a mapped address with a prefix shorter than 96 is
    refused, as are host masks (0.0.0.255).  Raises FormatError("range").

    >>> parse_range("10.0.0.1/255.255.0.0")
    (167772160, 167837695, 4, '10.0.0.0/16')
    >>> parse_range("::ffff:10.0.0.0/104")[3]
    '10.0.0.0/8'
    """
    host, slash, mask = text.partition("/")
    try:
        address = parse_address(host)
        written = 128 if ":" in host else 32
        length = _prefix(mask, written) if slash else written
    except FormatError:
        raise FormatError("range") from None
    bits = 32 if address.version == 4 else 128
    length -= written - bits
    if length < 0:
        raise FormatError("range")
    size = 1 << (bits - length)
    low = address.number & -size
    first = from_number(low, address.version).text
    return low, low + size - 1, address.version, first if length == bits else f"{first}/{length}"


def parse_node(text: str) -> Node:
    """One entry of X-Forwarded-For or of a single-address header; never raises.

    `ip`, `ip:port`, `[v6]`, `[v6]:port`, in one pair of double quotes or none.  IPv6
    without brackets never has a port.  The zone is taken off and kept apart; port 0 is None.
    `fault` is empty, too_long, unknown, obfuscated, unspecified, bad_address or bad_port;
    then there is no address, and whatever stands left of the entry is unvouched.

    >>> node = parse_node("[2001:db8::7]:5555")
    >>> node.address.text, node.port, parse_node("unknown").fault
    ('2001:db8::7', 5555, 'unknown')
    """
    text = text.strip(_OWS)
    if len(text) > MAX_ENTRY:
        return Node(text, fault="too_long")  # before the caches, which must stay small
    try:
        address = parse_address(text)
    except FormatError:
        return _parse_node(text)  # not an address alone, as most are
    return Node(text, address) if address.number else Node(text, fault="unspecified")


def _parse_node(text: str) -> Node:
    bare = text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text
    if not bare:
        return Node(text, fault="empty")
    if bare.lower() == "unknown":
        return Node(text, fault="unknown")
    if _HIDDEN.fullmatch(bare):
        return Node(text, fault="obfuscated")
    try:
        host, zone, port = _split_port(bare)
        address = parse_address(host)
    except FormatError:
        return Node(text, fault="bad_address")
    if not address.number:
        return Node(text, fault="unspecified")
    try:
        return Node(text, address, None if port is None else read_port(port), zone=zone)
    except FormatError:
        return Node(text, fault="bad_port")


def _split_port(text: str) -> tuple[str, str | None, str | None]:
    """Host, zone and port text; raises where brackets or zone are not as they must be."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or rest[:1] not in ("", ":"):
            raise FormatError("address")
        return *_split_zone(host), rest[1:] if rest else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, None, port
    return *_split_zone(text), None


def _split_zone(text: str) -> tuple[str, str | None]:
    host, percent, zone = text.partition("%")
    if not percent:
        return text, None
    if ":" not in host or not _ZONE.fullmatch(zone):
        raise FormatError("address")
    return host, zone


def split_list(values: Sequence[str]) -> tuple[tuple[Node, ...], int]:
    """The entries of a list header in wire order, and how many empty ones were dropped.

    `values` are the header's lines; together they are one list (RFC 9110 section 5.3).
    At most MAX_ENTRIES are read, from the right: that is the trustworthy end, so what
    stands left of them (and is not counted) could not be reached by any walk.

    >>> nodes, dropped = split_list(["203.0.113.7,\\t10.0.0.2", ", 10.0.0.3"])
    >>> [node.text for node in nodes], dropped
    (['203.0.113.7', '10.0.0.2', '10.0.0.3'], 1)
    """
    nodes: list[Node] = []
    dropped = 0
    for member in reversed(",".join(values).split(",") if values else []):
        text = member.strip(_OWS)
        if not text:
            dropped += 1
        elif len(nodes) < MAX_ENTRIES:
            nodes.append(parse_node(text))
        else:
            break
    return tuple(reversed(nodes)), dropped


def _logged_port(text: str, at: int) -> int | None:
    try:
        return None if text == "-" else read_port(text)
    except FormatError:
        raise FormatError("port", at) from None


def read_endpoint(text: str) -> Endpoint:
    """A log column with `ip`, `ip:port`, `[v6]`, `[v6]:port` or bare v6.

    Port `0` or `-` is None; an IPv6 zone is dropped.  For writers that print IPv6 and
    port without brackets use `read_endpoint_last_colon`: no text says which it is.
    Raises FormatError("address") or FormatError("port", offset of the port).

    >>> format_endpoint(read_endpoint("[::ffff:203.0.113.7]:5555"))
    '203.0.113.7:5555'
    """
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return Endpoint(parse_address(host), _logged_port(port, len(host) + 1))
    bare, _, written = _split_port(text)
    address = parse_address(bare)
    if written is None:
        return Endpoint(address)
    return Endpoint(address, _logged_port(written, len(text) - len(written)))


def read_endpoint_last_colon(text: str) -> Endpoint:
    """A log column that always ends in `:port`, IPv6 with or without brackets.

    For HAProxy, uvicorn and AWS ALB, which write `2001:db8::7:5555`.  Port `0` or `-` is
    None; a zone is dropped.  Raises FormatError("address"), or FormatError("port", offset
    of the port) also where there is no colon.

    >>> read_endpoint_last_colon("2001:db8::7:5555").port
    5555
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        raise FormatError("port", len(text))
    if host.startswith("["):
        bare, _, inner = _split_port(host)
        if inner is not None:
            raise FormatError("address")
    else:
        bare, _ = _split_zone(host)
    return Endpoint(parse_address(bare), _logged_port(port, len(host) + 1))


def format_endpoint(endpoint: Endpoint) -> str:
    """`ip`, `ip:port`, `v6` or `[v6]:port`; what `read_endpoint` reads again.

    >>> format_endpoint(Endpoint(parse_address("2001:db8::7"), 443))
    '[2001:db8::7]:443'
    """
    text = endpoint.address.text
    if endpoint.port is None:
        return text
    return f"[{text}]:{endpoint.port}" if endpoint.address.version == 6 else f"{text}:{endpoint.port}"


def shortened(text: str) -> str:
    """A global address as the network it lies in, because it may be a person's; any other text as it is.

    >>> shortened("203.0.113.77"), shortened("2001:db8:1:2::3"), shortened("10.0.0.7")
    ('203.0.113.0/24', '2001:db8:1::/48', '10.0.0.7')
    """
    try:
        address = parse_address(text)
    except FormatError:
        return text
    if address.scope != "global":
        return text
    return parse_range(f"{address.text}/{24 if address.version == 4 else 48}")[3]
