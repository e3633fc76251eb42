"""Log formats that ship with HAProxy and its ingress controllers, and lines of them."""

from __future__ import annotations

from typing import Final

from clientip.model import Sample

_HTTP: Final = (
    "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r"
)

_TLS: Final = "%[fc_err]/%[ssl_fc_err,hex]/%[ssl_c_err]/%[ssl_c_ca_err]/%[ssl_fc_is_resumed]"

KNOWN_PATTERNS: Final = (
    ("httplog", _HTTP),
    ("tcplog", "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq"),
    ("httpslog", f"{_HTTP} {_TLS} %[ssl_fc_sni]/%sslv/%sslc"),
    ("httpslog-encoded", f"{_HTTP} {_TLS} %[ssl_fc_sni,url_enc]/%sslv/%sslc end"),
    (
        "clf",
        '%{+Q}o %{-Q}ci - - [%trg] %r %ST %B "" "" %cp %ms %ft %b %s %TR %Tw %Tc %Tr %Ta %tsc %ac %fc %bc %sc %rc '
        "%sq %bq %CC %CS %hrl %hsl",
    ),
    ("haproxytech-ingress", _HTTP.replace("%{+Q}r", '"%HM %[var(txn.base)] %HV"')),
    (
        "hop-json",
        "%{+json}o %(ci)ci %(cp)cp %(fi)fi %(fp)fp %(bi)bi %(bp)bp %(si)si %(sp)sp %(t)[request_date(ms)] "
        "%(xff)[req.fhdr(x-forwarded-for)] %(tp)[req.fhdr(traceparent)] %(id)ID %(ST)ST %(r)r",
    ),
)

_TCP_ENDS: Final = "%ci:%cp [%t] %fi:%fp %ft %b/%s %bi:%bp %si:%sp %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq"
_HTTP_ENDS: Final = _HTTP.replace("[%tr] %ft %b/%s", "[%tr] %fi:%fp %ft %b/%s %bi:%bp %si:%sp")
_ESCAPED: Final = ("options", (("line_breaks", "escaped"),))
_CAPTURES: Final = (("captures", ("X-Forwarded-For", "User-Agent")),)
_HEAD: Final = b"203.0.113.7:50112 [02/Mar/2026:10:20:30.250] www~ app/web1 0/0/1/8/9 200 512 - - ---- 3/3/0/0/0 0/0 "

