"""Laws of translations: four ends and two moments out of every line, or a refusal."""

from __future__ import annotations

import contextlib
import json

import pytest
from clientip.errors import FormatError
from clientip.formats.conntrack.text import CONNTRACK, CONNTRACK_SAMPLES, ULOGD_JSON, ULOGD_SAMPLES
from clientip.formats.conntrack.xml import CONNTRACK_XML, SAMPLES
from clientip.model import Line, Observation, Sample, Skipped
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds.samples_check import check_sample, line_of, reader_of, value_at

ADDRESSES = st.ip_addresses().map(str)
PORTS = st.integers(1, 65535)
FLAGS = st.sampled_from(["", "[UNREPLIED] ", "packets=1 bytes=2 "])


def seen_in(text: str, **setup: object) -> Observation:
    seen = reader_of(CONNTRACK, **setup)(line_of(text.encode()))
    assert isinstance(seen, Observation)
    return seen


@pytest.mark.parametrize("sample", CONNTRACK_SAMPLES)
def test_conntrack_samples(sample: Sample) -> None:
    check_sample(CONNTRACK, sample)


@pytest.mark.parametrize("sample", ULOGD_SAMPLES)
def test_ulogd_samples(sample: Sample) -> None:
    check_sample(ULOGD_JSON, sample)


@pytest.mark.parametrize("sample", SAMPLES)
def test_xml_samples(sample: Sample) -> None:
    check_sample(CONNTRACK_XML, sample)


@given(
    st.lists(ADDRESSES, min_size=4, max_size=4),
    st.lists(PORTS, min_size=4, max_size=4),
    st.sampled_from(["NEW", "UPDATE", "DESTROY"]),
    FLAGS,
    st.booleans(),
    st.booleans(),
)
def test_text_and_ulogd_tell_the_same_translation(
    hosts: list[str], ports: list[int], event: str, flags: str, stamped: bool, extended: bool
) -> None:
    a, b, c, d = hosts
    head = ("[1714557600.000005]\t" if stamped else "") + f"[{event}]".rjust(9) + " "
    head += ("ipv4     2 " if extended else "") + ("tcp      6 " if event == "DESTROY" else "tcp      6 120 SYN_SENT ")
    text = (
        f"{head}src={a} dst={b} sport={ports[0]} dport={ports[1]} {flags}"
        f"src={c} dst={d} sport={ports[2]} dport={ports[3]} [ASSURED] mark=0 use=1 id=9"
    )
    fields: dict[str, object] = {
        "orig.ip.protocol": 6,
        "ct.id": 9,
        "ct.event": {"NEW": 1, "UPDATE": 2, "DESTROY": 4}[event],
    }
    for side, (source, target), (sport, dport) in (("orig", (a, b), ports[:2]), ("reply", (c, d), ports[2:])):
        fields |= {f"{side}.ip.saddr.str": source, f"{side}.ip.daddr.str": target}
        fields |= {f"{side}.l4.sport": sport, f"{side}.l4.dport": dport}
    plain = seen_in(text)
    flow = reader_of(ULOGD_JSON)(line_of(json.dumps(fields).encode()))
    assert isinstance(flow, Observation)
    for path in ("peer", "local", "upstream_local", "upstream_peer", "connection_serial", "transport"):
        assert value_at(plain, path) == value_at(flow, path), path


PROTOCOL = st.sampled_from([("tcp", 6), ("udp", 17), ("sctp", 132), ("icmp", 1), ("gre", 47), ("unknown", 89)])


