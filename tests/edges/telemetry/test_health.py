"""Health answers follow what the workers said, and nobody who asks can hold them up."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException

import pytest
from clientip.edges.telemetry import figures, health
from clientip.edges.telemetry.health import DEFAULT, MAX_CONNECTIONS, MAX_REQUEST, serve
from clientip.edges.telemetry.prometheus_page import prometheus_page
from clientip.edges.telemetry.telemetry import Telemetry
from clientip.errors import ConfigError, SinkError
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.worlds.patience import LIMIT_S, until
from tests.worlds.sizes import EXAMPLES

Address = tuple[str, int]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REQUEST_S", LIMIT_S)


def yes() -> bool:
    return True


@contextmanager
def served(page: Callable[[], str] = str) -> Iterator[Address]:
    with serve("127.0.0.1:0", page, yes, yes) as address:
        yield address


def get(address: Address, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=LIMIT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def sent(address: Address, request: bytes) -> bytes:
    """All that comes back until the connection ends."""
    with socket.create_connection(address, timeout=LIMIT_S) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while more := connection.recv(65536):
                answer += more
        except ConnectionResetError:  # closed before all of the request was read
            return answer
        return answer


def test_health_follows_the_beats_of_the_workers() -> None:
    workers = {"reader-0": Telemetry("reader-0"), "answerer-0": Telemetry("answerer-0")}
    late = 0.0

    def snapshots() -> dict[str, figures.Snapshot]:
        return {name: figures.read(worker.snapshot()) for name, worker in workers.items()}

    def live() -> bool:
        return figures.alive(snapshots(), time.monotonic() + late)

    def ready() -> bool:
        return figures.ready(snapshots(), workers)

    with serve("127.0.0.1:0", lambda: prometheus_page(snapshots()), live, ready) as address:
        assert get(address, "/livez") == (200, "live\n")
        assert get(address, "/readyz") == (503, "not ready\n")
        workers["reader-0"].beat(ready=True)
        assert get(address, "/readyz")[0] == 503
        workers["answerer-0"].beat(ready=True)
        assert get(address, "/readyz") == (200, "ready\n")
        late = figures.SILENT_S + 1
        assert get(address, "/livez") == (503, "not live\n")
        late = 0.0
        workers["answerer-0"].beat(ready=False)
        assert (get(address, "/livez")[0], get(address, "/readyz")[0]) == (200, 503)
        families = list(text_string_to_metric_families(get(address, "/metrics")[1]))
    ready_now = [family for family in families if family.name == "clientip_worker_ready"]
    assert {sample.labels["worker"]: sample.value for sample in ready_now[0].samples} == {
        "reader-0": 1,
        "answerer-0": 0,
    }


def test_the_page_says_which_format_it_is_and_not_what_serves_it() -> None:
    with served(lambda: "page é\n") as (host, port):
        connection = HTTPConnection(host, port, timeout=LIMIT_S)
        connection.request("GET", "/metrics?name=x")
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert answer.headers["Server"] == "clientip"
        assert answer.read().decode() == "page é\n"


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../metrics", "/livez%00", "/etc/passwd"])
def test_other_paths_are_not_found(path: str) -> None:
    with served() as address:
        assert get(address, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "handle", "__init__"])
def test_other_methods_than_get_are_refused(method: str) -> None:
    with served() as address:
        assert sent(address, f"{method} /metrics HTTP/1.1\r\nHost: x\r\n\r\n".encode()).startswith(b"HTTP/1.0 405 ")


def test_no_request_breaks_the_server_or_makes_it_say_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    with served(lambda: "page") as address:

        @settings(max_examples=EXAMPLES, deadline=None)
        @given(st.binary(max_size=200))
        def ask(request: bytes) -> None:
            sent(address, request + b"\r\n\r\n")
            assert get(address, "/metrics") == (200, "page")

        ask()
    assert capfd.readouterr() == ("", "")


def test_a_request_that_is_too_long_is_not_answered() -> None:
    with served() as address:
        assert sent(address, b"GET /" + b"x" * MAX_REQUEST + b" HTTP/1.1\r\n\r\n") == b""


def test_who_sends_slowly_is_let_go_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REQUEST_S", 0.5)
    with served() as address, socket.create_connection(address, timeout=LIMIT_S) as slow:

        def is_let_go() -> bool:
            try:
                slow.sendall(b"G")
            except OSError:
                return True
            return False

        until(is_let_go, step_s=0.1)


def test_many_idle_connections_hold_nobody_up_for_longer_than_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REQUEST_S", 0.5)
    with served(lambda: "page") as address:
        idle = [socket.create_connection(address, timeout=LIMIT_S) for _ in range(3 * MAX_CONNECTIONS)]

        def is_answered() -> bool:
            try:
                return get(address, "/metrics") == (200, "page")
            except (OSError, HTTPException):
                return False

        until(is_answered)
        for connection in idle:
            connection.close()


def test_every_interface_is_taken_only_when_it_is_written() -> None:
    assert DEFAULT.startswith("127.0.0.1:")
    for wrong in ("", ":9464", "9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:x", "::1:9464", "[]:1"):
        with pytest.raises(ConfigError, match=r"is no address"), serve(wrong, str, yes, yes):
            pass
    with serve("0.0.0.0:0", str, yes, yes) as (host, _):
        assert host == "0.0.0.0"


def test_an_address_that_cannot_be_had_is_the_world_failing() -> None:
    with served() as (host, port), pytest.raises(SinkError), serve(f"{host}:{port}", str, yes, yes):
        pass
    with pytest.raises(SinkError), serve(f"{'x' * 300}:1", str, yes, yes):
        pass


def test_the_address_is_free_again_when_serving_ends() -> None:
    with served() as (host, port):
        assert get((host, port), "/livez")[0] == 200
    with serve(f"{host}:{port}", str, yes, yes):
        assert get((host, port), "/livez")[0] == 200
