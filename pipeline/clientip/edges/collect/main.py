"""`clientip collect conntrack`: the NAT events of this network namespace as numbered lines.

The command line hands over to this module as a program of its own (`python -m clientip.edges.collect.main`), because
what the command line imports is larger than everything the collector holds.
"""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import sys
import time
from select import POLLIN, POLLOUT, poll
from typing import Final, NamedTuple

from clientip.edges.collect import socket as collect_socket
from clientip.edges.collect.flows import MAX_REMEMBERED, Flows, Wanted
from clientip.edges.collect.netlink import SOURCE_NAT, ConntrackEntry, TupleEnds
from clientip.edges.collect.socket import Events
from clientip.errors import ConfigError, Fault, SinkError

RECEIVE_BUFFER: Final = 16 * 1024 * 1024
_PAUSE_S: Final = 0.05  # events gather meanwhile; their stamps are the kernel's
_PAUSE_USER_S: Final = 0.002  # if the moment of reading is the stamp
_LOOK_USER_S: Final = 0.005  # then the socket is looked at that often, so that little lies between two looks
_TURN_S: Final = 0.2  # a signal, and the end of the duration, are noticed that soon
_MAX_BATCH: Final = 2000  # events between two writes
_LIST_AGAIN_S: Final = (1.0, 60.0)  # after losses: shortest and longest time between two lists
_PIPE_BUF: Final = 4096  # bytes that a pipe takes as a whole or not at all
_STUCK_S: Final = 1.0  # how long the end waits for a reader that takes nothing


class CollectOptions(NamedTuple):
    """The options of the command line."""

    out: str = "-"
    source_nat: bool = True  # False: all flows
    to: tuple[str, ...] = ()  # original destinations, as addresses or ranges
    zone: int | None = None
    receive_buffer: int = RECEIVE_BUFFER
    once: bool = False
    duration_s: float | None = None


def wanted(options: CollectOptions) -> Wanted:
    """Which flows get lines. Raises ConfigError for a text that is no address or range."""
    ranges = []
    for text in options.to:
        try:
            ranges.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            fault = Fault("", "--to", f"{text!r} is no address and no range; write 198.51.100.0/24")
            raise ConfigError([fault]) from None
    need = SOURCE_NAT if options.source_nat else 0

    def is_wanted(entry: ConntrackEntry, original: TupleEnds) -> bool:
        if entry.status & need != need or (options.zone is not None and entry.zone != options.zone):
            return False
        if not ranges:
            return True
        address = ipaddress.ip_address(original.destination)
        return any(address in each for each in ranges)

    return is_wanted


