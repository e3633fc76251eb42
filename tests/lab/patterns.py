"""The log formats of the lab's servers, written down once: the servers and clientip.toml are both filled from here."""

from __future__ import annotations

NGINX = (
    '{"msec":"$msec","rt":"$request_time","peer":"$realip_remote_addr","peer_port":"$realip_remote_port",'
    '"pp":"$proxy_protocol_addr","pp_port":"$proxy_protocol_port","local":"$server_addr:$server_port",'
    '"xff":"$http_x_forwarded_for","fwd":"$http_forwarded","xreal":"$http_x_real_ip","xrid":"$http_x_request_id",'
    '"tp":"$http_traceparent","conn":"$connection","connreq":"$connection_requests","req":"$request","st":"$status",'
    '"ua":"$http_user_agent"}'
)
# What people write who do not know `escape=json`: a User-Agent can close the string.
NGINX_HAND_MADE = (
    '{"msec":"$msec","rt":"$request_time","peer":"$remote_addr","peer_port":"$remote_port",'
    '"local":"$server_addr:$server_port","req":"$request","ua":"$http_user_agent","xff":"$http_x_forwarded_for"}'
)
HAPROXY_TCP = "%ci:%cp [%t] %fi:%fp %ft %b/%s %bi:%bp %si:%sp %Tw/%Tc/%Tt %B %ts"
HAPROXY_HTTP = "%ci:%cp [%tr] %fi:%fp %ft %b/%s %bi:%bp %si:%sp %ID %TR/%Tw/%Tc/%Tr/%Ta %ST %B %tsc %hr %{+Q}r"
# How often a request was sent on, and the balancer's own id.
HAPROXY_TRIES = (
    "%ci:%cp [%tr] %fi:%fp %ft %b/%s %bi:%bp %si:%sp %TR/%Tw/%Tc/%Tr/%Ta %ST %B %tsc %rc %{+Q}[var(txn.rid)] %{+Q}r"
)
CAPTURED = "x-tag"
HAPROXY_CAPTURED = HAPROXY_TRIES.replace("%rc", "%rc %hr")
# Without the upstream socket: only the request id leads here.
HAPROXY_IDS = "%ci:%cp [%tr] %fi:%fp %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %tsc %{+Q}[var(txn.rid)] %{+Q}r"
