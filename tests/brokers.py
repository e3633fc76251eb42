"""Real Kafka brokers (KRaft) for tests, benchmarks and the demo, from the jar files of `deploy/kafka/install.sh`.

    with Brokers(folder, 3) as kafka:
        Producer({"bootstrap.servers": kafka.address})
        kafka.kill(2)

As a program it runs one broker until it is terminated, or until another process has ended, and prints the address:

    python -m tests.brokers FOLDER [--while PID]

Every broker is a child that the kernel kills when the thread that started it ends, however it ends.
Data and logs stay in the folder (`node-1/broker.log`), which must be empty or absent.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import random
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

CONF = Path(__file__).parent.parent / "deploy" / "kafka"
JARS = Path(sys.prefix) / "kafka" / "jars"
HOST = "127.0.0.1"
# Below the range from which the kernel takes ports for outgoing connections: a stopped broker gets its port again.
PORTS = range(21000, 30000)
START_SECONDS, STOP_SECONDS = 90.0, 30.0

SETTINGS = """
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

SECURE_SETTINGS = """
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
  user_{user}="{password}";
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={keys}
listener.name.secure.ssl.truststore.type=PEM
listener.name.secure.ssl.truststore.location={ca}
listener.name.secure.ssl.client.auth=requested
"""


class Brokers:
    """One to three brokers on this machine, numbered from 1; all of them run once the context is entered.

    Three go on serving when any one of them is gone.  Two have their only controller in node 1.
    `secure` adds a listener with TLS and a password (SCRAM-SHA-512 or PLAIN) to each, at `secure_address`.
    """

    user, password = "clientip", "correct-horse"

    def __init__(self, folder: Path, count: int = 1, *, secure: bool = False) -> None:
        self.folder, self.count, self.secure = folder.absolute(), count, secure
        nodes = range(1, count + 1)
        ports = iter(_free_ports(3 * count))
        self._plain = {node: next(ports) for node in nodes}
        self._control = {node: next(ports) for node in nodes}
        self._secured = {node: next(ports) for node in nodes}
        self._heap = 512 if count == 1 else 320  # MB
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.address = ",".join(f"{HOST}:{port}" for port in self._plain.values())
        self.secure_address = ",".join(f"{HOST}:{port}" for port in self._secured.values())
        self.ca_file = self.folder / "ca.pem"

    def __enter__(self) -> Brokers:
        if not JARS.is_dir():
            raise AssertionError(f"{JARS} is missing: run `sh deploy/kafka/install.sh {sys.prefix}`")
        try:
            self._format()
            self.start(*range(1, self.count + 1))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        for node in list(self._running):
            self.kill(node)

    def start(self, *nodes: int) -> None:
        """Start these brokers and wait until each of them tells that they are there."""
        for node in nodes:
            command = _java("kafka.Kafka", str(self._home(node) / "server.properties"), heap=self._heap)
            with self._log(node).open("ab") as log:
                self._running[node] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        deadline = time.monotonic() + START_SECONDS
        for node in nodes:
            while not set(nodes) <= self._known_to(node):
                if self._running[node].poll() is not None or time.monotonic() > deadline:
                    self.kill(node)
                    raise AssertionError(f"broker {node} does not come up:\n{self.log_tail(node)}")
                time.sleep(0.05)

    def stop(self, node: int) -> None:
        """Ask a broker to end, as an operator does, and wait until it has ended."""
        self._running[node].terminate()
        try:
            self._running[node].wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"broker {node} does not stop:\n{self.log_tail(node)}") from None
        del self._running[node]

    def kill(self, node: int) -> None:
        """SIGKILL; the broker is gone when this returns."""
        process = self._running.pop(node)
        process.kill()
        process.wait()

    def pause(self, node: int) -> None:
        """SIGSTOP: the broker keeps its connections and answers nothing."""
        self._running[node].send_signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """SIGCONT."""
        self._running[node].send_signal(signal.SIGCONT)

    def log_tail(self, node: int, lines: int = 40) -> str:
        """The end of what a broker has logged."""
        return "\n".join(self._log(node).read_text(errors="replace").splitlines()[-lines:])

    def _home(self, node: int) -> Path:
        return self.folder / f"node-{node}"

    def _log(self, node: int) -> Path:
        return self._home(node) / "broker.log"

    def _controls(self, node: int) -> bool:
        return node == 1 or self.count % 2 == 1

    def _format(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.secure:
            _make_certificates(self.folder)
        cluster = base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=").decode().replace("-", "_")
        running = []
        for node in range(1, self.count + 1):
            self._home(node).mkdir()
            settings = self._home(node) / "server.properties"
            settings.write_text(self._settings(node))
            command = _java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings))
            if self.secure:
                command += ["--add-scram", f"SCRAM-SHA-512=[name={self.user},password={self.password}]"]
            with self._log(node).open("wb") as log:
                running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        for node, process in enumerate(running, 1):
            if process.wait(START_SECONDS):
                raise AssertionError(f"storage of broker {node} cannot be formatted:\n{self.log_tail(node)}")

    def _settings(self, node: int) -> str:
        listeners = [f"PLAIN://{HOST}:{self._plain[node]}"]
        if self._controls(node):
            listeners.append(f"CONTROLLER://{HOST}:{self._control[node]}")
        if self.secure:
            listeners.append(f"SECURE://{HOST}:{self._secured[node]}")
        text = SETTINGS.format(
            roles="broker,controller" if self._controls(node) else "broker",
            node=node,
            voters=",".join(f"{each}@{HOST}:{port}" for each, port in self._control.items() if self._controls(each)),
            listeners=",".join(listeners),
            folder=self._home(node),
            copies=self.count,
            in_sync=max(1, self.count - 1),  # so that transactions go on without one broker
        )
        if self.secure:
            keys, ca = self.folder / "server.pem", self.ca_file
            text += SECURE_SETTINGS.format(user=self.user, password=self.password, keys=keys, ca=ca)
        return text

    def _known_to(self, node: int) -> set[int]:
        """The brokers that this one tells its clients about; none while it does not serve."""
        with socket.socket() as probe:
            if probe.connect_ex((HOST, self._plain[node])):
                return set()
        admin = AdminClient({"bootstrap.servers": f"{HOST}:{self._plain[node]}", "log_level": 0})
        try:
            return set(admin.list_topics(timeout=2).brokers)
        except KafkaException:
            return set()  # it listens before it serves


