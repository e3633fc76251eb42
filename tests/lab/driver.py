"""Sends labelled requests: the truth about each one travels in its own target, and so into every log line about it.

`/…/truth=203.0.113.10~40001~b1~17~plain` says: the client is 203.0.113.10:40001, this is request 17 of scenario b1, of
the group `plain`.  It stands in the path, because Traefik's spans hide the values of a query.  Requests that begin
inside the cluster say `in-10.244.1.5`.  Every byte is written by hand.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab.network import CLIENTS4, CLIENTS6, Network

FIRST_PORT = 20_000
LABEL = re.compile(r"truth=(in-)?([0-9a-f.:]{2,45})~([0-9]{1,5})~([a-z0-9-]+)~([0-9]+)~([a-z0-9-]+)")
FRAME = "frame"  # group of requests before and after a scenario: logs vouch from the first to the last of them
PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Truth:
    """Who really sent one request."""

    client: str
    port: int
    inside: bool  # it began at a workload or a node: there is no client from outside
    scenario: str
    number: int
    group: str

    def label(self) -> str:
        """The text that travels in the target.

        >>> truth = Truth("203.0.113.10", 40001, False, "b1", 17, "plain")
        >>> truth.label()
        'truth=203.0.113.10~40001~b1~17~plain'
        >>> read_label("GET /" + truth.label() + " HTTP/1.1") == truth
        True
        """
        return f"truth={'in-' * self.inside}{self.client}~{self.port}~{self.scenario}~{self.number}~{self.group}"


def read_label(text: str) -> Truth | None:
    """The truth that stands in a log line, or none."""
    found = LABEL.search(text)
    if found is None:
        return None
    return Truth(found[2], int(found[3]), found[1] is not None, found[4], int(found[5]), found[6])


def proxy_v2(source: str, sport: int, target: str, dport: int) -> bytes:
    """A PROXY v2 header for TCP over IPv4."""
    block = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!HH", sport, dport)
    return PROXY_V2 + b"\x21\x11" + struct.pack("!H", len(block)) + block


class _UnreachableError(Exception):
    """No connection, and so no request."""


class Driver:
    """The senders of one scenario, and what they know about what they sent."""

    def __init__(self, network: Network, scenario: str, ports: dict[str, int], scale: float = 1.0) -> None:
        self.network, self.scenario, self.scale = network, scenario, scale
        self.truths: list[Truth] = []
        self.framing = False  # whether all that is sent is of the group FRAME
        self.failed: list[str] = []
        self._ports = ports  # next free port of each address, over all scenarios of a run
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._background: list[threading.Thread] = []
        self._held: list[tuple[socket.socket, Truth]] = []
        self._open = contextlib.ExitStack()

    def later(self, call: Callable[[], object]) -> None:
        """Begin something that goes on while the scenario does; `join` waits for it."""
        thread = threading.Thread(target=call)
        thread.start()
        self._background.append(thread)

    def join(self) -> None:
        """Wait for what `later` began."""
        for thread in self._background:
            thread.join()

    def count(self, wanted: int) -> int:
        """How many of something to do at this size of run."""
        return 2 if self.framing else max(2, round(wanted * self.scale))

    def clients(self, wanted: int, ipv6: bool = False) -> list[str]:
        """A client for each of so many connections, in turn."""
        pool = CLIENTS6 if ipv6 else CLIENTS4
        return [pool[number % len(pool)] for number in range(self.count(wanted))]

    def truth(self, source: str, port: int, group: str) -> Truth:
        """A new request's truth."""
        inside = source not in CLIENTS4 and source not in CLIENTS6
        group = FRAME if self.framing else group
        with self._lock:
            truth = Truth(source, port, inside, self.scenario, next(self._numbers), group)
            self.truths.append(truth)
        return truth

    def send(
        self,
        target: tuple[str, int],
        source: str = CLIENTS4[0],
        where: str = "client",
        *,
        group: str = "plain",
        then: str | None = None,
        path: str = "/",
        requests: int = 1,
        headers: Headers = (),
        prefix: bytes | Callable[[int], bytes] = b"",
        reset: bool = False,
        tls: bool = False,
        pause: float = 0.0,
        hold: float = 0.0,
    ) -> bytes:
        """One connection with some requests; the last answer.

        `pause` lies between them, `hold` after the last; `then` is the group of those after a pause.

        `prefix` are bytes before the first request, or makes them from the source port.
        """
        answer = b""
        with contextlib.suppress(_UnreachableError), self._connect(target, source, where) as plain:
            port = plain.getsockname()[1]
            conn: socket.socket = _TLS.wrap_socket(plain, server_hostname="lab.example") if tls else plain
            first = prefix(port) if callable(prefix) else prefix
            for number in range(requests):
                if number and pause:
                    time.sleep(pause)
                truth = self.truth(source, port, then if then and number else group)
                is_last = number == requests - 1 and not hold
                answer = self._ask(conn, first + message(path, truth, headers, is_last), truth)
                first = b""
            time.sleep(hold)
            if reset:
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if tls:
                conn.close()
        return answer

    def hold_on(self, target: tuple[str, int], source: str, group: str = "held") -> None:
        """A connection with one answered request and a second one that does not end, until `release`."""
        with contextlib.suppress(_UnreachableError):
            conn = self._open.enter_context(self._connect(target, source, "client"))
            first, second = (self.truth(source, conn.getsockname()[1], group) for _ in range(2))
            self._ask(conn, message("/", first, (), is_last=False), first)
            conn.sendall(message("/", second, (), is_last=True).removesuffix(b"\r\n") + b"X-Slow: ")
            self._held.append((conn, second))

    @property
    def is_holding(self) -> bool:
        """Whether connections are held that no log of connections shows yet."""
        return bool(self._held)

    def drip(self) -> None:
        """One byte more on every connection that is held, so that no timeout of inactivity ends it."""
        for conn, _ in self._held:
            conn.sendall(b"a")

    def release(self) -> None:
        """End what is held, in peace."""
        for conn, truth in self._held:
            self._ask(conn, b"\r\n\r\n", truth)
        self._held.clear()
        self._open.close()

    def datagram(self, target: tuple[str, int], source: str, where: str = "client", group: str = "plain") -> None:
        """One UDP request and its answer."""
        with self._bound(socket.SOCK_DGRAM, source, where) as conn:
            truth = self.truth(source, conn.getsockname()[1], group)
            conn.sendto(f"/dns/{truth.label()}".encode(), target)
            try:
                conn.recv(100)
            except OSError as error:
                self.failed.append(f"{truth.label()}: {error}")

    def many(self, calls: Iterable[Callable[[], object]], workers: int = 6) -> None:
        """Several connections at once."""
        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(call) for call in calls]:
                done.result()

    def write(self, path: Path) -> None:
        """Keep the truths, in order."""
        rows = sorted(self.truths, key=lambda truth: truth.number)
        path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))

    def _ask(self, conn: socket.socket, request: bytes, truth: Truth) -> bytes:
        answer, fault = b"", "no answer"
        try:
            conn.sendall(request)
            answer = _read(conn)
        except OSError as error:
            fault = str(error)
        if not answer:
            self.failed.append(f"{truth.label()}: {fault}")
        return answer

    def _bound(self, kind: socket.SocketKind, source: str, where: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        with self.network.inside(where):
            conn = socket.socket(family, kind)
        conn.settimeout(6)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with self._lock:
            port = self._ports[source] = self._ports.get(source, FIRST_PORT) + 1
        conn.bind((source, port))
        return conn

    @contextlib.contextmanager
    def _connect(self, target: tuple[str, int], source: str, where: str) -> Iterator[socket.socket]:
        conn = self._bound(socket.SOCK_STREAM, source, where)
        try:
            try:
                conn.connect(target)
            except OSError as error:
                self.failed.append(f"{source} to {target}: {error}")
                raise _UnreachableError from error
            yield conn
        finally:
            conn.close()


def message(path: str, truth: Truth, headers: Headers, is_last: bool) -> bytes:
    """One GET request; header text is sent as latin-1, in the given order."""
    lines = [f"GET {path.rstrip('/')}/{truth.label()} HTTP/1.1", "Host: lab.example"]
    lines += [f"{name}: {value}" for name, value in headers]
    if not any(name.lower() == "user-agent" for name, _ in headers):
        lines.append("User-Agent: lab/1.0")
    if is_last:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _read(conn: socket.socket) -> bytes:
    """One response, by its Content-Length; all there is where it has none."""
    data = b""
    while True:
        head, separator, body = data.partition(b"\r\n\r\n")
        if separator:
            length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
            if length is not None and len(body) >= int(length[1]):
                return data
        piece = conn.recv(65536)
        if not piece:
            return data
        data += piece


def _lenient() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the lab's certificate is made anew for every run
    return context


_TLS = _lenient()
