"""An answerer: the join topic → records of lines that had to ask.

It keeps the facts and questions of its partitions in memory. All of that follows from the last stretch of the topic
and from what was committed with the offsets: if a worker dies nothing is lost, and its successor doubles nothing.
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
from clientip.stream.join_messages import OPEN, Chunks, JoinChunk, QuestionItem, decode, unpacked_question
from clientip.stream.join_partition import Departure
from clientip.stream.waiting_times import keep_ns
from clientip.trust.answers import Refused

MAX_MESSAGES_PER_TURN: Final = 200  # each of up to 256 KiB and more
GAUGES_S: Final = 1.0  # how often gauges are set


class _OwnedPartition:
    """One partition that this worker answers."""

    __slots__ = ("began_s", "committed", "items", "partition", "position", "spool")

    def __init__(self, partition: CheckpointedPartition, position: int, spool: Spool) -> None:
        self.partition, self.position, self.spool = partition, position, spool
        self.committed: Upto | None = None  # the last commit of this worker
        self.began_s, self.items = time.monotonic(), 0

    def is_restored(self) -> bool:
        """Whether everything up to the committed offset has been read again."""
        return self.position >= self.partition.upto


class _Outgoing(NamedTuple):
    """What one transaction sends."""

    publication: Publication  # records, findings and counts
    chunks: Chunks  # questions and facts, back into the join topic


def work(context: Context) -> None:
    """Answer until the context says to stop."""
    Answerer(context).run()


class Answerer:
    """One answering worker. It is for one thread."""

    def __init__(self, context: Context) -> None:
        self._context, self._telemetry = context, context.telemetry
        self._settings: Settings = context.settings
        self._cluster: Cluster = look(context.settings, context.telemetry, context.stopping)
        self._known: dict[str, Compiled] = {}
        self._keep_ns = 0
        for settings in (*context.previous, context.settings):
            self._learn(settings)
        self._geo = open_geo(context.settings)
        self._owned: dict[TopicPlace, _OwnedPartition] = {}
        self._parked: dict[TopicPlace, _OwnedPartition] = {}
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
        self._keep_ns = max(self._keep_ns, keep_ns(settings))
        self._settings = settings

    def run(self) -> None:
        """Work until the context says to stop. Errors: SinkError, ConfigError."""
        try:
            while not self._context.stopping():
                self._telemetry.beat(ready=all(each.is_restored() for each in self._owned.values()))
                news = self._context.reloaded()
                if news is not None:
                    self._learn(news)
                    self._drop(list(self._owned))  # their views do not know the new configuration
                    self._member.close()
                self._cycle()
        finally:
            self._member.close()
            self._drop(list(self._owned))

    def _cycle(self) -> None:
        try:
            messages = self._member.poll(MAX_MESSAGES_PER_TURN, self._pace.left_s())
            self._pace.cut()
            if messages:
                self._turn(messages)
        except Lost:
            self._telemetry.say("answerer.lost", level="warning")
            self._drop(list(self._owned))
        self._show()

    # Partitions come and go.

    def _assigned(self, committed: Mapping[TopicPlace, Upto | None]) -> Mapping[TopicPlace, int]:
        starts: dict[TopicPlace, int] = {}
        fresh: dict[TopicPlace, Upto | None] = {}
        for place, upto in committed.items():
            parked = self._parked.pop(place, None)
            if parked is not None and parked.committed == upto and parked.is_restored():
                self._owned[place] = parked
                starts[place] = parked.position
            else:
                fresh[place] = upto
                if parked is not None:
                    parked.spool.close()
        for parked in self._parked.values():
            parked.spool.close()
        self._parked.clear()
        asked = [place.partition for place, upto in fresh.items() if upto is not None]
        changelogs = states(self._cluster.kafka, asked, self._telemetry, self._context.stopping)
        for place, upto in fresh.items():
            self._owned[place] = self._restored(upto, changelogs.get(place.partition, []))
            if upto is not None:
                starts[place] = self._owned[place].position
        restoring = sum(not each.is_restored() for each in self._owned.values())
        self._telemetry.set("rebuild.running", restoring)
        return starts

    def _restored(self, upto: Upto | None, changelog: list[bytes]) -> _OwnedPartition:
        spool = Spool(self._settings.stream.spool)
        views = Views(self._known.values())

        def asked_of(reference: int) -> bytes:
            return spool.get(reference).asked

        if upto is None or not upto.metadata:
            # Facts from before are unknown if the topic is of a later generation, or if an operator chose the offset.
            begin = 0 if upto is None else upto.offset
            is_blind = upto is not None or self._cluster.kafka.generation > 1
            partition = CheckpointedPartition(views, self._keep_ns, asked_of, begin, is_blind=is_blind)
            return _OwnedPartition(partition, begin, spool)
        try:
            resume, position = start(upto.metadata, upto.offset)
            state = committed_state(changelog, resume.commit) if resume.commit else NOTHING_COMMITTED
        except FormatError as error:
            text = f"{self._join} or its state topic was not written by this release: {error.reason}"
            raise SinkError(text, retry=False) from error
        partition = CheckpointedPartition(views, self._keep_ns, asked_of, upto.offset, resume, state)
        return _OwnedPartition(partition, position, spool)

    def _revoked(self, places: Sequence[TopicPlace]) -> None:
        """Park partitions: they may come back at once, unchanged since the last commit."""
        for place in places:
            owned = self._owned.pop(place, None)
            if owned is not None:
                self._parked[place] = owned
            for name in ("questions.open", "facts.held", "memory.held"):
                self._telemetry.forget(name, str(place.partition))

    def _drop(self, places: Sequence[TopicPlace]) -> None:
        for place in places:
            self._owned.pop(place).spool.close()
        for parked in self._parked.values():
            parked.spool.close()
        self._parked.clear()

    # One turn.

    def _turn(self, messages: Sequence[Message]) -> None:
        touched: dict[TopicPlace, _OwnedPartition] = {}
        for message in messages:
            place = TopicPlace(message.topic() or "", message.partition() or 0)
            owned = self._owned[place]
            self._take(owned, place, message)
            touched[place] = owned
        for place, owned in list(touched.items()):
            if not owned.is_restored():
                del touched[place]
                owned.spool.flush()
        if touched:
            self._answer(touched)

    def _take(self, owned: _OwnedPartition, place: TopicPlace, message: Message) -> None:
        offset, stamp_ns = message.offset() or 0, message.timestamp()[1] * 1_000_000
        chunk = self._chunk(message.value() or b"", place, offset)
        was_restored = owned.is_restored()

        def refer(question: QuestionItem) -> int:
            return owned.spool.put(msgspec.structs.replace(question, first_ns=question.first_ns or stamp_ns))

        owned.partition.take(offset, stamp_ns, chunk, refer)
        owned.position = offset + 1
        owned.items += len(chunk.facts.sources) + len(chunk.questions)
        if not was_restored and owned.is_restored():
            seconds = time.monotonic() - owned.began_s
            self._telemetry.took("rebuild.time", seconds)
            self._telemetry.add("rebuild.items", owned.items)
            self._telemetry.say("rebuilt", partition=place.partition, items=owned.items, seconds=round(seconds, 3))

    def _chunk(self, value: bytes, place: TopicPlace, offset: int) -> JoinChunk:
        try:
            chunk = decode(value)
        except FormatError as error:
            text = (
                f"topic {place.topic}, partition {place.partition}, offset {offset} cannot be read ({error.reason}): "
                "only readers and answerers of this release or the one before may write there"
            )
            raise SinkError(text, retry=False) from error
        for question in chunk.questions:
            if question.topology not in self._known:
                text = f"a question is asked under a configuration ({question.topology}) that is not known here"
                raise SinkError(f"{text}; start with --previous FILE, or let all workers reload", retry=True)
        return chunk

    def _answer(self, touched: Mapping[TopicPlace, _OwnedPartition]) -> None:
        """Answer what can be answered, and commit it: one transaction.

        Up to step 3 nothing has left this process. If it fails there, its successor starts at the last commit, reads
        the same messages and sends the same.
        """
        outgoing, outs, offsets = self._outgoing(), list[Out](), dict[TopicPlace, Upto]()
        state, memory = self._cluster.kafka.generational("state"), self._settings.stream.memory // len(self._owned)
        for place, owned in touched.items():
            # 1. Let questions leave, and their lines go on: to a record, or to a further question.
            #    Their bodies are taken out of the spool. A spool that cannot be read ends the worker.
            self._leave(owned, outgoing, memory)
            # 2. Write down what a successor needs: the resume offset goes into the metadata, the numbers of the
            #    closed questions into the changelog. Both must be sent with what these questions became, or not at all.
            commit = owned.partition.commit()
            offsets[place] = Upto(owned.position, commit.metadata)
            outs += [Out(state, entry.value, place.partition, entry.key) for entry in commit.entries]
        # 3. Make the batch whole: changelog, records, findings and counts, further questions and facts.
        outs += outgoing.publication.end(self._telemetry)
        outs += [Out(self._join, value, number) for number, value in outgoing.chunks.messages()]
        # 4. Send all of it and the offsets in one transaction, and wait for its commit. While brokers are away, or the
        #    outcome is unknown, `send` repeats this very batch until it is in exactly once. `Lost` (the partitions are
        #    another worker's) drops all state: that worker answers the same questions. A SinkError ends the worker.
        with self._telemetry.batch(partitions=len(touched), sent=len(outs)):
            self._member.send(outs, offsets)
        for place, owned in touched.items():
            # 5. Remember the commit: a partition that comes back with it is taken up as it is.
            owned.committed = offsets[place]
            # 6. Move the bodies that still wait to the disk. If it is full the worker ends, with the commit done.
            owned.spool.flush()

    def _outgoing(self) -> _Outgoing:
        kafka = self._cluster.kafka
        count = self._cluster.counts[kafka.topic("counts")]
        horizon_ns = self._known[self._settings.topology].joining.bounds.horizon
        publication = Publication(kafka, self._settings.stream.output, self._geo, count)
        return _Outgoing(publication, Chunks(self._cluster.partitions, horizon_ns))

    def _leave(self, owned: _OwnedPartition, outgoing: _Outgoing, memory: int) -> None:
        leaving, again, evicted = owned.partition.turn(memory)
        publish = outgoing.publication.renderer()
        oldest_ns = 0
        for each in leaving:
            question = owned.spool.get(each.reference)
            owned.spool.drop(each.reference)
            pending, of = unpacked(question.pending), self._known[question.topology]
            self._count(question, each)
            record = of.walking.go_on(question.system, pending, question.first_ns, each, outgoing.chunks)
            if record is not None:
                publish(record, of.settings.rules)
                oldest_ns = min(oldest_ns or pending.appended_ns, pending.appended_ns)
                outgoing.publication.youngest_ms = max(
                    outgoing.publication.youngest_ms, pending.appended_ns // 1_000_000
                )
        for fact in again:
            outgoing.chunks.add_fact(fact.hash, fact.source, OPEN, fact.body)
        if oldest_ns:
            self._telemetry.took("records.delay", time.time() - oldest_ns / 1e9)
        if evicted:
            self._telemetry.add("evicted", evicted, "fact")

    def _count(self, question: QuestionItem, left: Departure) -> None:
        how = "over" if left.over else "refused" if isinstance(left.answer, Refused) else "answered"
        self._telemetry.add("questions.answered", 1, kind_of(unpacked_question(question.asked).key), how)

    def _show(self) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_s < GAUGES_S:
            return
        self._shown_s = now_s
        for place, owned in self._owned.items():
            self._show_partition(place, owned)
        self._telemetry.set("rebuild.running", sum(not each.is_restored() for each in self._owned.values()))

    def _show_partition(self, place: TopicPlace, owned: _OwnedPartition) -> None:
        state, telemetry, label = owned.partition.state, self._telemetry, str(place.partition)
        telemetry.set("questions.open", state.open_count(), label)
        telemetry.set("facts.held", state.facts.count, label)
        telemetry.set("memory.held", state.size(), label)
        telemetry.add("evidence.late", state.late)
        state.late = 0
        first, since_ns, labels = state.resume()[0], state.resume_ns(), (place.topic, label)
        telemetry.set("lag.resume.messages", 0 if first is None else owned.position - first, *labels)
        telemetry.set("lag.resume.time", 0.0 if since_ns is None else max(0.0, time.time() - since_ns / 1e9), *labels)
        lag = self._member.lag(place)
        if lag is not None:
            telemetry.set("lag.processed.messages", lag, *labels)
