"""A line to an observation; a family of formats is a folder.

The table of formats: a new one is a new file here and one line below.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from clientip.formats.alb import ALB
from clientip.formats.apache.logformat import APACHE
from clientip.formats.apache.varnish import VARNISH
from clientip.formats.caddy import CADDY
from clientip.formats.conntrack.json_lines import CONNTRACK_JSON
from clientip.formats.conntrack.text import CONNTRACK, ULOGD_JSON
from clientip.formats.conntrack.xml import CONNTRACK_XML
from clientip.formats.envoy.json_lines import ENVOY_JSON
from clientip.formats.envoy.text import ENVOY_TEXT
from clientip.formats.flow.records import FLOW_JSON
from clientip.formats.flow.vpc import VPC_FLOW
from clientip.formats.haproxy.logformat import HAPROXY
from clientip.formats.nginx.logformat import NGINX
from clientip.formats.otlp.records import OTLP_LOGS, OTLP_LOGS_PROTO, OTLP_TRACES, OTLP_TRACES_PROTO
from clientip.formats.traefik.access import TRAEFIK_CLF, TRAEFIK_JSON
from clientip.model import Format

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
