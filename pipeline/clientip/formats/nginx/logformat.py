r"""NGINX access logs: any `log_format`, of the http and the stream module; ingress-nginx, NGINX Inc., Kong.

https://nginx.org/en/docs/http/ngx_http_log_module.html

Peer: `$realip_remote_addr` is always the socket.  `$remote_addr` is the socket too, unless realip replaced
it: the pattern cannot tell, so `logs_peer` must.  A request that fails before realip has run (400, 408, TRACE …) is
logged with the socket even where realip is on, so such a line tells neither peer nor statement.  `error_page` may
rename its status, so behind PROXY an address that is the balancer's own is no sign that it speaks for itself:
`$proxy_protocol_addr` is, where it is empty.

Time: nginx logs at the end.  Without `$request_time` nobody knows when the request began: `start_ns` is None.

Escaping: `escape=default` writes `"`, `\` and what is not printable ASCII as `\xHH`; `escape=json` as JSON does,
with bytes above 0x7F as they are, and nothing at all for an absent value; `escape=none` writes all as it is, so what
may hold a line break (`$uri`, `$remote_user`, names out of TLS, variables of the operator's own) is refused there.

Headers: `X-Forwarded-For` is all lines, joined.  Of others only the first line was logged before 1.23;
option `headers` = `all` says the server is newer.  Under `underscores_in_headers on` (Kong sets it; the system's
`drops_underscores` = false says it) `$http_x_real_ip` shows X_Real_IP as well, which any client can send: then such
columns vouch for no client and prove nothing.

A pattern that is a JSON object is read as JSON where `escape` is json, otherwise as text.
Lines of the error log in the same stream are skipped: the access line tells the request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from clientip.errors import ConfigError, Fault, FormatError
from clientip.formats.nginx.samples import KNOWN_PATTERNS, SAMPLES
from clientip.formats.nginx.variables import STREAM_ONLY, Variable, is_one_line, variable
from clientip.model import Format, Line, Observation, Reader, Setup, Skipped
from clientip.patterns.columns import compile_columns
from clientip.patterns.json_template import Path, compile_slots
from clientip.patterns.matcher import (
    ESCAPED,
    QUOTELESS,
    RAW,
    LineEnd,
    Token,
    Values,
    begins_its_own_way,
    compile_tokens,
    decode_text,
    line_end,
    refuse,
)
from clientip.patterns.minting import Advice, require_minted
from clientip.patterns.roles import Manner, Role, index_of, loosened

_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_ERROR_LINE: Final = re.compile(r"[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} \[[a-z]+\] [0-9]+#[0-9]+: ")
# A file or a syslog server that takes no lines, and workers that died with lines which they never wrote.
_LOSS: Final = re.compile(
    r"[^\[]{20}\[(?:(?:alert|emerg)\] |[a-z]+\] [0-9]+#[0-9]+: (?:\*[0-9]+ send\(\) to syslog|send\(\)) failed)"
)
_HEX_ESCAPES: Final = re.compile(r"(?:\\x[0-9A-F]{2})++")
_JSON_ESCAPE: Final = re.compile(r'\\(?:u00[0-9A-Fa-f]{2}|["\\/bfnrt])')  # nginx writes no others
_ADVICE: Final = Advice(
    "$request_id, and send it: proxy_set_header NAME $request_id",
    "$otel_trace_id of ngx_otel_module, with otel_trace_context inject",
)
_UNITS: Final = MappingProxyType({"default": QUOTELESS, "json": ESCAPED, "none": RAW})
_ABSENT: Final = MappingProxyType({"default": frozenset({"-", ""}), "json": frozenset({""}), "none": frozenset({""})})

# Answers nginx gives while it reads the headers, so before realip has looked at them.
_REFUSED_METHODS: Final = ("TRACE", "CONNECT")  # with 405, and as early
_EARLY: Final = frozenset({"000", "400", "408", "414", "421", "494", "495", "496", "497", "501", "505"})


def compile_nginx(setup: Setup) -> Reader:
    """The reader of a system's `pattern`; ConfigError for keys `pattern`, `escape`, `logs_peer`, `options.headers`."""
    known = dict(KNOWN_PATTERNS)
    pattern = known.get(setup.pattern or "combined", setup.pattern or "")
    _check(setup, pattern)
    escape = setup.escape or "default"
    as_json = escape == "json" and pattern.lstrip().startswith("{")
    tokens = list(_tokens(setup, pattern, _UNITS[escape]))
    if as_json:
        names, values_of = compile_slots(_json_slots(setup, pattern))
        end = LineEnd()
    else:
        names, values_of = _compile_text(tokens)
        end = line_end(tokens, raw=escape == "none")
    roles = _finest_end(loosened([_variable(setup, name).role for name in names], end.loose))
    require_minted(setup, roles, _ADVICE)
    stream = not STREAM_ONLY.isdisjoint(name.removeprefix("$") for name in names)
    manner = Manner(
        kind="connection" if stream else "request",
        unescape=str if as_json else _UNESCAPES[escape],
        absent=_ABSENT[escape],
        peer_void=_early(roles),
        late=not stream,
        is_json=as_json,
        closed=end.closed,
        forgeable=end.forgeable and setup.relayed,
    )
    observe, own_begin = compile_columns(setup, roles, manner), begins_its_own_way(tokens)

    def read(line: Line) -> Observation | Skipped:
        try:
            values = values_of(line.text)
        except FormatError:
            if own_begin and _is_error_line(line.text):
                return Skipped(line, "no_request")
            raise
        return observe(line, values)

    return read


