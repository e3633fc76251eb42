"""The client at request time, behind real servers: uvicorn and gunicorn, directly and with nginx and HAProxy in front.

Needs root, iproute2, nginx and haproxy; without them these tests fail and say so.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worlds.front_space import (
    ANOTHER,
    APP,
    CLIENT,
    CLIENT6,
    FORWARDED,
    HAPROXY,
    NGINX,
    NGINX6,
    REAL_IP,
    SERVERS,
    STRANGER,
    FrontSpace,
)
from tests.worlds.patience import LIMIT_S, until

pytestmark = pytest.mark.edge

FORGED = {
    "nothing": (),
    "one line": ("X-Forwarded-For: 6.6.6.6",),
    "several lines": ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 10.0.0.10, 10.0.0.11", "X-Forwarded-For: ,"),
    "the proxies' own addresses": (f"X-Forwarded-For: {NGINX}", f"X-Real-IP: {NGINX}", f"Forwarded: for={FORWARDED}"),
    "every header": ("Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "CF-Connecting-IP: 6.6.6.6", "Client-IP: 6.6.6.6"),
    "half a quoted text": ('Forwarded: for="6.6.6.6', "X-Forwarded-For: unknown, _x"),
    "underscores": ("X_Forwarded_For: 6.6.6.6", "x_real_ip: 6.6.6.6", "X_Forwarded-For: 6.6.6.6"),
}


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontSpace]:
    with FrontSpace(tmp_path_factory.mktemp("front")) as space:
        space.proxies()
        space.applications()
        yield space


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("proxy", [NGINX, HAPROXY, FORWARDED, REAL_IP])
@pytest.mark.parametrize("server", SERVERS)
def test_behind_a_proxy_the_client_is_the_one_who_connected_to_it(
    space: FrontSpace, server: str, proxy: str, forged: str
) -> None:
    found = space.told(CLIENT, (proxy, SERVERS[server]), *FORGED[forged])
    assert (found["client"], found["verdict"]) == ([CLIENT, 0], "vouched")
    assert found["path"] == [proxy, CLIENT]


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("server", SERVERS)
def test_over_ipv6_as_well(space: FrontSpace, server: str, forged: str) -> None:
    found = space.told(CLIENT6, (NGINX6, SERVERS[server]), *FORGED[forged])
    assert (found["client"], found["verdict"]) == ([CLIENT6, 0], "vouched")
    direct = space.told(CLIENT6, ("fd00::20", SERVERS[server]), *FORGED[forged])
    assert (direct["client"], direct["verdict"]) == ([CLIENT6, direct["port"]], "seen")


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("server", SERVERS)
def test_past_the_proxies_no_header_is_believed(space: FrontSpace, server: str, forged: str) -> None:
    found = space.told(CLIENT, (APP, SERVERS[server]), *FORGED[forged])
    assert (found["client"], found["verdict"]) == ([CLIENT, found["port"]], "seen")
    found = space.told(STRANGER, (APP, SERVERS[server]), *FORGED[forged])
    assert (found["client"], found["verdict"]) == ([STRANGER, found["port"]], "unknown")
    assert found["reason"] == "peer_unlisted"


@pytest.mark.parametrize("server", SERVERS)
def test_two_clients_on_one_connection_of_a_proxy_are_two(space: FrontSpace, server: str) -> None:
    for client in (CLIENT, ANOTHER, CLIENT):
        assert space.told(client, (NGINX, SERVERS[server]))["client"] == [client, 0]


@pytest.mark.parametrize("proxy", [NGINX, HAPROXY, APP])
@pytest.mark.parametrize("server", [name for name in SERVERS if name != "gunicorn"])
def test_a_websocket_has_its_client(space: FrontSpace, server: str, proxy: str) -> None:
    lines = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    lines = (*lines, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "X-Forwarded-For: 6.6.6.6")
    port, answer = space.ask(CLIENT, (proxy, SERVERS[server]), *lines)
    [told] = re.findall(r"(?im)^x-answer: (.*?)\r?$", answer)
    assert json.loads(told)["client"] == [CLIENT, port if proxy == APP else 0]


# Servers that replace the peer.


def until_said(space: FrontSpace, log: str, text: str) -> None:
    until(lambda: text in space.log(log), lambda: space.log(log))


@pytest.mark.parametrize("how", [(), ("--loop", "uvloop", "--http", "httptools"), ("--lifespan", "on")], ids=" ".join)
def test_behind_proxy_headers_of_uvicorn_it_does_not_start(space: FrontSpace, how: tuple[str, ...]) -> None:
    refused = space.uvicorn("refused", "--host", APP, "--port", "8100", *how)
    assert refused.wait(LIMIT_S) != 0
    assert "start uvicorn with --no-proxy-headers" in space.log("refused")


def test_behind_proxy_headers_without_a_start_it_serves_no_request(space: FrontSpace) -> None:
    space.uvicorn("late", "--host", APP, "--port", "8101", "--lifespan", "off")
    for _ in range(2):
        _, answer = space.ask(CLIENT, (APP, 8101), "X-Forwarded-For: 6.6.6.6")
        assert " 500 " in answer.partition("\r\n")[0]
    until_said(space, "late", "start uvicorn with --no-proxy-headers")


def test_another_middleware_that_replaces_peers_is_noticed(space: FrontSpace) -> None:
    how = ("--host", APP, "--port", "8102", "--no-proxy-headers")
    space.uvicorn("behind", *how, env={"BEHIND": "proxy headers"})
    assert space.told(CLIENT, (APP, 8102))["client"][0] == CLIENT
    _, answer = space.ask(CLIENT, (APP, 8102), "X-Forwarded-For: 6.6.6.6:4711")
    assert " 500 " in answer.partition("\r\n")[0]
    until_said(space, "behind", "make this the outermost middleware")


def test_a_unix_socket_has_no_peer_and_names_no_client(space: FrontSpace, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    space.uvicorn("unix", "--uds", str(path), "--no-proxy-headers")
    until_said(space, "unix", "running on unix socket")
    with socket.socket(socket.AF_UNIX) as ours:
        ours.connect(str(path))
        ours.sendall(b"GET / HTTP/1.1\r\nHost: app\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: ours.recv(65536), b""))
    found = json.loads(answer.rpartition(b"\r\n\r\n")[2])
    assert (found["client"], found["verdict"], found["reason"]) == (None, "unknown", "peer_not_logged")
