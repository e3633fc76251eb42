"""Envoy's static configuration: an ingress on a node's own address, and a sidecar behind REDIRECT."""

from __future__ import annotations

import json
from typing import Any

TYPE = "type.googleapis.com/envoy.extensions."
FIELDS = {
    "start_time": "%START_TIME(%s.%6f)%",
    "duration": "%DURATION%",
    "downstream_direct_remote_address": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "upstream_remote_address": "%UPSTREAM_REMOTE_ADDRESS%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "forwarded": "%REQ(FORWARDED)%",
    "traceparent": "%REQ(TRACEPARENT)%",
    "x_request_id": "%REQ(X-REQUEST-ID)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "connection_id": "%CONNECTION_ID%",
}
PATTERN = json.dumps(FIELDS)


def ingress(log: str) -> str:
    """An edge proxy in the node's own network: appends to X-Forwarded-For, makes request ids of its own."""
    return _static(log, ("0.0.0.0", 80), ("10.244.2.5", 8080), edge=True, source=None)


def sidecar(log: str) -> str:
    """A proxy in the pod that all inbound connections are redirected to; it calls from 127.0.0.6."""
    return _static(log, ("0.0.0.0", 15006), ("127.0.0.1", 8080), edge=False, source="127.0.0.6")


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _static(log: str, listen: tuple[str, int], target: tuple[str, int], edge: bool, source: str | None) -> str:
    cluster: dict[str, Any] = {
        "name": "app",
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": "app",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(*target)}}]}],
        },
    }
    if source is not None:
        cluster["upstream_bind_config"] = {"source_address": {"address": source, "port_value": 0}}
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": _manager(log, edge)}
    listener = {"name": "in", "address": _address(*listen), "filter_chains": [{"filters": [network]}]}
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)


def _manager(log: str, edge: bool) -> dict[str, Any]:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"},
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "app"}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
    file = {
        "@type": TYPE + "access_loggers.file.v3.FileAccessLog",
        "path": log,
        "log_format": {"json_format": FIELDS},
    }
    return {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "use_remote_address": edge,
        "access_log": [{"name": "envoy.access_loggers.file", "typed_config": file}],
        "http_filters": [router],
        "route_config": {"name": "routes", "virtual_hosts": hosts},
    }
