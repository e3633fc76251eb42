"""The supervisor of a stream with real processes: workers die, hang, fail and are told to stop.

The workers here read no topic: they write down what they are given, and do what a file with their name orders.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.worlds.patience import LIMIT_S, until

pytestmark = pytest.mark.edge

CLIENTIP = str(Path(sys.executable).parent / "clientip")
WATCHDOG_S = 15  # a worker that a busy machine leaves alone for so long is not found wrong
READER, ANSWERER = "here-reader-0", "here-answerer-0"
SECRET = "198.51.100.77"  # as of a line that was read

_WORKER = f"""
import json, os, sys, time
from pathlib import Path
from clientip.edges.stream import worker
from clientip.errors import ConfigError, Fault, SinkError

HERE = Path(__file__).parent

def work(context):
    def tell(event, **fields):
        with (HERE / (context.name + ".told")).open("a") as told:
            fields |= {{"event": event, "pid": os.getpid(), "at": time.monotonic()}}
            told.write(json.dumps(fields) + "\\n")

    tell("began", config=context.settings.digest, previous=[each.digest for each in context.previous])
    order, ready = HERE / (context.name + ".order"), True
    while not context.stopping():
        context.telemetry.beat(ready=ready)
        new = context.reloaded()
        if new is not None:
            tell("reloaded", config=new.digest)
        match order.read_text() if order.exists() else "":
            case "fail": raise SinkError("the world is gone", retry=True)
            case "config": raise ConfigError([Fault("", "kafka.user", "is not known to the cluster")])
            case "defect": raise KeyError("{SECRET}")
            case "hang": time.sleep(3600)
            case "deaf":
                while True:
                    context.telemetry.beat(ready=True)
                    time.sleep(0.01)
            case "unready": ready = False
        time.sleep(0.01)
    tell("stopped")

if __name__ == "__main__":
    sys.exit(worker.main(sys.argv[1:], {{"reader": work, "answerer": work}}))
"""
_PROGRAM = """
import sys
from pathlib import Path
from clientip.edges.stream import child
from clientip.edges.stream.supervisor import StreamOptions, supervise
config, listen, watchdog, *previous = sys.argv[1:]
child.YOUNG_S = 300.0  # a busy machine takes long to start what then dies
options = StreamOptions("here", listen or None, tuple(map(Path, previous)), float(watchdog), "stand_in")
sys.exit(supervise([Path(config)], 1, 1, options))
"""
_CONFIG = """
[kafka]
brokers = ["127.0.0.1:9"]
[limits]
line_bytes = {line_bytes}
[systems.web]
format = "nginx"
logs_peer = "socket"
peers = ["outside"]
topics = ["raw.web"]
"""


class Stream:
    """A supervisor that runs, and what its workers told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "clientip.toml"
        (folder / "stand_in.py").write_text(_WORKER)
        self.write(1000)

    def write(self, line_bytes: int, more: str = "") -> None:
        self.config.write_text(_CONFIG.format(line_bytes=line_bytes) + more)

    def start(self, listen: str = "", watchdog: float = 60, *previous: Path, **environment: str) -> None:
        command = [sys.executable, "-c", _PROGRAM, str(self.config), listen, str(watchdog), *map(str, previous)]
        environment = {**os.environ, "PYTHONPATH": str(self.folder), **environment}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, env=environment, start_new_session=True)

    def order(self, worker: str, text: str) -> None:
        (self.folder / "order.new").write_text(text)
        (self.folder / "order.new").rename(self.folder / f"{worker}.order")

    def told(self, worker: str, event: str) -> list[dict[str, Any]]:
        file = self.folder / f"{worker}.told"
        rows = [json.loads(line) for line in file.read_text().splitlines(True)] if file.exists() else []
        return [row for row in rows if row["event"] == event]

    def wait(self, holds: Callable[[], object]) -> None:
        until(holds, self.log)

    def began(self, worker: str, times: int = 1) -> dict[str, Any]:
        """What the worker said when it began for the so-manieth time."""
        self.wait(lambda: len(self.told(worker, "began")) >= times)
        return self.told(worker, "began")[times - 1]

    def both(self) -> tuple[int, int]:
        return self.began(READER)["pid"], self.began(ANSWERER)["pid"]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """The exit code."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT_S)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def logged(self, event: str) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [row["fields"] for row in rows if row["event"] == event]


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Stream]:
    stream = Stream(tmp_path)
    yield stream
    if stream.process.poll() is None:
        stream.process.kill()
        stream.process.wait()


@contextmanager
def heard_by_manager(stream: Stream) -> Iterator[socket.socket]:
    """The stream, started by a service manager that hears what is sent to this socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(stream.folder / "notify"))
        manager.settimeout(LIMIT_S)
        stream.start(NOTIFY_SOCKET=str(stream.folder / "notify"))
        yield manager


def lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"


