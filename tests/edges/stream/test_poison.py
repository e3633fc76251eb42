"""Messages that no honest shipper sends, in raw topics and in our own: what is wrong stands aside, the rest goes on."""

from __future__ import annotations

import ctypes
import json
import os
import time
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from tests.worlds.patience import LIMIT_S, until
from tests.worlds.stream_lines import SECOND, World
from tests.worlds.stream_runs import Feeder, committed, settled, stream_of
from tests.worlds.streams import Stream, by_id

pytestmark = pytest.mark.edge

MIB = 1 << 20
TWO = ("reader-0", "answerer-0")
CUTS = """
[systems.cuts]
format = "nginx"
escape = "json"
pattern = '{"msec":"$msec","peer":"$remote_addr","req":"$request","st":"$status"}'
topics = ["PREFIX.raw.cuts"]
messages = "json_array"
logs_peer = "socket"
peers = ["outside"]
"""
GOOD = b'[{"msec":"1795972951.170","peer":"203.0.113.9","req":"GET /%d HTTP/1.1","st":"200"}]'


def _alter(address: str, topic: str, **values: str) -> None:
    """Returns when the broker shows it: the controller answers before the broker has heard."""
    wanted = {name.replace("_", "."): value for name, value in values.items()}
    set_to = AlterConfigOpType.SET
    entries = [ConfigEntry(name, value, incremental_operation=set_to) for name, value in wanted.items()]
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    for answer in admin.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)]
    ).values():
        answer.result()

    def shown() -> bool:
        [found] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
        return {name: entry.value for name, entry in found.result().items()}.items() >= wanted.items()

    until(shown)


