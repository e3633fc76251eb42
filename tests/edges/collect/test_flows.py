"""Laws of what the collector tells: numbers, starts, ends and losses, for any order of events."""

from __future__ import annotations

import itertools
import json
from typing import Any

from clientip.edges.collect.flows import GRACE_NS, Flows
from clientip.edges.collect.main import CollectOptions, wanted
from clientip.edges.collect.netlink import ConntrackEntry, TupleEnds, read_messages
from clientip.formats.conntrack import json_lines as conntrack_json
from clientip.formats.conntrack.json_lines import CONNTRACK_JSON
from clientip.model import Heartbeat, Observation
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.netlink_messages import DESTROY, NEW, STATUS_NAT, STATUS_SEEN, UPDATE, Side, message
from tests.worlds.samples_check import line_of, reader_of
from tests.worlds.sizes import EXAMPLES

T = 1_714_557_600_000_000_000
SECOND = 1_000_000_000
TIME_WAIT, CLOSE = 7, 8
BOOT = "8f1c2d34-5e6f-4a1b-9c0d-7e8f9a0b1c2d"


def everything(_entry: ConntrackEntry, _original: TupleEnds) -> bool:
    return True


def entry(event: str = NEW, **said: Any) -> ConntrackEntry:
    (found,) = read_messages(message(event, **said)).entries
    return found


def begun(limit: int = 1000) -> Flows:
    """A session that has told its (empty) list."""
    flows = Flows(BOOT, everything, limit)
    flows.begin_list(T)
    flows.end_list()
    flows.caught_up()
    return flows


def taken(flows: Flows) -> list[dict[str, Any]]:
    """The lines so far, each read back by the format that is made for them."""
    rows = []
    for text in flows.lines:
        assert text.endswith("\n")
        assert isinstance(reader_of(CONNTRACK_JSON)(line_of(text.encode())), Observation | Heartbeat)
        rows.append(json.loads(text))
    flows.lines.clear()
    return rows


def test_writer_and_reader_know_the_same_grace() -> None:
    assert conntrack_json.GRACE_NS == GRACE_NS


def test_a_tcp_flow_is_told_as_it_begins_and_whole_as_it_closes() -> None:
    flows = begun()
    flows.event(entry(stamp=T + 5), 0, 0)
    flows.event(entry(UPDATE, state=3, stamp=T + 6), 0, 0)
    flows.event(entry(UPDATE, state=TIME_WAIT, stamp=T + 7, status=STATUS_NAT | 6), 0, 0)
    flows.event(entry(UPDATE, state=CLOSE, stamp=T + 8), 0, 0)
    flows.event(entry(DESTROY, life=(T + 4, T + 9), stamp=T + 9), 0, 0)
    new, end = taken(flows)
    assert (new["event"], new["start"], "end" in new, "assured" in new) == ("NEW", T + 5, False, False)
    assert (end["event"], end["start"], end["end"], end["assured"]) == ("DESTROY", T + 5, T + 7, True)
    assert new["orig"] == ["203.0.113.10", 40001, "198.51.100.11", 30080]
    assert new["reply"] == ["10.244.2.5", 8080, "198.51.100.11", 50691]


def test_other_flows_end_when_the_kernel_forgets_them() -> None:
    flows = begun()
    flows.event(entry(protocol=17, stamp=T + 5), 0, 0)
    flows.event(entry(DESTROY, protocol=17, life=(T + 6, T + 90), stamp=T + 99, status=STATUS_NAT | STATUS_SEEN), 0, 0)
    new, end = taken(flows)
    assert (new["proto"], end["start"], end["end"], end["assured"]) == ("udp", new["start"], T + 90, True)


def test_a_flow_that_never_got_an_answer_is_not_assured() -> None:
    for protocol, state in ((6, 1), (6, CLOSE), (17, None)):
        flows = begun()
        flows.event(entry(protocol=protocol, stamp=T + 5), 0, 0)
        flows.event(entry(DESTROY, protocol=protocol, state=state, stamp=T + 9), 0, 0)
        assert taken(flows)[1]["assured"] is False


