"""Laws of reading list entries and logged endpoints."""

from __future__ import annotations

import pytest
from clientip.errors import FormatError
from clientip.model import Endpoint, Node
from clientip.syntax.addresses import (
    MAX_ENTRIES,
    MAX_ENTRY,
    format_endpoint,
    from_number,
    parse_address,
    parse_node,
    parse_range,
    read_endpoint,
    read_endpoint_last_colon,
    read_port,
    split_list,
)
from hypothesis import given
from hypothesis import strategies as st

V4 = st.integers(0, 2**32 - 1)
V6 = st.integers(0, 2**128 - 1).filter(lambda n: n >> 32 != 0xFFFF)
ADDRESSES = st.one_of(V4.map(lambda n: from_number(n, 4)), V6.map(lambda n: from_number(n, 6)))
NASTY = st.text(alphabet='0123456789abcdefABCDEF.:[]%"/,-_ x\t²é\0\udc80', max_size=60)


def reason(call: object, *args: object) -> tuple[str, int | None]:
    with pytest.raises(FormatError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.reason, caught.value.at


# --- one entry


@pytest.mark.parametrize(
    ("entry", "address", "port", "zone"),
    [
        ("203.0.113.7", "203.0.113.7", None, None),
        ("203.0.113.7:5555", "203.0.113.7", 5555, None),
        ("203.0.113.7:0", "203.0.113.7", None, None),
        ("[2001:db8::7]:5555", "2001:db8::7", 5555, None),
        ("[2001:db8::7]:0", "2001:db8::7", None, None),
        ("[2001:db8::7]", "2001:db8::7", None, None),
        ("2001:db8::7:5555", "2001:db8::7:5555", None, None),
        ("fe80::1%eth0", "fe80::1", None, "eth0"),
        ("[fe80::1%br-lan.10]:80", "fe80::1", 80, "br-lan.10"),
        ("::ffff:cb00:7107", "203.0.113.7", None, None),
        ("[::ffff:203.0.113.7]:80", "203.0.113.7", 80, None),
        ('"203.0.113.7"', "203.0.113.7", None, None),
        ('"[2001:db8::7]:80"', "2001:db8::7", 80, None),
        ("64:ff9b::a00:2", "64:ff9b::a00:2", None, None),
        (" \t203.0.113.7\t ", "203.0.113.7", None, None),
        ("240.0.0.1", "240.0.0.1", None, None),  # syntax only: scope judges
    ],
)
def test_an_entry_gives_address_port_and_zone(entry: str, address: str, port: int | None, zone: str | None) -> None:
    assert parse_node(entry) == Node(entry.strip(), parse_address(address), port, None, zone)


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("", "empty"),
        (" \t", "empty"),
        ('""', "empty"),
        ("unknown", "unknown"),
        ("UNKNOWN", "unknown"),
        ('"unknown"', "unknown"),
        ("_hidden", "obfuscated"),
        ('"_SEVKISEK.a-b"', "obfuscated"),
        ("_", "bad_address"),
        ("_hid den", "bad_address"),
        ("0.0.0.0", "unspecified"),
        ("0.0.0.0:80", "unspecified"),
        ("::", "unspecified"),
        ("[::]:80", "unspecified"),
        ("::ffff:0.0.0.0", "unspecified"),
        ("example.com", "bad_address"),
        ("example.com:80", "bad_address"),
        (":80", "bad_address"),
        ("for=203.0.113.7", "bad_address"),
        ("010.0.0.2", "bad_address"),
        ("167772162", "bad_address"),
        ("203.0.113.777", "bad_address"),
        ("203.0.113.7é", "bad_address"),
        ("[203.0.113.7]", "bad_address"),
        ("[203.0.113.7]:80", "bad_address"),
        ("[2001:db8::7", "bad_address"),
        ("2001:db8::7]", "bad_address"),
        ("[2001:db8::7]80", "bad_address"),
        ("[2001:db8::7]x:80", "bad_address"),
        ("[]", "bad_address"),
        ("fe80::1%", "bad_address"),
        ("fe80::1%a%b", "bad_address"),
        ("fe80::1%eth 0", "bad_address"),
        ("203.0.113.7%eth0", "bad_address"),
        ("[fe80::1]%eth0", "bad_address"),
        ('"203.0.113.7', "bad_address"),
        ('203.0.113.7"', "bad_address"),
        ('"', "bad_address"),
        ('"1.2.3.44', "bad_address"),
        ('11.2.3.4"', "bad_address"),
        ('""203.0.113.7""', "bad_address"),
        ('" 203.0.113.7"', "bad_address"),
        ("203.0.113.7 10.0.0.2", "bad_address"),
        ("203.0.113.7:", "bad_port"),
        ("203.0.113.7:99999", "bad_port"),
        ("203.0.113.7:abc", "bad_port"),
        ("203.0.113.7:+80", "bad_port"),
        ("203.0.113.7:-", "bad_port"),
        ("[2001:db8::7]:", "bad_port"),
        ("[2001:db8::7]:65536", "bad_port"),
        ("x" * (MAX_ENTRY + 1), "too_long"),
        ("x" * MAX_ENTRY, "bad_address"),
        ("203.0.113.7" + " " * 10_000, None),  # blanks round it are not part of it
    ],
)
def test_an_entry_without_an_address_says_why(entry: str, fault: str | None) -> None:
    node = parse_node(entry)
    assert (node.fault, node.text) == (fault, entry.strip(" \t"))
    assert (node.address is None) == (fault is not None)
    if fault:
        assert node == Node(entry.strip(" \t"), fault=fault)


