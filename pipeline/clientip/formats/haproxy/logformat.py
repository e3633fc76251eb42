"""HAProxy: option tcplog, httplog, httpslog, clf, any `log-format`, the lines of a server without log options, errors.

https://docs.haproxy.org/dev/configuration.html#8

Peer: `%ci:%cp` is the socket, or what PROXY (`accept-proxy`) or a `set-src` rule put in its place: `logs_peer`
says which.  After `set-src` the port is still the balancer's, so a `realip` statement has none.  Under
`accept-proxy` the line's destination is the original one too, so it tells no near end.  A line that says the PROXY
header could not be read shows the balancer itself: it is a connection, and its address a socket.

Time: `%t` and `%tr` are local, without a zone: `timezone` is needed.  Both are starts; `%tr` is the request's.

Further tries: `%rc` above 0 says that the request was sent on more than once, and only the last connection is shown.
Under `retries = false` all tries before were of connections that failed, so no other server read the request.

Captured headers: `captures` names them in the order of their `capture` lines; of a repeated header only the last
line is captured.  Option `capture_length.<header>` is the `len` of that capture: a value that reaches it is cut.  For
a header that some system conveys it is required: HAProxy keeps the first `len` bytes, so without it whoever makes the
header long would choose where its trusted right end is cut off.
Option `var.<name>` = header says which header a `%[var(<name>)]` holds.

httpslog ends in the server name of TLS as the client wrote it, line breaks and all: whole lines of his own.  So it is
read only under option `line_breaks` = escaped, the operator's word that what brings the lines escapes them (rsyslog
writes `#012`); log `httpslog-encoded` instead, and any expression of such text with `,url_enc` or `,json(utf8s)`.

Without `pattern`, lines of httplog and tcplog are read side by side, and under that option those of httpslog.  A line
cut at the length limit of the log (1024 by default) is read if only the request at its end is cut: who asks for long
paths must not hide by it.

A captured cookie is written as it came and may look like the columns behind it, captured headers and all.  A line with
one is read only if it is whole and shows nothing else that could be those; its `len` must be far below the log's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from clientip.errors import ConfigError, Fault, FormatError
from clientip.formats.haproxy.pattern import (
    BLOCKS,
    QUOTED,
    Written,
    breaking,
    capture_lengths,
    is_cookie,
    items,
    with_raw_cookies,
)
from clientip.formats.haproxy.samples import KNOWN_PATTERNS, SAMPLES
from clientip.model import Coverage, Format, Heartbeat, Line, Observation, Reader, Setup, Skipped
from clientip.patterns.columns import compile_columns, first_of
from clientip.patterns.json_template import compile_slots
from clientip.patterns.matcher import (
    Field,
    LineEnd,
    Values,
    begins_its_own_way,
    compile_tokens,
    decode_text,
    line_end,
)
from clientip.patterns.minting import Advice, require_minted
from clientip.patterns.roles import HeaderColumn, Manner, Role, loosened
from clientip.syntax.addresses import read_endpoint_last_colon

# What is read without a `pattern`: one process writes all of these.  What is between `b/s` and the request, which no
# client writes, tells them apart.
_DEFAULTS: Final = ("httplog", "tcplog")
_BREAKABLE: Final = "httpslog"

_ADVICE: Final = Advice(
    "%ID, with unique-id-format, and send it: http-request set-header NAME %[unique-id]; unique-id-header only adds it",
    "%[var(txn.trace)], and say with options.var.txn.trace which header http-request set-header sends it in",
)
_ABSENT: Final = frozenset({"-", "", "<BADREQ>", "-1"})
_NO_COOKIE: Final = ("-", "", None)
_ESCAPES: Final = re.compile(r"(?:#[0-9A-F]{2})++")
_QUOTED_VALUE: Final = re.compile(r'"([^"]*)"')
_CONNECT: Final = re.compile(
    r"Connect from (?P<peer>[0-9A-Fa-f:.]++|unix:[0-9]++) to (?P<local>[^ ]++) \([^ ]*/[A-Z]+\)"
)
_FAILED: Final = re.compile(
    r"(?P<peer>[0-9A-Fa-f:.]++|unix:[0-9]+) \[(?P<time>[^\]\"]{20,30})\] [^ /\"]++/[^ :\"]++: (?P<message>[A-Z].*)"
)
_NOTICE: Final = re.compile(
    r"(?:Proxy|Server|Stopping|Pausing|Resuming|backend|Backend|Health check|New worker|\[(?:NOTICE|WARNING)\]) ?"
)
# HAProxy alerts of a log that it cannot write to, and of workers that died with lines which they never wrote.
_LOSS: Final = re.compile(r"\[ALERT\] |\[(?:NOTICE|WARNING)\] .{0,128}\bexited with code [1-9]")
# The messages of headers that were never read: PROXY, and NetScaler's Client IP insertion.
_HEADER_FAILED: Final = ("PROXY protocol", "NetScaler Client IP")


def compile_haproxy(setup: Setup) -> Reader:
    """The reader of a system's `pattern`; ConfigError for keys `pattern`, `logs_peer`, `timezone`, `captures`."""
    known = dict(KNOWN_PATTERNS)
    escaped = dict(setup.options).get("line_breaks") == "escaped"
    names = (setup.pattern,) if setup.pattern is not None else (*_DEFAULTS, _BREAKABLE) if escaped else _DEFAULTS
    patterns = [known.get(name, name) for name in names]
    _check(setup, patterns[0])
    observe, special = first_of([_reader(setup, pattern) for pattern in patterns]), _special(setup)
    own_begin = all(_begins_its_own_way(setup, pattern) for pattern in patterns)

    def read(line: Line) -> Observation | Skipped | Heartbeat:
        try:
            return observe(line)
        except FormatError:
            seen = special(line) if own_begin else None
            if seen is None:
                raise
            return seen

    return read


