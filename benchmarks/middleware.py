"""`python -m benchmarks.middleware`: what `clientip.asgi` and `clientip.wsgi` add to a request, in µs of processor.

Three kinds of requests: past the proxies, without any forwarding header; through one proxy; through two, with three
forged entries.  Clients are many, so that a cache helps as far as in an hour of a busy server, and no further.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any, Final

from clientip.asgi import AsgiClientIP
from clientip.wsgi import WsgiClientIP

REQUESTS: Final = 20_000
ROUNDS: Final = 9
CONFIG: Final = """
[systems.cdn]
addresses = ["192.0.2.0/24"]
peers     = ["outside"]
conveys   = [{ header = "x-forwarded-for", mode = "append" }]
[systems.lb]
addresses = ["10.0.0.10"]
peers     = ["cdn", "outside"]
conveys   = [{ header = "x-forwarded-for", mode = "append" }]
[systems.app]
peers     = ["lb", "outside"]
drops_underscores = true
"""
USUAL: Final = (
    ("host", "app"),
    ("accept", "text/html,application/xhtml+xml;q=0.9"),
    ("accept-encoding", "gzip, br"),
    ("accept-language", "de,en;q=0.5"),
    ("cookie", "session=8f1c2d3418eb4f7a"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:136.0) Gecko/20100101 Firefox/136.0"),
    ("x-request-id", "6f1c2d34-18eb-4f7a-9d55-2f6f3d0c9f11"),
)
KINDS: Final[dict[str, Callable[[str], tuple[str, str | None]]]] = {  # client → peer, X-Forwarded-For
    "direct": lambda client: (client, None),
    "one proxy": lambda client: ("10.0.0.10", client),
    "two proxies, forged": lambda client: ("10.0.0.10", f"6.6.6.6, 10.0.0.10, unknown, {client}, 192.0.2.9"),
}

Work = Callable[[], None]


def _clients() -> Iterable[str]:
    return (f"198.51.{number >> 8 & 255}.{number & 255}" for number in range(REQUESTS))


def _asgi(kind: str, config: Path | None) -> Work:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    served: Any = app if config is None else AsgiClientIP(app, config, "app")
    requests = []
    for peer, said in map(KINDS[kind], _clients()):
        headers = [*USUAL, *([] if said is None else [("x-forwarded-for", said)])]
        raw = [(name.encode(), value.encode()) for name, value in headers]
        requests.append({"type": "http", "client": (peer, 5555), "headers": raw, "path": "/", "state": {}})

    async def all_of_them() -> None:
        for scope in requests:
            await served(scope, None, None)

    return lambda: asyncio.run(all_of_them())


def _wsgi(kind: str, config: Path | None) -> Work:
    served: Any = lambda environ, start: []  # noqa: E731
    served = served if config is None else WsgiClientIP(served, config, "app")
    requests = []
    for peer, said in map(KINDS[kind], _clients()):
        headers = [*USUAL, *([] if said is None else [("x-forwarded-for", said)])]
        environ = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers}
        requests.append(environ | {"REMOTE_ADDR": peer, "REMOTE_PORT": "5555", "PATH_INFO": "/"})

    def work() -> None:
        for environ in requests:
            served(environ, None)

    return work


def _spent(work: Work) -> float:
    before = time.process_time()
    work()
    return (time.process_time() - before) * 1e6 / REQUESTS


def measure() -> dict[tuple[str, str], float]:
    """µs that the middleware adds: medians of rounds in which all take their turn."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "clientip.toml"
        config.write_text(CONFIG)
        makers = {"asgi": _asgi, "wsgi": _wsgi}
        cases = {(name, kind): make for name, make in makers.items() for kind in KINDS}
        taken: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
        works = {case: (make(case[1], config), make(case[1], None)) for case, make in cases.items()}
        for _ in range(ROUNDS):
            for case, (with_it, without) in works.items():
                taken[case].append(_spent(with_it) - _spent(without))
    return {case: median(each) for case, each in taken.items()}


if __name__ == "__main__":
    for (name, kind), figure in measure().items():
        print(f"{name}  {kind:20} {figure:5.1f} µs")