def _java(program: str, *arguments: str, heap: int = 256) -> list[str]:
    # setpriv: the kernel kills the program when the thread that started it has ended.
    options = [f"-Xmx{heap}m", "-XX:+UseSerialGC", "-XX:-UsePerfData"]
    log = f"-Dlog4j2.configurationFile={CONF / 'log4j2.properties'}"
    return ["setpriv", "--pdeathsig", "KILL", "java", *options, log, "-cp", f"{JARS}/*", program, *arguments]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        found: list[int] = []
        for port in random.sample(PORTS, len(PORTS)):
            trial = held.enter_context(socket.socket())
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):  # taken: try the next
                trial.bind((HOST, port))
                found.append(port)
            if len(found) == count:
                return found
    raise AssertionError(f"fewer than {count} free ports in {PORTS}")


def _make_certificates(folder: Path) -> None:
    """`ca.pem`, and signed by it `server.pem`: a key with its certificate for this host."""
    new_key = shlex.split("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30")
    ca = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=clientip test CA"]
    server = shlex.split("-keyout server.key -out server.crt -subj /CN=localhost -CA ca.pem -CAkey ca.key")
    names = ["-addext", f"subjectAltName=IP:{HOST},DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
    for command in ([*new_key, *ca], [*new_key, *server, *names]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    (folder / "server.pem").write_text((folder / "server.key").read_text() + (folder / "server.crt").read_text())


def main() -> None:
    """Run one broker as a program; once it serves, the address stands in FOLDER/address as well."""
    parser = argparse.ArgumentParser(prog="python -m tests.brokers", description="Run one Kafka broker.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--while", dest="other", type=int, help="end with this process as well")
    wanted = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    watched = [] if wanted.other is None else [os.pidfd_open(wanted.other)]
    with Brokers(wanted.folder) as kafka:
        (kafka.folder / "address.new").write_text(kafka.address)
        (kafka.folder / "address.new").rename(kafka.folder / "address")
        print(kafka.address, flush=True)
        select.select(watched, [], [])


if __name__ == "__main__":
    main()
