"""The joins of one configuration, compiled; and all its rounds over what fits into memory.

`settle` is the plain meaning of the joins: replay and stream do the same in pieces, and are
tested against it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from clientip.joins.bounds import Bounds, life, window
from clientip.joins.coverage import Coverage, Run, Runs, Witness
from clientip.joins.facts import JoinFact, JoinQuestion, kind_of
from clientip.joins.flows import FOREVER, NEVER
from clientip.joins.holes import Hole, Log, LogOrders, LogPart, holes_of, written_of
from clientip.joins.inquiry import Inquirer, Open
from clientip.joins.matching import answers
from clientip.joins.questions import Questions
from clientip.joins.witnesses import Witnesses, settled
from clientip.model import Address, Fact, Heartbeat, Numbered, Outcome, Record, Resolution
from clientip.settings import Joins
from clientip.trust.answers import Answer, Awaits
from clientip.trust.graph import Graph


class Joining:
    """Who tells, who asks and how questions are answered under one configuration."""

    def __init__(self, graph: Graph, bounds: Joins) -> None:
        self.graph = graph
        self.witnesses = Witnesses(graph)
        self.inquirer = Inquirer(graph, Questions(graph, self.witnesses))
        self.bounds = Bounds(bounds.tolerance_ns, bounds.horizon_ns)
        self.active = self.witnesses.any()

    def begin(self, record: Record) -> Record | Open:
        """The record as it leaves, or what it has to ask first."""
        found = self.inquirer.begin(record.observation, record.resolution)
        if isinstance(found, Open):
            return found
        return record if found is record.resolution else replace(record, resolution=found)

    def coverage(
        self, runs: Mapping[Witness, Sequence[Run]], logs: Iterable[Log] | None = None, unread: Iterable[str] = ()
    ) -> Coverage:
        """What the witnesses told whole, but for what their logs may hold and nobody understood or wrote yet.

        `logs`: all that were read; None: they go on for ever.  `unread`: systems whose logs were not all read.
        """
        if logs is None:
            return Coverage(self.graph.systems, runs, self.holes((), unread))
        known = [(system, instance, tuple(parts)) for system, instance, parts in logs]
        return Coverage(self.graph.systems, runs, self.holes(known, unread), self.written(known))

    def gives_word(self, system: str) -> bool:
        """Whether what the log of `system` does not tell counts, so that its lines must all be understood."""
        return self.witnesses.tells(system) and self.graph.systems[system].lossless

    def longest(self, system: str) -> int:
        """How long a request or connection of `system` lasts at most, ns."""
        longest = self.graph.systems[system].longest_ns
        return self.bounds.horizon if longest is None else longest

    def has_begins_only(self, system: str) -> bool:
        """Whether a connection of `system` has one line, written when it begins."""
        drawn = self.graph.systems[system]
        return drawn.writes_begins and not drawn.translates

    def stay(self, system: str) -> int:
        """How long after its begin a request or connection of `system` has its last line at the latest, ns."""
        return 0 if self.has_begins_only(system) else self.longest(system)

    def written(self, logs: Iterable[Log]) -> dict[Witness, Hole]:
        """From when to when all that held is in the logs whose word counts: not before their first line, nor after
        their last, less `longest` where lines are written when it is over.
        """
        parts: dict[Witness, list[LogPart]] = defaultdict(list)
        for system, instance, of_file in logs:
            drawn = self.graph.systems[system]
            if self.gives_word(system) and (drawn.writes_begins or drawn.longest_ns is not None):
                parts[system, instance] += of_file
        stays = {name: 0 if drawn.writes_begins else self.longest(name) for name, drawn in self.graph.systems.items()}
        found = {witness: written_of(each, stays[witness[0]]) for witness, each in parts.items()}
        return {witness: stretch for witness, stretch in found.items() if stretch is not None}

    def holes(self, logs: Iterable[Log], unread: Iterable[str] = ()) -> dict[Witness, tuple[Hole, ...]]:
        """The holes in all logs whose word counts; the logs of systems `unread` were not all read."""
        found: dict[Witness, tuple[Hole, ...]] = {(system, ""): ((NEVER, FOREVER),) for system in unread}
        for system, instance, parts in logs:
            holes = holes_of(parts, self.stay(system)) if self.gives_word(system) else ()
            if holes:
                found[system, instance] = (*found.get((system, instance), ()), *holes)
        return found

    def answer(
        self, key: str, facts: Sequence[JoinFact], questions: Sequence[JoinQuestion], coverage: Coverage
    ) -> Answers:
        """Answers to the questions under one key, in their order."""

        def covered(system: str, source: Address | None, low: int, high: int, fresh: bool) -> str:
            return coverage.of(system, source, low, high, fresh=fresh)

        return answers(key, facts, questions, covered, self.bounds)  # type: ignore[arg-type]

    def window(self, question: JoinQuestion) -> tuple[int, int]:
        """Between which moments a fact must hold to be about the question."""
        return (NEVER, FOREVER) if kind_of(question.key) == "line" else window(question, self.bounds)

    def extent(self, fact: JoinFact) -> tuple[int, int]:
        """Outside of which moments a fact is about no question; NAT events also say something of each other."""
        kind = kind_of(fact.key)
        if kind == "line" or fact.role == "link":
            return NEVER, FOREVER
        if kind == "conn":
            return NEVER if fact.begin is None else fact.begin, FOREVER if fact.end is None else fact.end + fact.slack
        return life(fact, self.bounds)


Answers = list[Answer | Awaits | None]


def numbered(outcome: Outcome) -> tuple[Witness, Numbered] | None:
    """Whose running number a line shows, where it shows one."""
    if isinstance(outcome, Heartbeat):
        return (outcome.setup.system, outcome.line.instance or ""), outcome.numbered
    if not isinstance(outcome, Fact):
        return None
    seen = outcome.record.observation
    return None if seen.numbered is None else ((seen.setup.system, seen.instance or ""), seen.numbered)


def settle(
    joining: Joining, outcomes: Iterable[Outcome], orders: LogOrders | None = None, unread: Iterable[str] = ()
) -> list[Outcome]:
    """The outcomes in their order, every record as far as all of them together can lead it.

    `orders`, once all `outcomes` came, and `unread` say where lines of a log are missing; see `Joining.coverage`.
    """
    ended = list(outcomes)
    facts: dict[str, list[JoinFact]] = defaultdict(list)
    runs: dict[Witness, Runs] = defaultdict(Runs)
    waiting: dict[int, tuple[Record, Open]] = {}
    for number, outcome in enumerate(ended):
        if (count := numbered(outcome)) is not None:
            runs[count[0]].add(count[1])
        told = outcome
        if isinstance(outcome, Record):
            begun = joining.begin(outcome)
            if isinstance(begun, Open):
                waiting[number] = outcome, begun
            else:
                ended[number] = told = begun
        for fact in joining.witnesses.facts(told):
            facts[fact.key].append(fact)
    logs = None if orders is None else orders.logs()
    coverage = joining.coverage({witness: each.all() for witness, each in runs.items()}, logs, unread)
    while waiting:
        settled_now = _round(joining, facts, waiting, coverage)
        if not settled_now:
            for number, (record, each) in waiting.items():
                ended[number] = _given_up(joining, record, each)
            return ended
        for number, found in settled_now.items():
            if isinstance(found, Open):
                waiting[number] = waiting[number][0], found
                continue
            record = replace(waiting.pop(number)[0], resolution=found)
            ended[number] = record
            if joining.witnesses.tells(record.observation.setup.system):
                facts[(end := settled(record)).key].append(end)
    return ended


def _given_up(joining: Joining, record: Record, each: Open) -> Record:
    return replace(record, resolution=joining.inquirer.give_up(record.observation, each.inquiry))


def _round(
    joining: Joining, facts: dict[str, list[JoinFact]], waiting: dict[int, tuple[Record, Open]], coverage: Coverage
) -> dict[int, Open | Resolution]:
    """What one exchange of questions and answers leads to; lines that got none are left out."""
    under: dict[str, list[int]] = defaultdict(list)
    for number, (_, each) in waiting.items():
        under[each.question.key].append(number)
    found: dict[int, Open | Resolution] = {}
    for key, numbers in under.items():
        told = facts.get(key, ())
        if kind_of(key) == "line" and not told:
            continue
        said = joining.answer(key, told, [waiting[number][1].question for number in numbers], coverage)
        for number, answer in zip(numbers, said, strict=True):
            if answer is not None:
                record, each = waiting[number]
                found[number] = joining.inquirer.go_on(record.observation, each.inquiry, answer)
    return found