def test_a_worker_that_is_killed_is_there_again_at_once_under_its_name(stream: Stream) -> None:
    stream.start()
    reader, answerer = stream.both()
    os.kill(reader, signal.SIGKILL)
    again = stream.began(READER, 2)
    assert again["pid"] != reader
    assert stream.logged("worker.ended") == [{"name": READER, "pid": reader, "code": -9, "again_s": 0}]
    assert lives(answerer)
    assert stream.stop() == 0


def test_who_keeps_dying_young_is_started_after_growing_pauses(stream: Stream) -> None:
    stream.order(READER, "fail")
    stream.start()
    times = [stream.began(READER, number)["at"] for number in range(1, 5)]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[1] >= 1
    assert pauses[2] >= 2
    assert [each["again_s"] for each in stream.logged("worker.ended")[:3]] == [0, 1, 2]
    assert {each["code"] for each in stream.logged("worker.ended")} == {3}
    assert len(stream.told(ANSWERER, "began")) == 1
    stream.wait(lambda: len(stream.logged("worker.ended")) == 4)
    assert stream.stop() == 0  # in the middle of a pause


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_workers_stop_as_they_are_told_and_so_does_the_stream(stream: Stream, number: int) -> None:
    stream.start()
    pids = stream.both()
    assert stream.stop(number) == 0
    assert [len(stream.told(worker, "stopped")) for worker in (READER, ANSWERER)] == [1, 1]
    assert not any(map(lives, pids))
    assert stream.logged("worker.ended") == []


def test_a_worker_that_does_not_listen_is_killed_at_the_stop(stream: Stream) -> None:
    stream.order(READER, "deaf")
    stream.start()
    pids = stream.both()
    assert stream.stop() == 0
    assert [each["name"] for each in stream.logged("worker.killed")] == [READER]
    assert len(stream.told(ANSWERER, "stopped")) == 1
    assert not any(map(lives, pids))


@pytest.mark.parametrize(("order", "code"), [("config", 2), ("defect", 4)])
def test_what_another_start_cannot_mend_ends_everything_with_its_code(stream: Stream, order: str, code: int) -> None:
    stream.start()
    stream.both()
    stream.order(READER, order)
    assert stream.process.wait(LIMIT_S) == code
    assert len(stream.told(ANSWERER, "stopped")) == 1
    assert len(stream.told(READER, "began")) == 1


def test_a_defect_is_shown_without_what_was_read(stream: Stream) -> None:
    stream.order(READER, "defect")
    stream.start()
    assert stream.process.wait(LIMIT_S) == 4
    assert "KeyError" in stream.log()
    assert 'stand_in.py", line' in stream.log()
    assert f"KeyError: '{SECRET}'" not in stream.log()
    assert [line for line in stream.log().splitlines() if SECRET in line and "raise KeyError" not in line] == []


def test_a_reload_with_faults_changes_nothing(stream: Stream) -> None:
    stream.start()
    pids = stream.both()
    stream.config.write_text("[kafka]\nbroker = 1\n")
    stream.process.send_signal(signal.SIGHUP)
    stream.wait(lambda: len(stream.logged("config.refused")) >= 2)
    assert "unknown key" in stream.log()
    os.kill(pids[0], signal.SIGKILL)
    assert stream.began(READER, 2)["config"] == stream.began(READER)["config"]
    assert stream.told(READER, "reloaded") == stream.told(ANSWERER, "reloaded") == []
    assert stream.stop() == 0


def test_a_reload_reaches_every_worker_and_those_that_start_later_know_what_was_before(stream: Stream) -> None:
    old = stream.folder / "old.toml"
    old.write_text(_CONFIG.format(line_bytes=500))
    stream.start("", 60, old)
    reader, _ = stream.both()
    first = stream.began(READER)
    assert len(first["previous"]) == 1
    stream.write(2000)
    stream.process.send_signal(signal.SIGHUP)
    for worker in (READER, ANSWERER):
        stream.wait(lambda worker=worker: len(stream.told(worker, "reloaded")) == 1)
    second = stream.told(READER, "reloaded")[0]["config"]
    assert second not in (first["config"], *first["previous"])
    os.kill(reader, signal.SIGKILL)
    again = stream.began(READER, 2)
    assert again["config"] == second
    assert again["previous"] == [*first["previous"], first["config"]]
    assert stream.stop() == 0


def test_files_that_changed_reach_nobody_before_the_reload(stream: Stream) -> None:
    stream.start()
    reader, _ = stream.both()
    stream.write(2000)
    os.kill(reader, signal.SIGKILL)
    assert stream.began(READER, 2)["config"] == stream.began(READER)["config"] == stream.began(ANSWERER)["config"]
    assert stream.stop() == 0


def test_another_cluster_is_refused_until_a_restart(stream: Stream) -> None:
    stream.start()
    stream.both()
    stream.config.write_text(_CONFIG.format(line_bytes=1000).replace(":9", ":10"))
    stream.process.send_signal(signal.SIGHUP)
    stream.wait(lambda: len(stream.logged("config.refused")) == 1)
    assert "restart the stream" in stream.logged("config.refused")[0]["text"]
    assert stream.stop() == 0