def _begins_its_own_way(setup: Setup, pattern: str) -> bool:
    """Whether no client chooses how a line begins: else it could write a failed connection of somebody else."""
    if _is_json(pattern):
        return True
    first = next(items(setup, pattern))
    said_by_client = isinstance(first.token, Field) and first.role is not None and first.token.weight != "trusted"
    return not said_by_client and begins_its_own_way([first.token])


def _is_json(pattern: str) -> bool:
    return "+json" in pattern.partition("}o")[0]


def _reader(setup: Setup, pattern: str) -> Reader:
    written = with_raw_cookies(pattern, list(items(setup, pattern)))
    names, roles, values_of = _compile(pattern, written)
    is_json = _is_json(pattern)
    end = LineEnd() if is_json else line_end([one.token for one in written], raw=True)
    request = any(role is not None and role.word in ("request", "status", "method", "target") for role in roles)
    manner = _MANNER._replace(
        kind="request" if request else "connection",
        more_headers=_captured(setup, names),
        is_json=is_json,
        closed=end.closed,
        forgeable=end.forgeable,  # HAProxy itself cuts lines
    )
    observe = compile_columns(setup, _chosen(setup, names, loosened(roles, end.loose)), manner)
    may_be_cut = pattern.endswith("%{+Q}r")
    cookie_of = _cookies(names)

    def read(line: Line) -> Observation:
        try:
            return observe(line, values_of(line.text))
        except FormatError:
            if not may_be_cut or line.text.endswith(b'"'):
                raise
            values = values_of(line.text + b'"')
            if cookie_of(values):
                raise
            return observe(line, values)

    return read


def _cookies(names: tuple[str, ...]) -> Callable[[Values], bool]:
    """Whether a line shows a captured cookie; that begins with its name, so it never is just `-`."""
    indexes = [index for index, name in enumerate(names) if is_cookie(name)]
    return lambda values: any(values[index] not in _NO_COOKIE for index in indexes)


def _compile(
    pattern: str, written: list[Written]
) -> tuple[tuple[str, ...], list[Role | None], Callable[[bytes], Values]]:
    fields = [one for one in written if isinstance(one.token, Field)]
    if _is_json(pattern):
        fields = [one for one in fields if one.key]
        names, values_of = compile_slots({(one.key,): [one.token] for one in fields})
        return names, [one.role for one in fields], values_of
    matcher = compile_tokens([one.token for one in written])
    roles = {one.token.name: one.role for one in fields if isinstance(one.token, Field)}
    read = matcher.read
    return matcher.names, [roles.get(name) for name in matcher.names], lambda text: read(decode_text(text))


