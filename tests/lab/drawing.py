"""The lab as the operator of clientip would draw it: one table per system, written out as TOML."""

from __future__ import annotations

import json
from typing import Any

from tests.lab import envoy_conf, patterns

Keys = dict[str, Any]

NODE_ADDRESSES = {  # MASQUERADE picks by route: the node's own, the bridge's, the overlay's
    "node-a": ["198.51.100.11", "2001:db8:2::11", "10.244.1.1", "fd00:244:1::1", "10.244.1.0"],
    "node-b": ["198.51.100.12", "2001:db8:2::12", "10.244.2.1", "fd00:244:2::1", "10.244.2.0"],
}
BALANCER = ["198.51.100.50", "2001:db8:2::50"]
LONGEST = "4s"  # no request of the lab lasts longer; `record.py` sends one more after that
APPEND = [{"header": "x-forwarded-for", "mode": "append"}]


def nodes(*peers: str, **more: Any) -> Keys:
    """The nodes: kube-proxy translates on them, a collector tells what."""
    return {
        "format": "conntrack_json",
        "inputs": ["nat/{instance}.jsonl"],
        "addresses": [address for own in NODE_ADDRESSES.values() for address in own],
        "peers": list(peers),
        "instances": NODE_ADDRESSES,
        **more,
    }


def silent_nodes(*peers: str, **more: Any) -> Keys:
    """Nodes of which nothing is collected."""
    drawn = nodes(*peers, **more)
    return {key: value for key, value in drawn.items() if key not in ("format", "inputs", "instances")}


def app(*peers: str, **more: Any) -> Keys:
    """nginx in the pods."""
    return {
        "format": "nginx",
        "pattern": patterns.NGINX,
        "escape": "json",
        "inputs": ["app/{instance}.log"],
        "logs_peer": "socket",
        "peers": list(peers),
        "lossless": True,
        **more,
    }


_BALANCER_PATTERNS = {
    **dict.fromkeys(("lb-tcp", "lb-transparent", "lb-few"), patterns.HAPROXY_TCP),
    **dict.fromkeys(("lb-mints", "lb-keeps", "lb-traced"), patterns.HAPROXY_IDS),
    "lb-retries": patterns.HAPROXY_TRIES,
    "lb-cutting": patterns.HAPROXY_CAPTURED,
}


def balancer(name: str, *peers: str, **more: Any) -> Keys:
    """HAProxy outside the cluster; `name` says which of its logs."""
    pattern = _BALANCER_PATTERNS.get(name, patterns.HAPROXY_HTTP)
    ids = "txn.rid" in pattern
    return {
        "format": "haproxy",
        "pattern": pattern,
        "timezone": "UTC",
        **({} if "%rc" in pattern else {"retries": False}),  # `retry-on` is left at connection failures
        "inputs": [f"lb/{name}.log"],
        **({"options": {"var.txn.rid": "x-request-id"}} if ids else {}),
        "logs_peer": "socket",
        "addresses": BALANCER,
        "peers": list(peers) or ["outside"],
        "lossless": True,
        "longest": LONGEST,
        **more,
    }


def endless(drawn: Keys) -> Keys:
    """The same, and it never ends a request or connection by force."""
    return {key: value for key, value in drawn.items() if key != "longest"}


def ingress(*peers: str, **more: Any) -> Keys:
    """Traefik in the pods; its log shows no near end, so the drawing does."""
    return {
        "format": "traefik_json",
        "inputs": ["ingress/{instance}.log"],
        "logs_peer": "socket",
        "addresses": ["10.244.1.6", "10.244.2.6"],
        "instances": {"ingress-a": ["10.244.1.6:8000"], "ingress-b": ["10.244.2.6:8000"]},
        "peers": list(peers),
        "conveys": APPEND,
        "lossless": True,
        "passes_ids": ["traceparent"],  # its routes drop the other headers in which ids travel
        "longest": LONGEST,
        **more,
    }


def envoy(name: str, *peers: str, **more: Any) -> Keys:
    """Envoy; as an ingress it logs the header after adding to it (`appends_before_log`)."""
    return {
        "format": "envoy_json",
        "pattern": envoy_conf.PATTERN,
        "retries": False,
        "inputs": [f"{name}/{{instance}}.log"],
        "logs_peer": "socket",  # no hop is trusted with the header, so the logged address is the socket's
        "peers": list(peers),
        "lossless": True,
        "longest": LONGEST,
        **more,
    }


def caddy(*peers: str, **more: Any) -> Keys:
    """Caddy on a node's own address."""
    return {
        "format": "caddy",
        "inputs": ["caddy/caddy.log"],
        "logs_peer": "socket",
        "peers": list(peers),
        "conveys": APPEND,
        "lossless": True,
        "longest": LONGEST,
        **more,
    }


def shop(*peers: str, **more: Any) -> Keys:
    """The instrumented application: spans in OTLP."""
    return {
        "format": "otlp_traces",
        "inputs": ["shop/{instance}.jsonl"],
        "logs_peer": "socket",
        "peers": list(peers),
        **more,
    }


def ingress_spans(*peers: str, **more: Any) -> Keys:
    """Traefik's spans, as its exporter sends them (protobuf)."""
    return {
        "format": "otlp_traces_proto",
        "inputs": ["ingress-spans/{instance}.bin"],
        "logs_peer": "socket",
        "addresses": ["10.244.1.6", "10.244.2.6"],
        "instances": {"ingress-a": ["10.244.1.6:8000"], "ingress-b": ["10.244.2.6:8000"]},
        "peers": list(peers),
        "conveys": APPEND,
        "tells": True,
        "lossless": True,
        "passes_ids": ["traceparent"],
        "longest": LONGEST,
        **more,
    }


def toml(systems: dict[str, Keys], joins: Keys | None = None) -> str:
    """The configuration file.

    >>> print(toml({"lb": {"peers": ["outside"], "lossless": True}}, {"tolerance": "20ms"}))
    [systems.lb]
    peers = ["outside"]
    lossless = true
    <BLANKLINE>
    [joins]
    tolerance = "20ms"
    <BLANKLINE>
    """
    parts = [f"[systems.{name}]\n{_keys(keys)}\n" for name, keys in systems.items()]
    if joins:
        parts.append(f"[joins]\n{_keys(joins)}\n")
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _keys(keys: Keys) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in keys.items())


def _value(value: Any) -> str:
    """JSON's text and numbers are TOML's; its objects are not."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
