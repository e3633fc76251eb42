"""Which topics a stream needs, and how they must be set: settings and the topics of a cluster → what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from clientip.errors import ConfigError, Fault
from clientip.framing.kafka_message import MAX_MESSAGE
from clientip.settings import Kafka, Settings

_MIB: Final = 1 << 20
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_COPIES: Final = 3
_GENERATIONAL: Final = re.compile(r"(join|state)\.[0-9]+", re.ASCII)
OUTPUTS: Final = ("records", "rejected", "dead", "findings", "counts")


class Rule(NamedTuple):
    """What one setting of a topic must be, and why: `made`, one of `also`, or a number between the bounds."""

    name: str
    made: str  # the value that `--create` sets
    why: str
    least: int | None = None
    most: int | None = None
    also: tuple[str, ...] = ()

    def keeps(self, value: str | None) -> bool:
        """Whether a value may stay as it is; None: the broker does not know the setting."""
        if value is None:
            return False
        if value == self.made or value in self.also:
            return True
        if not value.isdecimal() or (self.least is None and self.most is None):
            return False
        number = int(value)
        return (self.least is None or number >= self.least) and (self.most is None or number <= self.most)


class Seen(NamedTuple):
    """A topic as the cluster has it."""

    partitions: int
    copies: int  # of the partition with the fewest
    settings: Mapping[str, str | None] | None  # None: we have no right to see them


class Wanted(NamedTuple):
    """A topic as the stream needs it."""

    name: str
    partitions: int
    copies: int
    rules: tuple[Rule, ...]
    ours: bool = True  # False: a raw topic, whose settings are its owner's
    fixed: bool = False  # whether the number of partitions must be this one; else it only counts when it is made


class Wrong(NamedTuple):
    """A fault of a topic: the text, and the setting that mends it, if we may set it."""

    text: str
    mend: tuple[str, str] | None = None


def cluster(settings: Settings) -> Kafka:
    """The `[kafka]` of a configuration. Errors: ConfigError if a stream cannot work with the configuration."""
    kafka, raw, faults = settings.kafka, raw_topics(settings), []
    if kafka is None:
        faults.append(Fault("", "kafka", 'is missing; write [kafka] with brokers = ["kafka-1:9092"]'))
    if not raw:
        faults.append(Fault("", "systems", 'no system has topics; write topics = ["raw.NAME"] at a system with a log'))
    circles = [topic for topic in raw if kafka is not None and _is_ours(kafka, topic)]
    faults += [Fault("", "systems", f'topic "{topic}" is written by the stream itself') for topic in circles]
    if kafka is None or faults:
        raise ConfigError(faults)
    return kafka


def _is_ours(kafka: Kafka, topic: str) -> bool:
    """Whether this stream writes the topic, or wrote it in another generation."""
    name = topic.removeprefix(f"{kafka.prefix}.")
    return name != topic and (name in OUTPUTS or _GENERATIONAL.fullmatch(name) is not None)


def raw_topics(settings: Settings) -> tuple[str, ...]:
    """The topics that the systems' lines come from, in the order of the configuration."""
    return tuple(topic for each in settings.systems if each.feed for topic in each.feed.topics)


def wanted(settings: Settings, brokers: int, seen: Mapping[str, Seen], *, raw: bool) -> tuple[Wanted, ...]:
    """Every topic that the stream writes; with `raw` those of the systems, too. Errors: as `cluster`."""
    kafka = cluster(settings)
    join, state = kafka.generational("join"), kafka.generational("state")
    partitions = seen[join].partitions if join in seen else settings.stream.join_partitions
    names = [kafka.topic(name) for name in OUTPUTS]
    rules = _rules(settings, seen)

    def of(name: str, more: tuple[Rule, ...], *, ours: bool = True) -> Wanted:
        copies = settings.stream.replication or min(_COPIES, brokers)
        held = seen[name].copies if name in seen else copies
        return Wanted(name, partitions, copies, (*_common(held), *more), ours, fixed=name == state)

    found = [of(name, rules[key]) for name, key in zip(names, OUTPUTS, strict=True)]
    found += [of(join, rules["join"]), of(state, rules["state"])]
    if raw:
        found += [of(name, rules["raw"], ours=False) for name in raw_topics(settings)]
    return tuple(found)


def _common(copies: int) -> tuple[Rule, ...]:
    in_sync = 2 if copies >= _COPIES else 1
    return (
        Rule("message.timestamp.type", "LogAppendTime", "old lines must not be deleted as soon as they come"),
        Rule("min.insync.replicas", str(in_sync), f"of {copies}", in_sync, max(in_sync, copies - 1)),
        Rule("unclean.leader.election.enable", "false", "an old copy as the leader has lost lines"),
    )


