"""`clientip kafka topics` beside real brokers: what it makes, what it finds wrong, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from tests.worlds import brokers
from tests.worlds.brokers import Brokers
from tests.worlds.patience import LIMIT_S, until

pytestmark = pytest.mark.edge

CLIENTIP = str(Path(sys.executable).parent / "clientip")
DAY_MS = 24 * 3_600_000
MIB = 1 << 20
OURS = ("records", "rejected", "dead", "findings", "counts", "join.1", "state.1")


class Cluster:
    """One configuration, the command with it, and the cluster seen without the command."""

    def __init__(self, folder: Path, address: str, prefix: str) -> None:
        self.config, self.prefix = folder / "clientip.toml", prefix.rstrip("-")
        self.raw = f"{self.prefix}.raw"
        self.config.write_text(
            f"""
            [kafka]
            brokers = {address.split(",")!r}
            prefix = "{self.prefix}"
            [stream]
            join_partitions = 3
            [systems.web]
            format = "nginx"
            logs_peer = "socket"
            peers = ["outside"]
            topics = ["{self.raw}"]
            arrives_within = "1h"
            """
        )
        self.admin = AdminClient({"bootstrap.servers": address, "log_level": 0})

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [CLIENTIP, "kafka", "topics", "-c", str(self.config), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    def fits(self, *options: str) -> str:
        done = self.run(*options)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    def fails(self, *options: str) -> str:
        done = self.run(*options)
        assert (done.returncode, done.stderr) == (1, ""), done.stdout + done.stderr
        return done.stdout

    def name(self, topic: str) -> str:
        return f"{self.prefix}.{topic}"

    def make(self, topic: str, partitions: int, **settings: str) -> None:
        config = {name.replace("_", "."): value for name, value in settings.items()}
        self.admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result()
        until(lambda: topic in self.partitions() and self.settings(topic).items() >= config.items())

    def settings(self, topic: str) -> dict[str, str]:
        answer = self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)])
        [future] = answer.values()
        return {name: entry.value for name, entry in future.result().items()}

    def set(self, topic: str, **settings: str) -> None:
        """Returns when the broker shows it: the controller answers before the broker has heard."""
        wanted = {name.replace("_", "."): value for name, value in settings.items()}
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in wanted.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        [future] = self.admin.incremental_alter_configs([resource]).values()
        future.result()
        until(lambda: self.settings(topic).items() >= wanted.items())

    def partitions(self) -> dict[str, int]:
        topics = self.admin.list_topics(timeout=LIMIT_S).topics
        return {name: len(topic.partitions) for name, topic in topics.items() if name.startswith(f"{self.prefix}.")}

    def everything(self) -> dict[str, Any]:
        return {name: (count, self.settings(name)) for name, count in self.partitions().items()}

    def remove(self, topic: str) -> None:
        self.admin.delete_topics([topic])[topic].result()
        until(lambda: topic not in self.partitions())


@pytest.fixture
def cluster(tmp_path: Path, kafka: str, topic_prefix: str) -> Cluster:
    return Cluster(tmp_path, kafka, topic_prefix)


def test_without_create_nothing_is_made_and_all_that_is_missing_is_named(cluster: Cluster) -> None:
    text = cluster.fails()
    assert all(cluster.name(topic) in text for topic in (*OURS, "raw"))
    assert text.count("is missing") == 8
    assert cluster.partitions() == {}


def test_create_makes_our_topics_as_the_stream_needs_them_and_the_second_time_nothing(cluster: Cluster) -> None:
    text = cluster.fails("--create")
    assert text.count("  made\n") == 7
    assert f"{cluster.raw}" in text.partition("--create --raw makes it")[0]
    assert cluster.partitions() == {cluster.name(topic): 3 for topic in OURS}
    for topic in OURS:
        held = cluster.settings(cluster.name(topic))
        assert held["message.timestamp.type"] == "LogAppendTime"
        assert held["min.insync.replicas"] == "1"  # of one broker
        assert held["unclean.leader.election.enable"] == "false"
    join, state = cluster.settings(cluster.name("join.1")), cluster.settings(cluster.name("state.1"))
    assert (join["cleanup.policy"], int(join["retention.ms"])) == ("delete", 4 * 3_600_000 + DAY_MS)
    assert (state["cleanup.policy"], state["min.compaction.lag.ms"]) == ("compact", "0")
    assert int(state["segment.bytes"]) < int(join["segment.bytes"])
    sizes = {topic: int(cluster.settings(cluster.name(topic))["max.message.bytes"]) for topic in OURS}
    assert min(sizes.values()) >= MIB
    assert min(sizes[topic] for topic in ("records", "rejected", "dead")) >= 8 * MIB
    before = cluster.everything()
    assert "  made\n" not in cluster.fails("--create")
    assert cluster.everything() == before


def test_with_raw_the_systems_topics_are_made_too_and_then_all_fits(cluster: Cluster) -> None:
    assert cluster.fits("--create", "--raw").count("  made\n") == 8
    assert cluster.partitions()[cluster.raw] == 3
    assert cluster.settings(cluster.raw)["message.timestamp.type"] == "LogAppendTime"
    before = cluster.everything()
    for options in ((), ("--create",), ("--create", "--raw")):
        text = cluster.fits(*options)
        assert "  made\n" not in text
        assert "  set " not in text
        assert "warning" not in text
    assert cluster.everything() == before


@pytest.mark.parametrize(
    ("topic", "setting", "value"),
    [
        ("records", "message.timestamp.type", "CreateTime"),
        ("counts", "unclean.leader.election.enable", "true"),
        ("findings", "min.insync.replicas", "2"),  # of one copy: nothing could be written
        ("rejected", "max.message.bytes", str(MIB)),
        ("join.1", "retention.ms", str(DAY_MS)),
        ("join.1", "retention.bytes", "1000000"),
        ("join.1", "cleanup.policy", "compact,delete"),
        ("join.1", "compression.type", "gzip"),
        ("state.1", "cleanup.policy", "delete"),
        ("state.1", "min.compaction.lag.ms", "60000"),
        ("state.1", "segment.bytes", str(1 << 30)),
    ],
)
def test_a_setting_that_loses_or_delays_is_found_and_with_create_mended(
    cluster: Cluster, topic: str, setting: str, value: str
) -> None:
    cluster.fits("--create", "--raw")
    good = cluster.everything()
    cluster.set(cluster.name(topic), **{setting: value})
    text = cluster.fails()
    assert f"  {setting} is {value}, and must be " in text
    assert text.count(" must be ") == 1
    assert f"  set {setting}=" in cluster.fits("--create")
    assert cluster.everything() == good


def test_settings_that_are_more_than_enough_are_left_alone(cluster: Cluster) -> None:
    cluster.fits("--create", "--raw")
    cluster.set(cluster.name("join.1"), **{"retention.ms": "-1", "compression.type": "lz4"})
    cluster.set(cluster.name("records"), **{"max.message.bytes": str(20 * MIB), "retention.ms": "1000"})
    cluster.set(cluster.name("state.1"), **{"segment.bytes": str(2 * MIB)})
    before = cluster.everything()
    cluster.fits("--create")
    assert cluster.everything() == before


def test_a_raw_topic_keeps_its_settings_and_a_short_memory_is_a_warning(cluster: Cluster) -> None:
    cluster.make(cluster.raw, 2, retention_ms="3600000", message_timestamp_type="CreateTime")
    text = cluster.fits("--create", "--raw")
    assert f"warning: {cluster.raw}: retention.ms is 3600000: lines are lost" in text
    assert cluster.partitions()[cluster.raw] == 2
    assert cluster.settings(cluster.raw)["message.timestamp.type"] == "CreateTime"


def test_dead_letters_hold_whatever_a_raw_topic_takes(cluster: Cluster) -> None:
    cluster.make(cluster.raw, 1, max_message_bytes=str(50 * MIB))
    cluster.fits("--create")
    assert int(cluster.settings(cluster.name("dead"))["max.message.bytes"]) >= 50 * MIB


def test_state_and_join_topic_hang_together(cluster: Cluster) -> None:
    cluster.make(cluster.name("join.1"), 5)
    cluster.fits("--create", "--raw")
    assert cluster.partitions()[cluster.name("state.1")] == 5
    cluster.remove(cluster.name("state.1"))
    cluster.make(cluster.name("state.1"), 4)
    assert "has 4 partitions, the join topic 5; raise `generation`" in cluster.fails("--create")
    assert cluster.partitions()[cluster.name("state.1")] == 4


def test_a_lost_join_topic_is_not_made_again_beside_its_old_state(cluster: Cluster) -> None:
    cluster.fits("--create", "--raw")
    cluster.remove(cluster.name("join.1"))
    assert f"is gone, but {cluster.name('state.1')} is there; raise `generation`" in cluster.fails("--create")
    assert cluster.name("join.1") not in cluster.partitions()


def test_where_nobody_answers_it_ends_with_3_and_one_line(tmp_path: Path) -> None:
    done = Cluster(tmp_path, "127.0.0.1:9", "nobody").run("--create")
    assert done.returncode == 3
    [line] = done.stderr.splitlines()
    assert line.startswith("clientip: no answer from Kafka at 127.0.0.1:9: ")
    assert "refused" in line
    assert done.stdout == ""


def test_slow_brokers_are_told_of_and_what_may_not_be_seen_is_said_and_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    other = f"authorizer.class.name={authorizer}\nallow.everyone.if.no.acl.found=true\nsuper.users=User:root\n"
    slow = brokers.SETTINGS.replace("cleanup.interval.ms=1000", "cleanup.interval.ms=10000")
    assert slow != brokers.SETTINGS
    monkeypatch.setattr(brokers, "SETTINGS", slow + other)
    with Brokers(tmp_path / "kafka") as running:
        cluster = Cluster(tmp_path, running.address, "ours")
        text = cluster.fits("--create", "--raw")
        assert "warning: broker 1: transaction.abort.timed.out.transaction.cleanup.interval.ms is 10000" in text
        bindings = []
        for kind, name in ((ResourceType.TOPIC, "*"), (ResourceType.BROKER, "kafka-cluster")):
            everywhere = (kind, name, ResourcePatternType.LITERAL, "User:*", "*")
            bindings.append(AclBinding(*everywhere, AclOperation.ALL, AclPermissionType.ALLOW))
            bindings.append(AclBinding(*everywhere, AclOperation.DESCRIBE_CONFIGS, AclPermissionType.DENY))
        for binding in bindings:
            [answer] = cluster.admin.create_acls([binding]).values()
            answer.result()
        until(lambda: "settings not checked" in cluster.run("--create").stdout)  # a broker hears later
        text = cluster.fits("--create")
        assert "warning: settings not checked: DescribeConfigs on a topic" in text
        assert "cleanup.interval.ms not checked: DescribeConfigs on the cluster" in text


def test_three_brokers_give_three_copies_of_which_two_must_be_written(tmp_path: Path) -> None:
    with Brokers(tmp_path / "kafka", 3) as running:
        cluster = Cluster(tmp_path, running.address, "ours")
        cluster.make(cluster.name("records"), 3)
        text = cluster.fails("--create", "--raw")
        assert "has 1 copies instead of 3; add some with kafka-reassign-partitions" in text
        topics = cluster.admin.list_topics(timeout=LIMIT_S).topics
        for name in (*(cluster.name(topic) for topic in OURS[1:]), cluster.raw):
            assert {len(partition.replicas) for partition in topics[name].partitions.values()} == {3}
            assert cluster.settings(name)["min.insync.replicas"] == "2"
        cluster.remove(cluster.name("records"))
        cluster.fits("--create")
        running.stop(3)
        cluster.fits()
