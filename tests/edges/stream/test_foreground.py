"""`clientip stream --role`: workers that a service manager starts, watches, reloads and ends one by one."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.worlds.patience import LIMIT_S, until
from tests.worlds.stream_lines import World
from tests.worlds.stream_runs import Feeder, settled, stream_of
from tests.worlds.streams import ROOT, Stream

pytestmark = pytest.mark.edge

PAIR = ("reader-0", "answerer-0")
CLIENTIP = (sys.executable, "-P", "-m", "clientip")


def said(stream: Stream, worker: str, event: str) -> list[dict[str, Any]]:
    """The fields of a worker's log lines of this kind."""
    rows = [json.loads(line) for line in stream.log().splitlines() if line.startswith("{")]
    return [row["fields"] for row in rows if (row["worker"], row["event"]) == (f"test-{worker}", event)]


def address(stream: Stream, worker: str) -> str:
    until(lambda: said(stream, worker, "listening") != [], stream.log)
    fields = said(stream, worker, "listening")[-1]
    return f"{fields['host']}:{fields['port']}"


def answer(where: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{where}{path}", timeout=LIMIT_S) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_reader_and_an_answerer_by_themselves_answer_everything_and_end_when_they_are_told(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        for worker in PAIR:
            stream.start(worker, "127.0.0.1:0")
        pages = {worker: address(stream, worker) for worker in PAIR}
        with Feeder(stream, World().items(1000)):
            pass
        found = settled(stream)
        assert found.is_exact, found
        assert found.records > 500
        for worker, where in pages.items():
            until(lambda where=where: answer(where, "/readyz")[0] == 200, stream.log)  # type: ignore[misc]
            assert answer(where, "/livez") == (200, "live\n")
            families = list(text_string_to_metric_families(answer(where, "/metrics")[1]))
            assert {sample.labels["worker"] for family in families for sample in family.samples} == {f"test-{worker}"}
        assert [stream.kill(worker, signal.SIGTERM) for worker in PAIR] == [0, 0]
        assert [len(said(stream, worker, "stopped")) for worker in PAIR] == [1, 1]


def test_a_worker_reads_its_configuration_again_and_keeps_the_old_one_if_the_new_one_has_faults(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        good = stream.path.read_text()
        stream.start("reader-0", "127.0.0.1:0")
        where = address(stream, "reader-0")
        until(lambda: answer(where, "/readyz")[0] == 200, stream.log)
        for text, event in (
            (good + "\n[limits]\nline = 1\n", "config.refused"),
            (good.replace(kafka, "127.0.0.1:9"), "config.refused"),
            (good + "\n[limits]\nline_bytes = 70000\n", "config.taken"),
        ):
            before = len(said(stream, "reader-0", event))
            stream.path.write_text(text)
            stream.signal("reader-0", signal.SIGHUP)
            until(lambda before=before, event=event: len(said(stream, "reader-0", event)) > before, stream.log)  # type: ignore[misc]
        assert [each["changed"] for each in said(stream, "reader-0", "config.taken")] == ["True"]
        assert any("restart the stream" in each["text"] for each in said(stream, "reader-0", "config.refused"))
        until(
            lambda: 'reloads_total{outcome="taken",worker="test-reader-0"} 1' in answer(where, "/metrics")[1],
            stream.log,
        )
        assert stream.code("reader-0") is None
        with Feeder(stream, World().items(200)):
            pass
        until(lambda: stream.rows("records") != [], stream.log)
        assert stream.kill("reader-0", signal.SIGINT) == 0


def test_the_service_manager_is_told_of_start_life_reload_and_end(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    with (
        stream_of(tmp_path, kafka, topic_prefix) as stream,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LIMIT_S)

        def next_but(*skipped: str) -> str:
            while True:
                text = manager.recv(1000).decode()
                if text not in skipped:
                    return text

        stream.start("answerer-0", NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert next_but() == "READY=1"
        assert next_but() == "WATCHDOG=1"
        stream.signal("answerer-0", signal.SIGHUP)
        assert next_but("WATCHDOG=1").startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert next_but("WATCHDOG=1") == "READY=1"
        stream.signal("answerer-0", signal.SIGTERM)
        assert next_but("WATCHDOG=1") == "STOPPING=1"
        assert stream.kill("answerer-0", signal.SIGTERM) == 0


def test_a_second_worker_with_a_page_that_is_taken_ends_and_says_so(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        stream.start("reader-0", "127.0.0.1:0")
        taken = address(stream, "reader-0")
        stream.start("answerer-0", taken)
        until(lambda: stream.code("answerer-0") is not None, stream.log)
        assert stream.code("answerer-0") == 3
        assert f"clientip: {taken}: Address already in use" in stream.log()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--role", "reader", "--readers", "2"], "--readers"),
        (["--role", "answerer", "--watchdog", "9"], "--watchdog"),
        (["--role", "reader", "--name", "a/b"], "--name"),
        (["--role", "reader", "--listen", "nowhere"], "--listen"),
        (["--role", "both"], "--role"),
        (["--role", "reader", "--previous", "missing.toml"], "missing.toml"),
    ],
)
def test_a_call_that_cannot_work_is_refused_with_what_to_write(tmp_path: Path, options: list[str], words: str) -> None:
    path = tmp_path / "clientip.toml"
    path.write_text(
        '[kafka]\nbrokers = ["127.0.0.1:9"]\n[systems.web]\nformat = "nginx"\nlogs_peer = "socket"\n'
        'peers = ["outside"]\ntopics = ["raw.web"]\n'
    )
    command = [*CLIENTIP, "stream", "-c", str(path), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