def join_retention_ms(settings: Settings) -> int:
    """How long the join topic keeps messages: 4 × the longest wait and a day."""
    feeds = [each.feed for each in settings.systems if each.feed]
    waits = [feed.arrives_ns + (feed.longest_ns if feed.bounded else 0) for feed in feeds]
    return 4 * max(waits, default=0) // 1_000_000 + _DAY_MS


def _rules(settings: Settings, seen: Mapping[str, Seen]) -> dict[str, tuple[Rule, ...]]:
    keep_ms = join_retention_ms(settings)
    record = max(8 * _MIB, 8 * settings.limits.line_bytes)  # a text line as JSON, with what we say of it
    raw = max([MAX_MESSAGE, *(_size(seen[name]) for name in raw_topics(settings) if name in seen)])
    records = (_message(record, "a record holds its line"),)
    return {
        "records": records,
        "rejected": records,
        "dead": (_message(max(record, 2 * raw), "a dead letter holds a whole raw message"),),
        "findings": (),
        "counts": (),
        "join": (
            Rule("cleanup.policy", "delete", "join messages have no keys"),
            Rule("retention.ms", str(keep_ms), "4 × the longest wait and a day", keep_ms, also=("-1",)),
            Rule("retention.bytes", "-1", "messages that wait must not be deleted for their size"),
            Rule("compression.type", "producer", "the broker need not pack anew", also=("lz4",)),
            _message(_MIB, "chunks of 256 KiB and more"),
        ),
        "state": (
            Rule("cleanup.policy", "compact", "only the last state counts"),
            Rule("min.compaction.lag.ms", "0", "a start reads all that is not compacted"),
            Rule("segment.bytes", str(16 * _MIB), "the last segment is never compacted", most=64 * _MIB),
            Rule("segment.ms", str(_HOUR_MS // 6), "the last segment is never compacted", most=_HOUR_MS),
            _message(_MIB, "pieces of 256 KiB and more"),
        ),
        "raw": (
            Rule("cleanup.policy", "delete", "lines have no keys", also=("compact,delete", "delete,compact")),
            _message(MAX_MESSAGE, "batches of lines"),
        ),
    }


def _message(least: int, why: str) -> Rule:
    return Rule("max.message.bytes", str(least), why, least)


def _size(topic: Seen) -> int:
    return int((topic.settings or {}).get("max.message.bytes") or 0)


def wrongs(topic: Wanted, seen: Mapping[str, Seen]) -> Iterator[Wrong]:
    """The faults of a topic that exists. Its settings are not judged if we have no right to see them."""
    there = seen[topic.name]
    if topic.fixed and there.partitions != topic.partitions:
        text = f"has {there.partitions} partitions, the join topic {topic.partitions}; raise `generation` in [kafka]"
        yield Wrong(text)
    if topic.ours and there.copies < topic.copies:
        yield Wrong(f"has {there.copies} copies instead of {topic.copies}; add some with kafka-reassign-partitions")
    if not topic.ours or there.settings is None:
        return
    for rule in topic.rules:
        value = there.settings.get(rule.name)
        if not rule.keeps(value):
            text = f"{rule.name} is {value}, and must be {_bounds(rule)} ({rule.why})"
            yield Wrong(text, None if value is None else (rule.name, rule.made))


def _bounds(rule: Rule) -> str:
    if rule.least is None and rule.most is None:
        return " or ".join((rule.made, *rule.also))
    bounds = []
    if rule.least is not None:
        bounds.append(f"at least {rule.least}")
    if rule.most is not None:
        bounds.append(f"at most {rule.most}")
    return " and ".join(bounds)


def lost_join(settings: Settings, seen: Mapping[str, Seen]) -> str | None:
    """The fault if the join topic is gone and its state topic is not: a new join topic cannot take its place."""
    kafka = cluster(settings)
    join, state = kafka.generational("join"), kafka.generational("state")
    if join in seen or state not in seen:
        return None
    return f"is gone, but {state} is there; raise `generation` in [kafka]"


def warnings(settings: Settings, seen: Mapping[str, Seen]) -> Iterator[str]:
    """Settings that may be intended, and may lose lines: raw topics that delete early."""
    for name in raw_topics(settings):
        held = (seen[name].settings or {}).get("retention.ms") if name in seen else None
        if held is not None and held.isdecimal() and int(held) < _DAY_MS:
            hours = int(held) / _HOUR_MS
            yield f"{name}: retention.ms is {held}: lines are lost if the stream does not run for {hours:.3g} hours"
