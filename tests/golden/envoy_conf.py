"""Builds Envoy's configuration: seven listeners differ only in a few settings."""

from __future__ import annotations

import json
from typing import Any

from setups import Setup

TYPE = "type.googleapis.com/envoy.extensions."

GATEWAY_FIELDS = {
    ":authority": "%REQ(:AUTHORITY)%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "duration": "%DURATION%",
    "method": "%REQ(:METHOD)%",
    "protocol": "%PROTOCOL%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "response_code": "%RESPONSE_CODE%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "response_flags": "%RESPONSE_FLAGS%",
    "route_name": "%ROUTE_NAME%",
    "start_time": "%START_TIME%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "user-agent": "%REQ(USER-AGENT)%",
    "x-envoy-origin-path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "x-envoy-upstream-service-time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x-forwarded-for": "%REQ(X-FORWARDED-FOR)%",
    "x-request-id": "%REQ(X-REQUEST-ID)%",
}
HOP_FIELDS = {
    "start_time": "%START_TIME(%s.%6f)%",
    "duration": "%DURATION%",
    "downstream_direct_remote_address": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "upstream_remote_address": "%UPSTREAM_REMOTE_ADDRESS%",
    "upstream_host": "%UPSTREAM_HOST%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "forwarded": "%REQ(FORWARDED)%",
    "traceparent": "%REQ(TRACEPARENT)%",
    "x_request_id": "%REQ(X-REQUEST-ID)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "connection_id": "%CONNECTION_ID%",
}
JSON_FIELDS = {"envoy-gateway": GATEWAY_FIELDS}
# use_remote_address, xff_num_trusted_hops
EDGE = {
    "envoy-text": (True, 0),
    "envoy-text-lb": (True, 1),
    "envoy-istio": (False, 0),
    "envoy-gateway": (True, 1),
    "envoy-json-edge": (True, 1),
    "envoy-json-sidecar": (False, 0),
    "envoy-json-proxy": (True, 0),
}


def pattern(setup: Setup) -> str:
    """The literal format: the text line, or the JSON object of operators."""
    if setup.pattern is not None:
        return setup.pattern + "\n"
    return json.dumps(JSON_FIELDS.get(setup.name, HOP_FIELDS))


def config(setups: list[Setup], tmp: str) -> str:
    """The whole static configuration as JSON."""
    listeners = []
    for setup in setups:
        addresses = {"v4": setup.v4, "v6": setup.v6} if setup.ipv6 else {"v4": setup.v4}
        for family, address in addresses.items():
            listeners.append(_listener(setup, f"{setup.name}-{family}", address, tmp))
    static = {"listeners": listeners, "clusters": [_cluster()]}
    return json.dumps({"static_resources": static}, indent=1)


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _listener(setup: Setup, name: str, address: tuple[str, int], tmp: str) -> dict[str, Any]:
    manager = _manager(setup, f"{tmp}/{setup.log}")
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    listener: dict[str, Any] = {
        "name": name,
        "address": _address(*address),
        "filter_chains": [{"filters": [network]}],
    }
    if setup.via == "lb-proxy":
        kind = TYPE + "filters.listener.proxy_protocol.v3.ProxyProtocol"
        listener["listener_filters"] = [
            {"name": "envoy.filters.listener.proxy_protocol", "typed_config": {"@type": kind}}
        ]
    return listener


def _manager(setup: Setup, log: str) -> dict[str, Any]:
    use_remote, hops = EDGE[setup.name]
    kind = TYPE + "filters.http.router.v3.Router"
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": kind}}
    route = {"match": {"prefix": "/"}, "name": "default", "route": {"cluster": "app"}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
    return {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": setup.name,
        "use_remote_address": use_remote,
        "xff_num_trusted_hops": hops,
        "access_log": [_access_log(setup, log)],
        "http_filters": [router],
        "route_config": {"name": "routes", "virtual_hosts": hosts},
    }


def _access_log(setup: Setup, log: str) -> dict[str, Any]:
    typed: dict[str, Any] = {
        "@type": TYPE + "access_loggers.file.v3.FileAccessLog",
        "path": log,
    }
    if setup.format == "envoy_json":
        typed["log_format"] = {"json_format": JSON_FIELDS.get(setup.name, HOP_FIELDS)}
    elif setup.name == "envoy-istio":  # the other text listeners use the built-in default
        typed["log_format"] = {"text_format_source": {"inline_string": pattern(setup)}}
    return {"name": "envoy.access_loggers.file", "typed_config": typed}


def _cluster() -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address("10.0.2.20", 9000)}}
    return {
        "name": "app",
        "type": "STATIC",
        "connect_timeout": "1s",
        # on one loopback the kernel would take the application's own address
        "upstream_bind_config": {"source_address": {"address": "10.0.1.16", "port_value": 0}},
        "load_assignment": {
            "cluster_name": "app",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
