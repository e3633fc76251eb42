"""One Kafka broker (KRaft) on this machine, from the jar files of `install.sh`, for the demo; and its pieces for tests.

    python -m deploy.kafka.broker FOLDER [--keep BYTES] [--port PORT]

runs it until it is terminated, prints the address once it serves, and ends with the process that started it.  Data and
log stay in the folder, which must be empty or absent.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

CONF: Final = Path(__file__).parent
HOST: Final = "127.0.0.1"
# Below the range from which the kernel takes ports for outgoing connections: a stopped broker gets its port again.
PORTS: Final = range(21000, 30000)
START_SECONDS, STOP_SECONDS = 300.0, 10.0
HEAP: Final = 512  # MB

_PR_SET_PDEATHSIG: Final = 1

SETTINGS: Final = """
process.roles={roles}
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listeners={listeners}
listener.security.protocol.map=PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
log.dirs={folder}/data
auto.create.topics.enable=false
default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.num.partitions=4
offsets.topic.replication.factor={copies}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
log.message.timestamp.before.max.ms=9223372036854775807
log.message.timestamp.after.max.ms=9223372036854775807
log.retention.ms=-1
log.cleaner.backoff.ms=1000
log.cleaner.dedupe.buffer.size=8388608
"""

KEEP: Final = """
log.retention.bytes={keep}
log.segment.bytes={segment}
log.retention.check.interval.ms=10000
"""


@cache
def jars() -> Path:
    """The folder of Kafka's jar files, which are there once `install.sh` has run."""
    shown = subprocess.run(["sh", CONF / "install.sh", "--where"], capture_output=True, text=True, check=True)  # noqa: S603, S607
    return Path(shown.stdout.strip())


def java(program: str, *arguments: str, heap: int = 256) -> list[str]:
    """The command of a program of Kafka; the kernel kills it when the thread that started it has ended."""
    options = [f"-Xmx{heap}m", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
    log = f"-Dlog4j2.configurationFile={CONF / 'log4j2.properties'}"
    return ["setpriv", "--pdeathsig", "KILL", "java", *options, log, "-cp", f"{jars()}/*", program, *arguments]


def formatting(settings: Path, cluster: str) -> list[str]:
    """The command that makes the storage a broker needs before its first start."""
    return java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings))


def serving(settings: Path, heap: int = HEAP) -> list[str]:
    """The command of a broker; `heap` in MB."""
    return java("kafka.Kafka", str(settings), heap=heap)


def new_cluster() -> str:
    """An id for a cluster, which must not begin with a dash."""
    return base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=").decode().replace("-", "_")


def known_to(address: str) -> set[int]:
    """The brokers that this one tells its clients about; none while it does not serve."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        if probe.connect_ex((host, int(port))):
            return set()
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    try:
        return set(admin.list_topics(timeout=2).brokers)
    except KafkaException:
        return set()  # it listens before it serves


def free_ports(count: int, wished: Sequence[int] = ()) -> list[int]:
    """Free ports; the wished ones first."""
    with contextlib.ExitStack() as held:
        found: list[int] = []
        for port in [*wished, *random.sample(PORTS, len(PORTS))]:
            trial = held.enter_context(socket.socket())
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):  # taken: try the next
                trial.bind((HOST, port))
                found.append(port)
            if len(found) == count:
                return found
    raise AssertionError(f"fewer than {count} free ports in {PORTS}")


def _prepared(folder: Path, port: int, control: int, keep: int | None) -> Path:
    """The settings of a broker that is a cluster by itself; `keep`: bytes after which a partition loses its oldest."""
    folder.mkdir(parents=True, exist_ok=True)
    text = SETTINGS.format(
        roles="broker,controller",
        node=1,
        voters=f"1@{HOST}:{control}",
        listeners=f"PLAIN://{HOST}:{port},CONTROLLER://{HOST}:{control}",
        folder=folder.absolute(),
        copies=1,
        in_sync=1,
    )
    if keep is not None:
        text += KEEP.format(keep=keep, segment=max(1 << 20, keep // 4))
    path = folder / "server.properties"
    path.write_text(text)
    return path


def _run(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - the terminal's Ctrl-C is for the program that started us
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )


def serve(folder: Path, keep: int | None, wished: int | None) -> int:
    """Run a broker until SIGTERM or SIGINT; the exit code. Ends with AssertionError where it does not come up."""
    port, control = free_ports(2, () if wished is None else (wished,))
    if wished not in (None, port):
        raise AssertionError(f"port {wished} is taken")
    settings, log = _prepared(folder, port, control, keep), folder / "broker.log"
    if _run(formatting(settings, new_cluster()), log).wait(START_SECONDS):
        raise AssertionError(f"the storage cannot be formatted, see {log}")
    broker, until = _run(serving(settings), log), time.monotonic() + START_SECONDS
    try:
        while not known_to(f"{HOST}:{port}"):
            if broker.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the broker does not come up, see {log}")
            time.sleep(0.05)
        sys.stdout.write(f"{HOST}:{port}\n")
        sys.stdout.flush()
        return broker.wait()
    finally:
        broker.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            broker.wait(STOP_SECONDS)
        broker.kill()
        broker.wait()


def main() -> None:
    """Be one broker."""
    parser = argparse.ArgumentParser(prog="python -m deploy.kafka.broker", description="Run one Kafka broker.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", type=int, help="bytes after which a partition loses its oldest messages")
    parser.add_argument("--port", type=int, help="where it listens; default: a free one")
    wanted = parser.parse_args()
    if not jars().is_dir():
        sys.exit(f"{jars()} is missing: run `sh deploy/kafka/install.sh`")
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    try:
        sys.exit(serve(wanted.folder, wanted.keep, wanted.port))
    except AssertionError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
