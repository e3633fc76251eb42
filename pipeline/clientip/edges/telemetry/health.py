"""What a stream shows to those who watch it: its figures, whether it lives, and whether it is ready.

Every neighbour that reaches an address may ask there.  The probes can have an address of their own, so that nothing
that strangers do with the page of figures holds them up; on one address, too, they are answered while strangers hold
connections (`http_server`).
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http import HTTPStatus
from typing import Final

from clientip.edges.telemetry.http_server import Page, Pages, listening, serving
from clientip.errors import ConfigError, Fault, SinkError

DEFAULT: Final = "127.0.0.1:9464"
PAGE_S: Final = 0.5  # the figures are put together no more often, however many ask

_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)

Serving = AbstractContextManager[tuple[str, int]]
"""Answers in a thread of its own for as long as the block lasts; gives the host and port it listens on."""


def serve(address: str, page: Callable[[], str], live: Callable[[], bool], ready: Callable[[], bool]) -> Serving:
    """Answer `/metrics`, `/livez` and `/readyz` on one address.

    `address` is `host:port` or `[v6]:port`; port 0 takes a free one.  All addresses of the machine are `0.0.0.0` or
    `[::]`, and only when written.  The three functions are called from another thread.
    Raises ConfigError for no such address, SinkError if it cannot be had.
    """
    return serving(_listener("--listen", address), {**_figures(page), **_probes(live, ready)})


@contextmanager
def served(
    listen: str | None, probes: str | None, page: Callable[[], str], live: Callable[[], bool], ready: Callable[[], bool]
) -> Iterator[tuple[tuple[str, int], ...]]:
    """Answer what was asked for: the probes on `probes`, or where that is None on `listen`, as the figures."""
    with ExitStack() as held:
        servings = []
        if listen is not None:
            servings.append(serve(listen, page, live, ready) if probes is None else serve_figures(listen, page))
        if probes is not None:
            servings.append(serve_probes(probes, live, ready))
        yield tuple(held.enter_context(each) for each in servings)


def serve_figures(address: str, page: Callable[[], str]) -> Serving:
    """Answer `/metrics` alone; otherwise as `serve`."""
    return serving(_listener("--listen", address), _figures(page))


def serve_probes(address: str, live: Callable[[], bool], ready: Callable[[], bool]) -> Serving:
    """Answer `/livez` and `/readyz` alone; otherwise as `serve`."""
    return serving(_listener("--probes", address), _probes(live, ready))


def _figures(page: Callable[[], str]) -> Pages:
    made_s, made = -PAGE_S, ""

    def figures() -> Page:
        nonlocal made_s, made
        if time.monotonic() - made_s >= PAGE_S:
            made_s, made = time.monotonic(), page()
        return Page(HTTPStatus.OK, made)

    return {"/metrics": figures}


def _probes(live: Callable[[], bool], ready: Callable[[], bool]) -> Pages:
    return {"/livez": lambda: _state(live(), "live"), "/readyz": lambda: _state(ready(), "ready")}


def _state(holds: bool, word: str) -> Page:
    return Page(HTTPStatus.OK, f"{word}\n") if holds else Page(HTTPStatus.SERVICE_UNAVAILABLE, f"not {word}\n")


def _listener(option: str, address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or (":" in bare and bare == host) or not (_PORT.fullmatch(port) and int(port) < 65536):
        raise ConfigError([Fault("", option, f"{address[:100]!r} is no address; write it like {DEFAULT}")])
    try:
        return listening(bare, int(port))
    except (OSError, UnicodeError) as error:  # a host that can be no name is a UnicodeError
        raise SinkError(f"{address[:100]}: {getattr(error, 'strerror', None) or error}", retry=False) from error
