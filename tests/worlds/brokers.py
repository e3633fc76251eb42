"""Real Kafka brokers (KRaft) for tests and benchmarks, from the jar files of `deploy/kafka/install.sh`.

    with Brokers(folder, 3) as kafka:
        Producer({"bootstrap.servers": kafka.address})
        kafka.kill(2)

As a program it runs one broker until it is terminated, or until another process has ended, and prints the address:

    python -m tests.worlds.brokers FOLDER [--while PID]

Every broker is a child that the kernel kills when the thread that started it ends, however it ends.
Data and logs stay in the folder (`node-1/broker.log`), which must be empty or absent.
"""

from __future__ import annotations

import argparse
import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from types import TracebackType

from deploy.kafka.broker import HEAP, HOST, SETTINGS, formatting, free_ports, jars, known_to, new_cluster, serving
from tests.worlds.patience import LIMIT_S, until

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
        ports = iter(free_ports(3 * count))
        self._plain = {node: next(ports) for node in nodes}
        self._control = {node: next(ports) for node in nodes}
        self._secured = {node: next(ports) for node in nodes}
        self._heap = HEAP if count == 1 else 320  # MB
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.address = ",".join(f"{HOST}:{port}" for port in self._plain.values())
        self.secure_address = ",".join(f"{HOST}:{port}" for port in self._secured.values())
        self.ca_file = self.folder / "ca.pem"

    def __enter__(self) -> Brokers:
        if not jars().is_dir():
            raise AssertionError(f"{jars()} is missing: run `sh deploy/kafka/install.sh`")
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
            command = serving(self._home(node) / "server.properties", self._heap)
            with self._log(node).open("ab") as log:
                self._running[node] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        for node in nodes:
            until(lambda node=node: self._is_up(node, nodes), lambda node=node: self.log_tail(node))  # type: ignore[misc]

    def _is_up(self, node: int, nodes: Collection[int]) -> bool:
        if self._running[node].poll() is not None:
            self.kill(node)
            raise AssertionError(f"broker {node} does not come up:\n{self.log_tail(node)}")
        return set(nodes) <= known_to(f"{HOST}:{self._plain[node]}")

    def stop(self, node: int) -> None:
        """Ask a broker to end, as an operator does, and wait until it has ended."""
        self._running[node].terminate()
        try:
            self._running[node].wait(LIMIT_S)
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
        cluster = new_cluster()
        running = []
        for node in range(1, self.count + 1):
            self._home(node).mkdir()
            settings = self._home(node) / "server.properties"
            settings.write_text(self._settings(node))
            command = formatting(settings, cluster)
            if self.secure:
                command += ["--add-scram", f"SCRAM-SHA-512=[name={self.user},password={self.password}]"]
            with self._log(node).open("wb") as log:
                running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        for node, process in enumerate(running, 1):
            if process.wait(LIMIT_S):
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


def _make_certificates(folder: Path) -> None:
    """`ca.pem`, and signed by it `server.pem`: a key with its certificate for this host."""
    new_key = shlex.split("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30")
    ca = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=clientip test CA"]
    server = shlex.split("-keyout server.key -out server.crt -subj /CN=localhost -CA ca.pem -CAkey ca.key")
    names = ["-addext", f"subjectAltName=IP:{HOST},DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
    for command in ([*new_key, *ca], [*new_key, *server, *names]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=LIMIT_S)
    (folder / "server.pem").write_text((folder / "server.key").read_text() + (folder / "server.crt").read_text())


def main() -> None:
    """Run one broker as a program; once it serves, the address stands in FOLDER/address as well."""
    parser = argparse.ArgumentParser(prog="python -m tests.worlds.brokers", description="Run one Kafka broker.")
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
