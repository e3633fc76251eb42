"""Log patterns that ship with NGINX and its ingress controllers, and lines of them."""

from __future__ import annotations

from typing import Final

from clientip.model import Sample

_COMBINED: Final = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
)
_TAIL: Final = (
    " $request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] "
    "$upstream_addr $upstream_response_length $upstream_response_time $upstream_status $req_id"
)

KNOWN_PATTERNS: Final = (
    ("combined", _COMBINED),
    ("main", _COMBINED + ' "$http_x_forwarded_for"'),
    ("ingress-nginx", _COMBINED + _TAIL),
    (
        "ingress-nginx-0.25",
        _COMBINED.replace("$remote_addr - ", "$remote_addr - [$the_real_ip] - ")
        + _TAIL.replace(" [$proxy_alternative_upstream_name]", ""),
    ),
    (
        "ingress-nginx-stream",
        "[$remote_addr] [$time_local] $protocol $status $bytes_sent $bytes_received $session_time",
    ),
    ("kong", _COMBINED + ' kong_request_id: "$kong_request_id"'),
    (
        "stream",
        "$remote_addr:$remote_port [$time_local] $protocol $status $bytes_sent $bytes_received $session_time "
        '"$upstream_addr" "$proxy_protocol_addr:$proxy_protocol_port"',
    ),
    ("vhost", "$host " + _COMBINED),
    (
        "proxy-manager",
        "[$time_local] $upstream_cache_status $upstream_status $status - $request_method $scheme $host "
        '"$request_uri" [Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio] [Sent-to $server] '
        '"$http_user_agent" "$http_referer"',
    ),
    (  # of hosts that redirect or answer themselves
        "proxy-manager-standard",
        '[$time_local] $status - $request_method $scheme $host "$request_uri" [Client $remote_addr] '
        '[Length $body_bytes_sent] [Gzip $gzip_ratio] "$http_user_agent" "$http_referer"',
    ),
)

_HOP: Final = (
    '{"msec":"$msec","rt":"$request_time","peer":"$realip_remote_addr","peer_port":"$realip_remote_port",'
    '"client":"$remote_addr","pp":"$proxy_protocol_addr","pp_port":"$proxy_protocol_port",'
    '"local":"$server_addr:$server_port","xff":"$http_x_forwarded_for","rid":"$request_id","up":"$upstream_addr",'
    '"conn":"$connection","connreq":"$connection_requests","req":"$request","st":$status}'
)
_INGRESS: Final = (("pattern", "ingress-nginx"), ("logs_peer", "realip"))

