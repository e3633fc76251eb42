"""The parts of the stream's core, each by itself: chunks, the ledger, held facts, what was heard, what leaves when."""

from __future__ import annotations

import msgspec
import pytest
from clientip.engine import Engine, LogSource
from clientip.errors import FormatError
from clientip.joins.coverage import Run
from clientip.joins.facts import JoinFact, JoinQuestion, conn_key, request_key
from clientip.joins.flows import NEVER
from clientip.joins.inquiry import Inquiry
from clientip.model import Line, Setup, System
from clientip.pending import Pending
from clientip.settings import Feed
from clientip.stream.changelog import COMMITS_PER_BITMAP, ChangelogEntry, committed_state, entries
from clientip.stream.checkpoint import MAX_METADATA, Checkpoint, CheckpointedPartition, read, start, written
from clientip.stream.fact_store import MAX_FACTS_PER_KEY, MAX_KEPT_OPEN, FactStore, Found
from clientip.stream.intake import FORGET_LATENESS_NS, IntakeBatch, Lateness, Numbers
from clientip.stream.join_messages import (
    OPEN,
    Chunks,
    Facts,
    JoinChunk,
    Partitions,
    QuestionItem,
    Watermark,
    decode,
    encode,
)
from clientip.stream.join_partition import MAX_DEPARTURES_PER_TURN, MAX_QUESTIONS_PER_KEY, JoinPartition
from clientip.stream.watermarks import View, Watermarks
from clientip.trust.answers import Ended, Refused, Through
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.nat_worlds import drawing, graph_of, joining_of
from tests.worlds.sizes import SIZE

SECOND = 1_000_000_000
NODE, SERVER = "198.51.100.11", ("10.244.2.5", 8080)
PARTITIONS = Partitions("seed", 1)
PENDING = Pending(b"x", None, "f", 0, 0, None, None, "", "r", True, b"", Inquiry(), 0)


def flow(port: int, begin: int, end: int | None, record: str = "n1", sender: int = 51000) -> JoinFact:
    event = "NEW" if end is None else "DESTROY"
    key = conn_key("default", "tcp", (NODE, port))
    return JoinFact(
        key, "nodes", "node-a", record, "translation", event, begin, begin, end, 0, SERVER, ("203.0.113.7", sender),
        ("198.51.100.11", 30080), assured=None if end is None else True,
    )  # fmt: skip


def asked(port: int, at: int, **more: object) -> JoinQuestion:
    fields: dict[str, object] = {"source": NODE, "target": SERVER, **more}
    return JoinQuestion(
        conn_key("default", "tcp", (NODE, port)), 0, 0, ("nodes",), "app", "", None, at, at + 1_000_000, at, **fields
    )  # type: ignore[arg-type]


def chunk(facts: list[JoinFact] = [], questions: list[JoinQuestion] = [], **more: object) -> JoinChunk:  # noqa: B006
    chunks = Chunks(PARTITIONS, 60 * SECOND)
    for fact in facts:
        chunks.tell(fact)
    for question in questions:
        chunks.ask(question, "d", PENDING)
    [message] = chunks.messages(everywhere=[0], **more)  # type: ignore[arg-type]
    return decode(message.value)


# Chunks.


@settings(max_examples=300 * SIZE, deadline=None)
@given(st.binary(max_size=400))
def test_every_byte_string_is_a_chunk_or_refused(data: bytes) -> None:
    for message in (data, b"\x01" + data):
        try:
            found = decode(message)
        except FormatError:
            continue
        assert decode(encode(found)) == found


