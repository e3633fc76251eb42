"""Sends labelled requests: the truth about each, address and port of its socket, travels in its URL.

`python -m tests.lab.kube.driver` reads connections as JSON from standard input and prints what became of them, in
order. It is run once per place from which requests come: in the clients' namespace, on a node, in a pod.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Connection:
    """One connection and the requests on it; all of one scenario."""

    scenario: str
    target: str
    port: int
    source: str = ""  # "": the system chooses
    requests: int = 1
    headers: tuple[tuple[str, str], ...] = ()
    preamble: str = ""  # bytes before the first request, as an attacker would send them
    path: str = "/"
    aborts: bool = False  # ends with a reset instead of a farewell


@dataclass(frozen=True)
class Sent:
    """What became of a connection: the truth, and a status per request (0: no answer)."""

    scenario: str
    client: str
    statuses: list[int] = field(default_factory=list)


def send(connection: Connection) -> Sent:
    """Opens the connection, sends its requests one after the other, and closes it."""
    family = socket.AF_INET6 if ":" in connection.target else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as wire:
        wire.settimeout(5)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if connection.source:
            wire.bind((connection.source, 0))
        sent: list[int] = []
        try:
            wire.connect((connection.target, connection.port))
            client = text(wire.getsockname())
            wire.sendall(connection.preamble.encode())
            for _ in range(connection.requests):
                wire.sendall(request(connection, client))
                sent.append(status(wire))
        except OSError:
            client = text(wire.getsockname())
            sent.append(0)
        if connection.aborts:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return Sent(connection.scenario, client, sent)


def text(name: tuple[str, int]) -> str:
    """A socket's own name as the label has it."""
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def request(connection: Connection, client: str) -> bytes:
    """One request with its label."""
    lines = [f"GET {connection.path}?c={client}&s={connection.scenario} HTTP/1.1", "Host: shop.example"]
    lines += [f"{name}: {value}" for name, value in connection.headers]
    return "\r\n".join([*lines, "", ""]).encode()


def status(wire: socket.socket) -> int:
    """Reads one answer to its end; 0 where none came."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = wire.recv(65536)
        if not piece:
            return 0
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += wire.recv(65536) or b"\0" * length
    return int(head.split(b" ", 2)[1])


def main() -> None:
    """Standard input to standard output."""
    plan = json.load(sys.stdin)
    connections = [Connection(**{**each, "headers": tuple(map(tuple, each["headers"]))}) for each in plan]
    json.dump([asdict(send(connection)) for connection in connections], sys.stdout)


if __name__ == "__main__":
    main()