def _is_error_line(raw: bytes) -> bool:
    """Whether it is a line of the error log; FormatError if it says that lines were lost."""
    head = decode_text(raw[:128])
    if _ERROR_LINE.match(head) is None:
        return False
    if _LOSS.match(head) is not None:
        raise FormatError("lines_lost", 0)
    return True


def _compile_text(tokens: Sequence[Token]) -> tuple[tuple[str, ...], Callable[[bytes], Values]]:
    matcher = compile_tokens(tokens)
    read = matcher.read
    return matcher.names, lambda text: read(decode_text(text))


def _variable(setup: Setup, name: str) -> Variable:
    name = name.removeprefix("$")
    if name in setup.trace_fields or f"${name}" in setup.trace_fields:
        return Variable(Role("trace"), "[0-9A-Fa-f-]", weight="trusted")
    coverage = "all" if dict(setup.options).get("headers") == "all" else "first"
    return variable(name, coverage, twins=setup.drops_underscores is False)


def _tokens(setup: Setup, pattern: str, client_unit: str) -> Iterator[Token]:
    place = 0
    for found in _VARIABLE.finditer(pattern):
        if found.start() > place:
            yield pattern[place : found.start()]
        name = found[1] or found[2]
        yield _variable(setup, name).field(name, client_unit)
        place = found.end()
    if place < len(pattern):
        yield pattern[place:]


def _check(setup: Setup, pattern: str) -> None:
    """Everything wrong with the set-up, at once."""
    names = {found[1] or found[2] for found in _VARIABLE.finditer(pattern)}
    faults: list[Fault] = []
    if not names:
        faults.append(Fault("", "pattern", "holds no $variable; write the log_format string of this access_log"))
    if _DIRECTIVE.match(pattern) or ("\n" in pattern and not pattern.lstrip().startswith("{")):
        faults.append(Fault("", "pattern", _PIECES))
    if setup.escape is not None and setup.escape not in _UNITS:
        faults.append(Fault("", "escape", f"unknown escape {setup.escape!r}; write default, json or none"))
    if "remote_addr" in names and "realip_remote_addr" not in names and setup.logs_peer is None:
        faults.append(
            Fault(
                "",
                "logs_peer",
                "the pattern logs $remote_addr without $realip_remote_addr: write "
                '"socket" if no set_real_ip_from applies, "proxy" if real_ip_header is proxy_protocol, '
                '"realip" if real_ip_header names a header',
            )
        )
    if setup.escape == "none" and dict(setup.options).get("line_breaks") != "escaped":
        faults += [Fault("", "pattern", _BREAKS.format(name)) for name in sorted(names) if not is_one_line(name)]
    if faults:
        raise ConfigError(faults)


_DIRECTIVE: Final = re.compile(r"\s*log_format\s")
_PIECES: Final = (
    "is no line of a log; of log_format NAME '…' '…'; write only what stands in the quotes, all pieces as one line"
)
_BREAKS: Final = (
    "`${0}` may hold a line break that a client wrote, and behind it lines of his own; log with escape=json, or write "
    'options = {{ line_breaks = "escaped" }} if what brings the lines escapes them'
)