@settings(max_examples=200 * SIZE, deadline=None)
@given(st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_chunk_never_reaches_beyond_its_columns(at: int, byte: int) -> None:
    message = bytearray(encode(chunk([flow(1, 5, 9), flow(2, 5, None)], [asked(1, 7)])))
    message[1 + at % (len(message) - 1)] = byte
    try:
        found = decode(bytes(message))
    except FormatError:
        return
    held = FactStore()
    for hashed in held.add(0, 0, found.facts, found.sources):
        try:
            held.under(hashed, conn_key("default", "tcp", (NODE, 1)))
        except (ValueError, UnicodeDecodeError):  # a body is no fact: it is read where somebody asks
            continue


def test_a_message_of_another_version_is_refused_as_such() -> None:
    with pytest.raises(FormatError, match="version"):
        decode(b"\x07" + encode(JoinChunk())[1:])


def test_a_large_batch_becomes_several_messages_whose_last_one_has_the_marks() -> None:
    chunks = Chunks(PARTITIONS, SECOND)
    for number in range(5000):
        chunks.tell(flow(number, number, number + 1, f"{number:032}"))
    messages = [decode(each.value) for each in chunks.messages([Watermark("nodes", "t", 0, 1, 5, True)])]
    assert len(messages) > 2
    assert sum(len(each.facts.sources) for each in messages) == 5000
    assert [bool(each.watermarks) for each in messages] == [False] * (len(messages) - 1) + [True]


def test_who_does_not_know_the_seed_cannot_choose_a_partition() -> None:
    keys = [request_key("x-request-id", str(number)) for number in range(1000)]
    one, other = Partitions("one", 16), Partitions("other", 16)
    alike = sum(one.of(one.hash(key)) == other.of(other.hash(key)) for key in keys)
    assert 20 < alike < 120  # a sixteenth, as for strangers


# The ledger.


@settings(max_examples=100 * SIZE, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sets(st.integers(0, 40))), min_size=1, max_size=200), st.data())
def test_the_ledger_knows_after_every_commit_which_questions_are_open(
    turns: list[tuple[int, set[int]]], data: st.DataObject
) -> None:
    state: dict[bytes, bytes] = {}
    open_: set[int] = set()
    number = commit = 0
    for new, leaving in turns:
        open_ |= set(range(number, number + new))
        number += new
        closed = sorted(open_)[: len(leaving)]
        open_ -= set(closed)
        commit += 1
        first = min(open_, default=number)
        state |= {each.key: each.value for each in entries(commit, closed, open_, first, number, ())}
    said = committed_state(state.values(), commit)
    first = min(open_, default=number)
    assert {each for each in range(first, number) if said.is_open(each)} == open_
    assert said.is_open(number + data.draw(st.integers(0, 100)))


def test_a_ledger_that_lacks_a_commit_is_refused() -> None:
    said = [*entries(1, (0,), (), 0, 1, ()), *entries(2, (1,), (), 0, 2, ())]
    with pytest.raises(FormatError):
        committed_state([said[1].value], 2)
    with pytest.raises(FormatError):
        committed_state([b"junk"], 1)


def test_a_whole_picture_comes_in_pieces_that_brokers_take() -> None:
    open_ = range(0, 3 * 8 * 256 * 1024, 2)
    said: list[ChangelogEntry] = entries(
        COMMITS_PER_BITMAP, (), open_, 0, 3 * 8 * 256 * 1024, [("nodes", "a", (Run("s", 1, 2, 3, 4, True),))]
    )
    assert len(said) == 3
    assert max(len(each.value) for each in said) < 300_000
    found = committed_state([each.value for each in said], COMMITS_PER_BITMAP)
    assert found.is_open(1024)
    assert not found.is_open(1025)
    assert found.runs == (("nodes", "a", (Run("s", 1, 2, 3, 4, True),)),)


def test_the_stretches_of_many_nodes_that_lose_lines_come_in_pieces_that_brokers_take() -> None:
    stretches = tuple(Run("0123456789abcdef-1", n, n + 1, n * SECOND, n * SECOND + 1, True) for n in range(256))
    told = tuple(("nodes", f"node-{number}.example.org", stretches) for number in range(100))
    said = entries(COMMITS_PER_BITMAP, (), range(10), 0, 10, told)
    assert max(len(each.value) for each in said) < 1 << 20
    found = committed_state([each.value for each in said], COMMITS_PER_BITMAP)
    assert found.runs == told
    assert found.is_open(9)


