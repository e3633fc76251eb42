"""One partition of the join topic, answered: messages in, departures out. No clock, no I/O.

The clock is the partition's own: the append time of its messages.  A question leaves when its answer cannot change
any more, or when its time is over: then without an answer, and with a reason that says it was only the waiting.  So a
record of the stream is that of a replay, or unknown.
"""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from clientip.joins.facts import JoinFact, JoinQuestion, kind_of
from clientip.joins.flows import NEVER
from clientip.stream.fact_store import Again, FactStore, Source
from clientip.stream.join_messages import JoinChunk, QuestionItem, unpacked_question
from clientip.stream.release import Case, Leave, Wait, decide
from clientip.stream.watermarks import SILENCE_NS, View, Watermarks
from clientip.trust.answers import Answer, Awaits, Refused

SECOND: Final = 1_000_000_000
STRATA: Final[Mapping[str, int]] = {"conn": 0, "request": 1, "trace": 2, "line": 3}
STRATUM_NS: Final = 10 * SECOND  # each kind of key waits so much longer than the one before
KEEP_NS: Final = 30 * SECOND  # facts outlive the longest wait by so much
PATIENCE: Final = 4  # times its wait, while lines of a witness are read from behind
AGAIN_NS: Final = SECOND  # how often such a question is looked at
MANY: Final = 1_000  # open questions under one key; more are an attack or a defect
PAIRS: Final = 200_000  # facts × questions under one key that are compared
REST_NS: Final = 50_000  # for each such pair: a key that takes long to look through is looked at less often
FEW: Final = 5_000  # questions read again that are looked at in one turn
AT_ONCE: Final = 2_000  # of those whose time is over, for which more was told, or for which memory lacks: in one turn
_PER_QUESTION: Final = 450  # bytes of memory
_NUMBER: Final = 48  # bits of a question's number
_NUMBERS: Final = (1 << _NUMBER) - 1

Reference = int
"""Where the caller keeps a question's body."""


class Departure(NamedTuple):
    """A question that leaves."""

    number: int
    reference: Reference
    answer: Answer | Awaits
    over: bool  # no answer, and not even a silence that another key could follow


class OpenQuestion(Struct, gc=False):
    """A question that waits."""

    number: int
    offset: int  # of its message
    hash: int
    first_ns: int
    reference: Reference
    need_ns: int = NEVER  # when it ripens, see `_ripening`


