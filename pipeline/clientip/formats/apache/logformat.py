r"""Apache httpd: common, combined, vhost_combined and any other `LogFormat`.

https://httpd.apache.org/docs/2.4/mod/mod_log_config.html, …/mod/mod_remoteip.html

Peer: `%{c}a` is the socket.  `%a` and `%h` are the socket unless mod_remoteip replaced it: `logs_peer` says.
`%{remote}p` is the port of `%a`, not of `%{c}a`, and 0 where the address came from a header.  `%h` may be a name
where HostnameLookups is on: then the line tells no peer, and says `names_looked_up`, because a client who owns its
reverse zone can be called like an address there.  A request that fails before its headers are read
(400, 408 …) is logged with the socket even where mod_remoteip is on, so such a line tells neither.

mod_remoteip takes the entries it used off the header before it is logged: X-Forwarded-For is the remainder.
Several lines of a header are one, joined by ", ".  A header is shown as it goes on: the log is written when the
request is over, and what RequestHeader set is in it.

Without `pattern`, lines of combined, common and vhost_combined are read side by side.

Time: `%t` is the start.  Lines of the error log in the same stream are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from clientip.errors import ConfigError, Fault, FormatError
from clientip.formats.apache.pattern import ADVICE, Directive, tokens, unescape
from clientip.formats.apache.samples import KNOWN_PATTERNS, SAMPLES
from clientip.model import Format, Heartbeat, Line, Observation, Reader, Setup, Skipped
from clientip.patterns.columns import compile_columns, first_of
from clientip.patterns.matcher import Field, Values, begins_its_own_way, compile_tokens, decode_text, line_end
from clientip.patterns.minting import require_minted
from clientip.patterns.roles import HeaderColumn, Manner, Role, index_of, loosened
from clientip.syntax.addresses import parse_address

# What is read without a `pattern`.  Behind the quoted request they differ in what no client writes.
_DEFAULTS: Final = ("combined", "common", "vhost_combined")

_ERROR_LINE: Final = re.compile(
    r"\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9]{2} [0-9:.]{8,15} [0-9]{4}\] \["
    r"|\[[^\]\[]{10,40}\] \[[a-z0-9_]+:[a-z0-9]+\] \[pid "  # with a time format of its own
)
# A log that takes no lines, and processes that died with lines which they never wrote.
_LOSS: Final = re.compile(r".*?(?: AH(?:00646|00106|00051|00052): |\] child pid [0-9]{1,10} exit signal )")
_ABSENT: Final = frozenset({"-", ""})
_NOTHING: Final[Mapping[str, Directive]] = MappingProxyType({})
_XFF: Final = "x-forwarded-for"

# Answers given while the headers are read, so before mod_remoteip has looked at them.
_EARLY: Final = frozenset({"400", "408", "414", "417", "431", "501", "505"})


def compile_apache(setup: Setup) -> Reader:
    """The reader of a system's `pattern`; ConfigError for keys `pattern`, `logs_peer`."""
    known = dict(KNOWN_PATTERNS)
    patterns = [known.get(name, name) for name in (_DEFAULTS if setup.pattern is None else (setup.pattern,))]
    observe = first_of([_reader(setup, pattern) for pattern in patterns])
    own_begin = all(_begins_its_own_way(setup, pattern) for pattern in patterns)

    def read(line: Line) -> Observation | Skipped | Heartbeat:
        try:
            return observe(line)
        except FormatError:
            if own_begin and _is_error_line(line.text):
                return Skipped(line, "no_request")
            raise

    return read


def _is_error_line(raw: bytes) -> bool:
    """Whether it is a line of the error log; FormatError if it says that lines were lost."""
    head = decode_text(raw[:256])
    if _ERROR_LINE.match(head) is None:
        return False
    if _LOSS.match(head) is not None:
        raise FormatError("lines_lost", 0)
    return True


def _begins_its_own_way(setup: Setup, pattern: str) -> bool:
    written = [token for token, _ in tokens(setup, pattern, _NOTHING)]
    return begins_its_own_way(written[1:] if written[:1] == ["["] else written)  # lines of the error log begin so, too


