"""The lines of `clientip collect conntrack`: NAT events with running numbers, so that a lost one is noticed.

    {"n":17,"session":"<boot id>-<start>","at":<ns>,"event":"NEW","proto":"tcp","id":123,"start":<ns>,
     "orig":["203.0.113.10",40001,"198.51.100.11",30080],"reply":["10.244.2.5",8080,"198.51.100.11",50691]}
    {"n":18,"session":"<boot id>-<start>","at":<ns>,"mark":true,"stamps":"kernel"}

`orig` and `reply` are source, port, destination, port as the kernel has them; the ports of protocols without are null.
EVENT is NEW, DESTROY (the whole flow, with `end` and `assured`) or LIST (it was there when the collector began, or
after a loss).  A flow whose start has no stamp has `seen`: it had begun by then.  `zone` stands where it is not 0.

`n` rises by one in a session, and `at` never falls: everything up to `at` has a number up to this one.  After a loss
`n` jumps and the line has `gap`.  A mark says nothing else.

Stamps are the kernel's nanoseconds.  Where the kernel gives none they are of reading, and `since` says when all before
had been read: the event happened in between.  An ended flow has `start_since`, too.  `read` is when a line was read
whose stamps do not say it.  Older collectors wrote no `since`, and marks with `"stamps":"user"` without `read`: those
lines trail by an amount that only the operator can bound (`stamped_within`).

`connection_serial` is `<proto>/<id>/<EVENT>`, or `<proto>/<id>@<zone>/<EVENT>` in another zone than 0.  Anything that
is not exactly of this shape is refused.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeGuard

from clientip.errors import FormatError
from clientip.model import Endpoint, Format, Heartbeat, Line, Numbered, Observation, Reader, Sample, Setup
from clientip.syntax.addresses import parse_address
from clientip.syntax.jsonlines import read_object
from clientip.syntax.times import spread

_SESSION: Final = re.compile(r"[0-9a-f-]{1,80}")
_PROTOCOL: Final = re.compile(r"[a-z][a-z0-9-]{0,15}|[1-9][0-9]{0,2}")
_HEAD: Final = frozenset({"n", "session", "at"})
_MARK_KEYS: Final = _HEAD | {"mark", "stamps", "gap", "read"}
_EVENT_KEYS: Final = _HEAD | {
    *("gap", "event", "proto", "id", "start", "seen", "end", "assured", "zone", "orig", "reply"),
    *("since", "start_since", "read"),
}
_EVENTS: Final = frozenset({"NEW", "DESTROY", "LIST"})
_STAMPS: Final = frozenset({"kernel", "user"})
_MAX_NUMBER: Final = 2**63 - 1
GRACE_NS: Final = 100_000_000  # by which the collector keeps `at` behind the stamps; part of the format


def _compile(setup: Setup) -> Reader:
    def read(line: Line) -> Observation | Heartbeat:
        fields = read_object(line.text)
        numbered = Numbered(
            _text(fields, "session", _SESSION),
            _number(fields, "n", 1, _MAX_NUMBER),
            _moment(fields, "at") - setup.max_skew_ns - (0 if _is_bounded(fields) else setup.stamped_within_ns or 0),
            _since(fields) + setup.max_skew_ns,
            _flag(fields, "gap") is True,
        )
        if "mark" not in fields:
            return _event(setup, line, fields, numbered)
        stamps = fields.get("stamps")
        if not fields.keys() <= _MARK_KEYS or fields["mark"] is not True or not _is_one_of(stamps, _STAMPS):
            raise FormatError("no_match")
        if stamps == "user" and not _is_bounded(fields) and setup.stamped_within_ns is None:
            raise FormatError("stamps_unbounded")
        return Heartbeat(line, setup, numbered)

    return read


def _is_bounded(fields: dict[str, Any]) -> bool:
    """Whether the line itself says since when its event can have happened, or when it was read."""
    return "since" in fields or "read" in fields


def _since(fields: dict[str, Any]) -> int:
    """From when on this line's session holds everything with a number of at least this one.

    A session and a stretch after a loss begin with a list, so from `at` on.  Any other line was stamped up to
    one grace after its `at`, and what was numbered before it up to one more; or it was all read before this line was.
    """
    at = _moment(fields, "at")
    if fields.get("n") == 1 or fields.get("gap") is True:
        return at
    read = [_moment(fields, key) for key in ("read", "seen") if key in fields]
    if "since" in fields and "read" not in fields:
        read.append(_moment(fields, "end" if "end" in fields else "start"))
    return min(max(at + 2 * GRACE_NS, *read, at), _MAX_NUMBER)


def _event(setup: Setup, line: Line, fields: dict[str, Any], numbered: Numbered) -> Observation:
    event = fields.get("event")
    if not fields.keys() <= _EVENT_KEYS or not _is_one_of(event, _EVENTS):
        raise FormatError("no_match")
    start_ns, latest_ns, end_ns, end_slack = _interval(fields, event, setup)
    protocol = _text(fields, "proto", _PROTOCOL)
    number = str(_number(fields, "id", 0, 2**32 - 1))
    if "zone" in fields:
        number += f"@{_number(fields, 'zone', 1, 65535)}"
    source, destination = _ends(fields, "orig")
    upstream_peer, upstream_local = _ends(fields, "reply")
    return Observation(
        setup,
        "translation",
        start_ns,
        latest_ns,
        end_ns,
        "own",
        peer=source,
        local=destination,
        upstream_local=upstream_local,
        upstream_peer=upstream_peer,
        instance=line.instance,
        connection_serial=f"{protocol}/{number}/{event}",
        extendable=True,
        transport=protocol,
        assured=_flag(fields, "assured"),
        numbered=numbered,
        end_slack_ns=end_slack,
    )


def _interval(
    fields: dict[str, Any], event: str, setup: Setup
) -> tuple[int | None, int | None, int | None, int | None]:
    """(earliest start, latest start, end, how far the end may be off; None: as far as the start)."""
    skew, end = setup.max_skew_ns, _moment(fields, "end") if "end" in fields else None
    if (end is None) == (event == "DESTROY"):
        raise FormatError("time")
    begun = end  # whatever ended had begun
    over, slack = (None, None) if end is None else _middle(_earliest(fields, "since", end, setup), end, skew)
    if "start" in fields:
        start = _moment(fields, "start")
        if "seen" in fields or (end is not None and end < start):
            raise FormatError("time")
        earliest = _earliest(fields, "since" if event == "NEW" else "start_since", start, setup)
        return spread(earliest, 1, skew)[0], spread(start, 1, skew)[1], over, slack
    if event == "NEW":
        raise FormatError("field_missing")
    if "seen" in fields:
        begun = _moment(fields, "seen")
    return None, None if begun is None else spread(begun, 1, skew)[1], over, slack


def _earliest(fields: dict[str, Any], key: str, stamp: int, setup: Setup) -> int:
    """The earliest moment a stamp can mean: its own line says so, else the operator; a kernel's stamp is exact."""
    if key in fields:
        since = _moment(fields, key)
        if since > stamp:
            raise FormatError("time")
        return since
    return stamp if _is_bounded(fields) else max(stamp - (setup.stamped_within_ns or 0), 1)


