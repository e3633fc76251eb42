"""Linux connection tracking: what NAT did. `conntrack -E` text, and ulogd2's JSON.

What the flow of a line tells, and how the two tuples are turned, is said in `conntrack_flow`.  Source NAT shows in
the far hop's peer, destination NAT in its own address.  Where neither happened the four are two.  What has no ports
(ICMP, GRE) has endpoints without.

Time: NEW is the start of the flow, DESTROY its end; UPDATE and LIST say only that it had begun.  `-o timestamp` is the
moment of printing: `stamped_within` bounds how far it trails.  `-o ktimestamp` brings start and stop in one line, but
in local time: they count only if `timezone` is set.  ulogd brings both, by its own clock as far as a line shows.

ulogd does not say whether a flow was assured.

https://conntrack-tools.netfilter.org/  https://www.netfilter.org/projects/ulogd/
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any, Final

from clientip.errors import FormatError
from clientip.formats.conntrack.flow import UNKNOWN, Ends, NatFlow, Stamp, assured_of, endpoint, translation
from clientip.model import Endpoint, Format, Line, Observation, Reader, Sample, Setup, Skipped
from clientip.patterns.columns import refuse_part
from clientip.syntax.jsonlines import extendable, int_of, read_object, text_of
from clientip.syntax.times import MICROSECOND_NS, SECOND_NS, epoch_ns, local_ns
from clientip.syntax.transports import PROTOCOLS

# [stamp] [EVENT] [ipv4 2] proto number [timeout] [STATE]; what follows are words.
_HEAD: Final = re.compile(
    r"\s{0,16}(?:\[([0-9]{8,10}\.[0-9]{6})\]\s{1,16})?"
    r"(?:\[(NEW|UPDATE|DESTROY)\] )?"
    r"(?:ipv[46]\s{1,8}[0-9]{1,3} )?([a-z][a-z0-9-]{0,15})\s{1,8}([0-9]{1,3}) "
    r"(?:[0-9]{1,10} )?(?:[A-Z_0-9]{1,16} )?"
)
# key=value, [FLAG], or the kernel's stamps, `[start=Wed May  1 10:00:00 2024]`.
_WORD: Final = re.compile(
    r"(?:\[?(start|stop)=[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ 0-3][0-9]) ([0-9:]{8}) ([0-9]{4})\]?"
    r"|([a-z-]{1,16})=(\S{0,128})|\[([A-Z_]{1,16})\])(?:\s{1,4}|$)"
)
_WORD_LIMIT: Final = 64  # words of a line; a full one has about thirty
_BANNER: Final = re.compile(r"conntrack v[0-9.]{1,16} \(conntrack-tools\):.*")

_ICMP: Final = ("icmp", "icmpv6")
_EVENTS: Final = MappingProxyType({1: "NEW", 2: "UPDATE", 4: "DESTROY"})

Words = list[tuple[str, str]]


def _compile_text(setup: Setup) -> Reader:
    def read(line: Line) -> Observation | Skipped:
        refuse_part(line)
        text = line.text.decode("ascii", "replace")
        head = _HEAD.match(text)
        if head is None:
            if _BANNER.fullmatch(text):
                return Skipped(line, "no_request")
            raise FormatError("no_match", 0)
        words, flags = _words(text, head.end(), setup.timezone)
        seconds = [index for index, (key, _) in enumerate(words) if key == "src"]
        if len(seconds) != 2:
            raise FormatError("no_match", head.end())
        original, reply = words[: seconds[1]], words[seconds[1] :]
        event, protocol = head[2] or "LIST", head[4] if head[3] == UNKNOWN else head[3]
        start, end, seen = _text_stamps(head[1], event, reply)
        return translation(
            setup,
            line,
            NatFlow(
                protocol,
                _entry_id(reply, protocol),
                event,
                _ends(dict(original)),
                _ends(_first(reply)),
                start,
                end,
                seen,
                assured_of(event, flags),
            ),
        )

    return read


def _words(text: str, start: int, zone: str | None) -> tuple[Words, set[str]]:
    """The words with a value, in order, and the flags.

    `start` and `stop` are ns, and left out where the zone is not known.
    """
    words: Words = []
    flags: set[str] = set()
    for _ in range(_WORD_LIMIT):
        if start == len(text):
            return words, flags
        match = _WORD.match(text, start)
        if match is None:
            break
        if match[6] in ("start", "stop"):  # the kernel's stamps stand in brackets; these are somebody's
            raise FormatError("time", start)
        if match[6] is not None:
            words.append((match[6], match[7]))
        elif match[8] is not None:
            flags.add(match[8].lower())
        elif zone is not None:
            stamp = f"{match[3].replace(' ', '0')}/{match[2]}/{match[5]}:{match[4]}"
            earliest, latest = local_ns(stamp, "haproxy", zone)
            words.append((match[1], f"{earliest} {latest}"))
        start = match.end()
    raise FormatError("no_match", start)


def _first(words: Words) -> dict[str, str]:
    """The first value of every key: behind the reply tuple ICMP's `id` comes again as the entry's."""
    return dict(reversed(words))


def _ends(fields: dict[str, str]) -> Ends:
    source, destination = fields.get("src"), fields.get("dst")
    if source is None or destination is None:
        raise FormatError("field_missing")
    return Ends(endpoint(source, fields.get("sport")), endpoint(destination, fields.get("dport")))


def _entry_id(reply: Words, protocol: str) -> str | None:
    ids = [value for key, value in reply if key == "id"]
    if protocol in _ICMP:
        del ids[:1]
    return ids[0] if ids else None


def _text_stamps(receipt: str | None, event: str, reply: Words) -> tuple[Stamp | None, Stamp | None, Stamp | None]:
    """(start, end, seen): the kernel's own, else the receipt of the event that means it."""
    kernel = {key: _kernel_stamp(value) for key, value in reply if key in ("start", "stop")}
    seen = None
    if receipt is not None:
        moment = epoch_ns(receipt)
        seen = Stamp(moment, moment, MICROSECOND_NS, is_receipt=True)
    start = kernel.get("start") or (seen if event == "NEW" else None)
    end = kernel.get("stop") or (seen if event == "DESTROY" else None)
    return start, end, seen