@given(
    st.lists(ADDRESSES, min_size=4, max_size=4),
    st.lists(PORTS, min_size=4, max_size=4),
    st.sampled_from(["NEW", "UPDATE", "DESTROY", "LIST"]),
    PROTOCOL,
    st.sampled_from(["", "[UNREPLIED]", "[ASSURED]"]),
    st.integers(0, 65535),
    st.booleans(),
)
def test_text_and_xml_tell_the_same_flow(
    hosts: list[str], ports: list[int], event: str, kind: tuple[str, int], flag: str, zone: int, stamped: bool
) -> None:
    (a, b, c, d), (name, number) = hosts, kind
    ported = name in ("tcp", "udp", "sctp")
    words = [f"sport={ports[n]} dport={ports[n + 1]} " if ported else "" for n in (0, 2)]
    keys = [f"<sport>{ports[n]}</sport><dport>{ports[n + 1]}</dport>" if ported else "" for n in (0, 2)]
    tail = "id=77 id=9" if name == "icmp" else "id=9"  # of the echo, and of the entry
    stamps = " [start=Wed May  1 10:00:00 2024] [stop=Wed May  1 10:01:00 2024]" if stamped else ""
    text = (
        f"{'' if event == 'LIST' else f'[{event}] '}{name}      {number} 120 src={a} dst={b} {words[0]}"
        f"{'[UNREPLIED] ' if flag == '[UNREPLIED]' else ''}src={c} dst={d} {words[1]}"
        f"{'[ASSURED] ' if flag == '[ASSURED]' else ''}mark=0 {f'zone={zone} ' if zone else ''}use=1 {tail}{stamps}"
    )
    sides = [
        f'<meta direction="{way}"><layer3 protonum="2" protoname="ipv4"><src>{source}</src><dst>{target}</dst></layer3>'
        f'<layer4 protonum="{number}" protoname="{name}">{inner}</layer4></meta>'
        for way, source, target, inner in (("original", a, b, keys[0]), ("reply", c, d, keys[1]))
    ]
    said = "<timestamp><start>1714557600000000000</start><stop>1714557660000000000</stop></timestamp>"
    attribute = "" if event == "LIST" else f' type="{event.lower()}"'
    xml = (
        f"<flow{attribute}>{''.join(sides)}"
        f'<meta direction="independent"><mark>0</mark>{f"<zone>{zone}</zone>" if zone else ""}<use>1</use><id>9</id>'
        f"{f'<{flag[1:-1].lower()}/>' if flag else ''}{said if stamped else ''}</meta></flow>"
    )
    plain, seen = seen_in(text), reader_of(CONNTRACK_XML)(line_of(xml.encode()))
    assert isinstance(seen, Observation)
    paths = ("peer", "local", "upstream_local", "upstream_peer", "connection_serial", "transport", "assured")
    for path in (*paths, "start_ns", "end_ns"):
        assert value_at(plain, path) == value_at(seen, path), path
    assert seen.connection_serial == f"{number if name == 'unknown' else name}/9/{event}"
    if stamped and seen.start_latest_ns is not None:
        assert seen.start_latest_ns == seen.start_ns  # ns, where the text has seconds
        assert plain.start_latest_ns == seen.start_latest_ns + 999_999_999


SNAT = (
    "tcp      6 120 SYN_SENT src=10.0.1.1 dst=10.1.0.2 sport=42974 dport=8080 [UNREPLIED] "
    "src=10.1.0.2 dst=10.1.0.1 sport=8080 dport=42974"
)


def test_the_next_hop_sees_the_reply_turned_round() -> None:
    seen = seen_in(f"[NEW] {SNAT}")
    assert value_at(seen, "upstream_local") == "10.1.0.1:42974"
    assert value_at(seen, "upstream_peer") == "10.1.0.2:8080"
    assert value_at(seen, "peer") == "10.0.1.1:42974"


@pytest.mark.parametrize(
    ("event", "start", "latest", "end"),
    [("NEW", 70, 100, None), ("UPDATE", None, 100, None), ("DESTROY", None, 100, 85)],
)
def test_an_event_without_its_own_time_takes_the_wrappers(
    event: str, start: int | None, latest: int | None, end: int | None
) -> None:
    text = f"[{event}] {SNAT}".encode()
    seen = reader_of(CONNTRACK, stamped_within_ns=30)(Line(text, text, stamp_ns=100))
    assert isinstance(seen, Observation)
    assert (seen.start_ns, seen.start_latest_ns, seen.end_ns, seen.time_by) == (start, latest, end, "wrapper")
    assert seen.end_slack_ns == (15 if end is not None else None)
    unbounded = reader_of(CONNTRACK)(Line(text, text, stamp_ns=100))
    assert isinstance(unbounded, Observation)
    assert (unbounded.start_ns, unbounded.start_latest_ns, unbounded.end_ns) == (None, 100, None)


@pytest.mark.parametrize("event", ["NEW", "DESTROY"])
def test_a_moment_of_printing_trails_its_event_by_as_much_as_the_operator_says(event: str) -> None:
    text = f"[1714557600.000000]\t[{event}] {SNAT}"
    assert (seen_in(text).start_ns, seen_in(text).end_ns) == (None, None)
    seen = seen_in(text, stamped_within_ns=1_000_000_000)
    if event == "NEW":
        assert (seen.start_ns, seen.start_latest_ns) == (1714557599000000000, 1714557600000000999)
    else:
        assert seen.end_ns is not None
        assert seen.end_slack_ns is not None
        assert seen.end_ns - seen.end_slack_ns <= 1714557599000000000
        assert seen.end_ns + seen.end_slack_ns >= 1714557600000000999