def test_a_handshake_that_was_answered_and_refused_is_not_assured() -> None:
    flows = begun()
    flows.event(entry(stamp=T + 5), 0, 0)
    seen = STATUS_NAT | STATUS_SEEN
    flows.event(entry(UPDATE, state=CLOSE, flags=(0x03, 0x00), status=seen, stamp=T + 9), 0, 0)
    assert taken(flows)[1]["assured"] is False


def test_a_client_that_sends_its_fin_with_its_first_bytes_and_resets_at_once_is_assured() -> None:
    for flags in ((0x07, 0x03), (0x03, 0x07)):
        flows = begun()
        flows.event(entry(stamp=T + 5), 0, 0)
        flows.event(entry(UPDATE, state=CLOSE, flags=flags, status=STATUS_NAT | STATUS_SEEN, stamp=T + 9), 0, 0)
        assert taken(flows)[1]["assured"] is True


def test_without_stamps_of_the_kernel_the_time_of_reading_counts() -> None:
    flows = begun()
    flows.event(entry(), T + 5, T + 2)
    flows.event(entry(UPDATE, state=TIME_WAIT), T + 8, T + 6)
    new, end = taken(flows)
    assert (new["since"], new["start"], end["start_since"], end["start"]) == (T + 2, T + 5, T + 2, T + 5)
    assert (end["since"], end["end"]) == (T + 6, T + 8)


def test_stamps_of_the_kernel_need_no_since() -> None:
    flows = begun()
    flows.event(entry(protocol=17), T + 9, T + 2)
    flows.event(entry(DESTROY, protocol=17, life=(T + SECOND, T + 2 * SECOND)), T + 9 * SECOND, T + 8 * SECOND)
    flows.event(entry(number=2, stamp=T + 5), 0, 0)
    _, end, other = taken(flows)
    assert "start_since" not in end  # of a younger flow than the one that was remembered
    assert (end["end"], end["since"], end["read"]) == (T + 2 * SECOND, T + 2 * SECOND, T + 9 * SECOND)
    assert "since" not in other


def test_a_list_keeps_since_when_a_flow_can_have_begun() -> None:
    flows = begun()
    flows.event(entry(), T + 9, T + 2)
    flows.lose()
    flows.begin_list(T + 20)
    flows.list(entry(UPDATE, state=3), T + 30)
    flows.end_list()
    flows.event(entry(UPDATE, state=TIME_WAIT), T + 50, T + 40)
    _, listed, end = taken(flows)
    assert (listed["start_since"], listed["start"], listed["read"]) == (T + 2, T + 9, T + 30)
    assert (end["start_since"], end["start"]) == (T + 2, T + 9)


@settings(max_examples=EXAMPLES)
@given(st.lists(st.tuples(st.integers(1, 400_000_000), st.integers(0, 400_000_000), st.booleans()), max_size=20))
def test_however_late_events_are_read_they_happened_in_between_and_nothing_before_at_is_to_come(
    steps: list[tuple[int, int, bool]],
) -> None:
    """A step: how long after the one before a flow began, how long the reader slept then, and whether it read on."""
    flows, clock, empty, queue = begun(), T, T, list[tuple[int, int]]()
    truth: dict[int, int] = {}
    for number, (later, slept, is_read) in enumerate(steps):
        clock += later
        queue.append((number, clock))
        truth[number] = clock
        clock += slept
        if not is_read:
            continue
        looked = clock
        for each, _ in queue:
            clock += 1
            flows.event(entry(number=each), clock, empty)
        queue, empty = [], looked
        clock += 1
        flows.heartbeat(looked, clock, kernel_stamps=False)
    rows = taken(flows)
    for at, row in enumerate(rows):
        begins = [truth[each["id"]] for each in rows[at:] if "id" in each] + [moment for _, moment in queue]
        assert all(row["at"] < moment for moment in begins)
        if "id" in row:
            assert row["since"] <= truth[row["id"]] <= row["start"]


