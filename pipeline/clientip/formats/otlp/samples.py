"""Samples of OTLP/JSON: example, documentation and test in one."""

from __future__ import annotations

from typing import Final

from clientip.model import Sample

_RESOURCE: Final = b'"resource":{"attributes":[{"key":"k8s.pod.name","value":{"stringValue":"shop-1"}}]}'
_SPAN: Final = (
    b'{"resourceSpans":[{%b,"scopeSpans":[{"scope":{"name":"http"},"spans":[{"traceId":"4BF92F3577B34DA6A3CE929D0E0E4736",'
    b'"spanId":"00f067aa0ba902b7","parentSpanId":"53995c3f42cd8ad8","kind":%b,"startTimeUnixNano":%b,'
    b'"endTimeUnixNano":"1714557600025000000","attributes":[%b]}]}]}]}'
)
_LOG: Final = (
    b'{"resourceLogs":[{%b,"scopeLogs":[{"logRecords":[{"timeUnixNano":"1714557600025000000","traceId":'
    b'"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","body":{"stringValue":"10.0.0.1 - - [x]"},'
    b'"attributes":[%b]}]}]}]}'
)
_NEW: Final = (
    b'{"key":"network.peer.address","value":{"stringValue":"10.1.0.4"}},'
    b'{"key":"network.peer.port","value":{"intValue":"51111"}},'
    b'{"key":"network.local.address","value":{"stringValue":"10.244.1.5"}},'
    b'{"key":"network.local.port","value":{"intValue":"8080"}},{"key":"network.protocol.version","value":'
    b'{"stringValue":"3"}},{"key":"client.address","value":{"stringValue":"203.0.113.7"}},'
    b'{"key":"http.request.header.x-forwarded-for","value":{"arrayValue":{"values":[{"stringValue":"203.0.113.7"},'
    b'{"stringValue":"192.0.2.9"}]}}},'
    b'{"key":"http.request.method","value":{"stringValue":"GET"}},{"key":"url.path","value":{"stringValue":"/cart"}},'
    b'{"key":"url.query","value":{"stringValue":"id=7"}},{"key":"http.response.status_code","value":{"intValue":200}}'
)
_OLD: Final = (
    b'{"key":"net.sock.peer.addr","value":{"stringValue":"2001:db8::7"}},'
    b'{"key":"net.sock.peer.port","value":{"intValue":51111}},'
    b'{"key":"net.sock.host.addr","value":{"stringValue":"2001:db8::1"}},'
    b'{"key":"http.client_ip","value":{"stringValue":"203.0.113.7"}},{"key":"http.target","value":{"stringValue":"/a"}}'
)
_TRAEFIK: Final = (
    b'{"key":"ClientAddr","value":{"stringValue":"10.1.0.4:51111"}},{"key":"ClientHost","value":{"stringValue":'
    b'"203.0.113.7"}},{"key":"StartUTC","value":{"stringValue":"2024-05-01T10:00:00.5Z"}},'
    b'{"key":"Duration","value":{"intValue":"2500000"}},{"key":"DownstreamStatus","value":{"intValue":"200"}},'
    b'{"key":"RequestMethod","value":{"stringValue":"GET"}}'
)

TRACE_SAMPLES: Final = (
    Sample(
        line=_SPAN % (_RESOURCE, b"2", b'"1714557600000000000"', _NEW),
        expect=(
            ("kind", "span"),
            ("peer", "10.1.0.4:51111"),
            ("local", "10.244.1.5:8080"),
            ("transport", "udp"),
            ("claims.x-forwarded-for", "203.0.113.7, 192.0.2.9"),
            ("claims.x-forwarded-for.coverage", "all"),
            ("ids.trace", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("ids.span", "00f067aa0ba902b7"),
            ("ids.parent", "53995c3f42cd8ad8"),
            ("ids.scheme", "otlp"),
            ("start_ns", 1714557600000000000),
            ("start_latest_ns", 1714557600000999999),
            ("end_ns", 1714557600025000000),
            ("http.target", "/cart?id=7"),
            ("http.status", 200),
            ("http.duration_ns", 25000000),
            ("instance", "shop-1"),
            ("extendable", True),
        ),
    ),
    Sample(  # old names, kind by name, the time as a number past 2^53
        line=_SPAN % (b'"resource":{}', b'"SPAN_KIND_SERVER"', b"1714557600000000001", _OLD),
        expect=(
            ("peer", "[2001:db8::7]:51111"),
            ("local", "2001:db8::1"),
            ("transport", None),
            ("start_ns", 1714557600000000001),
            ("start_latest_ns", 1714557600000000001),
            ("http.target", "/a"),
        ),
    ),
    Sample(
        setup=(("logs_peer", "realip"),),
        line=_SPAN % (b'"resource":{}', b"2", b'"0"', _NEW),
        expect=(("peer", None), ("stated", "10.1.0.4"), ("start_ns", None), ("start_latest_ns", 1714557600025000000)),
    ),
    Sample(  # Traefik writes the Host header there if the peer has no port
        line=_SPAN
        % (
            b'"x":1',
            b"2",
            b"1714557600000000000",
            b'{"key":"network.peer.address","value":{"stringValue":"shop.example"}}',
        ),
        expect=(("peer", None), ("instance", None)),
    ),
    Sample(line=_SPAN % (_RESOURCE, b"3", b'"1714557600000000000"', _NEW), skipped="inner_span"),
    Sample(line=_SPAN % (_RESOURCE, b"2", b"1.7e18", _NEW), rejected="time"),
    Sample(line=b'{"resourceLogs":[]}', rejected="no_match"),
)

LOG_SAMPLES: Final = (
    Sample(
        line=_LOG % (_RESOURCE, _TRAEFIK),
        expect=(
            ("kind", "request"),
            ("peer", "10.1.0.4:51111"),
            ("claims.x-forwarded-for", "203.0.113.7"),
            ("claims.x-forwarded-for.coverage", "first"),
            ("start_ns", 1714557600500000000),
            ("end_ns", 1714557600502500000),
            ("ids.trace", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("ids.span", "00f067aa0ba902b7"),
            ("http.status", 200),
            ("instance", "shop-1"),
            ("extendable", True),
        ),
    ),
    Sample(
        line=_LOG % (_RESOURCE, _NEW),
        expect=(
            ("peer", "10.1.0.4:51111"),
            ("start_ns", None),
            ("start_latest_ns", 1714557600025999999),
            ("end_ns", 1714557600025000000),
        ),
    ),
    Sample(line=_LOG % (_RESOURCE, b""), skipped="no_request"),
    Sample(line=b'{"resourceSpans":[]}', rejected="no_match"),
)
