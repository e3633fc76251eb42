"""What the variables of NGINX hold: the vocabulary of its log patterns.

https://nginx.org/en/docs/varindex.html; ingress-nginx and Kong add their own.
A variable that is not here holds whatever a client wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from clientip.patterns.matcher import WORD, Field, Weight
from clientip.patterns.roles import Role

_ADDRESS: Final = "[0-9A-Fa-f:.unix-]"  # `unix:` where the socket has no address
_DIGITS: Final = "[0-9-]"
_DECIMAL: Final = "[0-9.-]"
_NAME: Final = r'[^ "\[\]]'
_HEX: Final = "[0-9a-f-]"
_PEER: Final = r'(?:\[[0-9A-Fa-f:.]++\](?::[0-9]++)?+|[^ ,"\[\]|;{}\t]++)'
_MILLISECONDS: Final = r"[0-9]++\.[0-9]{3}"
_ID: Final = "(?:[0-9a-f]{32}|-?)"
_SPAN: Final = "(?:[0-9a-f]{16}|-?)"
_ISO: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[0-9]{2}:){2}[0-9]{2}[+-][0-9]{2}:[0-9]{2}"
_CLF: Final = r"[0-9]{2}/[A-Za-z]{3}/[0-9]{4}(?::[0-9]{2}){3} [+-][0-9]{4}"


class Variable(NamedTuple):
    """What a variable tells and what its value looks like; `unit` None: whatever a client wrote."""

    role: Role | None = None
    unit: str | None = None
    pattern: str | None = None
    weight: Weight = "text"
    listed: bool = False
    always: bool = False  # never empty, so it may stand unquoted in JSON
    ending: str | None = None  # patterns.Field.ending

    def field(self, name: str, client_unit: str) -> Field:
        """The field of the variable, where clients' values are written in `client_unit`s."""
        return Field(
            name=f"${name}",
            unit=self.unit or client_unit,
            pattern=self.pattern,
            shaped=self.pattern is not None,
            listed=self.listed and self.weight == "trusted",
            ending=self.ending,
            weight=self.weight,
        )


def _seen(
    role: str, unit: str, *, always: bool = False, how: str = "", name: str = "", ending: str | None = None
) -> Variable:
    return Variable(Role(role, how, name), unit, weight="trusted", always=always, ending=ending)


def _own(role: str, ending: str, *, always: bool = False, name: str = "") -> Variable:
    """An id that nginx makes itself, for the next hop."""
    return Variable(Role(role, "", name, sent=True), _HEX, weight="trusted", always=always, ending=ending)


def _list(item: str) -> Variable:
    """One item per upstream tried: `, ` between tries, ` : ` between internal redirects."""
    return Variable(None, "[0-9., :-]", rf"(?:{item})(?:(?:, | : )(?:{item}))*", listed=True)


def _plain(unit: str, role: str | None = None, *, always: bool = False) -> Variable:
    return Variable(None if role is None else Role(role), unit, always=always)


STREAM_ONLY: Final = frozenset({"protocol", "session_time", "bytes_received", "upstream_bytes_sent"})

