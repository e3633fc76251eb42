"""What a configuration says of Kafka and the stream is read as it is written; its faults are in `configs/faults`."""

from __future__ import annotations

from pathlib import Path

import pytest
from clientip.config.load import load
from clientip.edges.kafka.topic_plan import cluster
from clientip.errors import ConfigError
from clientip.settings import Feed, Kafka, Settings, Stream

SECOND = 1_000_000_000
WEB = """
[systems.web]
format = "nginx"
logs_peer = "socket"
peers = ["outside"]
"""
KAFKA = """
[kafka]
brokers = ["kafka-1:9092", "[2001:db8::1]:9092"]
"""


def read(folder: Path, text: str) -> Settings:
    (folder / "clientip.toml").write_text(text)
    return load([folder / "clientip.toml"])


def feed_of(folder: Path, text: str) -> Feed | None:
    [web] = read(folder, text).systems
    return web.feed


def test_without_a_word_of_kafka_there_is_no_cluster_and_no_feed(tmp_path: Path) -> None:
    settings = read(tmp_path, WEB)
    assert settings.kafka is None
    assert settings.systems[0].feed is None
    assert settings.stream == Stream(SECOND // 10, 5000, 16, None, 1 << 30, None)


def test_a_cluster_needs_only_its_brokers(tmp_path: Path) -> None:
    kafka = read(tmp_path, WEB + KAFKA).kafka
    assert kafka == Kafka(("kafka-1:9092", "[2001:db8::1]:9092"), "clientip", 1)


def test_a_cluster_is_read_as_written_and_its_files_lie_beside_the_configuration(tmp_path: Path) -> None:
    names = ("ca_file", "cert_file", "key_file", "password_file")
    for name in names:
        (tmp_path / name).write_text("x")
    keys = "".join(f'{name} = "{name}"\n' for name in names)
    more = 'prefix = "ours"\ngeneration = 3\nsasl = "SCRAM-SHA-512"\nuser = "worker"\n'
    kafka = read(tmp_path, WEB + KAFKA + keys + more).kafka
    assert kafka is not None
    assert (kafka.prefix, kafka.generation, kafka.tls) == ("ours", 3, True)
    assert (kafka.sasl, kafka.user) == ("SCRAM-SHA-512", "worker")
    assert [getattr(kafka, name) for name in names] == [str(tmp_path / name) for name in names]
    assert (kafka.topic("records"), kafka.generational("join")) == ("ours.records", "ours.join.3")


def test_keys_of_a_cluster_may_lie_in_two_files_each_beside_its_own_secrets(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "password").write_text(folder)
    (tmp_path / "a" / "clientip.toml").write_text(WEB + KAFKA)
    (tmp_path / "b" / "clientip.toml").write_text(
        '[kafka]\nsasl = "PLAIN"\nuser = "worker"\npassword_file = "password"\n'
    )
    kafka = load([tmp_path / "a", tmp_path / "b"]).kafka
    assert kafka is not None
    assert kafka.brokers[0] == "kafka-1:9092"
    assert kafka.password_file == str(tmp_path / "b" / "password")


@pytest.mark.parametrize(
    ("keys", "tls"),
    [
        ("", False),
        ("tls = true\n", True),
        ('ca_file = "file"\n', True),
        ('sasl = "PLAIN"\nuser = "worker"\npassword_file = "file"\n', True),
        ('sasl = "PLAIN"\nuser = "worker"\npassword_file = "file"\ntls = false\n', False),
    ],
)
def test_a_password_or_a_certificate_is_never_sent_in_the_clear_unless_it_is_written(
    tmp_path: Path, keys: str, tls: bool
) -> None:
    (tmp_path / "file").write_text("x")
    kafka = read(tmp_path, WEB + KAFKA + keys).kafka
    assert kafka is not None
    assert kafka.tls == tls


def test_the_stream_is_read_as_written(tmp_path: Path) -> None:
    keys = 'commit = "30ms"\nbatch_lines = 7\njoin_partitions = 3\nreplication = 2\nmemory = 1000\nspool = "waiting"\n'
    keys += 'output = "record"\n'
    stream = read(tmp_path, f"{WEB}[stream]\n{keys}").stream
    assert stream == Stream(30_000_000, 7, 3, 2, 1000, str(tmp_path / "waiting"), "record")
    assert read(tmp_path, f'{WEB}[stream]\nspool = "/var/tmp"\n').stream.spool == "/var/tmp"


def test_lines_come_one_by_one_within_a_minute_unless_it_is_written(tmp_path: Path) -> None:
    feed = feed_of(tmp_path, f'{WEB}topics = ["raw.web", "raw.old"]\n[joins]\nhorizon = "3m"\n')
    assert feed is not None
    assert (feed.topics, feed.messages, feed.instance_by) == (("raw.web", "raw.old"), "line", None)
    assert (feed.arrives_ns, feed.longest_ns) == (60 * SECOND, 180 * SECOND)


def test_how_lines_come_is_read_as_written(tmp_path: Path) -> None:
    keys = 'topics = ["raw.web"]\nmessages = "lines"\ninstance_by = "key"\narrives_within = "5m"\nlongest = "30s"\n'
    feed = feed_of(tmp_path, WEB + keys)
    assert feed is not None
    assert (feed.messages, feed.instance_by, feed.arrives_ns, feed.longest_ns) == (
        "lines",
        "key",
        300 * SECOND,
        30 * SECOND,
    )


def test_how_lines_come_is_no_part_of_the_rules(tmp_path: Path) -> None:
    one, other = read(tmp_path, WEB), read(tmp_path, WEB + 'topics = ["raw.web"]\narrives_within = "5m"\n' + KAFKA)
    assert one.rules == other.rules


@pytest.mark.parametrize("topic", ["records", "rejected", "dead", "findings", "counts", "join.1", "state.2"])
def test_a_stream_that_would_read_what_it_writes_is_refused(tmp_path: Path, topic: str) -> None:
    settings = read(tmp_path, f'{WEB}topics = ["clientip.{topic}"]\n{KAFKA}')
    with pytest.raises(ConfigError, match=rf'"clientip\.{topic}" is written by the stream itself'):
        cluster(settings)
    assert cluster(read(tmp_path, f'{WEB}topics = ["raw.{topic}"]\n{KAFKA}')).prefix == "clientip"
