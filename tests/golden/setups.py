"""The table of recorded set-ups: one row per log file.

This table is the one place where a log format is written down. The server
configurations are filled from it and `logs/setups.json` is printed from it, so
the format a test reads is the format the server really used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

HOST_NUMBER = {
    "nginx": 11,
    "haproxy": 12,
    "apache": 13,
    "varnish": 14,
    "traefik": 15,
    "envoy": 16,
    "caddy": 17,
}

COMBINED_NGINX = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent'
    ' "$http_referer" "$http_user_agent"'
)

HOP_NGINX = (
    '{"msec":"$msec","rt":"$request_time","peer":"$realip_remote_addr",'
    '"peer_port":"$realip_remote_port","client":"$remote_addr","pp":"$proxy_protocol_addr",'
    '"pp_port":"$proxy_protocol_port","pp_local":"$proxy_protocol_server_addr",'
    '"pp_local_port":"$proxy_protocol_server_port","local":"$server_addr:$server_port",'
    '"xff":"$http_x_forwarded_for","fwd":"$http_forwarded","xreal":"$http_x_real_ip",'
    '"rid":"$request_id","xrid":"$http_x_request_id","tp":"$http_traceparent",'
    '"up":"$upstream_addr","ups":"$upstream_status","conn":"$connection",'
    '"connreq":"$connection_requests","req":"$request","st":"$status",'
    '"b":"$body_bytes_sent","ua":"$http_user_agent"}'
)

UPSTREAMINFO_NGINX = (
    COMBINED_NGINX + " $request_length $request_time [$proxy_upstream_name]"
    " [$proxy_alternative_upstream_name] $upstream_addr $upstream_response_length"
    " $upstream_response_time $upstream_status $req_id"
)

TCPLOG = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq"
HTTPLOG = (
    "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc"
    " %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r"
)
HTTPSLOG = (
    HTTPLOG + " %[fc_err]/%[ssl_fc_err,hex]/%[ssl_c_err]/%[ssl_c_ca_err]"
    "/%[ssl_fc_is_resumed] %[ssl_fc_sni]/%sslv/%sslc"
)
HTTPLOG_CLF = (
    '%{+Q}o %{-Q}ci - - [%trg] %r %ST %B "" "" %cp %ms %ft %b %s %TR %Tw %Tc %Tr %Ta'
    " %tsc %ac %fc %bc %sc %rc %sq %bq %CC %CS %hrl %hsl"
)
LB_HTTP = (
    "%ci:%cp [%tr] %fi:%fp %ft %b/%s %bi:%bp %si:%sp %ID %TR/%Tw/%Tc/%Tr/%Ta %ST %B %tsc"
    " %hr %{+Q}r"
)
LB_TCP = "%ci:%cp [%t] %fi:%fp %ft %b/%s %bi:%bp %si:%sp %Tw/%Tc/%Tt %B %ts"
SET_SRC = "%ci:%cp [%tr] %[fc_src]:%[fc_src_port] %fi:%fp %ft %ST %hr %{+Q}r"

COMBINED_APACHE = '%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"'
HOP_APACHE = (
    '%{%s}t.%{usec_frac}t %{c}a:%{remote}p %A:%{local}p %a "%{X-Forwarded-For}i"'
    ' "%{remoteip-proxy-ip-list}n" "%{Forwarded}i" "%{traceparent}i" %{UNIQUE_ID}e "%r"'
    ' %>s %b %D %k "%{User-Agent}i"'
)
PROXY_APACHE = (
    '%h %{c}a %a:%{remote}p %A:%{local}p %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"'
    ' "%{X-Forwarded-For}i"'
)

COMBINED_VARNISH = '%h %l %u %t "%r" %s %b "%{Referer}i" "%{User-agent}i"'
HOP_VARNISH = (
    '%h %{VSL:ReqStart[1]}x:%{VSL:ReqStart[2]}x %{Varnish:vxid}x %t "%r" %s %b'
    ' "%{X-Forwarded-For}i" "%{Forwarded}i" "%{VSL:Proxy}x" "%{User-agent}i"'
)

ENVOY_DEFAULT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"'
    " %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION%"
    ' %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%"'
    ' "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)
ENVOY_ISTIO = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"'
    " %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"
    ' %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%"'
    " %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"
    ' "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%"'
    ' "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS%'
    " %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME%"
    " %ROUTE_NAME%\n"
)


@dataclass(frozen=True)
class Setup:
    """One server configuration whose access log is kept as `logs/<name>.log`."""

    name: str
    server: str
    format: str
    port: int
    pattern: str | None = None
    escape: str | None = None
    logs_peer: str = "socket"
    via: str | None = None
    wrapper: str | None = None
    full: bool = False
    ipv6: bool = True
    collector: int | None = None
    note: str = ""

    @property
    def log(self) -> str:
        """File name of the recorded log."""
        return f"{self.name}.log"

    @property
    def v4(self) -> tuple[str, int]:
        """Where the server listens for IPv4 clients and for the balancer."""
        return (f"10.0.1.{HOST_NUMBER[self.server]}", self.port)

    @property
    def v6(self) -> tuple[str, int]:
        """Where the server listens for direct IPv6 clients."""
        return (f"fd00:1::{HOST_NUMBER[self.server]}", self.port)


def _nginx() -> Iterator[Setup]:
    yield Setup(
        "nginx-combined", "nginx", "nginx", 8101, COMBINED_NGINX, "default", full=True,
        note="predefined format `combined`, direct clients, no realip",
    )
    yield Setup(
        "nginx-dualstack", "nginx", "nginx", 8102, COMBINED_NGINX, "default",
        note="one socket `[::]` with ipv6only=off: IPv4 peers are written ::ffff:a.b.c.d",
    )
    yield Setup(
        "nginx-syslog3164", "nginx", "nginx", 8103, COMBINED_NGINX, "default",
        wrapper="syslog3164", collector=5103,
        note="combined, sent as UDP datagrams, kept with the syslog prefix",
    )
    yield Setup(
        "nginx-main-lb", "nginx", "nginx", 8104,
        COMBINED_NGINX + ' "$http_x_forwarded_for"', "default", via="lb-xff",
        note="the `main` format of distributions, no realip",
    )
    yield Setup(
        "nginx-hop-lb", "nginx", "nginx", 8105, HOP_NGINX, "json", via="lb-xff", full=True,
        note="JSON hop format, no realip, proxies to a list of three upstreams",
    )
    yield Setup(
        "nginx-hop-proxy", "nginx", "nginx", 8106, HOP_NGINX, "json", via="lb-proxy",
        ipv6=False, note="PROXY v2 read, realip off: client only in $proxy_protocol_addr",
    )
    yield Setup(
        "nginx-realip-proxy", "nginx", "nginx", 8107, COMBINED_NGINX, "default", "proxy",
        via="lb-proxy", ipv6=False, full=True,
        note="real_ip_header proxy_protocol from 10.0.0.10; 400 lines show the balancer",
    )
    yield Setup(
        "nginx-realip-xff", "nginx", "nginx", 8108,
        '$realip_remote_addr:$realip_remote_port $remote_addr:$remote_port [$time_iso8601]'
        ' "$request" $status $body_bytes_sent "$http_x_forwarded_for"'
        ' "$proxy_add_x_forwarded_for" "$http_user_agent"',
        "default", "realip", via="lb-xff", full=True,
        note="realip from X-Forwarded-For, recursive, trusting 10.0.0.0/24",
    )
    yield Setup(
        "nginx-ingress", "nginx", "nginx", 8109, UPSTREAMINFO_NGINX, "default", "realip",
        via="lb-xff",
        note="the shape of ingress-nginx `upstreaminfo`; $req_id is the client's X-Request-ID;"
        " dead upstreams make $upstream_addr a list with blanks",
    )


def _haproxy() -> Iterator[Setup]:
    yield Setup(
        "haproxy-httplog", "haproxy", "haproxy", 8201, HTTPLOG, full=True, collector=5201,
        note="option httplog; captures X-Forwarded-For (len 128) and User-Agent (len 128)",
    )
    yield Setup(
        "haproxy-tcplog", "haproxy", "haproxy", 8202, TCPLOG, collector=5202,
        note="option tcplog, mode tcp: no request in the line, match by client:port",
    )
    yield Setup(
        "haproxy-accept-proxy", "haproxy", "haproxy", 8203, HTTPLOG, None, "proxy",
        via="lb-proxy", ipv6=False, full=True, collector=5203,
        note="accept-proxy, option httplog, no capture (so no {} block at all)",
    )
    yield Setup(
        "haproxy-set-src", "haproxy", "haproxy", 8204, SET_SRC, None, "realip",
        via="lb-xff", collector=5204, ipv6=False,
        note="http-request set-src from the last X-Forwarded-For entry if the peer is"
        " 10.0.0.10: %ci is from the header, %cp is the balancer's port",
    )
    yield Setup(
        "haproxy-default", "haproxy", "haproxy", 8205, None, collector=5205,
        note='no log option at all: "Connect from a:p to b:p (frontend/MODE)"',
    )
    yield Setup(
        "haproxy-errors", "haproxy", "haproxy", 8206, HTTPLOG, None, "proxy",
        via="lb-proxy", ipv6=False, collector=5206,
        note="accept-proxy; connections with a missing or broken PROXY header",
    )
    yield Setup(
        "haproxy-syslog3164", "haproxy", "haproxy", 8207, HTTPLOG, wrapper="syslog3164",
        collector=5207, full=True,
        note="httplog over UDP with the RFC 3164 prefix and the default len 1024"
        " (long lines are cut); captures User-Agent",
    )
    yield Setup(
        "haproxy-syslog5424", "haproxy", "haproxy", 8208, HTTPSLOG, wrapper="syslog5424",
        collector=5208,
        note="option httpslog on a plain-text port, over a unix datagram socket, RFC 5424",
    )
    yield Setup(
        "haproxy-clf", "haproxy", "haproxy", 8209, HTTPLOG_CLF, collector=5209,
        note="option httplog clf; captures X-Forwarded-For (len 128)",
    )


def _apache() -> Iterator[Setup]:
    yield Setup(
        "apache-combined", "apache", "apache", 8301, COMBINED_APACHE, full=True,
        note="combined, direct clients",
    )
    yield Setup(
        "apache-remoteip", "apache", "apache", 8302, HOP_APACHE, via="lb-xff", full=True,
        note="mod_remoteip on (RemoteIPInternalProxy 10.0.0.0/24): %{c}a is the socket,"
        " %a the derived client, the logged X-Forwarded-For is the remainder",
    )
    yield Setup(
        "apache-proxy", "apache", "apache", 8303, PROXY_APACHE, None, "proxy",
        via="lb-proxy", ipv6=False,
        note="RemoteIPProxyProtocol On, the balancer sends PROXY v1",
    )


def _varnish() -> Iterator[Setup]:
    yield Setup(
        "varnish-default", "varnish", "varnish", 8401, COMBINED_VARNISH, full=True,
        note="varnishncsa default format, direct clients",
    )
    yield Setup(
        "varnish-proxy", "varnish", "varnish", 8402, HOP_VARNISH, None, "proxy",
        via="lb-proxy", ipv6=False,
        note="listener with PROXY; X-Forwarded-For is logged after Varnish's own append",
    )


def _traefik() -> Iterator[Setup]:
    kept = "kept headers: X-Forwarded-For, Forwarded, X-Real-Ip, X-Request-Id, Traceparent, UA"
    yield Setup("traefik-json", "traefik", "traefik_json", 8501, note="direct; " + kept)
    yield Setup(
        "traefik-json-lb", "traefik", "traefik_json", 8502, via="lb-xff", full=True,
        note="forwardedHeaders.trustedIPs 10.0.0.10; " + kept,
    )
    yield Setup(
        "traefik-json-proxy", "traefik", "traefik_json", 8503, None, None, "proxy",
        via="lb-proxy", ipv6=False, note="proxyProtocol.trustedIPs 10.0.0.10; " + kept,
    )
    yield Setup(
        "traefik-clf", "traefik", "traefik_clf", 8504, full=True, note="format common, direct"
    )
    yield Setup(
        "traefik-clf-lb", "traefik", "traefik_clf", 8505, via="lb-xff",
        note="format common, forwardedHeaders.trustedIPs 10.0.0.10: column 1 is the"
        " X-Forwarded-For text, not the peer",
    )


def _envoy() -> Iterator[Setup]:
    yield Setup(
        "envoy-text", "envoy", "envoy_text", 8601, ENVOY_DEFAULT, full=True,
        note="default text format, direct, use_remote_address true",
    )
    yield Setup(
        "envoy-text-lb", "envoy", "envoy_text", 8602, ENVOY_DEFAULT, None, "realip",
        via="lb-xff", note="default text, use_remote_address true, xff_num_trusted_hops 1",
    )
    yield Setup(
        "envoy-istio", "envoy", "envoy_text", 8603, ENVOY_ISTIO, None, "realip", via="lb-xff",
        note="Istio default text, use_remote_address false",
    )
    yield Setup(
        "envoy-gateway", "envoy", "envoy_json", 8604, None, None, "realip", via="lb-xff",
        note="fields of Envoy Gateway's default JSON, use_remote_address true,"
        " xff_num_trusted_hops 1",
    )
    yield Setup(
        "envoy-json-edge", "envoy", "envoy_json", 8605, None, None, "realip", via="lb-xff",
        full=True, note="all addresses in JSON, use_remote_address true, hops 1",
    )
    yield Setup(
        "envoy-json-sidecar", "envoy", "envoy_json", 8606, None, None, "realip",
        via="lb-xff", note="all addresses in JSON, use_remote_address false, hops 0",
    )
    yield Setup(
        "envoy-json-proxy", "envoy", "envoy_json", 8607, None, None, "proxy",
        via="lb-proxy", ipv6=False,
        note="all addresses in JSON, proxy_protocol listener filter, use_remote_address true",
    )


def _caddy() -> Iterator[Setup]:
    yield Setup("caddy-direct", "caddy", "caddy", 8701, full=True, note="JSON, direct")
    yield Setup(
        "caddy-lb", "caddy", "caddy", 8702, via="lb-xff", ipv6=False, full=True,
        note="trusted_proxies static 10.0.0.0/24 (left-most entry is client_ip)",
    )
    yield Setup(
        "caddy-lb-strict", "caddy", "caddy", 8703, via="lb-xff", ipv6=False,
        note="the same with trusted_proxies_strict (walks from the right)",
    )
    yield Setup(
        "caddy-proxy", "caddy", "caddy", 8704, None, None, "proxy", via="lb-proxy",
        ipv6=False, note="proxy_protocol listener wrapper, allow 10.0.0.10/32",
    )


def _balancer() -> Iterator[Setup]:
    yield Setup(
        "haproxy-lb-http", "haproxy", "haproxy", 0, LB_HTTP, collector=5001,
        note="the balancer itself in mode http; captures X-Forwarded-For (len 128)",
    )
    yield Setup(
        "haproxy-lb-tcp", "haproxy", "haproxy", 0, LB_TCP, collector=5002,
        note="the balancer itself in mode tcp with send-proxy; match by client:port",
    )


LB_HTTP_LOG, LB_TCP_LOG = (setup.log for setup in _balancer())
BALANCER = tuple(_balancer())
SETUPS = (
    *_nginx(), *_haproxy(), *_apache(), *_varnish(), *_traefik(), *_envoy(), *_caddy(),
)
ALL = (*BALANCER, *SETUPS)
