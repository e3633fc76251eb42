r"""AWS Application Load Balancer access logs.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html

Blank-separated; 18 columns in the oldest lines, over 30 today, and any longer tail is read.  What clients write
(request, user agent, trace header, host) stands in quotes, and a quote inside is written `\x22`.  That escape is not in
the documentation, so a line that shows a second trace header behind the first is refused as having two readings.
Some writers leave the list columns (26, 27) bare.

Peer: `client:port` is the socket, never a header.  The X-Forwarded-For that came in is not logged, nor is the
near end of the connection to the target.

Time: column 2 is the end.  `request_creation_time` (column 22) is the start; it is printed with six digits, of which
the last three are zeros.  Lines without it begin their three durations before the end, if none is -1 and it was no
WebSocket.
"""

from __future__ import annotations

import re
from typing import Final

from clientip.errors import FormatError
from clientip.model import Endpoint, Format, Http, Line, Observation, Reader, Sample, Setup
from clientip.patterns.columns import refuse_part
from clientip.patterns.matcher import decode_text
from clientip.patterns.minting import refuse_minted
from clientip.patterns.request_time import number
from clientip.syntax.addresses import read_endpoint_last_colon
from clientip.syntax.headers import sort_headers
from clientip.syntax.times import MILLISECOND_NS, rfc3339_ns, seconds_ns, spread

# type time elb client target, 3 durations, 2 statuses, 2 byte counts, "request" "user agent", cipher, protocol,
# target group, "trace id", tail.  Every part is possessive: a line fits in one way or not at all.
_LINE: Final = re.compile(
    r"([a-z0-9]{1,16}) ([^ \"]{1,64}) ([^ \"]{1,255}) ([^ \"]{1,64}) ([^ \"]{1,300})"
    r" ([-0-9.]{1,32}) ([-0-9.]{1,32}) ([-0-9.]{1,32}) ([-0-9]{1,4}) ([-0-9]{1,4}) ([-0-9]{1,20}) ([-0-9]{1,20})"
    r' "([^"]*+)" "([^"]*+)" ([^ "]++) ([^ "]++) ([^ "]++) (?:"([^"]*+)"|-)'
    r'((?: (?:"[^"]*+"|[^ "]++))*+)'
)
_COLUMN: Final = re.compile(r' (?:"([^"]*+)"|([^ "]++))')
_ESCAPE: Final = re.compile(r"\\x([0-9A-Fa-f]{2})")
_TRACE: Final = "Root=1-"
_CONNECTION: Final = re.compile(r"TID_[0-9a-zA-Z]{1,64}")

# Columns of the tail, counted from 0 behind column 18.
_DOMAIN: Final = 0
_CREATED: Final = 3
_CONNECTION_FROM: Final = 9
_SESSIONS: Final = ("ws", "wss")  # their end is that of the session, which no duration covers
_TAIL_LIMIT: Final = 100  # columns looked at

_DURATION_ERROR_NS: Final = 3 * MILLISECOND_NS  # three durations, each cut or rounded to a millisecond


def _compile(setup: Setup) -> Reader:
    refuse_minted(setup)

    def read(line: Line) -> Observation:
        refuse_part(line)
        match = _LINE.fullmatch(decode_text(line.text))
        if match is None:
            raise FormatError("no_match")
        if _TRACE in match[19]:
            raise FormatError("two_readings", match.start(19))
        tail = _tail(match[19])
        end = rfc3339_ns(match[2])
        start, latest = _start(end, match, tail, setup.max_skew_ns)
        headers = sort_headers(setup, [("x-amzn-trace-id", _values(match[18]), "all")])
        return Observation(
            setup,
            "request",
            start,
            latest,
            end,
            "own",
            peer=read_endpoint_last_colon(match[4]),
            claims=headers.claims,
            upstream_peer=_target(match[5]),
            ids=headers.ids,
            http=_http(match, tail),
            instance=line.instance,
            connection_serial=_connection(tail),
            proofs=headers.proofs,
            notes=headers.notes,
        )

    return read


def _tail(text: str) -> tuple[tuple[str, bool], ...]:
    """The columns behind the trace id: (text, whether it stood in quotes)."""
    columns: list[tuple[str, bool]] = []
    for match in _COLUMN.finditer(text):
        columns.append((match[2], False) if match[1] is None else (match[1], True))
        if len(columns) == _TAIL_LIMIT:
            break
    return tuple(columns)


def _start(end: int, match: re.Match[str], tail: tuple[tuple[str, bool], ...], skew: int) -> tuple[int | None, int]:
    """Earliest and latest start."""
    if len(tail) > _CREATED and tail[_CREATED][0] != "-":
        return spread(rfc3339_ns(tail[_CREATED][0]), MILLISECOND_NS, skew)
    durations = (match[6], match[7], match[8])
    if match[1] in _SESSIONS or any(text.startswith("-") for text in durations):
        return None, end + skew
    start = end - sum(map(seconds_ns, durations))
    return spread(start - _DURATION_ERROR_NS, 2 * _DURATION_ERROR_NS, skew)


def _target(text: str) -> Endpoint | None:
    return None if text == "-" else read_endpoint_last_colon(text)


def _values(text: str | None) -> tuple[str, ...]:
    return () if text is None or text in ("", "-") else (_unescape(text),)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text) if "\\x" in text else text


