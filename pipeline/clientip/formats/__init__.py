"""A line to an observation; a family of formats is a folder.

The table of formats: a new one is a new file here and one line below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Final

from clientip.model import Format

_ROWS: Final = {  # name in the configuration → module in this folder and its row
    "nginx": "nginx.logformat:NGINX",
    "haproxy": "haproxy.logformat:HAPROXY",
    "apache": "apache.logformat:APACHE",
    "varnish": "apache.varnish:VARNISH",
    "traefik_json": "traefik.access:TRAEFIK_JSON",
    "traefik_clf": "traefik.clf:TRAEFIK_CLF",
    "envoy_text": "envoy.text:ENVOY_TEXT",
    "envoy_json": "envoy.json_lines:ENVOY_JSON",
    "caddy": "caddy:CADDY",
    "aws_alb": "alb:ALB",
    "otlp_traces": "otlp.records:OTLP_TRACES",
    "otlp_logs": "otlp.records:OTLP_LOGS",
    "otlp_traces_proto": "otlp.records:OTLP_TRACES_PROTO",
    "otlp_logs_proto": "otlp.records:OTLP_LOGS_PROTO",
    "conntrack": "conntrack.text:CONNTRACK",
    "conntrack_xml": "conntrack.xml:CONNTRACK_XML",
    "ulogd_json": "conntrack.text:ULOGD_JSON",
    "conntrack_json": "conntrack.json_lines:CONNTRACK_JSON",
    "flow_json": "flow.records:FLOW_JSON",
    "vpc_flow": "flow.vpc:VPC_FLOW",
}


class _Formats(Mapping[str, Format]):
    """The formats by name. A format is imported when it is asked for: a run reads few of them, and starts faster."""

    def __getitem__(self, name: str) -> Format:
        if name not in _ROWS:
            raise KeyError(name)
        return _row(name)

    def __contains__(self, name: object) -> bool:
        return name in _ROWS

    def __iter__(self) -> Iterator[str]:
        return iter(_ROWS)

    def __len__(self) -> int:
        return len(_ROWS)


@cache
def _row(name: str) -> Format:
    module, _, constant = _ROWS[name].partition(":")
    row = getattr(import_module(f"{__name__}.{module}"), constant)
    assert isinstance(row, Format)
    assert row.name == name
    return row


FORMATS: Final[Mapping[str, Format]] = _Formats()
"""Name in the configuration → format."""

#: How a column shows an id; only what is `sent` or `own` can be minted (`Format.ids`).
SHOWN: Final = MappingProxyType(
    {
        "received": "as received, so a client chooses it",
        "sent": "as it goes on to the next hop",
        "own": "made by the server itself",
        "continued": "the client's, or made where it sent none",
    }
)
