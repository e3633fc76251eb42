"""Replay out of Kafka and into it: what the stream says, and every row once, whoever is killed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from clientip.edges.cli.main import app
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.worlds.patience import LIMIT_S
from tests.worlds.sizes import SIZE
from tests.worlds.stream_lines import World
from tests.worlds.stream_runs import Feeder, settled, stream_of
from tests.worlds.streams import Stream, read_all

pytestmark = pytest.mark.edge

ROOT = Path(__file__).parents[3]
MAIN = "from clientip.edges.cli.main import main; main()"
# Which event of a flow is named as its proof, its begin or its end, hangs on which of them had come.
PROOF = re.compile(rb'(?<="conntrack"),("evidence":"joined",)?"record":"[0-9a-f]+"')

PATTERN = '{"msec":"$msec","rt":"$request_time","peer":"$remote_addr","req":"$request","st":"$status"}'
CONFIG = """
[systems.web]
format = "nginx"
escape = "json"
pattern = '{pattern}'
logs_peer = "socket"
inputs = ["logs/*.log"]
topics = ["{prefix}.raw.web"]
arrives_within = "8s"
longest = "1s"
peers = ["outside"]
{more}
"""


def line(number: int, at: float = 1_714_557_600.0, peer: str = "203.0.113.7") -> bytes:
    row = {"msec": f"{at:.3f}", "rt": "0.000", "peer": peer, "req": f"GET /{number} HTTP/1.1", "st": "200"}
    return json.dumps(row, separators=(",", ":")).encode()


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def replayed(stream: Stream, *arguments: str, before: str = "", out: str = "out") -> subprocess.CompletedProcess[str]:
    """One call of the program, to its end; `before`: what happens in it first."""
    command = [sys.executable, "-c", f"{before}\n{MAIN}", "replay", "-c", str(stream.path), "-o", out, "--workers", "1"]
    return subprocess.run(
        [*command, *arguments],
        cwd=stream.folder, capture_output=True, text=True, timeout=LIMIT_S, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "pipeline")},
    )  # fmt: skip


def rows(folder: Path, name: str = "enriched") -> Counter[bytes]:
    return Counter((folder / f"{name}.ndjson").read_bytes().splitlines())


def values(stream: Stream, name: str) -> Counter[bytes]:
    assert stream.settings.kafka is not None
    return Counter(read_all(stream.address, stream.settings.kafka.topic(name)))


def without_proof(found: Counter[bytes]) -> Counter[bytes]:
    return Counter(PROOF.sub(b"", row) for row in found.elements())


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def web(folder: Path, kafka: str, prefix: str, more: str = "") -> Stream:
    made = Stream(folder, kafka, prefix, CONFIG.format(pattern=PATTERN, prefix=prefix, more=more))
    (folder / "logs").mkdir()
    made.make_topics()
    return made


@pytest.fixture
def prefix(topic_prefix: str) -> str:
    return topic_prefix.rstrip("-")


def test_the_topics_say_what_the_stream_said_joined_lines_too(tmp_path: Path, kafka: str, prefix: str) -> None:
    with stream_of(tmp_path / "stream", kafka, prefix) as stream:
        Feeder(stream).feed(World().items(800 * SIZE))
        for worker in ("reader-0", "answerer-0"):
            stream.start(worker)
        found = settled(stream)
        assert found.is_exact
        assert not found.waited
        for out, more in ("one", ("--workers", "1")), ("two", ("--workers", "2", "--chunk-size", "20000")):
            done = replayed(stream, "--from-kafka", *more, out=out)
            assert done.returncode == 0, done.stderr
        ours, streamed = rows(stream.folder / "one"), values(stream, "records")
        assert without_proof(ours) == without_proof(streamed)
        alone = {row for row in streamed if b'"evidence":"joined"' not in row and not PROOF.search(row)}
        assert len(alone) > 150 * SIZE
        assert alone <= ours.keys()
        assert any(PROOF.search(row) for row in ours)
        assert rows(stream.folder / "two") == ours
        assert rows(stream.folder / "one", "rejected") == values(stream, "rejected")
        assert not (stream.folder / "one" / "parts").exists()


SHIPPED = """
[systems.many]
format = "nginx"
escape = "json"
pattern = '{pattern}'
logs_peer = "socket"
topics = ["{prefix}.raw.many"]
messages = "json_array"
instance_by = "key"
peers = ["outside"]

