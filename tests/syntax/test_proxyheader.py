"""Laws of PROXY protocol headers, v1 and v2."""

from __future__ import annotations

import pytest
from clientip.errors import FormatError
from clientip.model import Endpoint, ProxyHeader
from clientip.syntax.addresses import from_number, parse_address
from clientip.syntax.proxyheader import SIGNATURE_V2, crc32c, parse_proxy, tlv_view
from hypothesis import example, given
from hypothesis import strategies as st

V4 = bytes([203, 0, 113, 7, 192, 0, 2, 1]) + (56324).to_bytes(2, "big") + (443).to_bytes(2, "big")
SOURCE, DESTINATION = Endpoint(parse_address("203.0.113.7"), 56324), Endpoint(parse_address("192.0.2.1"), 443)


def v2(body: bytes, *, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return SIGNATURE_V2 + bytes([command, family]) + size.to_bytes(2, "big") + body


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def summed(body: bytes, *, command: int = 0x21, family: int = 0x11) -> bytes:
    head = v2(body + tlv(3, bytes(4)), command=command, family=family)
    return head[:-4] + crc32c(head).to_bytes(4, "big")


def fault(data: bytes) -> tuple[str, int | None]:
    with pytest.raises(FormatError) as caught:
        parse_proxy(data)
    return caught.value.reason, caught.value.at


# --- version 1


@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n", b"PROXY TCP4 6.6.6.6 6.6.6.6 1 2\r\n"])
def test_the_first_header_counts_and_what_follows_is_payload(rest: bytes) -> None:
    line = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"
    assert parse_proxy(line + rest) == ProxyHeader(1, "proxy", len(line), "TCP4", SOURCE, DESTINATION)


def test_tcp6_may_hold_mapped_text_and_names_the_ipv4_host() -> None:
    seen = parse_proxy(b"PROXY TCP6 2001:DB8::7 ::ffff:192.0.2.1 0 443\r\n")
    assert (seen.transport, seen.source, seen.destination) == (
        "TCP6",
        Endpoint(parse_address("2001:db8::7")),
        DESTINATION,
    )


@pytest.mark.parametrize("rest", [b"", b" ", b" 1.2.3.4 1.2.3.4 99999 x", b" \rany\xffthing"])
def test_after_unknown_everything_is_ignored(rest: bytes) -> None:
    line = b"PROXY UNKNOWN" + rest + b"\r\n"
    assert parse_proxy(line + b"x") == ProxyHeader(1, "unknown", len(line))


@pytest.mark.parametrize(
    ("data", "reason", "at"),
    [
        (b"", "incomplete", 0),
        (b"PRO", "incomplete", 3),
        (b"PROXY", "incomplete", 5),
        (b"PROXY TCP4 1.2.3.4", "incomplete", 18),
        (b"PROXY UNKNOWN" + b" " * 93, "incomplete", 106),
        (b"PROXY UNKNOWN" + b" " * 94, "too_long", 107),
        (b"PROXY UNKNOWN" + b" " * 93 + b"\r\n", "too_long", 107),
        (b"GET / HTTP/1.1\r\n", "no_signature", 0),
        (b"PROXYTCP4 1.2.3.4 1.2.3.4 1 2\r\n", "no_signature", 0),
        (b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "no_signature", 0),
        (b" PROXY UNKNOWN\r\n", "no_signature", 0),
        (b"PROXY\n", "line_end_not_crlf", 5),
        (b"PROXY UNKNOWN\n", "line_end_not_crlf", 13),
        (b"PROXY\r\n", "protocol_missing", 5),
        (b"PROXY \r\n", "protocol_missing", 6),
        (b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", "protocol_missing", 6),
        (b"PROXY TCP 1.2.3.4 1.2.3.4 1 2\r\n", "protocol_unknown", 6),
        (b"PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", "protocol_unknown", 6),
        (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", "protocol_unknown", 6),
        (b"PROXY UNKNOWNX\r\n", "protocol_unknown", 6),
        (b"PROXY TCP4\r\n", "field_count", 10),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "field_count", 28),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", "field_count", 31),
        (b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", "field_count", 31),
        (b"PROXY TCP4 1.2.3.4\t1.2.3.4 1 2\r\n", "field_count", 30),
        (b"PROXY TCP4 999.0.113.7 1.2.3.4 1 2\r\n", "address_invalid", 11),
        (b"PROXY TCP4 1.2.3.4 01.2.3.4 1 2\r\n", "address_invalid", 19),
        (b"PROXY TCP4 1.2.3.\xb2 1.2.3.4 1 2\r\n", "address_invalid", 11),
        (b"PROXY TCP6 [::1] ::1 1 2\r\n", "address_invalid", 11),
        (b"PROXY TCP6 fe80::1%lo ::1 1 2\r\n", "address_invalid", 11),
        (b"PROXY TCP4 ::1 1.2.3.4 1 2\r\n", "address_family_mismatch", 11),
        (b"PROXY TCP4 1.2.3.4 ::ffff:1.2.3.4 1 2\r\n", "address_family_mismatch", 19),
        (b"PROXY TCP6 ::1 1.2.3.4 1 2\r\n", "address_family_mismatch", 15),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", "port_invalid", 27),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", "port_invalid", 27),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", "port_invalid", 29),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n", "port_invalid", 29),
    ],
)
def test_a_v1_header_that_two_receivers_could_read_differently_is_refused(data: bytes, reason: str, at: int) -> None:
    assert fault(data) == (reason, at)


def test_the_longest_v1_header_has_107_bytes() -> None:
    assert parse_proxy(b"PROXY UNKNOWN" + b" " * 92 + b"\r\n").length == 107


ADDRESS = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda n: from_number(n, 4)),
    st.integers(2**64, 2**128 - 1).map(lambda n: from_number(n, 6)),
)