def _chosen(setup: Setup, names: tuple[str, ...], roles: list[Role | None]) -> list[Role | None]:
    """One start and one duration that belong together; no near end where PROXY replaced it."""
    plain = [name.rpartition("}")[2].rpartition(")")[2].removeprefix("%") for name in names]
    per_request = "tr" in plain or any(name.startswith(("trg", "trl", "[request_date")) for name in plain)
    dropped = {"t", "T", "Tl", "Tt"} if per_request else {"Ta"} if "Tt" in plain else set()
    return [
        None if name in dropped or (role and role.word.startswith("local.") and setup.logs_peer == "proxy") else role
        for name, role in zip(plain, roles, strict=True)
    ]


def _check(setup: Setup, pattern: str) -> None:
    """Everything wrong with the set-up, at once."""
    written = list(items(setup, pattern))
    roles = [one.role for one in written if one.role is not None]
    faults: list[Fault] = []
    if not roles:
        faults.append(Fault("", "pattern", "holds no %variable that is known; write the log-format string"))
    if setup.logs_peer is None and any(role.word == "logged.ip" for role in roles):
        faults.append(
            Fault(
                "",
                "logs_peer",
                'the logged %ci may have been replaced: write "socket" if nothing does that, '
                '"proxy" if the bind line has accept-proxy, "realip" if a set-src rule takes it from a header',
            )
        )
    if setup.timezone is None and any(role.how == "haproxy" for role in roles):
        faults.append(
            Fault(
                "", "timezone", 'HAProxy writes local time without a zone: write its IANA name, such as "Europe/Berlin"'
            )
        )
    blocks = any(isinstance(one.token, Field) and one.token.name in (BLOCKS, QUOTED) for one in written)
    if setup.captures and not blocks and not any(role.word == "header" for role in roles):
        faults.append(Fault("", "captures", "the pattern has no %hr; add it, or leave `captures` out"))
    faults += [*_length_faults(setup), *_line_break_faults(setup, pattern)]
    if faults:
        raise ConfigError(faults)
    captured = [Role("header", "last", name.lower()) for name in setup.captures]
    require_minted(setup, [*roles, *captured], _ADVICE)


def _line_break_faults(setup: Setup, pattern: str) -> Iterator[Fault]:
    said = dict(setup.options).get("line_breaks")
    if said not in (None, "escaped"):
        yield Fault("", "options.line_breaks", 'write "escaped", or leave it out')
    elif said is None and not _is_json(pattern):
        for expression in breaking(setup, pattern):
            yield Fault("", "pattern", _BREAKS.format(expression))


_BREAKS: Final = (
    "`%[{0}]` may hold a line break that a client wrote, and behind it lines of his own; log `%[{0},url_enc]` or "
    '`%[{0},json(utf8s)]`, or write options = {{ line_breaks = "escaped" }} if what brings the lines escapes them'
)


def _length_faults(setup: Setup) -> Iterator[Fault]:
    known = capture_lengths(setup)
    prefix = "capture_length."
    said = {key.removeprefix(prefix).lower(): key for key, _ in setup.options if key.startswith(prefix)}
    for name, key in said.items():
        if name not in known:
            text = f"{dict(setup.options)[key]!r} is no number from 1 on; write the `len` of that capture"
            yield Fault("", f"options.{key}", text)
    for name in sorted({name.lower() for name in setup.captures} & setup.claim_headers):
        if name in said:
            continue
        text = "is missing: HAProxy cuts the captured header, which a system conveys; write the `len` of that capture"
        yield Fault("", f"options.capture_length.{name}", text)


def _captured(setup: Setup, names: tuple[str, ...]) -> Callable[[Values], tuple[HeaderColumn, ...]] | None:
    """The captured request headers of a line: all of `captures`, or none where the line shows no block."""
    wanted = tuple(name.lower() for name in setup.captures)
    index = next((position for position, name in enumerate(names) if name in (BLOCKS, QUOTED)), None)
    if index is None or not wanted:
        return None
    limits, cookie_of = capture_lengths(setup), _cookies(names)
    braces, right = names[index] == BLOCKS, names[index + 1 :]

    def captured(values: Values) -> tuple[HeaderColumn, ...]:
        shown = _first_block(values[index] or "") if braces else _QUOTED_VALUE.findall(values[index] or "")
        if not shown:
            return ()
        if len(shown) < len(wanted) or (braces and len(shown) != len(wanted)):
            raise FormatError("field_missing")
        if cookie_of(values) and (any(map(_holds_columns, right, values[index + 1 :])) or len(shown) > len(wanted)):
            raise FormatError("two_readings")
        return tuple(column(name, value) for name, value in zip(wanted, shown, strict=False))

    def column(name: str, value: str) -> HeaderColumn:
        if not value or (value == "-" and not braces):
            return name, (), "last"
        text = _unescape(value)
        limit = limits.get(name)
        coverage: Coverage = "last" if limit is None or len(text.encode("utf-8", "replace")) < limit else "cut"
        return name, (text,), coverage

    return captured


