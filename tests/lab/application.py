"""An instrumented application: answers any request, exports a SERVER span for it.

Run in a pod: `python application.py ADDRESS PORT UDP_PORT READY_FILE`.  Spans go to the receiver on 127.0.0.1:4318 in
batches.  UDP datagrams to the second port are answered too, and become spans with `network.transport` udp.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SERVER_KIND = 2
NO_CALLER = ("", "")
_spans: list[dict[str, Any]] = []
_lock = threading.Lock()


def _attribute(key: str, value: str | int) -> dict[str, Any]:
    kind = "intValue" if isinstance(value, int) else "stringValue"
    return {"key": key, "value": {kind: str(value)}}


def caller_of(headers: Mapping[str, str]) -> tuple[str, str]:
    """Trace and parent; as in many programs, every way to write them is read: B3, Datadog's, and W3C's.

    >>> caller_of({"x-datadog-trace-id": "18", "x-datadog-parent-id": "1", "x-datadog-tags": "_dd.p.tid=" + "a" * 16})
    ('aaaaaaaaaaaaaaaa0000000000000012', '0000000000000001')
    """
    b3, datadog = headers.get("b3", "").split("-"), headers.get("x-datadog-trace-id", "")
    if len(b3) > 1:
        return b3[0], b3[1]
    if datadog.isdecimal():
        high = headers.get("x-datadog-tags", "").removeprefix("_dd.p.tid=")
        return f"{high:0>16}{int(datadog):016x}", f"{int(headers.get('x-datadog-parent-id', '0')):016x}"
    w3c = headers.get("traceparent", "").split("-")
    return (w3c[1], w3c[2]) if len(w3c) == 4 else NO_CALLER


def span(
    begun: int,
    peer: tuple[Any, ...],
    local: tuple[Any, ...],
    target: str,
    caller: tuple[str, str],
    transport: str,
    forwarded: str,
) -> None:
    """Keep one SERVER span for the next batch."""
    trace, parent = caller if caller != NO_CALLER else (secrets.token_hex(16), "")
    path, _, query = target.partition("?")
    attributes = [
        _attribute("network.transport", transport),
        _attribute("network.peer.address", str(peer[0]).removeprefix("::ffff:")),
        _attribute("network.peer.port", int(peer[1])),
        _attribute("network.local.address", str(local[0]).removeprefix("::ffff:")),
        _attribute("network.local.port", int(local[1])),
        _attribute("url.path", path),
        _attribute("url.query", query),
        _attribute("http.request.method", "GET"),
    ]
    if forwarded:
        values = [{"stringValue": forwarded}]
        attributes.append({"key": "http.request.header.x-forwarded-for", "value": {"arrayValue": {"values": values}}})
    row = {"traceId": trace, "spanId": secrets.token_hex(8), "parentSpanId": parent, "name": "GET", "kind": SERVER_KIND}
    times = {"startTimeUnixNano": str(begun), "endTimeUnixNano": str(time.time_ns())}
    with _lock:
        _spans.append({**row, **times, "attributes": attributes})


def export() -> None:
    """Send what has gathered, for ever."""
    while True:
        time.sleep(0.1)
        with _lock:
            batch, _spans[:] = list(_spans), []
        if not batch:
            continue
        resource = {"attributes": [_attribute("service.name", "shop")]}
        body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": batch}]}]}
        request = urllib.request.Request(
            "http://127.0.0.1:4318/v1/traces",
            json.dumps(body, separators=(",", ":")).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300):
            pass


class Handler(BaseHTTPRequestHandler):
    """Answers "ok" to everything."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """One request, one span."""
        begun = time.time_ns()
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")
        headers = {name.lower(): value for name, value in self.headers.items()}
        caller, forwarded = caller_of(headers), headers.get("x-forwarded-for", "")
        span(begun, self.client_address, self.connection.getsockname(), self.path, caller, "tcp", forwarded)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it so)
        """Nothing on standard error."""


def datagrams(server: socket.socket, address: str) -> None:
    """Answer every datagram; its text is the target of its span."""
    while True:
        text, peer = server.recvfrom(2048)
        begun = time.time_ns()
        server.sendto(b"ok", peer)
        span(begun, peer, (address, server.getsockname()[1]), text.decode("latin-1"), NO_CALLER, "udp", "")


def main() -> None:
    """`application.py ADDRESS PORT UDP_PORT READY_FILE`."""
    address, port, udp_port, ready = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, udp_port))
    threading.Thread(target=datagrams, args=(server, address), daemon=True).start()
    threading.Thread(target=export, daemon=True).start()
    http = ThreadingHTTPServer((address, port), Handler)
    ready.touch()
    http.serve_forever()


if __name__ == "__main__":
    main()
