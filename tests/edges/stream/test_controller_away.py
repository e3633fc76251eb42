"""Workers that start while the cluster has no controller: they say so, are not ready, and do not end."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

import pytest
from clientip.edges.kafka.client import AwayError
from clientip.edges.kafka.waiting import StoppedError, answered
from clientip.errors import SinkError

from tests.edges.kafka.test_transactions import Heard
from tests.worlds.brokers import Brokers
from tests.worlds.patience import LIMIT_S, until
from tests.worlds.stream_lines import World
from tests.worlds.stream_runs import Feeder, settled, stream_of

pytestmark = pytest.mark.edge


def test_a_question_is_asked_again_until_it_is_answered() -> None:
    heard, tries = Heard(), iter([AwayError("away"), AwayError("still away"), None])

    def ask() -> str:
        error = next(tries)
        if error is not None:
            raise error
        return "here"

    assert answered(ask, heard, lambda: False) == "here"
    assert heard.texts("kafka.waiting") == ["away"]
    assert heard.beats >= 2


def test_what_a_second_try_does_not_mend_is_raised_and_a_stop_ends_the_wait() -> None:
    def ask(error: SinkError) -> str:
        raise error

    with pytest.raises(SinkError, match="is missing"):
        answered(lambda: ask(SinkError("is missing", retry=True)), Heard(), lambda: False)
    with pytest.raises(StoppedError, match="no answer from Kafka before the stop: away"):
        answered(lambda: ask(AwayError("away")), Heard(), lambda: True)


def readiness(port: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=LIMIT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, HTTPException):
        return 0


def logged(log: Path, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def test_workers_that_start_without_a_controller_wait_for_it_and_say_so(tmp_path: Path) -> None:
    log = tmp_path / "supervisor.log"
    with Brokers(tmp_path / "kafka", 2) as kafka, stream_of(tmp_path, kafka.address, "away") as stream:
        kafka.kill(1)  # the only controller
        options = ["--readers", "1", "--answerers", "1", "--listen", "127.0.0.1:0", "--name", "test"]
        command = [sys.executable, "-m", "clientip", "stream", "-c", str(stream.path), *options]
        with log.open("wb") as output:
            supervisor = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            until(lambda: len({line["worker"] for line in logged(log, "kafka.waiting")}) == 2, log.read_text)
            [listening] = logged(log, "listening")
            port = str(listening["fields"]["port"])  # type: ignore[index]
            assert readiness(port) == 503
            kafka.start(1)
            until(lambda: readiness(port) == 200, log.read_text)
            assert logged(log, "worker.ended") == []
            Feeder(stream).feed(World().items(300))
            found = settled(stream)
            assert found.is_exact and found.waited == 0, found
        finally:
            supervisor.terminate()
            code = supervisor.wait(LIMIT_S)
    assert code == 0, log.read_text()