class Answering:
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
        self._views, self._keep_ns, self._asked_of = views, keep_ns, asked_of
        self.watermarks = watermarks
        self.facts = FactStore(complete_since)
        self.clock_ns = NEVER
        self.next_number = number  # of the next question that is read
        self.unwritten: int | None = None  # message since which stretches were told that no changelog holds
        self.late = 0  # facts that came under a key whose questions have left
        self._pending: dict[int, OpenQuestion] = {}
        self._of: dict[int, str] = {}  # number → drawing, where it is not the usual one
        self._usual = ""
        self._by_key: dict[int, int | array[int]] = {}  # hash → number of its question, or of several
        self._deadlines: list[int] = []  # a heap of moments with numbers, see `_due`
        self._ripening: dict[tuple[tuple[str, ...], str], list[int]] = {}  # the same
        self._later: deque[int] = deque()  # numbers of questions read again, to be looked at in time
        self._starts: deque[tuple[int, int, int]] = deque()  # (offset, number of its first question, append time)
        self._context: dict[int, list[tuple[int, bytes]]] = {}  # hash → (offset, question that left)
        self._contexts: list[tuple[int, int]] = []  # a heap of (offset, hash), to forget them
        self._dirty: dict[int, None] = {}
        self._over: set[int] = set()  # numbers of questions whose time is over, under dirty keys
        self._rests: dict[int, int] = {}  # hash → until when it is not looked at
        self._fresh: dict[int, bytes] = {}  # number → question, of this turn
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
        """One message, in the order of offsets; `is_open` says of questions read again whether they still wait."""
        self.clock_ns = max(self.clock_ns, appended_ns)
        self._starts.append((offset, self.next_number, self.clock_ns))
        if chunk.facts.sources:
            for hashed in self.facts.add(offset, self.clock_ns, chunk.facts, chunk.sources):
                if hashed in self._by_key:
                    self._dirty[hashed] = None
                elif hashed in self._context:
                    self.late += 1
        for question in chunk.questions:
            self._ask(offset, question, refer, is_open)
        for watermark in chunk.watermarks:
            self.watermarks.watermark(watermark, self.clock_ns)
        for told in chunk.runs:
            self.watermarks.run(*told)

    def _ask(
        self,
        offset: int,
        question: QuestionItem,
        refer: Callable[[QuestionItem], Reference],
        is_open: Callable[[int], bool] | None,
    ) -> None:
        number = self.next_number
        self.next_number += 1
        if is_open is not None and not is_open(number):
            asked = unpacked_question(question.asked)
            if asked.serial is not None:
                self._remember(offset, question.hash, question.asked)
            return
        pending = OpenQuestion(number, offset, question.hash, question.first_ns or self.clock_ns, refer(question))
        self._pending[number] = pending
        self._usual = self._usual or question.topology
        if question.topology != self._usual:
            self._of[number] = question.topology
        many = self._one_more(question.hash, number)
        if many > MANY:
            self._leave(pending, Refused("crowded"), over=True)
        elif is_open is None:
            self._fresh[number] = question.asked
            self._dirty[question.hash] = None
            self._expect(pending, unpacked_question(question.asked))
        else:  # its predecessor has looked at it with all facts of then
            self._later.append(number)

    def _one_more(self, hashed: int, number: int) -> int:
        """A question more under a key; how many there are."""
        alike = self._by_key.get(hashed)
        if alike is None:
            self._by_key[hashed] = number
            return 1
        if isinstance(alike, int):
            alike = self._by_key[hashed] = array("q", (alike,))
        alike.append(number)
        return len(alike)

    def _expect(self, pending: OpenQuestion, asked: JoinQuestion) -> None:
        heapq.heappush(self._deadlines, _due(pending.first_ns + self._wait_ns(pending.number, asked), pending.number))

    def _remember(self, offset: int, hashed: int, asked: bytes) -> None:
        held = self._context.setdefault(hashed, [])
        if len(held) < MANY:
            held.append((offset, asked))
            heapq.heappush(self._contexts, (offset, hashed))

    def _view(self, number: int) -> View:
        return self._views(self._of.get(number, self._usual))

    def _wait_ns(self, number: int, asked: JoinQuestion) -> int:
        view, kind = self._view(number), kind_of(asked.key)
        if kind == "line":  # whose question may itself have waited as long as any
            wait_ns = view.longest_wait_ns
        else:
            wait_ns = max((view.wait_ns(witness) for witness in asked.witnesses), default=0)
            wait_ns = max(wait_ns, SILENCE_NS) if asked.nat else wait_ns
        return wait_ns + STRATA[kind] * STRATUM_NS

    # What goes out.

    def turn(self) -> list[Departure]:
        """The questions that leave now; each one once."""
        for topology in {self._usual, *self._of.values()} - {""}:
            self._views(topology).renew()
        self._ripen()
        self._look_again()
        self._overdue()
        for hashed in [each for each in self._dirty if self._rests.get(each, NEVER) <= self.clock_ns]:
            del self._dirty[hashed]
            self._consider(hashed)
        self._fresh.clear()
        leaving, self._leaving = self._leaving, []
        return leaving

    def give_up(self, memory: int) -> int:
        """Let the oldest go until what is held fits into `memory` bytes; how many facts were forgotten.

        Of questions so many as a transaction holds; the others in the turns that follow.
        """
        before, few = self.facts.count, AT_ONCE
        while few and self.size() > memory:
            oldest = next(iter(self._pending.values()), None)
            first = self.facts.oldest()
            if oldest is not None and (first is None or oldest.offset <= first):
                few -= 1
                self._leave(oldest, Refused("overload"), over=True)
            elif not self.facts.evict():
                break
        return before - self.facts.count

    def size(self) -> int:
        """Bytes of memory held, about."""
        return self.facts.size + _PER_QUESTION * (len(self._pending) + len(self._contexts))

    def forget(self) -> list[Again]:
        """Drop what nobody can ask for any more; what outlives its message has to be told again."""
        again = list(self.facts.again(self.clock_ns - self._keep_ns // 2))
        again += self.facts.drop(self.clock_ns - self._keep_ns)
        since = self._resume_by_time()
        while self._contexts and self._contexts[0][0] < since:
            _, hashed = heapq.heappop(self._contexts)
            left = [each for each in self._context.pop(hashed, ()) if each[0] >= since]
            if left:
                self._context[hashed] = left
        first = self.resume()[0]
        while len(self._starts) > 1 and (first is None or self._starts[0][0] < first):
            self._starts.popleft()
        return again

    def _resume_by_time(self) -> int:
        """The first offset that is young enough to be kept for its facts' sake."""
        limit = self.clock_ns - self._keep_ns
        for offset, _, appended_ns in self._starts:
            if appended_ns >= limit:
                return offset
        return self._starts[-1][0] if self._starts else 0

    def resume(self) -> tuple[int | None, int]:
        """From which message on all that is held comes, and the number of its first question; None: nothing is held."""
        oldest = next(iter(self._pending.values()), None)
        question = None if oldest is None else oldest.offset
        context = self._contexts[0][0] if self._contexts else None
        held = [each for each in (self.facts.first(), question, context, self.unwritten) if each is not None]
        if not held:
            return None, self.next_number
        first = min(held)
        for offset, number, _ in self._starts:
            if offset >= first:
                return offset, number
        return None, self.next_number

    def resume_ns(self) -> int | None:
        """Append time of the message from which a restart reads."""
        first = self.resume()[0]
        return next((each for offset, _, each in self._starts if offset == first), None)

    def open(self) -> Iterator[int]:
        """Numbers of the questions that wait."""
        return iter(self._pending)

    def open_count(self) -> int:
        """How many questions wait."""
        return len(self._pending)

    # Which of them leave.

    def _ripen(self) -> None:
        """Questions for which more was told than when they were last looked at."""
        few = AT_ONCE
        for (witnesses, source), heap in list(self._ripening.items()):
            view = self._views(self._usual)
            reach = min(
                (view.reach(witness, source) for witness in witnesses if witness in view.systems), default=NEVER
            )
            while heap and few and heap[0] >> _NUMBER <= reach:
                pending = self._pending.get(heapq.heappop(heap) & _NUMBERS)
                if pending is not None:
                    few, pending.need_ns = few - 1, NEVER
                    self._dirty[pending.hash] = None
            if not heap:
                del self._ripening[witnesses, source]

    def _look_again(self) -> None:
        """Some of the questions that were read again."""
        for _ in range(min(len(self._later), FEW)):
            pending = self._pending.get(self._later.popleft())
            if pending is not None:
                self._dirty[pending.hash] = None
                self._expect(pending, unpacked_question(self._packed(pending)))

    def _overdue(self) -> None:
        """Some of those whose time is over: after a pause it may be over for all, and a transaction has an end."""
        few = AT_ONCE
        while few and self._deadlines and self._deadlines[0] >> _NUMBER <= self.clock_ns:
            number = heapq.heappop(self._deadlines) & _NUMBERS
            if number in self._pending:
                few -= 1
                self._over.add(number)
                self._dirty[self._pending[number].hash] = None

    def _consider(self, hashed: int) -> None:
        pairs = 0
        numbers = self._by_key.get(hashed, ())
        by_key: dict[str, list[tuple[OpenQuestion, JoinQuestion]]] = {}
        for number in (numbers,) if isinstance(numbers, int) else numbers:
            pending = self._pending[number]
            asked = unpacked_question(self._packed(pending))
            by_key.setdefault(asked.key, []).append((pending, asked))
        for key, asking in by_key.items():
            held = self.facts.under(hashed, key)
            pairs += len(held.facts) * len(asking)
            if held.crowded or len(held.facts) * len(asking) > PAIRS:
                for pending, _ in asking:
                    self._leave(pending, Refused("crowded"), over=True)
                continue
            for pending, asked in asking:
                self._decide(pending, asked, held.facts, asking)
        self._rests.pop(hashed, None)
        if pairs > MANY and hashed in self._by_key:
            self._rests[hashed] = self.clock_ns + pairs * REST_NS

    def _decide(
        self,
        pending: OpenQuestion,
        asked: JoinQuestion,
        facts: list[JoinFact],
        asking: list[tuple[OpenQuestion, JoinQuestion]],
    ) -> None:
        view, kind, since = self._view(pending.number), kind_of(asked.key), self.facts.complete_since

        def others() -> list[JoinQuestion]:
            left = (unpacked_question(packed) for _, packed in self._context.get(pending.hash, ()))
            beside = [each for each in left if each.key == asked.key]
            waiting = (each for one, each in asking if one is not pending and one.number in self._pending)
            return [*beside, *waiting]

        is_over = pending.number in self._over
        self._over.discard(pending.number)
        hard_ns = pending.first_ns + PATIENCE * self._wait_ns(pending.number, asked) if is_over else 0
        case = Case(
            view,
            lambda system: max(since.get((kind, system), NEVER), since.get((kind, ""), NEVER)),
            asked,
            facts,
            others,
            self.clock_ns,
            is_over,
            self.clock_ns < hard_ns,
        )
        found = decide(case)
        if isinstance(found, Leave):
            if asked.serial is not None and kind == "conn":
                self._remember(pending.offset, pending.hash, self._packed(pending))
            self._leave(pending, found.answer, over=found.over)
        else:
            self._wait(pending, asked, found, hard_ns)

    def _packed(self, pending: OpenQuestion) -> bytes:
        packed = self._fresh.get(pending.number)
        return self._asked_of(pending.reference) if packed is None else packed

    def _wait(self, pending: OpenQuestion, asked: JoinQuestion, found: Wait, hard_ns: int) -> None:
        if found.need_ns is not None:
            view = self._view(pending.number)
            reach = min((view.reach(each, asked.source) for each in asked.witnesses if each in view.systems), default=0)
            if found.need_ns > reach and found.need_ns != pending.need_ns:
                pending.need_ns = found.need_ns
                heap = self._ripening.setdefault((asked.witnesses, asked.source), [])
                heapq.heappush(heap, _due(found.need_ns, pending.number))
        if hard_ns:  # its time is over, and it is patient
            heapq.heappush(self._deadlines, _due(min(hard_ns, self.clock_ns + AGAIN_NS), pending.number))

    def _leave(self, pending: OpenQuestion, answer: Answer | Awaits, *, over: bool) -> None:
        del self._pending[pending.number]
        self._over.discard(pending.number)
        self._of.pop(pending.number, None)
        alike = self._by_key[pending.hash]
        if not isinstance(alike, int):
            alike.remove(pending.number)
        if isinstance(alike, int) or not alike:
            del self._by_key[pending.hash]
            self._rests.pop(pending.hash, None)
        self._leaving.append(Departure(pending.number, pending.reference, answer, over))


def _due(moment_ns: int, number: int) -> int:
    """A moment and a question as one number, in the order of the moments: half the memory of a pair."""
    return moment_ns << _NUMBER | number
