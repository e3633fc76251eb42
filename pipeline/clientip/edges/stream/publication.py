"""Outcomes to messages for the topics of records, rejected lines, dead letters, findings and counts."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

from clientip.edges.geo import GeoDatabases
from clientip.edges.kafka.client import TopicPlace
from clientip.edges.kafka.transactions import Out
from clientip.edges.telemetry.port import TelemetryPort
from clientip.model import Fact, Heartbeat, Outcome, Part, Record, Rejected, Skipped
from clientip.outputs import OUTPUTS, rejected_row
from clientip.outputs.notices import CountsRow, DeadRow, FindingRow
from clientip.outputs.rows import SCHEMA
from clientip.settings import Kafka

MAX_FINDINGS: Final = 100  # of one kind and system in one batch; the others are one message with a count

_ENCODE: Final = msgspec.json.Encoder().encode


class Publication:
    """The messages of one batch for the world outside, and their figures."""

    def __init__(self, kafka: Kafka, output: str, geo: GeoDatabases, count_partitions: int) -> None:
        self._records, self._rejected = kafka.topic("records"), kafka.topic("rejected")
        self._dead, self._findings, self._counts = (kafka.topic(name) for name in ("dead", "findings", "counts"))
        self._render = OUTPUTS[output]
        self._geo, self._count_partitions = geo, count_partitions
        self.outs: list[Out] = []
        self._clients: Counter[str] = Counter()
        self._kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._more: Counter[tuple[str, str]] = Counter()
        self._lines: Counter[tuple[str, str]] = Counter()
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._verdicts: Counter[tuple[str, str]] = Counter()
        self._unknown: Counter[tuple[str, str]] = Counter()
        self.youngest_ms = 0

    def renderer(self) -> Callable[[Record, str], None]:
        """A function that takes a record and the digest of its rules: the hot path of both kinds of workers."""
        geo, render, topic, append = self._geo, self._render, self._records, self.outs.append
        clients, verdicts = self._clients, self._verdicts

        def publish(record: Record, rules: str) -> None:
            found, system = record.resolution, record.observation.setup.system
            append(Out(topic, render(geo.add_to(record) if geo else record, rules)))
            verdicts[system, found.verdict] += 1
            if found.reason is not None:
                self._unknown[system, found.reason] += 1
            elif record.entry and (client := found.named) is not None:
                clients[client.address.text] += 1
            for kind in found.findings:
                self.finding(record, kind)

        return publish

    def finding(self, record: Record, kind: str) -> None:
        """Note a finding on a record."""
        of = record.observation.setup.system, kind
        held = self._kinds[of]
        if len(held) < MAX_FINDINGS:
            held.append(record.record_id)
        else:
            self._more[of] += 1

    def other(self, outcome: Outcome, system: str, rules: str) -> None:
        """Note a line that became no record."""
        if isinstance(outcome, Rejected):
            self.outs.append(Out(self._rejected, rejected_row(outcome, system, rules)))
            self._reasons[system, outcome.reason] += 1
        elif isinstance(outcome, Fact):
            for kind in outcome.record.observation.notes:
                self.finding(outcome.record, kind)
        self._lines[system, _word(outcome)] += 1

    def counted(self, system: str, word: str, times: int) -> None:
        """Count lines that the caller has published."""
        self._lines[system, word] += times

    def dead(self, system: str, place: TopicPlace, offset: int, message: bytes, reason: str) -> None:
        """Note a message that holds no lines."""
        raw, coded = _text(message), None
        if raw is None:
            coded = b64encode(message).decode()
        row = DeadRow(SCHEMA, system, reason, *place, offset, raw, coded)
        self.outs.append(Out(self._dead, _ENCODE(row)))
        self._reasons[system, reason] += 1
        self._lines[system, "dead"] += 1

    def end(self, telemetry: TelemetryPort) -> list[Out]:
        """All messages of the batch. The counts go to the figures."""
        self.outs += self._finding_outs()
        self.outs += self._count_outs()
        for (system, word), times in self._lines.items():
            telemetry.add("lines", times, system, word)
        for (system, reason), times in self._reasons.items():
            telemetry.add("lines.rejected", times, system, reason)
        for (system, verdict), times in self._verdicts.items():
            telemetry.add("records", times, system, verdict)
        for (system, reason), times in self._unknown.items():
            telemetry.add("records.unknown", times, system, reason)
        for (system, kind), ids in self._kinds.items():
            telemetry.add("findings", len(ids) + self._more[system, kind], system, kind)
        return self.outs

    def _finding_outs(self) -> Iterable[Out]:
        for (system, kind), ids in self._kinds.items():
            for record_id in ids:
                row = FindingRow(SCHEMA, _finding_id(record_id, kind), kind, system, record_id)
                yield Out(self._findings, _ENCODE(row))
            more = self._more[system, kind]
            if more:
                row = FindingRow(SCHEMA, _finding_id(ids[-1], f"{kind} and more"), kind, system, None, more)
                yield Out(self._findings, _ENCODE(row))

    def _count_outs(self) -> Iterable[Out]:
        parts: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for client, times in self._clients.items():
            parts[xxh3_64_intdigest(client.encode()) % self._count_partitions].append((client, times))
        for partition, clients in parts.items():
            yield Out(self._counts, _ENCODE(CountsRow(SCHEMA, self.youngest_ms, clients)), partition)


def _text(message: bytes) -> str | None:
    """The message as text; None if it is none, or if JSON makes it more than twice as long: too long for a topic."""
    try:
        text = message.decode()
    except UnicodeDecodeError:
        return None
    return text if len(message) < 1024 or len(_ENCODE(text)) <= 2 * len(message) else None


def _finding_id(record_id: str, kind: str) -> str:
    return xxh3_128_hexdigest(f"{record_id}\0{kind}".encode())


def _word(outcome: Outcome) -> str:
    if isinstance(outcome, Rejected):
        return "rejected"
    if isinstance(outcome, Skipped):
        return "skipped"
    if isinstance(outcome, Part):
        return "part"
    assert isinstance(outcome, Fact | Heartbeat)
    return "fact"