def _middle(earliest: int, latest: int, skew: int) -> tuple[int, int | None]:
    """The middle of an interval, and how far its ends are from there; the stamp alone if it is exact."""
    if earliest == latest:
        return latest, None
    middle = (earliest + latest) // 2
    return middle, latest - middle + skew


def _is_one_of(value: object, words: frozenset[str]) -> TypeGuard[str]:
    return type(value) is str and value in words


def _text(fields: dict[str, Any], key: str, shape: re.Pattern[str]) -> str:
    value = fields.get(key)
    if value is None:
        raise FormatError("field_missing")
    if type(value) is not str or not shape.fullmatch(value):
        raise FormatError("no_match")
    return value


def _number(fields: dict[str, Any], key: str, least: int, most: int) -> int:
    value = fields.get(key)
    if value is None:
        raise FormatError("field_missing")
    if type(value) is not int or not least <= value <= most:
        raise FormatError("number")
    return value


def _moment(fields: dict[str, Any], key: str) -> int:
    value = fields.get(key)
    if value is None:
        raise FormatError("field_missing")
    if type(value) is not int or not 0 < value <= _MAX_NUMBER:
        raise FormatError("time")
    return value


def _flag(fields: dict[str, Any], key: str) -> bool | None:
    if key not in fields:
        return None
    value = fields[key]
    if type(value) is not bool:
        raise FormatError("no_match")
    return value


def _ends(fields: dict[str, Any], key: str) -> tuple[Endpoint, Endpoint]:
    value = fields.get(key)
    if value is None:
        raise FormatError("field_missing")
    if type(value) is not list or len(value) != 4:
        raise FormatError("no_match")
    return _endpoint(value[0], value[1]), _endpoint(value[2], value[3])


def _endpoint(address: object, port: object) -> Endpoint:
    if type(address) is not str:
        raise FormatError("address")
    if port is not None and (type(port) is not int or not 0 <= port <= 65535):
        raise FormatError("port")
    return Endpoint(parse_address(address), port or None)  # 0 stands for no port, here as in every noun


