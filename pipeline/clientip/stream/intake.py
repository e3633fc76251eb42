"""A reader's half of the joins: the facts and questions of a batch's lines, on their way into the join topic."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

from msgspec.structs import replace

from clientip.engine import Engine
from clientip.joins.coverage import Run, Runs, Witness
from clientip.joins.facts import JoinFact, kind_of
from clientip.joins.holes import is_aside, tried_in, written_at
from clientip.joins.inquiry import Open
from clientip.joins.join import Joining
from clientip.model import Fact, Numbered, Outcome, Record
from clientip.pending import Suspensions
from clientip.stream.holes import HoleNews, LogWatch
from clientip.stream.join_messages import Chunks
from clientip.trust.answers import Refused

MAX_FACTS_PER_ID: Final = 256  # in one batch; with one more the key is `crowded`
FORGET_LATENESS_NS: Final = 600_000_000_000  # how long late lines hold the watermark back, up to twice that
MAX_AHEAD_NS: Final = 300_000_000_000  # a stamp that is further ahead of its message's is not believed


class Intake:
    """Takes the lines of one system into the joins, under one configuration."""

    def __init__(self, engine: Engine, joining: Joining, topology: str, system: str) -> None:
        self._joining, self._topology = joining, topology
        self._lines = Suspensions(engine, joining, system)
        self.tells = self._lines.tells
        self._gives_word, self._stay = joining.gives_word(system), joining.stay(system)
        self._system = system

    def refuse(self, batch: IntakeBatch) -> None:
        """A message of which no line could be made."""
        if self._gives_word:
            batch.numbers.log(self._system, batch.log, self._stay).see(None)

    def take(self, outcome: Outcome, appended_ns: int, batch: IntakeBatch) -> Outcome | None:
        """The outcome as it leaves, or None: it waits for its answer.

        `appended_ns`: when its message came; 0: that is not known.
        """
        if self._gives_word and not is_aside(outcome):
            batch.numbers.log(self._system, batch.log, self._stay).see(written_at(outcome), tried_in(outcome))
        if self.tells:
            batch.see(outcome, appended_ns)
        if type(outcome) is Record and _is_ahead(outcome, batch.latest_ns or appended_ns):
            batch.ahead.append(outcome)
            return self._alone(outcome)
        begun = self._lines.begin(outcome, batch.tell, batch.count)
        if not isinstance(begun, Open):
            return begun
        assert type(outcome) is Record
        pending = self._lines.suspend(outcome, begun.inquiry, appended_ns)
        batch.chunks.ask(begun.question, self._topology, pending)
        batch.asked += 1
        return None

    def _alone(self, record: Record) -> Record:
        """A record whose time is not possible: it asks no question and becomes no fact."""
        begun = self._joining.begin(record)
        if not isinstance(begun, Open):
            return begun
        refused = Refused("time_implausible")
        end = self._joining.inquirer.end(record.observation, begun.inquiry, refused)
        return replace(record, resolution=end)


def _is_ahead(record: Record, appended_ns: int) -> bool:
    seen = record.observation
    moment = seen.end_ns if seen.start_latest_ns is None else seen.start_latest_ns
    return appended_ns > 0 and moment is not None and moment > appended_ns + MAX_AHEAD_NS


class Lateness:
    """By how much the lines of one partition come later than `arrives_within` says: the watermark stays behind by that.

    Forgotten after ten to twenty minutes without such a line.
    """

    def __init__(self, arrives_ns: int) -> None:
        self._arrives_ns = arrives_ns
        self._since_ns, self._now, self._before = 0, 0, 0

    def see(self, late_ns: int, now_ns: int) -> None:
        """Note that the latest line of a batch came so long after its event."""
        if now_ns - self._since_ns >= FORGET_LATENESS_NS:
            self._since_ns, self._before, self._now = now_ns, self._now, 0
        self._now = max(self._now, late_ns - self._arrives_ns)

    def excess_ns(self) -> int:
        """By how much the watermark stays behind; 0: the lines come in time."""
        return max(self._now, self._before)


class Numbers:
    """Runs of numbered lines that were read; to be dropped together with everything that was not committed."""

    def __init__(self) -> None:
        self._runs: dict[Witness, Runs] = defaultdict(Runs)
        self._changed: dict[Witness, None] = {}
        self._logs: dict[tuple[str, str], LogWatch] = {}

    def log(self, system: str, name: str, stay: int) -> LogWatch:
        """The order of one log's lines; `name`: its topic and partition."""
        watch = self._logs.get((system, name))
        if watch is None:
            watch = self._logs[system, name] = LogWatch(system, "", name, stay)
        return watch

    def holes(self) -> tuple[HoleNews, ...]:
        """Where lines were not understood, as far as it is new since the last call."""
        return tuple(news for watch in self._logs.values() for news in watch.news())

    def add(self, witness: Witness, line: Numbered) -> None:
        """Count one more line."""
        self._runs[witness].add(line)
        self._changed[witness] = None

    def news(self) -> tuple[tuple[str, str, tuple[Run, ...]], ...]:
        """The runs that have changed since the last call, as the join topic takes them."""
        found = []
        for witness in self._changed:
            runs = self._runs[witness]
            found.append((*witness, tuple(runs.all())))
            runs.done.clear()
        self._changed.clear()
        return tuple(found)


class IntakeBatch:
    """The facts and questions of one batch; all of them go into one transaction."""

    def __init__(self, chunks: Chunks, numbers: Numbers) -> None:
        self.chunks, self.numbers = chunks, numbers
        self.log = ""  # topic and partition of the lines; to be set anew for each partition
        self.ahead: list[Record] = []  # records with a time that is not possible
        self.asked = 0
        self.latest_ns = 0  # the latest time at which messages can have come, if no broker dated them; 0: one did
        # How long after the end of its event the latest line came; and, for lines that do not show an end, how long
        # after its begin. The caller resets both for each partition.
        self.late_ns = self.late_begun_ns = 0
        self._under: Counter[str] = Counter()

    def see(self, outcome: Outcome, appended_ns: int) -> None:
        """Note how late a line of a witness came."""
        record = outcome.record if type(outcome) is Fact else outcome
        if type(record) is not Record or not appended_ns:
            return
        seen = record.observation
        if seen.end_ns is not None:
            self.late_ns = max(self.late_ns, appended_ns - seen.end_ns)
        elif seen.start_latest_ns is not None:
            self.late_begun_ns = max(self.late_begun_ns, appended_ns - seen.start_latest_ns)

    def tell(self, fact: JoinFact) -> None:
        """Send one more fact. If an id has too many, only that is sent."""
        kind = kind_of(fact.key)
        if kind in ("request", "trace"):
            self._under[fact.key] += 1
            times = self._under[fact.key]
            if times > MAX_FACTS_PER_ID:
                if times == MAX_FACTS_PER_ID + 1:
                    self.chunks.crowd(fact)
                return
        self.chunks.tell(fact)

    def count(self, witness: Witness, line: Numbered) -> None:
        """Count the running number of a line, if it has one."""
        self.numbers.add(witness, line)
