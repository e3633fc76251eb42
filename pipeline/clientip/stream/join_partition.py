"""One partition of the join topic: messages in, questions that leave out. No clock, no I/O.

The clock is the partition's own: the append time of its messages. A question leaves when its answer cannot change
any more, or when its time is over: then without an answer, and its reason says that only the waiting ended. So a
record of the stream is the one a replay gives, or unknown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from clientip.joins.facts import JoinFact, JoinQuestion, kind_of
from clientip.joins.flows import NEVER
from clientip.stream.answered_questions import AnsweredQuestions
from clientip.stream.fact_store import Again, FactStore, Source
from clientip.stream.join_messages import JoinChunk, QuestionItem, unpacked_question
from clientip.stream.key_agenda import KeyAgenda
from clientip.stream.message_index import MessageIndex
from clientip.stream.question_index import OpenQuestion, QuestionIndex, Reference
from clientip.stream.release import Case, Wait, decide
from clientip.stream.timers import EvidenceTimers, Timers
from clientip.stream.waiting_times import SECOND, wait_ns
from clientip.stream.watermarks import View, Watermarks
from clientip.trust.answers import Answer, Awaits, Refused

PATIENCE: Final = 4  # how many times its wait a question may stay while lines of a witness are read with a delay
LOOK_AGAIN_NS: Final = SECOND  # how often such a question is looked at
MAX_QUESTIONS_PER_KEY: Final = 1_000  # open at once; more are an attack or a defect
MAX_PAIRS_PER_KEY: Final = 200_000  # facts × questions under one key that are compared
MIN_PAIRS_OF_REST: Final = 1_000  # a key with more pairs rests after it was looked at
REST_NS_PER_PAIR: Final = 50_000
MAX_REREAD_PER_TURN: Final = 5_000  # questions read again at a start that are looked at in one turn
MAX_DEPARTURES_PER_TURN: Final = 2_000  # for each cause: time over, more told, memory full; a transaction has an end
BYTES_PER_QUESTION: Final = 450  # of memory, about


class Departure(NamedTuple):
    """A question that leaves."""

    number: int
    reference: Reference
    answer: Answer | Awaits
    over: bool  # no answer, and not even a silence that another key could follow


class JoinPartition:
    """The state of one partition, a function of its messages. `views` are by the digest of their configuration."""

    def __init__(
        self,
        views: Callable[[str], View],
        keep_ns: int,
        asked_of: Callable[[Reference], bytes],
        watermarks: Watermarks,
        number: int = 0,
        complete_since: Mapping[Source, int] | None = None,
    ) -> None:
        """`asked_of`: the packed question at a reference; `number`: of the first question that will be read."""
        self._views, self._keep_ns, self._asked_of = views, keep_ns, asked_of
        self.watermarks = watermarks
        self.facts = FactStore(complete_since)
        self.clock_ns = NEVER
        self.next_number = number  # of the next question that is read
        self.unwritten: int | None = None  # offset of the first message with runs that no changelog holds yet
        self.late = 0  # facts that came under a key whose questions have left
        self._open, self._answered = QuestionIndex(), AnsweredQuestions()
        self._messages = MessageIndex()
        self._agenda = KeyAgenda()
        self._deadlines, self._evidence = Timers(), EvidenceTimers()
        self._reread: deque[int] = deque()  # numbers of questions that a predecessor left open
        self._overdue: set[int] = set()  # numbers of questions whose time is over, under keys of the agenda
        self._new: dict[int, bytes] = {}  # number → packed question, of the messages since the last turn
        self._leaving: list[Departure] = []

    # What comes in.

    def take(
        self,
        offset: int,
        appended_ns: int,
        chunk: JoinChunk,
        refer: Callable[[QuestionItem], Reference],
        is_open: Callable[[int], bool] | None = None,
    ) -> None:
        """One message, in the order of offsets. `is_open` says of a question read again whether it has not left."""
        self.clock_ns = max(self.clock_ns, appended_ns)
        self._messages.add(offset, self.next_number, self.clock_ns)
        if chunk.facts.sources:
            hashes = self.facts.add(offset, self.clock_ns, chunk.facts, chunk.sources)
            self._agenda.add_all(self._open.asked_among(hashes))
            self.late += sum(not self._open.has(hashed) for hashed in self._answered.answered_among(hashes))
        for question in chunk.questions:
            self._take_question(offset, question, refer, is_open)
        for watermark in chunk.watermarks:
            self.watermarks.watermark(watermark, self.clock_ns)
        for runs_of in chunk.runs:
            self.watermarks.run(*runs_of)
        for news in chunk.holes:
            self.watermarks.holes.note(news)

    def _take_question(
        self,
        offset: int,
        item: QuestionItem,
        refer: Callable[[QuestionItem], Reference],
        is_open: Callable[[int], bool] | None,
    ) -> None:
        number = self.next_number
        self.next_number += 1
        if is_open is not None and not is_open(number):
            if unpacked_question(item.asked).serial is not None:
                self._answered.add(offset, item.hash, item.asked)
            return
        question = OpenQuestion(number, offset, item.hash, item.first_ns or self.clock_ns, refer(item))
        count = self._open.add(question, item.topology)
        if count > MAX_QUESTIONS_PER_KEY:
            self._leave(question, Refused("crowded"), over=True)
        elif is_open is None:
            self._new[number] = item.asked
            self._agenda.add(item.hash)
            self._set_deadline(question, unpacked_question(item.asked))
        else:  # the predecessor has looked at it with all facts it had by then
            self._reread.append(number)

    def _set_deadline(self, question: OpenQuestion, asked: JoinQuestion) -> None:
        self._deadlines.set(question.first_ns + wait_ns(self._view(question), asked), question.number)

    def _view(self, question: OpenQuestion) -> View:
        return self._views(self._open.topology(question.number))

    # What goes out.

    def turn(self) -> list[Departure]:
        """The questions that leave now; each question leaves once."""
        for topology in self._open.topologies():
            self._views(topology).renew()
        self._add_by_evidence()
        self._add_reread()
        self._add_overdue()
        for hashed in self._agenda.take(self.clock_ns):
            self._look_at(hashed)
        self._new.clear()
        leaving, self._leaving = self._leaving, []
        return leaving

    def give_up(self, memory: int) -> int:
        """Let the oldest go until all that is kept fits into `memory` bytes; returns how many facts were dropped.

        At most MAX_DEPARTURES_PER_TURN questions go at once; the others go in the turns that follow.
        """
        before, left = self.facts.count, MAX_DEPARTURES_PER_TURN
        while left and self.size() > memory:
            oldest, first = self._open.oldest(), self.facts.oldest()
            if oldest is not None and (first is None or oldest.offset <= first):
                left -= 1
                self._leave(oldest, Refused("overload"), over=True)
            elif not self.facts.evict():
                break
        return before - self.facts.count

    def size(self) -> int:
        """Bytes of memory in use, about."""
        return self.facts.size + BYTES_PER_QUESTION * (len(self._open) + len(self._answered))

    def forget(self) -> list[Again]:
        """Drop what no question can need any more; returns the facts that outlive their message and must be re-sent."""
        again = list(self.facts.again(self.clock_ns - self._keep_ns // 2))
        again += self.facts.drop(self.clock_ns - self._keep_ns)
        self._answered.drop_before(self._messages.first_since(self.clock_ns - self._keep_ns))
        self._messages.drop_before(self.resume()[0])
        return again

    def resume(self) -> tuple[int | None, int]:
        """Offset of the first message that a successor must read, and the number of its first question.

        None: the successor needs no message from before.
        """
        oldest = self._open.oldest()
        question = None if oldest is None else oldest.offset
        needed = (self.facts.first(), question, self._answered.first_offset(), self.unwritten)
        offsets = [offset for offset in needed if offset is not None]
        start = self._messages.first_from(min(offsets)) if offsets else None
        return (None, self.next_number) if start is None else (start.offset, start.number)

    def resume_ns(self) -> int | None:
        """Append time of the message from which a successor reads; None: it needs none."""
        first = self.resume()[0]
        start = None if first is None else self._messages.first_from(first)
        return None if start is None else start.appended_ns

    def open(self) -> Iterator[int]:
        """Numbers of the open questions, rising."""
        return iter(self._open)

    def open_count(self) -> int:
        """How many questions are open."""
        return len(self._open)

    # Which questions are looked at.

    def _add_by_evidence(self) -> None:
        """Questions whose witnesses have told more since they were last looked at."""
        left = MAX_DEPARTURES_PER_TURN
        for number in self._evidence.pop_due(self._told_until):
            question = self._open.get(number)
            if question is None:
                continue
            question.need_ns = NEVER
            self._agenda.add(question.hash)
            left -= 1
            if not left:
                return

    def _told_until(self, witnesses: tuple[str, ...], source: str) -> int:
        return _reach(self._views(self._open.usual_topology), witnesses, source)

    def _add_reread(self) -> None:
        """Some of the questions that a predecessor left open."""
        for _ in range(min(len(self._reread), MAX_REREAD_PER_TURN)):
            question = self._open.get(self._reread.popleft())
            if question is not None:
                self._agenda.add(question.hash)
                self._set_deadline(question, self._asked(question))

    def _add_overdue(self) -> None:
        """Some of the questions whose time is over: after a pause it may be over for all of them."""
        left = MAX_DEPARTURES_PER_TURN
        while left:
            number = self._deadlines.pop_due(self.clock_ns)
            if number is None:
                return
            question = self._open.get(number)
            if question is not None:
                left -= 1
                self._overdue.add(number)
                self._agenda.add(question.hash)

    # Which of them leave.

    def _look_at(self, hashed: int) -> None:
        """Decide about all questions under the hash of a key."""
        by_key: dict[str, list[tuple[OpenQuestion, JoinQuestion]]] = {}
        for question in self._open.under(hashed):
            asked = self._asked(question)
            by_key.setdefault(asked.key, []).append((question, asked))
        pairs = sum(self._look_at_key(hashed, key, asking) for key, asking in by_key.items())
        self._agenda.wake(hashed)
        if pairs > MIN_PAIRS_OF_REST and self._open.has(hashed):
            self._agenda.rest(hashed, self.clock_ns + pairs * REST_NS_PER_PAIR)

    def _look_at_key(self, hashed: int, key: str, asking: list[tuple[OpenQuestion, JoinQuestion]]) -> int:
        """Decide about the questions under one key; returns how many pairs of a fact and a question there are."""
        found = self.facts.under(hashed, key)
        pairs = len(found.facts) * len(asking)
        for question, asked in asking:
            if found.crowded or pairs > MAX_PAIRS_PER_KEY:
                self._leave(question, Refused("crowded"), over=True)
            else:
                self._decide(question, asked, found.facts, asking)
        return pairs

    def _decide(
        self,
        question: OpenQuestion,
        asked: JoinQuestion,
        facts: list[JoinFact],
        asking: list[tuple[OpenQuestion, JoinQuestion]],
    ) -> None:
        view, kind, since = self._view(question), kind_of(asked.key), self.facts.complete_since

        def others() -> list[JoinQuestion]:
            left = map(unpacked_question, self._answered.under(question.hash))
            waiting = (each for one, each in asking if one is not question and self._open.get(one.number) is not None)
            return [*(each for each in left if each.key == asked.key), *waiting]

        is_over = question.number in self._overdue
        self._overdue.discard(question.number)
        last_ns = question.first_ns + PATIENCE * wait_ns(view, asked) if is_over else 0
        case = Case(
            view,
            lambda system: max(since.get((kind, system), NEVER), since.get((kind, ""), NEVER)),
            asked,
            facts,
            others,
            self.clock_ns,
            is_over,
            self.clock_ns < last_ns,
        )
        found = decide(case)
        if isinstance(found, Wait):
            self._wait(question, asked, found, last_ns)
            return
        if asked.serial is not None and kind == "conn":
            self._answered.add(question.offset, question.hash, self._packed(question))
        self._leave(question, found.answer, over=found.over)

    def _packed(self, question: OpenQuestion) -> bytes:
        packed = self._new.get(question.number)
        return self._asked_of(question.reference) if packed is None else packed

    def _asked(self, question: OpenQuestion) -> JoinQuestion:
        return unpacked_question(self._packed(question))

    def _wait(self, question: OpenQuestion, asked: JoinQuestion, found: Wait, last_ns: int) -> None:
        """Set the timers of a question that stays. `last_ns`: when it must leave; 0 while its time is not over."""
        need_ns, witnesses = found.need_ns, asked.witnesses
        if need_ns not in (None, question.need_ns) and need_ns > _reach(self._view(question), witnesses, asked.source):
            question.need_ns = need_ns
            self._evidence.set(witnesses, asked.source, need_ns, question.number)
        if last_ns:
            self._deadlines.set(min(last_ns, self.clock_ns + LOOK_AGAIN_NS), question.number)

    def _leave(self, question: OpenQuestion, answer: Answer | Awaits, *, over: bool) -> None:
        self._open.remove(question)
        self._overdue.discard(question.number)
        if not self._open.has(question.hash):
            self._agenda.wake(question.hash)
        self._leaving.append(Departure(question.number, question.reference, answer, over))


def _reach(view: View, witnesses: tuple[str, ...], source: str) -> int:
    """Up to which moment all these witnesses have told everything of an address; NEVER if none of them is known."""
    return min((view.reach(witness, source) for witness in witnesses if witness in view.systems), default=NEVER)
