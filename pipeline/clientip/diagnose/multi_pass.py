"""A few lines led on through the joins, pass by pass over inputs that need not fit into memory.

A pass shows every line of every input to `listen`; only what concerns the questions of the moment is
kept.  `conclude` then leads the lines on, and says whether what they ask next needs another pass.  The
result is that of `joining.settle` for these lines, except where order decides between flows that only
the later questions of other lines could tell apart: then it is the weaker answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from clientip.joins.coverage import Coverage, RunsByWitness
from clientip.joins.facts import SEPARATOR, JoinFact, JoinQuestion, kind_of
from clientip.joins.holes import LogOrders
from clientip.joins.inquiry import Open
from clientip.joins.join import Joining, numbered
from clientip.joins.witnesses import settled
from clientip.model import Fact, Line, Outcome, Record, Resolution, Skipped
from clientip.trust.answers import Answer, Awaits, Refused, Site, site

MAX_PASSES: Final = 64  # hops of one line, and of the lines it awaits
MAX_KEPT: Final = 100_000  # facts and questions of others; a key that has more is refused as `crowded`
MAX_RAW: Final = 1024  # bytes kept of a line that tells


class Exhibit(Struct, frozen=True, gc=False):
    """A line that told something: whose it is, where it stands, and its beginning."""

    system: str
    line: Line  # `raw` cut to MAX_RAW bytes, `text` empty


class Pursuit:
    """The lines that are pursued, what was heard for them, and how far they have come."""

    def __init__(self, joining: Joining, subjects: Iterable[Record]) -> None:
        self._joining = joining
        self._order: list[str] = []
        self._ended: dict[str, Record] = {}
        self._waiting: dict[str, tuple[Record, Open]] = {}
        self._facts: dict[str, list[JoinFact]] = defaultdict(list)
        self._beside: dict[str, list[JoinQuestion]] = defaultdict(list)  # what other lines ask under the same keys
        self._kept = 0
        self._crowded: set[str] = set()
        self._exhibits: dict[str, Exhibit] = {}
        self._runs = RunsByWitness()
        self._coverage: Coverage | None = None
        self._complete: set[str] = set()  # keys whose facts are all here
        self._missed: set[str] = set()  # lines that were looked for
        self._passes = 0
        self._keys, self._sought = frozenset[str](), frozenset[str]()
        self._sources, self._ids_asked = frozenset[Site](), False
        for record in subjects:
            self._order.append(record.record_id)
            self._begin(record)
        self._look_for()

    @property
    def asks(self) -> bool:
        """Whether a pass over the inputs is wanted."""
        return bool(self._keys or self._sought)

    def results(self) -> Iterator[Record]:
        """The lines as far as they came, in their order."""
        return (self._ended[name] for name in self._order)

    def exhibit(self, record_id: str) -> Exhibit | None:
        """The line with this id, where it was heard for one of the questions."""
        return self._exhibits.get(record_id)

    def listen(self, outcome: Outcome) -> None:
        """One line of a pass."""
        if self._coverage is None and (count := numbered(outcome)) is not None:
            self._runs[count[0]].add(count[1])
        told = outcome
        if isinstance(outcome, Record):
            if not self._concerns(outcome):
                return
            told = self._listen_to_asker(outcome)
        for fact in self._joining.witnesses.facts(told):
            if fact.key in self._keys and self._has_room(fact.key):
                self._facts[fact.key].append(fact)
                self._exhibits[fact.record] = _exhibit(told)

    def conclude(self, orders: LogOrders | None, unread: Iterable[str] = ()) -> None:
        """The end of a pass: every line goes on as far as it can; `asks` says whether to read once more.

        `orders`: of the logs that the pass read; None: they go on for ever.
        `unread`: systems whose logs were not all read.
        """
        if self._coverage is None:
            runs = {witness: each.all() for witness, each in self._runs.items()}
            self._coverage = self._joining.coverage(runs, None if orders is None else orders.logs(), unread)
            self._runs.clear()
        self._complete |= self._keys
        self._missed |= self._sought
        self._passes += 1
        while self._round():
            continue
        self._look_for()
        if not self.asks or self._passes >= MAX_PASSES:
            self._keys, self._sought = frozenset(), frozenset()
            self._give_up()

    def _give_up(self) -> None:
        """End the lines that still wait: for each other, or for a line that nobody has."""
        for record, each in [*self._waiting.values()]:
            found = self._joining.inquirer.give_up(record.observation, each.inquiry)
            self._end(replace(record, resolution=found))

    def _concerns(self, record: Record) -> bool:
        """Whether the line can tell, is looked for, or may ask what is asked; most lines are none of these."""
        if self._joining.witnesses.tells(record.observation.setup.system) or record.record_id in self._sought:
            return True
        stop = record.resolution.stop
        if stop is None:
            return False
        return self._ids_asked or (stop.source is not None and site(stop.source) in self._sources)

    def _listen_to_asker(self, record: Record) -> Record:
        begun = self._joining.begin(record)
        if record.record_id in self._sought and record.record_id not in self._waiting:
            self._begin(record)
        if isinstance(begun, Record):
            return begun
        question = begun.question
        beside = question.key in self._keys and record.record_id not in self._waiting
        if beside and self._has_room(question.key):
            self._beside[question.key].append(question)
        return record

    def _has_room(self, key: str) -> bool:
        if self._kept >= MAX_KEPT:
            self._crowded.add(key)
            return False
        self._kept += 1
        return True

    def _begin(self, record: Record) -> None:
        begun = self._joining.begin(record)
        if isinstance(begun, Open):
            self._waiting[record.record_id] = record, begun
        else:
            self._end(begun)

    def _end(self, record: Record) -> None:
        self._ended[record.record_id] = record
        self._waiting.pop(record.record_id, None)
        fact = settled(record)
        self._facts[fact.key].append(fact)

    def _look_for(self) -> None:
        """Set the keys and the lines that the next pass must look for, and whose questions may be the same."""
        self._keys, self._sought = self._next()
        ends = [key.split(SEPARATOR)[-2:] for key in self._keys if kind_of(key) == "conn"]
        self._sources = frozenset((address, int(port)) for address, port in ends)
        self._ids_asked = len(self._keys) > len(ends)

    def _next(self) -> tuple[frozenset[str], frozenset[str]]:
        keys = {each.question.key for _, each in self._waiting.values()} - self._complete
        lines = {key.partition(SEPARATOR)[2] for key in keys if kind_of(key) == "line"}
        known = self._waiting.keys() | self._ended.keys() | self._missed
        return frozenset(key for key in keys if kind_of(key) != "line"), frozenset(lines - known)

    def _round(self) -> bool:
        """One exchange of questions and answers; whether it led anybody on."""
        under: dict[str, list[tuple[Record, Open]]] = defaultdict(list)
        for record, each in self._waiting.values():
            key = each.question.key
            if key in self._complete or (kind_of(key) == "line" and self._facts.get(key)):
                under[key].append((record, each))
        led = [pair for key, asking in under.items() for pair in self._answered(key, asking)]
        for record, found in led:
            if isinstance(found, Open):
                self._waiting[record.record_id] = record, found
            else:
                self._end(replace(record, resolution=found))
        return bool(led)

    def _answered(self, key: str, asking: list[tuple[Record, Open]]) -> Iterator[tuple[Record, Open | Resolution]]:
        """What the answers lead to; under one key all that is known to be asked is answered together."""
        assert self._coverage is not None
        facts, beside = self._facts.get(key, []), self._beside.get(key, [])
        if key in self._crowded:
            answers: list[Answer | Awaits | None] = [Refused("crowded") for _ in asking]
        else:
            questions = [*(each.question for _, each in asking), *beside]
            answers = self._joining.answer(key, facts, questions, self._coverage)
        for (record, each), answer in zip(asking, answers, strict=False):
            if answer is not None:
                yield record, self._joining.inquirer.go_on(record.observation, each.inquiry, answer)


def _exhibit(outcome: Outcome) -> Exhibit:
    record = outcome.record if isinstance(outcome, Fact) else outcome
    line = record.line if isinstance(record, Record | Skipped) else None
    assert line is not None
    system = record.observation.setup.system if isinstance(record, Record) else ""
    return Exhibit(system, replace(line, raw=line.raw[:MAX_RAW], text=b""))