@given(st.one_of(NASTY, st.text()))
def test_every_text_is_a_node_or_a_fault(text: str) -> None:
    node = parse_node(text)
    assert (node.address is None) is (node.fault is not None)
    assert node.text == text.strip(" \t")


@given(ADDRESSES.filter(lambda a: a.number), st.none() | st.integers(1, 65535))
def test_a_formatted_endpoint_is_an_entry_and_a_log_column(address, port) -> None:  # type: ignore[no-untyped-def]
    text = format_endpoint(Endpoint(address, port))
    assert parse_node(text) == Node(text, address, port)
    assert read_endpoint(text) == Endpoint(address, port)


# --- lists


def texts(values: list[str]) -> tuple[list[str], int]:
    nodes, dropped = split_list(values)
    return [node.text for node in nodes], dropped


def test_all_lines_are_one_list_in_wire_order() -> None:
    assert texts(["1.1.1.1", "2.2.2.2,3.3.3.3", "4.4.4.4"]) == (["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"], 0)


def test_blanks_and_tabs_round_commas_do_not_count() -> None:
    assert texts([" 1.1.1.1\t,\t 2.2.2.2 ,3.3.3.3\t"]) == (["1.1.1.1", "2.2.2.2", "3.3.3.3"], 0)


def test_empty_members_are_dropped_and_counted() -> None:
    assert texts([",1.1.1.1, ,\t,2.2.2.2,", ""]) == (["1.1.1.1", "2.2.2.2"], 5)
    assert texts([""]) == ([], 1)
    assert texts([]) == ([], 0)


def test_only_commas_separate_and_quotes_do_not_bind() -> None:
    assert texts(['1.1.1.1;2.2.2.2 3.3.3.3, "4.4.4.4, 5.5.5.5"'])[0] == [
        "1.1.1.1;2.2.2.2 3.3.3.3",
        '"4.4.4.4',
        '5.5.5.5"',
    ]


def test_the_bounds_of_a_header_are_a_thousand_entries_of_128_characters() -> None:
    assert (MAX_ENTRIES, MAX_ENTRY) == (1000, 128)


def test_a_padded_list_keeps_its_trusted_end() -> None:
    nodes, dropped = split_list(
        [", , 6.6.6.6," * 500_000 + ",".join(f"10.0.{n // 250}.{n % 250}" for n in range(MAX_ENTRIES))]
    )
    assert len(nodes) == MAX_ENTRIES
    assert (nodes[0].text, nodes[-1].text, dropped) == ("10.0.0.0", "10.0.3.249", 0)
    assert len(split_list(["1.1.1.1"] * MAX_ENTRIES)[0]) == MAX_ENTRIES
    assert len(split_list(["1.1.1.1"] * (MAX_ENTRIES + 1))[0]) == MAX_ENTRIES


@given(st.lists(st.one_of(NASTY, st.just("1.1.1.1")), max_size=8))
def test_entries_and_dropped_ones_are_all_members(values: list[str]) -> None:
    nodes, dropped = split_list(values)
    assert len(nodes) + dropped == (",".join(values).count(",") + 1 if values else 0)


@given(st.lists(NASTY, max_size=4), st.lists(ADDRESSES, min_size=1, max_size=4))
def test_nothing_to_the_left_changes_the_entries_to_the_right(left: list[str], right) -> None:  # type: ignore[no-untyped-def]
    ours = ", ".join(address.text for address in right)
    assert split_list([*left, ours])[0][-len(right) :] == split_list([ours])[0]
    assert split_list([",".join([*left, ours])])[0][-len(right) :] == split_list([ours])[0]


