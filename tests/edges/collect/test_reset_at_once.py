"""A client that brings its request and its FIN with the last packet of the handshake, and resets: a real kernel.

The kernel does not call such a flow assured, and yet the server reads the request.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worlds.nat_space import CLIENT, SERVER, NatSpace, run
from tests.worlds.patience import LIMIT_S, until

pytestmark = pytest.mark.edge

CLIENTIP = str(Path(sys.executable).parent / "clientip")
SERVES, HALF_OPEN, REFUSED = 40001, 40002, 40003  # source ports of the three kinds of client
PORT, NOBODY = 8085, 81

# Prints the port of who connected and what it read from there, a line each.
_SERVE = f"""
import socket
server = socket.create_server(("{SERVER}", {PORT}))
print("ready", flush=True)
while True:
    connection, peer = server.accept()
    try:
        read = connection.recv(100)
    except OSError:
        read = b""
    print(peer[1], read.decode(), flush=True)
    connection.close()
"""
# By hand, packet for packet; the kernel's own resets have a TTL of 64 and are dropped.
_SEND = f"""
import socket, struct
FIN, SYN, RST, PUSH, ACK = 1, 2, 4, 8, 16
wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
wire.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 63)
wire.bind(("{CLIENT}", 0))
wire.settimeout({LIMIT_S})
def folded(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{{len(data) // 2}}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
def send(source, port, number, heard, flags, data=b""):
    head = struct.pack(">HHIIBBHHH", source, port, number, heard, 5 << 4, flags, 64240, 0, 0)
    ends = socket.inet_aton("{CLIENT}") + socket.inet_aton("{SERVER}")
    check = folded(ends + struct.pack(">BBH", 0, 6, len(head) + len(data)) + head + data)
    wire.sendto(head[:16] + struct.pack(">H", check) + head[18:] + data, ("{SERVER}", 0))
def opened(source, port):
    send(source, port, 1000, 0, SYN)
    while True:
        packet = wire.recv(2000)[20:]
        theirs, ours, number = struct.unpack_from(">HHI", packet)
        if (theirs, ours) == (port, source):
            return number + 1
heard = opened({SERVES}, {PORT})
send({SERVES}, {PORT}, 1001, heard, FIN | PUSH | ACK, b"request")
send({SERVES}, {PORT}, 1009, heard, RST | ACK)
send({HALF_OPEN}, {PORT}, 1001, opened({HALF_OPEN}, {PORT}), RST)
opened({REFUSED}, {NOBODY})
"""


def test_a_request_that_came_with_the_fin_of_a_connection_reset_at_once_counts(tmp_path: Path) -> None:
    with NatSpace() as space:
        run(
            *space.inside(space.client),
            "iptables",
            "-w",
            *["-A", "OUTPUT", "-p", "tcp", "--tcp-flags", "RST", "RST"],
            *["-m", "ttl", "--ttl-eq", "64", "-j", "DROP"],
        )
        server = space.start(space.server, sys.executable, "-c", _SERVE, stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        out = tmp_path / "out"
        collector = space.start(space.router, CLIENTIP, "collect", "conntrack", "--out", str(out))
        try:
            until(lambda: out.exists() and b'"mark"' in out.read_bytes())
            run(*space.inside(space.client), sys.executable, "-c", _SEND)
            peer, _, read = server.stdout.readline().decode().strip().partition(" ")
            until(lambda: out.read_bytes().count(b'"DESTROY"') >= 3)
            collector.send_signal(signal.SIGTERM)
            assert collector.wait(timeout=LIMIT_S) == 0
        finally:
            for process in (server, collector):
                process.kill()
                process.communicate()
    ended = [row for row in map(json.loads, out.read_bytes().splitlines()) if row.get("event") == "DESTROY"]
    assured = {row["orig"][1]: row["assured"] for row in ended}
    served = {row["reply"][3]: row["orig"][1] for row in ended}[int(peer)]
    assert (served, read) == (SERVES, "request")
    assert assured == {SERVES: True, HALF_OPEN: False, REFUSED: False}
