"""The table of formats. A new one is a new file here and one line below."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pipeline.formats.alb import ALB
from pipeline.formats.apache import APACHE
from pipeline.formats.caddy import CADDY
from pipeline.formats.conntrack import CONNTRACK, ULOGD_JSON
from pipeline.formats.conntrack_json import CONNTRACK_JSON
from pipeline.formats.conntrack_xml import CONNTRACK_XML
from pipeline.formats.envoy_json import ENVOY_JSON
from pipeline.formats.envoy_text import ENVOY_TEXT
from pipeline.formats.flows import FLOW_JSON
from pipeline.formats.haproxy import HAPROXY
from pipeline.formats.nginx import NGINX
from pipeline.formats.otlp import OTLP_LOGS, OTLP_LOGS_PROTO, OTLP_TRACES, OTLP_TRACES_PROTO
from pipeline.formats.traefik import TRAEFIK_CLF, TRAEFIK_JSON
from pipeline.formats.varnish import VARNISH
from pipeline.formats.vpc_flow import VPC_FLOW
from pipeline.model import Format

_ALL = (
    NGINX,
    HAPROXY,
    APACHE,
    VARNISH,
    TRAEFIK_JSON,
    TRAEFIK_CLF,
    ENVOY_TEXT,
    ENVOY_JSON,
    CADDY,
    ALB,
    OTLP_TRACES,
    OTLP_LOGS,
    OTLP_TRACES_PROTO,
    OTLP_LOGS_PROTO,
    CONNTRACK,
    CONNTRACK_XML,
    ULOGD_JSON,
    CONNTRACK_JSON,
    FLOW_JSON,
    VPC_FLOW,
)

FORMATS: Final[Mapping[str, Format]] = MappingProxyType({each.name: each for each in _ALL})
"""Name in the configuration → format."""