[systems.vector]
format = "nginx"
escape = "json"
pattern = '{pattern}'
logs_peer = "socket"
wrapper = "vector"
topics = ["{prefix}.raw.vector"]
peers = ["outside"]

[systems.pods]
format = "nginx"
escape = "json"
pattern = '{pattern}'
logs_peer = "socket"
wrapper = "cri"
topics = ["{prefix}.raw.pods"]
instance_by = "key"
peers = ["outside"]
"""


def shipped_messages() -> Iterator[tuple[str, bytes | None, bytes]]:
    for number in range(60):
        some = [json.loads(line(100 * number + each)) for each in range(number % 4)]
        yield "many", b"host-%d" % (number % 3), json.dumps(some).encode()
        text = {"message": line(number).decode(), "file": "/var/log/a", "host": "edge-1", "offset": 70 * number}
        yield "vector", None, json.dumps(text).encode()
        whole, pod = line(number), b"pod-%d" % (number % 3)
        if number % 3:
            yield "pods", pod, b"2024-05-01T10:00:00.1Z stdout P " + whole[:40]
            yield "pods", pod, b"2024-05-01T10:00:00.1Z stdout P " + whole[40:50]
            yield "pods", pod, b"2024-05-01T10:00:00.2Z stdout F " + whole[50:]
        else:
            yield "pods", pod, b"2024-05-01T10:00:00.2Z stdout F " + whole
    yield "many", b"host-1", b"no array"
    yield "pods", b"pod-1", b"no part"


def test_batches_envelopes_and_parts_are_taken_apart_as_the_stream_does(
    tmp_path: Path, kafka: str, prefix: str
) -> None:
    with web(tmp_path, kafka, prefix, SHIPPED.format(pattern=PATTERN, prefix=prefix)) as stream:
        producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True})
        for system, key, value in shipped_messages():
            producer.produce(f"{prefix}.raw.{system}", value, key)
        assert producer.flush(LIMIT_S) == 0
        stream.start("reader-0")
        stream.await_rows(60 + 90 + 60)
        stream.await_rows(1, "dead")
        done = replayed(stream, "--from-kafka", "--chunk-size", "1000")
        assert done.returncode == 0, done.stderr
        out = tmp_path / "out"
        assert rows(out) == values(stream, "records")
        dead, rejected = stream.rows("dead"), [json.loads(row) for row in rows(out, "rejected")]
        assert {(row["system"], row["reason"]) for row in rejected} == {("many", "json"), ("pods", "wrapper")}
        assert [row["raw"] for row in dead] == [row["raw"] for row in rejected if row["system"] == "many"]
        systems = json.loads((out / "summary.json").read_bytes())["systems"]
        assert (systems["pods"]["lines"], systems["pods"]["parts"]) == (141, 80)


PODS = """
[systems.pods]
format = "nginx"
escape = "json"
pattern = '{pattern}'
logs_peer = "socket"
wrapper = "cri"
topics = ["{prefix}.raw.pods"]
arrives_within = "8s"
longest = "1s"
peers = ["outside"]
"""
GAP_S = 9.3  # more than `arrives_within` and `longest`


def test_a_time_range_cuts_the_records_and_what_is_fetched(tmp_path: Path, kafka: str, prefix: str) -> None:
    # Behind the beginning of a range, the tail of a long line may look like a line whose peer an attacker chose.
    parts = (
        b"2024-05-01T10:00:00Z stdout P " + line(1)[:-1],
        b"2024-05-01T10:00:00Z stdout F " + line(1, peer="6.6.6.6"),
    )
    producer = Producer({"bootstrap.servers": kafka})
    with web(tmp_path, kafka, prefix, PODS.format(pattern=PATTERN, prefix=prefix)) as stream:
        begins = []
        for turn in range(3):
            begins.append(time.time())
            for each in range(10):
                producer.produce(f"{prefix}.raw.web", line(10 * turn + each, begins[-1]))
            if turn < 2:
                producer.produce(f"{prefix}.raw.pods", parts[turn], partition=0)
            assert producer.flush(LIMIT_S) == 0
            time.sleep(GAP_S)
        range_ = ("--from", stamp(begins[1] - 0.01), "--until", stamp(begins[1] + 0.01))
        done = replayed(stream, *range_, "--from-kafka", "--max-rejected", "1")
        assert done.returncode == 0, done.stderr
        out = tmp_path / "out"
        wanted = [f"GET /{each} HTTP/1.1" for each in range(10, 20)]
        assert sorted(json.loads(json.loads(row)["message"])["req"] for row in rows(out)) == wanted
        ranges = json.loads((out / "ranges.json").read_bytes())["ranges"]
        assert sum(each["end"] - each["begin"] for each in ranges) == 11
        assert [json.loads(row)["system"] for row in rows(out, "rejected")] == ["pods"]
        assert replayed(stream, *range_[:2], f"kafka:{prefix}.raw.web", out="from").returncode == 0
        assert sum(rows(tmp_path / "from").values()) == 20
        assert replayed(stream, *range_[2:], f"kafka:{prefix}.raw.web", out="until").returncode == 0
        assert sum(rows(tmp_path / "until").values()) == 20


# A process that is killed at some moment after it came to a place for the so-manieth time, and before it comes there
# once more; transactions are small in it.
KILLED = """
import os, threading
import clientip.edges.replay.{module} as module
module.MAX_ROWS, came = 20, 0
timer = threading.Timer({delay}, os.kill, (os.getpid(), 9))
timer.daemon = True
real = module.{place}
def before(*arguments):
    global came
    came += 1
    if came == {times}:
        timer.start()
    elif came > {times}:
        os.kill(os.getpid(), 9)
    return real(*arguments)