# --- log columns


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("1.2.3.4:567", "1.2.3.4", 567),
        ("1.2.3.4", "1.2.3.4", None),
        ("1.2.3.4:0", "1.2.3.4", None),
        ("1.2.3.4:-", "1.2.3.4", None),
        ("[2001:db8::7]:443", "2001:db8::7", 443),
        ("[2001:db8::7]:-", "2001:db8::7", None),
        ("[2001:db8::7]", "2001:db8::7", None),
        ("2001:db8::7:443", "2001:db8::7:443", None),
        ("[::ffff:1.2.3.4]:5", "1.2.3.4", 5),
        ("::ffff:1.2.3.4", "1.2.3.4", None),
        ("[fe80::1%eth0]:80", "fe80::1", 80),
        ("fe80::1%4", "fe80::1", None),
        ("0.0.0.0:80", "0.0.0.0", 80),
    ],
)
def test_a_column_gives_its_endpoint(text: str, address: str, port: int | None) -> None:
    assert read_endpoint(text) == Endpoint(parse_address(address), port)


@pytest.mark.parametrize(
    ("text", "word", "at"),
    [
        ("", "address", None),
        ("-", "address", None),
        ("unix:", "address", None),
        ("@", "address", None),
        ("1.2.3.4:", "port", 8),
        ("1.2.3.4:080", "port", 8),
        ("1.2.3.4:65536", "port", 8),
        ("[2001:db8::7]:x", "port", 14),
        ("[2001:db8::7]:", "port", 14),
        ("[1.2.3.4]:80", "address", None),
        ("[1.2.3.4]", "address", None),
        ("[2001:db8::7", "address", None),
        ("example.com:80", "address", None),
        (" 1.2.3.4", "address", None),
    ],
)
def test_a_column_that_holds_no_endpoint_says_what_is_wrong(text: str, word: str, at: int | None) -> None:
    assert reason(read_endpoint, text) == (word, at)


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("2001:db8::7:5555", "2001:db8::7", 5555),
        ("::1:80", "::1", 80),
        ("1.2.3.4:567", "1.2.3.4", 567),
        ("1.2.3.4:0", "1.2.3.4", None),
        ("2001:db8::7:-", "2001:db8::7", None),
        ("::ffff:1.2.3.4:56324", "1.2.3.4", 56324),
        ("[2001:db8::7]:5555", "2001:db8::7", 5555),
        ("fe80::1%eth0:80", "fe80::1", 80),
        ("[fe80::1%eth0]:80", "fe80::1", 80),
    ],
)
def test_writers_without_brackets_are_split_at_the_last_colon(text: str, address: str, port: int | None) -> None:
    assert read_endpoint_last_colon(text) == Endpoint(parse_address(address), port)


@pytest.mark.parametrize(
    ("text", "word", "at"),
    [
        ("1.2.3.4", "port", 7),
        ("", "port", 0),
        ("1.2.3.4:x", "port", 8),
        ("2001:db8::7:65536", "port", 12),
        ("[2001:db8::7]", "address", None),
        ("[2001:db8::7]:80:90", "address", None),
        ("[2001:db8::7:80", "address", None),
        ("1.2.3.4:80:90", "address", None),
        ("unix:1", "address", None),
        ("fe80::1%:80", "address", None),
    ],
)
def test_a_last_colon_column_that_is_none_says_what_is_wrong(text: str, word: str, at: int | None) -> None:
    assert reason(read_endpoint_last_colon, text) == (word, at)


@given(ADDRESSES, st.integers(1, 65535))
def test_every_unbracketed_endpoint_reads_back(address, port: int) -> None:  # type: ignore[no-untyped-def]
    assert read_endpoint_last_colon(f"{address.text}:{port}") == Endpoint(address, port)


@given(st.one_of(NASTY, st.text()))
def test_a_column_raises_nothing_but_format_errors(text: str) -> None:
    for read in (read_endpoint, read_endpoint_last_colon, parse_range, parse_address, read_port):
        try:
            read(text)
        except FormatError as error:
            assert error.reason in {"address", "port", "range"}


def test_megabytes_of_one_character_end_soon() -> None:
    for character in '0.:[]%"/,- \t_f':
        text = character * 1_000_000
        parse_node(text)
        assert len(split_list([text])[0]) <= MAX_ENTRIES
        for read in (read_endpoint, read_endpoint_last_colon, parse_range, parse_address, read_port):
            with pytest.raises(FormatError):
                read(text)