def _holds_columns(name: str, text: str | None) -> bool:
    """Whether a cookie that looks like the columns behind it may have pushed the true ones into this value."""
    return text is None or "{" in text or (name.startswith("%[") and " " in text)


def _first_block(text: str) -> list[str]:
    return text[1 : text.index("}")].split("|") if text else []


def _special(setup: Setup) -> Callable[[Line], Observation | Skipped | None]:
    """Lines that are in every log: connects of a proxy without log options, failed connections, notices."""
    plain = _MANNER._replace(kind="connection")
    start = Role("start", "haproxy") if setup.timezone is not None else None
    connect = compile_columns(setup, (Role("logged"), Role("local")), plain)
    failed = compile_columns(setup, (Role("logged"), start), plain)
    unread = compile_columns(setup, (Role("peer"), start), plain)

    def special(line: Line) -> Observation | Skipped | None:
        text = decode_text(line.text)
        if found := _CONNECT.fullmatch(text):
            return connect(line, found.group("peer", "local"))
        if found := _FAILED.fullmatch(text):
            observe = unread if any(words in found["message"] for words in _HEADER_FAILED) else failed
            return observe(line, found.group("peer", "time"))
        if _LOSS.match(text):
            raise FormatError("lines_lost", 0)
        return Skipped(line, "no_request") if _NOTICE.match(text) else None

    return special


def _unescape(text: str) -> str:
    if "#" not in text:
        return text
    return _ESCAPES.sub(lambda found: decode_text(bytes.fromhex(found[0].replace("#", ""))), text)


_MANNER: Final = Manner(unescape=_unescape, endpoint=read_endpoint_last_colon, absent=_ABSENT, stated_port=False)

HAPROXY: Final = Format(
    name="haproxy",
    title="HAProxy: httplog, tcplog, httpslog, clf, ingress controllers, any log-format, error lines",
    compile=compile_haproxy,
    samples=SAMPLES,
    logs_peer=("socket", "proxy", "realip"),
    pattern="optional",
    known_patterns=KNOWN_PATTERNS,
    side_by_side=_DEFAULTS,
    options=(
        ("capture_length.HEADER", "the `len` at which that capture is cut; required if a system conveys the header"),
        ("logasap", "true: `option logasap` is set, so that in mode tcp a line is written when a connection begins"),
        ("var.NAME", "the header that a %[var(NAME)] of the pattern holds"),
        ("line_breaks", '"escaped": what brings the lines escapes line breaks in them, as rsyslog does; for httpslog'),
    ),
    ids=(
        ("%ID, %[unique-id]", "own"),
        ("%[var(NAME)] with option var.NAME, of a header in `mints`", "sent"),
        ("captured headers, %[req.hdr(NAME)]", "received"),
    ),
    connections="%bi",
    tries=(
        r"%(?:\([^)]*\))?(?:\{[^}]*\})?(?:ST|r(?![a-z])|HM|HU|HP|HQ|HV)|\[(?:status|method|path|pathq|url)\b",
        r"%(?:\([^)]*\))?(?:\{[^}]*\})?rc",
    ),
    ask_for=(
        'log-format "%ci:%cp [%tr] %fi:%fp %ft %b/%s %bi:%bp %si:%sp %TR/%Tw/%Tc/%Tr/%Ta %ST %B %tsc %rc %hr %{+Q}r" '
        "with `capture request header X-Forwarded-For len 1024` and the like, and `log … len 8192`; in mode tcp "
        'log-format "%ci:%cp [%t] %fi:%fp %ft %b/%s %bi:%bp %si:%sp %Tw/%Tc/%Tt %B %ts end"'
    ),
)
