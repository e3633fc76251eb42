"""An answerer: the join topic → records of lines that had to ask.

It holds the facts and questions of its partitions in memory.  All of that is a function of the last stretch of the
topic, and of what was committed with the offsets: a worker that dies loses nothing, and the next doubles nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from confluent_kafka import Message

from clientip.edges.geo import open_geo
from clientip.edges.kafka.changelog_reader import states
from clientip.edges.kafka.client import TopicPlace, Upto
from clientip.edges.kafka.group_member import Member
from clientip.edges.kafka.transactions import Lost, Out
from clientip.edges.stream.cluster import Cluster, look
from clientip.edges.stream.context import Context
from clientip.edges.stream.pace import Pace
from clientip.edges.stream.publication import Publication
from clientip.edges.stream.spool import Spool
from clientip.errors import FormatError, SinkError
from clientip.joins.facts import kind_of
from clientip.pending import unpacked
from clientip.settings import Settings
from clientip.stream.changelog import NOTHING_COMMITTED, committed_state
from clientip.stream.checkpoint import CheckpointedPartition, start
from clientip.stream.compiled import Compiled, Views, compiled
from clientip.stream.fact_store import Again
from clientip.stream.join_messages import OPEN, Chunks, JoinChunk, QuestionItem, decode, unpacked_question
from clientip.stream.join_partition import Departure
from clientip.stream.waiting_times import keep_ns
from clientip.trust.answers import Refused

MESSAGES: Final = 200  # of one turn; each of up to 256 KiB and more
SHOW_S: Final = 1.0  # how often gauges are set


class _Held:
    """One partition in our hands."""

    __slots__ = ("began_s", "committed", "items", "partition", "position", "spool")

    def __init__(self, partition: CheckpointedPartition, position: int, spool: Spool) -> None:
        self.partition, self.position, self.spool = partition, position, spool
        self.committed: Upto | None = None  # what we committed last
        self.began_s, self.items = time.monotonic(), 0

    def is_restored(self) -> bool:
        return self.position >= self.partition.upto


class _Turn(NamedTuple):
    """What one transaction is made of."""

    publication: Publication
    chunks: Chunks


def work(context: Context) -> None:
    """Answer until told to stop."""
    Answerer(context).run()


class Answerer:
    """One worker."""

    def __init__(self, context: Context) -> None:
        self._context, self._telemetry = context, context.telemetry
        self._settings: Settings = context.settings
        self._cluster: Cluster = look(context.settings, context.telemetry, context.stopping)
        self._known: dict[str, Compiled] = {}
        for settings in (*context.previous, context.settings):
            self._learn(settings)
        self._geo = open_geo(context.settings)
        self._keep_ns = max(keep_ns(settings) for settings in (*context.previous, context.settings))
        self._held: dict[TopicPlace, _Held] = {}
        self._parked: dict[TopicPlace, _Held] = {}
        self._shown_s = 0.0
        self._pace = Pace(context.settings.stream.commit_ns)
        kafka = self._cluster.kafka
        self._join = kafka.generational("join")
        self._member = Member(
            kafka,
            kafka.topic("answerers"),
            context.name,
            [self._join],
            self._telemetry,
            context.stopping,
            assigned=self._assigned,
            revoked=self._revoked,
        )

    def _learn(self, settings: Settings) -> None:
        self._known[settings.topology] = compiled(settings)
        self._settings = settings

    def run(self) -> None:
        """Until told to stop."""
        try:
            while not self._context.stopping():
                self._telemetry.beat(ready=all(each.is_restored() for each in self._held.values()))
                news = self._context.reloaded()
                if news is not None:
                    self._learn(news)
                    self._drop(list(self._held))  # their views know only the configurations from before
                    self._member.close()
                self._cycle()
        finally:
            self._member.close()
            self._drop(list(self._held))

    def _cycle(self) -> None:
        try:
            messages = self._member.poll(MESSAGES, self._pace.left_s())
            self._pace.cut()
            if messages:
                self._turn(messages)
        except Lost:
            self._telemetry.say("answerer.lost", level="warning")
            self._drop(list(self._held))
        self._show()

    # Partitions come and go.

    def _assigned(self, committed: Mapping[TopicPlace, Upto | None]) -> Mapping[TopicPlace, int]:
        starts: dict[TopicPlace, int] = {}
        fresh: dict[TopicPlace, Upto | None] = {}
        for place, upto in committed.items():
            parked = self._parked.pop(place, None)
            if parked is not None and parked.committed == upto and parked.is_restored():
                self._held[place] = parked
                starts[place] = parked.position
            else:
                fresh[place] = upto
                if parked is not None:
                    parked.spool.close()
        for parked in self._parked.values():
            parked.spool.close()
        self._parked.clear()
        asked = [place.partition for place, upto in fresh.items() if upto is not None]
        said = states(self._cluster.kafka, asked, self._telemetry, self._context.stopping)
        for place, upto in fresh.items():
            self._held[place] = self._restored(upto, said.get(place.partition, []))
            if upto is not None:
                starts[place] = self._held[place].position
        restoring = sum(not each.is_restored() for each in self._held.values())
        self._telemetry.set("rebuild.running", restoring)
        return starts

    def _restored(self, upto: Upto | None, said: list[bytes]) -> _Held:
        spool = Spool(self._settings.stream.spool)
        views = Views(self._known.values())

        def asked_of(reference: int) -> bytes:
            return spool.get(reference).asked

        if upto is None or not upto.metadata:
            # Of a later generation, or where an operator chose the offset, nobody knows what was told before.
            begin = 0 if upto is None else upto.offset
            is_blind = upto is not None or self._cluster.kafka.generation > 1
            return _Held(CheckpointedPartition(views, self._keep_ns, asked_of, begin, is_blind=is_blind), begin, spool)
        try:
            resume, position = start(upto.metadata, upto.offset)
            state = committed_state(said, resume.commit) if resume.commit else NOTHING_COMMITTED
        except FormatError as error:
            text = f"what {self._join} or its state holds was not written by this release: {error.reason}"
            raise SinkError(text, retry=False) from error
        partition = CheckpointedPartition(views, self._keep_ns, asked_of, upto.offset, resume, state)
        return _Held(partition, position, spool)

    def _revoked(self, places: Sequence[TopicPlace]) -> None:
        """They may come back at once, as they are after our last commit."""
        for place in places:
            held = self._held.pop(place, None)
            if held is not None:
                self._parked[place] = held
            for name in ("questions.open", "facts.held", "memory.held"):
                self._telemetry.forget(name, str(place.partition))

    def _drop(self, places: Sequence[TopicPlace]) -> None:
        for place in places:
            self._held.pop(place).spool.close()
        for parked in self._parked.values():
            parked.spool.close()
        self._parked.clear()

    # One turn.

    def _turn(self, messages: Sequence[Message]) -> None:
        touched: dict[TopicPlace, _Held] = {}
        for message in messages:
            place = TopicPlace(message.topic() or "", message.partition() or 0)
            held = self._held[place]
            self._take(held, place, message)
            touched[place] = held
        for place, held in list(touched.items()):
            if held.is_restored():
                continue
            del touched[place]
            held.spool.flush()
        if touched:
            self._answer(touched)

    def _take(self, held: _Held, place: TopicPlace, message: Message) -> None:
        offset = message.offset() or 0
        chunk = self._chunk(message.value() or b"", place, offset)
        was_restored = held.is_restored()

        def refer(question: QuestionItem) -> int:
            first_ns = question.first_ns or stamp_ns
            return held.spool.put(msgspec.structs.replace(question, first_ns=first_ns))

        stamp_ns = message.timestamp()[1] * 1_000_000
        held.partition.take(offset, stamp_ns, chunk, refer)
        held.position = offset + 1
        held.items += len(chunk.facts.sources) + len(chunk.questions)
        if not was_restored and held.is_restored():
            seconds = time.monotonic() - held.began_s
            self._telemetry.took("rebuild.time", seconds)
            self._telemetry.add("rebuild.items", held.items)
            self._telemetry.say("rebuilt", partition=place.partition, items=held.items, seconds=round(seconds, 3))

    def _chunk(self, value: bytes, place: TopicPlace, offset: int) -> JoinChunk:
        try:
            chunk = decode(value)
        except FormatError as error:
            text = (
                f"topic {place.topic}, partition {place.partition}, offset {offset} cannot be read ({error.reason}): "
                "nobody but readers and answerers of this release or the one before may write there"
            )
            raise SinkError(text, retry=False) from error
        for question in chunk.questions:
            if question.topology not in self._known:
                text = f"a question is asked under a configuration ({question.topology}) that is not known here"
                raise SinkError(f"{text}; start with --previous FILE, or let all workers reload", retry=True)
        return chunk

    def _answer(self, touched: Mapping[TopicPlace, _Held]) -> None:
        """One transaction."""
        kafka, stream = self._cluster.kafka, self._settings.stream
        count = self._cluster.counts[kafka.topic("counts")]
        turn = _Turn(
            Publication(kafka, stream.output, self._geo, count),
            Chunks(self._cluster.partitions, self._known[self._settings.topology].joining.bounds.horizon),
        )
        outs: list[Out] = []
        offsets: dict[TopicPlace, Upto] = {}
        memory = stream.memory // max(1, len(self._held))
        for place, held in touched.items():
            self._leave(held, turn, memory)
            commit = held.partition.commit()
            offsets[place] = Upto(held.position, commit.metadata)
            state = kafka.generational("state")
            outs += [Out(state, entry.value, place.partition, entry.key) for entry in commit.entries]
        outs += turn.publication.end(self._telemetry)
        outs += [Out(self._join, value, number) for number, value in turn.chunks.messages()]
        with self._telemetry.batch(partitions=len(touched), sent=len(outs)):
            self._member.send(outs, offsets)
        for place, held in touched.items():
            held.committed = offsets[place]
            held.spool.flush()

    def _leave(self, held: _Held, turn: _Turn, memory: int) -> None:
        leaving, again, evicted = held.partition.turn(memory)
        publish = turn.publication.renderer()
        oldest_ns = 0
        for each in leaving:
            question = held.spool.get(each.reference)
            held.spool.drop(each.reference)
            pending, of = unpacked(question.pending), self._known[question.topology]
            self._count(question, each)
            record = of.walking.go_on(question.system, pending, question.first_ns, each, turn.chunks)
            if record is not None:
                publish(record, of.settings.rules)
                oldest_ns = min(oldest_ns or pending.appended_ns, pending.appended_ns)
                turn.publication.youngest_ms = max(turn.publication.youngest_ms, pending.appended_ns // 1_000_000)
        self._tell_again(again, turn.chunks)
        if oldest_ns:
            self._telemetry.took("records.delay", time.time() - oldest_ns / 1e9)
        if evicted:
            self._telemetry.add("evicted", evicted, "fact")

    def _tell_again(self, again: Sequence[Again], chunks: Chunks) -> None:
        for fact in again:
            chunks.add_fact(fact.hash, fact.source, OPEN, fact.body)

    def _count(self, question: QuestionItem, left: Departure) -> None:
        how = "over" if left.over else "refused" if isinstance(left.answer, Refused) else "answered"
        self._telemetry.add("questions.answered", 1, kind_of(unpacked_question(question.asked).key), how)

    def _show(self) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_s < SHOW_S:
            return
        self._shown_s = now_s
        for place, held in self._held.items():
            self._show_held(place, held)
        self._telemetry.set("rebuild.running", sum(not each.is_restored() for each in self._held.values()))

    def _show_held(self, place: TopicPlace, held: _Held) -> None:
        answering, telemetry, label = held.partition.state, self._telemetry, str(place.partition)
        telemetry.set("questions.open", answering.open_count(), label)
        telemetry.set("facts.held", answering.facts.count, label)
        telemetry.set("memory.held", answering.size(), label)
        telemetry.add("evidence.late", answering.late)
        answering.late = 0
        first, since_ns, labels = answering.resume()[0], answering.resume_ns(), (place.topic, label)
        telemetry.set("lag.resume.messages", 0 if first is None else held.position - first, *labels)
        telemetry.set("lag.resume.time", 0.0 if since_ns is None else max(0.0, time.time() - since_ns / 1e9), *labels)
        lag = self._member.lag(place)
        if lag is not None:
            telemetry.set("lag.processed.messages", lag, *labels)
