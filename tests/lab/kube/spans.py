"""A receiver of spans: stores what OTLP exporters post, each message behind its length, as a collector's file has it.

`python -m tests.lab.kube.spans ADDRESS PORT FILE`
"""

from __future__ import annotations

import gzip
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

_LOCK = Lock()


class Receiver(BaseHTTPRequestHandler):
    """Takes any POST; exporters written in Go send chunks without a length."""

    protocol_version = "HTTP/1.1"
    file = Path()

    def do_POST(self) -> None:
        """One message."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with _LOCK, self.file.open("ab") as stored:
            stored.write(len(body).to_bytes(4, "big") + body)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """No line per request."""


if __name__ == "__main__":
    Receiver.file = Path(sys.argv[3])
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Receiver).serve_forever()
