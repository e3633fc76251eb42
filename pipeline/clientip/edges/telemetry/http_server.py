"""A few pages over HTTP, for whoever reaches the address: one thread that never waits for any of its connections.

A stranger can hold connections and be slow, so a connection costs nothing but its place.  Where all places are taken,
the oldest connection of the address that holds most of them makes room: the last one to come is always heard, and a
probe is answered in the turn in which it arrives.  A request is the GET of a known path in a few kilobytes, within
seconds; none is logged.
"""

from __future__ import annotations

import errno
import re
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from threading import Thread
from typing import Final, NamedTuple

MAX_REQUEST: Final = 8192  # bytes of a request's head
REQUEST_S: Final = 2.0  # for the whole request, and once more for the answer
MAX_CONNECTIONS: Final = 128  # at once
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"

_BACKLOG: Final = 512  # connections that the kernel holds until they are accepted
_ACCEPTED_S: Final = 0.1  # until the next try, where no further connection can be had
_FULL: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_REQUEST: Final = re.compile(rb"([!-~]{1,64}) ([!-~]+) HTTP/[0-9]\.[0-9]\r?\n")


class Page(NamedTuple):
    """What is answered."""

    status: HTTPStatus
    text: str


Pages = Mapping[str, Callable[[], Page]]
"""Path → its page; called in the thread of the server."""


def listening(host: str, port: int) -> socket.socket:
    """A socket on which connections arrive; OSError or UnicodeError where the address cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except (OSError, UnicodeError):
        listener.close()
        raise
    return listener


@contextmanager
def serving(listener: socket.socket, pages: Pages) -> Iterator[tuple[str, int]]:
    """Answer in a thread until the block ends; gives the host and port listened on."""
    server = _Server(listener, pages)
    thread = Thread(target=server.run, name="http", daemon=True)
    thread.start()
    try:
        yield server.address
    finally:
        server.stop()
        thread.join()


class _Connection:
    __slots__ = ("head", "host", "left", "socket", "until_s")

    def __init__(self, connected: socket.socket, host: str) -> None:
        self.socket, self.host = connected, host
        self.head = b""
        self.left = memoryview(b"")  # of the answer; empty until there is one
        self.until_s = time.monotonic() + REQUEST_S


class _Server:
    def __init__(self, listener: socket.socket, pages: Pages) -> None:
        self._listener, self._pages = listener, pages
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._selector = DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._open: dict[int, _Connection] = {}  # by descriptor, in the order in which their time is over
        self._held: Counter[str] = Counter()  # connections by the address of their far end
        self._selector.register(listener, EVENT_READ)
        self._selector.register(self._woken, EVENT_READ)

    def stop(self) -> None:
        """Let `run` return."""
        self._wake.close()

    def run(self) -> None:
        """Turn by turn, until stopped."""
        try:
            while self._turn():
                self._end_overdue()
        finally:
            for connection in [*self._open.values()]:
                self._end(connection)
            self._selector.close()
            self._listener.close()
            self._woken.close()

    def _turn(self) -> bool:
        """Whether to go on."""
        first = next(iter(self._open.values()), None)
        wait_s = None if first is None else max(0.0, first.until_s - time.monotonic())
        ready = [key.fd for key, _ in self._selector.select(wait_s)]
        if self._woken.fileno() in ready:
            return False
        for descriptor in ready:
            if descriptor == self._listener.fileno():
                self._accept()
            elif descriptor in self._open:
                self._move(self._open[descriptor])
        return True

    def _accept(self) -> None:
        """Take up connections; each is heard at once, because what it asks has mostly come with it."""
        for _ in range(MAX_CONNECTIONS):
            try:
                connected, far = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _FULL and self._open:
                    self._end(self._least_deserving())
                elif error.errno in _FULL:
                    time.sleep(_ACCEPTED_S)
                return
            connected.setblocking(False)
            connection = _Connection(connected, far[0])
            self._open[connected.fileno()] = connection
            self._held[connection.host] += 1
            self._selector.register(connected, EVENT_READ)
            if len(self._open) > MAX_CONNECTIONS:
                self._end(self._least_deserving())
            if connected.fileno() in self._open:
                self._move(connection)

    def _least_deserving(self) -> _Connection:
        """The oldest connection of an address that holds the most."""
        most = max(self._held.values())
        return next(each for each in self._open.values() if self._held[each.host] == most)

    def _move(self, connection: _Connection) -> None:
        """Read or write as much as is possible now."""
        try:
            if connection.left or self._hear(connection):
                self._say(connection)
        except BlockingIOError:
            return
        except OSError:  # the far end went away
            self._end(connection)

    def _hear(self, connection: _Connection) -> bool:
        """Whether the request is there, and so its answer."""
        more = connection.socket.recv(MAX_REQUEST + 1 - len(connection.head))
        connection.head += more
        if b"\r\n\r\n" not in connection.head and b"\n\n" not in connection.head:
            if not more or len(connection.head) > MAX_REQUEST:
                self._end(connection)
            return False
        connection.left = memoryview(self._answer(connection.head))
        if not connection.left:
            self._end(connection)
            return False
        connection.until_s = time.monotonic() + REQUEST_S
        self._open[connection.socket.fileno()] = self._open.pop(connection.socket.fileno())
        self._selector.modify(connection.socket, EVENT_WRITE)
        return True

    def _say(self, connection: _Connection) -> None:
        while connection.left:
            connection.left = connection.left[connection.socket.send(connection.left) :]
        self._end(connection)

    def _answer(self, head: bytes) -> bytes:
        """The bytes of the answer; none where our own page fails, which is shown without who asked."""
        try:
            return _response(_page(self._pages, head))
        except Exception:  # noqa: BLE001 - a page that fails must not end the answers to probes
            traceback.print_exc(file=sys.stderr)
            return b""

    def _end_overdue(self) -> None:
        now = time.monotonic()
        while (first := next(iter(self._open.values()), None)) is not None and first.until_s <= now:
            self._end(first)

    def _end(self, connection: _Connection) -> None:
        descriptor = connection.socket.fileno()
        self._selector.unregister(connection.socket)
        del self._open[descriptor]
        self._held[connection.host] -= 1
        if not self._held[connection.host]:
            del self._held[connection.host]
        with suppress(OSError):  # the far end may be gone, which is how it ends then
            connection.socket.shutdown(socket.SHUT_WR)
        connection.socket.close()


def _page(pages: Pages, head: bytes) -> Page:
    request = _REQUEST.match(head)
    if request is None:
        return Page(HTTPStatus.BAD_REQUEST, "no request of HTTP/1\n")
    if request[1] != b"GET":
        return Page(HTTPStatus.METHOD_NOT_ALLOWED, "GET only\n")
    made = pages.get(request[2].partition(b"?")[0].decode("ascii"))
    return Page(HTTPStatus.NOT_FOUND, " ".join(pages) + "\n") if made is None else made()


def _response(page: Page) -> bytes:
    body = page.text.encode("utf-8", "backslashreplace")
    allow = "Allow: GET\r\n" if page.status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.0 {page.status.value} {page.status.phrase}\r\nServer: clientip\r\nContent-Type: {TEXT}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n{allow}\r\n"
    )
    return head.encode("ascii") + body