def _reader(setup: Setup, pattern: str) -> Reader:
    names, roles, values_of, closed = compile_access(setup, pattern, _NOTHING)
    if setup.logs_peer is None and index_of(roles, "logged.ip") is not None and index_of(roles, "peer.ip") is None:
        raise ConfigError([_logs_peer_fault()])
    require_minted(setup, roles, ADVICE)
    status = index_of(roles, "status")
    remainder = _remainder(setup, roles)
    manner = Manner(
        unescape=unescape,
        absent=_ABSENT,
        names_allowed=any(name.endswith("h") for name in names),
        stated_port=False,
        peer_void=None if status is None else lambda values: values[status] in _EARLY,
        more_headers=remainder,
        closed=closed,
        late=True,
    )
    if remainder is not None:
        roles = [None if _is_forwarded(role) else role for role in roles]
    observe = compile_columns(setup, _durations(roles), manner)
    host, logname = (names.index(name) if name in names else None for name in ("%h", "%l"))

    def read(line: Line) -> Observation:
        values = values_of(line.text)
        if host is not None and logname is not None and values[logname] != "-":
            _check_unshifted(values[host] or "", values[logname] or "")
        seen = observe(line, values)
        if host is not None and seen.peer is None and seen.stated is None and _is_name(values[host] or ""):
            return replace(seen, notes=(*seen.notes, "names_looked_up"))
        return seen

    return read


def _is_name(host: str) -> bool:
    """Whether it is the name of a host, which only a server that looks names up writes."""
    if host in _ABSENT or ":" in host:
        return False
    try:
        parse_address(host)
    except FormatError:
        return True
    return False


def _check_unshifted(host: str, logname: str) -> None:
    """Refuse a line with the virtual host in front, which would read as a client with a name.

    Raises FormatError: `address` if the host has a port, `two_readings` if the name its identd gave is an address.
    """
    if ":" in host:
        parse_address(host)
    try:
        parse_address(logname)
    except FormatError:
        return
    raise FormatError("two_readings", len(host))


def compile_access(
    setup: Setup, pattern: str, more: Mapping[str, Directive]
) -> tuple[tuple[str, ...], list[Role | None], Callable[[bytes], Values], bool]:
    """Names, roles and values of a pattern in Apache's notation, and whether a line that fits has its end.

    `more` has directives of the one program.
    """
    written = list(tokens(setup, pattern, more))
    matcher, end = compile_tokens([token for token, _ in written]), line_end([token for token, _ in written])
    roles = {token.name: role for token, role in written if isinstance(token, Field)}
    if not any(roles.values()):
        raise ConfigError([Fault("", "pattern", "holds no %directive that is known; write the log format string")])
    read, names = matcher.read, matcher.names
    given = loosened([roles.get(name) for name in names], end.loose)
    return names, given, lambda text: read(decode_text(text)), end.closed


def _logs_peer_fault() -> Fault:
    return Fault(
        "",
        "logs_peer",
        'the pattern logs %h or %a without %{c}a: write "socket" if mod_remoteip is not used, "proxy" with '
        'RemoteIPProxyProtocol, "realip" with RemoteIPHeader',
    )


def _durations(roles: Sequence[Role | None]) -> list[Role | None]:
    """Only the finest duration counts."""
    units = {role.how for role in roles if role is not None and role.word == "duration"}
    finest = next((unit for unit in ("us", "ms", "s") if unit in units), "")
    return [None if role is not None and role.word == "duration" and role.how != finest else role for role in roles]


def _is_forwarded(role: Role | None) -> bool:
    return role is not None and role.word == "header" and role.name == _XFF


def _remainder(setup: Setup, roles: Sequence[Role | None]) -> Callable[[Values], tuple[HeaderColumn, ...]] | None:
    """X-Forwarded-For where mod_remoteip may have used some: it has, wherever the two addresses differ."""
    column = next((index for index, role in enumerate(roles) if _is_forwarded(role)), None)
    socket, logged = index_of(roles, "peer.ip"), index_of(roles, "logged.ip")
    both = socket is not None and logged is not None
    if column is None or not (setup.logs_peer == "realip" or (setup.logs_peer != "proxy" and both)):
        return None
    role = roles[column]
    cut = role is not None and role.how == "cut"

    def forwarded(values: Values) -> tuple[HeaderColumn, ...]:
        text = values[column] or "-"
        shown = () if text in _ABSENT else (unescape(text),)
        untouched = socket is not None and logged is not None and values[socket] == values[logged]
        return ((_XFF, shown, "cut" if cut else "all" if untouched else "remainder"),)

    return forwarded


APACHE: Final = Format(
    name="apache",
    title="Apache httpd: common, combined, vhost_combined, any LogFormat",
    compile=compile_apache,
    samples=SAMPLES,
    logs_peer=("socket", "proxy", "realip"),
    pattern="optional",
    known_patterns=KNOWN_PATTERNS,
    side_by_side=_DEFAULTS,
    ids=(("%{NAME}i", "sent"), ("%{UNIQUE_ID}e", "own")),
    ask_for=(
        r'LogFormat "%{%s}t.%{usec_frac}t %{c}a %a:%{remote}p %A:%{local}p %>s %B %D %k %{UNIQUE_ID}e '
        r'\"%{X-Forwarded-For}i\" \"%{traceparent}i\" \"%r\"" hop'
    ),
)