def test_a_flow_of_the_list_has_the_kernels_start_and_ends_with_it() -> None:
    flows = Flows(BOOT, everything)
    flows.begin_list(T)
    flows.list(entry(UPDATE, life=(T - 90, None), state=3, status=STATUS_NAT | 6), T + 1)
    flows.list(entry(UPDATE, number=2), T + 1)
    flows.end_list()
    flows.caught_up()
    flows.event(entry(UPDATE, state=TIME_WAIT, stamp=T + 8), 0, 0)
    flows.event(entry(UPDATE, number=2, state=TIME_WAIT, stamp=T + 9), 0, 0)
    stamped, seen, end, seen_end = taken(flows)
    assert (stamped["n"], stamped["event"], stamped["start"], stamped["assured"]) == (1, "LIST", T - 90, True)
    assert ("start" in seen, seen["seen"]) == (False, T + 1)
    assert (end["start"], end["end"]) == (T - 90, T + 8)
    assert ("start" in seen_end, seen_end["seen"], seen_end["end"]) == (False, T + 1, T + 9)


def test_what_began_before_the_list_came_to_it_is_told_once() -> None:
    flows = Flows(BOOT, everything)
    flows.begin_list(T)
    flows.list(entry(UPDATE, life=(T + 1, None)), T + 2)
    flows.end_list()
    flows.event(entry(stamp=T), 0, 0)
    flows.event(entry(UPDATE, state=TIME_WAIT, stamp=T + 3), 0, 0)
    flows.event(entry(DESTROY, stamp=T + 4), 0, 0)
    assert [row["event"] for row in taken(flows)] == ["LIST", "DESTROY"]


def test_what_ended_before_the_list_came_to_it_is_told() -> None:
    flows = Flows(BOOT, everything)
    flows.begin_list(T)
    flows.end_list()
    flows.event(entry(DESTROY, life=(T - 5, T + 1), stamp=T + 1), 0, 0)
    flows.caught_up()
    flows.event(entry(DESTROY, number=9, life=(T - 5, T + 1), stamp=T + 1), 0, 0)  # cannot be: everything was listed
    assert [(row["id"], row["start"]) for row in taken(flows)] == [(123, T - 5)]


def test_a_loss_is_marked_and_everything_listed_again_with_the_same_starts() -> None:
    flows = begun()
    flows.event(entry(stamp=T + 5), 0, 0)
    flows.event(entry(number=2, stamp=T + 6), 0, 0)
    flows.heartbeat(T + SECOND, 0, kernel_stamps=True)
    flows.lose()
    flows.event(entry(number=3, stamp=T + 2 * SECOND), 0, 0)
    flows.heartbeat(T + 3 * SECOND, 0, kernel_stamps=True)
    flows.begin_list(T + 4 * SECOND)
    flows.list(entry(UPDATE, life=(T + 7, None)), T + 4 * SECOND)
    flows.list(entry(UPDATE, number=4, life=(T + 8, None)), T + 4 * SECOND)
    flows.end_list()
    flows.caught_up()
    flows.event(entry(UPDATE, state=TIME_WAIT, stamp=T + 5 * SECOND), 0, 0)
    rows = taken(flows)
    assert [row["n"] for row in rows] == [1, 2, 3, 4, 5, 7, 8, 9]
    assert [row.get("gap", False) for row in rows] == [False] * 5 + [True] + [False] * 2
    certain = T + SECOND - GRACE_NS
    assert [row["at"] for row in rows[2:7]] == [certain, certain, certain, T + 4 * SECOND, T + 4 * SECOND]
    assert [(row["event"], row["id"], row["start"]) for row in rows[5:]] == [
        ("LIST", 123, T + 5),
        ("LIST", 4, T + 8),
        ("DESTROY", 123, T + 5),
    ]


def test_a_clock_set_back_begins_a_new_session() -> None:
    flows = begun()
    flows.heartbeat(T + SECOND, 0, kernel_stamps=True)
    flows.look_at(T - SECOND)
    assert flows.lost
    flows.begin_list(T - SECOND)
    flows.end_list()
    flows.heartbeat(T, 0, kernel_stamps=True)
    first, second = taken(flows)
    assert first["session"] != second["session"]
    assert (second["n"], second["at"], "gap" in second) == (1, T - GRACE_NS, False)