VARIABLES: Final[Mapping[str, Variable]] = MappingProxyType(
    {
        "remote_addr": _seen("logged.ip", _ADDRESS, always=True),
        "remote_port": _seen("logged.port", _DIGITS),
        "realip_remote_addr": _seen("peer.ip", _ADDRESS, always=True),
        "realip_remote_port": _seen("peer.port", _DIGITS),
        "proxy_protocol_addr": _seen("proxied.ip", _ADDRESS),
        "proxy_protocol_port": _seen("proxied.port", _DIGITS),
        "server_addr": _seen("local.ip", _ADDRESS, always=True),
        "server_port": _seen("local.port", _DIGITS),
        "upstream_addr": Variable(
            Role("upstream_peer"), '[^"]', rf"{_PEER}(?:(?:, | : ){_PEER})*+", "trusted", listed=True
        ),
        "time_local": Variable(Role("end", "clf"), "[0-9A-Za-z/: +-]", _CLF, "trusted", always=True, ending=_CLF),
        "time_iso8601": _seen("end", "[0-9T:Z.+-]", always=True, how="rfc3339", ending=_ISO),
        "msec": _seen("end", _DECIMAL, always=True, how="epoch", ending=_MILLISECONDS),
        "request_time": _seen("duration", _DECIMAL, always=True, how="s", ending=_MILLISECONDS),
        "session_time": _seen("duration", _DECIMAL, always=True, how="s", ending=_MILLISECONDS),
        "status": _seen("status", _DIGITS, always=True, ending="[0-9]{3}"),
        "request_id": _own("request_id", _ID, always=True, name="nginx"),
        "kong_request_id": _own("request_id", _ID, name="kong"),
        "otel_trace_id": _own("trace", _ID),
        "otel_span_id": _own("span", _SPAN),
        "otel_parent_id": _seen("parent", _HEX, ending=_SPAN),
        "opentelemetry_trace_id": _own("trace", _ID),
        "opentelemetry_span_id": _own("span", _SPAN),
        "connection": _seen("connection_serial", _DIGITS, always=True),
        "connection_requests": _seen("request_serial", _DIGITS, always=True),
        "hostname": _plain(WORD, "instance", always=True),
        "body_bytes_sent": _plain(_DIGITS, "response_bytes", always=True),
        "bytes_sent": _plain(_DIGITS, "response_bytes", always=True),
        "request_length": _plain(_DIGITS, "request_bytes", always=True),
        "bytes_received": _plain(_DIGITS, "request_bytes", always=True),
        "request_method": _plain(WORD, "method"),
        "server_protocol": _plain(WORD, "protocol"),
        "host": _plain(WORD, "host"),
        "scheme": _plain("[a-z-]"),
        "server_name": _plain(WORD),
        "pid": _plain(_DIGITS, always=True),
        "protocol": _plain("[A-Z-]", always=True),
        "gzip_ratio": _plain(_DECIMAL),
        "upstream_cache_status": _plain("[A-Z-]"),
        "proxy_protocol_server_addr": _plain(_ADDRESS),
        "proxy_protocol_server_port": _plain(_DIGITS),
        "the_real_ip": _plain(_ADDRESS),
        "proxy_upstream_name": _plain(_NAME),
        "proxy_alternative_upstream_name": _plain(_NAME),
        "namespace": _plain(_NAME),
        "ingress_name": _plain(_NAME),
        "service_name": _plain(_NAME),
        "service_port": _plain(_NAME),
        "upstream_status": _list("[0-9]{3}|-"),
        "upstream_response_time": _list("[0-9.]++|-"),
        "upstream_connect_time": _list("[0-9.]++|-"),
        "upstream_header_time": _list("[0-9.]++|-"),
        "upstream_response_length": _list("[0-9]++|-"),
        "upstream_bytes_sent": _list("[0-9]++|-"),
        "upstream_bytes_received": _list("[0-9]++|-"),
        # What clients write:
        "request": Variable(Role("request")),
        "request_uri": Variable(Role("target")),
        "uri": Variable(Role("target")),
        "http_user_agent": Variable(Role("user_agent")),
        "http_referer": Variable(Role("referer")),
        "http_host": Variable(Role("host")),
        "http_cookie": Variable(),
        "req_id": Variable(Role("request_id", name="x-request-id"), weight="claim"),
    }
)


# What a client writes and no line break can stand in: text out of the parsed head of a request, as it was sent.
_ONE_LINE: Final = re.compile(
    r"(?:sent_|upstream_)?http_\w+|(?:upstream_)?cookie_\w+|arg_\w+|args|query_string|is_args|request(?:_uri)?"
    r"|content_(?:type|length)|host|proxy_(?:host|port|add_x_forwarded_for)|req_id"
    r"|request_(?:id|completion)|server_protocol|upstream_\w+|ssl_(?:protocol|cipher|session_reused|early_data)|tcpinfo_\w+"
)


def is_one_line(name: str) -> bool:
    """Whether the value of `$name` holds no line break even where nothing is escaped.

    `$uri` and its like are decoded paths, `$remote_user` is decoded too; names out of TLS are what the client sent.

    >>> is_one_line("request_uri"), is_one_line("status"), is_one_line("uri"), is_one_line("ssl_server_name")
    (True, True, False, False)
    """
    known = VARIABLES.get(name)
    return (known is not None and known.unit is not None) or _ONE_LINE.fullmatch(name) is not None


def variable(name: str, header_coverage: str, *, twins: bool = False) -> Variable:
    """The meaning of `$name`; headers other than X-Forwarded-For are shown as `header_coverage` says.

    `twins`: underscores_in_headers is on, so `$http_x_real_ip` shows X_Real_IP, too; X-Forwarded-For has a variable
    of its own, which does not.
    """
    if name in VARIABLES:
        return VARIABLES[name]
    if name == "proxy_add_x_forwarded_for":
        return Variable(Role("header", "appended", "x-forwarded-for"), weight="claim")
    if name.startswith("http_"):
        header = name.removeprefix("http_").replace("_", "-")
        coverage = "all" if header == "x-forwarded-for" else "twin" if twins and "-" in header else header_coverage
        return Variable(Role("header", coverage, header), weight="claim")
    return Variable()