_HEAD_TEXT: Final = (
    b'{"n":17,"session":"8f1c2d34-5e6f-4a1b-9c0d-7e8f9a0b1c2d-18eb4f7a3c5d6e7f","at":1714557600000000000,%b'
    b'"event":"%b","proto":"%b","id":3109841302,'
)
_ENDS_TEXT: Final = (
    b'"orig":["203.0.113.10",40001,"198.51.100.11",30080],"reply":["10.244.2.5",8080,"198.51.100.11",50691]}'
)

SAMPLES: Final = (
    Sample(
        line=_HEAD_TEXT % (b"", b"NEW", b"tcp") + b'"start":1714557600123456789,' + _ENDS_TEXT,
        setup=(("max_skew_ns", 1000),),
        expect=(
            ("kind", "translation"),
            ("peer", "203.0.113.10:40001"),
            ("local", "198.51.100.11:30080"),
            ("upstream_local", "198.51.100.11:50691"),
            ("upstream_peer", "10.244.2.5:8080"),
            ("connection_serial", "tcp/3109841302/NEW"),
            ("transport", "tcp"),
            ("assured", None),
            ("start_ns", 1714557600123455789),
            ("start_latest_ns", 1714557600123457789),
            ("end_ns", None),
            ("numbered.session", "8f1c2d34-5e6f-4a1b-9c0d-7e8f9a0b1c2d-18eb4f7a3c5d6e7f"),
            ("numbered.number", 17),
            ("numbered.at_ns", 1714557599999999000),
            ("numbered.gap", False),
            ("extendable", True),
        ),
    ),
    Sample(  # the whole flow
        line=_HEAD_TEXT % (b"", b"DESTROY", b"tcp")
        + b'"start":1714557600123456789,"end":1714557603000000001,"assured":true,'
        + _ENDS_TEXT,
        expect=(
            ("connection_serial", "tcp/3109841302/DESTROY"),
            ("start_ns", 1714557600123456789),
            ("start_latest_ns", 1714557600123456789),
            ("end_ns", 1714557603000000001),
            ("assured", True),
        ),
    ),
    Sample(  # first line after a loss: it was there, and its start has no stamp
        line=_HEAD_TEXT % (b'"gap":true,', b"LIST", b"udp") + b'"seen":1714557600000000009,"zone":7,' + _ENDS_TEXT,
        expect=(
            ("connection_serial", "udp/3109841302@7/LIST"),
            ("start_ns", None),
            ("start_latest_ns", 1714557600000000009),
            ("numbered.gap", True),
        ),
    ),
    Sample(  # no ports
        line=_HEAD_TEXT
        % (b"", b"NEW", b"icmpv6")
        + b'"start":1714557600123456789,"orig":["2001:db8:1::10",null,"2001:db8:2::5",null],'
        b'"reply":["2001:db8:2::5",null,"2001:db8:2::1",null]}',
        expect=(("peer", "2001:db8:1::10"), ("upstream_local", "2001:db8:2::1")),
    ),
    Sample(  # a new flow has a start
        line=_HEAD_TEXT % (b"", b"NEW", b"tcp") + _ENDS_TEXT, rejected="field_missing"
    ),
    Sample(  # an end before its start
        line=_HEAD_TEXT % (b"", b"DESTROY", b"tcp") + b'"start":2,"end":1,"assured":true,' + _ENDS_TEXT,
        rejected="time",
    ),
    Sample(  # read by a kernel that does not stamp: both ends happened between two looks at the socket
        line=_HEAD_TEXT
        % (b"", b"DESTROY", b"tcp")
        + b'"start":1714557600200000000,"start_since":1714557600190000000,"end":1714557603000000000,'
        b'"since":1714557602990000000,"assured":true,' + _ENDS_TEXT,
        setup=(("max_skew_ns", 1000),),
        expect=(
            ("start_ns", 1714557600189999000),
            ("start_latest_ns", 1714557600200001000),
            ("end_ns", 1714557602995000000),
            ("end_slack_ns", 5001000),
        ),
    ),
    Sample(line=b'{"n":1,"session":"8f","at":1,"mark":false,"stamps":"kernel"}', rejected="no_match"),
    Sample(line=b'{"n":1,"session":"8f","at":1,"mark":true,"stamps":"user"}', rejected="stamps_unbounded"),
)

CONNTRACK_JSON: Final = Format(
    name="conntrack_json",
    title="NAT events of `clientip collect conntrack`",
    compile=_compile,
    samples=SAMPLES,
    connections="",
    writes=frozenset({"begins"}),
    ask_for="clientip collect conntrack -o FILE on every node that does NAT, with net.netfilter.nf_conntrack_events=1 "
    "and net.netfilter.nf_conntrack_timestamp=1",
)
