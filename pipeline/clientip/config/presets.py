"""What common products tell their next hop, by version and setting: `preset` by name, or rows of `conveys` to copy.

A promise often hangs on a setting of the product, so each row names the one under which it holds.  A row that does not
fit the setting names wrong clients: look it up before you take it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Preset(NamedTuple):
    """One product under one setting: lines of its system's table, and what else it is good to know."""

    name: str  # the word for the key `preset`
    product: str
    setting: str  # under which the lines hold
    lines: tuple[str, ...]  # TOML of the system's table
    note: str = ""


_XFF: Final = '{ header = "x-forwarded-for", mode = "%s" }'
_REAL_IP: Final = '{ header = "x-real-ip", mode = "%s" }'


def _conveys(*rows: str) -> str:
    return f"conveys = [{', '.join(rows)}]"


_APPENDS: Final = (_conveys(_XFF % "append"),)
_KEEPS: Final = (_conveys(_XFF % "keep"),)
_PROXY: Final = ('conveys = ["proxy"]',)
_ONE_BEFORE: Final = "tells nothing of its peer; if only one drawn system can connect to it, write `carries` with that"

PRESETS: Final = (
    Preset(
        "traefik",
        "Traefik",
        "no peer is in forwardedHeaders.trustedIPs (the default)",
        (_conveys(_XFF % "append", _REAL_IP % "overwrite"),),
        "it replaces both by its peer; the next log must show both, or leave out the row of the one it does not show",
    ),
    Preset(
        "traefik-trusted",
        "Traefik",
        "forwardedHeaders.trustedIPs holds the peers, or insecure",
        (_conveys(_XFF % "append", _REAL_IP % "keep"),),
        "X-Real-Ip passes as it came from such a peer",
    ),
    Preset(
        "traefik-no-append",
        "Traefik 3.7 or later",
        "notAppendXForwardedFor, no peer in trustedIPs",
        (_conveys(_XFF % "drops", _REAL_IP % "overwrite"),),
        "X-Forwarded-For does not pass at all",
    ),
    Preset(
        "traefik-no-append-trusted",
        "Traefik 3.7 or later",
        "notAppendXForwardedFor, trustedIPs holds the peers",
        (_conveys(_XFF % "keep", _REAL_IP % "keep"),),
        _ONE_BEFORE,
    ),
    Preset("traefik-tcp", "Traefik", "TCP router with proxyProtocol to its servers", _PROXY),
    Preset(
        "envoy-gateway",
        "Envoy Gateway",
        "ClientTrafficPolicy without clientIPDetection (use_remote_address: true)",
        _APPENDS,
        "its own log shows the header after it appended: appends_before_log = true",
    ),
    Preset(
        "envoy-gateway-detecting",
        "Envoy Gateway",
        "clientIPDetection, which appends as well",
        _APPENDS,
        "its own log: look whether the last entry is the peer before you write appends_before_log",
    ),
    Preset(
        "envoy-gateway-no-append",
        "Envoy Gateway",
        "appending switched off in the ClientTrafficPolicy",
        _KEEPS,
        _ONE_BEFORE,
    ),
    Preset("envoy", "Envoy, Istio", "use_remote_address: true", _APPENDS, "its own log: appends_before_log = true"),
    Preset(
        "envoy-no-append", "Envoy, Istio", "use_remote_address: false, or skip_xff_append: true", _KEEPS, _ONE_BEFORE
    ),
    Preset(
        "ingress-nginx",
        "ingress-nginx",
        "use-forwarded-headers: false (the default)",
        (_conveys(_XFF % "append", _REAL_IP % "overwrite"),),
        "it replaces both; with enable-underscores-in-headers its own log needs drops_underscores = false",
    ),
    Preset(
        "ingress-nginx-full",
        "ingress-nginx",
        "use-forwarded-headers with compute-full-forwarded-for",
        _APPENDS,
        "it appends the socket's address; proxy-real-ip-cidr believes everybody unless it is narrowed",
    ),
    Preset(
        "ingress-nginx-proxy",
        "ingress-nginx",
        "use-proxy-protocol",
        (*_APPENDS, 'logs_peer = "proxy"'),
        "with `believes`, the systems that proxy-real-ip-cidr covers; log $proxy_protocol_addr",
    ),
    Preset("nginx-gateway", "NGINX Gateway Fabric", "without rewriteClientIP", _APPENDS),
    Preset(
        "nginx-gateway-rewriting",
        "NGINX Gateway Fabric",
        "rewriteClientIP, mode XForwardedFor (ProxyProtocol: the same with proxy)",
        (*_APPENDS, 'logs_peer = "realip"'),
        "with `believes`, the systems that trustedAddresses covers; log $realip_remote_addr:$realip_remote_port",
    ),
    Preset(
        "nginx-append",
        "nginx",
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for, or $remote_addr",
        _APPENDS,
    ),
    Preset("nginx-real-ip", "nginx", "proxy_set_header X-Real-IP $remote_addr", (_conveys(_REAL_IP % "overwrite"),)),
    Preset("nginx-keep", "nginx", "no proxy_set_header of that name (the default)", _KEEPS, _ONE_BEFORE),
    Preset("haproxy-forwardfor", "HAProxy", "option forwardfor", _APPENDS),
    Preset("haproxy-if-none", "HAProxy", "option forwardfor if-none, or no forwardfor", _KEEPS, _ONE_BEFORE),
    Preset("haproxy-proxy", "HAProxy", "send-proxy or send-proxy-v2 on the server line", _PROXY),
    Preset("caddy", "Caddy", "reverse_proxy, with or without trusted_proxies", _APPENDS),
    Preset("apache", "Apache httpd", "mod_proxy with ProxyAddHeaders On (the default)", _APPENDS),
    Preset(
        "cloudflare",
        "Cloudflare",
        "any plan; a Worker, or another customer's, may send from the same addresses",
        ('conveys = [{ header = "cf-connecting-ip", mode = "overwrite" }]', "shared = true"),
        "with `proof`, a header that only your zone adds",
    ),
    Preset("alb", "AWS ALB", "routing.http.xff_header_processing.mode = append (the default)", _APPENDS),
    Preset("alb-preserve", "AWS ALB", "… = preserve", _KEEPS, _ONE_BEFORE),
    Preset("alb-remove", "AWS ALB", "… = remove", (_conveys(_XFF % "drops"),)),
    Preset("nlb-proxy", "AWS NLB", "proxy_protocol_v2.enabled", _PROXY),
    Preset(
        "google",
        "Google Cloud application load balancer",
        "external or internal, the default header",
        (_conveys(_XFF % "append2"),),
        "it appends the client and its own address",
    ),
)


