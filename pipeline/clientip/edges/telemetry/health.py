"""A small HTTP server for monitoring: the figures of a stream, whether it lives, and whether it is ready.

Any host that reaches its address may ask, so everything is bounded: GET of three paths, a request of a few kilobytes
within seconds, a few connections at once. It logs no request.
"""

from __future__ import annotations

import re
import socket
import socketserver
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import BoundedSemaphore, Thread
from typing import Any, Final

from clientip.errors import ConfigError, Fault, SinkError

DEFAULT: Final = "127.0.0.1:9464"
PAGE: Final = "text/plain; version=0.0.4; charset=utf-8"
MAX_REQUEST: Final = 8192  # bytes of a request's head
REQUEST_S: Final = 2.0  # for the whole request, and once more for the answer
MAX_CONNECTIONS: Final = 32  # at once; further ones are closed at once

_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)

Answer = tuple[HTTPStatus, str, str]  # status, content type, text


@contextmanager
def serve(
    address: str, page: Callable[[], str], live: Callable[[], bool], ready: Callable[[], bool]
) -> Iterator[tuple[str, int]]:
    """Answer `/metrics`, `/livez` and `/readyz` in threads of this process; gives the host and port it listens on.

    `address` is `host:port` or `[v6]:port`; port 0 takes a free one.  All addresses of the machine are `0.0.0.0` or
    `[::]`, and only when written.  The three functions are called from other threads.
    Raises ConfigError if it is no address, SinkError if it is taken.
    """
    paths: dict[str, Callable[[], Answer]] = {
        "/metrics": lambda: (HTTPStatus.OK, PAGE, page()),
        "/livez": lambda: _state(live(), "live"),
        "/readyz": lambda: _state(ready(), "ready"),
    }
    host, port = _host_and_port(address)
    try:
        server = _Server(host, port, paths)
    except (OSError, UnicodeError) as error:  # UnicodeError: the host cannot be a name
        raise SinkError(f"{address[:100]}: {getattr(error, 'strerror', None) or error}", retry=False) from error
    thread = Thread(target=server.serve_forever, args=(0.1,), name="health", daemon=True)
    thread.start()
    try:
        yield server.socket.getsockname()[:2]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _state(holds: bool, word: str) -> Answer:
    if holds:
        return HTTPStatus.OK, PAGE, f"{word}\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, PAGE, f"not {word}\n"


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or (":" in bare and bare == host) or not (_PORT.fullmatch(port) and int(port) < 65536):
        raise ConfigError([Fault("", "--listen", f"{address[:100]!r} is no address; write it like {DEFAULT}")])
    return bare, int(port)


class _Server(ThreadingHTTPServer):
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, host: str, port: int, paths: dict[str, Callable[[], Answer]]) -> None:
        self.paths = paths
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Bind without asking the DNS for this host's name, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error; a defect is shown without the client's address."""
        if not isinstance(sys.exception(), OSError):
            traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    wbufsize = -1  # an answer is sent as one piece

    def handle(self) -> None:
        """One request, then the connection ends."""
        head = self._head()
        self.rfile.close()
        self.rfile = BytesIO(head)
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline or not self.parse_request():
            return
        self.connection.settimeout(REQUEST_S)
        answer = self.server.paths.get(self.path.partition("?")[0])
        if self.command != "GET":
            self._answer(HTTPStatus.METHOD_NOT_ALLOWED, PAGE, "GET only\n")
        elif answer is None:
            self._answer(HTTPStatus.NOT_FOUND, PAGE, " ".join(self.server.paths) + "\n")
        else:
            self._answer(*answer())

    def _head(self) -> bytes:
        """The request up to its empty line; b"" if it is too long or too late."""
        head, until = b"", time.monotonic() + REQUEST_S
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            self.connection.settimeout(max(0.001, until - time.monotonic()))
            more = self.connection.recv(MAX_REQUEST + 1 - len(head))
            head += more
            if not more or len(head) > MAX_REQUEST or time.monotonic() > until:
                return b""
        return head

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode("utf-8", "backslashreplace")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET")
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        """Do not show which Python this is."""
        return "clientip"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests are not logged."""
