"""Log formats that ship with Apache httpd, and lines of them."""

from __future__ import annotations

from typing import Final

from clientip.model import Sample

_COMMON: Final = '%h %l %u %t "%r" %>s %b'
_COMBINED: Final = _COMMON + ' "%{Referer}i" "%{User-Agent}i"'
_HOP: Final = (
    r"%{%s}t.%{usec_frac}t %{c}a %a:%{remote}p %A:%{local}p %>s %B %D %k %{UNIQUE_ID}e "
    r"\"%{X-Forwarded-For}i\" \"%{remoteip-proxy-ip-list}n\" \"%{traceparent}i\" \"%r\""
)

KNOWN_PATTERNS: Final = (
    ("combined", _COMBINED),
    ("common", _COMMON),
    ("vhost_combined", "%v:%p " + _COMBINED.replace("%b", "%O")),
    ("combinedio", _COMBINED + " %I %O"),
    ("hop", _HOP),
)

_TIME: Final = b"[02/Mar/2026:10:20:30 +0100]"
_HEAD: Final = b"1772443230.250111 10.0.0.9 "

SAMPLES: Final = (
    Sample(
        line=b"203.0.113.7 - - " + _TIME + rb' "GET /a\"b HTTP/1.1" 200 45 "-" "\\x\"y\xc3\xa9"',
        expect=(
            ("peer", "203.0.113.7"),
            ("start_ns", 1772443230_000_000_000),
            ("start_latest_ns", 1772443230_999_999_999),
            ("end_ns", None),
            ("http.target", '/a"b'),
            ("http.user_agent", '\\x"y\u00e9'),
            ("http.response_bytes", 45),
        ),
    ),
    Sample(  # a user name that looks like the columns after it; an empty one
        line=b"203.0.113.7 - a [01/Jan/2000:00:00:00 +0000] " + _TIME + b' "GET / HTTP/1.1" 401 - "-" "-"',
        expect=(("peer", "203.0.113.7"), ("start_ns", 1772443230_000_000_000), ("http.status", 401)),
    ),
    Sample(
        line=b'203.0.113.7 - "" ' + _TIME + b' "GET / HTTP/1.1" 401 - "-" "-"',
        expect=(("peer", "203.0.113.7"), ("http.response_bytes", None)),
    ),
    Sample(  # HostnameLookups: a name is no peer
        line=b"host7.example.net - - " + _TIME + b' "-" 408 - "-" "-"',
        expect=(
            ("peer", None),
            ("stated", None),
            ("http.status", 408),
            ("http.method", None),
            ("notes", ("names_looked_up",)),
        ),
    ),
    Sample(
        setup=(("pattern", "common"), ("logs_peer", "socket")),
        line=b"2001:db8::7 - - " + _TIME + b' "\\x16\\x03" 400 226',
        expect=(("peer", "2001:db8::7"), ("http.status", 400)),
    ),
    Sample(
        setup=(("pattern", "vhost_combined"), ("logs_peer", "socket")),
        line=b"www.example.com:443 203.0.113.7 - - " + _TIME + b' "GET / HTTP/1.1" 403 6 "x" "y"',
        expect=(("peer", "203.0.113.7"), ("http.referer", "x")),
    ),
    Sample(  # before mod_remoteip: the balancer's address, or not
        setup=(("logs_peer", "proxy"),),
        line=b"10.0.0.9 - - " + _TIME + b' "GET /" 400 226 "-" "-"',
        expect=(("peer", None), ("stated", None)),
    ),
    Sample(  # mod_remoteip took the client off the header; the port 0 says so, too
        setup=(("pattern", "hop"), ("logs_peer", None)),
        line=_HEAD + b'198.51.100.4:0 10.0.1.13:8302 200 3 1500 0 aZx@_-09 "192.0.2.6" "-" "-" "GET / HTTP/1.1"',
        expect=(
            ("peer", "10.0.0.9"),
            ("stated", "198.51.100.4"),
            ("local", "10.0.1.13:8302"),
            ("claims.x-forwarded-for", "192.0.2.6"),
            ("claims.x-forwarded-for.coverage", "remainder"),
            ("start_ns", 1772443230_250_111_000),
            ("end_ns", 1772443230_251_611_000),
            ("request_serial", 0),
            ("ids.requests.unique-id", "aZx@_-09"),
        ),
    ),
    Sample(  # nothing was replaced: the port belongs to the socket, the header is whole
        setup=(("pattern", "hop"), ("logs_peer", None)),
        line=_HEAD + b'10.0.0.9:41000 10.0.1.13:8302 200 3 1500 1 a "192.0.2.6" "-" "-" "GET / HTTP/1.1"',
        expect=(
            ("peer", "10.0.0.9:41000"),
            ("stated", None),
            ("claims.x-forwarded-for.coverage", "all"),
        ),
    ),
    Sample(
        line=b"[Mon Mar 02 10:20:30.103522 2026] [proxy:error] [pid 7:tid 9] [client 203.0.113.7:5678] AH01114: no",
        skipped="no_request",
    ),
    Sample(  # without a pattern, common and vhost_combined stand side by side with combined
        line=b"2001:db8::7 - - " + _TIME + b' "GET / HTTP/1.1" 200 45',
        expect=(("peer", "2001:db8::7"), ("http.status", 200)),
    ),
    Sample(
        line=b"www.example.com:443 203.0.113.7 - - " + _TIME + b' "GET / HTTP/1.1" 403 6 "x" "y"',
        expect=(("peer", "203.0.113.7"), ("http.status", 403)),
    ),
    Sample(  # a client with a name, whose identd says an address; or the host in front, and the client behind it
        line=b"www.example.com 203.0.113.7 - - " + _TIME + b' "GET / HTTP/1.1" 403 6 "x" "y"',
        rejected="two_readings",
    ),
    Sample(
        setup=(("pattern", '%v %h %l %u %t "%r" %>s %b'), ("logs_peer", "socket")),
        line=b"www.example.com 203.0.113.7 - - " + _TIME + b' "GET / HTTP/1.1" 403 6',
        expect=(("peer", "203.0.113.7"),),
    ),
    Sample(
        line=b"[02/Mar/2026:10:20:30 +0100] [proxy:error] [pid 7] (113)No route to host: AH00957: HTTP: no",
        skipped="no_request",
    ),
    Sample(
        line=b"[Mon Mar 02 10:20:30.783625 2026] [log_config:warn] [pid 37:tid 37] (28)No space left on device: "
        b"[client 203.0.113.7:5891] AH00646: Error writing to /var/log/apache2/access.log",
        rejected="lines_lost",
    ),
    Sample(
        line=b"[Mon Mar 02 10:20:30.332237 2026] [core:notice] [pid 36:tid 36] AH00052: child pid 37 exit signal "
        b"Killed (9)",
        rejected="lines_lost",
    ),
    Sample(line=b'203.0.113.7 - - [02/Mar/2026 10:20:30] "GET / HTTP/1.1" 200 -', rejected="no_match"),
    Sample(line=b"203.0.113.7 - - " + _TIME + b' "GET / HTTP/1.1" 200 4 "a" b" "c"', rejected="no_match"),
)
