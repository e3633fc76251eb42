"""The configurations of a running stream, in memory that the supervisor and its workers share.

A worker that is started again must have the same configuration as the others, whatever the files say by then. It must
know the older ones, too, because questions may still be open under them.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec

from clientip.settings import Settings

MAX_OLDER: Final = 8  # configurations that a new worker still learns


class SettingsLog:
    """Configurations, oldest first, one JSON line each. It only grows, and only one process writes it."""

    def __init__(self, fd: int | None = None) -> None:
        """A new one, or another process's by its inherited descriptor."""
        self.fd = os.memfd_create("clientip-settings") if fd is None else fd
        self._read = 0

    def append(self, settings: Settings) -> None:
        """Make this the configuration from now on."""
        line = memoryview(msgspec.json.encode(settings) + b"\n")
        while line:
            line = line[os.write(self.fd, line) :]

    def news(self) -> list[Settings]:
        """The configurations appended since the last call, oldest first; at first MAX_OLDER older ones and the last."""
        held = os.pread(self.fd, os.fstat(self.fd).st_size - self._read, self._read)
        whole = held[: held.rfind(b"\n") + 1]  # the rest is being written
        self._read += len(whole)
        return [msgspec.json.decode(line, type=Settings) for line in whole.splitlines()[-MAX_OLDER - 1 :]]