module.{place} = before
"""


def kill(stream: Stream, module: str, place: str, times: int, *arguments: str, delay: float = 0.0) -> None:
    done = replayed(stream, *arguments, before=KILLED.format(module=module, place=place, times=times, delay=delay))
    assert done.returncode == -9, done.stderr


def test_kills_in_the_middle_of_sending_lose_and_double_nothing(tmp_path: Path, kafka: str, prefix: str) -> None:
    dice = random.Random(prefix)
    with web(tmp_path, kafka, prefix) as stream:
        for number in range(3):
            texts = [line(each) if each % 50 else b"nonsense" for each in range(number, 2000 * SIZE)]
            (tmp_path / f"logs/{number}.log").write_bytes(b"".join(text + b"\n" for text in texts))
        assert replayed(stream, out="files").returncode == 0
        to = ("--to", "kafka", "--chunk-size", "100000")
        for _ in range(5):
            times, delay = dice.randrange(1, 40), dice.uniform(0, 0.02)
            kill(stream, "kafka_send", "_Position.advance", times, *to, delay=delay)
        assert values(stream, "records").total() < 5800 * SIZE
        done = replayed(stream, *to)
        assert done.returncode == 0, done.stderr
        assert "going on" in done.stderr
        # The same run again, wherever and however, sends nothing again.
        assert replayed(stream, *to).returncode == 0
        assert replayed(stream, *to, "--restart").returncode == 0
        assert replayed(stream, *to, out="elsewhere").returncode == 0
        assert values(stream, "records") == rows(tmp_path / "files")
        assert values(stream, "rejected") == rows(tmp_path / "files", "rejected")
        assert not (tmp_path / "out/enriched.ndjson").exists()
        assert not (tmp_path / "out/parts").exists()


def test_amendments_go_to_a_topic_of_their_own(tmp_path: Path, kafka: str, prefix: str) -> None:
    with web(tmp_path, kafka, prefix) as stream:
        stream.produce(f"{prefix}.raw.web", [*(line(each) for each in range(30)), b"nonsense"])
        topic = f"{prefix}.amendments"
        make(kafka, topic)
        done = replayed(stream, "--from-kafka", "--to", "kafka", "--topic", topic)
        assert done.returncode == 0, done.stderr
        assert replayed(stream, "--from-kafka", out="folder").returncode == 0
        assert Counter(read_all(kafka, topic)) == rows(tmp_path / "folder")
        assert rows(tmp_path / "out", "rejected") == rows(tmp_path / "folder", "rejected")
        assert not values(stream, "rejected")


def make(kafka: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    [made] = admin.create_topics([NewTopic(topic, 2, 1)]).values()
    made.result()


def test_who_is_forgotten_sends_no_more(tmp_path: Path, kafka: str, prefix: str) -> None:
    with web(tmp_path, kafka, prefix) as stream:
        (tmp_path / "logs/a.log").write_bytes(b"".join(line(each) + b"\n" for each in range(2000)))
        kill(stream, "kafka_send", "_Position.advance", 20, "--to", "kafka")
        group = json.loads((tmp_path / "out/sending.json").read_bytes())["group"]
        assert group.startswith(f"{prefix}.replay.")
        admin = AdminClient({"bootstrap.servers": kafka})
        [gone] = admin.delete_consumer_groups([group]).values()
        gone.result()
        before = values(stream, "records").total()
        done = replayed(stream, "--to", "kafka")
        assert done.returncode == 3
        assert "does not know any more how many" in done.stderr
        assert values(stream, "records").total() == before < 2000


def test_kills_while_fetching_change_nothing(tmp_path: Path, kafka: str, prefix: str) -> None:
    dice = random.Random(prefix)
    with web(tmp_path, kafka, prefix) as stream:
        stream.produce(f"{prefix}.raw.web", (line(each) for each in range(6000 * SIZE)))
        arguments = ("--from-kafka", "--chunk-size", "50000")
        assert replayed(stream, *arguments, out="clean").returncode == 0
        for times in range(1, 5):
            kill(stream, "kafka_fetch", "_Fetch._keep", times, *arguments, delay=dice.uniform(0, 0.01))
        done = replayed(stream, *arguments)
        assert done.returncode == 0, done.stderr
        assert digest(tmp_path / "out") == digest(tmp_path / "clean")
        assert rows(tmp_path / "out").total() == 6000 * SIZE
        done = replayed(stream, *arguments)
        assert "nothing was read again" in done.stderr
        done = replayed(stream, "--from-kafka")
        assert done.returncode == 2
        assert "another call" in done.stderr


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACED: list[tuple[str, str | bytes | None]] = [
    ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode()),
    ("x", b"1"),
]


def test_undone_messages_are_not_read_and_do_not_hold_up_the_end(tmp_path: Path, kafka: str, prefix: str) -> None:
    with web(tmp_path, kafka, prefix) as stream:
        producer = Producer({"bootstrap.servers": kafka, "transactional.id": prefix})
        producer.init_transactions(LIMIT_S)
        for turn in range(4):
            producer.begin_transaction()
            for each in range(5):
                producer.produce(f"{prefix}.raw.web", line(10 * turn + each), partition=0, headers=TRACED)
            producer.flush(LIMIT_S)
            if turn % 2:
                producer.abort_transaction(LIMIT_S)
            else:
                producer.commit_transaction(LIMIT_S)
        done = replayed(stream, "--from-kafka", "--output", "record")
        assert done.returncode == 0, done.stderr  # a fetch that waits for the end in vain gives up
        found = [json.loads(row) for row in rows(tmp_path / "out", "record")]
        assert len(found) == 10
        assert {row["ids"]["trace"] for row in found} == {TRACE}  # of the message, where the line has none


def called(stream: Stream, *arguments: str) -> tuple[int, str]:
    """One call in this process, for what ends soon: exit code, and what it said."""
    done = CliRunner().invoke(app, ["replay", "-c", str(stream.path), "-o", str(stream.folder / "out"), *arguments])
    return done.exit_code, done.stderr


def test_calls_that_cannot_work_say_why(tmp_path: Path, kafka: str, prefix: str) -> None:
    text = CONFIG.format(pattern=PATTERN, prefix=prefix, more="")
    with Stream(tmp_path, kafka, prefix, text) as stream:
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs/a.log").write_bytes(line(1) + b"\n")
        topic = f"kafka:{prefix}.raw.web"
        for code, arguments, said in (
            (3, ("--from-kafka",), f"topic {prefix}.raw.web is missing"),
            (3, ("--to", "kafka"), f"topic {prefix}.records is missing"),
            (2, ("kafka:nobody",), "no system has the topic nobody"),
            (2, ("--from-kafka", "a.log"), "is no topic"),
            (2, (topic, "--system", "web"), "--system"),
            (2, (topic, "--facts"), "--facts"),
            (2, ("--topic", "x"), "--topic"),
            (2, ("--to", "kafka", "--topic", f"{prefix}.raw.web"), "holds something else"),
            (2, ("--to", "kafka", "--compress", "zstd"), "--compress"),
            (2, ("--to", "kafka", "-"), "standard input"),
            (2, ("--to", "kafka", "-o", "-"), "give a folder"),
            (2, (topic, "-o", "-"), "give a folder"),
        ):
            found, told = called(stream, *arguments)
            assert (found, said in told, told.count("\n")) == (code, True, 1), (arguments, told)
        stream.path.write_text(text)
        for arguments in ("--from-kafka",), ("--to", "kafka"):
            found, told = called(stream, *arguments)
            assert (found, "[kafka]" in told) == (2, True), told
