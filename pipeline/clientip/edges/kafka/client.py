"""How every client of ours reaches the cluster, and what can be asked of it without joining a group."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from clientip.edges.kafka.waiting import AwayError
from clientip.errors import ConfigError, Fault, SinkError
from clientip.settings import Kafka

_FILES: Final = {  # the setting of librdkafka that takes the path
    "ca_file": "ssl.ca.location",
    "cert_file": "ssl.certificate.location",
    "key_file": "ssl.key.location",
}
_PROTOCOLS: Final = {  # by whether there is a password, and whether there is TLS
    (False, False): "PLAINTEXT",
    (False, True): "SSL",
    (True, False): "SASL_PLAINTEXT",
    (True, True): "SASL_SSL",
}
Client = TypeVar("Client")

_REACH_S: Final = 10.0
_AWAY: Final = (
    *(KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE),
    *(KafkaError.NOT_CONTROLLER, KafkaError.BROKER_NOT_AVAILABLE, KafkaError.REQUEST_TIMED_OUT),
)
_STAMP: Final = re.compile(r"[0-9a-f]{16}\.[0-9a-f]+\|", re.ASCII)


class TopicPlace(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


class Upto(NamedTuple):
    """How far a group has come in a partition: its last commit."""

    offset: int  # of the next message to read
    metadata: str = ""


class Reach(NamedTuple):
    """How far a group has come in a partition, and where the partition ends."""

    upto: Upto | None  # None: nothing was committed
    end: int  # offset of the next message to be written


def client_settings(kafka: Kafka) -> dict[str, str]:
    """The settings of librdkafka that all clients share: addresses, TLS, user and password.

    The password is in them: never log them.  Errors: ConfigError if a file cannot be read.
    """
    faults: list[Fault] = []
    held = {name: _content(name, getattr(kafka, name), faults) for name in (*_FILES, "password_file")}
    password = _password(held["password_file"], faults)
    if faults:
        raise ConfigError(faults)
    settings = {"bootstrap.servers": ",".join(kafka.brokers), "client.id": "clientip"}
    settings["security.protocol"] = _PROTOCOLS[kafka.sasl is not None, kafka.tls]
    if kafka.tls:
        paths = {setting: getattr(kafka, name) for name, setting in _FILES.items()}
        settings |= {setting: path for setting, path in paths.items() if path is not None}
    if kafka.sasl is not None:
        settings |= {"sasl.mechanism": kafka.sasl, "sasl.username": kafka.user or "", "sasl.password": password}
    return settings


def _content(name: str, path: str | None, faults: list[Fault]) -> bytes:
    """The content of a file; b"" if none is named."""
    if path is None:
        return b""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        faults.append(Fault("", f"kafka.{name}", f"cannot read {path}: {error.strerror}"))
        return b""
    if not content.strip():
        faults.append(Fault("", f"kafka.{name}", f"{path} is empty"))
    return content


def _password(content: bytes, faults: list[Fault]) -> str:
    """The content without the line end that an editor has written."""
    try:
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        faults.append(Fault("", "kafka.password_file", "is not UTF-8"))
        return ""


def client(kind: Callable[[dict[str, Any]], Client], settings: Mapping[str, Any]) -> Client:
    """A new client. Errors: SinkError if the library refuses its settings, as with a file that holds no certificate."""
    try:
        return kind(dict(settings))
    except KafkaException as error:
        raise SinkError(f"no client for Kafka: {error.args[0].str()}", retry=False) from error


def stamped(stamp: str, metadata: str) -> str:
    """Metadata that name the transaction by which they were committed."""
    return f"{stamp}|{metadata}"


def upto_of(found: TopicPartition) -> Upto | None:
    """The commit without its stamp; None if there is none. Errors: KafkaException."""
    if found.error is not None:
        raise KafkaException(found.error)
    if found.offset < 0:
        return None
    return Upto(found.offset, _STAMP.sub("", found.metadata or "", count=1))


def partition_counts(kafka: Kafka, topics: Iterable[str]) -> dict[str, int | None]:
    """How many partitions each topic has; None if it is missing.

    Errors: AwayError; SinkError where the cluster refuses; ConfigError as `client_settings`.
    """
    return {topic: found and found[1] for topic, found in _described(kafka, topics).items()}


def topic_ids(kafka: Kafka, topics: Iterable[str]) -> dict[str, str]:
    """The id of each topic: it differs from that of a later topic with the same name.

    Errors: as `partition_counts`, and SinkError where a topic is missing.
    """
    ids = {}
    for topic, found in _described(kafka, topics).items():
        if found is None:
            raise SinkError(f"topic {topic} is missing; make it (`clientip kafka topics` lists all)", retry=True)
        ids[topic] = found[0]
    return ids


def _described(kafka: Kafka, topics: Iterable[str]) -> dict[str, tuple[str, int] | None]:
    """Id and number of partitions of each topic; None if it is missing."""
    names = list(dict.fromkeys(topics))
    said: list[KafkaError] = []
    admin = client(AdminClient, {**client_settings(kafka), "log_level": 0, "error_cb": said.append})
    answers = admin.describe_topics(TopicCollection(names), request_timeout=_REACH_S) if names else {}
    found = {}
    for name, answer in answers.items():
        try:
            found[name] = _description(answer)
        except KafkaException as error:
            admin.poll(0)  # to hear the cause
            text = f"{name} at {', '.join(kafka.brokers)}: {cause_of(error.args[0], said)}"
            kind = AwayError(text) if _is_away(error.args[0]) else SinkError(text, retry=True)
            raise kind from error
    return found


def _description(answer: Future[Any]) -> tuple[str, int] | None:
    """Errors: KafkaException."""
    try:
        found = answer.result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise
    return str(found.topic_id), len(found.partitions)


def cause_of(error: KafkaError, said: Iterable[KafkaError]) -> str:
    """What to say of an error: what the library said last of its connections, or else the error itself."""
    causes = [each.str() for each in said if each.code() != KafkaError._ALL_BROKERS_DOWN]
    return causes[-1] if causes else error.str()


def _is_away(error: KafkaError) -> bool:
    """Whether no broker could answer, as while a cluster has no controller."""
    return error.code() in _AWAY or error.retriable()
