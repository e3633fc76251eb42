"""AWS VPC flow logs: the default format, and custom ones by their list of fields.

https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html

A record is one direction of a connection at one network interface, in one window of one or ten minutes.  Address
translation happens inside the instance or the balancer, so no record has both sides of it: a line is a connection
with its two ends and no upstream, and it proves nothing about who stood behind anybody.  It can only show candidates.

`pattern` is the list of fields as in the header of a file (`version account-id …`) or as it was configured
(`${version} ${account-id} …`); files begin with that list, streams do not.  Addresses are those of the packet
(`pkt-srcaddr`, `pkt-dstaddr`) where they are logged, else `srcaddr` and `dstaddr`, which are the interface's own for
what passes through it.  Refused traffic and windows without data are skipped.

Time: whole seconds, of the first and the last packet in the window.  The connection may be older.
"""

from __future__ import annotations

import re
from typing import Final

from clientip.errors import FormatError
from clientip.model import Endpoint, Format, Line, Observation, Reader, Sample, Setup, Skipped
from clientip.patterns.columns import refuse_part
from clientip.patterns.matcher import decode_text, refuse
from clientip.patterns.request_time import number
from clientip.syntax.addresses import parse_address, read_port
from clientip.syntax.times import SECOND_NS, epoch_ns, spread
from clientip.syntax.transports import PROTOCOLS

_DEFAULT: Final = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
)
_KNOWN_PATTERNS: Final = (("default", _DEFAULT),)
_NAME: Final = re.compile(r"\$\{([a-z][a-z0-9-]*)\}|([a-z][a-z0-9-]*)")
_NEEDED: Final = ("srcport", "dstport", "start", "end")
_NO_CONNECTION: Final = ("NODATA", "REJECT")
_LOSS: Final = "SKIPDATA"
_ABSENT: Final = "-"


def _compile(setup: Setup) -> Reader:
    names = tuple(_names(dict(_KNOWN_PATTERNS).get(setup.pattern or "default", setup.pattern or "")))
    header = " ".join(names)
    places = {name: index for index, name in enumerate(names)}
    source = [places[name] for name in ("pkt-srcaddr", "srcaddr") if name in places]
    destination = [places[name] for name in ("pkt-dstaddr", "dstaddr") if name in places]
    faults = [name for name in _NEEDED if name not in places]
    if not source or not destination or faults:
        raise refuse("a record needs srcaddr, dstaddr (or pkt-srcaddr, pkt-dstaddr), srcport, dstport, start and end")
    source_port, destination_port, start, end = (places[name] for name in _NEEDED)
    status, action, protocol = (places.get(name) for name in ("log-status", "action", "protocol"))

    def read(line: Line) -> Observation | Skipped:
        refuse_part(line)
        text = decode_text(line.text).strip()
        values = text.split(" ")
        if text == header:
            return Skipped(line, "no_request")
        if len(values) != len(names):
            raise FormatError("no_match")
        if status is not None and values[status] == _LOSS:
            raise FormatError("lines_lost")
        if any(place is not None and values[place] in _NO_CONNECTION for place in (status, action)):
            return Skipped(line, "no_request")
        begun, ended = epoch_ns(values[start]), epoch_ns(values[end])
        named = _ABSENT if protocol is None else values[protocol]
        return Observation(
            setup,
            "connection",
            None,
            spread(begun, SECOND_NS, setup.max_skew_ns)[1],
            ended,
            "own",
            peer=_endpoint(values, source, values[source_port]),
            local=_endpoint(values, destination, values[destination_port]),
            instance=line.instance,
            transport=None if named == _ABSENT else PROTOCOLS.get(number(named), named),
        )

    return read


def _names(pattern: str) -> list[str]:
    found = [_NAME.fullmatch(word) for word in pattern.split()]
    names = [match[1] or match[2] for match in found if match is not None]
    if len(names) != len(found) or len(set(names)) != len(names):
        raise refuse(
            "is no list of fields; write it as the first line of a file has it, or as ${version} ${account-id} …"
        )
    return names


def _endpoint(values: list[str], places: list[int], port: str) -> Endpoint | None:
    text = next((values[place] for place in places if values[place] != _ABSENT), None)
    if text is None:
        return None
    return Endpoint(parse_address(text), None if port == _ABSENT else read_port(port))


_HEAD: Final = b"2 123456789012 eni-0a1b2c3d4e5f60718 "
_CUSTOM: Final = (
    "${version} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} ${start} ${end} ${action} ${log-status} "
    "${pkt-srcaddr} ${pkt-dstaddr} ${flow-direction}"
)

SAMPLES: Final = (
    Sample(
        line=_HEAD + b"203.0.113.7 10.1.0.4 51111 30443 6 12 5120 1714557600 1714557655 ACCEPT OK",
        expect=(
            ("kind", "connection"),
            ("peer", "203.0.113.7:51111"),
            ("local", "10.1.0.4:30443"),
            ("upstream_local", None),
            ("upstream_peer", None),
            ("transport", "tcp"),
            ("start_ns", None),
            ("start_latest_ns", 1714557600999999999),
            ("end_ns", 1714557655000000000),
        ),
    ),
    Sample(  # through an interface that is not the source's
        setup=(("pattern", _CUSTOM),),
        line=b"3 10.1.0.9 10.1.0.4 51111 80 17 1714557600 1714557601 ACCEPT OK 10.2.0.7 10.1.0.4 ingress",
        expect=(("peer", "10.2.0.7:51111"), ("local", "10.1.0.4:80"), ("transport", "udp")),
    ),
    Sample(  # the first line of a file
        setup=(("pattern", _CUSTOM),),
        line=_CUSTOM.replace("${", "").replace("}", "").encode(),
        skipped="no_request",
    ),
    Sample(line=_HEAD + b"- - - - - - - 1714557600 1714557655 - NODATA", skipped="no_request"),
    Sample(line=_HEAD + b"- - - - - - - 1714557600 1714557655 - SKIPDATA", rejected="lines_lost"),
    Sample(line=_HEAD + b"203.0.113.7 10.1.0.4 51111 22 6 1 40 1714557600 1714557655 REJECT OK", skipped="no_request"),
    Sample(line=_HEAD + b"203.0.113.7 10.1.0.4 51111 22 6 1 40 1714557600 1714557655 ACCEPT", rejected="no_match"),
)

VPC_FLOW: Final = Format(
    name="vpc_flow",
    title="AWS VPC flow logs, text: candidates only",
    compile=_compile,
    samples=SAMPLES,
    pattern="optional",
    known_patterns=_KNOWN_PATTERNS,
    ask_for="fields of version 3 or later with pkt-srcaddr and pkt-dstaddr, maximum aggregation interval 1 minute",
)
