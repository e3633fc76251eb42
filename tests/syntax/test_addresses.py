"""Laws of reading one address, range, list entry and logged endpoint."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from clientip.errors import FormatError
from clientip.model import Ownership
from clientip.syntax.addresses import from_number, holds, parse_address, parse_range, read_port, scope_of
from hypothesis import example, given
from hypothesis import strategies as st

V4 = st.integers(0, 2**32 - 1)
V6 = st.integers(0, 2**128 - 1).filter(lambda n: n >> 32 != 0xFFFF)
ADDRESSES = st.one_of(V4.map(lambda n: from_number(n, 4)), V6.map(lambda n: from_number(n, 6)))
NASTY = st.text(alphabet='0123456789abcdefABCDEF.:[]%"/,-_ x\t²é\0\udc80', max_size=60)

REFUSED = (
    "", " ", "1.2.3", "1.2.3.4.5", "1.2.3.4.", ".1.2.3.4", "1..2.3", "010.0.0.2", "203.000.113.007", "10.2",
    "167772162",
    "0x0a000002", "0x0a.0.0.2", "1.2.3.256", "203.0.113.777", "1.2.3.-4", "1.2.3.+4", "1.2.3.4 ", " 1.2.3.4",
    "1.2.3.4:80",
    "1.2.3.²", "1.2.3.٤", "1.2.3.4\0", "1.2.3.4%eth0", "1.2.3.4/32", ":", ":::", "1::2::3", "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::", "2001:db8::00007", "2001:db8::g", "[2001:db8::7]", "2001:db8::7%eth0",
    "::ffff:010.0.0.2", "::ffff:1.2.3",
    "::1.2.3.4:5", "::1\0", "::1\udc80", "::1/128", "::é", "0:" * 30 + ":1", "localhost", "unknown",
)  # fmt: skip


def reason(call: object, *args: object) -> tuple[str, int | None]:
    with pytest.raises(FormatError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.reason, caught.value.at


# --- one address


@pytest.mark.parametrize("text", REFUSED)
def test_what_two_programs_could_read_differently_is_refused(text: str) -> None:
    assert reason(parse_address, text) == ("address", None)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
        ("1.2.3.4", "1.2.3.4"),
        ("::", "::"),
        ("::1", "::1"),
        ("2001:0DB8:0:0::0007", "2001:db8::7"),
        ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"),  # one group is not shortened
        ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),  # the longest run is
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),  # of equal runs the first
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7"),
        ("0:0:0:0:0:ffff:203.0.113.7", "203.0.113.7"),
        ("::1.2.3.4", "::102:304"),
        ("64:ff9b::188.0.2.128", "64:ff9b::bc00:280"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("::fffe:1.2.3.4", "::fffe:102:304"),
        ("::1:ffff:1.2.3.4", "::1:ffff:102:304"),
    ],
)
def test_the_text_is_rfc_5952_and_mapped_is_ipv4(text: str, canonical: str) -> None:
    address = parse_address(text)
    assert address.text == canonical
    assert address.version == (6 if ":" in canonical else 4)
    assert parse_address(canonical) == address


@given(V4)
def test_every_ipv4_number_makes_the_trip_there_and_back(number: int) -> None:
    address = from_number(number, 4)
    assert (address.number, address.version, address.text) == (number, 4, str(IPv4Address(number)))
    assert parse_address(address.text) == address
    assert parse_address(f"::ffff:{address.text}") == address
    assert from_number(0xFFFF << 32 | number, 6) == address


@given(V6)
@example(1 << 48)
@example((1 << 32) - 1)
def test_every_ipv6_number_makes_the_trip_there_and_back(number: int) -> None:
    address = from_number(number, 6)
    assert (address.number, address.version, address.text) == (number, 6, str(IPv6Address(number)))
    assert parse_address(address.text) == address
    assert parse_address(IPv6Address(number).exploded.upper()) == address


@given(st.one_of(NASTY, st.text()))
@example("1.2.3.4")
def test_what_is_accepted_is_what_the_standard_library_accepts(text: str) -> None:
    try:
        ours = parse_address(text)
    except FormatError:
        return
    theirs = IPv6Address(text) if ":" in text else IPv4Address(text)
    theirs = (isinstance(theirs, IPv6Address) and theirs.ipv4_mapped) or theirs
    assert (ours.number, ours.text) == (int(theirs), str(theirs))


# --- scope

SCOPES = (
    ("0.0.0.0/8", "impossible"),
    ("10.0.0.0/8", "local"),
    ("100.64.0.0/10", "local"),
    ("127.0.0.0/8", "local"),
    ("169.254.0.0/16", "local"),
    ("172.16.0.0/12", "local"),
    ("192.0.0.0/24", "local"),
    ("192.168.0.0/16", "local"),
    ("198.18.0.0/15", "local"),
    ("224.0.0.0/3", "impossible"),
    ("::2/127", "impossible"),
    ("::1/128", "local"),
    ("64:ff9b:1::/48", "local"),
    ("100::/64", "impossible"),
    ("2001:2::/48", "local"),
    ("2001:10::/28", "impossible"),
    ("5f00::/16", "local"),
    ("fc00::/7", "local"),
    ("fe80::/9", "local"),
    ("ff00::/8", "impossible"),
)
# Neighbours of a special block that are special themselves.
TOUCHING = {"::0", "0.0.0.0", "::2/127", "::1/128", "fc00::/7", "fe80::/9", "ff00::/8", "224.0.0.0/3", "0.0.0.0/8"}


@pytest.mark.parametrize(("block", "scope"), SCOPES)
def test_a_special_block_is_special_from_its_first_to_its_last_address(block: str, scope: str) -> None:
    net = ip_network(block)
    low, high = int(net[0]), int(net[-1])
    assert scope_of(low, net.version) == scope_of(high, net.version) == scope
    assert parse_address(str(net[0])).scope == scope
    if block not in TOUCHING:
        assert scope_of(low - 1, net.version) == scope_of(high + 1, net.version) == "global"


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1", "198.51.100.1", "203.0.113.7", "2001:db8::1", "3fff::1", "64:ff9b::a00:2",
        "2002:a00:1::1", "2001::1",
        "1.0.0.0", "223.255.255.255", "192.88.99.1", "2001:20::1", "::1:0:0", "fbff::1", "fe00::1", "fe7f:ffff::1",
    ],
)  # fmt: skip
def test_documentation_nat64_6to4_teredo_and_all_the_rest_are_global(text: str) -> None:
    assert parse_address(text).scope == "global"


def test_the_edges_between_special_blocks() -> None:
    assert scope_of(0, 6) == "impossible"
    assert scope_of((1 << 32) - 1, 6) == "impossible"
    assert scope_of(1 << 32, 6) == "global"
    assert scope_of(1 << 24, 4) == "global"
    assert [parse_address(text).scope for text in ("fdff::", "febf:ffff::", "fec0::", "feff::", "ff00::")] == [
        "local", "local", "local", "local", "impossible",
    ]  # fmt: skip
    assert scope_of(2**128 - 1, 6) == scope_of(2**32 - 1, 4) == "impossible"


# --- ports


@given(st.integers(1, 65535))
def test_every_port_reads_as_itself(number: int) -> None:
    assert read_port(str(number)) == number


def test_port_nought_is_not_said() -> None:
    assert read_port("0") is None


@pytest.mark.parametrize(
    "text", ["", "00", "080", "+80", "-1", "80 ", " 80", "65536", "99999", "100000", "8_0", "²", "٨", "abc", "-"]
)
def test_a_port_has_one_spelling(text: str) -> None:
    assert reason(read_port, text) == ("port", None)


# --- ranges


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.1/16", "10.0.0.0/16"),
        ("10.0.0.1/255.255.0.0", "10.0.0.0/16"),
        ("10.0.0.1/255.255.255.255", "10.0.0.1"),
        ("10.0.0.1/255.255.255.254", "10.0.0.0/31"),
        ("10.0.0.1/0.0.0.0", "0.0.0.0/0"),
        ("10.0.0.1/128.0.0.0", "0.0.0.0/1"),
        ("10.0.0.1/0", "0.0.0.0/0"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1/32", "10.0.0.1"),
        ("2001:DB8::1/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:db8::1/128", "2001:db8::1"),
        ("::/0", "::/0"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1/128", "10.0.0.1"),
        ("::ffff:10.0.0.1/96", "0.0.0.0/0"),
    ],
)
def test_a_range_is_read_as_the_operator_meant_it(text: str, canonical: str) -> None:
    low, high, version, said = parse_range(text)
    net = ip_network(canonical)
    assert (low, high, version, said) == (int(net[0]), int(net[-1]), net.version, canonical)
    assert parse_range(said) == (low, high, version, said)


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "2001:db8::/129", "10.0.0.0/08", "10.0.0.0/+8",
        "10.0.0.0/-1", "10.0.0.0/8/8",
        "10.0.0.0/255.0.255.0", "10.0.0.0/0.0.0.255", "10.0.0.0/255.255.0.1", "10.0.0.0/255.0.0",
        "10.0.0.0/6000", "10.0.0.0/::ffff:255.0.0.0",
        "2001:db8::/255.0.0.0", "::ffff:10.0.0.0/95", "::ffff:10.0.0.0/255.0.0.0", "10.0.0.0 /8", "10.0.0/8",
        "fe80::1%eth0/64", "host/8",
    ],
)  # fmt: skip
def test_a_range_that_needs_guessing_is_refused(text: str) -> None:
    assert reason(parse_range, text) == ("range", None)


@given(ADDRESSES, st.data())
def test_a_range_holds_its_address_and_has_a_power_of_two_members(address, data) -> None:  # type: ignore[no-untyped-def]
    bits = 32 if address.version == 4 else 128
    length = data.draw(st.integers(0, bits))
    low, high, version, text = parse_range(f"{address.text}/{length}")
    assert low <= address.number <= high
    assert (high - low + 1, version) == (1 << (bits - length), address.version)
    # An IPv6 range that begins in mapped space and is wider than it has no text of its own.
    if low >> 32 != 0xFFFF or version == 4:
        assert parse_range(text) == (low, high, version, text)


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.0.0.0", True),
        ("10.255.255.255", True),
        ("9.255.255.255", False),
        ("11.0.0.0", False),
        ("::a00:1", False),  # the same number in the other version
        ("::ffff:10.0.0.1", True),
    ],
)
def test_a_range_holds_its_first_and_its_last_address_of_its_own_version(address: str, inside: bool) -> None:
    assert holds(Ownership(*parse_range("10.0.0.0/8")), parse_address(address)) is inside
