"""The client of a request under ASGI (FastAPI, Starlette, Django, Litestar, …), by the walk of the log.

    app = AsgiClientIP(app, config="clientip.toml", system="app")

`system` is the application as the configuration draws it; its `peers` may connect to the server.  If the client of
a request or WebSocket is named (verdict `seen` or `vouched`), it stands in `scope["client"]`, with port 0 if the port
is not known.  Otherwise the peer stays there; an address that is only claimed never does.  `scope["clientip"]`, and
`clientip` in `scope["state"]`, always hold the `Resolution`, which says why.

It must be the outermost middleware, and the server must show its socket: `uvicorn --no-proxy-headers`.  Behind a
uvicorn with `proxy_headers` it refuses to start.  The scope of the server is not changed, so its own access log
still shows the socket.  The configuration is read once: a changed one needs a restart.

>>> import asyncio, tempfile
>>> config = tempfile.NamedTemporaryFile("w+", suffix=".toml")
>>> _ = config.write('''
... [systems.lb]
... addresses = ["10.0.0.10"]
... peers     = ["outside"]
... conveys   = [{ header = "x-forwarded-for", mode = "append" }]
... [systems.app]
... peers     = ["lb"]
... '''), config.flush()
>>> async def app(scope, receive, send):
...     print(scope["client"], scope["clientip"].verdict)
>>> headers = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"203.0.113.7")]
>>> scope = {"type": "http", "client": ("10.0.0.10", 5555), "headers": headers}
>>> asyncio.run(AsgiClientIP(app, config.name, "app")(scope, None, None))
('203.0.113.7', 0) vouched
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from clientip.config.load import load
from clientip.config.place import Paths, paths_of
from clientip.errors import ConfigError, Fault
from clientip.request_walk import RequestWalk, peer_of, text_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

REPLACED: Final = "the peer is replaced before clientip sees it: {}"
UVICORN: Final = "start uvicorn with --no-proxy-headers (proxy_headers=False)"
ANOTHER: Final = "make this the outermost middleware, and take the other one out"


class AsgiClientIP:
    """Sets the client of every request; see the module.

    `config`: one TOML file or folder, or several.  Errors: ConfigError.
    """

    def __init__(self, app: App, config: Paths = "clientip.toml", system: str = "app") -> None:
        self._app = app
        self._walk = RequestWalk(load(paths_of(config)), system)
        self._wanted = {name.encode(): name for name in self._walk.wanted}
        self._asked = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request, or the server's start and end."""
        if not self._asked and _uvicorn_replaces_peers():
            error = _refusal(UVICORN)
            if scope["type"] != "lifespan":
                raise error
            await receive()  # the start, which fails; an exception would only mean that lifespans are not supported
            await send({"type": "lifespan.startup.failed", "message": f"clientip: {error}"})
            return
        self._asked = True
        if scope["type"] in ("http", "websocket"):
            scope = self._resolved(scope, receive)
        await self._app(scope, receive, send)

    def _resolved(self, scope: Message, receive: Receive) -> Message:
        client, wanted = scope.get("client"), self._wanted
        if not _is_of_socket(client, receive):
            raise _refusal(ANOTHER)
        peer = None if client is None else peer_of(*client)
        headers = [(wanted[name], text_of(value)) for name, value in scope["headers"] if name in wanted]
        found = self._walk.resolve(peer, headers, time.time_ns(), scope.get("path"))
        state = {**(scope.get("state") or {}), "clientip": found}
        scope = {**scope, "clientip": found, "state": state}
        who = found.named
        if who is not None:
            scope["client"] = (who.address.text, who.port or 0)
        return scope


def _uvicorn_replaces_peers() -> bool:
    """Whether a uvicorn that runs in this event loop takes peers from headers, which is its default.

    Nothing it hands over says so.  But it serves from this very loop, as a coroutine that knows its configuration.
    """
    uvicorn = sys.modules.get("uvicorn.server")
    if uvicorn is None:
        return False
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:  # no asyncio runs here, and so no uvicorn
        return False
    for task in tasks:
        step: Any = task.get_coro()
        while step is not None:
            frame = getattr(step, "cr_frame", None)
            server = None if frame is None else frame.f_locals.get("self")
            if isinstance(server, uvicorn.Server) and server.config.proxy_headers:
                return True
            step = getattr(step, "cr_await", None)
    return False


def _is_of_socket(client: Any, receive: Receive) -> bool:
    """Whether the server's connection, where it lets it be seen, comes from this client."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    ask = getattr(transport, "get_extra_info", None)
    if ask is None:
        return True
    peer = ask("peername")
    return (peer[0] if isinstance(peer, tuple) else None) == (client[0] if client else None)


def _refusal(text: str) -> ConfigError:
    return ConfigError([Fault("", "", REPLACED.format(text))])