def test_metadata_fit_a_broker_however_many_systems_there_are() -> None:
    forgotten = tuple(("conn", f"system-{number}", number) for number in range(1000))
    text = written(Checkpoint(1, 5, 6, 7, forgotten))
    assert len(text) <= MAX_METADATA
    assert read(text).forgotten == (("conn", "", 999),)


# Held facts.


def held(*chunks: tuple[int, list[JoinFact]]) -> FactStore:
    facts = FactStore()
    for number, (at, told) in enumerate(chunks):
        made = chunk(told)
        facts.add(number, at, made.facts, made.sources)
    return facts


def under(facts: FactStore, port: int) -> list[str]:
    key = conn_key("default", "tcp", (NODE, port))
    return sorted(each.record for each in facts.under(PARTITIONS.hash(key), key).facts)


def test_facts_are_found_under_their_key_as_long_as_they_are_held() -> None:
    facts = held((10, [flow(1, 5, 9, "a"), flow(2, 5, 9, "b")]), (20, [flow(1, 12, 19, "c")]))
    assert under(facts, 1) == ["a", "c"]
    assert under(facts, 2) == ["b"]
    list(facts.drop(15))
    assert under(facts, 1) == ["c"]
    assert under(facts, 2) == []
    assert facts.count == 1


def test_what_is_forgotten_raises_the_moment_below_which_nothing_is_complete() -> None:
    facts = held((10, [flow(1, 5, 9)]), (20, [flow(1, 12, 19)]))
    assert facts.complete_since == {}
    list(facts.drop(15))
    assert facts.complete_since == {("conn", "nodes"): 9}
    facts.evict()
    assert facts.complete_since == {("conn", "nodes"): 19}


def test_a_stamp_of_the_far_future_blocks_nothing_for_long() -> None:
    facts = held((10, [flow(1, 5, 4 * 10**18)]))
    facts.evict()
    assert facts.complete_since == {("conn", "nodes"): 10}  # nothing has happened after it was told


def test_an_open_connection_is_told_again_before_it_is_forgotten() -> None:
    facts = held((10, [flow(1, 5, None, "a"), flow(2, 5, None, "b")]), (20, [flow(2, 5, 19, "c")]))
    [again] = facts.again(15)
    assert again.source == ("conn", "nodes")
    assert list(facts.again(15)) == []
    assert list(facts.drop(15)) == []
    assert under(facts, 1) == ["a"]  # held on until it has come
    made = Chunks(PARTITIONS, SECOND)
    made.add_fact(again.hash, again.source, OPEN, again.body)
    copy = decode(made.messages()[0].value)
    facts.add(2, 30, copy.facts, copy.sources)
    assert list(facts.drop(15)) == []
    assert under(facts, 1) == ["a"]
    assert facts.first() == 1
    # The connection that is over is lost with its begin, and the one that was told again is not.
    assert facts.complete_since == {("conn", "nodes"): 10}


def test_an_open_connection_whose_message_was_evicted_is_told_again_and_known_meanwhile() -> None:
    facts = held((10, [flow(1, 5, None, "a"), flow(2, 5, 9, "b")]), (20, [flow(3, 12, 19, "c")]))
    assert facts.evict()
    assert under(facts, 1) == ["a"]
    assert (under(facts, 2), facts.complete_since) == ([], {("conn", "nodes"): 9})
    assert facts.first() == 0  # a successor has to find it, too
    [again] = facts.again(0)
    assert list(facts.again(0)) == []
    made = Chunks(PARTITIONS, SECOND)
    made.add_fact(again.hash, again.source, OPEN, again.body)
    copy = decode(made.messages()[0].value)
    facts.add(2, 30, copy.facts, copy.sources)
    assert under(facts, 1) == ["a"]
    assert facts.first() == 1
    assert facts.count == 2


def test_an_open_connection_that_ends_while_it_is_told_again_is_known_by_its_end() -> None:
    facts = held((10, [flow(1, 5, None, "a")]))
    facts.evict()
    later = chunk([flow(1, 5, 25, "b")])
    facts.add(1, 30, later.facts, later.sources)
    assert under(facts, 1) == ["b"]
    assert facts.first() == 1