def test_flows_beyond_the_memory_are_told_by_the_kernels_stamps() -> None:
    flows = begun(limit=2)
    for number in range(3):
        flows.event(entry(number=number, stamp=T + number), 0, 0)
    for number in range(3):
        flows.event(entry(UPDATE, number=number, state=TIME_WAIT, stamp=T + 10), 0, 0)
    for number in range(3):
        flows.event(entry(DESTROY, number=number, state=TIME_WAIT, life=(T + number, T + 20), stamp=T + 30), 0, 0)
    assert flows.crowded
    ends = [(row["id"], row["start"], row["end"]) for row in taken(flows) if row["event"] == "DESTROY"]
    assert ends == [(0, T, T + 10), (1, T + 1, T + 10), (2, T + 2, T + 20)]


def test_a_remembered_flow_that_the_kernel_knows_as_a_younger_one_has_the_younger_ones_start() -> None:
    flows = begun()
    flows.event(entry(protocol=17, stamp=T), 0, 0)
    flows.event(entry(DESTROY, protocol=17, life=(T + SECOND, T + 2 * SECOND), stamp=T + 2 * SECOND), 0, 0)
    assert taken(flows)[1]["start"] == T + SECOND


def test_a_tuple_that_cannot_be_read_is_counted_and_a_loss() -> None:
    flows = begun()
    flows.event(entry()._replace(reply=b"\1\2\3"), T, T)
    assert (flows.lines, flows.malformed, flows.lost) == ([], 1, True)


def test_what_has_no_ports_has_none() -> None:
    flows = begun()
    ends: Side = ("2001:db8::1", None, "2001:db8::2", None)
    flows.event(entry(protocol=58, original=ends, reply=ends, zone=3, stamp=T), 0, 0)
    (row,) = taken(flows)
    assert (row["proto"], row["zone"], row["orig"]) == ("icmpv6", 3, ["2001:db8::1", None, "2001:db8::2", None])


def test_what_is_wanted_is_said_by_source_nat_zone_and_original_destination() -> None:
    plain, zoned = entry(), entry(zone=7)
    untranslated = entry(status=0x188)
    to = TupleEnds(6, "203.0.113.10", 1, "2001:db8::5", 80)
    assert wanted(CollectOptions())(plain, to)
    assert not wanted(CollectOptions())(untranslated, to)
    assert wanted(CollectOptions(source_nat=False))(untranslated, to)
    assert [wanted(CollectOptions(zone=7))(each, to) for each in (plain, zoned)] == [False, True]
    assert [wanted(CollectOptions(zone=0))(each, to) for each in (plain, zoned)] == [True, False]
    assert wanted(CollectOptions(to=("198.51.100.0/24", "2001:db8::/32")))(plain, to)
    assert not wanted(CollectOptions(to=("198.51.100.0/24", "2001:db8::6")))(plain, to)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["new", "seen", "closed", "destroyed", "mark", "lose", "list", "caught"]),
        st.integers(0, 4),
        st.integers(0, 300_000_000),
    ),
    max_size=60,
)


@settings(max_examples=EXAMPLES)
@given(STEPS)
def test_numbers_rise_by_one_and_at_never_falls_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    flows, clock, alive = begun(limit=3), T, set[int]()
    for what, number, later in steps:
        clock += later
        if what == "new":
            alive.add(number)
            flows.event(entry(number=number, stamp=clock), 0, 0)
        elif what == "seen":
            flows.event(entry(UPDATE, number=number, state=3), clock, clock)
        elif what == "closed":
            flows.event(entry(UPDATE, number=number, state=CLOSE, stamp=clock), 0, 0)
        elif what == "destroyed":
            alive.discard(number)
            flows.event(entry(DESTROY, number=number, stamp=clock, life=(clock - 5, clock)), 0, 0)
        elif what == "mark":
            flows.heartbeat(clock, 0, kernel_stamps=True)
        elif what == "lose":
            flows.lose()
        elif what == "caught":
            flows.caught_up()
        else:
            flows.begin_list(clock)
            for each in sorted(alive):
                flows.list(entry(UPDATE, number=each, life=(clock - 5, None)), clock)
            flows.end_list()
    rows = taken(flows)
    assert len({row["session"] for row in rows}) <= 1
    for before, after in itertools.pairwise(rows):
        assert after["at"] >= before["at"]
        assert after["n"] - before["n"] == 1 or (after["gap"] and after["n"] > before["n"])
    assert all(row.get("end", clock) <= clock for row in rows)
