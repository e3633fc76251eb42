"""What is remembered between lines is bounded by bytes, whatever clients write into them."""

from __future__ import annotations

import ast
import gc
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clientip.engine import Engine, LogSource
from clientip.formats import FORMATS
from clientip.model import Line, Setup, System
from clientip.syntax import remembering as memory
from clientip.syntax.remembering import LONGEST_BYTES, MEMORY_BYTES, remembering

from tests.test_architecture import modules

MIB = 1024 * 1024

#: Everything that remembers by what it is called with, and why that cannot grow by the bytes of a line.
CACHES = {
    "edges.collect.netlink": "addresses of 4 or 16 bytes, from the kernel",
    "edges.geo": "addresses of clients, as text of at most 45 characters",
    "formats": "formats, by their names",
    "formats.traefik.access": "ports of at most five digits, services of at most 256 characters; keys by `remembering`",
    "patterns.matcher": "patterns of the configuration",
    "syntax.addresses": "addresses of at most 45 characters; what is none raises, which is not remembered",
    "syntax.times": "stamps of a fixed form; what is none raises",
    "trust.header_cursor": "members of at most 64 characters",
    "edges.cli.guess": "nothing: it is the table of what is shipped",
}


def test_every_cache_is_known_and_says_what_bounds_it() -> None:
    found = set()
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "functools":
                found |= {name for each in node.names if each.name in ("cache", "lru_cache", "cached_property")}
    assert found == CACHES.keys()


def test_what_is_made_of_keys_is_remembered_within_a_number_of_bytes() -> None:
    made: list[tuple[str, ...]] = []

    def make(keys: tuple[str, ...]) -> int:
        made.append(keys)
        return len(made)

    remembered = remembering(make)
    usual = ("ClientAddr", "RequestMethod")
    assert remembered(usual) == remembered(usual) == 1
    tracemalloc.start()
    try:
        for number in range(3 * MEMORY_BYTES // LONGEST_BYTES):
            remembered((f"{number}" + "x" * (LONGEST_BYTES // 5),))
            made.clear()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < MEMORY_BYTES
    finally:
        tracemalloc.stop()


def test_what_is_made_of_long_keys_is_made_each_time() -> None:
    made: list[int] = []
    remembered = remembering(lambda keys: made.append(len(keys)) or len(made))
    long = ("x" * LONGEST_BYTES,)
    assert (remembered(long), remembered(long)) == (1, 2)


def test_usual_keys_are_soon_remembered_again_after_many_unusual_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMORY_BYTES", 20_000)
    made: list[tuple[str, ...]] = []
    remembered = memory.remembering(lambda keys: made.append(keys) or keys)
    for number in range(1000):
        remembered(("usual",))
        remembered((f"unusual {number}",))
    assert made.count(("usual",)) < 100


def of_traefik(number: int) -> bytes:
    keys = {f"request_X-{number}-{name}-{'a' * 2000}": "v" for name in range(30)}
    return json.dumps(
        {
            "ClientAddr": "203.0.113.7:4711",
            "RequestMethod": "GET",
            "StartUTC": "2026-01-01T00:00:00Z",
            "request_X-Forwarded-For": f"{number}-{'f' * 60_000}, 2001:db8::{number:x}",
            "ServiceAddr": f"service-{number}-{'s' * 60_000}",
            **keys,
        }
    ).encode()


def of_spans(number: int) -> bytes:
    attributes: list[Any] = [
        {"key": f"http.request.header.x-{number}-{name}-{'a' * 2000}", "value": {"stringValue": "v"}}
        for name in range(30)
    ]
    span = {"traceId": f"{number:032x}", "spanId": f"{number + 1:016x}", "kind": 2, "attributes": attributes}
    span |= {"startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000000000001"}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def of_caddy(number: int) -> bytes:
    headers = {f"X-{number}-{name}-{'a' * 2000}": ["v"] for name in range(30)}
    headers["X-Forwarded-For"] = [f"{number}-{'f' * 60_000}, 2001:db8::{number:x}"]
    request = {"remote_ip": "203.0.113.7", "remote_port": "4711", "method": "GET", "uri": "/", "headers": headers}
    return json.dumps({"ts": 1700000000.5, "msg": "handled request", "request": request, "status": 200}).encode()


def of_nginx(number: int) -> bytes:
    return b'203.0.113.7 - - [01/Jan/2026:00:00:00 +0000] "GET /%d HTTP/1.1" 200 2 "-" "%d %b"' % (
        number,
        number,
        b"a" * 60_000,
    )


WRITERS: dict[str, Callable[[int], bytes]] = {
    "traefik_json": of_traefik,
    "otlp_traces": of_spans,
    "caddy": of_caddy,
    "nginx": of_nginx,
}


@pytest.mark.parametrize("name", WRITERS)
def test_lines_leave_nothing_behind_that_grows_with_what_clients_write(name: str) -> None:
    row = FORMATS[name]
    setup = Setup(
        system="web",
        format=name,
        logs_peer="socket" if row.logs_peer else None,
        claim_headers=frozenset(("x-forwarded-for",)),
    )
    systems = [System(name="web", peers=frozenset(("outside",)))]
    reading = Engine(systems, [LogSource(setup)], line_bytes=MIB).reading("web")

    def lines(first: int, count: int) -> Iterator[Line]:
        for number in range(first, first + count):
            text = WRITERS[name](number)
            yield Line(text, text, "file", number)

    for line in lines(0, 20):
        assert all(type(each).__name__ in ("Record", "Fact", "Skipped") for each in reading.feed(line))
    gc.collect()
    tracemalloc.start()
    try:
        for line in lines(20, 300):  # 18 MB or more of what clients wrote
            reading.feed(line)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 2 * MIB
    finally:
        tracemalloc.stop()
