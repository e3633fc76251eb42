"""Health answers follow what the workers said, and nobody who asks can hold them up."""

from __future__ import annotations

import select
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from threading import Event, Thread

import pytest
from clientip.edges.telemetry import figures, health, http_server
from clientip.edges.telemetry.health import DEFAULT, serve, serve_figures, serve_probes
from clientip.edges.telemetry.http_server import MAX_CONNECTIONS, MAX_REQUEST
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
    monkeypatch.setattr(http_server, "REQUEST_S", LIMIT_S)


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
    answer = b""
    with socket.create_connection(address, timeout=LIMIT_S) as connection:
        with suppress(OSError):  # closed before all of the request was read
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while more := connection.recv(65536):
                answer += more
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
    monkeypatch.setattr(http_server, "REQUEST_S", 0.5)
    with served() as address, socket.create_connection(address, timeout=LIMIT_S) as slow:

        def is_let_go() -> bool:
            try:
                slow.sendall(b"G")
            except OSError:
                return True
            return False

        until(is_let_go, step_s=0.1)


def hold(address: Address, stop: Event) -> None:
    """What a stranger does: half a request, and again as soon as the connection ends."""
    while not stop.is_set():
        with suppress(OSError), socket.create_connection(address, timeout=LIMIT_S) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\n")
            connection.recv(10)


@contextmanager
def held(address: Address, monkeypatch: pytest.MonkeyPatch, threads: int = 64) -> Iterator[None]:
    monkeypatch.setattr(http_server, "REQUEST_S", 5.0)  # so that they come again and again, and end
    stop = Event()
    strangers = [Thread(target=hold, args=(address, stop), daemon=True) for _ in range(threads)]
    for stranger in strangers:
        stranger.start()
    try:
        yield
    finally:
        stop.set()
        for stranger in strangers:
            stranger.join()


def test_probes_are_answered_while_strangers_hold_connections_to_the_same_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with served() as address, held(address, monkeypatch):
        for _ in range(50):
            assert get(address, "/livez") == (200, "live\n")
            assert get(address, "/readyz") == (200, "ready\n")


def test_probes_on_an_address_of_their_own_are_answered_while_strangers_hold_the_one_of_the_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve_figures("127.0.0.1:0", str) as strangers, serve_probes("127.0.0.1:0", yes, yes) as address:
        assert get(strangers, "/livez")[0] == get(strangers, "/readyz")[0] == get(address, "/metrics")[0] == 404
        with held(strangers, monkeypatch):
            assert get(address, "/livez") == (200, "live\n")
            assert get(address, "/readyz") == (200, "ready\n")


def test_a_probe_does_not_wait_for_figures_that_take_long_on_another_address() -> None:
    asked, go_on = Event(), Event()

    def page() -> str:
        asked.set()
        assert go_on.wait(LIMIT_S)
        return "figures"

    with (
        serve_figures("127.0.0.1:0", page) as figures_at,
        serve_probes("127.0.0.1:0", yes, yes) as address,
        ThreadPoolExecutor() as pool,
    ):
        slow = pool.submit(get, figures_at, "/metrics")
        assert asked.wait(LIMIT_S)
        assert get(address, "/livez") == (200, "live\n")
        go_on.set()
        assert slow.result() == (200, "figures")


def test_who_comes_last_is_heard_however_many_idle_connections_there_are() -> None:
    with served(lambda: "page") as address:
        idle = [socket.create_connection(address, timeout=LIMIT_S) for _ in range(3 * MAX_CONNECTIONS)]
        assert get(address, "/metrics") == (200, "page")
        for connection in idle:
            connection.close()


def test_room_is_made_by_the_address_that_holds_most_connections() -> None:
    with served(lambda: "page") as address:
        with socket.create_connection(address, timeout=LIMIT_S, source_address=("127.0.0.2", 0)) as early:
            early.sendall(b"GET /met")
            idle = [socket.create_connection(address, timeout=LIMIT_S) for _ in range(2 * MAX_CONNECTIONS)]
            assert get(address, "/livez")[0] == 200  # so all of them have been accepted
            early.sendall(b"rics HTTP/1.1\r\n\r\n")
            assert early.recv(100).startswith(b"HTTP/1.0 200 ")
        for connection in idle:
            connection.close()


def test_who_does_not_read_his_answer_holds_nobody_up_and_is_let_go_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    length = 64_000_000
    with served(lambda: "x" * length) as address, socket.create_connection(address, timeout=LIMIT_S) as deaf:
        monkeypatch.setattr(http_server, "REQUEST_S", 0.5)
        deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        until(lambda: select.select([deaf], [], [], 0)[0])  # the answer has begun
        assert get(address, "/livez")[0] == 200
        with socket.create_connection(address, timeout=LIMIT_S) as later:
            assert later.recv(1) == b""  # let go, and so is who came before
        heard = 0
        with suppress(ConnectionResetError):
            while more := deaf.recv(1 << 20):
                heard += len(more)
        assert heard < length


@pytest.mark.parametrize(("every_s", "pages"), [(LIMIT_S, 1), (0.0, 20)])
def test_the_figures_are_put_together_no_more_often_than_they_may_be(
    monkeypatch: pytest.MonkeyPatch, every_s: float, pages: int
) -> None:
    monkeypatch.setattr(health, "PAGE_S", every_s)
    made: list[None] = []

    def page() -> str:
        made.append(None)
        return f"page {len(made)}"

    with served(page) as address:
        answers = [get(address, "/metrics")[1] for _ in range(20)]
    assert len(set(answers)) == len(made) == pages


def test_a_page_that_fails_ends_its_own_connection_only(capfd: pytest.CaptureFixture[str]) -> None:
    def page() -> str:
        raise RuntimeError("a defect")

    with served(page) as address:
        assert sent(address, b"GET /metrics HTTP/1.1\r\n\r\n") == b""
        assert get(address, "/livez")[0] == 200
    assert "RuntimeError: a defect" in capfd.readouterr().err


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
