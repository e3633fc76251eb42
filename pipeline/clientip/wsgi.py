"""The client of a request under WSGI (Flask, Django, Pyramid, …), by the walk of the log.

    application = WsgiClientIP(application, config="clientip.toml", system="app")

`system` is the application as the configuration draws it; its `peers` may connect to the server.  If the client of
a request is named (verdict `seen` or `vouched`), it stands in `REMOTE_ADDR` and `REMOTE_PORT`; a port that is not
known is left out.  Otherwise the peer stays there; an address that is only claimed never does.
`environ["clientip.resolution"]` always holds the `Resolution`, which says why.

`environ` cannot tell X-Forwarded-For from X_Forwarded_For, a header that no proxy strips.  So a configuration in
which headers are believed must say that the server drops such names (`drops_underscores = true`), or the middleware
refuses to start: gunicorn from 22 on and waitress drop them, wsgiref does not.

It must be the outermost middleware, and nothing may have replaced the peer: no `trusted_proxy` of waitress, no
`ProxyFix`.  The server's own environ is not changed, so its access log still shows the socket.  The configuration
is read once: a changed one needs a restart.

>>> import tempfile
>>> config = tempfile.NamedTemporaryFile("w+", suffix=".toml")
>>> _ = config.write('''
... [systems.lb]
... addresses = ["10.0.0.10"]
... peers     = ["outside"]
... conveys   = [{ header = "x-forwarded-for", mode = "append" }]
... [systems.app]
... peers     = ["lb"]
... drops_underscores = true
... '''), config.flush()
>>> def app(environ, start_response):
...     return environ["REMOTE_ADDR"], environ["clientip.resolution"].verdict
>>> environ = {"REMOTE_ADDR": "10.0.0.10", "HTTP_X_FORWARDED_FOR": "6.6.6.6, 203.0.113.7"}
>>> WsgiClientIP(app, config.name, "app")(environ, None)
('203.0.113.7', 'vouched')
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from clientip.config.load import load
from clientip.config.place import Paths, paths_of
from clientip.request_walk import RequestWalk, peer_of, text_of

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class WsgiClientIP:
    """Sets the client of every request; see the module.

    `config`: one TOML file or folder, or several.  Errors: ConfigError.
    """

    def __init__(self, app: App, config: Paths = "clientip.toml", system: str = "app") -> None:
        self._app = app
        self._walk = RequestWalk(load(paths_of(config)), system, merged=True)
        self._wanted = {"HTTP_" + name.upper().replace("-", "_"): name for name in self._walk.wanted}

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """One request."""
        wanted = self._wanted
        peer = peer_of(environ.get("REMOTE_ADDR"), environ.get("REMOTE_PORT"))
        # Several lines are one value here, joined by commas, and characters are bytes (PEP 3333).
        headers = [(wanted[key], text_of(environ[key].encode("latin-1"))) for key in environ if key in wanted]
        found = self._walk.resolve(peer, headers, time.time_ns(), environ.get("PATH_INFO"))
        environ = {**environ, "clientip.resolution": found}
        client = found.named
        if client is not None:
            environ["REMOTE_ADDR"] = client.address.text
            for key in ("REMOTE_HOST", "REMOTE_PORT"):  # of the peer
                environ.pop(key, None)
            if client.port is not None:
                environ["REMOTE_PORT"] = str(client.port)
        return self._app(environ, start_response)
