"""A job on a real broker: its topics, its processes, their processor time, and when its records came."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from clientip.config import load as config
from clientip.edges.kafka.topic_admin import look
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.stream_lines import NUMBER, Message, is_request

ROOT: Final = Path(__file__).parent.parent
PEERS: Final = ROOT / "build" / "peers" / "bin" / "python"  # `make bench` installs what is compared there
START_S, END_S = 60.0, 180.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Seen(NamedTuple):
    """The committed records of a job."""

    values: list[bytes]
    stamps_ms: list[int]  # append times


class Run(NamedTuple):
    """What it took to work off a backlog."""

    lines: int  # raw ones
    records: int
    seconds: float  # from the moment it may begin until the last record is there
    spent: dict[str, float]  # processor time by process, seconds
    broker: float  # that of the broker meanwhile
    seen: Seen


class Job:
    """Programs that read from topics of theirs and write records; they end with the block."""

    def __init__(self, folder: Path, address: str, name: str, sources: Sequence[str], partitions: int) -> None:
        """`name`: first word of all its topics, which are made here."""
        self.address, self.name, self.sources, self.partitions = address, name, list(sources), partitions
        self.target = f"{name}.records"
        self._folder, self._programs = folder, dict[str, subprocess.Popen[bytes]]()
        self._log = folder / f"{name}.log"
        self._commands: dict[str, list[str]] = {}
        self._topics = [*self.sources]
        make_topics(address, self.sources, partitions)

    def __enter__(self) -> Job:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        for name in list(self._programs):
            self.kill(name)
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        for answer in admin.delete_topics(self._topics).values():
            answer.result()

    def peer(self, name: str) -> None:
        """Start one of `stream_peers`."""
        make_topics(self.address, [self.target], self.partitions)
        self._topics.append(self.target)
        python = sys.executable if name == "bare" else str(PEERS)
        script = str(ROOT / "benchmarks" / "stream_peers.py")
        job = [self.address, f"{self.name}.group", self.sources[0], self.target, str(self.partitions)]
        self._commands[name] = [python, script, name, *job]
        self.start(name)

    def stream(self, text: str, options: str = "", *, answerer_only: bool = False) -> None:
        """Make the topics of a configuration, and start a reader and an answerer."""
        path = self._folder / f"{self.name}.toml"
        path.write_text(
            f'[kafka]\nbrokers = ["{self.address}"]\nprefix = "{self.name}"\n\n'
            f'[stream]\njoin_partitions = {self.partitions}\nspool = "{self._folder}"\n{options}\n{text}'
        )
        report = look(config.load([path]), create=True, raw=False)
        assert report.code == 0, report
        self._topics += [row.name for row in report.rows]
        for role in ("answerer",) if answerer_only else ("reader", "answerer"):
            command = [sys.executable, "-P", "-m", "clientip", "stream", "--role", role]
            self._commands[role] = [*command, "--name", f"{self.name}-{role}", "--listen", "none", "-c", str(path)]
            self.start(role)

    def start(self, name: str) -> None:
        """Start a program of the job, once more if it was killed."""
        with self._log.open("ab") as log:
            self._programs[name] = subprocess.Popen(
                self._commands[name], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip

    def kill(self, name: str) -> None:
        """SIGKILL."""
        program = self._programs.pop(name)
        program.kill()
        program.wait()

    def log(self) -> str:
        """What the programs have said."""
        return self._log.read_text()

    def steady(self, messages: Sequence[Message], begin_ns: int, skipped_s: float) -> tuple[Seen, list[float]]:
        """All records, and delays in ms from the append of each request line to that of its record.

        Lines are written when they are due; those of the first seconds have no delay.
        """
        sources = {topic: [m for m in messages if m.topic == topic and is_request(m)] for topic in self.sources}
        [asking] = [topic for topic, some in sources.items() if some]
        count = len(sources[asking])
        with Watch(self.address, asking, self.log) as raw, Watch(self.address, self.target, self.log) as out:
            produce_when_due(self.address, messages, begin_ns)
            came, went = raw.some(count, END_S), out.some(count, END_S)
        begun = dict(zip(numbers(came.values), came.stamps_ms, strict=True))
        ended = dict(zip(numbers(went.values), went.stamps_ms, strict=True))
        assert begun.keys() == ended.keys()
        first_ms = min(begun.values()) + 1000 * skipped_s
        return went, [ended[number] - at_ms for number, at_ms in begun.items() if at_ms >= first_ms]

    def wait_ready(self) -> None:
        """Until reader and answerer have their partitions."""
        until = time.monotonic() + START_S
        while self.log().count("partitions.assigned") < len(self._programs):
            assert time.monotonic() < until, self.log()[-3000:]
            time.sleep(0.1)

    def signal(self, number: int) -> None:
        """To all programs."""
        for program in self._programs.values():
            program.send_signal(number)

    def spent(self) -> dict[str, float]:
        """Processor time of each program so far, s."""
        return {name: processor_s(program.pid) for name, program in self._programs.items()}

    def memory(self, name: str) -> int:
        """Bytes that a program holds in memory."""
        fields = Path(f"/proc/{self._programs[name].pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def backlog(self, messages: Sequence[Message], warm: int, first: int) -> Run:
        """Let it see `warm` messages, stop it, lay out the rest as a backlog, and let it go.

        Its start is not measured, nor is the writing of the backlog.  `first`: the records that must have come before.
        """
        records, messages, early = sum(map(is_request, messages)), messages[warm:], messages[:warm]
        with Watch(self.address, self.target, self.log) as watch:
            produce(self.address, early)
            watch.some(first, START_S)
            time.sleep(0.5)
            before = len(watch.some(first, START_S).values)
            self.signal(signal.SIGSTOP)
            produce(self.address, messages)
            broker = processor_s(broker_pid())
            spent, began = self.spent(), time.time()
            self.signal(signal.SIGCONT)
            seen = watch.some(records, END_S)
            after = self.spent()
            broker = processor_s(broker_pid()) - broker
        seconds = max(seen.stamps_ms) / 1000 - began
        used = {name: after[name] - spent[name] for name in spent}
        return Run(len(messages), records - before, seconds, used, broker, seen)


class Watch:
    """Waits for the records of a topic without reading them before they are all there."""

    def __init__(self, address: str, topic: str, log: Callable[[], str]) -> None:
        self._topic, self._log = topic, log
        self._consumer = Consumer(
            {
                "bootstrap.servers": address,
                "group.id": "bench-watch",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        self._seen = Seen([], [])

    def __enter__(self) -> Watch:
        partitions = self._consumer.list_topics(self._topic, 10).topics[self._topic].partitions
        self._places = [TopicPartition(self._topic, number, OFFSET_BEGINNING) for number in partitions]
        self._consumer.assign(self._places)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._consumer.close()

    def some(self, count: int, seconds: float) -> Seen:
        """The records, once there are so many."""
        until = time.monotonic() + seconds
        self._consumer.pause(self._places)
        while sum(self._consumer.get_watermark_offsets(each, 10)[1] for each in self._places) < count:
            assert time.monotonic() < until, f"{count} records were to come\n{self._log()[-3000:]}"
            time.sleep(0.05)
        self._consumer.resume(self._places)
        while len(self._seen.values) < count:
            assert time.monotonic() < until, f"{len(self._seen.values)} of {count} records\n{self._log()[-3000:]}"
            for message in self._consumer.consume(10_000, 0.1):
                assert message.error() is None, message.error()
                self._seen.values.append(message.value() or b"")
                self._seen.stamps_ms.append(message.timestamp()[1])
        return self._seen


def make_topics(address: str, names: Sequence[str], partitions: int) -> None:
    """Topics whose messages are stamped by the broker."""
    new = [NewTopic(name, partitions, 1, config={"message.timestamp.type": "LogAppendTime"}) for name in names]
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    for answer in admin.create_topics(new).values():
        answer.result()


def produce(address: str, messages: Iterable[Message]) -> None:
    """As fast as it goes, in order."""
    producer = Producer({"bootstrap.servers": address, "linger.ms": 20, "compression.type": "lz4", "log_level": 0})
    for message in messages:
        while True:
            with suppress(BufferError):
                producer.produce(message.topic, message.value, message.key, message.partition)
                break
            producer.poll(0.05)
    assert producer.flush(60) == 0


def produce_when_due(address: str, messages: Iterable[Message], begin_ns: int) -> None:
    """Each message at its moment, `begin_ns` being Unix time."""
    producer = Producer({"bootstrap.servers": address, "linger.ms": 2, "compression.type": "lz4", "log_level": 0})
    for message in messages:
        ahead_s = (begin_ns + message.at_ns - time.time_ns()) / 1e9
        if ahead_s > 0.003:
            producer.poll(0)
            time.sleep(ahead_s)
        producer.produce(message.topic, message.value, message.key, message.partition)
    assert producer.flush(60) == 0


def numbers(values: Iterable[bytes]) -> list[int]:
    """The running number of each line or record."""
    return [int(found[1]) for found in map(NUMBER.search, values) if found is not None]


def broker_pid() -> int:
    """The broker that this process has started."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    [found] = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == "java"]
    return found


def processor_s(pid: int) -> float:
    """Processor time of a process so far, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
