"""The brokers that other tests stand on: they serve, fail and end the way those tests take for granted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.worlds.brokers import HOST, Brokers
from tests.worlds.patience import LIMIT_S, until

pytestmark = pytest.mark.edge


def make_topic(address: str, name: str, *, partitions: int = 1, copies: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(name, partitions, copies)])[name].result(LIMIT_S)


def produce(address: str, topic: str, *values: bytes, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": address, "acks": "all", "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(LIMIT_S) == 0


def read(address: str, group: str, topic: str, count: int) -> list[bytes]:
    """The first `count` committed values of a topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": group,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    values: list[bytes] = []

    def have_come() -> bool:
        for message in consumer.consume(count, 0.2):
            assert message.error() is None, message.error()
            values.append(message.value() or b"")
        return len(values) >= count

    until(have_come)
    consumer.close()
    return values


def processes_of(folder: Path) -> list[str]:
    """The processes that name this folder in their command."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended while we looked
        if os.fsencode(folder) in command:
            found.append(process.name)
    return found


def test_only_committed_transactions_are_read(kafka: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}out"
    make_topic(kafka, topic)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"{topic_prefix}writer"})
    producer.init_transactions(LIMIT_S)
    for value, commit in ((b"first", True), (b"taken back", False), (b"second", True)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(LIMIT_S)
        if commit:
            producer.commit_transaction(LIMIT_S)
        else:
            producer.abort_transaction(LIMIT_S)
    assert read(kafka, f"{topic_prefix}readers", topic, 2) == [b"first", b"second"]


def test_topics_are_made_by_nobody_but_who_asks(kafka: str, topic_prefix: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    missing = admin.list_topics(f"{topic_prefix}absent", timeout=LIMIT_S)
    assert missing.topics[f"{topic_prefix}absent"].error is not None


@pytest.mark.parametrize(("count", "killed"), [(2, 2), (3, 1)])
def test_brokers_serve_on_when_one_is_killed_and_take_it_back(count: int, killed: int, tmp_path: Path) -> None:
    with Brokers(tmp_path / "kafka", count) as kafka:
        make_topic(kafka.address, "lines", partitions=3, copies=count)
        for partition in range(3):
            produce(kafka.address, "lines", b"before", partition=partition)
        kafka.kill(killed)
        writer = Producer({"bootstrap.servers": kafka.address, "transactional.id": "writer"})
        writer.init_transactions(LIMIT_S)
        writer.begin_transaction()
        for partition in range(3):
            writer.produce("lines", b"without", partition=partition)
        writer.commit_transaction(LIMIT_S)
        kafka.start(killed)
        values = read(kafka.address, "readers", "lines", 6)
    assert sorted(values) == [*3 * [b"before"], *3 * [b"without"]]


def test_a_stopped_broker_comes_back_at_its_address_with_its_records(tmp_path: Path) -> None:
    with Brokers(tmp_path / "kafka") as kafka:
        make_topic(kafka.address, "lines")
        produce(kafka.address, "lines", b"kept")
        kafka.stop(1)
        with pytest.raises(KafkaException):
            AdminClient({"bootstrap.servers": kafka.address, "log_level": 0}).list_topics(timeout=1)
        kafka.start(1)
        assert read(kafka.address, "readers", "lines", 1) == [b"kept"]


def test_a_paused_broker_answers_only_when_resumed(tmp_path: Path) -> None:
    with Brokers(tmp_path / "kafka") as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.address, "log_level": 0})
        kafka.pause(1)
        with pytest.raises(KafkaException):
            admin.list_topics(timeout=1)
        kafka.resume(1)
        assert set(admin.list_topics(timeout=LIMIT_S).brokers) == {1}


def test_a_broker_that_does_not_come_up_shows_its_log(tmp_path: Path) -> None:
    with Brokers(tmp_path / "kafka") as kafka:
        kafka.stop(1)
        with socket.socket() as taken:
            taken.bind((HOST, int(kafka.address.rpartition(":")[2])))
            with pytest.raises(AssertionError, match="Address already in use"):
                kafka.start(1)
        kafka.start(1)


def served(settings: dict[str, str]) -> bool:
    return set(AdminClient({**settings, "log_level": 0}).list_topics(timeout=LIMIT_S).brokers) == {1}


def refused(settings: dict[str, str], reason: str) -> bool:
    """A client with these settings is never served, and is told this reason (librdkafka's name)."""
    seen: set[str] = set()
    client = Producer({**settings, "error_cb": lambda error: seen.add(error.name()), "log_level": 0})

    def is_told() -> bool:
        with pytest.raises(KafkaException):
            client.list_topics(timeout=0.2)
        client.poll(0)  # hands over what stood in the way
        return reason in seen

    until(is_told)
    return True


def test_the_secure_listener_serves_only_the_right_password_over_tls_it_can_prove(tmp_path: Path) -> None:
    with Brokers(tmp_path / "kafka", secure=True) as kafka:
        for mechanism in ("SCRAM-SHA-512", "PLAIN"):
            right = {
                "bootstrap.servers": kafka.secure_address,
                "security.protocol": "SASL_SSL",
                "ssl.ca.location": str(kafka.ca_file),
                "sasl.mechanism": mechanism,
                "sasl.username": kafka.user,
                "sasl.password": kafka.password,
            }
            assert served(right)
            assert refused(right | {"sasl.password": "wrong"}, "_AUTHENTICATION")
            assert refused(right | {"sasl.username": "nobody"}, "_AUTHENTICATION")
            assert refused(right | {"ssl.ca.location": "/etc/ssl/certs/ca-certificates.crt"}, "_SSL")


@pytest.mark.parametrize("who", ["the starter", "the other"])
def test_a_broker_ends_with_who_started_it_and_with_whom_it_was_started_for(who: str, tmp_path: Path) -> None:
    folder = tmp_path / "kafka"
    other = subprocess.Popen(["sleep", "1000"])
    command = [sys.executable, "-m", "tests.worlds.brokers", str(folder), "--while", str(other.pid)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE) as starter:
        try:
            assert starter.stdout is not None
            address = starter.stdout.readline().decode().strip()
            assert address == (folder / "address").read_text()
            assert len(processes_of(folder)) == 2  # the starter and the broker
            (starter if who == "the starter" else other).send_signal(signal.SIGKILL)
            until(lambda: processes_of(folder) == [])
        finally:
            starter.kill()
            other.kill()
            other.wait()
