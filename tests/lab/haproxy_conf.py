"""HAProxy's configurations: each external balancer, by the name of its log, and the ports on which it listens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clientip.syntax.headers import ID_HEADERS

from tests.lab import patterns
from tests.lab.network import BALANCER, NODES

A, B = (node[0] for node in NODES.values())


def _frontend(port: int, lines: Sequence[str], pattern: str, server: str, mode: str = "tcp") -> str:
    body = [
        f"frontend in-{port}",
        f"    bind :::{port} v4v6",
        f"    mode {mode}",
        f"    log-format '{pattern}'",
        f"    default_backend out-{port}",
        f"backend out-{port}",
        f"    mode {mode}",
        f"    server s1 {server}",
        *(f"    {line}" for line in lines),
    ]
    return "\n".join(body) + "\n"


def _tcp() -> str:
    plain = {80: f"{A}:30080", 83: f"{B}:30081", 85: f"{A}:30088", 90: f"{B}:30086", 93: f"{A}:30085"}
    parts = [_frontend(port, (), patterns.HAPROXY_TCP, server) for port, server in plain.items()]
    proxied = {81: f"{A}:30083", 108: f"{A}:30095"}
    parts += [_frontend(port, (), patterns.HAPROXY_TCP, f"{server} send-proxy-v2") for port, server in proxied.items()]
    return "".join(parts)


def _http() -> str:
    """82: upstream connections are shared; 84: so, and says whom it serves; 92: and a connection for each client."""
    always = "http-reuse always"
    each = {82: (always,), 84: (always, "option forwardfor"), 92: ("http-reuse never",)}
    return "".join(_frontend(port, lines, patterns.HAPROXY_HTTP, f"{A}:30080", "http") for port, lines in each.items())


def _forgetful() -> str:
    """`if-none` believes whatever the client sent."""
    return _frontend(87, ("option forwardfor if-none",), patterns.HAPROXY_HTTP, f"{A}:30080", "http")


_UNIQUE = "unique-id-format %{+X}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid"
_FOUND = "{ req.hdr(X-Request-ID) -m found }"


def _ids(port: int, rules: Sequence[str]) -> str:
    """The request id stands in a variable, so that the log can show it under its header's name."""
    text = _frontend(
        port, ("http-request set-header X-Request-ID %[var(txn.rid)]",), patterns.HAPROXY_IDS, f"{A}:30080", "http"
    )
    return _with_rules(text, _UNIQUE, *rules)


def _mints() -> str:
    return _ids(86, ("http-request set-var(txn.rid) unique-id",))


def _keeps() -> str:
    """An id that came from outside is passed on, and no other."""
    rules = (
        f"http-request set-var(txn.rid) req.hdr(X-Request-ID) if {_FOUND}",
        (f"http-request set-var(txn.rid) unique-id unless {_FOUND}"),
        *(f"http-request del-header {header}" for header in sorted(ID_HEADERS - {"x-request-id"})),
    )
    return _ids(88, rules)


def _transparent() -> str:
    text = _frontend(89, ("source 0.0.0.0 usesrc client",), patterns.HAPROXY_TCP, f"{B}:30081")
    return text.replace(":::89 v4v6", ":89")  # it cannot connect over IPv4 in the name of ::ffff:a.b.c.d


def _with_rules(text: str, *rules: str) -> str:
    own = "".join(f"    {rule}\n" for rule in rules)
    return text.replace("    default_backend", f"{own}    default_backend", 1)


def _with_own_id(text: str) -> str:
    rules = ("http-request set-var(txn.rid) unique-id", "http-request set-header X-Request-ID %[var(txn.rid)]")
    return _with_rules(text, _UNIQUE, *rules)


_AGAIN = ("retries 3", "option redispatch 1", "retry-on all-retryable-errors", "http-reuse always", "balance first")


def _retries() -> str:
    """What the first server does not answer goes to the second; 95 adds a request id of its own."""
    lines = (*_AGAIN, f"server s2 {B}:30082")
    plain, minting = (_frontend(port, lines, patterns.HAPROXY_TRIES, f"{A}:30080", "http") for port in (94, 95))
    return plain + _with_own_id(minting)


def _few() -> str:
    """It connects from six ports, so each is used again soon; 97 writes its line when a connection begins."""
    ends, begins = (
        _frontend(port, (), patterns.HAPROXY_TCP, f"{A}:30080 source {BALANCER[0]}:{low}-{low + 5}")
        for port, low in ((96, 40000), (97, 40100))
    )
    return ends + begins.replace("    mode tcp", "    mode tcp\n    option logasap", 1)


SYSLOG_PORT = 5514
_BY_SYSLOG = ("no log", f"log 127.0.0.1:{SYSLOG_PORT} len 1024 format rfc5424 local0")


def _cutting() -> str:
    """Its log is cut at 1024 bytes, and captures a header far longer; 99 adds a request id of its own."""
    plain, minting = (
        _frontend(port, ("http-reuse always",), patterns.HAPROXY_CAPTURED, f"{A}:30080", "http") for port in (98, 99)
    )
    rules = (*_BY_SYSLOG, f"capture request header {patterns.CAPTURED} len 4000")
    return _with_rules(plain, *rules) + _with_rules(_with_own_id(minting), *rules)


def _forwards() -> str:
    """To Traefik's entry points that trust the balancer (`conf/traefik-settings.yml`)."""
    lines, ports = ("option forwardfor",), {102: 8002, 104: 8004}
    return "".join(
        _frontend(port, lines, patterns.HAPROXY_HTTP, f"10.244.1.6:{entry}", "http") for port, entry in ports.items()
    )


def _traced() -> str:
    """The client's traceparent goes on and is logged; through 106 all other headers in which ids travel go on, too."""
    keeps = ("http-request set-var(txn.rid) req.hdr(traceparent)",)
    one = "http-request set-header traceparent %[var(txn.rid)] if { var(txn.rid) -m found }"
    drops = (*(f"http-request del-header {header}" for header in sorted(ID_HEADERS - {"traceparent"})), one)
    return "".join(
        _with_rules(_frontend(port, (), patterns.HAPROXY_IDS, "10.244.2.5:8090", "http"), *rules)
        for port, rules in ((106, keeps), (107, (*keeps, *drops)))
    )


BALANCERS: dict[str, tuple[Callable[[], str], tuple[int, ...]]] = {
    "lb-tcp": (_tcp, (80, 81, 83, 85, 90, 93, 108)),
    "lb-http": (_http, (82, 84, 92)),
    "lb-if-none": (_forgetful, (87,)),
    "lb-mints": (_mints, (86,)),
    "lb-keeps": (_keeps, (88,)),
    "lb-transparent": (_transparent, (89,)),
    "lb-retries": (_retries, (94, 95)),
    "lb-few": (_few, (96, 97)),
    "lb-cutting": (_cutting, (98, 99)),
    "lb-forwards": (_forwards, (102, 104)),
    "lb-traced": (_traced, (106, 107)),
}
