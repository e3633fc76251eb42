"""`clientip help longest`: what ends a request or connection by force, product by product."""

from __future__ import annotations

import textwrap
from typing import Final, NamedTuple

_WIDTH: Final = 110


class _Product(NamedTuple):
    name: str
    ends: str  # settings that end the whole; "": there is none
    only: str  # settings that look as if they did


_PRODUCTS: Final = (
    _Product(
        "Envoy",
        "HTTP: common_http_protocol_options.max_stream_duration of the listener's connection manager, or "
        "max_stream_duration of every route. TCP: max_downstream_connection_duration of the TCP proxy.",
        "idle_timeout, stream_idle_timeout and a route's timeout, which begins only when the request was read",
    ),
    _Product(
        "HAProxy",
        "",
        "timeout client, timeout server, timeout tunnel: of inactivity; timeout http-request: of the headers. In mode "
        'tcp write `option logasap` with %bi:%bp, and options = { logasap = "true" } here; in mode http mint an id',
    ),
    _Product(
        "nginx",
        "",
        "proxy_read_timeout, send_timeout, client_body_timeout: between two reads or writes",
    ),
    _Product(
        "Apache httpd",
        "",
        "Timeout: between two reads or writes; RequestReadTimeout: of the request, not of the response",
    ),
    _Product(
        "Traefik, Caddy (Go)",
        "writeTimeout of the entry point (respondingTimeouts), write of Caddy's timeouts: from the request's headers "
        "to the end of the response. Both are off unless you write them.",
        "readTimeout and idleTimeout; a hijacked connection (WebSocket) is never ended",
    ),
    _Product(
        "Varnish",
        "",
        "send_timeout: of ordinary HTTP/1 responses only; idle_send_timeout: of inactivity",
    ),
    _Product("AWS ALB", "", "the idle timeout: of inactivity"),
)

_HEAD: Final = (
    "A log that is written when a request or connection is over has no line of those that still go on. "
    "`lossless` therefore proves nothing of the last `longest` of such a log, and nothing at all without "
    "`longest`. Write it only if the server ends every request or connection by force after that time. A timeout "
    "of inactivity bounds nothing: who sends or reads one byte in time holds on. No figure from a log is "
    "safe: tomorrow one may last longer. A line that did is a finding, `longest_broken`, and ends a replay with 1."
)


def longest_help() -> str:
    """The reference."""
    lines = textwrap.wrap(_HEAD, _WIDTH)
    for each in _PRODUCTS:
        lines += ["", f"{each.name}:"]
        lines += _item("ends the whole", each.ends or "no setting does")
        lines += _item("does not", each.only)
    return "\n".join(lines) + "\n"


def _item(head: str, text: str) -> list[str]:
    return textwrap.wrap(f"{head}: {text}", _WIDTH, initial_indent="    ", subsequent_indent="        ")