def _text(text: str) -> str | None:
    return None if text in ("", "-") else _unescape(text)


def _count(text: str) -> int | None:
    return None if text in ("-", "-1") else number(text)


def _http(match: re.Match[str], tail: tuple[tuple[str, bool], ...]) -> Http:
    method, target, host, protocol = _request(match[13])
    created = tail[_CREATED][0] if len(tail) > _CREATED else "-"
    return Http(
        method,
        target,
        host,
        protocol,
        status=_count(match[9]),
        user_agent=_text(match[14]),
        request_bytes=_count(match[11]),
        response_bytes=_count(match[12]),
        duration_ns=None if created == "-" else max(0, rfc3339_ns(match[2]) - rfc3339_ns(created)),
    )


def _request(text: str) -> tuple[str | None, str | None, str | None, str | None]:
    """Method, path and query, host, protocol.

    The balancer logs `METHOD scheme://host:port/path PROTOCOL`; the path may hold raw blanks.  Of what was no HTTP
    request it writes `- http://host:port- ` or `- http://host:port-/ `.
    """
    method, _, rest = text.partition(" ")
    url, _, protocol = rest.rpartition(" ")
    host, slash, path = url.partition("://")[2].partition("/")
    return _text(method), _text(slash + path), _text(host.removesuffix("-")), _text(protocol)


def _connection(tail: tuple[tuple[str, bool], ...]) -> str | None:
    """`conn_trace_id`: never in quotes, where alone clients could write what looks like one.

    Not the last column, which may have been cut.
    """
    for text, quoted in tail[_CONNECTION_FROM:-1]:
        if not quoted and _CONNECTION.fullmatch(text):
            return text
    return None


_HEAD = b"https 2024-05-01T10:00:02.500000Z app/edge/0123456789abcdef "
_TIMES = b" 0.001 0.050 0.000 200 200 120 4096 "
_REQUEST = b'"GET https://shop.example:443/cart?id=7 HTTP/2.0" "probe/1.0" TLS_AES_128_GCM_SHA256 TLSv1.3 '
_GROUP = b"arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/web/1 "
_TRACE_ID = b'"Self=1-66320a10-00000000aaaaaaaabbbbbbbb;Root=1-66320a10-0123456789abcdef01234567"'
_MORE = b' "shop.example" "-" 3 2024-05-01T10:00:02.449000Z "forward" "-" "-" "10.0.0.7:8080" "200" "-" "-"'

SAMPLES: Final = (
    Sample(
        line=_HEAD
        + b"203.0.113.7:51111 10.0.0.7:8080"
        + _TIMES
        + _REQUEST
        + _GROUP
        + _TRACE_ID
        + _MORE
        + b' TID_0123456789abcdef0123456789abcdef "-" "-" "-"',
        expect=(
            ("kind", "request"),
            ("peer", "203.0.113.7:51111"),
            ("upstream_peer", "10.0.0.7:8080"),
            ("start_ns", 1714557602449000000),
            ("start_latest_ns", 1714557602449999999),
            ("end_ns", 1714557602500000000),
            ("ids.trace", "66320a100123456789abcdef01234567"),
            ("ids.scheme", "xray"),
            ("connection_serial", "TID_0123456789abcdef0123456789abcdef"),
            ("http.method", "GET"),
            ("http.host", "shop.example:443"),
            ("http.target", "/cart?id=7"),
            ("http.status", 200),
            ("http.duration_ns", 51000000),
        ),
    ),
    Sample(  # the oldest form ends at column 18; IPv6 without brackets
        line=_HEAD + b"2001:db8::7:51111 2001:db8:1::5:8080" + _TIMES + _REQUEST + _GROUP + _TRACE_ID,
        expect=(
            ("peer", "[2001:db8::7]:51111"),
            ("upstream_peer", "[2001:db8:1::5]:8080"),
            ("start_ns", 1714557602446000000),
            ("connection_serial", None),
        ),
    ),
    Sample(  # no target reached, and no HTTP request: sentinels everywhere
        line=_HEAD
        + b"[2001:db8::7]:51111 - -1 -1 -1 400 - 0 272 "
        + b'"- http://edge.example:80- " "-" - - - "-" "-" "-" - 2024-05-01T10:00:02.449000Z "-" "-" "-" "-" "-"',
        expect=(
            ("peer", "[2001:db8::7]:51111"),
            ("upstream_peer", None),
            ("ids", None),
            ("http.method", None),
            ("http.target", None),
            ("http.host", "edge.example:80"),
            ("http.status", 400),
        ),
    ),
    Sample(line=_HEAD + b'203.0.113.7:51111 - -1 -1 -1 400 - 0 2 "GET /" HTTP/1.1" "-" - - - "-"', rejected="no_match"),
    Sample(line=_HEAD + b'client.example:80 - -1 -1 -1 400 - 0 2 "-" "-" - - - "-"', rejected="address"),
)

ALB: Final = Format(
    name="aws_alb",
    title="AWS Application Load Balancer, access log",
    compile=_compile,
    samples=SAMPLES,
    ids=(("column 18, X-Amzn-Trace-Id", "continued"),),
    ask_for="Turn access logs on (attribute access_logs.s3.enabled); their columns are fixed.",
)