SAMPLES: Final = (
    Sample(
        setup=_CAPTURES,
        line=_HEAD + b'{198.51.100.4, 10.0.0.9|Some Agent/1 (a #7C b)} {nginx} "GET /a?b=#22 HTTP/1.1"',
        expect=(
            ("kind", "request"),
            ("peer", "203.0.113.7:50112"),
            ("stated", None),
            ("start_ns", 1772446830_250_000_000),
            ("start_latest_ns", 1772446830_250_999_999),
            ("end_ns", 1772446830_259_000_000),
            ("claims.x-forwarded-for", "198.51.100.4, 10.0.0.9"),
            ("claims.x-forwarded-for.coverage", "last"),
            ("http.target", '/a?b="'),
            ("http.status", 200),
            ("http.response_bytes", 512),
            ("upstream_peer", None),
        ),
    ),
    Sample(  # nothing captured: the blocks are not there, and tell nothing of the headers
        setup=_CAPTURES,
        line=_HEAD + b'"GET / HTTP/1.1"',
        expect=(("peer", "203.0.113.7:50112"), ("claims", ())),
    ),
    Sample(  # the block is there and empty: no such header
        setup=_CAPTURES,
        line=_HEAD + b'{|x} "GET / HTTP/1.1"',
        expect=(("claims.x-forwarded-for", ""),),
    ),
    Sample(setup=_CAPTURES, line=_HEAD + b'{a|b|c} "GET / HTTP/1.1"', rejected="field_missing"),
    Sample(  # a value that fills its capture may have lost its right end
        setup=(("captures", ("x-forwarded-for",)), ("options", (("capture_length.x-forwarded-for", "12"),))),
        line=_HEAD + b'{198.51.100.4} "GET / HTTP/1.1"',
        expect=(("claims.x-forwarded-for.coverage", "cut"),),
    ),
    Sample(  # local time: a summer hour in Berlin
        setup=(("timezone", "Europe/Berlin"),),
        line=b"2001:db8::7:50112 [02/Jul/2026:12:00:00.000] www www/<NOSRV> -1/-1/-1/-1/+6001 408 +212 - - cR-- "
        b'1/1/0/0/0 0/0 "<BADREQ>"',
        expect=(
            ("peer", "[2001:db8::7]:50112"),
            ("start_ns", 1782986400_000_000_000),
            ("end_ns", None),
            ("http.status", 408),
            ("http.method", None),
            ("http.response_bytes", 212),
        ),
    ),
    Sample(  # the hour that a clock set back runs through twice
        setup=(("timezone", "Europe/Berlin"), ("pattern", "tcplog")),
        line=b"203.0.113.7:50112 [25/Oct/2026:02:30:00.000] db db/pg1 1/0/861 1485 -- 2/1/0/0/0 0/0",
        expect=(
            ("kind", "connection"),
            ("http", None),
            ("start_ns", 1792888200_000_000_000),
            ("start_latest_ns", 1792891800_000_999_999),
        ),
    ),
    Sample(  # accept-proxy: what is logged was said
        setup=(("logs_peer", "proxy"),),
        line=_HEAD + b'"GET / HTTP/1.1"',
        expect=(("peer", None), ("stated", "203.0.113.7:50112")),
    ),
    Sample(  # set-src: the address is from a header, the port still the balancer's
        setup=(("logs_peer", "realip"),),
        line=_HEAD + b'"GET / HTTP/1.1"',
        expect=(("peer", None), ("stated", "203.0.113.7")),
    ),
    Sample(  # no PROXY header was read: this is the balancer
        setup=(("logs_peer", "proxy"),),
        line=b"10.0.0.9:41000 [02/Mar/2026:10:20:30.250] www/pp: Received something which does not look like a PROXY "
        b"protocol header",
        expect=(("kind", "connection"), ("peer", "10.0.0.9:41000"), ("stated", None)),
    ),
    Sample(
        setup=(("logs_peer", "proxy"),),
        line=b"203.0.113.7:41000 [02/Mar/2026:10:20:30.250] www/pp: Connection error during SSL handshake",
        expect=(("kind", "connection"), ("peer", None), ("stated", "203.0.113.7:41000")),
    ),
    Sample(
        line=b"Connect from 203.0.113.7:33312 to 10.0.3.31:8012 (www/HTTP)",
        expect=(
            ("kind", "connection"),
            ("peer", "203.0.113.7:33312"),
            ("local", "10.0.3.31:8012"),
            ("time_by", None),
        ),
    ),
    Sample(line=b"Proxy www started.", skipped="no_request"),
    Sample(line=b"[WARNING]  (3862) : Former worker (3866) exited with code 0 (Exit)", skipped="no_request"),
    Sample(line=b"[WARNING]  (3862) : Former worker (3866) exited with code 137 (Killed)", rejected="lines_lost"),
    Sample(line=b"[ALERT]    (3862) : Current worker (3883) exited with code 137 (Killed)", rejected="lines_lost"),
    Sample(
        line=b"[ALERT]    (3866) : sendmsg()/writev() failed in logger #1: No such file or directory (errno=2)",
        rejected="lines_lost",
    ),
    Sample(
        setup=(("pattern", "httpslog"), _ESCAPED),
        line=_HEAD + b'"GET / HTTP/1.1" 0/0000000000000000/0/0/0 a b" c/TLSv1.3/TLS_AES_128_GCM_SHA256',
        expect=(("peer", "203.0.113.7:50112"), ("http.status", 200), ("http.target", "/")),
    ),
    Sample(  # the server name cannot end the line
        setup=(("pattern", "httpslog-encoded"),),
        line=_HEAD + b'"GET / HTTP/1.1" 0/0000000000000000/0/0/0 x%0Ay%22/TLSv1.3/TLS_AES_128_GCM_SHA256 end',
        expect=(("peer", "203.0.113.7:50112"), ("http.status", 200), ("http.target", "/")),
    ),
    Sample(  # nor is a line read that it may have ended
        line=_HEAD + b'"GET / HTTP/1.1" 0/0000000000000000/0/0/0 a/TLSv1.3/TLS_AES_128_GCM_SHA256',
        rejected="no_match",
    ),
    Sample(
        setup=(("pattern", "clf"), ("captures", ("x-forwarded-for",))),
        line=b'203.0.113.7 - - [02/Mar/2026:10:20:30 +0000] "GET / HTTP/1.1" 200 512 "" "" 50112 250 "www" "app" '
        b'"web1" 0 0 1 8 9 ---- 3 3 0 0 0 0 0 "-" "-" "198.51.100.4"',
        expect=(
            ("peer", "203.0.113.7:50112"),
            ("start_ns", 1772446830_000_000_000),
            ("claims.x-forwarded-for", "198.51.100.4"),
        ),
    ),
    Sample(  # host and path are raw text of the client
        setup=(("pattern", "haproxytech-ingress"),),
        line=_HEAD + b'"GET a" 500 "b/c HTTP/2.0"',
        expect=(("peer", "203.0.113.7:50112"), ("http.status", 200), ("http.protocol", "HTTP/2.0")),
    ),
    Sample(
        setup=(("pattern", "hop-json"),),
        line=b'{"ci":"2001:db8::7","cp":50112,"fi":"2001:db8::1","fp":443,"bi":"10.0.0.5","bp":40000,"si":"10.1.0.8",'
        b'"sp":80,"t":1772443230250,"xff":null,"tp":null,"id":"0A0B","ST":200,"r":"GET / HTTP/1.1"}',
        expect=(
            ("peer", "[2001:db8::7]:50112"),
            ("local", "[2001:db8::1]:443"),
            ("upstream_local", "10.0.0.5:40000"),
            ("upstream_peer", "10.1.0.8:80"),
            ("start_ns", 1772443230_250_000_000),
            ("claims.x-forwarded-for", ""),
            ("ids.requests.haproxy", "0A0B"),
        ),
    ),
    Sample(  # mode tcp with the four ends: who stood behind the connection to the server
        setup=(("pattern", _TCP_ENDS),),
        line=b"203.0.113.7:50112 [02/Mar/2026:10:20:30.250] 198.51.100.10:5432 db db/pg1 10.0.0.5:40000 10.1.0.8:5432 "
        b"1/0/861 1485 -- 2/1/0/0/0 0/0",
        expect=(
            ("kind", "connection"),
            ("http", None),
            ("peer", "203.0.113.7:50112"),
            ("local", "198.51.100.10:5432"),
            ("upstream_local", "10.0.0.5:40000"),
            ("upstream_peer", "10.1.0.8:5432"),
            ("start_ns", 1772446830_250_000_000),
            ("start_latest_ns", 1772446830_250_999_999),
            ("end_ns", 1772446831_111_000_000),
        ),
    ),
    Sample(  # no server was reached
        setup=(("pattern", _TCP_ENDS),),
        line=b"203.0.113.7:50112 [02/Mar/2026:10:20:30.250] 198.51.100.10:5432 db db/<NOSRV> -:- -:- -1/-1/0 0 SC "
        b"1/1/0/0/0 0/0",
        expect=(("kind", "connection"), ("upstream_local", None), ("upstream_peer", None)),
    ),
    Sample(  # mode http with the four ends: the upstream connection may carry others' requests, too
        setup=(("pattern", _HTTP_ENDS),),
        line=b"203.0.113.7:50112 [02/Mar/2026:10:20:30.250] 198.51.100.10:443 www~ app/web1 10.0.0.5:40000 10.1.0.8:80 "
        b'0/0/1/8/9 200 512 - - ---- 3/3/0/0/0 0/0 "GET / HTTP/1.1"',
        expect=(
            ("kind", "request"),
            ("local", "198.51.100.10:443"),
            ("upstream_local", "10.0.0.5:40000"),
            ("upstream_peer", "10.1.0.8:80"),
            ("start_ns", 1772446830_250_000_000),
            ("end_ns", 1772446830_259_000_000),
        ),
    ),
    Sample(  # without a pattern, connections of TCP proxies and TLS details stand side by side with requests
        line=b"203.0.113.7:50112 [02/Mar/2026:10:20:30.250] db db/pg1 1/0/861 1485 -- 2/1/0/0/0 0/0",
        expect=(("kind", "connection"), ("peer", "203.0.113.7:50112"), ("end_ns", 1772446831_111_000_000)),
    ),
    Sample(
        setup=(_ESCAPED,),
        line=_HEAD + b'"GET / HTTP/1.1" 0/0000000000000000/0/0/0 a/TLSv1.3/TLS_AES_128_GCM_SHA256',
        expect=(("kind", "request"), ("peer", "203.0.113.7:50112"), ("http.status", 200)),
    ),
    Sample(  # cut where only the request can be: all that is trusted stands before it
        setup=_CAPTURES,
        line=_HEAD + b'{198.51.100.4|x} "GET /a-path-that-never-e',
        expect=(("claims.x-forwarded-for", "198.51.100.4"), ("http.target", "/a-path-that-never-e")),
    ),
    Sample(setup=_CAPTURES, line=_HEAD + b"{198.51.100.4, 10.0.0", rejected="no_match"),
    Sample(line=_HEAD + b'"GET / HTTP/1.1" ', rejected="no_match"),
)
