"""`clientip collect conntrack` beside a real kernel: a router in network namespaces that does source NAT.

What both ends of a connection see (getsockname, getpeername) is the truth that every line is compared with.
Needs root, iproute2 and iptables; without them these tests fail and say so.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from clientip.formats.conntrack.json_lines import CONNTRACK_JSON
from clientip.model import Heartbeat, Observation

from tests.worlds.nat_space import CLIENT, NODE_PORT, OUTSIDE, POD_PORT, ROUTER, SERVER, SERVER6, NatSpace, run
from tests.worlds.patience import LIMIT_S, until
from tests.worlds.samples_check import line_of, reader_of

pytestmark = pytest.mark.edge

CLIENTIP = str(Path(sys.executable).parent / "clientip")
SECOND = 1_000_000_000
UDP_PORT = 5353

# Answers TCP on POD_PORT and UDP on UDP_PORT with what it sees: [peer, port, own address, port].
_SERVE = f"""
import json, selectors, socket
def tell(peer, own):
    return json.dumps([peer[0].removeprefix("::ffff:"), peer[1], own[0].removeprefix("::ffff:"), own[1]]).encode()
both = dict(family=socket.AF_INET6, dualstack_ipv6=True)
streams = socket.create_server(("::", {POD_PORT}), backlog=500, **both)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("{SERVER}", {UDP_PORT}))
ready = selectors.DefaultSelector()
for each in (streams, datagrams):
    ready.register(each, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in ready.select():
        if key.fileobj is streams:
            connection, peer = streams.accept()
            connection.sendall(tell(peer, connection.getsockname()) + b"\\n")
            ready.register(connection, selectors.EVENT_READ)
        elif key.fileobj is not datagrams:
            if key.fileobj.recv(1) == b"":
                ready.unregister(key.fileobj)
                key.fileobj.close()
        else:
            _, peer = datagrams.recvfrom(100)
            datagrams.sendto(tell(peer, datagrams.getsockname()), peer)
"""
# Asks for each argument `tcp|udp|hold|quiet|endless HOST PORT`; prints what both ends saw.
_ASK = """
import json, socket, sys, time
held = []
for asked in sys.argv[1:]:
    kind, host, port = asked.split()
    while kind == "endless":
        with socket.create_connection((host, int(port))) as connection:
            connection.makefile().readline()
        time.sleep(0.002)  # no faster than ports become free again
    begun = time.time_ns()
    if kind in ("tcp", "hold"):
        connection = socket.create_connection((host, int(port)))
        own, far = connection.getsockname(), connection.getpeername()
        seen = json.loads(connection.makefile().readline())
        if kind == "hold":
            held.append(connection)
        else:
            connection.close()
    else:
        connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        connection.connect((host, int(port)))
        own, far = connection.getsockname(), connection.getpeername()
        connection.send(b"x")
        seen = json.loads(connection.recv(1000)) if kind == "udp" else None
    print(json.dumps({"begun": begun, "ended": time.time_ns(), "orig": [*own[:2], *far[:2]], "seen": seen}), flush=True)
if held:
    sys.stdin.read()
"""


class Collected:
    """The lines of one run of the collector, read back by the format as well."""

    def __init__(self, text: bytes) -> None:
        assert text == b"" or text.endswith(b"\n")
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
        read = reader_of(CONNTRACK_JSON)
        assert all(isinstance(read(line_of(line)), Observation | Heartbeat) for line in text.splitlines())

    def events(self, *names: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row.get("event") in names]

    def of(self, orig: list[object]) -> dict[str, dict[str, Any]]:
        """Event → its line, of the flow that began so. No event comes twice."""
        found = [row for row in self.rows if row.get("orig") == orig]
        assert max(Counter(row["event"] for row in found).values(), default=1) == 1
        return {row["event"]: row for row in found}

    def check_numbers(self) -> None:
        """Numbers follow each other but for gaps, and `at` never falls."""
        assert self.rows[0]["n"] == 1
        assert len({row["session"] for row in self.rows}) == 1
        for before, after in itertools.pairwise(self.rows):
            assert after["n"] == before["n"] + (2 if after.get("gap") else 1)
            assert after["at"] >= before["at"]


@pytest.fixture
def space() -> Iterator[NatSpace]:
    with NatSpace() as made:
        server = made.start(made.server, sys.executable, "-c", _SERVE, stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        try:
            yield made
        finally:
            server.kill()
            server.communicate()


@pytest.fixture
def collect(space: NatSpace, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a collector on the router that writes to a file in `tmp_path`; it has told its list when this returns."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str, out: str = "out") -> subprocess.Popen[bytes]:
        file = tmp_path / out
        before = file.read_bytes().count(b'"mark"') if file.exists() else 0
        command = (CLIENTIP, "collect", "conntrack", "--out", str(file), *options)
        process = space.start(space.router, *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        until(lambda: (file.read_bytes().count(b'"mark"') if file.exists() else 0) > before)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def asking(space: NatSpace, *questions: str) -> subprocess.Popen[bytes]:
    command = (sys.executable, "-c", _ASK, *questions)
    return space.start(space.client, *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def ask(space: NatSpace, *questions: str) -> list[dict[str, Any]]:
    """Make connections from the client, close them, and say what both ends saw."""
    process = asking(space, *questions)
    told, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    return [json.loads(line) for line in told.splitlines()]


def ended(process: subprocess.Popen[bytes], file: Path, closed: int = 0) -> Collected:
    """Wait for so many ends of flows, then end the collector as a supervisor does; everything it wrote."""
    until(lambda: file.read_bytes().count(b'"DESTROY"') >= closed)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, errors.decode()
    return Collected(file.read_bytes())


def check_flow(lines: dict[str, dict[str, Any]], truth: dict[str, Any], proto: str, *, assured: bool) -> None:
    """Both lines of a flow say what its two ends saw, and when."""
    new, end = lines["NEW"], lines["DESTROY"]
    assert new["proto"] == end["proto"] == proto
    assert new["start"] == end["start"]
    assert truth["begun"] <= new["start"] <= end["end"]
    assert new["start"] <= truth["ended"]
    assert end["assured"] is assured
    assert (new["id"], new["orig"], new["reply"]) == (end["id"], end["orig"], end["reply"])
    if truth["seen"] is not None:
        peer, peer_port, own, own_port = truth["seen"]
        assert new["reply"] == [own, own_port, peer, peer_port]


def test_every_flow_is_told_twice_as_both_its_ends_saw_it(space: NatSpace, tmp_path: Path, collect: Any) -> None:
    process = collect()
    tcp = ask(space, *[f"tcp {SERVER} {POD_PORT}"] * 20, *[f"tcp {OUTSIDE} {NODE_PORT}"] * 20)
    tcp6 = ask(space, *[f"tcp {SERVER6} {POD_PORT}"] * 10)
    udp, quiet = ask(space, f"udp {SERVER} {UDP_PORT}"), ask(space, f"quiet {SERVER} 9")
    run(*space.inside(space.router), "conntrack", "-D", "-p", "udp")
    collected = ended(process, tmp_path / "out", closed=52)
    collected.check_numbers()
    for truths, proto, assured in ((tcp + tcp6, "tcp", True), (udp, "udp", True), (quiet, "udp", False)):
        for truth in truths:
            assert truth["seen"] is None or truth["seen"][0] in (ROUTER, "2001:db8:9::1")
            check_flow(collected.of(truth["orig"]), truth, proto, assured=assured)
    assert len(collected.events("NEW", "DESTROY")) == 2 * 52
    assert {row["stamps"] for row in collected.rows if "mark" in row} == {"kernel"}


def test_a_connection_that_nobody_accepts_is_not_assured(space: NatSpace, tmp_path: Path, collect: Any) -> None:
    process = collect()
    with pytest.raises(AssertionError):
        ask(space, f"tcp {SERVER} 81")
    collected = ended(process, tmp_path / "out", closed=1)
    new, end = collected.events("NEW", "DESTROY")
    assert (new["event"], end["event"], end["assured"]) == ("NEW", "DESTROY", False)
    assert (end["start"], end["id"], new["orig"][3]) == (new["start"], new["id"], 81)


def test_flows_without_source_nat_are_told_only_when_asked_for(space: NatSpace, tmp_path: Path, collect: Any) -> None:
    space.nat("iptables", "-I", "POSTROUTING", "-p", "tcp", "--dport", str(POD_PORT), "-j", "ACCEPT")
    process, every = collect(), collect("--all", out="every")
    (truth,) = ask(space, f"tcp {SERVER} {POD_PORT}")
    assert truth["seen"][0] == CLIENT
    told = ended(every, tmp_path / "every", closed=1)
    check_flow(told.of(truth["orig"]), truth, "tcp", assured=True)
    assert ended(process, tmp_path / "out").events("NEW", "DESTROY", "LIST") == []


def test_only_flows_to_the_ranges_asked_for_are_told(space: NatSpace, tmp_path: Path, collect: Any) -> None:
    process = collect("--to", "198.51.100.0/24", "--to", OUTSIDE)
    direct, through = ask(space, f"tcp {SERVER} {POD_PORT}", f"tcp {OUTSIDE} {NODE_PORT}")
    collected = ended(process, tmp_path / "out", closed=1)
    assert collected.of(direct["orig"]) == {}
    check_flow(collected.of(through["orig"]), through, "tcp", assured=True)


def test_flows_that_were_there_are_listed_and_end_with_the_same_start(
    space: NatSpace, tmp_path: Path, collect: Any
) -> None:
    holder = asking(space, f"hold {OUTSIDE} {NODE_PORT}", f"hold {SERVER} {POD_PORT}")
    assert holder.stdout is not None
    truths = [json.loads(holder.stdout.readline()) for _ in range(2)]
    process = collect()
    holder.communicate(timeout=LIMIT_S)
    collected = ended(process, tmp_path / "out", closed=2)
    collected.check_numbers()
    assert [row["event"] for row in collected.rows[:2]] == ["LIST", "LIST"]
    for truth in truths:
        lines = collected.of(truth["orig"])
        assert lines["LIST"]["start"] == lines["DESTROY"]["start"]
        check_flow({"NEW": lines["LIST"], "DESTROY": lines["DESTROY"]}, truth, "tcp", assured=True)


def test_what_is_there_can_be_listed_once(space: NatSpace, tmp_path: Path, collect: Any) -> None:
    (truth,) = ask(space, f"udp {SERVER} {UDP_PORT}")
    process = collect("--once")
    assert process.wait(timeout=LIMIT_S) == 0
    listed, mark = Collected((tmp_path / "out").read_bytes()).rows
    assert (listed["event"], listed["orig"], mark["mark"]) == ("LIST", truth["orig"], True)


def test_marks_go_on_a_second_apart_where_nothing_happens_and_hold_what_they_say(
    space: NatSpace, tmp_path: Path, collect: Any
) -> None:
    process, file = collect(), tmp_path / "out"
    truths = [ask(space, f"tcp {SERVER} {POD_PORT}")[0] for _ in range(25)]
    until(lambda: file.read_bytes().count(b'"DESTROY"') == len(truths))
    before = file.read_bytes().count(b'"mark"')
    until(lambda: file.read_bytes().count(b'"mark"') >= before + 6)
    collected = ended(process, file)
    marks = [row["at"] for row in collected.rows if "mark" in row]
    assert median(later - before for before, later in itertools.pairwise(marks)) > 0.9 * SECOND
    told_by = 0
    for row in collected.rows:
        assert row.get("event") != "NEW" or row["start"] > told_by
        told_by = row["at"]
    assert len(collected.events("NEW")) == len(truths)


def test_a_stalled_reader_makes_a_gap_and_a_new_list(space: NatSpace, tmp_path: Path, collect: Any) -> None:
    process = collect("--receive-buffer", "8192")
    (before,) = ask(space, f"udp {SERVER} {UDP_PORT}")
    until(lambda: b'"NEW"' in (tmp_path / "out").read_bytes())
    process.send_signal(signal.SIGSTOP)
    truths = ask(space, *[f"tcp {SERVER} {POD_PORT}"] * 200)
    process.send_signal(signal.SIGCONT)
    until(lambda: b'"gap":true' in (tmp_path / "out").read_bytes())
    ends = (tmp_path / "out").read_bytes().count(b'"DESTROY"')
    (after,) = ask(space, f"tcp {SERVER} {POD_PORT}")
    collected = ended(process, tmp_path / "out", closed=ends + 1)
    collected.check_numbers()
    (gap,) = [row for row in collected.rows if row.get("gap")]
    behind = [row for row in collected.rows if row["n"] >= gap["n"]]
    assert gap["event"] == "LIST"
    # The table holds everything that is still there, and each flow that was told has the start it was told with.
    listed = {json.dumps(row["orig"]): row for row in behind if row.get("event") == "LIST"}
    assert {json.dumps(truth["orig"]) for truth in [before, *truths]} <= listed.keys()
    told = [row for row in collected.events("NEW") if row["n"] < gap["n"]]
    assert 0 < len(told) < len(truths)
    assert listed[json.dumps(before["orig"])]["start"] == collected.of(before["orig"])["NEW"]["start"]
    # Nothing is said to be complete while it was not: `at` stands still from the last mark to the list.
    known = {json.dumps(row["orig"]) for row in told}
    lost = [truth["begun"] for truth in truths if json.dumps(truth["orig"]) not in known]
    assert max(row["at"] for row in collected.rows if row["n"] < gap["n"]) < min(lost)
    assert gap["at"] > max(lost)
    check_flow(collected.of(after["orig"]), after, "tcp", assured=True)


def test_killed_at_any_moment_only_whole_lines_are_left(space: NatSpace, tmp_path: Path, collect: Any) -> None:
    load, file = asking(space, f"endless {SERVER} {POD_PORT}"), tmp_path / "out"
    for turn in range(6):
        process = collect()
        written = file.read_bytes().count(b"\n")
        until(lambda: file.read_bytes().count(b"\n") > written + 30 * turn, step_s=0.001)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert file.read_bytes().endswith(b"\n")
    load.kill()
    load.communicate()
    collected = Collected((tmp_path / "out").read_bytes())
    assert len({row["session"] for row in collected.rows}) == 6


_LISTEN = """
import sys
from clientip.edges.collect.socket import Events
events = Events(1 << 20, source_nat=True)
print("ready", flush=True)
sys.stdin.read()
while (read := events.read()) is not None:
    for entry in read.entries:
        print(entry.number, entry.stamp, entry.event, entry.status & 0x10, entry.state)
"""


def test_the_kernel_itself_drops_what_nobody_needs(space: NatSpace) -> None:
    command = (sys.executable, "-c", _LISTEN)
    listening = space.start(space.router, *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert listening.stdout is not None
    assert listening.stdout.readline() == b"ready\n"
    ask(space, f"tcp {SERVER} {POD_PORT}", f"udp {SERVER} {UDP_PORT}")
    with pytest.raises(AssertionError):
        ask(space, f"tcp {OUTSIDE} 81")  # tracked, and not translated
    until(lambda: "TIME_WAIT" in run(*space.inside(space.router), "conntrack", "-L", "-p", "tcp"))
    read, _ = listening.communicate(timeout=LIMIT_S)
    # By flow, in the order of the kernel's stamps: it may hand over events of two flows in another one.
    flows: dict[str, list[tuple[int, str]]] = {}
    for line in read.decode().splitlines():
        flow, stamp, what = line.split(maxsplit=2)
        flows.setdefault(flow, []).append((int(stamp), what))
    # NEW in SYN_SENT, UPDATE to TIME_WAIT; NEW of UDP; nothing of the five UPDATEs between.
    found = [[what for _, what in sorted(events)] for events in flows.values()]
    assert sorted(found, key=len) == [["0 16 None"], ["0 16 1", "1 16 7"]]


def test_only_flows_of_the_zone_asked_for_are_told(space: NatSpace, tmp_path: Path, collect: Any) -> None:
    rule = ("iptables", "-w", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "-j", "CT", "--zone", "7")
    run(*space.inside(space.router), *rule)
    process = collect("--zone", "7")
    other, zoned = ask(space, f"tcp {SERVER} {POD_PORT}", f"udp {SERVER} {UDP_PORT}")
    collected = ended(process, tmp_path / "out")
    assert collected.of(other["orig"]) == {}
    assert collected.of(zoned["orig"])["NEW"]["zone"] == 7


def test_a_line_that_was_cut_does_not_spoil_the_next(space: NatSpace, tmp_path: Path, collect: Any) -> None:
    (tmp_path / "out").write_bytes(b'{"n":1,"sess')
    assert collect("--once").wait(timeout=LIMIT_S) == 0
    cut, *whole = (tmp_path / "out").read_bytes().splitlines(keepends=True)
    assert cut == b'{"n":1,"sess\n'
    Collected(b"".join(whole))


def test_a_file_that_was_moved_away_is_opened_anew_at_sighup(space: NatSpace, tmp_path: Path, collect: Any) -> None:
    process = collect()
    (tmp_path / "out").rename(tmp_path / "old")
    process.send_signal(signal.SIGHUP)
    until((tmp_path / "out").exists)
    until(lambda: b'"mark"' in (tmp_path / "out").read_bytes())
    new = ended(process, tmp_path / "out").rows
    old = Collected((tmp_path / "old").read_bytes()).rows
    assert [row["n"] for row in old + new] == list(range(1, len(old + new) + 1))


def test_without_kernel_stamps_the_times_are_of_arrival_and_it_says_what_to_switch_on(
    space: NatSpace, tmp_path: Path, collect: Any
) -> None:
    space.set("net.netfilter.nf_conntrack_timestamp=0", "net.netfilter.nf_conntrack_events=2")
    holder = asking(space, f"hold {SERVER} {POD_PORT}")
    assert holder.stdout is not None
    held = json.loads(holder.stdout.readline())
    process = collect()
    (truth,) = ask(space, f"tcp {SERVER} {POD_PORT}")
    until(lambda: b'"DESTROY"' in (tmp_path / "out").read_bytes())
    told_ns = time.time_ns()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=LIMIT_S)
    collected = Collected((tmp_path / "out").read_bytes())
    lines = collected.of(truth["orig"])
    assert lines["NEW"]["start"] == lines["DESTROY"]["start"]
    assert truth["begun"] <= lines["NEW"]["start"] <= lines["DESTROY"]["end"] <= told_ns
    assert lines["NEW"]["since"] == lines["DESTROY"]["start_since"] <= lines["NEW"]["start"]
    assert lines["DESTROY"]["since"] <= lines["DESTROY"]["end"]
    listed = collected.of(held["orig"])["LIST"]
    assert "start" not in listed
    assert listed["seen"] >= held["begun"]
    assert {row["stamps"] for row in collected.rows if "mark" in row} == {"user"}
    said = errors.decode().splitlines()
    assert len(said) == 1
    assert "net.netfilter.nf_conntrack_events=1 net.netfilter.nf_conntrack_timestamp=1" in said[0]
    holder.communicate(timeout=LIMIT_S)


def test_a_reader_that_goes_away_ends_it_with_the_documented_code(space: NatSpace) -> None:
    reading, writing = os.pipe()
    process = space.start(space.router, CLIENTIP, "collect", "conntrack", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert os.read(reading, 1) == b"{"
    os.close(reading)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, errors) == (141, b"")


def test_a_reader_that_stands_still_does_not_keep_it_from_ending(space: NatSpace) -> None:
    reading, writing = os.pipe()
    process = space.start(space.router, CLIENTIP, "collect", "conntrack", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert os.read(reading, 1) == b"{"
    ask(space, *[f"tcp {SERVER} {POD_PORT}"] * 300)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=LIMIT_S)
    os.close(reading)
    assert process.returncode == 3
    assert b"takes nothing" in errors


def test_without_the_right_to_see_events_it_says_so_in_one_line() -> None:
    command = ("setpriv", "--bounding-set=-net_admin", CLIENTIP, "collect", "conntrack")
    done = subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr == b"clientip: the kernel shows its NAT events to CAP_NET_ADMIN only; run this as root\n"


@pytest.mark.parametrize("given", ["198.51.100.0/33", "example.org", ""])
def test_a_destination_that_is_none_is_refused_before_anything_starts(given: str) -> None:
    command = (CLIENTIP, "collect", "conntrack", "--to", given)
    done = subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"clientip: --to: ")
    assert done.stderr.count(b"\n") == 1


def test_it_stays_small_with_as_many_flows_as_it_remembers(tmp_path: Path) -> None:
    program = """
from pathlib import Path
from clientip.edges import collect
from clientip.edges.collect.flows import MAX_REMEMBERED, Flows
from clientip.edges.collect.netlink import read_messages
from tests.worlds.netlink_messages import message
flows = Flows("b", lambda entry, ends: True)
flows.begin_list(1)
flows.end_list()
for number in range(MAX_REMEMBERED + 1000):
    original = ("2001:db8::1", number % 65536, "2001:db8::2", 80)
    (entry,) = read_messages(message(number=number, original=original, stamp=10**18)).entries
    flows.event(entry, 0, 0)
    flows.lines.clear()
assert flows.crowded
flows.begin_list(2)
for number in range(MAX_REMEMBERED):
    original = ("2001:db8::1", number % 65536, "2001:db8::2", 80)
    flows.list(read_messages(message("UPDATE", number=number, original=original)).entries[0], 3)
    flows.lines.clear()
flows.end_list()
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=LIMIT_S, text=True)
    print(f"{int(done.stdout)} kB with all flows remembered and listed anew, IPv6")
    assert int(done.stdout) <= 50_000