def test_where_more_connections_are_open_than_can_be_kept_nothing_of_their_teller_is_complete_any_more() -> None:
    chunks = [[flow(500 * n + port, 5, None, "r") for port in range(500)] for n in range(MAX_KEPT_OPEN // 500 + 1)]
    facts = held(*((10, told) for told in chunks), (20, [flow(1, 5, None, "x")]))
    for _ in chunks:
        facts.evict()
    assert facts.complete_since == {("conn", "nodes"): OPEN}
    assert len(list(facts.again(0))) == MAX_KEPT_OPEN + 500
    facts.evict()
    assert list(facts.again(0)) == []  # no more of them are told again for nothing


def test_too_many_facts_of_an_id_are_none() -> None:
    key = request_key("x-request-id", "one")
    many = [
        JoinFact(key, "lb", "", f"{number}", "request", "", 1, 1, 2, 0, ended=Ended("seen", None, None, None, (), None))
        for number in range(MAX_FACTS_PER_KEY["request"] + 1)
    ]
    facts = held((10, many))
    found = facts.under(PARTITIONS.hash(key), key)
    assert found.crowded
    assert found.facts == []


def test_a_reader_says_crowded_in_place_of_too_many_facts() -> None:
    key = request_key("x-request-id", "one")
    fact = JoinFact(key, "lb", "", "r", "request", "", 1, 1, 2, 0)
    chunks = Chunks(PARTITIONS, SECOND)
    chunks.crowd(fact)
    made = decode(chunks.messages()[0].value)
    facts = FactStore()
    facts.add(0, 10, made.facts, made.sources)
    assert facts.under(PARTITIONS.hash(key), key).crowded
    list(facts.drop(11))
    assert not facts.under(PARTITIONS.hash(key), key).crowded


# What was heard.

FEED = Feed(("raw.nodes",), "line", None, 60 * SECOND, 5 * SECOND, True)


def view(heard: Watermarks, systems: list[System] | None = None) -> View:
    found = View(heard, joining_of(graph_of(systems or drawing())), {"nodes": FEED, "app": FEED})
    found.renew()
    return found


def test_a_mark_of_every_partition_says_until_when_everything_was_told() -> None:
    heard = Watermarks()
    heard.watermark(Watermark("nodes", "raw.nodes", 0, 2, 100 * SECOND, True), 101 * SECOND)
    assert view(heard).told_until("nodes") == NEVER
    heard.watermark(Watermark("nodes", "raw.nodes", 1, 2, 90 * SECOND, False), 101 * SECOND)
    assert view(heard).told_until("nodes") == 90 * SECOND - 60 * SECOND - 5 * SECOND


def test_a_readers_clock_that_is_ahead_licenses_nothing() -> None:
    heard = Watermarks()
    heard.watermark(Watermark("nodes", "raw.nodes", 0, 1, 10**18, True), 100 * SECOND)
    assert view(heard).told_until("nodes") == 35 * SECOND


def test_marks_never_go_back() -> None:
    heard = Watermarks()
    for upto in (100, 50):
        heard.watermark(Watermark("nodes", "raw.nodes", 0, 1, upto * SECOND, True), 200 * SECOND)
    assert view(heard).told_until("nodes") == 35 * SECOND


def test_lines_that_come_later_than_promised_hold_the_mark_back_for_a_while() -> None:
    late = Lateness(60 * SECOND)
    late.see(50 * SECOND, 0)
    assert late.excess_ns() == 0
    late.see(100 * SECOND, 1)
    assert late.excess_ns() == 40 * SECOND
    late.see(0, FORGET_LATENESS_NS + 1)
    assert late.excess_ns() == 40 * SECOND
    late.see(0, 2 * FORGET_LATENESS_NS + 2)
    assert late.excess_ns() == 0


def test_a_line_that_shows_no_end_is_late_too_as_far_as_its_begin_says() -> None:
    setup = Setup(system="web", format="apache", pattern='%h %l %u %t "%r" %>s %b', logs_peer="socket")
    engine = Engine([System(name="web", peers=frozenset({"outside"}))], [LogSource(setup)], line_bytes=65536)
    text = b'203.0.113.7 - - [01/May/2024:10:00:00 +0000] "GET / HTTP/1.1" 200 5'
    [record] = engine.reading("web").feed(Line(text, text))
    batch = IntakeBatch(Chunks(PARTITIONS, SECOND), Numbers())
    batch.see(record, 1_714_557_600 * SECOND + 300 * SECOND)
    assert batch.late_ns == 0
    assert 298 * SECOND < batch.late_begun_ns <= 300 * SECOND


# What leaves when.


class Desk:
    """One partition with a clock that the test turns."""

    def __init__(self, systems: list[System] | None = None, keep: int = 200) -> None:
        self.questions: list[QuestionItem] = []
        self._view: View | None = None
        self._systems = systems
        heard = Watermarks()
        self.state = JoinPartition(self.view, keep * SECOND, lambda ref: self.questions[ref].asked, heard)
        self.offset = 0

    def view(self, _drawing: str) -> View:
        if self._view is None:
            self._view = view(self.state.watermarks, self._systems)
        return self._view

    def at(self, second: float, made: JoinChunk, *, memory: int = 1 << 30) -> list[tuple[object, bool]]:
        def refer(question: QuestionItem) -> int:
            self.questions.append(question)
            return len(self.questions) - 1

        self.state.take(self.offset, int(second * SECOND), made, refer)
        self.offset += 1
        self.state.give_up(memory)
        return [(each.answer, each.over) for each in self.state.turn()]


def mark(second: float, *, at_end: bool = True) -> list[Watermark]:
    return [Watermark("nodes", "raw.nodes", 0, 1, int(second * SECOND), at_end)]


def test_a_certain_answer_leaves_at_once_whichever_comes_first() -> None:
    for order in ((0, 1), (1, 0)):
        desk, parts = Desk(), [chunk([flow(1, 10 * SECOND, 20 * SECOND)]), chunk([], [asked(1, 15 * SECOND)])]
        assert desk.at(21, parts[order[0]]) == []
        [(answer, over)] = desk.at(22, parts[order[1]])
        assert isinstance(answer, Through)
        assert not over


def test_an_open_flow_answers_when_everything_of_the_moment_was_told() -> None:
    desk = Desk()
    assert desk.at(16, chunk([flow(1, 10 * SECOND, None)], [asked(1, 15 * SECOND)])) == []
    run = [("nodes", "node-a", (Run("s", 1, 9, 0, 14 * SECOND, True),))]
    assert desk.at(16.5, chunk(runs=run)) == []
    run = [("nodes", "node-a", (Run("s", 1, 12, 0, 16 * SECOND, True),))]
    [(answer, over)] = desk.at(17, chunk(runs=run))
    assert isinstance(answer, Through)
    assert not over


def test_without_evidence_a_question_leaves_when_its_time_is_over_and_says_who_was_silent() -> None:
    desk = Desk()
    assert desk.at(16, chunk([], [asked(1, 15 * SECOND)])) == []
    assert desk.at(83.9, chunk()) == []
    [(answer, over)] = desk.at(84.1, chunk())  # arrives_within, longest, and what a mark may take
    assert answer == Refused("source_silent")
    assert over


def test_a_refusal_is_final_once_the_marks_have_passed_it() -> None:
    desk = Desk()
    desk.at(16, chunk([], [asked(1, 15 * SECOND)], watermarks=mark(16)))
    [(answer, over)] = desk.at(81.2, chunk(watermarks=mark(81.2)))
    assert answer == Refused("evidence_incomplete")
    assert not over  # another key may be tried


def test_while_a_tellers_lines_are_read_from_behind_a_question_waits_four_times_as_long() -> None:
    desk = Desk(keep=1000)
    desk.at(16, chunk([], [asked(1, 15 * SECOND)], watermarks=mark(1, at_end=False)))
    second = 16.0
    while second < 16 + 4 * 68 - 2:
        second += 1
        behind = mark(1 + (second - 16) / 20, at_end=False)
        assert desk.at(second, chunk(watermarks=behind)) == []
    leaving = [left for later in range(4) for left in desk.at(second + later, chunk(watermarks=mark(20, at_end=False)))]
    [(answer, over)] = leaving
    assert isinstance(answer, Refused)
    assert over


def test_a_question_whose_evidence_may_have_been_forgotten_is_too_late() -> None:
    desk = Desk(keep=100)
    desk.at(20, chunk([flow(2, 10 * SECOND, 19 * SECOND)], watermarks=mark(20)))
    desk.at(130, chunk(watermarks=mark(130)))
    desk.state.forget()
    desk.at(131, chunk([], [asked(1, 15 * SECOND)]))
    [(answer, over)] = desk.at(199.5, chunk(watermarks=mark(199.5)))
    assert answer == Refused("too_late")
    assert over


def test_what_does_not_fit_into_memory_leaves_the_oldest_first_and_says_so() -> None:
    desk = Desk()
    for number in range(100):
        desk.at(20 + number / 100, chunk([], [asked(number, 15 * SECOND)]))
    leaving = desk.at(22, chunk([], [asked(1000, 15 * SECOND)]), memory=20 * 450)
    assert {answer.reason for answer, _ in leaving if isinstance(answer, Refused)} == {"overload"}
    assert len(leaving) == 81
    assert desk.state.open_count() == 20


def test_memory_that_is_full_lets_no_connection_speak_for_one_that_was_open_beside_it() -> None:
    """Without the near end two flows of one port are alike; that one of them was evicted proves nothing."""
    other = ("10.244.9.9", 8080)
    opened = flow(1, 10 * SECOND, None, "a")
    beside = msgspec.structs.replace(flow(1, 29 * SECOND, 31 * SECOND, "b"), target=other, peer=("203.0.113.99", 1))
    run = [("nodes", "node-a", (Run("s", 0, 99, 0, 100 * SECOND, True),))]
    desk = Desk()
    desk.at(12, chunk([opened]))
    desk.at(13, chunk(), memory=1)
    desk.state.forget()
    leaving = desk.at(31, chunk([beside], [asked(1, 30 * SECOND, target=None)], runs=run))
    leaving += desk.at(120, chunk(watermarks=mark(120)))
    [(answer, _)] = leaving
    assert isinstance(answer, Refused), answer


def test_many_questions_under_one_key_are_crowded_and_cost_no_time_that_grows_with_their_square() -> None:
    desk = Desk()
    half = chunk([], [asked(1, 15 * SECOND)] * (MAX_QUESTIONS_PER_KEY // 2 + 100))
    assert desk.at(20, half) == []
    leaving = desk.at(21, half)
    assert len(leaving) == 200
    assert all(answer == Refused("crowded") and over for answer, over in leaving)


def test_after_a_pause_no_more_leave_at_once_than_a_transaction_holds() -> None:
    desk = Desk()
    for part in range(5):
        desk.at(16, chunk([], [asked(part * 500 + port, 15 * SECOND) for port in range(500)]))
    assert len(desk.at(1000, chunk())) == MAX_DEPARTURES_PER_TURN  # nobody wrote for that long
    assert len(desk.at(1001, chunk())) == 2500 - MAX_DEPARTURES_PER_TURN
    assert desk.state.open_count() == 0


def test_memory_that_shrank_lets_no_more_go_at_once_than_a_transaction_holds() -> None:
    desk = Desk()
    for part in range(5):
        desk.at(16, chunk([], [asked(part * 500 + port, 15 * SECOND) for port in range(500)]))
    assert len(desk.at(17, chunk(), memory=1)) == MAX_DEPARTURES_PER_TURN
    assert len(desk.at(18, chunk(), memory=1)) == 2500 - MAX_DEPARTURES_PER_TURN


def test_messages_that_hold_nothing_leave_nothing_behind() -> None:
    desk = Desk()
    for second in range(1000):
        desk.at(second, chunk(watermarks=mark(second)))
        desk.state.forget()
    assert len(desk.state._messages) == 1


def test_a_key_that_takes_long_to_look_through_is_looked_at_less_often_and_still_answers() -> None:
    desk, compared = Desk(keep=1000), 0
    under = desk.state.facts.under

    def counted(hashed: int, key: str) -> Found:
        nonlocal compared
        found = under(hashed, key)
        compared += len(found.facts) * desk.state.open_count()
        return found

    desk.state.facts.under = counted  # type: ignore[method-assign]
    for number in range(200):  # ten a second
        at = int((20 + number / 10) * SECOND)
        desk.at(at / SECOND, chunk([flow(1, at, None, f"r{number}")], [asked(1, at)]))
    assert compared < 30 * 200 * 200  # and not 200³ / 3
    leaving = desk.at(41, chunk([flow(1, 39_850_000_000, 40_500_000_000, "whole")]))
    leaving += [left for second in range(42, 50) for left in desk.at(second, chunk())]
    assert any(isinstance(answer, Through) and answer.record == "whole" for answer, _ in leaving)
    assert len(desk.state._evidence) <= 200  # each question waits there once


def test_silence_says_nothing_once_something_was_forgotten() -> None:
    run = [("nodes", "node-a", (Run("s", 1, 99, 0, 200 * SECOND, True),))]
    for forgetful in (False, True):
        desk = Desk(keep=10)
        if forgetful:
            desk.at(5, chunk([flow(2, 1 * SECOND, 2 * SECOND)]))
            desk.at(16, chunk())
            desk.state.forget()
        desk.at(30, chunk([], [asked(1, 29 * SECOND, nat=True)]))
        leaving = desk.at(91, chunk(runs=run))
        if forgetful:
            assert leaving == []
        else:
            [(answer, _)] = leaving
            assert isinstance(answer, Through)
            assert answer.own


def test_what_is_resumed_is_what_was_held() -> None:
    desk = Desk()
    desk.at(20, chunk())
    desk.at(21, chunk([], [asked(1, 15 * SECOND)]))
    desk.at(22, chunk([flow(2, 10 * SECOND, 12 * SECOND)]))
    assert desk.state.resume() == (1, 0)
    assert desk.state.next_number == 1
    assert Facts() == JoinChunk().facts


def test_stretches_told_before_the_message_from_which_a_successor_reads_are_in_the_ledger() -> None:
    graph = joining_of(graph_of(drawing()))
    state: dict[bytes, bytes] = {}

    def views(heard: Watermarks, _drawing: str) -> View:
        return View(heard, graph, {"nodes": FEED})

    def told(number: int) -> list[tuple[str, str, tuple[Run, ...]]]:
        at = number * 10 * SECOND
        return [("nodes", "node-a", (Run("s", number, number, at, at + 1, number == 1),))]

    partition = CheckpointedPartition(views, 100 * SECOND, lambda _: b"", 0)
    for number in range(1, 41):  # no question closes, and readers come and go
        facts = [flow(number, number * 10 * SECOND, number * 10 * SECOND + 1)]
        partition.take(number - 1, number * 10 * SECOND, chunk(facts, runs=told(number)), lambda _: 0)
        partition.turn(1 << 30)
        commit = partition.commit()
        state |= {entry.key: entry.value for entry in commit.entries}
    resume, first = start(commit.metadata, 40)
    assert first > 20
    after = CheckpointedPartition(
        views, 100 * SECOND, lambda _: b"", 40, resume, committed_state(state.values(), resume.commit)
    )
    for number in range(first + 1, 41):
        after.take(number - 1, number * 10 * SECOND, chunk(runs=told(number)), lambda _: 0)
    assert after.state.watermarks.listed() == partition.state.watermarks.listed()


def test_who_begins_without_knowing_what_was_told_before_calls_nothing_of_then_complete() -> None:
    for is_blind in (False, True):
        partition = CheckpointedPartition(
            lambda heard, _: view(heard), 200 * SECOND, lambda _: b"", 0, is_blind=is_blind
        )
        partition.take(0, 20 * SECOND, chunk(), lambda _: 0)
        assert set(partition.state.facts.complete_since.values()) == ({20 * SECOND} if is_blind else set())
