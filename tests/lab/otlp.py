"""A small OTLP/HTTP receiver: writes what exporters send as files that clientip reads.

Traefik sends chunked bodies without a Content-Length; both are accepted.  Protobuf messages are kept behind their
lengths (four bytes, big endian), JSON messages as lines.  What a span's resource says of the machine it ran on is left
out: recordings are published.
"""

from __future__ import annotations

import gzip
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

BODY_LIMIT = 8 << 20


class Receiver(ThreadingHTTPServer):
    """Listens on a socket made elsewhere (in a pod's namespace) and appends to `proto` and `lines`."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, proto: Path, lines: Path) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.proto, self.lines, self.lock = proto, lines, threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def keep(self, kind: str, body: bytes) -> None:
        """Append one message."""
        path, data = (self.lines, body.strip() + b"\n") if "json" in kind else (self.proto, _framed(_anonymous(body)))
        with self.lock, path.open("ab") as out:
            out.write(data)


def _anonymous(body: bytes) -> bytes:
    request = ExportTraceServiceRequest.FromString(body)
    for each in request.resource_spans:
        kept = [
            attribute for attribute in each.resource.attributes if attribute.key.startswith(("service.", "telemetry."))
        ]
        del each.resource.attributes[:]
        each.resource.attributes.extend(kept)
    return bytes(request.SerializeToString())


def _framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self._body()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.keep(self.headers.get("Content-Type", ""), body)
        self.send_response(200)
        self.send_header("Content-Type", self.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(min(int(self.headers.get("Content-Length", 0)), BODY_LIMIT))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it so)
        """The exporters' requests are no part of a recording."""