def _kernel_stamp(text: str) -> Stamp:
    earliest, _, latest = text.partition(" ")
    return Stamp(int(earliest), int(latest), SECOND_NS)


def _compile_ulogd(setup: Setup) -> Reader:
    def read(line: Line) -> Observation | Skipped:
        fields = read_object(line.text)
        if "reply.ip.saddr.str" not in fields and "reply.ip.saddr" not in fields:
            return Skipped(line, "no_request")  # the same daemon writes packets it logged, too
        protocol, event = int_of(fields, "orig.ip.protocol"), int_of(fields, "ct.event")
        flow = NatFlow(
            None if protocol is None else PROTOCOLS.get(protocol, str(protocol)),
            _json_id(fields),
            # Without `ct.event` (hash_enable=1) a flow is written once, when it ends.
            "DESTROY" if event is None else _EVENTS.get(event, str(event)),
            _json_ends(fields, "orig"),
            _json_ends(fields, "reply"),
            _json_stamp(fields, "start"),
            _json_stamp(fields, "end"),
        )
        return translation(setup, line, flow, is_extendable=extendable(line.text, fields))

    return read


# The JSON output may write the names of Splunk's information model, which has none for the reply.
_CIM: Final = MappingProxyType({"orig.saddr": "src_ip", "orig.daddr": "dest_ip"})


def _json_ends(fields: dict[str, Any], side: str) -> Ends:
    return Ends(*(_json_endpoint(fields, side, end) for end in ("s", "d")))


def _json_endpoint(fields: dict[str, Any], side: str, end: str) -> Endpoint:
    """One end: IP2STR writes `.str`; without it addresses are numbers in the machine's order, and refused."""
    keys = (f"{side}.ip.{end}addr.str", _CIM.get(f"{side}.{end}addr", ""), f"{side}.ip.{end}addr")
    text = next((found for key in keys if (found := text_of(fields, key)) is not None), None)
    if text is None:
        raise FormatError("field_missing")
    port = int_of(fields, f"{side}.l4.{end}port")
    return endpoint(text, None if port is None else str(port))


def _json_id(fields: dict[str, Any]) -> str | None:
    number = int_of(fields, "ct.id")
    return None if number is None else str(number)


def _json_stamp(fields: dict[str, Any], word: str) -> Stamp | None:
    seconds, micros = int_of(fields, f"flow.{word}.sec"), int_of(fields, f"flow.{word}.usec")
    if not seconds:  # 0: not reached yet
        return None
    if micros is None:
        moment = epoch_ns(str(seconds))
        return Stamp(moment, moment, SECOND_NS, is_receipt=True)
    if not 0 <= micros < 1_000_000:
        raise FormatError("time")
    moment = epoch_ns(str(seconds)) + micros * MICROSECOND_NS
    return Stamp(moment, moment, MICROSECOND_NS, is_receipt=True)


_FLOW: Final = (
    b"src=203.0.113.7 dst=198.51.100.10 sport=51111 dport=443 %b"
    b"src=10.244.1.5 dst=10.1.0.4 sport=8443 dport=51111 %bmark=0 zone=0 use=1 id=3668417984"
)