def test_no_signal_comes_too_early_for_a_worker(stream: Stream) -> None:
    with heard_by_manager(stream) as manager:
        assert manager.recv(1000) == b"READY=1"  # its workers are processes now, but not yet programs
    numbers = count()

    def both_began() -> bool:
        stream.write(2000 + next(numbers))
        stream.process.send_signal(signal.SIGHUP)
        return all(stream.told(worker, "began") for worker in (READER, ANSWERER))

    stream.wait(both_began)
    stream.wait(lambda: len(stream.logged("config.taken")) > 0)
    assert stream.logged("worker.ended") == []
    assert stream.stop() == 0


def test_workers_die_with_a_supervisor_that_is_killed(stream: Stream) -> None:
    stream.order(READER, "deaf")
    stream.order(ANSWERER, "hang")
    stream.start()
    pids = stream.both()
    stream.process.kill()
    stream.process.wait()
    stream.wait(lambda: not any(map(lives, pids)))


@pytest.mark.parametrize("how", ["hang", "frozen"])
def test_a_worker_that_hangs_is_killed_and_started_again(stream: Stream, how: str) -> None:
    address = free_address()
    stream.start(address, watchdog=WATCHDOG_S)
    reader, answerer = stream.both()
    if how == "hang":
        stream.order(READER, "hang")
    else:
        stream.wait(lambda: asked(address, "/readyz")[0] == 200)  # a snapshot was sent
        os.kill(reader, signal.SIGSTOP)
    stream.wait(lambda: stream.logged("worker.killed") != [])
    stream.order(READER, "")
    assert stream.began(READER, 2)["pid"] != reader
    assert {each["name"] for each in stream.logged("worker.killed")} == {READER}
    assert lives(answerer)
    assert stream.stop() == 0


def asked(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=LIMIT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, HTTPException) as error:
        return 0, str(error)


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_the_page_shows_all_workers_and_readiness_is_that_of_all(stream: Stream) -> None:
    address = free_address()
    stream.start(address)
    stream.wait(lambda: asked(address, "/readyz")[0] == 200)
    assert asked(address, "/livez")[0] == 200
    page = asked(address, "/metrics")[1]
    assert f'clientip_worker_ready{{worker="{READER}"}} 1' in page
    assert f'clientip_worker_ready{{worker="{ANSWERER}"}} 1' in page
    stream.process.send_signal(signal.SIGHUP)
    taken = 'reloads_total{outcome="taken",worker="here-supervisor"} 1'
    stream.wait(lambda: taken in asked(address, "/metrics")[1])
    stream.order(ANSWERER, "unready")
    stream.wait(lambda: asked(address, "/readyz")[0] == 503)
    stream.order(ANSWERER, "fail")
    stream.wait(lambda: f'beat_timestamp_seconds{{worker="{ANSWERER}"}}' not in asked(address, "/metrics")[1])
    assert f'clientip_worker_ready{{worker="{ANSWERER}"}} 0' in asked(address, "/metrics")[1]
    assert asked(address, "/readyz")[0] == 503
    assert asked(address, "/livez")[0] == 200
    assert stream.stop() == 0


def test_the_service_manager_hears_of_start_reload_life_and_end(stream: Stream) -> None:
    with heard_by_manager(stream) as manager:

        def heard_until(wanted: str) -> list[str]:
            heard = [manager.recv(1000).decode()]
            while not heard[-1].startswith(wanted):
                heard.append(manager.recv(1000).decode())
            return heard

        assert heard_until("READY=1") == ["READY=1"]
        assert heard_until("WATCHDOG=1") == ["WATCHDOG=1"]
        stream.both()
        stream.process.send_signal(signal.SIGHUP)
        assert heard_until("RELOADING=1")[-1].splitlines()[1].removeprefix("MONOTONIC_USEC=").isdecimal()
        assert heard_until("READY=1")[-1] == "READY=1"
        stream.process.send_signal(signal.SIGTERM)
        assert heard_until("STOPPING=1")[-1] == "STOPPING=1"
    assert stream.process.wait(LIMIT_S) == 0


@pytest.mark.parametrize(
    ("config", "options", "words"),
    [
        (_CONFIG.format(line_bytes=1000), ["--name", "a/b"], "--name"),
        (_CONFIG.format(line_bytes=1000), ["--readers", "0", "--answerers", "0"], "at least one worker"),
        (_CONFIG.format(line_bytes=1000), ["--listen", "nowhere"], "nowhere"),
        (_CONFIG.format(line_bytes=1000).replace("[kafka]\nbrokers", "#"), [], "write [kafka] with brokers"),
        (_CONFIG.format(line_bytes=1000).replace("topics", "#"), [], "no system has topics"),
    ],
)
def test_a_call_that_cannot_work_is_refused_with_what_to_write(
    tmp_path: Path, config: str, options: list[str], words: str
) -> None:
    (tmp_path / "clientip.toml").write_text(config)
    command = [CLIENTIP, "stream", "-c", str(tmp_path / "clientip.toml"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
