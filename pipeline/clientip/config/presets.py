"""What common products tell their next hop, by version and setting: rows of `conveys` to copy.

A promise often hangs on a setting of the product, so each row names the one under which it holds.  A row that does not
fit the setting names wrong clients: look it up before you copy it.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Preset(NamedTuple):
    """One product under one setting: lines of its system's table, and what else it is good to know."""

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
        "Traefik",
        "no peer is in forwardedHeaders.trustedIPs (the default)",
        (_conveys(_XFF % "append", _REAL_IP % "overwrite"),),
        "it replaces both by its peer; the next log must show both, or leave out the row of the one it does not show",
    ),
    Preset(
        "Traefik",
        "forwardedHeaders.trustedIPs holds the peers, or insecure",
        (_conveys(_XFF % "append", _REAL_IP % "keep"),),
        "X-Real-Ip passes as it came from such a peer",
    ),
    Preset(
        "Traefik 3.7 or later",
        "notAppendXForwardedFor, no peer in trustedIPs",
        (_conveys(_XFF % "drops", _REAL_IP % "overwrite"),),
        "X-Forwarded-For does not pass at all",
    ),
    Preset(
        "Traefik 3.7 or later",
        "notAppendXForwardedFor, trustedIPs holds the peers",
        (_conveys(_XFF % "keep", _REAL_IP % "keep"),),
        _ONE_BEFORE,
    ),
    Preset("Traefik", "TCP router with proxyProtocol to its servers", _PROXY),
    Preset(
        "Envoy Gateway",
        "ClientTrafficPolicy without clientIPDetection (use_remote_address: true)",
        _APPENDS,
        "its own log shows the header after it appended: appends_before_log = true",
    ),
    Preset(
        "Envoy Gateway",
        "clientIPDetection, which appends as well",
        _APPENDS,
        "its own log: look whether the last entry is the peer before you write appends_before_log",
    ),
    Preset("Envoy Gateway", "appending switched off in the ClientTrafficPolicy", _KEEPS, _ONE_BEFORE),
    Preset("Envoy, Istio", "use_remote_address: true", _APPENDS, "its own log: appends_before_log = true"),
    Preset("Envoy, Istio", "use_remote_address: false, or skip_xff_append: true", _KEEPS, _ONE_BEFORE),
    Preset(
        "ingress-nginx",
        "use-forwarded-headers: false (the default)",
        (_conveys(_XFF % "append", _REAL_IP % "overwrite"),),
        "it replaces both; with enable-underscores-in-headers its own log needs drops_underscores = false",
    ),
    Preset(
        "ingress-nginx",
        "use-forwarded-headers with compute-full-forwarded-for",
        _APPENDS,
        "it appends the socket's address; proxy-real-ip-cidr believes everybody unless it is narrowed",
    ),
    Preset(
        "ingress-nginx",
        "use-proxy-protocol",
        (*_APPENDS, 'logs_peer = "proxy"'),
        "with `believes`, the systems that proxy-real-ip-cidr covers; log $proxy_protocol_addr",
    ),
    Preset("NGINX Gateway Fabric", "without rewriteClientIP", _APPENDS),
    Preset(
        "NGINX Gateway Fabric",
        "rewriteClientIP, mode XForwardedFor (ProxyProtocol: the same with proxy)",
        (*_APPENDS, 'logs_peer = "realip"'),
        "with `believes`, the systems that trustedAddresses covers; log $realip_remote_addr:$realip_remote_port",
    ),
    Preset("nginx", "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for, or $remote_addr", _APPENDS),
    Preset("nginx", "proxy_set_header X-Real-IP $remote_addr", (_conveys(_REAL_IP % "overwrite"),)),
    Preset("nginx", "no proxy_set_header of that name (the default)", _KEEPS, _ONE_BEFORE),
    Preset("HAProxy", "option forwardfor", _APPENDS),
    Preset("HAProxy", "option forwardfor if-none, or no forwardfor", _KEEPS, _ONE_BEFORE),
    Preset("HAProxy", "send-proxy or send-proxy-v2 on the server line", _PROXY),
    Preset("Caddy", "reverse_proxy, with or without trusted_proxies", _APPENDS),
    Preset("Apache httpd", "mod_proxy with ProxyAddHeaders On (the default)", _APPENDS),
    Preset(
        "Cloudflare",
        "any plan; a Worker, or another customer's, may send from the same addresses",
        ('conveys = [{ header = "cf-connecting-ip", mode = "overwrite" }]', "shared = true"),
        "with `proof`, a header that only your zone adds",
    ),
    Preset("AWS ALB", "routing.http.xff_header_processing.mode = append (the default)", _APPENDS),
    Preset("AWS ALB", "… = preserve", _KEEPS, _ONE_BEFORE),
    Preset("AWS ALB", "… = remove", (_conveys(_XFF % "drops"),)),
    Preset("AWS NLB", "proxy_protocol_v2.enabled", _PROXY),
    Preset(
        "Google Cloud application load balancer",
        "external or internal, the default header",
        (_conveys(_XFF % "append2"),),
        "it appends the client and its own address",
    ),
)


def presets_help() -> str:
    """Every preset, as `clientip help presets` prints it."""
    blocks = []
    for each in PRESETS:
        note = (f"    # {each.note}",) if each.note else ()
        blocks.append("\n".join((f"{each.product}: {each.setting}", *note, *(f"    {line}" for line in each.lines))))
    return "\n\n".join(blocks) + "\n"