CONNTRACK_SAMPLES: Final = (
    Sample(
        setup=(("stamped_within_ns", 1_000_000),),
        line=b"[1714557600.123456]\t    [NEW] ipv4     2 tcp      6 120 SYN_SENT " + _FLOW % (b"[UNREPLIED] ", b""),
        expect=(
            ("kind", "translation"),
            ("peer", "203.0.113.7:51111"),
            ("local", "198.51.100.10:443"),
            ("upstream_local", "10.1.0.4:51111"),
            ("upstream_peer", "10.244.1.5:8443"),
            ("connection_serial", "tcp/3668417984/NEW"),
            ("transport", "tcp"),
            ("assured", None),
            ("start_ns", 1714557600122456000),
            ("start_latest_ns", 1714557600123456999),
            ("end_ns", None),
        ),
    ),
    Sample(  # with counters; no state, no timeout; nobody says how long after the end it was printed
        line=b"[1714557660.000001]\t[DESTROY] tcp      6 "
        + _FLOW % (b"packets=5 bytes=400 ", b"packets=4 bytes=900 [ASSURED] [HW_OFFLOAD] "),
        expect=(
            ("connection_serial", "tcp/3668417984/DESTROY"),
            ("assured", True),
            ("start_ns", None),
            ("start_latest_ns", 1714557660000001999),
            ("end_ns", None),
        ),
    ),
    Sample(  # the kernel's stamps, in local time: the line tells the whole flow
        line=b"[DESTROY] tcp      6 "
        + _FLOW % (b"", b"")
        + b" [start=Wed May  1 10:00:00 2024] [stop=Wed May  1 10:01:00 2024]",
        expect=(
            ("start_ns", 1714557600000000000),
            ("start_latest_ns", 1714557600999999999),
            ("end_ns", 1714557660000000000),
            ("assured", None),
        ),
    ),
    Sample(  # another zone; deleted by a command
        line=b"[DESTROY] ipv4     2 udp      17 1 src=10.0.0.2 dst=10.0.0.3 sport=1000 dport=53 packets=1 bytes=30 "
        b"[UNREPLIED] src=10.0.0.3 dst=10.0.0.1 sport=53 dport=2000 packets=0 bytes=0 zone=7 delta-time=0 id=5 "
        b"[USERSPACE] portid=3625357468 progname=conntrack",
        expect=(("connection_serial", "udp/5/DESTROY"), ("transport", "udp"), ("assured", False)),
    ),
    Sample(  # `id` of the echo, and of the entry
        line=b"    [NEW] icmp     1 30 src=10.0.0.2 dst=203.0.113.9 type=8 code=0 id=77 [UNREPLIED] "
        b"src=203.0.113.9 dst=198.51.100.1 type=0 code=0 id=77 id=12",
        expect=(
            ("peer", "10.0.0.2"),
            ("upstream_local", "198.51.100.1"),
            ("connection_serial", "icmp/12/NEW"),
            ("transport", "icmp"),
            ("time_by", None),
        ),
    ),
    Sample(line=b"conntrack v1.4.8 (conntrack-tools): 12 flow entries have been shown.", skipped="no_request"),
    Sample(line=b"    [NEW] tcp      6 120 SYN_SENT src=10.0.0.2 dst=10.0.0.3 sport=1 dport=2", rejected="no_match"),
)

CONNTRACK: Final = Format(
    name="conntrack",
    title="Linux conntrack events, text",
    compile=_compile_text,
    samples=CONNTRACK_SAMPLES,
    connections="",
    writes=frozenset({"begins", "receipts"}),
    ask_for="conntrack -E -e NEW,DESTROY --any-nat -o timestamp,ktimestamp,id,extended -b 8388608",
)

_ULOGD: Final = (
    b'{"orig.ip.saddr.str":"203.0.113.7","orig.ip.daddr.str":"198.51.100.10","orig.ip.protocol":6,"orig.l4.sport":51111,'
    b'"orig.l4.dport":443,"reply.ip.saddr.str":"10.244.1.5","reply.ip.daddr.str":"10.1.0.4","reply.l4.sport":8443,'
    b'"reply.l4.dport":51111,"ct.id":3668417984,"ct.event":%b,"flow.start.sec":1714557600,"flow.start.usec":5%b}'
)

ULOGD_SAMPLES: Final = (
    Sample(
        setup=(("stamped_within_ns", 0),),
        line=_ULOGD % (b"4", b',"flow.end.sec":1714557660,"flow.end.usec":7'),
        expect=(
            ("kind", "translation"),
            ("peer", "203.0.113.7:51111"),
            ("local", "198.51.100.10:443"),
            ("upstream_local", "10.1.0.4:51111"),
            ("upstream_peer", "10.244.1.5:8443"),
            ("connection_serial", "tcp/3668417984/DESTROY"),
            ("start_ns", 1714557600000005000),
            ("end_ns", 1714557660000007499),
            ("end_slack_ns", 500),
            ("transport", "tcp"),
            ("assured", None),
            ("extendable", True),
        ),
    ),
    Sample(line=_ULOGD % (b"1", b""), expect=(("connection_serial", "tcp/3668417984/NEW"), ("end_ns", None))),
    Sample(line=b'{"src_ip":"203.0.113.7","dest_ip":"198.51.100.10","oob.prefix":"drop"}', skipped="no_request"),
    Sample(line=b'{"orig.ip.saddr":117966026,"reply.ip.saddr":1}', rejected="address"),
)

ULOGD_JSON: Final = Format(
    name="ulogd_json",
    title="ulogd2 flows (NFCT, IP2STR, JSON)",
    compile=_compile_ulogd,
    samples=ULOGD_SAMPLES,
    connections="",
    writes=frozenset({"begins", "receipts"}),
    ask_for="stack=ct1:NFCT,ip2str1:IP2STR,json1:JSON with event_mask=0x5 (NEW and DESTROY) and hash_enable=0",
)