@given(st.tuples(ADDRESS, ADDRESS).filter(lambda two: two[0].version == two[1].version), st.integers(0, 65535))
def test_both_versions_give_back_the_ends_that_were_put_in(two, port: int) -> None:  # type: ignore[no-untyped-def]
    four = two[0].version == 4
    line = f"PROXY TCP{4 if four else 6} {two[0].text} {two[1].text} {port} 1\r\n".encode()
    ends = (Endpoint(two[0], port or None), Endpoint(two[1], 1))
    block = b"".join(each.number.to_bytes(4 if four else 16, "big") for each in two) + port.to_bytes(2, "big") + b"\0\1"
    for seen in (parse_proxy(line), parse_proxy(v2(block, family=0x11 if four else 0x21))):
        assert (seen.source, seen.destination) == ends


# --- version 2


def test_a_v2_header_gives_ends_transport_and_length() -> None:
    assert parse_proxy(v2(V4) + b"GET") == ProxyHeader(2, "proxy", 28, "TCP4", SOURCE, DESTINATION)
    assert parse_proxy(v2(V4, family=0x12)).transport == "UDP4"


def test_mapped_addresses_in_an_ipv6_block_are_ipv4() -> None:
    block = bytes(10) + b"\xff\xff" + V4[:4] + bytes(15) + b"\1" + V4[8:]
    seen = parse_proxy(v2(block, family=0x22))
    assert (seen.transport, seen.source, seen.destination) == ("UDP6", SOURCE, Endpoint(parse_address("::1"), 443))


@pytest.mark.parametrize(("family", "transport"), [(0x31, "UNIX_STREAM"), (0x32, "UNIX_DGRAM")])
def test_unix_sockets_are_paths_and_no_endpoints(family: int, transport: str) -> None:
    block = b"/run/a.sock".ljust(108, b"\0") + b"\0abstract".ljust(108, b"\0")
    assert parse_proxy(v2(block, family=family)) == ProxyHeader(
        2, "proxy", 232, transport, source_path="/run/a.sock", destination_path="@abstract"
    )
    assert parse_proxy(v2(bytes(216), family=family)).source_path == ""
    assert parse_proxy(v2(b"/\xff".ljust(216, b"\0"), family=family)).source_path == "/\\xff"


