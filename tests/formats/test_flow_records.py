"""Laws of flow records: what is before and after NAT is told apart, and no record claims more time than it has."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from clientip.errors import ConfigError, FormatError
from clientip.formats.flow.records import FLOW_JSON
from clientip.formats.flow.vpc import VPC_FLOW
from clientip.model import Format, Line, Observation, Skipped
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds.samples_check import check_sample, line_of, reader_of, value_at

START, END = 1714557600123, 1714557604456  # ms
PORTS = st.integers(1, 65535)
HOSTS = st.ip_addresses(v=4).map(str).filter(lambda text: text != "0.0.0.0")
FOUR = st.lists(st.tuples(HOSTS, PORTS), min_size=4, max_size=4)
PATHS = ("peer", "local", "upstream_local", "upstream_peer")

IPFIX = (
    ("sourceIPv4Address", "sourceTransportPort"),
    ("destinationIPv4Address", "destinationTransportPort"),
    ("postNATSourceIPv4Address", "postNAPTSourceTransportPort"),
    ("postNATDestinationIPv4Address", "postNAPTDestinationTransportPort"),
)
NETOBSERV = (
    ("SrcAddr", "SrcPort"),
    ("DstAddr", "DstPort"),
    ("XlatSrcAddr", "XlatSrcPort"),
    ("XlatDstAddr", "XlatDstPort"),
)


def flow(names: tuple[tuple[str, str], ...], ends: list[tuple[str, int]], **fields: object) -> dict[str, Any]:
    return {
        key: value for pair, end in zip(names, ends, strict=True) for key, value in zip(pair, end, strict=True)
    } | fields


def read(fields: dict[str, Any], **setup: object) -> Observation | Skipped:
    seen = reader_of(FLOW_JSON, **setup)(line_of(json.dumps(fields).encode()))
    assert isinstance(seen, Observation | Skipped)
    return seen


def seen_in(fields: dict[str, Any], **setup: object) -> Observation:
    seen = read(fields, **setup)
    assert isinstance(seen, Observation)
    return seen


def ipfix(ends: list[tuple[str, int]], **fields: object) -> dict[str, Any]:
    times = {"flowStartMilliseconds": START, "flowEndMilliseconds": END, "protocolIdentifier": 6}
    return flow(IPFIX, ends, **{**times, **fields})


FOUR_ENDS = [("203.0.113.7", 51111), ("198.51.100.10", 443), ("10.1.0.4", 20001), ("10.244.1.5", 8443)]


@pytest.mark.parametrize("chosen", [FLOW_JSON, VPC_FLOW], ids=lambda chosen: chosen.name)
def test_samples(chosen: Format) -> None:
    for sample in chosen.samples:
        check_sample(chosen, sample)


@given(FOUR, st.sampled_from(["flat", "iana:", "ipfix", "netflow"]))
def test_every_notation_tells_the_same_translation(ends: list[tuple[str, int]], notation: str) -> None:
    plain = ipfix(ends)
    if notation == "iana:":
        written = {f"iana:{key}": value for key, value in plain.items()}
    else:
        written = plain if notation == "flat" else {notation: plain, "@timestamp": "2024-05-01T10:00:09Z"}
    other = flow(NETOBSERV, ends, Proto=6, TimeFlowStartMs=START, TimeFlowEndMs=END)
    one, two = seen_in(written), seen_in(other)
    expected = [f"{host}:{port}" for host, port in ends]
    for seen in (one, two):
        assert [value_at(seen, path) for path in PATHS] == expected
        assert seen.transport == "tcp"
        assert (seen.start_ns, seen.end_ns) == (START * 10**6, END * 10**6)


@given(FOUR)
def test_antrea_meets_the_pod_behind_the_service(ends: list[tuple[str, int]]) -> None:
    client, service, node, pod = ends
    names = (*IPFIX[:2], ("proxySnatIPv4", "proxySnatPort"), ("destinationServiceIPv4", "destinationServicePort"))
    seen = seen_in({"ipfix": flow(names, [client, pod, node, service], protocolIdentifier=6)})
    assert [value_at(seen, path) for path in PATHS] == [f"{host}:{port}" for host, port in (client, service, node, pod)]


@given(FOUR, st.sets(st.sampled_from([key for pair in IPFIX[2:] for key in pair])))
def test_what_is_not_said_of_the_other_side_is_not_guessed(ends: list[tuple[str, int]], dropped: set[str]) -> None:
    fields = {key: value for key, value in ipfix(ends).items() if key not in dropped}
    seen = read(fields)
    if len(dropped) == 4:
        assert isinstance(seen, Skipped)
        return
    assert isinstance(seen, Observation)
    for path, (address, port), before, after in (
        ("upstream_local", IPFIX[2], ends[0], ends[2]),
        ("upstream_peer", IPFIX[3], ends[1], ends[3]),
    ):
        if {address, port} <= dropped:
            assert value_at(seen, path) == f"{before[0]}:{before[1]}"
        elif port in dropped:
            assert value_at(seen, path) == after[0]
        else:
            assert value_at(seen, path) == f"{before[0] if address in dropped else after[0]}:{after[1]}"


@pytest.mark.parametrize("nothing", [None, "", "0.0.0.0", "::"])
def test_zero_addresses_and_ports_are_nothing(nothing: object) -> None:
    zeros = dict.fromkeys(("postNATSourceIPv4Address", "postNATDestinationIPv4Address"), nothing)
    ports = dict.fromkeys(("postNAPTSourceTransportPort", "postNAPTDestinationTransportPort"), 0)
    assert isinstance(read(ipfix(FOUR_ENDS, **zeros, **ports)), Skipped)


def test_nat_between_the_versions_of_ip_is_told() -> None:
    fields = ipfix(FOUR_ENDS, sourceIPv6Address="2001:db8::7", destinationIPv6Address="64:ff9b::1", natEvent=6)
    del fields["sourceIPv4Address"], fields["destinationIPv4Address"]
    seen = seen_in(fields)
    assert (value_at(seen, "peer"), value_at(seen, "upstream_local")) == ("[2001:db8::7]:51111", "10.1.0.4:20001")
    with pytest.raises(FormatError, match="two_readings"):
        seen_in(ipfix(FOUR_ENDS, sourceIPv6Address="2001:db8::7"))


# --- time


@pytest.mark.parametrize("reason", [None, 1, 2, 4, 5])
def test_a_record_of_a_flow_that_may_go_on_proves_no_moment(reason: int | None) -> None:
    seen = seen_in(ipfix(FOUR_ENDS, flowEndReason=reason))
    assert seen.start_ns == START * 10**6
    assert seen.start_latest_ns is not None
    assert seen.end_ns is not None
    assert seen.start_latest_ns >= seen.end_ns  # its translation may be as young as its last packet


def test_a_record_that_saw_the_flow_end_holds_all_of_it() -> None:
    seen = seen_in(ipfix(FOUR_ENDS, flowEndReason=3), max_skew_ns=7)
    assert (seen.start_ns, seen.end_ns) == (START * 10**6 - 7, END * 10**6)
    assert seen.start_latest_ns == START * 10**6 + 999_999 + 7


@pytest.mark.parametrize("key", ["proxySnatIPv4", "destinationServiceIPv4"])
def test_records_put_together_by_port_never_hold_one_flow(key: str) -> None:
    seen = seen_in(ipfix(FOUR_ENDS, flowEndReason=3, **{key: "10.9.9.9"}))
    assert seen.start_latest_ns == END * 10**6 + 999_999


@pytest.mark.parametrize(("event", "word"), [(1, "NEW"), (4, "NEW"), (6, "NEW"), (2, "DESTROY"), (5, "DESTROY")])
def test_sessions_of_a_nat_begin_and_end_as_in_connection_tracking(event: int, word: str) -> None:
    fields = ipfix(FOUR_ENDS, natEvent=event, observationTimeMilliseconds=END)
    del fields["flowStartMilliseconds"], fields["flowEndMilliseconds"]
    seen = seen_in(fields)
    assert seen.connection_serial == f"tcp/-/{word}"
    moment = END * 10**6
    assert (seen.start_ns, seen.end_ns) == ((moment, None) if word == "NEW" else (None, moment))
    assert seen.start_latest_ns == moment + 999_999


@pytest.mark.parametrize("event", [3, 8, 9, 12, 13, 16, 17, 18, 99])
def test_events_of_pools_and_blocks_are_no_flows(event: int) -> None:
    assert isinstance(read(ipfix(FOUR_ENDS, natEvent=event)), Skipped)


@pytest.mark.parametrize(
    ("key", "written", "moment", "width"),
    [
        ("flowStartSeconds", 1714557600, 1714557600 * 10**9, 10**9),
        ("flowStartSeconds", "2024-05-01T10:00:00.000Z", 1714557600 * 10**9, 10**9),
        ("flowStartMilliseconds", "1714557600123", START * 10**6, 10**6),
        ("flowStartMilliseconds", "2024-05-01T10:00:00Z", 1714557600 * 10**9, 10**9),
        ("flowStartMicroseconds", 1714557600123456, 1714557600123456000, 10**3),
        ("flowStartMicroseconds", "2024-05-01T10:00:00.123Z", START * 10**6, 10**6),
        ("flowStartNanoseconds", 1714557600123456789, 1714557600123456789, 1),
    ],
)
def test_a_stamp_is_as_fine_as_it_is_written_and_no_finer_than_its_element(
    key: str, written: object, moment: int, width: int
) -> None:
    fields = ipfix(FOUR_ENDS, flowEndReason=3, flowEndMilliseconds=END, **{key: written})
    if key != "flowStartMilliseconds":
        del fields["flowStartMilliseconds"]
    seen = seen_in(fields)
    assert (seen.start_ns, seen.start_latest_ns) == (moment, moment + width - 1)


def test_numbers_below_the_prefix_are_milliseconds_whatever_the_element() -> None:
    fields = ipfix(FOUR_ENDS, flowEndReason=3, flowStartSeconds=START - START % 1000)
    del fields["flowStartMilliseconds"]
    seen = seen_in({f"iana:{key}": value for key, value in fields.items()})
    assert seen.start_ns == 1714557600 * 10**9
    assert seen.start_latest_ns == 1714557600 * 10**9 + 999_999_999


@pytest.mark.parametrize(
    "times",
    [
        {"flowStartMilliseconds": END, "flowEndMilliseconds": START},
        {"flowStartMilliseconds": -1},
        {"flowStartMilliseconds": 2**63},
        {"flowStartMilliseconds": "2024-05-01T10:00:00"},
    ],
)
def test_times_that_are_none_are_refused(times: dict[str, object]) -> None:
    with pytest.raises(FormatError, match="time"):
        seen_in(ipfix(FOUR_ENDS, **times))


def test_a_record_without_times_has_begun_when_it_was_written() -> None:
    fields = flow(IPFIX, FOUR_ENDS)
    text = json.dumps(fields).encode()
    seen = reader_of(FLOW_JSON)(Line(text, text, stamp_ns=100))
    assert isinstance(seen, Observation)
    assert (seen.start_ns, seen.start_latest_ns, seen.end_ns, seen.time_by) == (None, 100, None, "wrapper")


def test_a_key_with_and_without_its_prefix_has_two_readings() -> None:
    with pytest.raises(FormatError, match="two_readings"):
        read({"iana:natEvent": 4, "natEvent": 5, "iana:sourceIPv4Address": "10.0.0.1"})


@pytest.mark.parametrize(
    ("written", "name"),
    [(6, "tcp"), ("6", "tcp"), ("UDP", "udp"), ("IPv6-ICMP", "icmpv6"), (89, "89"), (None, None), ("", None)],
)
def test_the_protocol_is_a_number_or_a_keyword(written: object, name: str | None) -> None:
    assert seen_in(ipfix(FOUR_ENDS, protocolIdentifier=written)).transport == name


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
    | st.sampled_from(["10.0.0.1", "2024-05-01T10:00:00Z", "TCP", [1], {"a": []}, START, 5])
)
KEYS = [key for pair in (*IPFIX, *NETOBSERV) for key in pair]
KEYS += ["natEvent", "flowEndReason", "flowStartSeconds", "flowEndSeconds", "flowEndNanoseconds", "TimeFlowStartMs"]
KEYS += ["proxySnatIPv4", "proxySnatPort", "destinationServiceIPv6", "ipfix", "netflow", "@type", "AgentIP", "Proto"]
KEYS += [f"iana:{key}" for key in KEYS]


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=12))
def test_any_values_under_the_known_keys_read_or_raise_format_error(fields: dict[str, Any]) -> None:
    for record in (fields, {"ipfix": fields}):
        with contextlib.suppress(FormatError):
            read(record)


# --- VPC flow logs


def test_a_vpc_record_tells_nothing_of_what_stands_behind_a_connection() -> None:
    for sample in VPC_FLOW.samples:
        if sample.rejected is None and sample.skipped is None:
            seen = reader_of(VPC_FLOW, **dict(sample.setup))(line_of(sample.line))
            assert isinstance(seen, Observation)
            assert (seen.kind, seen.upstream_local, seen.upstream_peer) == ("connection", None, None)


@pytest.mark.parametrize(
    "pattern",
    ["srcaddr dstaddr srcport dstport start", "srcaddr srcaddr", "%h %l", "version start end srcport dstport"],
)
def test_a_list_of_fields_that_does_not_do_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError) as caught:
        reader_of(VPC_FLOW, pattern=pattern)
    assert [fault.key for fault in caught.value.faults] == ["pattern"]


@pytest.mark.parametrize(("column", "value"), [(3, "x"), (5, "99999"), (7, "tcp"), (10, "yesterday")])
def test_a_column_that_is_none_of_its_kind_is_refused(column: int, value: str) -> None:
    values = VPC_FLOW.samples[0].line.split(b" ")
    values[column] = value.encode()
    with pytest.raises(FormatError):
        reader_of(VPC_FLOW)(line_of(b" ".join(values)))
