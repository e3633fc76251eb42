"""Laws of the reader of ctnetlink: what the kernel says is read; any other bytes count as malformed and no more."""

from __future__ import annotations

import socket
import struct

from clientip.edges.collect import netlink
from clientip.edges.collect.netlink import TupleEnds
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.netlink_messages import NEW, ORIGINAL, REPLY, Side, attribute, message
from tests.worlds.patience import processor_s
from tests.worlds.sizes import EXAMPLES

ADDRESSES = st.sampled_from([4, 6]).flatmap(lambda version: st.tuples(*[st.ip_addresses(v=version)] * 2))
PORTS = st.integers(0, 65535)


def test_every_part_of_an_event_is_read() -> None:
    data = message("DESTROY", state=7, stamp=30, life=(10, 20), zone=9, number=77, status=0x39E)
    (entry,) = netlink.read_messages(data).entries
    assert (entry.event, entry.number, entry.status, entry.state, entry.zone) == (netlink.DESTROY, 77, 0x39E, 7, 9)
    assert (entry.start, entry.stop, entry.stamp) == (10, 20, 30)
    assert netlink.ends(entry.original) == (6, *ORIGINAL)
    assert netlink.ends(entry.reply) == (6, *REPLY)


def test_new_and_update_differ_by_their_flags() -> None:
    read = netlink.read_messages(message() + message("UPDATE") + message("DESTROY"))
    assert [entry.event for entry in read.entries] == [netlink.NEW, netlink.UPDATE, netlink.DESTROY]
    assert read.malformed == 0


@given(ADDRESSES, PORTS, PORTS, st.integers(0, 255))
def test_every_tuple_is_read_as_it_was_written(
    hosts: tuple[object, object], sport: int, dport: int, protocol: int
) -> None:
    with_ports = protocol in (6, 17, 33, 132, 136)
    ends: Side = (str(hosts[0]), sport if with_ports else None, str(hosts[1]), dport if with_ports else None)
    (entry,) = netlink.read_messages(message(protocol=protocol, original=ends)).entries
    read = netlink.ends(entry.original)
    assert read is not None
    assert (read.protocol, read.source_port, read.destination_port) == (protocol, ends[1], ends[3])
    assert (read.source, read.destination) == (_kernel_text(hosts[0]), _kernel_text(hosts[1]))


def _kernel_text(host: object) -> str:
    """The C library's text of an address: IPv4-mapped and -compatible ones end in dotted numbers."""
    text = str(host)
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return socket.inet_ntop(family, socket.inet_pton(family, text))


def test_flows_of_other_zones_or_numbers_are_others() -> None:
    variants = [message(), message(number=5), message(zone=3), message(zone=4), message(original=REPLY)]
    assert len({netlink.read_messages(data).entries[0].key for data in variants}) == len(variants)


def test_a_zone_of_one_direction_is_read_too() -> None:
    whole = message()
    inner = netlink.read_messages(whole).entries[0].original
    zoned = inner + attribute(3, struct.pack(">H", 12))
    body = whole[16:].replace(attribute(0x8001, inner), attribute(0x8001, zoned), 1)
    (entry,) = netlink.read_messages(struct.pack("=IHHII", 16 + len(body), 0x100, 0x600, 0, 0) + body).entries
    assert entry.zone == 12
    assert netlink.ends(entry.original) == (6, *ORIGINAL)


def test_the_end_of_a_list_and_a_refusal_are_read() -> None:
    assert netlink.read_messages(struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)).done
    assert netlink.read_messages(struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -1)).error == 1


def test_a_cut_message_is_malformed_and_not_another_one() -> None:
    data = message(state=7, stamp=30, life=(10, 20))
    whole = netlink.read_messages(data).entries
    for end in range(1, len(data)):
        cut = netlink.read_messages(data[:end])
        assert cut.malformed == 1
        assert cut.entries == []
    assert len(whole) == 1


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_every_byte_string_is_read_or_counted_as_malformed(data: st.DataObject) -> None:
    base = data.draw(st.sampled_from([message(NEW, state=1, stamp=1), message("DESTROY", life=(1, None), zone=2)]))
    text = bytearray(base * data.draw(st.integers(1, 3)))
    for _ in range(data.draw(st.integers(0, 6))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    for candidate in (bytes(text), data.draw(st.binary(max_size=300))):
        read = netlink.read_messages(candidate)
        assert read.malformed >= 0
        assert len(read.entries) + read.malformed <= len(candidate) // 16 + 1
        for entry in read.entries:
            assert entry.number < 2**32
            for content in (entry.original, entry.reply):
                assert isinstance(netlink.ends(content), TupleEnds | None)


@given(st.binary(max_size=120))
def test_any_bytes_are_two_ends_or_none(content: bytes) -> None:
    assert isinstance(netlink.ends(content), TupleEnds | None)


def test_reading_is_linear() -> None:
    def spent(data: bytes) -> float:
        return processor_s(lambda: netlink.read_messages(data))

    head = struct.pack("=IHHII", 16 + 4 + 2_000_000, 0x100, 0, 0, 0) + bytes(4)
    # Half a million attributes, each empty or nested in the one before: quadratic reading would take hours.
    assert spent(head + struct.pack("=HH", 4, 0x8004) * 500_000) < 10
    deep = b"".join(struct.pack("=HH", 60_000 - 4 * depth, 0x8004) for depth in range(15_000))
    assert spent(struct.pack("=IHHII", 20 + len(deep), 0x100, 0, 0, 0) + bytes(4) + deep) < 10
    assert spent(message() * 50_000) < 10