def _finest_end(roles: list[Role | None]) -> list[Role | None]:
    """Where `$msec` tells the end, coarser stamps tell nothing more."""
    if Role("end", "epoch") not in roles:
        return roles
    return [None if role is not None and role.word == "end" and role.how != "epoch" else role for role in roles]


def _early(roles: list[Role | None]) -> Callable[[Values], bool] | None:
    """Whether a line may be of a request that failed before realip: then no upstream can have been asked."""
    status, upstream = index_of(roles, "status"), index_of(roles, "upstream_peer")
    method = index_of(roles, "request") if index_of(roles, "method") is None else index_of(roles, "method")
    if status is None:
        return None

    def early(values: Values) -> bool:
        if upstream is not None and values[upstream] not in ("-", ""):
            return False
        return values[status] in _EARLY or (
            values[status] == "405" and (method is None or (values[method] or "TRACE").startswith(_REFUSED_METHODS))
        )

    return early


def _json_slots(setup: Setup, pattern: str) -> dict[Path, list[Token]]:
    """The slots of a pattern that is a JSON object; raises ConfigError where its lines would be no JSON."""
    parts: list[str] = []
    quoted, place = False, 0
    for found in _VARIABLE.finditer(pattern):
        before = pattern[place : found.start()]
        quoted ^= (before.count('"') - before.count('\\"')) % 2 == 1
        name = found[1] or found[2]
        if not quoted and not _variable(setup, name).always:
            raise refuse(f'`${name}` stands unquoted and may be empty, which is no JSON; write "${name}"')
        parts += (before, found[0] if quoted else f'"{found[0]}"')
        place = found.end()
    try:
        value = json.loads("".join(parts) + pattern[place:], object_pairs_hook=_once)
    except ValueError as error:
        raise refuse(f"the pattern looks like JSON but is none: {error}") from None
    return {path: list(_tokens(setup, text, RAW)) for path, text in _leaves(value, ()) if _VARIABLE.search(text)}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise refuse(f'the key "{key}" stands twice in the pattern; rename one')
    return dict(pairs)


def _leaves(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, str):
        yield path, value


def _unescape_default(text: str) -> str:
    if "\\" not in text:
        return text
    return _HEX_ESCAPES.sub(lambda found: decode_text(bytes.fromhex(found[0].replace("\\x", ""))), text)


def _unescape_json(text: str) -> str:
    if "\\" not in text:
        return text
    return _JSON_ESCAPE.sub(lambda found: str(json.loads(f'"{found[0]}"')), text)


_UNESCAPES: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {"default": _unescape_default, "json": _unescape_json, "none": str}
)

NGINX: Final = Format(
    name="nginx",
    title="NGINX, ingress-nginx, NGINX Inc. ingress, Kong: access log with any log_format",
    compile=compile_nginx,
    samples=SAMPLES,
    logs_peer=("socket", "proxy", "realip"),
    pattern="optional",
    known_patterns=KNOWN_PATTERNS,
    drops_underscores=True,
    options=(
        ("headers", '"all" from nginx 1.23 on: every line of a repeated header is logged, not the first only'),
        ("line_breaks", '"escaped": what brings the lines escapes line breaks in them; for escape=none'),
    ),
    ids=(
        ("$request_id", "own"),
        ("$kong_request_id", "own"),
        ("$otel_trace_id, $otel_span_id", "own"),
        ("$req_id", "continued"),
        ("$http_NAME", "received"),
    ),
    ask_for=(
        """log_format hop escape=json '{"msec":"$msec","rt":"$request_time","peer":"$realip_remote_addr","""
        """"peer_port":"$realip_remote_port","client":"$remote_addr","pp":"$proxy_protocol_addr","""
        """"pp_port":"$proxy_protocol_port","local":"$server_addr:$server_port","xff":"$http_x_forwarded_for","""
        """"fwd":"$http_forwarded","tp":"$http_traceparent","rid":"$request_id","up":"$upstream_addr","""
        """"conn":"$connection","connreq":"$connection_requests","req":"$request","st":"$status"}';"""
    ),
)
