"""What the attributes of a span or log record say of peer, headers and request, by the semantic conventions.

https://opentelemetry.io/docs/specs/semconv/http/http-spans/ and the names before version 1.21.

`network.peer.*` is what getpeername() gave, if the instrumentation sets it from there; a value that is no address (a
name, a socket's path, Traefik's Host header where it knew no port) tells no peer.  `client.address` is a claim by
whoever wrote the instrumentation: most take the leftmost X-Forwarded-For.  The two never lend each other a port.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any, Final

from clientip.errors import FormatError
from clientip.model import Claim, Coverage, Endpoint, Http, Setup
from clientip.syntax.addresses import parse_address, read_endpoint, read_port
from clientip.syntax.headers import SortedHeaders, sort_headers

MAX_ATTRIBUTES: Final = 1000

_HEADER: Final = "http.request.header."
_CLIENT: Final = "client.address"

# Pairs of names, the present one first.
_PEER: Final = (
    ("network.peer.address", "network.peer.port"),
    ("net.sock.peer.addr", "net.sock.peer.port"),
    ("net.peer.ip", "net.peer.port"),
)
_LOCAL: Final = (
    ("network.local.address", "network.local.port"),
    ("net.sock.host.addr", "net.sock.host.port"),
    ("net.host.ip", "net.host.port"),
)
_TRANSPORTS: Final = MappingProxyType(
    {"tcp": "tcp", "udp": "udp", "quic": "udp", "ip_tcp": "tcp", "ip_udp": "udp"}  # the last two before 1.20
)
_HTTP3: Final = ("3", "3.0", "QUIC")
_INSTANCE: Final = ("service.instance.id", "k8s.pod.name", "host.name")

Attributes = dict[str, Any]


def attributes_of(listed: object) -> Attributes:
    """Key → value of an attribute list: text, int, float, bool, a list of those, or None for any other.

    A key that comes twice with different values has two readings, if it is one that is read here.
    """
    if listed is None:
        return {}
    if type(listed) is not list or len(listed) > MAX_ATTRIBUTES:
        raise FormatError("no_match")
    found: Attributes = {}
    for one in listed:
        key, value = (one.get("key"), one.get("value")) if type(one) is dict else (None, None)
        if type(key) is not str:
            raise FormatError("no_match")
        read = _value(value)
        if found.setdefault(key, read) != read and key.startswith(_PREFIXES_READ):
            raise FormatError("two_readings")
    return found


_PREFIXES_READ: Final = ("network.", "net.", "http.", "client.", "server.", "url.", "user_agent.", "Client", "request_")


def _value(value: object) -> Any:
    if type(value) is not dict:
        return None
    if "stringValue" in value:
        text = value["stringValue"]
        return text if type(text) is str else None
    if "intValue" in value:
        return _integer(value["intValue"])
    if "arrayValue" in value and type(value["arrayValue"]) is dict:
        items = value["arrayValue"].get("values")
        return [_value(item) for item in items if not _is_nested(item)] if type(items) is list else []
    for name, kind in (("boolValue", bool), ("doubleValue", float)):
        if type(value.get(name)) is kind:
            return value[name]
    return None


def _is_nested(value: object) -> bool:
    return type(value) is dict and ("arrayValue" in value or "kvlistValue" in value)


def _integer(value: object) -> int:
    """An int64, which the standard writes as text and many as a number."""
    if type(value) is int:
        return value
    if type(value) is str and len(value) <= 20 and value.isascii() and value.removeprefix("-").isdecimal():
        return int(value)
    raise FormatError("number")


def peer_of(attributes: Attributes) -> Endpoint | None:
    """The socket's far end, or what stands in its place (`Setup.logs_peer`)."""
    return _end(attributes, _PEER)


def local_of(attributes: Attributes) -> Endpoint | None:
    """The socket's near end."""
    return _end(attributes, _LOCAL)


def transport_of(attributes: Attributes) -> str | None:
    """tcp or udp, where a name says it or follows from it: HTTP/3 is QUIC, and QUIC is UDP."""
    said = _text(attributes, "network.transport", "net.transport")
    if said is not None:
        return _TRANSPORTS.get(said.lower())
    named = _text(attributes, "network.protocol.name") or "http"
    version = _text(attributes, "network.protocol.version", "http.flavor")
    return "udp" if named.lower() == "http" and version in _HTTP3 else None