def test_kernel_stamps_need_a_zone() -> None:
    text = f"[DESTROY] {SNAT} [start=Wed May  1 10:00:00 2024] [stop=Wed May  1 10:01:00 2024]"
    assert seen_in(text, timezone=None).time_by is None
    berlin = seen_in(text, timezone="Europe/Berlin")
    assert (berlin.start_ns, berlin.end_ns) == (1714550400000000000, 1714550460000000000)
    assert berlin.start_latest_ns == 1714550400999999999


def test_a_table_line_says_only_that_the_flow_had_begun() -> None:
    assert seen_in(SNAT).connection_serial == "tcp/-/LIST"


def test_the_zone_of_an_entry_is_read_over() -> None:
    serials = {seen_in(f"[NEW] {SNAT} {zone}id=5").connection_serial for zone in ("", "zone=0 ", "zone=7 ")}
    one_way = SNAT.replace("[UNREPLIED]", "zone-orig=9 [UNREPLIED]")
    assert serials == {seen_in(f"[NEW] {one_way} id=5").connection_serial} == {"tcp/5/NEW"}


@pytest.mark.parametrize(
    ("event", "protocol", "flags", "assured"),
    [
        ("NEW", "tcp", "", None),
        ("UPDATE", "tcp", "", None),
        ("UPDATE", "tcp", "[ASSURED]", True),
        ("DESTROY", "tcp", "", None),
        ("DESTROY", "tcp", "[UNREPLIED]", False),
        ("DESTROY", "tcp", "[ASSURED]", True),
        ("DESTROY", "udp", "", None),
        ("DESTROY", "udp", "[UNREPLIED]", False),
    ],
)
def test_a_flow_is_unassured_only_when_it_ended_so(event: str, protocol: str, flags: str, assured: bool | None) -> None:
    number = {"tcp": 6, "udp": 17}[protocol]
    text = f"[{event}] {protocol}  {number} src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.3 "
    assert seen_in(f"{text}sport=2 dport=3 {flags}".strip()).assured is assured


def test_an_end_in_the_hour_that_comes_twice_is_the_earlier_one() -> None:
    stamps = "[start=Sun Oct 27 02:10:00 2024] [stop=Sun Oct 27 02:20:00 2024]"
    seen = seen_in(f"[DESTROY] {SNAT} {stamps}", timezone="Europe/Berlin")
    assert seen.start_ns == 1729987800 * 10**9
    assert seen.start_latest_ns == 1729991400 * 10**9 + 999_999_999
    assert seen.end_ns == 1729988400 * 10**9  # so it proves nothing by itself


ENTITIES = '<!DOCTYPE x [<!ENTITY a "b">]>'


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("<id>", ENTITIES + "<id>"), "no_match"),
        (("203.0.113.7", "&a;"), "no_match"),
        (("</id>", "</id><id>8</id>"), "two_readings"),
        (("</id>", "</use>"), "no_match"),
        (("<start>1714557600531407984", "<start>99999999999999999999"), "time"),
        (("<start>1714557600531407984", "<start>x"), "time"),
        (('protonum="6" protoname="tcp"><sport>8443', 'protonum="17" protoname="udp"><sport>8443'), "no_match"),
        (("51111", "65536"), "port"),
        (("10.1.0.4", "10.1.0.400"), "address"),
        (("</flow>", "</flow>x"), "no_match"),
    ],
)
def test_xml_that_the_tool_does_not_write_is_refused(change: tuple[str, str], reason: str) -> None:
    line = SAMPLES[1].line.decode().replace(*change, 1)
    assert line != SAMPLES[1].line.decode()
    with pytest.raises(FormatError) as caught:
        reader_of(CONNTRACK_XML)(line_of(line.encode()))
    assert caught.value.reason == reason


@given(st.binary(max_size=200) | st.text("[]NEW tcp6=srcdstportid.0123 \t", max_size=120).map(str.encode))
def test_every_byte_string_reads_or_raises_format_error(text: bytes) -> None:
    for chosen in (CONNTRACK, CONNTRACK_XML, ULOGD_JSON):
        with contextlib.suppress(FormatError):
            assert isinstance(reader_of(chosen)(line_of(text)), Observation | Skipped)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "orig.ip.saddr.str",
                "orig.ip.daddr.str",
                "reply.ip.saddr.str",
                "reply.ip.daddr.str",
                "src_ip",
                "dest_ip",
                "ct.id",
                "ct.event",
                "orig.ip.protocol",
                "orig.l4.sport",
                "reply.l4.dport",
                "flow.start.sec",
                "flow.start.usec",
                "flow.end.sec",
            ]
        ),
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=9)
        | st.just("10.0.0.1"),
    )
)
def test_any_values_under_the_known_keys_read_or_raise_format_error(fields: dict[str, object]) -> None:
    with contextlib.suppress(FormatError):
        reader_of(ULOGD_JSON)(line_of(json.dumps(fields).encode()))
