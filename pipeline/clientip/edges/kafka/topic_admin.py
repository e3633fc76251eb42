"""`clientip kafka topics`: checks whether the topics of a stream exist and are set as it needs them; `--create` mends.

Nothing is ever deleted, and no number of partitions is changed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from clientip.edges.kafka.client import cause_of, client_settings
from clientip.edges.kafka.topic_plan import Seen, Wanted, Wrong, cluster, lost_join, wanted, warnings, wrongs
from clientip.errors import SinkError
from clientip.settings import Settings

_REACH_S: Final = 10.0
_ANSWER_S: Final = 30.0
_APPEAR_S: Final = 10.0  # how long it may take until every broker knows a new topic
_FORBIDDEN: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
_CLEANUP: Final = "transaction.abort.timed.out.transaction.cleanup.interval.ms"
_CLEANUP_MS: Final = 1000


class Row(NamedTuple):
    """One topic of the report."""

    name: str
    seen: Seen | None  # None: it does not exist
    settings: tuple[str, ...]  # NAME=VALUE of those that matter
    wrong: tuple[str, ...]
    done: tuple[str, ...]  # the changes that were made


class TopicReport(NamedTuple):
    """The state of all topics, and the changes that were made; `warnings` do not count as wrong."""

    rows: tuple[Row, ...]
    warnings: tuple[str, ...]

    @property
    def code(self) -> int:
        """0, or 1 if a topic is still wrong."""
        return int(any(row.wrong for row in self.rows))


class _Work(NamedTuple):
    """The changes so far, by topic."""

    made: list[str]
    changed: dict[str, dict[str, str]]
    failed: dict[str, str]

    def texts(self, name: str) -> tuple[str, ...]:
        """The changes of one topic, as texts."""
        made = ("made",) if name in self.made else ()
        return (*made, *(f"set {key}={value}" for key, value in self.changed.get(name, {}).items()))


class _View(NamedTuple):
    """The cluster at one moment."""

    brokers: tuple[int, ...]
    topics: dict[str, Seen]


def look(settings: Settings, *, create: bool, raw: bool) -> TopicReport:
    """Check the topics, and with `create` make and mend those of ours; with `raw` make those of the systems, too.

    Errors: ConfigError if no cluster is configured; SinkError if it cannot be reached.
    """
    kafka = cluster(settings)
    said: list[KafkaError] = []
    options: dict[str, Any] = {**client_settings(kafka), "log_level": 0, "error_cb": said.append}
    admin = AdminClient(options)
    try:
        view = _view(admin, settings)
        work = _Work([], {}, {})
        if create:
            plan = wanted(settings, len(view.brokers), view.topics, raw=raw)
            _create(admin, _missing(plan, settings, view), work)
            _mend(admin, plan, view, work)
            view = _after(admin, settings, work)
        rows = _rows(settings, view, work, raw=raw)
        return TopicReport(rows, (*warnings(settings, view.topics), *_unseen(view), *_broker_warnings(admin, view)))
    except KafkaException as error:
        admin.poll(0.1)
        cause = cause_of(error.args[0], said)
        raise SinkError(f"no answer from Kafka at {', '.join(kafka.brokers)}: {cause}", retry=True) from error


def _view(admin: AdminClient, settings: Settings) -> _View:
    metadata: ClusterMetadata = admin.list_topics(timeout=_REACH_S)
    names = [row.name for row in wanted(settings, len(metadata.brokers), {}, raw=True) if row.name in metadata.topics]
    held = _settings_of(admin, names)
    topics = {}
    for name in names:
        partitions = metadata.topics[name].partitions.values()
        copies = min((len(each.replicas) for each in partitions), default=0)
        topics[name] = Seen(len(partitions), copies, held[name])
    return _View(tuple(sorted(metadata.brokers)), topics)


def _settings_of(admin: AdminClient, names: Iterable[str]) -> dict[str, Mapping[str, str | None] | None]:
    """The settings of each topic; None if we have no right to see them."""
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    asked = admin.describe_configs(resources, request_timeout=_ANSWER_S)
    return {resource.name: _described(answer) for resource, answer in asked.items()}


def _described(answer: Future[Any]) -> Mapping[str, str | None] | None:
    try:
        return {name: entry.value for name, entry in answer.result().items()}
    except KafkaException as error:
        if error.args[0].code() in _FORBIDDEN:
            return None
        raise


def _missing(plan: Iterable[Wanted], settings: Settings, view: _View) -> list[Wanted]:
    lost = cluster(settings).generational("join") if lost_join(settings, view.topics) else None
    return [row for row in plan if row.name not in view.topics and row.name != lost]


def _create(admin: AdminClient, missing: Iterable[Wanted], work: _Work) -> None:
    new = [
        NewTopic(row.name, row.partitions, row.copies, config={rule.name: rule.made for rule in row.rules})
        for row in missing
    ]
    answers = admin.create_topics(new, request_timeout=_ANSWER_S) if new else {}
    for name, answer in answers.items():
        error = _error(answer)
        if error is None:
            work.made.append(name)
        elif error.code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another process made it meanwhile
            work.failed[name] = f"cannot be made: {error.str()}"


def _mend(admin: AdminClient, plan: Iterable[Wanted], view: _View, work: _Work) -> None:
    mends: dict[str, dict[str, str]] = {}
    for row in plan:
        if row.name in view.topics:
            mends[row.name] = dict(each.mend for each in wrongs(row, view.topics) if each.mend is not None)
    resources = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=_entries(mends[name])) for name in mends]
    resources = [each for each in resources if each.incremental_configs]
    answers = admin.incremental_alter_configs(resources, request_timeout=_ANSWER_S) if resources else {}
    for resource, answer in answers.items():
        error = _error(answer)
        if error is None:
            work.changed[resource.name] = mends[resource.name]
        else:
            work.failed[resource.name] = f"cannot be changed: {error.str()}"


def _entries(settings: Mapping[str, str]) -> list[ConfigEntry]:
    change = AlterConfigOpType.SET
    return [ConfigEntry(name, value, incremental_operation=change) for name, value in settings.items()]


def _error(answer: Future[Any]) -> KafkaError | None:
    try:
        answer.result()
    except KafkaException as error:
        found: KafkaError = error.args[0]
        return found
    return None


def _after(admin: AdminClient, settings: Settings, work: _Work) -> _View:
    """The cluster once it shows the changes: a broker may learn of them after the controller has answered."""
    deadline = time.monotonic() + _APPEAR_S
    while True:
        late = time.monotonic() > deadline
        try:
            view = _view(admin, settings)
        except KafkaException as error:  # one broker knows the topic, and another one does not yet
            if late or error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
        else:
            there = set(work.made) <= set(view.topics)
            if late or (there and all(_shows(view, *each) for each in work.changed.items())):
                return view
        time.sleep(0.1)


def _shows(view: _View, name: str, changed: Mapping[str, str]) -> bool:
    held = view.topics[name].settings if name in view.topics else {}
    return held is None or changed.items() <= held.items()


def _rows(settings: Settings, view: _View, work: _Work, *, raw: bool) -> tuple[Row, ...]:
    rows = []
    plan = wanted(settings, len(view.brokers), view.topics, raw=True)
    lost = lost_join(settings, view.topics)
    for row in plan:
        seen = view.topics.get(row.name)
        wrong = [Wrong(work.failed[row.name])] if row.name in work.failed else []
        if seen is not None:
            wrong += wrongs(row, view.topics)
        elif lost is not None and row.name == cluster(settings).generational("join"):
            wrong.append(Wrong(lost))
        elif not wrong:
            wrong.append(Wrong(f"is missing; {'--create' if row.ours or raw else '--create --raw'} makes it"))
        if not row.ours and not raw and not wrong:
            continue
        held = (seen.settings if seen else None) or {}
        shown = tuple(f"{rule.name}={held[rule.name]}" for rule in row.rules if rule.name in held)
        texts = tuple(each.text for each in wrong)
        rows.append(Row(row.name, seen, shown, texts, work.texts(row.name)))
    return tuple(rows)


def _unseen(view: _View) -> list[str]:
    names = [name for name, seen in view.topics.items() if seen.settings is None]
    if not names:
        return []
    return [f"settings not checked: DescribeConfigs on a topic is not granted: {', '.join(names)}"]


def _broker_warnings(admin: AdminClient, view: _View) -> list[str]:
    """Warnings about the brokers' own settings, which only the operator of the brokers can change."""
    asked = [
        (broker, answer)
        for broker in view.brokers  # one call each: the broker itself must answer
        for answer in admin.describe_configs(
            [ConfigResource(ResourceType.BROKER, str(broker))], request_timeout=_ANSWER_S
        ).values()
    ]
    found = []
    for broker, answer in asked:
        held = _described(answer)
        if held is None:
            return [f"{_CLEANUP} not checked: DescribeConfigs on the cluster is not granted"]
        value = held.get(_CLEANUP)
        if value is not None and int(value) > _CLEANUP_MS:
            cost = "a frozen worker delays all others by as much; set it to 1000"
            found.append(f"broker {broker}: {_CLEANUP} is {value}: {cost}")
    return found


def report_text(report: TopicReport) -> str:
    """The report for a terminal, ending with a line end."""
    width = max([len("topic"), *(len(row.name) for row in report.rows)])
    lines = [f"{'topic':<{width}}  partitions  copies"]
    for row in report.rows:
        counts = ("-", "-") if row.seen is None else (str(row.seen.partitions), str(row.seen.copies))
        state = "wrong" if row.wrong else "ok"
        lines.append(f"{row.name:<{width}}  {counts[0]:>10}  {counts[1]:>6}  {state}")
        lines += [f"  {text}" for text in row.done]
        lines += [f"  {text}" for text in row.wrong]
        if row.settings:
            lines.append(f"  {' '.join(row.settings)}")
    lines += [f"warning: {text}" for text in report.warnings]
    lines.append("the topics fit" if report.code == 0 else "the topics do not fit")
    return "\n".join(lines) + "\n"