SAMPLES: Final = (
    Sample(  # combined: the end is known to the second, the start is not
        line=b'203.0.113.7 - - [02/Mar/2026:10:20:30 +0100] "GET /shop?q=1 HTTP/1.1" 200 512 "-" "a \\x22q\\x22"',
        expect=(
            ("peer", "203.0.113.7"),
            ("stated", None),
            ("start_ns", None),
            ("start_latest_ns", 1772443230_999_999_999),
            ("end_ns", 1772443230_000_000_000),
            ("time_by", "own"),
            ("http.method", "GET"),
            ("http.target", "/shop?q=1"),
            ("http.status", 200),
            ("http.user_agent", 'a "q"'),
            ("http.referer", None),
            ("claims", ()),
        ),
    ),
    Sample(  # a user name that looks like the columns after it
        line=b'203.0.113.7 - e [01/Jan/2000:00:00:00 +0000] [02/Mar/2026:09:20:30 +0000] "GET /" 401 9 "-" "-"',
        expect=(("peer", "203.0.113.7"), ("end_ns", 1772443230_000_000_000), ("http.status", 401)),
    ),
    Sample(  # main: the header as received
        setup=(("pattern", "main"), ("logs_peer", "socket")),
        line=b'2001:db8::7 - - [02/Mar/2026:09:20:30 +0000] "GET / HTTP/2.0" 304 0 "-" "x" "198.51.100.4, 10.0.0.9"',
        expect=(
            ("peer", "2001:db8::7"),
            ("claims.x-forwarded-for", "198.51.100.4, 10.0.0.9"),
            ("claims.x-forwarded-for.coverage", "all"),
        ),
    ),
    Sample(  # the column is there and says that there was no header
        setup=(("pattern", "main"), ("logs_peer", "realip")),
        line=b'198.51.100.4 - - [02/Mar/2026:09:20:30 +0000] "GET / HTTP/1.1" 200 3 "-" "x" "-"',
        expect=(("peer", None), ("stated", "198.51.100.4"), ("claims.x-forwarded-for", "")),
    ),
    Sample(  # failed before realip: the address is the balancer's, or not; nobody knows
        setup=(("pattern", "main"), ("logs_peer", "proxy")),
        line=b'10.0.0.9 - - [02/Mar/2026:09:20:30 +0000] "\\x16\\x03\\x01" 400 150 "-" "-" "-"',
        expect=(("peer", None), ("stated", None), ("http.status", 400)),
    ),
    Sample(  # lists with blanks, the last upstream answered
        setup=_INGRESS,
        line=b'198.51.100.4 - bob [02/Mar/2026:09:20:30 +0000] "POST /a" 502 7 "-" "x" 310 1.250 [shop-web-80] [] '
        b"[2001:db8:1::7]:80, 10.1.0.8:80 0, 7 0.250, 1.000 504, 502 2f6a9d3c1b7e4f508192a3b4c5d6e7f8",
        expect=(
            ("stated", "198.51.100.4"),
            ("upstream_peer", "10.1.0.8:80"),
            ("start_ns", 1772443228_750_000_000),
            ("start_latest_ns", 1772443229_749_999_999),
            ("http.duration_ns", 1_250_000_000),
            ("http.request_bytes", 310),
            ("ids.requests.x-request-id", "2f6a9d3c1b7e4f508192a3b4c5d6e7f8"),
        ),
    ),
    Sample(  # $req_id is whatever the client sent, even what looks like another status; it may have been cut
        setup=_INGRESS,
        line=b'198.51.100.4 - - [02/Mar/2026:09:20:30 +0000] "GET /" 200 7 "-" "x" 310 0.001 [] [] - - - - : 200',
        expect=(("stated", "198.51.100.4"), ("upstream_peer", None), ("ids", None)),
    ),
    Sample(
        setup=(("pattern", "ingress-nginx-0.25"), ("logs_peer", "socket")),
        line=b'10.0.0.9 - [198.51.100.4] - - [02/Mar/2026:09:20:30 +0000] "GET / HTTP/1.1" 200 7 "-" "x" 310 0.001 '
        b"[web] 10.1.0.8:80 7 0.001 200 77aa",
        expect=(("peer", "10.0.0.9"), ("upstream_peer", "10.1.0.8:80"), ("http.status", 200)),
    ),
    Sample(
        setup=(("pattern", "kong"), ("logs_peer", "socket")),
        line=b'203.0.113.7 - - [02/Mar/2026:09:20:30 +0000] "GET / HTTP/1.1" 200 7 "-" "x" '
        b'kong_request_id: "0a1b2c3d4e5f60718293a4b5c6d7e8f9"',
        expect=(("ids.requests.kong", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"), ("ids.trace", None)),
    ),
    Sample(
        setup=(("pattern", "vhost"), ("logs_peer", "socket")),
        line=b'www.example.com 203.0.113.7 - - [02/Mar/2026:09:20:30 +0000] "GET / HTTP/1.1" 200 7 "-" "x"',
        expect=(("peer", "203.0.113.7"), ("http.host", "www.example.com")),
    ),
    Sample(
        setup=(("pattern", "proxy-manager"), ("logs_peer", "socket")),
        line=b'[02/Mar/2026:09:20:30 +0000] - 304 304 - GET https a.example "/x" [Client 203.0.113.7] [Length 0] '
        b'[Gzip -] [Sent-to 10.1.0.8] "y [Client 6.6.6.6]" "-"',
        expect=(("peer", "203.0.113.7"), ("http.status", 304), ("http.target", "/x"), ("http.host", "a.example")),
    ),
    Sample(
        setup=(("pattern", "proxy-manager-standard"), ("logs_peer", "socket")),
        line=b'[02/Mar/2026:09:20:30 +0000] 444 - GET https 198.51.100.10 "/x" [Client 203.0.113.7] [Length 0] '
        b'[Gzip 1.90] "y" "-"',
        expect=(("peer", "203.0.113.7"), ("http.status", 444), ("end_ns", 1772443230_000_000_000)),
    ),
    Sample(  # both addresses: the socket, and what realip made of it
        setup=(("pattern", _HOP), ("escape", "json"), ("logs_peer", "realip")),
        line=b'{"msec":"1772443230.500","rt":"0.250","peer":"10.0.0.9","peer_port":"40112","client":"198.51.100.4",'
        b'"pp":"","pp_port":"","local":"10.0.1.11:8080","xff":"198.51.100.4","rid":"2f6a9d3c1b7e4f508192a3b4c5d6e7f8",'
        b'"up":"unix:/run/app.sock","conn":"4711","connreq":"3","req":"GET /\xff HTTP/1.1","st":200}',
        expect=(
            ("peer", "10.0.0.9:40112"),
            ("stated", "198.51.100.4"),
            ("proxied", None),
            ("local", "10.0.1.11:8080"),
            ("upstream_peer", None),
            ("start_ns", 1772443230_250_000_000),
            ("start_latest_ns", 1772443230_250_999_999),
            ("claims.x-forwarded-for", "198.51.100.4"),
            ("ids.requests.nginx", "2f6a9d3c1b7e4f508192a3b4c5d6e7f8"),
            ("connection_serial", "4711"),
            ("request_serial", 3),
            ("http.target", "/\\xff"),
        ),
    ),
    Sample(  # the PROXY source has its own columns
        setup=(("pattern", _HOP), ("escape", "json")),
        line=b'{"msec":"1772443230.500","rt":"0.250","peer":"10.0.0.9","peer_port":"40112","client":"10.0.0.9",'
        b'"pp":"2001:db8::7","pp_port":"5555","local":"10.0.1.11:8080","xff":"","rid":"","up":"","conn":"1",'
        b'"connreq":"1","req":"PROXY TCP4 192.0.2.1 192.0.2.2 1 2","st":400}',
        expect=(
            ("peer", "10.0.0.9:40112"),
            ("stated", None),
            ("proxied", "[2001:db8::7]:5555"),
            ("proxied_by", "proxy"),
            ("notes", ("proxy_injection",)),
        ),
    ),
    Sample(
        setup=(("pattern", _HOP), ("escape", "json")),
        line=b'{"msec":"1772443230.500","msec":"1.0"}',
        rejected="json_repeated_key",
    ),
    Sample(
        setup=(("pattern", "stream"), ("logs_peer", "socket")),
        line=b'2001:db8::7:50112 [02/Mar/2026:09:20:30 +0000] TCP 200 10 20 5.000 "10.1.0.8:5432" "-:-"',
        expect=(
            ("kind", "connection"),
            ("peer", "[2001:db8::7]:50112"),
            ("upstream_peer", "10.1.0.8:5432"),
            ("upstream_local", None),  # nginx has no variable for it
            ("proxied", None),
            ("start_ns", 1772443225_000_000_000),
            ("start_latest_ns", 1772443225_999_999_999),
            ("end_ns", 1772443230_000_000_000),
            ("http", None),
        ),
    ),
    Sample(
        line=b"2026/03/02 09:20:30 [error] 31#31: *7 open() failed, client: 203.0.113.7, server: _, "
        b'request: "GET / HTTP/1.1"',
        skipped="no_request",
    ),
    Sample(
        line=b'2026/03/02 09:20:30 [alert] 31#31: *1 write() to "/var/log/nginx/a.log" failed (28: No space left on '
        b'device) while logging request, client: 203.0.113.7, server: , request: "GET /1 HTTP/1.1"',
        rejected="lines_lost",
    ),
    Sample(line=b"2026/03/02 09:20:30 [alert] 31#31: worker process 36 exited on signal 9", rejected="lines_lost"),
    Sample(line=b"2026/03/02 09:20:30 [error] 31#31: send() failed (111: Connection refused)", rejected="lines_lost"),
    Sample(
        line=b"2026/03/02 09:20:30 [warn] 31#31: *2 send() to syslog failed while logging request, client: 203.0.113.7",
        rejected="lines_lost",
    ),
    Sample(  # the client's own connection
        line=b"2026/03/02 09:20:30 [info] 31#31: *2 send() failed (104: Connection reset by peer), client: 203.0.113.7",
        skipped="no_request",
    ),
    Sample(
        line=b'unix: - - [02/Mar/2026:09:20:30 +0000] "" 400 0 "-" "-"', expect=(("peer", None), ("http.method", None))
    ),
    Sample(
        line=b'203.0.113.7 - - [02/Mar/2026:09:20:30 +0000] "GET / HTTP/1.1" 200 5 "-" "x" "y"', rejected="no_match"
    ),
    Sample(line=b'localhost - - [02/Mar/2026:09:20:30 +0000] "GET / HTTP/1.1" 200 5 "-" "x"', rejected="no_match"),
)