class Output:
    """Standard output or a file that is appended to. Lines are written whole, and at once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._fd = 1 if name == "-" else self._open()
        self.ending = False  # if True, a reader that takes nothing is not awaited

    def _open(self) -> int:
        try:
            fd = os.open(self._name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                os.write(
                    fd, b"\n"
                )  # after a kill in the middle of a write that line is broken, and the next must not be
        except OSError as error:
            raise SinkError(f"cannot write {self._name}: {error.strerror}", retry=False) from error
        return fd

    def reopen(self) -> None:
        """Open the file that has the name now: the old one was moved away."""
        if self._name != "-":
            os.close(self._fd)
            self._fd = self._open()

    def write(self, lines: list[str]) -> None:
        """Write the lines and take them out of the list."""
        piece: list[str] = []
        size = 0
        for line in lines:
            if size + len(line) > _PIPE_BUF:
                self._write("".join(piece).encode())
                piece, size = [], 0
            piece.append(line)
            size += len(line)
        if piece:
            self._write("".join(piece).encode())
        lines.clear()

    def _write(self, data: bytes) -> None:
        waiting = poll()
        waiting.register(self._fd, POLLOUT)
        waited = 0.0
        while not waiting.poll(_TURN_S * 1000):
            waited += _TURN_S
            if self.ending and waited >= _STUCK_S:
                raise SinkError("the reader of the output takes nothing; its last lines are lost", retry=False)
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise SinkError(f"cannot write {self._name}: {error.strerror}", retry=False) from error


class _Signals:
    """The signals that have come."""

    def __init__(self, output: Output) -> None:
        self.end: int | None = None
        self.reopen = False
        self._output = output
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGHUP, self._reopen)

    def _end(self, number: int, _frame: object) -> None:
        self.end = number
        self._output.ending = True

    def _reopen(self, _number: int, _frame: object) -> None:
        self.reopen = True


class Collector:
    """Reads the kernel's messages and writes the lines that `Flows` makes of them."""

    def __init__(self, options: CollectOptions, output: Output, limit: int = MAX_REMEMBERED) -> None:
        self._options = options
        self._output = output
        self._kernel_stamps = collect_socket.kernel_stamps()
        self._read_until = time.time_ns()  # all events from before then have been read
        self._flows = Flows(collect_socket.boot_id(), wanted(options), limit)
        self._events = Events(options.receive_buffer, source_nat=options.source_nat)
        self._list_again_s = 0.0
        self._listed_s = 0.0
        self._warned_crowded = False
        if self._events.receive_buffer < options.receive_buffer:
            warn(f"the kernel gives a receive buffer of {self._events.receive_buffer} bytes only")

    def run(self, signals: _Signals) -> None:
        """Write lines until a signal asks to end."""
        self._list()
        ready = poll()
        ready.register(self._events, POLLIN)
        began = next_mark = time.monotonic()
        ends = began + (self._options.duration_s if self._options.duration_s is not None else float("inf"))
        if self._options.once:
            ends = began
        while True:
            clock, now = time.time_ns(), time.monotonic()
            ending = signals.end is not None or now >= ends
            emptied = self._drain()
            if emptied:
                self._read_until = clock
                self._catch_up(clock, now)
            if ending or (emptied and now >= next_mark):
                told_until = clock if emptied else 0
                self._flows.heartbeat(told_until, time.time_ns(), kernel_stamps=self._kernel_stamps)
                next_mark = now + 1.0
            self._output.write(self._flows.lines)
            if ending:
                return
            if signals.reopen:
                signals.reopen = False
                self._output.reopen()
            if emptied:
                turn_s = _TURN_S if self._kernel_stamps else _LOOK_USER_S
                wait_s = max(0.0, min(turn_s, next_mark - now, ends - now))
                if ready.poll(wait_s * 1000):
                    time.sleep(_PAUSE_S if self._kernel_stamps else _PAUSE_USER_S)

    def _drain(self) -> bool:
        """Read a batch; returns whether the socket is empty now."""
        read, tell = self._events.read, self._flows.event
        for _ in range(_MAX_BATCH):
            datagram = read()
            if datagram is None:
                return True
            if datagram.lost or datagram.malformed:
                self._flows.lose(datagram.malformed)
            for entry in datagram.entries:
                self._kernel_stamps = entry.stamp is not None
                tell(entry, entry.stamp or time.time_ns(), self._read_until)
        return False

    def _catch_up(self, clock: int, now: float) -> None:
        """The socket is empty: from here on no event is missing, unless some were lost before."""
        self._flows.caught_up()
        self._flows.look_at(clock)
        if self._flows.crowded and not self._warned_crowded:
            self._warned_crowded = True
            warn(
                f"more than {MAX_REMEMBERED} flows live at once: "
                "the end of further ones is reported when the kernel forgets them"
            )
        if not self._flows.lost:
            return
        if now >= self._listed_s + self._list_again_s:
            warn(f"events were lost ({self._flows.malformed} unreadable so far); listing the flows again")
            self._output.write(self._flows.lines)
            shortest, longest = _LIST_AGAIN_S
            calm = now > self._listed_s + 2 * longest
            self._list_again_s = shortest if calm else min(longest, max(shortest, 2 * self._list_again_s))
            self._list()

    def _list(self) -> None:
        """Write the living flows. Events that happen meanwhile wait in their socket."""
        self._listed_s = time.monotonic()
        self._flows.begin_list(time.time_ns())
        for piece in collect_socket.listed(source_nat=self._options.source_nat):
            if piece.malformed:
                self._flows.lose(piece.malformed)
            seen = time.time_ns()
            for entry in piece.entries:
                self._flows.list(entry, seen)
            self._output.write(self._flows.lines)
        self._flows.end_list()


def warn(text: str) -> None:
    """One line to the operator."""
    sys.stderr.write(f"clientip: {text}\n")
    sys.stderr.flush()


def collect(options: CollectOptions) -> int:
    """Run until a signal asks to end; the exit code."""
    output = Output(options.out)
    signals = _Signals(output)
    collector = Collector(options, output)
    if (text := collect_socket.advice()) is not None:
        warn(text)
    collector.run(signals)
    return 130 if signals.end == signal.SIGINT else 0


def start(options: CollectOptions) -> None:
    """Become the collector; does not return."""
    wanted(options)
    sys.stdout.flush()
    program = [sys.executable, "-m", __name__, json.dumps(options)]
    try:
        os.execv(sys.executable, program)  # noqa: S606 - our own interpreter, no shell
    except OSError as error:
        raise SinkError(f"cannot start {sys.executable}: {error.strerror}", retry=False) from error


def main(arguments: list[str]) -> int:
    """Entry point of the program `start` becomes: its options as one JSON array. The exit codes are `clientip`'s."""
    out, source_nat, to, *rest = json.loads(arguments[0])
    try:
        return collect(CollectOptions(out, source_nat, tuple(to), *rest))
    except ConfigError as error:
        warn(str(error))
        return 2
    except SinkError as error:
        warn(str(error))
        return 3
    except BrokenPipeError:
        return 141


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