def _end(attributes: Attributes, names: tuple[tuple[str, str], ...]) -> Endpoint | None:
    for host_name, port_name in names:
        host = attributes.get(host_name)
        if type(host) is str and host:
            try:
                address = parse_address(host.strip("[]").partition("%")[0])
            except FormatError:
                return None
            return Endpoint(address, _port(attributes.get(port_name)))
    return None


def _port(value: object) -> int | None:
    """A port out of range tells no port: instrumentations write -1."""
    try:
        return None if value is None else read_port(str(value))
    except FormatError:
        return None


def merges_names(setup: Setup, resource: Attributes, scope: str | None) -> bool:
    """Whether X_Forwarded_For and X-Forwarded-For may be one attribute here, and `drops_underscores` lets both come.

    They are where names lose their dashes, and where headers come out of a CGI environment, as in Ruby and PHP.
    nginx's own module says nothing else than nginx, which drops such names unless it is told not to.
    """
    merged = dict(setup.options).get("headers") == "underscores" or resource.get(_LANGUAGE) in _CGI_LANGUAGES
    drops = scope == "nginx" if setup.drops_underscores is None else setup.drops_underscores
    return merged and not drops


_LANGUAGE: Final = "telemetry.sdk.language"
_CGI_LANGUAGES: Final = ("php", "ruby")
_DASHES: Final = re.compile("[_-]")


def headers_of(setup: Setup, attributes: Attributes, *, merged: bool) -> SortedHeaders:
    """The request's headers, with `client.address` among the claims where it says more than the peer.

    As the convention has it, each header is an array of its lines.  A plain string may be the first line only.
    Names keep their characters; before 1.21 dashes became underscores, which option `headers` = `underscores` undoes.
    `merged`: as `merges_names` has it.
    """
    undo = dict(setup.options).get("headers") == "underscores"
    pairs: list[tuple[str, tuple[str, ...], Coverage]] = []
    for key, value in attributes.items():
        if not key.startswith(_HEADER):
            continue
        name = key.removeprefix(_HEADER)
        name, twin = name.replace("_", "-") if undo else name, merged and _DASHES.search(name) is not None
        if type(value) is list:
            pairs.append((name, tuple(text for text in value if type(text) is str), "twin" if twin else "all"))
        elif type(value) is str:
            pairs.append((name, (value,), "twin" if twin else "first"))
    sorted_headers = sort_headers(setup, pairs)
    said = _text(attributes, _CLIENT, "http.client_ip")
    if said is None or _is_peer(said, attributes):
        return sorted_headers
    claims = (*sorted_headers.claims, Claim(_CLIENT, (said,)))
    return SortedHeaders(claims, sorted_headers.proofs, sorted_headers.ids, sorted_headers.notes)


def _is_peer(said: str, attributes: Attributes) -> bool:
    peer = peer_of(attributes)
    try:
        return peer is not None and read_endpoint(said).address == peer.address
    except FormatError:
        return False


def http_of(attributes: Attributes, duration: int | None) -> Http | None:
    """What the attributes say of the request; None if they say nothing of HTTP."""
    target = _text(attributes, "url.path", "http.target")
    query = _text(attributes, "url.query")
    if target is not None and query and "url.path" in attributes:
        target = f"{target}?{query}"
    http = Http(
        _text(attributes, "http.request.method", "http.method"),
        target or _text(attributes, "url.full", "http.url"),
        _text(attributes, "server.address", "http.host", "net.host.name"),
        _text(attributes, "network.protocol.version", "http.flavor"),
        _count(attributes, "http.response.status_code", "http.status_code"),
        _text(attributes, "user_agent.original", "http.user_agent"),
        None,
        _count(attributes, "http.request.body.size", "http.request_content_length"),
        _count(attributes, "http.response.body.size", "http.response_content_length"),
    )
    if http == _NO_HTTP:
        return None
    return Http(
        http.method,
        http.target,
        http.host,
        http.protocol,
        http.status,
        http.user_agent,
        http.referer,
        http.request_bytes,
        http.response_bytes,
        duration,
    )


_NO_HTTP: Final = Http()


def instance_of(resource: Attributes) -> str | None:
    """Which of the system's processes this was."""
    return _text(resource, *_INSTANCE)


def _text(attributes: Attributes, *names: str) -> str | None:
    for name in names:
        value = attributes.get(name)
        if type(value) is str and value:
            return value
    return None


def _count(attributes: Attributes, *names: str) -> int | None:
    for name in names:
        value = attributes.get(name)
        if type(value) is int:
            return value
        if type(value) is str and value.isascii() and value.isdecimal() and len(value) <= 20:
            return int(value)
    return None
