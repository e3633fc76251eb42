"""Raw-socket client: every byte that reaches a server is chosen here.

A HTTP library would merge repeated headers, reorder them or refuse the broken
requests that make the interesting log lines.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass

PROXY_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


@dataclass(frozen=True)
class Sent:
    """The real end of the connection a group of requests used."""

    client: str
    port: int
    replies: tuple[bytes, ...]


def request(path: str, headers: list[tuple[str, str]], last: bool = True) -> bytes:
    """One GET request; header text is sent as latin-1, in the given order."""
    lines = [f"GET {path} HTTP/1.1", "Host: www.example.com"]
    lines += [f"{name}: {value}" for name, value in headers]
    if not any(name.lower() == "user-agent" for name, _ in headers):
        lines.append("User-Agent: golden/1.0")
    if last:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def exchange(source: str, target: tuple[str, int], messages: list[bytes], wait: float = 4.0) -> Sent:
    """Send messages one after the other on one connection bound to `source`."""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as conn:
        conn.settimeout(wait)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        conn.bind((source, 0))
        conn.connect(target)
        port = int(conn.getsockname()[1])
        replies = []
        for number, message in enumerate(messages, 1):
            conn.sendall(message)
            final = number == len(messages)
            replies.append(_read_all(conn) if final else _read_one(conn))
    return Sent(source, port, tuple(replies))


def _read_all(conn: socket.socket) -> bytes:
    """Read until the server closes; a timeout or reset ends the reading too."""
    data = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while piece := conn.recv(65536):
            data += piece
    return data


def _read_one(conn: socket.socket) -> bytes:
    """Read one response of a keep-alive connection (content-length or chunked)."""
    data = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while not _complete(data):
            piece = conn.recv(65536)
            if not piece:
                break
            data += piece
    return data


def _complete(data: bytes) -> bool:
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
        if name.lower() == b"transfer-encoding":
            return body.endswith(b"0\r\n\r\n")
    return True


def proxy_v2_local() -> bytes:
    """The header a balancer sends before its own health check."""
    return PROXY_V2_SIGNATURE + b"\x20\x00\x00\x00"


def proxy_v2_tcp4(source: str, target: str, sport: int, dport: int) -> bytes:
    """A PROXY v2 header for TCP over IPv4."""
    block = socket.inet_aton(source) + socket.inet_aton(target)
    block += struct.pack("!HH", sport, dport)
    return PROXY_V2_SIGNATURE + b"\x21\x11" + struct.pack("!H", len(block)) + block


def tls_hello(name: str) -> bytes:
    """A TLS ClientHello, as a browser sends it to a plain-text port by mistake."""
    host = name.encode()
    sni = struct.pack("!HBH", len(host) + 3, 0, len(host)) + host
    extensions = struct.pack("!HH", 0, len(sni)) + sni
    body = b"\x03\x03" + bytes(range(0x60, 0x80)) + b"\x00" + b"\x00\x02\x13\x01\x01\x00"
    body += struct.pack("!H", len(extensions)) + extensions
    shake = b"\x01" + struct.pack("!I", len(body))[1:] + body
    return b"\x16\x03\x01" + struct.pack("!H", len(shake)) + shake
