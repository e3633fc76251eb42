"""Samples of flow records: example, documentation and test in one."""

from __future__ import annotations

from typing import Final

from clientip.model import Sample

_IPFIX: Final = (
    b'{"@type":"ipfix.entry","iana:flowStartMilliseconds":%b,"iana:flowEndMilliseconds":%b,'
    b'"iana:sourceIPv4Address":"203.0.113.7","iana:destinationIPv4Address":"198.51.100.10",'
    b'"iana:protocolIdentifier":%b,"iana:sourceTransportPort":51111,"iana:destinationTransportPort":443%b}'
)
_BOTH: Final = (
    b',"iana:postNATSourceIPv4Address":"10.1.0.4","iana:postNAPTSourceTransportPort":20001,'
    b'"iana:postNATDestinationIPv4Address":"10.244.1.5","iana:postNAPTDestinationTransportPort":8443'
)
_EVENT: Final = (
    b'{"observationTimeMilliseconds":1714557600123,"natEvent":%b,"sourceIPv4Address":"100.64.0.7",'
    b'"sourceTransportPort":51111,"postNATSourceIPv4Address":"198.51.100.1","postNAPTSourceTransportPort":20001,'
    b'"destinationIPv4Address":"203.0.113.9","destinationTransportPort":443,"protocolIdentifier":17}'
)
_ANTREA: Final = (
    b'{"@timestamp":"2024-05-01T10:00:09Z","ipfix":{"flowStartSeconds":1714557600,"flowEndSeconds":1714557606,'
    b'"flowEndReason":3,"sourceIPv4Address":"203.0.113.7","destinationIPv4Address":"10.244.1.5","sourceTransportPort":'
    b'51111,"destinationTransportPort":8443,"protocolIdentifier":6,"destinationServicePort":%b,%b}}'
)
_NETOBSERV: Final = (
    b'{"AgentIP":"10.1.0.4","Bytes":512,"SrcAddr":"203.0.113.7","SrcPort":51111,"DstAddr":"10.1.0.4","DstPort":30443,'
    b'"Proto":6,"Sampling":50,"TimeFlowStartMs":1714557600123,"TimeFlowEndMs":1714557604456,"TimeReceived":1714557605%b}'
)
_XLAT: Final = b',"XlatSrcAddr":"10.1.0.4","XlatSrcPort":20001,"XlatDstAddr":"10.244.1.5","XlatDstPort":8443,"ZoneId":0'
_STAMPS: Final = (b'"2024-05-01T10:00:00.123Z"', b'"2024-05-01T10:00:04.456Z"')