@pytest.mark.parametrize("family", [0x00, 0x01, 0x02, 0x10, 0x20, 0x30, 0x11, 0x32])
@pytest.mark.parametrize("body", [b"", V4, b"junk that is no TLV"])
def test_local_means_the_real_connection_whatever_else_is_said(family: int, body: bytes) -> None:
    seen = parse_proxy(v2(body, command=0x20, family=family) + b"rest")
    assert (seen.result, seen.source, seen.destination, seen.length) == ("local", None, None, 16 + len(body))


@pytest.mark.parametrize("family", [0x00, 0x01, 0x02, 0x10, 0x20, 0x30])
def test_a_half_said_family_is_unspec_and_names_nobody(family: int) -> None:
    seen = parse_proxy(v2(V4, family=family))
    assert (seen.result, seen.source, seen.transport) == ("unspec", None, None)


@pytest.mark.parametrize(
    ("data", "reason", "at"),
    [
        (SIGNATURE_V2[:5], "incomplete", 5),
        (SIGNATURE_V2, "incomplete", 12),
        (v2(b"")[:13], "incomplete", 13),
        (v2(b"")[:15], "incomplete", 15),
        (v2(V4)[:-1], "incomplete", 27),
        (v2(V4, length=13), "incomplete", 28),
        (v2(V4, command=0x22), "version_or_command", 12),
        (v2(V4, command=0x2F), "version_or_command", 12),
        (v2(V4, command=0x11), "version_or_command", 12),
        (v2(V4, command=0x31)[:13], "version_or_command", 12),
        (v2(V4, family=0x41), "family_or_transport", 13),
        (v2(V4, family=0x13), "family_or_transport", 13),
        (v2(V4, family=0x03, command=0x20)[:14], "family_or_transport", 13),
        (v2(V4, length=11), "length_too_small", 14),
        (v2(V4, length=0), "length_too_small", 14),
        (v2(bytes(35), family=0x21), "length_too_small", 14),
        (v2(bytes(215), family=0x31), "length_too_small", 14),
        (SIGNATURE_V2[:11] + b"\0" + v2(V4)[12:], "no_signature", 0),
    ],
)
def test_a_v2_header_that_is_none_says_what_is_wrong(data: bytes, reason: str, at: int) -> None:
    assert fault(data) == (reason, at)


# --- TLVs


def test_tlvs_are_kept_raw_in_wire_order_and_bytes_after_the_length_are_payload() -> None:
    head = v2(V4 + tlv(0xE3, b"a") + tlv(0x04, b"\0\0") + tlv(0xE3, b""))
    assert parse_proxy(head + tlv(2, b"x")).tlvs == ((0xE3, b"a"), (0x04, b"\0\0"), (0xE3, b""))


@pytest.mark.parametrize("broken", [b"\x02", b"\x02\x00", b"\x02\x00\x05abcd", b"\x03\x00\x04\0\0\0"])
def test_broken_tlvs_leave_the_addresses_usable(broken: bytes) -> None:
    seen = parse_proxy(v2(V4 + tlv(1, b"h2") + broken))
    assert (seen.source, seen.tlvs, seen.tlv_fault) == (SOURCE, ((1, b"h2"),), "truncated")


@pytest.mark.parametrize(("command", "family"), [(0x21, 0x11), (0x20, 0x11), (0x21, 0x01)])
def test_a_checksum_that_is_there_must_be_right(command: int, family: int) -> None:
    body = V4 if family == 0x11 else b""
    good = summed(body + tlv(2, b"a"), command=command, family=family)
    assert parse_proxy(good).length == len(good)
    for index in (len(good) - 1, len(good) - 8):
        bad = good[:index] + bytes([good[index] ^ 1]) + good[index + 1 :]
        assert fault(bad) == ("crc32c", len(good) - 4)