def test_a_message_that_cannot_be_cut_is_a_dead_letter_whole_and_its_neighbours_go_on(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    topic = f"{topic_prefix}.raw.cuts"
    poison: list[bytes | None] = [
        None, b"", b"[1,2", b"[" * 100_000, b"\xff\xfe[]", b"{}", b"[[]]", b"\x00" * (MIB + 1), b'"' * 3 * MIB,
        b"[" + b" " * (4 * MIB) + b"]", bytes(each & 31 for each in os.urandom(5 * MIB)), os.urandom(5 * MIB),
    ]  # fmt: skip
    with Stream(
        tmp_path, kafka, topic_prefix, CUTS.replace("PREFIX", topic_prefix), stream="join_partitions = 1"
    ) as stream:
        stream.make_topics()
        _alter(kafka, topic, max_message_bytes=str(16 * MIB))
        producer = Producer({"bootstrap.servers": kafka, "message.max.bytes": 16 * MIB, "enable.idempotence": True})
        for number, message in enumerate(poison):
            producer.produce(topic, GOOD % number)
            producer.produce(topic, message)
            assert producer.flush(LIMIT_S) == 0
        producer.produce(topic, b"[" + b",".join([GOOD[1:-1] % 99] * 3) + b"]")
        producer.flush()
        for name in TWO:
            stream.start(name)
        assert len(by_id(stream.await_rows(len(poison) + 3))) == len(poison) + 3
        dead = {row["offset"]: row for row in stream.rows("dead")}
        assert stream.code("reader-0") is None
    empty = [2 * number + 1 for number, message in enumerate(poison) if message is None]
    assert sorted(dead) == [2 * number + 1 for number in range(len(poison))], "each once"
    for number, message in enumerate(poison):
        row = dead[2 * number + 1]
        held = row["raw"].encode() if row.get("raw") is not None else b64decode(row["raw_base64"])
        assert held == (message or b""), number
        assert (row["system"], row["topic"], row["partition"]) == ("cuts", topic, 0)
        assert row["reason"]
    assert empty


def _produce_with_header(address: str, topic: str, name: bytes, message: bytes) -> None:
    """A message with a header whose name is any bytes, which the Python library does not make: librdkafka itself."""
    [path] = (Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka-*.so*")
    library, pointer, text = ctypes.CDLL(str(path)), ctypes.c_void_p, ctypes.create_string_buffer(512)
    for function in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(library, function).restype = pointer
    settings = pointer(library.rd_kafka_conf_new())
    assert library.rd_kafka_conf_set(settings, b"bootstrap.servers", address.encode(), text, 512) == 0
    producer = pointer(library.rd_kafka_new(0, settings, text, 512))
    headers = pointer(library.rd_kafka_headers_new(ctypes.c_size_t(1)))
    library.rd_kafka_header_add(headers, name, ctypes.c_ssize_t(len(name)), b"v", ctypes.c_ssize_t(1))
    of_topic, of_value, with_copy, of_headers, end = map(ctypes.c_int, (1, 4, 7, 10, 0))
    failed = library.rd_kafka_producev(
        producer, of_topic, ctypes.c_char_p(topic.encode()),
        of_value, ctypes.c_char_p(message), ctypes.c_size_t(len(message)),
        with_copy, ctypes.c_int(2), of_headers, headers, end,
    )  # fmt: skip
    assert not failed
    assert library.rd_kafka_flush(producer, 10_000) == 0
    library.rd_kafka_destroy(producer)


def test_hostile_headers_keys_and_lines_harm_nobody_else(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    world, other = World(), World(2)
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        for name in TWO:
            stream.start(name)
        feeder = Feeder(stream)
        feeder.feed(world.items(500))
        hostile: list[list[tuple[str, bytes | None]]] = [
            [("traceparent", b"00-" + b"\xff" * 40)],
            [("traceparent", None), ("Traceparent", b"x")],
            [(f"h{number}", b"v") for number in range(1000)],
            [("x" * 10_000, b"y" * 100_000)],
            [("x-request-id", b"id\r\nX: y"), ("", b"")],
        ]
        for headers in hostile:
            for system in ("app", "web", "nodes"):
                feeder.put(world.plain()._replace(system=system), 0, headers)
        for name in (b"\xff\xfename", b"traceparent\xff"):
            _produce_with_header(kafka, f"{topic_prefix}.raw.web", name, world.plain().text)
        for line in (b"", None, b"\n\n\n", b"\x00", b"{", b"{" * 10_000, b"\xff" * 100, b"x" * (2 * MIB)):
            for system in ("app", "lb", "api", "web"):
                feeder.put(world.plain()._replace(system=system, text=line))  # type: ignore[arg-type]
        for key in (b"", b"\xff\xfe", b"k" * 300, b"node-11\x00", None):
            for item in other.flow("node-11", ("203.0.113.7", 4711), time.time_ns()):
                feeder.put(item._replace(key=key))
        feeder.feed(world.items(500))
        found = settled(stream)
        assert found.is_exact, found
        assert all(stream.code(name) is None for name in TWO)


def test_a_system_of_which_nothing_can_be_read_stops_the_worker_and_its_lines_stay_unread(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    count = 25_000
    with stream_of(tmp_path, kafka, topic_prefix, partitions=1) as stream:
        stream.produce(f"{topic_prefix}.raw.web", (b"none of ours %d" % number for number in range(count)))
        stream.start("reader-0")
        until(lambda: stream.code("reader-0") is not None, stream.log)
        assert stream.code("reader-0") == 2
        assert "systems.web" in stream.log() and "`format`" in stream.log()
        upto = committed(stream, "readers", f"{topic_prefix}.raw.web", [0])[0]
        assert upto < 10_000
        assert len(stream.rows("rejected")) == max(upto, 0)


@pytest.mark.parametrize(
    ("message", "word"),
    [(b"\x07forged", "version"), (b"\x02forged", "no_match"), (b"\x01forged", "version"), (b"", "version")],
)
def test_a_message_in_the_join_topic_that_is_none_of_ours_stops_the_answerer_before_it(
    kafka: str, topic_prefix: str, tmp_path: Path, message: bytes, word: str
) -> None:
    with stream_of(tmp_path, kafka, topic_prefix, partitions=1) as stream:
        for name in TWO:
            stream.start(name)
        feeder, world = Feeder(stream), World()
        count = sum(item.system in ("lb", "api", "app") for item in _fed(feeder, world, 300))
        until(lambda: sum("/web/" not in json.dumps(row) for row in stream.rows("records")) >= count, stream.log)
        join = stream.settings.kafka.generational("join")  # type: ignore[union-attr]
        stream.produce(join, [message])
        until(lambda: stream.code("answerer-0") is not None, stream.log)
        assert stream.code("answerer-0") == 3
        assert f"({word})" in stream.log() and f"topic {join}, partition 0, offset" in stream.log()
        before = committed(stream, "answerers", join, [0])[0]
        stream.release("answerer-0")
        stream.start("answerer-0")
        until(lambda: stream.code("answerer-0") is not None, stream.log)
        assert stream.code("answerer-0") == 3
        offset = int(stream.log().rpartition(" cannot be read")[0].rpartition("offset ")[2])
        assert before <= committed(stream, "answerers", join, [0])[0] <= offset
        assert stream.code("reader-0") is None, "readers go on"


def _fed(feeder: Feeder, world: World, count: int) -> list[object]:
    items = list(world.items(count))
    feeder.feed(items)
    return items


def test_raw_lines_deleted_before_they_were_read_are_told(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    with stream_of(tmp_path, kafka, topic_prefix, partitions=1) as stream:
        for name in TWO:
            stream.start(name)
        Feeder(stream).feed(World().items(500))
        stream.await_rows(100)
        stream.kill("reader-0", 15)
        topic = f"{topic_prefix}.raw.web"
        stream.produce(topic, [b"later"] * 100)
        admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
        [answer] = admin.delete_records([TopicPartition(topic, 0, -1)]).values()
        answer.result()
        stream.start("reader-0")
        until(lambda: stream.code("reader-0") is not None, stream.log)
        assert stream.code("reader-0") == 3
        assert f"topic {topic}, partition 0: the next message, at offset " in stream.log()


@pytest.mark.parametrize("how", ["deleted", "made anew", "made anew while nobody read"])
def test_a_raw_topic_that_is_deleted_or_made_anew_is_told(
    kafka: str, topic_prefix: str, tmp_path: Path, how: str
) -> None:
    with stream_of(tmp_path, kafka, topic_prefix, partitions=1) as stream:
        for name in TWO:
            stream.start(name)
        Feeder(stream).feed(World().items(500))
        topic = f"{topic_prefix}.raw.web"
        until(lambda: committed(stream, "readers", topic, [0])[0] > 50, stream.log)
        if how.endswith("read"):
            assert stream.kill("reader-0", 15) == 0
        admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
        admin.delete_topics([topic])[topic].result()
        if how == "deleted":
            until(lambda: topic in _trouble(stream) and "Unknown topic" in _trouble(stream), stream.log)
            return
        until(lambda: topic not in admin.list_topics(timeout=LIMIT_S).topics)
        until(lambda: _is_made(admin, topic))
        stream.produce(topic, [b"new"] * 500)  # so many that the old offsets are there again
        if how.endswith("read"):  # the group has forgotten how far it was in a topic that is gone: all is read
            stream.start("reader-0")
            until(
                lambda: sum("new" in row["raw"] for row in stream.rows("rejected") if "raw" in row) == 500, stream.log
            )
            return
        until(lambda: stream.code("reader-0") is not None, stream.log)
        assert stream.code("reader-0") == 3
        assert topic in _trouble(stream) and "made again" in _trouble(stream), stream.log()


def _is_made(admin: AdminClient, topic: str) -> bool:
    try:
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    except KafkaException as error:
        assert error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS  # as long as the old one is not wholly gone
        return False
    return True


def _trouble(stream: Stream) -> str:
    lines = [json.loads(line) for line in stream.log().splitlines()]
    return "\n".join(str(line["fields"].get("text")) for line in lines if line["level"] in ("warning", "error"))


def test_clocks_that_jump_harm_only_the_lines_of_their_own(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """Shippers' dates of messages years away, and lines of 2099."""
    world, far_ns = World(), 4_070_908_800 * SECOND
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        for system in ("app", "nodes", "lb", "api", "web"):
            _alter(kafka, f"{topic_prefix}.raw.{system}", message_timestamp_type="CreateTime")
        for name in TWO:
            stream.start(name)
        producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True})
        ahead = 0
        for number, item in enumerate(world.items(3000)):
            stamp_ms = (0, 1, 631_152_000_000, 4_070_908_800_000)[number % 4]
            producer.produce(f"{topic_prefix}.raw.{item.system}", item.text, item.key, timestamp=stamp_ms)
            if number % 100 == 0:
                ahead += 1
                line = world.api(f"far-{number}", f"/far/{number}", far_ns)
                producer.produce(f"{topic_prefix}.raw.api", line.text, timestamp=stamp_ms)
        assert producer.flush(LIMIT_S) == 0
        found = settled(stream)
        rows: Mapping[str, Mapping[str, str]] = by_id(stream.rows("records"))
        kinds = [row["kind"] for row in stream.rows("findings")]
    far = [row["clientip"] for row in rows.values() if "/far/" in str(row)]
    assert {(each["verdict"], each["reason"]) for each in far} == {("unknown", "time_implausible")}  # type: ignore[index]
    assert len(far) == ahead and kinds.count("time_implausible") == ahead
    assert found.is_exact and found.waited == ahead, found
