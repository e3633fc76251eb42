"""`python -m benchmarks.collect [--seconds N] [--events N]`: `clientip collect conntrack` beside `conntrack -E`.

A router in network namespaces does source NAT for made traffic; both programs listen there at the same time, and write
to files.  Processor time is theirs alone (schedstat); what the kernel does to make the events counts for neither.
`events/s` follow from the flows that were told, each told twice; the peer may lose some, and says how many it read.
Needs root, iproute2, iptables and conntrack.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL
from typing import IO, Final, NamedTuple

from tests.worlds.nat_space import POD_PORT, SERVER, NatSpace

SETTLE_S: Final = 10.0
GENERATORS: Final = 2

_SERVE: Final = f"""
import socket
listening = socket.create_server(("{SERVER}", {POD_PORT}), backlog=1000)
while True:
    connection, _ = listening.accept()
    connection.recv(100)
    connection.close()
"""
_CONNECT: Final = f"""
import socket, sys, time
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
begin = time.monotonic()
for number in range(int(rate * seconds)):
    delay = begin + number / rate - time.monotonic()
    if delay > 0.002:
        time.sleep(delay)
    with socket.create_connection(("{SERVER}", {POD_PORT})) as connection:
        connection.send(b"x")
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
"""
_DATAGRAMS: Final = f"""
import socket, struct, sys, time
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
begin = time.monotonic()
for number in range(int(rate * seconds)):
    delay = begin + number / rate - time.monotonic()
    if delay > 0.002:
        time.sleep(delay)
    raw.sendto(struct.pack(">HHHHB", 1024 + (number * 2 + int(sys.argv[3])) % 60000, 9, 9, 0, 0), ("{SERVER}", 0))
"""


class Kind(NamedTuple):
    """One kind of traffic."""

    title: str
    program: str
    per_flow: int  # events


KINDS: Final = (
    # NEW, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT or LAST_ACK, TIME_WAIT, DESTROY
    Kind("TCP connections", _CONNECT, 7),
    # NEW, DESTROY: no answer comes, and every event is told
    Kind("UDP datagrams", _DATAGRAMS, 2),
)


class Row(NamedTuple):
    """What one kind of traffic showed."""

    events: float  # per second
    lines: float  # of ours, per second
    ours: float  # cores
    theirs: float
    read: float  # lines of theirs, per second
    peak: int  # bytes, ours
    gaps: int


def main() -> None:
    """Measure both kinds of traffic and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--events", type=float, default=5000, help="per second")
    asked = parser.parse_args()
    print(
        "traffic          events/s  lines/s  CPU of a core  memory     gaps  "
        "conntrack -E: lines/s  CPU of a core  ratio"
    )
    for kind in KINDS:
        with NatSpace() as space, tempfile.TemporaryDirectory() as folder:
            row = measure(space, Path(folder), kind, asked.events, asked.seconds)
        print(
            f"{kind.title:<16} {row.events:8.0f}  {row.lines:7.0f}  {row.ours:13.2%}  {row.peak / 1e6:4.1f} MB  "
            f"{row.gaps:6d}  {row.read:21.0f}  {row.theirs:13.2%}  {row.ours / row.theirs:5.2f}",
            flush=True,
        )


def measure(space: NatSpace, folder: Path, kind: Kind, events: float, seconds: float) -> Row:
    """One row: both listeners, while traffic runs that has come to its steady state."""
    # Flows are forgotten soon, so that as many end as begin.
    space.set("net.netfilter.nf_conntrack_tcp_timeout_time_wait=2", "net.netfilter.nf_conntrack_udp_timeout=2")
    ours, theirs = folder / "clientip.ndjson", folder / "conntrack.txt"
    clientip = str(Path(sys.executable).parent / "clientip")
    with theirs.open("wb") as text, ExitStack() as running:

        def start(name: str, *command: str, **how: int | IO[bytes]) -> int:
            process = space.start(name, *command, **how)
            running.callback(process.wait)
            running.callback(process.kill)
            return process.pid

        start(space.server, sys.executable, "-c", _SERVE)
        pid = start(space.router, clientip, "collect", "conntrack", "--out", str(ours))
        command = ("conntrack", "-E", "-o", "timestamp,id,extended", "-b", "16777216")
        peer = start(space.router, *command, stdout=text, stderr=DEVNULL)
        time.sleep(2)
        for number in range(GENERATORS):
            rate = events / kind.per_flow / GENERATORS
            command = (sys.executable, "-c", kind.program, str(rate), str(seconds + SETTLE_S + 5), str(number))
            start(space.client, *command)
        time.sleep(SETTLE_S)
        before = (_spent(pid), _spent(peer), _lines(ours), _lines(theirs), time.monotonic_ns())
        time.sleep(seconds)
        after = (_spent(pid), _spent(peer), _lines(ours), _lines(theirs), time.monotonic_ns())
        peak, gaps = _peak(pid), ours.read_bytes().count(b'"gap":true')
    spent, their_spent, lines, read, wall = (late - early for early, late in zip(before, after, strict=True))
    each = 1e9 / wall
    return Row(
        lines * each / 2 * kind.per_flow, lines * each, spent / wall, their_spent / wall, read * each, peak, gaps
    )


def _spent(pid: int) -> int:
    """Processor time of a process so far, ns."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def _peak(pid: int) -> int:
    """The most memory a process ever held, bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def _lines(file: Path) -> int:
    with file.open("rb") as opened:
        return sum(block.count(b"\n") for block in iter(lambda: opened.read(1 << 20), b""))


if __name__ == "__main__":
    main()
