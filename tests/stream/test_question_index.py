"""What a join partition knows of its questions, keys and messages, each index by itself against a plain model."""

from __future__ import annotations

from clientip.stream.answered_questions import MAX_ANSWERED_PER_KEY, AnsweredQuestions
from clientip.stream.key_agenda import KeyAgenda
from clientip.stream.message_index import MessageIndex
from clientip.stream.question_index import OpenQuestion, QuestionIndex
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.sizes import EXAMPLES

HASHES = st.integers(0, 4)  # few, so that questions share keys


def question(number: int, hashed: int) -> OpenQuestion:
    return OpenQuestion(number, number // 3, hashed, 10 * number, 7)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.one_of(st.tuples(HASHES, st.sampled_from("ab")), st.integers(0, 30)), max_size=60))
def test_the_index_finds_the_open_questions_however_they_come_and_go(steps: list[tuple[int, str] | int]) -> None:
    index, model, number = QuestionIndex(), dict[int, tuple[OpenQuestion, str]](), 0
    for step in steps:
        if isinstance(step, int):
            found = index.get(step)
            assert (found is not None) == (step in model)
            if found is not None:
                index.remove(found)
                del model[step]
        else:
            hashed, topology = step
            model[number] = question(number, hashed), topology
            alike = sum(each.hash == hashed for each, _ in model.values())
            assert index.add(model[number][0], topology) == alike
            number += 1
        assert list(index) == list(model)
        assert len(index) == len(model)
        assert index.oldest() == next((each for each, _ in model.values()), None)
        for hashed in range(5):
            under = [each for each, _ in model.values() if each.hash == hashed]
            assert index.under(hashed) == under
            assert index.has(hashed) == bool(under)
        assert all(index.topology(each) == topology for each, (_, topology) in model.items())
        assert {topology for _, topology in model.values()} <= index.topologies()


def test_hashes_under_which_a_question_is_open_keep_their_order() -> None:
    index = QuestionIndex()
    for number, hashed in enumerate((5, 2, 5)):
        index.add(question(number, hashed), "t")
    assert index.asked_among([9, 2, 5, 2]) == [2, 5, 2]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), HASHES)), st.integers(0, 21))
def test_answered_questions_are_kept_until_their_message_is_dropped(steps: list[tuple[int, int]], offset: int) -> None:
    answered = AnsweredQuestions()
    for number, (at, hashed) in enumerate(steps):
        answered.add(at, hashed, b"%d" % number)
    answered.drop_before(offset)
    left = [(at, hashed, b"%d" % number) for number, (at, hashed) in enumerate(steps) if at >= offset]
    assert len(answered) == len(left)
    assert answered.first_offset() == min((at for at, _, _ in left), default=None)
    for hashed in range(5):
        assert answered.under(hashed) == [asked for _, own, asked in left if own == hashed]
    assert answered.answered_among(range(5)) == sorted({hashed for _, hashed, _ in left})


def test_a_key_with_too_many_answered_questions_keeps_no_more() -> None:
    answered = AnsweredQuestions()
    for number in range(MAX_ANSWERED_PER_KEY + 10):
        answered.add(number, 1, b"x")
    assert len(answered) == len(answered.under(1)) == MAX_ANSWERED_PER_KEY


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 5)), max_size=30), st.integers(0, 60), st.integers(0, 100))
def test_a_message_is_found_by_offset_and_by_time(steps: list[tuple[int, int]], offset: int, moment_ns: int) -> None:
    index, model, at, now_ns = MessageIndex(), list[tuple[int, int, int]](), 0, 0
    for number, (gap, later) in enumerate(steps):
        at, now_ns = at + gap, now_ns + later
        index.add(at, number, now_ns)
        model.append((at, number, now_ns))
    assert index.first_from(offset) == next((each for each in model if each[0] >= offset), None)
    since = [each[0] for each in model if each[2] >= moment_ns]
    assert index.first_since(moment_ns) == (since[0] if since else at if model else 0)
    index.drop_before(offset)
    left = [each for each in model if each[0] >= offset] or model[-1:]
    assert len(index) == len(left)
    assert index.first_from(0) == (left[0] if left else None)
    index.drop_before(None)
    assert index.first_from(0) == (model[-1] if model else None)


def test_a_key_that_rests_is_not_forgotten_and_one_that_is_woken_comes_at_once() -> None:
    agenda = KeyAgenda()
    agenda.add_all([1, 2, 3])
    agenda.rest(1, 50)
    agenda.rest(2, 50)
    agenda.wake(2)
    assert agenda.take(10) == [2, 3]
    agenda.add(3)
    assert agenda.take(50) == [1, 3]
    assert agenda.take(100) == []
