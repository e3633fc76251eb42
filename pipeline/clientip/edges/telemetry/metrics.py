"""The closed table of all figures that a stream has.

OpenTelemetry knows `records.delay` as `clientip.records.delay`, Prometheus as `clientip_records_delay_seconds`: a
collector turns the first name into the second, so one dashboard works with both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

from msgspec import Struct

from clientip.config.keys import NAME_PATTERN
from clientip.model import Verdict
from clientip.reasons import FINDINGS, REJECTED, UNKNOWN


class Label(Struct, frozen=True):
    """A label of a metric; its values come from a closed list or from the configuration."""

    name: str
    shape: re.Pattern[str]  # every value matches it as a whole


class Metric(Struct, frozen=True):
    """One figure."""

    name: str  # dotted
    kind: Literal["counter", "gauge", "histogram"]
    unit: str  # of UCUM, as OpenTelemetry writes it: s, By, {line}
    meaning: str
    labels: tuple[Label, ...] = ()
    bounds: tuple[float, ...] = ()  # histograms: upper bounds of the buckets, rising; the last one has none

    @property
    def exposed(self) -> str:
        """Its name for Prometheus."""
        words = ["clientip", *self.name.split(".")]
        words += [_SUFFIX[self.unit]] if self.unit in _SUFFIX else []
        return "_".join([*words, "total"] if self.kind == "counter" else words)


_SUFFIX: Final = {"s": "seconds", "By": "bytes"}
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_MESSAGES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)


def _words(name: str, words: Iterable[str]) -> Label:
    return Label(name, re.compile("|".join(map(re.escape, words))))


_SYSTEM: Final = Label("system", re.compile(NAME_PATTERN))
_TOPIC: Final = Label("topic", re.compile(r"[A-Za-z0-9._-]{1,249}"))
_PARTITION: Final = Label("partition", re.compile(r"[0-9]{1,6}", re.ASCII))
_HELD: Final = (_PARTITION,)
_LAG: Final = (_TOPIC, _PARTITION)

_TABLE: Final = (
    Metric(
        "lines",
        "counter",
        "{line}",
        "Lines read, by their outcome; `dead` counts whole messages that could not be cut into lines.",
        (_SYSTEM, _words("outcome", ("record", "fact", "part", "skipped", "rejected", "dead"))),
    ),
    Metric(
        "lines.rejected",
        "counter",
        "{line}",
        "Lines and messages that could not be read, by reason (`clientip help reasons`).",
        (_SYSTEM, _words("reason", REJECTED)),
    ),
    Metric(
        "records",
        "counter",
        "{record}",
        "Records written, by how their client is known.",
        (_SYSTEM, _words("verdict", get_args(Verdict))),
    ),
    Metric(
        "records.unknown",
        "counter",
        "{record}",
        "Records without a client, by reason (`clientip help reasons`).",
        (_SYSTEM, _words("reason", UNKNOWN)),
    ),
    Metric(
        "records.delay",
        "histogram",
        "s",
        "From the append of the raw line to the writing of its record; once per batch, for its oldest line.",
        (),
        _SECONDS,
    ),
    Metric(
        "findings",
        "counter",
        "{finding}",
        "Contradictions and attacks noticed (`clientip help reasons`).",
        (_SYSTEM, _words("kind", FINDINGS)),
    ),
    Metric(
        "questions.open",
        "gauge",
        "{question}",
        "Questions (who was behind a connection, or which request had an id?) that wait for their answer.",
        _HELD,
    ),
    Metric(
        "questions.answered",
        "counter",
        "{question}",
        "Questions that left, by the kind of their key and how: answered, refused, or their time was over.",
        (_words("key", ("conn", "request", "trace", "line")), _words("how", ("answered", "refused", "over"))),
    ),
    Metric(
        "facts.held",
        "gauge",
        "{fact}",
        "Facts (a line's proof of one connection or id) held for questions that may come.",
        _HELD,
    ),
    Metric("memory.held", "gauge", "By", "Bytes of waiting facts and questions; bound by `stream.memory`.", _HELD),
    Metric("evidence.late", "counter", "{fact}", "Facts that came after the questions for them had left."),
    Metric(
        "evicted",
        "counter",
        "{item}",
        "Facts and questions given up because memory was full; records that needed them are `unknown`.",
        (_words("kind", ("fact", "question")),),
    ),
    Metric("lag.processed.messages", "gauge", "{message}", "Messages of the partition not yet read.", _LAG),
    Metric("lag.processed.time", "gauge", "s", "Age of the oldest message of the partition not yet read.", _LAG),
    Metric("lag.resume.messages", "gauge", "{message}", "Messages that would be read again after a restart.", _LAG),
    Metric("lag.resume.time", "gauge", "s", "Age of the oldest message that would be read again.", _LAG),
    Metric("rebuild.running", "gauge", "{partition}", "Partitions whose memory is being rebuilt now."),
    Metric("rebuild.time", "histogram", "s", "How long rebuilding the memory of a partition took.", (), _SECONDS),
    Metric("rebuild.items", "counter", "{item}", "Facts and questions read again to rebuild memory."),
    Metric(
        "transactions",
        "counter",
        "{transaction}",
        "Transactions: committed, sent once more after an error, or fenced off because another worker took over.",
        (_words("outcome", ("committed", "repeated", "fenced")),),
    ),
    Metric("transactions.time", "histogram", "s", "From the begin of a transaction to its commit.", (), _SECONDS),
    Metric("batch.messages", "histogram", "{message}", "Messages of one batch.", (), _MESSAGES),
    Metric("reader.paused", "gauge", "{reader}", "1 while a reader waits for answerers that lag behind, else 0."),
    Metric(
        "config.reloads",
        "counter",
        "{reload}",
        "Configurations read again on SIGHUP: taken over, or refused for their faults.",
        (_words("outcome", ("taken", "refused")),),
    ),
    Metric("worker.ready", "gauge", "{worker}", "1 while the worker does its work, 0 while it starts or rebuilds."),
    Metric("worker.beat.timestamp", "gauge", "s", "When the worker last responded, in Unix time."),
    Metric("log.lost", "counter", "{line}", "Lines of the worker's own log that could not be written."),
)

METRICS: Final[Mapping[str, Metric]] = MappingProxyType({metric.name: metric for metric in _TABLE})


def metrics_help() -> str:
    """Every metric with its labels and meaning, as `clientip help metrics` prints it."""
    lines = []
    for metric in METRICS.values():
        labels = ", ".join(label.name for label in metric.labels)
        lines += [f"{metric.exposed}: {metric.kind}, {metric.unit}" + (f", by {labels}" if labels else "")]
        lines += [f"    {metric.meaning}", f"    OpenTelemetry: clientip.{metric.name}", ""]
    return "\n".join(lines).rstrip() + "\n"
