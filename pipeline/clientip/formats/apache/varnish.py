"""Varnish, as varnishncsa writes it: the default format and any other for client requests.

https://varnish-cache.org/docs/trunk/reference/varnishncsa.html

The notation is Apache's.  `%h` and `%{VSL:ReqStart[1]}x` are `client.ip`: the socket, or the PROXY source where
the listener speaks PROXY (`logs_peer`).  `%{X-Forwarded-For}i` shows the header after Varnish added the client to
it.  A request that is restarted, or that includes others, is several lines.
In backend mode (`-b`) `%h` is the backend, so such a log must not be read as this format.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from clientip.errors import ConfigError, Fault
from clientip.formats.apache.logformat import compile_access
from clientip.formats.apache.pattern import Directive, trusted, unescape
from clientip.model import Format, Line, Observation, Reader, Sample, Setup
from clientip.patterns.columns import compile_columns
from clientip.patterns.matcher import refuse
from clientip.patterns.minting import Advice, require_minted
from clientip.patterns.roles import Manner, Role, index_of

_ADDRESS: Final = "[0-9A-Fa-f:.-]"
_DIGITS: Final = "[0-9-]"

_DIRECTIVES: Final[Mapping[str, Directive]] = MappingProxyType(
    {
        "{VSL:ReqStart[1]}x": trusted("logged.ip", _ADDRESS),
        "{VSL:ReqStart[2]}x": trusted("logged.port", _DIGITS),
        "{VSL:Proxy[2]}x": trusted("proxied.ip", _ADDRESS),
        "{VSL:Proxy[3]}x": trusted("proxied.port", _DIGITS),
        "{Varnish:vxid}x": trusted("request_id", _DIGITS, name="varnish"),
        "{Varnish:hitmiss}x": Directive(None, "[a-z-]"),
        "{Varnish:handling}x": Directive(None, "[a-z-]"),
        "{Varnish:side}x": Directive(None, "[bc-]"),
        "{Varnish:time_firstbyte}x": Directive(None, "[0-9.-]"),
        "{X-Forwarded-For}i": Directive(Role("header", "appended", "x-forwarded-for"), weight="claim"),
        "{User-agent}i": Directive(Role("user_agent")),
    }
)


def compile_varnish(setup: Setup) -> Reader:
    """The reader of a system's `pattern`; ConfigError for keys `pattern`, `logs_peer`."""
    pattern = dict(_KNOWN_PATTERNS).get(setup.pattern or "default", setup.pattern or "")
    if "VSL:Backend" in pattern or "VSL:Bereq" in pattern:
        raise refuse(
            "the pattern is for varnishncsa -b, which logs the backend as the client; log without -b (or with -c)"
        )
    _, roles, values_of, closed = compile_access(setup, pattern, _DIRECTIVES)
    if setup.logs_peer is None and index_of(roles, "logged.ip") is not None:
        text = 'write "proxy" if the listener speaks PROXY (-a …,PROXY), else "socket"'
        raise ConfigError([Fault("", "logs_peer", f"%h may be the socket or the PROXY source: {text}")])
    roles = [None if role is None else role._replace(sent=False) for role in roles]
    require_minted(setup, roles, Advice())
    observe = compile_columns(setup, roles, Manner(unescape=unescape, closed=closed))

    def read(line: Line) -> Observation:
        return observe(line, values_of(line.text))

    return read


_KNOWN_PATTERNS: Final = (
    ("default", '%h %l %u %t "%r" %s %b "%{Referer}i" "%{User-agent}i"'),
    (
        "hop",
        '%{VSL:ReqStart[1]}x:%{VSL:ReqStart[2]}x %{Varnish:vxid}x %t "%r" %s %b %D "%{X-Forwarded-For}i" '
        '"%{Forwarded}i" "%{traceparent}i" "%{User-agent}i"',
    ),
)

SAMPLES: Final = (
    Sample(
        line=b'2001:db8::7 - - [02/Mar/2026:09:20:30 +0000] "GET http://www.example.com/a HTTP/1.1" 200 3 "-" "x"',
        expect=(
            ("peer", "2001:db8::7"),
            ("start_ns", 1772443230_000_000_000),
            ("http.target", "http://www.example.com/a"),
        ),
    ),
    Sample(  # the last entry is Varnish's own
        setup=(("pattern", "hop"), ("logs_peer", "proxy")),
        line=b'203.0.113.7:50112 32770 [02/Mar/2026:09:20:30 +0000] "GET http://h/ HTTP/1.1" 200 3 1500 '
        b'"192.0.2.6, 203.0.113.7" "-" "-" "x \\"y\\""',
        expect=(
            ("peer", None),
            ("stated", "203.0.113.7:50112"),
            ("claims.x-forwarded-for", "192.0.2.6, 203.0.113.7"),
            ("claims.x-forwarded-for.coverage", "appended"),
            ("ids.requests.varnish", "32770"),
            ("end_ns", 1772443230_001_500_000),
            ("http.user_agent", 'x "y"'),
        ),
    ),
    Sample(line=b'203.0.113.7 - - [02/Mar/2026:09:20:30 +0000] "GET / HTTP/1.1" 200 3 "-" x"', rejected="no_match"),
)

VARNISH: Final = Format(
    name="varnish",
    title="Varnish (varnishncsa): client requests in any format",
    compile=compile_varnish,
    samples=SAMPLES,
    logs_peer=("socket", "proxy"),
    pattern="optional",
    known_patterns=_KNOWN_PATTERNS,
    ids=(("%{NAME}i", "received"), ("%{Varnish:vxid}x", "own")),
    ask_for=f"varnishncsa -F '{dict(_KNOWN_PATTERNS)['hop']}'",
)