BY_NAME: Final = {each.name: each for each in PRESETS}
_ABOUT_LOG: Final = "logs_peer"


def with_preset(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """A system's table with the keys of its `preset`, where it has one and does not write them itself.

    >>> with_preset({"preset": "nlb-proxy"})
    {'conveys': ['proxy'], 'preset': 'nlb-proxy'}
    """
    name = table.get("preset")
    preset = BY_NAME.get(name) if isinstance(name, str) else None
    if preset is None:
        return table
    filled = {key: value for key, value in keys_of_preset(preset).items() if key != _ABOUT_LOG or "format" in table}
    return {**filled, **table}


def keys_of_preset(preset: Preset) -> dict[str, Any]:
    """Its lines as TOML."""
    return tomllib.loads("\n".join(preset.lines))


def others_of(family: str, header: str, mode: str) -> tuple[list[str], list[str]]:
    """Names of the presets of a product: those that pass the header in this mode, and those that do otherwise."""
    same: list[str] = []
    different: list[str] = []
    for each in PRESETS:
        modes = [
            row["mode"]
            for row in keys_of_preset(each)["conveys"]
            if isinstance(row, Mapping) and row["header"] == header
        ]
        if modes and each.name.startswith(family):
            (same if modes == [mode] else different).append(each.name)
    return same, different


def presets_help() -> str:
    """Every preset, as `clientip help presets` prints it."""
    blocks = []
    for each in PRESETS:
        note = (f"    # {each.note}",) if each.note else ()
        blocks.append(
            "\n".join((f"{each.name}: {each.product}, {each.setting}", *note, *(f"    {line}" for line in each.lines)))
        )
    return "\n\n".join(blocks) + "\n"