SAMPLES: Final = (
    Sample(  # ipfixcol2; the flow may go on, and its translation may be younger than its first packet
        line=_IPFIX % (*_STAMPS, b'"TCP"', _BOTH),
        expect=(
            ("kind", "translation"),
            ("peer", "203.0.113.7:51111"),
            ("local", "198.51.100.10:443"),
            ("upstream_local", "10.1.0.4:20001"),
            ("upstream_peer", "10.244.1.5:8443"),
            ("transport", "tcp"),
            ("start_ns", 1714557600123000000),
            ("start_latest_ns", 1714557604456999999),
            ("end_ns", 1714557604456000000),
            ("connection_serial", None),
            ("extendable", True),
        ),
    ),
    Sample(  # the exporter saw the flow end: all of it is here; times as numbers; only the source translated
        line=_IPFIX
        % (
            b"1714557600123",
            b"1714557604456",
            b"6",
            b',"iana:postNATSourceIPv4Address":"10.1.0.4","iana:postNAPTSourceTransportPort":20001,"iana:flowEndReason":3',
        ),
        expect=(
            ("upstream_local", "10.1.0.4:20001"),
            ("upstream_peer", "198.51.100.10:443"),
            ("start_ns", 1714557600123000000),
            ("start_latest_ns", 1714557600123999999),
            ("end_ns", 1714557604456000000),
        ),
    ),
    Sample(line=_IPFIX % (*_STAMPS, b'"TCP"', b""), skipped="no_request"),  # no NAT
    Sample(line=b'{"@type":"ipfix.optionsEntry","iana:samplingInterval":1}', skipped="no_request"),
    Sample(  # a carrier's NAT: a session is created …
        line=_EVENT % b"4",
        expect=(
            ("peer", "100.64.0.7:51111"),
            ("upstream_local", "198.51.100.1:20001"),
            ("upstream_peer", "203.0.113.9:443"),
            ("transport", "udp"),
            ("connection_serial", "udp/-/NEW"),
            ("start_ns", 1714557600123000000),
            ("start_latest_ns", 1714557600123999999),
            ("end_ns", None),
        ),
    ),
    Sample(  # … and deleted
        line=_EVENT % b"5",
        expect=(("connection_serial", "udp/-/DESTROY"), ("start_ns", None), ("end_ns", 1714557600123000000)),
    ),
    Sample(line=_EVENT % b"16", skipped="no_request"),  # a block of ports
    Sample(  # MikroTik, as Logstash writes it: no ports after NAT, and no time but that of the router's start
        line=b'{"netflow":{"version":10,"flowStartSysUpTime":2666794170,"flowEndSysUpTime":2666794190,"sourceIPv4Address":'
        b'"192.0.2.7","sourceTransportPort":123,"destinationIPv4Address":"203.0.113.9","destinationTransportPort":123,'
        b'"protocolIdentifier":17,"postNATSourceIPv4Address":"198.51.100.1","postNATDestinationIPv4Address":"203.0.113.9"},'
        b'"@timestamp":"2024-05-01T10:00:00.000Z"}',
        expect=(
            ("peer", "192.0.2.7:123"),
            ("upstream_local", "198.51.100.1"),
            ("upstream_peer", "203.0.113.9"),
            ("time_by", None),
        ),
    ),
    Sample(  # Antrea: whole seconds, and what its end means it does not say
        line=_ANTREA
        % (b"443", b'"destinationServiceIPv4":"198.51.100.10","proxySnatIPv4":"10.1.0.4","proxySnatPort":20001'),
        expect=(
            ("peer", "203.0.113.7:51111"),
            ("local", "198.51.100.10:443"),
            ("upstream_local", "10.1.0.4:20001"),
            ("upstream_peer", "10.244.1.5:8443"),
            ("start_ns", 1714557600000000000),
            ("start_latest_ns", 1714557606999999999),
            ("end_ns", 1714557606000000000),
        ),
    ),
    Sample(  # the client's address was kept; zeros are nothing
        line=_ANTREA
        % (b"443", b'"destinationServiceIPv4":"198.51.100.10","proxySnatIPv4":"0.0.0.0","proxySnatPort":0'),
        expect=(("local", "198.51.100.10:443"), ("upstream_local", "203.0.113.7:51111")),
    ),
    Sample(
        line=_ANTREA % (b"0", b'"destinationServiceIPv4":"0.0.0.0","proxySnatIPv4":"0.0.0.0","proxySnatPort":0'),
        skipped="no_request",
    ),
    Sample(
        line=_NETOBSERV % _XLAT,
        expect=(
            ("peer", "203.0.113.7:51111"),
            ("local", "10.1.0.4:30443"),
            ("upstream_local", "10.1.0.4:20001"),
            ("upstream_peer", "10.244.1.5:8443"),
            ("transport", "tcp"),
            ("start_ns", 1714557600123000000),
            ("start_latest_ns", 1714557604456999999),
            ("end_ns", 1714557604456000000),
            ("instance", "10.1.0.4"),
        ),
    ),
    Sample(line=_NETOBSERV % b"", skipped="no_request"),
    Sample(line=_IPFIX % (b"1714557609000", b"1714557600000", b"6", _BOTH), rejected="time"),  # ends before it begins
    Sample(line=b'{"postNATSourceIPv4Address":"198.51.100.1"}', rejected="field_missing"),
    Sample(line=b'{"SrcAddr":"a","XlatSrcAddr":"10.1.0.4"}', rejected="address"),
)
