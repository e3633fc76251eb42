"""Linux connection tracking in XML: `conntrack -E -o xml,timestamp,ktimestamp,id`, one flow in a line.

What the flow of a line tells is said in `conntrack_flow`.

Read by patterns for what libnetfilter_conntrack writes, and by no XML parser: nothing is expanded, and an element that
stands twice has two readings.  The lines that open and close the document are skipped.

Time: this is the one output of conntrack-tools with the kernel's own nanoseconds.  They come when the flow ends
(`<start>` and `<stop>`, if `net.netfilter.nf_conntrack_timestamp` was 1 when it began) and, for its start, in tables.
`<when>` is when the line was printed, in whole seconds of local time: it counts only if `timezone` is set, and as a
moment of the event only as far as `stamped_within` bounds the delay.

https://conntrack-tools.netfilter.org/
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from clientip.errors import FormatError
from clientip.formats.conntrack.flow import (
    UNKNOWN,
    Ends,
    NatFlow,
    Stamp,
    assured_of,
    endpoint,
    nanosecond_stamp,
    printed_stamp,
    translation,
)
from clientip.model import Format, Line, Observation, Reader, Sample, Setup, Skipped

_SIDE: Final = (
    r'<meta direction="{}"><layer3 protonum="[0-9]{{1,3}}" protoname="[a-z0-9]{{1,16}}">'
    r"<src>([0-9a-fA-F:.]{{2,45}})</src><dst>([0-9a-fA-F:.]{{2,45}})</dst></layer3>"
    r'<layer4 protonum="([0-9]{{1,3}})" protoname="([a-z0-9-]{{1,16}})">'
    r"(?:<sport>([0-9]{{1,5}})</sport><dport>([0-9]{{1,5}})</dport>"
    r"|<srckey>0x[0-9a-f]{{1,8}}</srckey><dstkey>0x[0-9a-f]{{1,8}}</dstkey>)?</layer4>(?:<zone>[0-9]{{1,5}}</zone>)?"
    r"(?:<counters><packets>[0-9]{{1,20}}</packets><bytes>[0-9]{{1,20}}</bytes></counters>)?</meta>"
)
_HEAD: Final = re.compile(
    r'\s{0,16}<flow(?: type="(new|update|destroy)")?>'
    + _SIDE.format("original")
    + _SIDE.format("reply")
    + r'<meta direction="independent">'
)
_ELEMENT: Final = re.compile(
    r"<([a-z-]{1,12})>([^<>]{0,256})</\1>|<(assured|unreplied)/>|</?(?:timestamp|labels|when)>|</meta>"
)
_ELEMENT_LIMIT: Final = 256  # of a flow: about twenty, and up to 128 labels
_TAIL: Final = re.compile(r"</flow>(?: \[USERSPACE\] portid=[0-9]{1,10}(?: progname=\S{0,64})?)?\s{0,4}")
_REPEATED: Final = "label"
_OUTSIDE: Final = re.compile(r"<\?xml [^<>]{0,64}\?>|</?conntrack>|conntrack v[0-9.]{1,16} \(conntrack-tools\):.*")
_EVENTS: Final = MappingProxyType({"new": "NEW", "update": "UPDATE", "destroy": "DESTROY", None: "LIST"})


def _compile(setup: Setup) -> Reader:
    def read(line: Line) -> Observation | Skipped:
        text = line.text.decode("ascii", "replace")
        head = _HEAD.match(text)
        if head is None:
            if _OUTSIDE.fullmatch(text.strip()):
                return Skipped(line, "no_request")
            raise FormatError("no_match", 0)
        original, reply = head.group(*range(2, 8)), head.group(*range(8, 14))
        if original[2:4] != reply[2:4]:
            raise FormatError("no_match", head.start(8))
        elements = _elements(text, head.end())
        event, protocol = _EVENTS[head[1]], original[2] if original[3] == UNKNOWN else original[3]
        flow = NatFlow(
            protocol,
            elements.get("id"),
            event,
            Ends(endpoint(original[0], original[4]), endpoint(original[1], original[5])),
            Ends(endpoint(reply[0], reply[4]), endpoint(reply[1], reply[5])),
            *_stamps(elements, event, setup.timezone),
            assured_of(event, elements),
        )
        return translation(setup, line, flow)

    return read


def _elements(text: str, start: int) -> dict[str, str]:
    """The elements behind the tuples by name, whatever holds them; flags have no text."""
    found: dict[str, str] = {}
    for _ in range(_ELEMENT_LIMIT):
        match = _ELEMENT.match(text, start)
        if match is None:
            break
        name = match[1] or match[3]
        if name in found and name != _REPEATED:
            raise FormatError("two_readings", start)
        if name is not None:
            found[name] = match[2] or ""
        start = match.end()
    if not _TAIL.fullmatch(text, start):
        raise FormatError("no_match", start)
    return found


def _stamps(elements: dict[str, str], event: str, zone: str | None) -> tuple[Stamp | None, Stamp | None, Stamp | None]:
    """(start, end, seen): the kernel's own, else the moment of printing for the event that means it."""
    start, end = (nanosecond_stamp(elements[name]) if name in elements else None for name in ("start", "stop"))
    seen = _when(elements, zone) if "year" in elements and zone is not None else None
    if event == "NEW":
        start = start or seen
    elif event == "DESTROY":
        end = end or seen
    return start, end, seen


