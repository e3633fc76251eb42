"""Applications that answer with the client they see, for real servers: `asgi_app` and `wsgi_app` are factories.

The configuration is the file that CLIENTIP_CONFIG names; BEHIND names a middleware of uvicorn's to stand outside.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from clientip.asgi import AsgiClientIP
from clientip.model import Resolution
from clientip.wsgi import WsgiClientIP

ANSWER = b"x-answer"  # the header in which a WebSocket is told


def shown(client: Any, found: Resolution) -> bytes:
    """What a test wants to know."""
    path = [step.address for step in found.path]
    return json.dumps({"client": client, "verdict": found.verdict, "reason": found.reason, "path": path}).encode()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers every request and WebSocket, and takes part in the start and end of the server."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = shown(scope["client"], scope["clientip"])
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept", "headers": [(ANSWER, body)]})
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def asgi_app() -> Any:
    """For `uvicorn --factory`."""
    app: Any = AsgiClientIP(echo, os.environ["CLIENTIP_CONFIG"], "app")
    if "BEHIND" in os.environ:
        from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware  # noqa: PLC0415 - gunicorn needs none

        app = ProxyHeadersMiddleware(app, trusted_hosts="*")
    return app


def wsgi_app() -> Any:
    """For gunicorn."""

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        port = environ.get("REMOTE_PORT")
        body = shown([environ["REMOTE_ADDR"], int(port or 0)], environ["clientip.resolution"])
        start("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    return WsgiClientIP(app, os.environ["CLIENTIP_CONFIG"], "app")
