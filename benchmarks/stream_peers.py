"""What stands beside the stream: `python stream_peers.py NAME BROKERS GROUP FROM TO PARTITIONS`, until it is killed.

`bare` passes each message on as it is.  The others do one simple job: parse a JSON line, take the rightmost entry of
its X-Forwarded-For, add one key, write it.  All of them exactly once, a transaction per 5,000 messages or 100 ms.
Nothing of ours is imported here: the peers have an environment of their own.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

BATCH: Final = 5_000
COMMIT_S: Final = 0.1
CONSUMER: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 20,
    "queued.min.messages": 20_000,
}
PRODUCER: Final[Mapping[str, Any]] = {
    "retry.backoff.ms": 10,
    "linger.ms": 5,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 1_000_000,
    "delivery.report.only.error": True,
}


class Job(NamedTuple):
    """Where to read and write."""

    brokers: str
    group: str
    source: str
    target: str
    partitions: int


def _rightmost(row: dict[str, Any]) -> dict[str, Any]:
    row["client"] = row["request_X-Forwarded-For"].rpartition(",")[2].strip()
    return row


def bare(job: Job) -> None:
    """confluent-kafka alone, with the settings of our workers."""
    from confluent_kafka import Consumer, Producer  # noqa: PLC0415

    consumer = Consumer({"bootstrap.servers": job.brokers, "group.id": job.group, **CONSUMER})
    producer = Producer({"bootstrap.servers": job.brokers, "transactional.id": job.group, **PRODUCER})
    producer.init_transactions(30)
    consumer.subscribe([job.source])
    while True:
        messages = consumer.consume(BATCH, COMMIT_S)
        if not messages:
            continue
        producer.begin_transaction()
        for message in messages:
            producer.produce(job.target, message.value())
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata()
        )
        producer.commit_transaction()


def quixstreams(job: Job) -> None:
    """Quix Streams."""
    import orjson  # noqa: PLC0415
    from quixstreams import Application  # noqa: PLC0415

    app = Application(
        broker_address=job.brokers,
        consumer_group=job.group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=COMMIT_S,
        commit_every=BATCH,
        auto_create_topics=False,
        loglevel="WARNING",
        producer_extra_config={"linger.ms": 5, "compression.type": "lz4", "retry.backoff.ms": 10},
        consumer_extra_config={"queued.min.messages": 20_000, "fetch.queue.backoff.ms": 20},
    )
    source = app.topic(job.source, value_deserializer="bytes")
    target = app.topic(job.target, value_serializer="bytes")
    frame = app.dataframe(source)
    frame.apply(lambda line: orjson.dumps(_rightmost(orjson.loads(line)))).to_topic(target)
    app.run()


def faust(job: Job) -> None:
    """A Faust agent."""
    sys.argv = sys.argv[:1]
    import faust as library  # noqa: PLC0415
    import orjson  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        app = library.App(
            job.group,
            broker=[f"kafka://{each}" for each in job.brokers.split(",")],
            datadir=folder,
            processing_guarantee="exactly_once",
            topic_partitions=job.partitions,
            topic_disable_leader=True,
            broker_max_poll_records=BATCH,
            broker_commit_interval=COMMIT_S,
            stream_buffer_maxsize=2 * BATCH,
            consumer_auto_offset_reset="earliest",
            producer_linger=0.005,
            producer_compression_type="lz4",
            web_enabled=False,
        )
        source = app.topic(job.source, value_serializer="raw", key_serializer="raw")
        target = app.topic(job.target, value_serializer="raw", key_serializer="raw")

        @app.agent(source)
        async def run(lines: Any) -> None:
            async for line in lines:
                await target.send(value=orjson.dumps(_rightmost(orjson.loads(line))))

        library.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


PEERS: Final[Mapping[str, Callable[[Job], None]]] = {"bare": bare, "quixstreams": quixstreams, "faust": faust}

if __name__ == "__main__":
    name, brokers, group, source, target, partitions = sys.argv[1:]
    PEERS[name](Job(brokers, group, source, target, int(partitions)))
