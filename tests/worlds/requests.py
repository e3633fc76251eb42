"""Requests as servers hand them over, and as Caddy logs them: for tests of the middleware."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

from clientip.asgi import AsgiClientIP
from clientip.wsgi import WsgiClientIP

from tests.trust.test_laws import BEHAVIOURS

Headers = Sequence[tuple[str, str]]
"""Lines in wire order; names as the client wrote them."""

NOW = 1_735_689_600  # seconds: 2025-01-01


def chain(names: Sequence[str], app: str = "") -> str:
    """app ← hop 1 ← hop 2 ← … ← outside, as a configuration; `app`: further keys of the application."""
    text = f'[systems.app]\npeers = ["{"hop1" if names else "outside"}"]\n{app}\n'
    for number, name in enumerate(names, 1):
        [promise] = BEHAVIOURS[name][0]
        text += (
            f'[systems.hop{number}]\naddresses = ["10.{number}.0.0/16"]\n'
            f'peers = ["{"outside" if number == len(names) else f"hop{number + 1}"}"]\n'
            f'conveys = [{{ header = "{promise.source}", mode = "{promise.mode}" }}]\n'
        )
    return text


def lines_of(headers: dict[str, list[str]]) -> Headers:
    return [(name, line) for name, lines in headers.items() for line in lines]


def scope_of(peer: str | None, headers: Headers, kind: str = "http", port: int = 5555) -> dict[str, Any]:
    """The scope of a request as an ASGI server makes it."""
    raw = [(name.lower().encode("latin-1"), value.encode()) for name, value in headers]
    return {"type": kind, "client": None if peer is None else (peer, port), "headers": raw, "path": "/", "state": {}}


def through_asgi(middleware: type[AsgiClientIP], config: Any, scope: dict[str, Any], **how: Any) -> dict[str, Any]:
    """The scope that the application sees."""
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope)

    asyncio.run(middleware(app, config, "app")(scope, how.get("receive"), how.get("send")))  # type: ignore[arg-type]
    [found] = seen
    return found  # type: ignore[no-any-return]


def environ_of(peer: str, headers: Headers, port: int = 5555) -> dict[str, Any]:
    """The environ of a request as servers make it that join lines, and merge names unless they drop underscores."""
    environ: dict[str, Any] = {"REMOTE_ADDR": peer, "REMOTE_PORT": str(port), "REMOTE_HOST": peer, "PATH_INFO": "/"}
    for name, value in headers:
        key, text = "HTTP_" + name.upper().replace("-", "_"), value.encode().decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def through_wsgi(config: Any, environ: dict[str, Any]) -> dict[str, Any]:
    """The environ that the application sees."""
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], _start: Any) -> Iterable[bytes]:
        seen.append(environ)
        return []

    WsgiClientIP(app, config, "app")(environ, lambda *_: None)
    [found] = seen
    return found


def logged_by_caddy(peer: str, headers: Headers, port: int = 5555) -> bytes:
    """The access log line of the same request."""
    shown: dict[str, list[str]] = {}
    for name, value in headers:
        shown.setdefault(name.title(), []).append(value)
    request = {"remote_ip": peer, "remote_port": str(port), "method": "GET", "uri": "/", "headers": shown}
    row = {"level": "info", "ts": NOW, "msg": "handled request", "request": request, "duration": 0.0, "status": 200}
    return json.dumps(row).encode()