def _when(elements: dict[str, str], zone: str) -> Stamp:
    year, month, day, hour, minute, second = (
        elements.get(name, "").rjust(2, "0") for name in ("year", "month", "day", "hour", "min", "sec")
    )
    return printed_stamp(f"{year}/{month}/{day} {hour}:{minute}:{second}", zone)


_FLOW: Final = (
    b'<flow%b><meta direction="original"><layer3 protonum="2" protoname="ipv4"><src>203.0.113.7</src>'
    b'<dst>198.51.100.10</dst></layer3><layer4 protonum="6" protoname="tcp"><sport>51111</sport><dport>443</dport>'
    b'</layer4>%b</meta><meta direction="reply"><layer3 protonum="2" protoname="ipv4"><src>10.244.1.5</src>'
    b'<dst>10.1.0.4</dst></layer3><layer4 protonum="6" protoname="tcp"><sport>8443</sport><dport>20001</dport></layer4>'
    b'%b</meta><meta direction="independent">%b</meta>%b</flow>'
)
_COUNTERS: Final = b"<counters><packets>5</packets><bytes>270</bytes></counters>"
_WHEN: Final = (
    b"<when><hour>10</hour><min>00</min><sec>01</sec><wday>4</wday><day>1</day><month>5</month><year>2024</year></when>"
)
_NEW: Final = b"<state>SYN_SENT</state><timeout>120</timeout><id>2087707042</id><unreplied/>"
_ENDED: Final = (
    b"<state>TIME_WAIT</state><id>2087707042</id><assured/><timestamp><start>1714557600531407984</start>"
    b"<stop>1714557603531880876</stop></timestamp><deltatime>3</deltatime>"
)
_ICMP: Final = (
    b'<flow type="new"><meta direction="original"><layer3 protonum="10" protoname="ipv6"><src>2001:db8:1::10</src>'
    b'<dst>2001:db8:2::5</dst></layer3><layer4 protonum="58" protoname="icmpv6"></layer4></meta>'
    b'<meta direction="reply"><layer3 protonum="10" protoname="ipv6"><src>2001:db8:2::5</src><dst>2001:db8:2::1</dst>'
    b'</layer3><layer4 protonum="58" protoname="icmpv6"></layer4></meta><meta direction="independent">'
    b"<timeout>2</timeout><zone>7</zone><id>12</id><unreplied/></meta></flow>"
)

SAMPLES: Final = (
    Sample(  # printed in a second of local time; the kernel tells the start only at the end
        setup=(("stamped_within_ns", 0),),
        line=_FLOW % (b' type="new"', b"", b"", _NEW, _WHEN),
        expect=(
            ("kind", "translation"),
            ("peer", "203.0.113.7:51111"),
            ("local", "198.51.100.10:443"),
            ("upstream_local", "10.1.0.4:20001"),
            ("upstream_peer", "10.244.1.5:8443"),
            ("connection_serial", "tcp/2087707042/NEW"),
            ("transport", "tcp"),
            ("assured", None),
            ("start_ns", 1714557601000000000),
            ("start_latest_ns", 1714557601999999999),
            ("end_ns", None),
        ),
    ),
    Sample(  # the whole flow
        line=_FLOW % (b' type="destroy"', _COUNTERS, _COUNTERS, _ENDED, _WHEN),
        expect=(
            ("connection_serial", "tcp/2087707042/DESTROY"),
            ("assured", True),
            ("start_ns", 1714557600531407984),
            ("start_latest_ns", 1714557600531407984),
            ("end_ns", 1714557603531880876),
        ),
    ),
    Sample(  # deleted by a command, never answered, without the kernel's stamps
        setup=(("timezone", None),),
        line=_FLOW % (b' type="destroy"', b"", b"", b"<id>7</id><unreplied/>", _WHEN)
        + b" [USERSPACE] portid=3625357468 progname=conntrack",
        expect=(("assured", False), ("end_ns", None), ("time_by", None)),
    ),
    Sample(  # of `conntrack -L`
        line=_FLOW
        % (
            b"",
            b"",
            b"",
            b"<id>7</id><assured/><timestamp><start>1714557600531407984</start></timestamp><deltatime>0</deltatime>",
            b"",
        ),
        expect=(
            ("connection_serial", "tcp/7/LIST"),
            ("start_ns", 1714557600531407984),
            ("end_ns", None),
            ("assured", True),
        ),
    ),
    Sample(  # no ports; another zone
        line=_ICMP,
        expect=(
            ("peer", "2001:db8:1::10"),
            ("upstream_local", "2001:db8:2::1"),
            ("connection_serial", "icmpv6/12/NEW"),
            ("transport", "icmpv6"),
        ),
    ),
    Sample(line=b'<?xml version="1.0" encoding="utf-8"?>', skipped="no_request"),
    Sample(line=b"<conntrack>", skipped="no_request"),
    Sample(line=b"</conntrack>", skipped="no_request"),
    Sample(line=_FLOW % (b' type="new"', b"", b"", b"<id>1</id><id>2</id>", b""), rejected="two_readings"),
    Sample(line=b'<!DOCTYPE x [<!ENTITY a "b">]>', rejected="no_match"),
)

CONNTRACK_XML: Final = Format(
    name="conntrack_xml",
    title="Linux conntrack events, XML",
    compile=_compile,
    samples=SAMPLES,
    connections="",
    writes=frozenset({"begins"}),
    ask_for=(
        "conntrack -E -e NEW,DESTROY --any-nat -o xml,timestamp,ktimestamp,id -b 8388608, "
        "with net.netfilter.nf_conntrack_timestamp = 1"
    ),
)
