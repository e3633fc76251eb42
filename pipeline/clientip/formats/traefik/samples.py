"""Samples of Traefik's logs: example, documentation and test in one."""

from __future__ import annotations

from typing import Final

from clientip.model import Sample

_V3: Final = (
    b'{"ClientAddr":"10.1.0.4:51111","ClientHost":"%b","ClientPort":"51111","ClientUsername":"-","DownstreamContentSize":512,'
    b'"DownstreamStatus":200,"Duration":2500000,"RequestAddr":"shop.example","RequestContentSize":0,"RequestCount":41,'
    b'"RequestHost":"shop.example","RequestMethod":"GET","RequestPath":"/cart?id=7","RequestProtocol":"HTTP/2.0",'
    b'"RequestScheme":"https","RetryAttempts":0,"RouterName":"shop@kubernetes","ServiceAddr":"10.244.1.9:8080",'
    b'"ServiceName":"shop","ServiceURL":"http://10.244.1.9:8080","StartUTC":"2024-05-01T10:00:00.123456789Z",%b'
    b'"entryPointName":"websecure","level":"info","msg":"","time":"2024-05-01T10:00:00Z"}'
)

JSON_SAMPLES: Final = (
    Sample(
        line=_V3
        % (
            b"203.0.113.7, 192.0.2.9",
            b'"TraceId":"4bf92f3577b34da6a3ce929d0e0e4736","SpanId":"00f067aa0ba902b7",'
            b'"request_X-Forwarded-For":"203.0.113.7, 192.0.2.9","request_X-Real-Ip":"10.1.0.4",'
            b'"request_User-Agent":"probe/1.0",'
            b'"request_Traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-53995c3f42cd8ad8-01",',
        ),
        expect=(
            ("kind", "request"),
            ("peer", "10.1.0.4:51111"),
            ("stated", None),
            ("claims.x-forwarded-for", "203.0.113.7, 192.0.2.9"),
            ("claims.x-forwarded-for.coverage", "all"),
            ("claims.x-real-ip", ""),
            ("upstream_peer", "10.244.1.9:8080"),
            ("start_ns", 1714557600123456789),
            ("start_latest_ns", 1714557600123456789),
            ("end_ns", 1714557600125956789),
            ("ids.trace", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("ids.span", "00f067aa0ba902b7"),
            ("ids.parent", "53995c3f42cd8ad8"),
            ("http.target", "/cart?id=7"),
            ("http.status", 200),
            ("http.user_agent", "probe/1.0"),
            ("request_serial", 41),
            ("extendable", True),
        ),
    ),
    Sample(  # headers dropped, which is the default: ClientHost still shows that X-Forwarded-For was there
        line=_V3 % (b"203.0.113.7,192.0.2.9", b""),
        expect=(
            ("peer", "10.1.0.4:51111"),
            ("claims.x-forwarded-for", "203.0.113.7,192.0.2.9"),
            ("claims.x-forwarded-for.coverage", "first"),
        ),
    ),
    Sample(
        line=_V3 % (b"10.1.0.4", b""),
        setup=(("logs_peer", "proxy"),),
        expect=(("peer", None), ("stated", "10.1.0.4:51111"), ("claims", ())),
    ),
    Sample(  # v1: other names, the URL as an object, no peer of the service by name
        line=b'{"BackendAddr":"web:80","BackendName":"b","BackendURL":{"Scheme":"http","Host":"web:80"},'
        b'"ClientAddr":"[2001:db8::7]:51111","ClientHost":"2001:db8::7","DownstreamStatus":"200","Duration":100,'
        b'"RequestLine":"GET / HTTP/1.1","RequestMethod":"GET","StartUTC":"2017-10-02T20:22:07.5Z"}',
        expect=(
            ("peer", "[2001:db8::7]:51111"),
            ("upstream_peer", None),
            ("claims", ()),
            ("http.status", 200),
            ("start_ns", 1506975727500000000),
        ),
    ),
    Sample(
        line=b'{"level":"debug","msg":"Serving default certificate","time":"2024-05-01T10:00:00Z"}',
        skipped="no_request",
    ),
    Sample(line=b'time="2024-05-01T10:00:00Z" level=info msg="Configuration loaded"', skipped="no_request"),
    Sample(line=b'{"ClientAddr":"example.net:80","StartUTC":"2024-05-01T10:00:00Z"}', rejected="address"),
    Sample(line=b'{"ClientAddr":"10.0.0.1:80","ClientAddr":"10.0.0.2:80"}', rejected="json_repeated_key"),
)

CLF_SAMPLES: Final = (
    Sample(
        line=b'203.0.113.7, 10.0.0.1 - - [01/May/2024:10:00:00 +0000] "GET /cart?id=7 HTTP/1.1" 200 512 "-" "probe" '
        b'41 "shop@docker" "http://10.244.1.9:8080/x" 3ms',
        expect=(
            ("peer", None),
            ("claims.traefik-clienthost", "203.0.113.7, 10.0.0.1"),
            ("claims.x-forwarded-for", None),
            ("start_ns", 1714557600000000000),
            ("start_latest_ns", 1714557600999999999),
            ("end_ns", 1714557600003000000),
            ("upstream_peer", "10.244.1.9:8080"),
            ("http.target", "/cart?id=7"),
            ("http.status", 200),
            ("http.referer", None),
            ("request_serial", 41),
            ("extendable", False),
        ),
    ),
    Sample(  # genericCLF, and a request that never got an answer
        line=b'::1 - frank [01/May/2024:12:00:00 +0200] "GET / HTTP/1.1" - - "-" "-"',
        expect=(("claims.traefik-clienthost", "::1"), ("start_ns", 1714557600000000000), ("http.status", None)),
    ),
    Sample(  # two stamps: the sender of X-Forwarded-For wrote a line of his own
        line=b'1.2.3.4 - - [01/May/2024:09:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-", 10.0.0.1 - - '
        b'[01/May/2024:10:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-" 1 "-" "-" 0ms',
        rejected="two_readings",
    ),
    Sample(
        line=b'10.0.0.1 - - [01/May/2024:10:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "x" 9 "a" "b" 0ms" 1 "-" "-" 0ms',
        rejected="two_readings",
    ),
    Sample(  # since 3.7.3
        line=b'10.0.0.1 - - [01/May/2024:10:00:00 +0000] "GET / HTTP/1.1" 404 1 "-" "x\\" 9 \\"a\\" \\"b\\" 0ms" '
        b'1 "-" "http://10.244.1.9:80" 2ms',
        expect=(("http.user_agent", 'x" 9 "a" "b" 0ms'), ("http.status", 404), ("upstream_peer", "10.244.1.9:80")),
    ),
    Sample(line=b'10.0.0.1 - - "GET / HTTP/1.1" 200 1', rejected="no_match"),
)
