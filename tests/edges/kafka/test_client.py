"""How a cluster is reached, and what it is asked, beside real brokers."""

from __future__ import annotations

from pathlib import Path

import pytest
from clientip.edges.kafka.client import Reach, TopicPlace, Upto, client_settings, partition_counts, stamped, topic_ids
from clientip.edges.kafka.group_lag import Backlog
from clientip.edges.kafka.group_member import Member
from clientip.edges.kafka.transactions import Out
from clientip.errors import ConfigError, SinkError
from clientip.settings import Kafka
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.edges.kafka.test_transactions import Heard, commit, committed_values, fill, make
from tests.worlds.brokers import Brokers
from tests.worlds.patience import LIMIT_S, until

pytestmark = pytest.mark.edge

NOBODY = Kafka(("127.0.0.1:9",), "ours", 1)


def at(address: str) -> Kafka:
    return Kafka((address,), "ours", 1)


def remove(address: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": address})
    admin.delete_topics([topic])[topic].result(LIMIT_S)
    until(lambda: topic not in admin.list_topics(timeout=LIMIT_S).topics)


# --- settings --------------------------------------------------------------------------------------------------------


def test_without_more_words_a_cluster_is_reached_in_the_open() -> None:
    settings = client_settings(Kafka(("kafka-1:9092", "kafka-2:9092"), "ours", 1))
    assert settings.pop("client.id") == "clientip"
    assert settings == {"bootstrap.servers": "kafka-1:9092,kafka-2:9092", "security.protocol": "PLAINTEXT"}


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_password_is_what_its_file_holds_without_the_end_of_the_line(tmp_path: Path, end: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(f" ÿ, or 'so'  {end}".encode())
    kafka = Kafka(("kafka-1:9092",), "ours", 1, sasl="PLAIN", user="me", password_file=str(file))
    settings = client_settings(kafka)
    assert settings["sasl.password"] == " ÿ, or 'so'  "
    assert (settings["sasl.mechanism"], settings["sasl.username"]) == ("PLAIN", "me")
    assert settings["security.protocol"] == "SASL_PLAINTEXT"


def test_files_that_cannot_be_read_are_named_all_at_once_and_what_is_in_them_is_not(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\n")
    binary.write_bytes(b"secret\xff")
    kafka = Kafka(
        ("kafka-1:9092",),
        "ours",
        1,
        tls=True,
        ca_file=str(tmp_path / "none"),
        cert_file=str(empty),
        key_file=str(tmp_path),
        sasl="PLAIN",
        user="me",
        password_file=str(binary),
    )
    with pytest.raises(ConfigError) as raised:
        client_settings(kafka)
    text = str(raised.value)
    assert [fault.key for fault in raised.value.faults] == [
        "kafka.ca_file",
        "kafka.cert_file",
        "kafka.key_file",
        "kafka.password_file",
    ]
    assert "No such file" in text
    assert "is empty" in text
    assert "secret" not in text


def test_a_file_that_holds_no_certificate_makes_no_client_and_no_second_try(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("not a certificate\n")
    kafka = Kafka(("127.0.0.1:9",), "ours", 1, tls=True, ca_file=str(file))
    with pytest.raises(SinkError, match=r"no client for Kafka: .*ssl\.ca\.location") as raised:
        partition_counts(kafka, ["in"])
    assert not raised.value.retry


def test_over_tls_and_with_a_password_a_worker_reads_and_commits_and_with_a_wrong_one_it_says_why(
    tmp_path: Path,
) -> None:
    password, wrong = tmp_path / "password", tmp_path / "wrong"
    password.write_text(f"{Brokers.password}\n")
    wrong.write_text("guess")
    with Brokers(tmp_path / "kafka", secure=True) as brokers:
        make(brokers.address, "in", "out")
        fill(brokers.address, "in", 1)

        def secure(sasl: str, file: Path) -> Kafka:
            return Kafka(
                (brokers.secure_address,),
                "ours",
                1,
                tls=True,
                ca_file=str(brokers.ca_file),
                cert_file=str(brokers.folder / "server.crt"),
                key_file=str(brokers.folder / "server.key"),
                sasl=sasl,
                user=Brokers.user,
                password_file=str(file),
            )

        for sasl in ("PLAIN", "SCRAM-SHA-512"):
            kafka, heard = secure(sasl, password), Heard()
            assert partition_counts(kafka, ["in"]) == {"in": 1}
            member = Member(
                kafka, sasl, "w", ["in"], heard, lambda: False, assigned=lambda _: {}, revoked=lambda _: None
            )
            messages = []
            while not messages:
                messages = member.poll(1, 1)
            member.send([Out("out", sasl.encode())], {TopicPlace("in", 0): Upto(1)})
            member.close()
        assert committed_values(brokers.address, "out", 1, 2) == [b"PLAIN", b"SCRAM-SHA-512"]
        with pytest.raises(SinkError, match=r"(?i)authentication") as raised:
            Member(
                secure("PLAIN", wrong), "g", "w", ["in"], Heard(), lambda: True, assigned=lambda _: {}, revoked=print
            )
        assert "guess" not in str(raised.value)


# --- questions -------------------------------------------------------------------------------------------------------


def test_a_topic_has_one_id_for_every_client_and_another_when_it_is_made_anew(kafka: str, topic_prefix: str) -> None:
    one, two = f"{topic_prefix}one", f"{topic_prefix}two"
    make(kafka, one, two)
    ids = topic_ids(at(kafka), [one, two, one])
    assert ids.keys() == {one, two}
    assert ids[one] != ids[two]
    assert all(len(each) == 22 for each in ids.values())
    assert topic_ids(at(kafka), [two])[two] == ids[two]
    remove(kafka, one)
    with pytest.raises(SinkError, match=f"topic {one} is missing"):
        topic_ids(at(kafka), [one, two])
    make(kafka, one)
    assert topic_ids(at(kafka), [one])[one] != ids[one]


def test_partitions_are_counted_and_a_missing_topic_has_none(kafka: str, topic_prefix: str) -> None:
    make(kafka, f"{topic_prefix}in", partitions=3)
    topics = [f"{topic_prefix}in", f"{topic_prefix}absent"]
    assert partition_counts(at(kafka), topics) == dict(zip(topics, (3, None), strict=True))
    assert partition_counts(at(kafka), []) == {}


def test_where_nobody_answers_the_error_says_so_and_that_it_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clientip.edges.kafka.client._REACH_S", 1.0)
    with pytest.raises(SinkError, match=r"in at 127\.0\.0\.1:9: ") as raised:
        partition_counts(NOBODY, ["in"])
    assert raised.value.retry


def test_a_backlog_is_what_the_group_committed_and_where_partitions_end(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clientip.edges.kafka.group_lag._REACH_S", LIMIT_S)
    topic, group = f"{topic_prefix}in", f"{topic_prefix}group"
    make(kafka, topic, partitions=3)
    fill(kafka, topic, 8, 2)
    places = [
        TopicPartition(topic, 0, 1, stamped("0123456789abcdef.1f", "a|b")),
        TopicPartition(topic, 2, 0, "by hand"),
    ]
    commit(kafka, group, *places)
    backlog = Backlog(at(kafka), group, topic, range(3))
    assert backlog.answer() is None
    for more in (0, 2):
        producer = Producer({"bootstrap.servers": kafka})
        for _ in range(more):
            producer.produce(topic, b"more", partition=1)
        producer.flush(LIMIT_S)
        backlog.ask()
        answers: list[object] = []
        until(lambda answers=answers: answers.append(backlog.answer()) or answers[-1] is not None)  # type: ignore[misc]
        assert answers[-1] == {0: Reach(Upto(1, "a|b"), 4), 1: Reach(None, 4 + more), 2: Reach(Upto(0, "by hand"), 0)}
        assert backlog.answer() is None


def test_a_backlog_that_nobody_tells_of_keeps_nobody_waiting() -> None:
    backlog = Backlog(NOBODY, "group", "in", range(3))
    backlog.ask()
    assert backlog.answer() is None
    assert backlog._questions is not None
    assert backlog._questions.is_alive()