def test_a_checksum_of_another_size_or_a_second_one_is_refused() -> None:
    assert fault(v2(V4 + tlv(3, b"\0\0\0"))) == ("crc32c", 31)
    assert fault(summed(V4 + summed(V4)[28:])) == ("crc32c", 31)
    assert fault(v2(V4 + tlv(3, bytes(4)) * 9000))[0] == "crc32c"


def test_crc32c_has_the_values_of_rfc_3720() -> None:
    assert crc32c(b"") == 0
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def view(*tlvs: bytes) -> dict[str, object]:
    return dict(tlv_view(parse_proxy(v2(V4 + b"".join(tlvs)))))


def test_the_view_names_what_the_specification_and_the_clouds_define() -> None:
    assert view(
        tlv(0x01, b"h2"),
        tlv(0x02, b"ex\xff"),
        tlv(0x04, b"pad"),
        tlv(0x05, b"\x01\x02"),
        tlv(0x30, b"ns1"),
        tlv(0xEA, b"\x01vpce-1"),
        tlv(0xEE, b"\x01\x01\x02\x00\x00"),
        tlv(0xE0, (2**40).to_bytes(8, "big")),
        tlv(0xE1, b"\x07"),
    ) == {
        "alpn": "h2",
        "authority": "ex\\xff",
        "unique_id": "0102",
        "netns": "ns1",
        "aws_vpce_id": "vpce-1",
        "azure_link_id": 513,
        "gcp_psc_id": 2**40,
        "0xe1": "07",
    }


def test_a_value_of_the_wrong_shape_stays_hex_under_its_type() -> None:
    assert view(
        tlv(0x05, bytes(129)),
        tlv(0x20, b"\1\0\0\0"),
        tlv(0xEA, b"\x02vpce"),
        tlv(0xEE, b"\x01\x01"),
        tlv(0xEE, b"\x02\0\0\0\0"),
        tlv(0xE0, b"\1"),
    ) == {"0x05": "00" * 129, "0x20": "01000000", "0xea": "0276706365", "0xee": "0101", "0xe0": "01"}
    assert view(tlv(0x05, bytes(128))) == {"unique_id": "00" * 128}
    assert view(tlv(0xEE, b"\x02\0\0\0\0")) == {"0xee": "0200000000"}


def test_of_a_repeated_type_the_first_counts() -> None:
    assert view(tlv(2, b"first"), tlv(2, b"second")) == {"authority": "first"}


def test_ssl_is_taken_apart_one_level_deep() -> None:
    parts = b"".join(tlv(0x21 + index, name) for index, name in enumerate((b"v", b"cn", b"c", b"s", b"k", b"g", b"ss")))
    inner = tlv(0x20, b"\1\0\0\0\0" + tlv(0x21, b"deep"))
    assert view(
        tlv(0x20, b"\x05\0\0\0\1" + parts + tlv(0x28, b"\xca\xfe") + inner + tlv(0x21, b"w") + b"\x22\0\x09x")
    ) == {
        "ssl": {
            "client": 5,
            "verify": 1,
            "version": "v",
            "cn": "cn",
            "cipher": "c",
            "sig_alg": "s",
            "key_alg": "k",
            "group": "g",
            "sig_scheme": "ss",
            "client_cert": "cafe",
            "0x20": (b"\1\0\0\0\0" + tlv(0x21, b"deep")).hex(),
            "fault": "truncated",
        }
    }
    assert view(tlv(0x20, bytes(5))) == {"ssl": {"client": 0, "verify": 0}}


def test_the_checksum_is_shown_as_it_was_sent() -> None:
    head = summed(V4)
    assert tlv_view(parse_proxy(head)) == {"crc32c": head[-4:].hex()}


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=80).map(lambda body: b"PROXY " + body)))
@example(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n")
def test_any_bytes_are_a_header_or_a_format_error(data: bytes) -> None:
    for candidate in (data, v2(data), v2(V4 + data), v2(data, command=0x20), v2(data, family=0x00)):
        try:
            seen = parse_proxy(candidate)
        except FormatError as error:
            assert error.at is not None and 0 <= error.at <= len(candidate)
        else:
            assert seen.length <= len(candidate)
            tlv_view(seen)
