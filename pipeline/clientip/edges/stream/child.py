"""One worker process as its supervisor sees it: it is started, it sends snapshots, and it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Final

from clientip.edges.stream.worker import SIGNALS, worker_name
from clientip.edges.telemetry.figures import Snapshot, read

PAUSES_S: Final = (0, 1, 2, 5, 10, 20, 30)  # before the next start, by how many processes in a row died young
YOUNG_S: Final = 10.0
_READ_BYTES: Final = 1 << 16
_MAX_SNAPSHOT: Final = 1 << 24  # bytes; the figures are bounded far below


class Child:
    """A worker that is kept alive under one name: static membership and transactional id depend on the name."""

    def __init__(self, module: str, instance: str, role: str, number: int) -> None:
        self.name = worker_name(instance, role, number)
        self.snapshot: Snapshot | None = None  # the last one of the process that runs
        self.pipe: int | None = None  # where its snapshots come from
        self.due_s: float | None = 0.0  # of the monotonic clock: when to start it; None: it runs
        self._command = (sys.executable, "-P", "-m", module, role, str(number), "--name", instance)
        self.killed = False  # whether the process that runs was sent SIGKILL
        self._process: subprocess.Popen[bytes] | None = None
        self._began_s = 0.0
        self._young_deaths = 0
        self._pieces: list[bytes] = []  # of a snapshot that is not whole yet
        self._pieces_bytes = 0

    @property
    def pid(self) -> int | None:
        """Of the process that runs; None: none runs."""
        return None if self._process is None else self._process.pid

    def start(self, settings: int) -> None:
        """Start the process; `settings` is the descriptor of the settings log. Errors: OSError; then none runs."""
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        handed = ("--settings", str(settings), "--snapshots", str(theirs), "--parent", str(os.getpid()))
        # The child inherits the mask: no signal reaches it before it can handle signals.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
                [*self._command, *handed],
                stdin=subprocess.DEVNULL,
                pass_fds=(settings, theirs),
            )
        except OSError:
            os.close(ours)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(theirs)
        self.pipe, self._began_s, self.due_s = ours, time.monotonic(), None

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)
            self.killed = self.killed or number == signal.SIGKILL

    def listen(self) -> None:
        """Read its snapshots from the pipe.

        A child that writes without end is not read any further; the supervisor then kills it because it no longer
        responds.
        """
        assert self.pipe is not None
        piece = os.read(self.pipe, _READ_BYTES)
        self._pieces_bytes += len(piece)
        if not piece or self._pieces_bytes > _MAX_SNAPSHOT:
            os.close(self.pipe)
            self.pipe = None
            return
        whole, end, rest = piece.rpartition(b"\n")
        if not end:
            self._pieces.append(piece)
            return
        self.snapshot = read(b"".join([*self._pieces, whole]).rpartition(b"\n")[2])
        self._pieces, self._pieces_bytes = [rest], len(rest)

    def silent_s(self, now: float) -> float:
        """For how many seconds it has not responded; 0 if it does not run."""
        if self._process is None:
            return 0.0
        return now - (self._began_s if self.snapshot is None else self.snapshot.beat)

    def ended(self, now: float) -> int | None:
        """The exit code (below zero: the signal) of a process that ended since the last call. It is then due again."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return None
        if self.pipe is not None:
            os.close(self.pipe)
        young = now - self._began_s < YOUNG_S
        self._young_deaths = self._young_deaths + 1 if young else 0
        self.due_s = now + PAUSES_S[min(max(0, self._young_deaths - 1), len(PAUSES_S) - 1)]
        self._process, self.pipe, self.snapshot, self.killed = None, None, None, False
        self._pieces, self._pieces_bytes = [], 0
        return code


def running(children: Iterable[Child]) -> list[Child]:
    """The children whose process runs."""
    return [child for child in children if child.pid is not None]
