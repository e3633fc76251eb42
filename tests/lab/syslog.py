"""A small syslog receiver: every datagram becomes a line of a file."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

DATAGRAM_BYTES = 65_536
LINUX_SO_RCVBUFFORCE = 33
WAITING_BYTES = 8 << 20  # of datagrams that were not read yet; a lost one would be a lost line


class Receiver:
    """Reads a socket made elsewhere (in a namespace) and appends to `lines`, for ever."""

    def __init__(self, listener: socket.socket, lines: Path) -> None:
        listener.setsockopt(socket.SOL_SOCKET, LINUX_SO_RCVBUFFORCE, WAITING_BYTES)
        self._listener, self._lines = listener, lines
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self._lines.open("ab", buffering=0) as out:
            while True:
                out.write(self._listener.recv(DATAGRAM_BYTES).rstrip(b"\n") + b"\n")
