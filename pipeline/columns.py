"""From the columns of a text format to an Observation: what all of them share.

A format says for every column what it tells, as a `Role`; here a closure is built that knows the indexes and
skips what the pattern does not hold.  The roles:

`peer` `logged` `stated` `local` `proxied` `upstream_local` `upstream_peer`
    an address and its port; `.ip` and `.port` behind the word where they are two columns.  `logged` is the
    address that PROXY or realip may have replaced: `Setup.logs_peer` says whether it is the socket.
`start` `end`            a stamp; `how` names its layout.  `fraction`: its digits below the second.
`duration`               `how`: s, ms, us
`header`                 `name`, and `how` much of it the log shows (model.Coverage)
`request`                the request line; `method` `target` `protocol` `host` `status` `user_agent` `referer`
                         `request_bytes` `response_bytes` its parts
`request_id`             `name` is its scheme; `trace` `span` `parent`: the writer's own
`connection_serial` `request_serial` `instance`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from pipeline.addresses import parse_address, read_endpoint, read_port
from pipeline.errors import FormatError
from pipeline.headers import SortedHeaders, sort_headers
from pipeline.model import Coverage, Endpoint, Http, Ids, Kind, Line, Observation, Setup
from pipeline.patterns import Values
from pipeline.times import SECOND_NS, clf_ns, epoch_ns, local_ns, resolution_of, rfc3339_ns, seconds_ns, spread


class Role(NamedTuple):
    """What one column tells; see the head of this module."""

    word: str
    how: str = ""
    name: str = ""


HeaderColumn = tuple[str, tuple[str, ...], Coverage]
Span = tuple["int | None", "int | None", "int | None", "str | None"]  # start_ns, start_latest_ns, end_ns, time_by


class Manner(NamedTuple):
    """How one format differs from the others."""

    kind: Kind = "request"
    unescape: Callable[[str], str] = str
    endpoint: Callable[[str], Endpoint] = read_endpoint
    absent: frozenset[str] = frozenset({"-", ""})
    names_allowed: bool = False  # the logged peer may be a host name: then it tells no peer
    stated_port: bool = True  # whether a replaced address brings its own port
    peer_void: Callable[[Values], bool] | None = None  # lines whose logged address may be either
    more_headers: Callable[[Values], tuple[HeaderColumn, ...]] | None = None


PLAIN: Final = Manner()
_DURATIONS: Final = MappingProxyType({"s": SECOND_NS, "ms": 1_000_000, "us": 1_000})
_COVERAGES: Final[Mapping[str, Coverage]] = MappingProxyType(
    {"all": "all", "first": "first", "last": "last", "cut": "cut", "remainder": "remainder", "appended": "appended"}
)
_INJECTED: Final = ("proxy_injection",)

Get = Callable[[Values], "Endpoint | None"]
Roles = Sequence["Role | None"]


def compile_columns(setup: Setup, roles: Roles, manner: Manner = PLAIN) -> Callable[[Line, Values], Observation]:
    """The function from a line and its values to the observation; raises FormatError from it."""
    peers_of = _peers(setup, roles, manner)
    local_of, proxied_of, near_of, far_of = (
        _endpoint(roles, word, manner) or _nowhere for word in ("local", "proxied", "upstream_local", "upstream_peer")
    )
    time_of, headers_of = _span(setup, roles, manner), _headers(setup, roles, manner)
    http_of, ids_of = _http(roles, manner), _own_ids(roles, manner)
    text_of = {word: _text(roles, word, manner) for word in ("instance", "connection_serial", "request_serial")}
    instance_of, connection_of, request_of = text_of.values()
    kind = manner.kind

    def observe(line: Line, values: Values) -> Observation:
        start, latest, end, time_by = time_of(line, values)
        peer, stated = peers_of(values)
        proxied = proxied_of(values)
        sorted_headers = headers_of(values)
        http, notes = http_of(values)
        serial = request_of(values)
        return Observation(
            setup,
            kind,
            start,
            latest,
            end,
            time_by,
            peer,
            stated,
            local_of(values),
            proxied,
            None if proxied is None else "proxy",
            sorted_headers.claims,
            near_of(values),
            far_of(values),
            ids_of(values, sorted_headers.ids),
            http,
            instance_of(values) or line.instance,
            connection_of(values),
            None if serial is None else number(serial),
            False,
            sorted_headers.proofs,
            sorted_headers.notes + notes,
        )

    return observe


def number(text: str) -> int:
    """A decimal number without sign; FormatError("number") for anything else, or more than 20 digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise FormatError("number")
    return int(text)


def index_of(roles: Roles, word: str) -> int | None:
    """The first column with this role."""
    return next((index for index, role in enumerate(roles) if role is not None and role.word == word), None)


def _nowhere(_: Values) -> None:
    return None


def _text(roles: Roles, word: str, manner: Manner) -> Callable[[Values], str | None]:
    index, absent = index_of(roles, word), manner.absent
    if index is None:
        return _nowhere

    def text_of(values: Values) -> str | None:
        value = values[index]
        return None if value is None or value in absent else value

    return text_of


def _endpoint(roles: Roles, word: str, manner: Manner) -> Get | None:
    """One endpoint, from one column or two; None where its address has no column."""
    joint, alone, port = (index_of(roles, word + part) for part in ("", ".ip", ".port"))
    absent, read = manner.absent, manner.endpoint
    if joint is not None and word == "upstream_peer":
        return lambda values: last_address(values[joint])
    if joint is not None:

        def whole(values: Values) -> Endpoint | None:
            value = values[joint]
            return None if value is None or value in absent or value.startswith("unix") else read(value)

        return whole
    if alone is None:
        return None

    def halves(values: Values) -> Endpoint | None:
        value = values[alone]
        if value is None or value in absent or value.startswith("unix"):
            return None
        return Endpoint(parse_address(value), None if port is None else _port(values[port], absent))

    return halves


def last_address(text: str | None) -> Endpoint | None:
    """The last of the upstreams a request was sent to: it answered.  None for a name or a UNIX socket.

    >>> last_address("[2001:db8::7]:80, 10.0.0.1:80 : 10.0.0.2:80").address.text
    '10.0.0.2'
    """
    if text is None:
        return None
    try:
        return read_endpoint(text.rpartition(", ")[2].rpartition(" : ")[2].rpartition("://")[2])
    except FormatError:
        return None


def _port(text: str | None, absent: frozenset[str]) -> int | None:
    return None if text is None or text in absent else read_port(text)


def _peers(setup: Setup, roles: Roles, manner: Manner) -> Callable[[Values], tuple[Endpoint | None, Endpoint | None]]:
    """Peer and stated address of a line: which of the two the logged address is, `logs_peer` says."""
    socket_of = _endpoint(roles, "peer", manner) or _nowhere
    logged_of = _endpoint(roles, "logged", manner) or _nowhere
    stated_of = _endpoint(roles, "stated", manner) or _nowhere
    has_socket, replaced = socket_of is not _nowhere, setup.logs_peer in ("proxy", "realip")
    bare = setup.logs_peer == "realip" and not manner.stated_port
    void, names_allowed = manner.peer_void if replaced else None, manner.names_allowed

    def peers_of(values: Values) -> tuple[Endpoint | None, Endpoint | None]:
        socket = socket_of(values)
        try:
            logged = logged_of(values)
        except FormatError:
            if not names_allowed:
                raise
            logged = None
        if logged is None:
            return socket, stated_of(values)
        if void is not None and void(values):
            return socket, None
        if not has_socket and not replaced:
            return logged, stated_of(values)
        if socket is not None and socket.address == logged.address and not replaced:
            return (socket if socket.port is not None else logged), None
        return socket, Endpoint(logged.address) if bare else logged

    return peers_of


def _span(setup: Setup, roles: Roles, manner: Manner) -> Callable[[Line, Values], Span]:
    """The time of a line: from its stamp, from the stamp and the duration, or from the wrapper."""
    start, end = index_of(roles, "start"), index_of(roles, "end")
    skew, lasted = setup.max_skew_ns, _duration(roles, manner)
    if start is not None:
        stamp_of = _stamp(setup, roles, start)

        def from_start(_: Line, values: Values) -> Span:
            first, last, resolution = stamp_of(values)
            duration = lasted(values)
            earliest, _ignored = spread(first, resolution, skew)
            _ignored, latest = spread(last, resolution, skew)
            return earliest, latest, None if duration is None else first + duration, "own"

        return from_start
    if end is None:
        return _wrapper_span
    stamp_of = _stamp(setup, roles, end)

    def from_end(_: Line, values: Values) -> Span:
        first, last, resolution = stamp_of(values)
        duration = lasted(values)
        if duration is None:  # when it began is not said: any time before
            return None, spread(last, resolution, skew)[1], first, "own"
        earliest, _ignored = spread(first - duration, resolution, skew)
        _ignored, latest = spread(last - duration, resolution, skew)
        return earliest, latest, first, "own"

    return from_end


def _wrapper_span(line: Line, _: Values) -> Span:
    """The wrapper's stamp is the moment of writing, so it is an end."""
    if line.stamp_ns is None:
        return None, None, None, None
    return None, line.stamp_ns, line.stamp_ns, "wrapper"


def _stamp(setup: Setup, roles: Roles, index: int) -> Callable[[Values], tuple[int, int, int]]:
    """Reads a stamp column: earliest and latest instant it names, and its resolution, all in ns."""
    role, fraction = roles[index], index_of(roles, "fraction")
    assert role is not None
    layout, zone = role.how, setup.timezone or "UTC"

    def stamp_of(values: Values) -> tuple[int, int, int]:
        text = values[index] or ""
        if fraction is not None and layout == "epoch":
            text = f"{text}.{values[fraction]}"
        if layout == "clf":
            first = last = clf_ns(text)
            return first, last, SECOND_NS
        if layout == "haproxy" or layout == "nginx_error":
            first, last = local_ns(text, "haproxy" if layout == "haproxy" else "nginx_error", zone)
        elif layout == "rfc3339":
            first = last = rfc3339_ns(text)
        elif layout == "epoch":
            first = last = epoch_ns(text)
        else:
            first = last = number(text) * _DURATIONS[layout]
            return first, last, _DURATIONS[layout]
        return first, last, resolution_of(text)

    return stamp_of


def _duration(roles: Roles, manner: Manner) -> Callable[[Values], int | None]:
    index, absent = index_of(roles, "duration"), manner.absent
    if index is None:
        return _nowhere
    role = roles[index]
    assert role is not None
    factor = _DURATIONS[role.how]

    def lasted(values: Values) -> int | None:
        text = values[index]
        if text is None or text in absent or text[0] in "+-":  # +: logged before the end; -1: not reached
            return None
        return seconds_ns(text) * factor // SECOND_NS

    return lasted


def _headers(setup: Setup, roles: Roles, manner: Manner) -> Callable[[Values], SortedHeaders]:
    """All header columns of a line, sorted into claims, proofs, ids."""
    columns: dict[str, tuple[int, Coverage]] = {}
    for index, role in enumerate(roles):
        if role is not None and role.word == "header":
            known = columns.get(role.name)
            if known is None or known[1] == "appended":  # as received is better than as sent on
                columns[role.name] = (index, _COVERAGES[role.how])
    table = tuple((name, index, coverage) for name, (index, coverage) in columns.items())
    absent, unescape, more = manner.absent, manner.unescape, manner.more_headers
    if not table and more is None:
        nothing = sort_headers(setup, ())
        return lambda _: nothing

    def headers_of(values: Values) -> SortedHeaders:
        pairs: list[HeaderColumn] = []
        for name, index, coverage in table:
            value = values[index]
            shown = () if value is None or value in absent else (unescape(value),)
            pairs.append((name, shown, coverage))
        if more is not None:
            pairs += more(values)
        return sort_headers(setup, pairs)

    return headers_of


def _http(roles: Roles, manner: Manner) -> Callable[[Values], tuple[Http | None, tuple[str, ...]]]:
    """What the line says of the request, and whether its request line is a PROXY header."""
    if manner.kind == "connection":
        return lambda _: (None, ())
    indexes = tuple(index_of(roles, word) for word in _HTTP_TEXTS)
    request, counts = index_of(roles, "request"), tuple(index_of(roles, word) for word in _HTTP_NUMBERS)
    absent, unescape, lasted = manner.absent, manner.unescape, _duration(roles, manner)

    def text(values: Values, index: int | None) -> str | None:
        value = None if index is None else values[index]
        return None if value is None or value in absent else unescape(value)

    def count(values: Values, index: int | None) -> int | None:
        value = None if index is None else values[index]
        return None if value is None or value in absent or value == "-1" else number(value.removeprefix("+"))

    def http_of(values: Values) -> tuple[Http | None, tuple[str, ...]]:
        method, target, protocol, host, agent, referer = [text(values, index) for index in indexes]
        notes: tuple[str, ...] = ()
        line = text(values, request)
        if line is not None:
            method, target, protocol = split_request(line)
            notes = _INJECTED if line.startswith("PROXY ") else ()
        status, received, sent = [count(values, index) for index in counts]
        duration = lasted(values)
        return Http(method, target, host, protocol, status, agent, referer, received, sent, duration), notes

    return http_of


_HTTP_TEXTS: Final = ("method", "target", "protocol", "host", "user_agent", "referer")
_HTTP_NUMBERS: Final = ("status", "request_bytes", "response_bytes")


def split_request(line: str) -> tuple[str | None, str | None, str | None]:
    """Method, target and protocol of a request line; what is none is all target.

    >>> split_request("GET /a b HTTP/1.1"), split_request("HELP")
    (('GET', '/a b', 'HTTP/1.1'), (None, 'HELP', None))
    """
    method, blank, rest = line.partition(" ")
    if not blank:
        return None, line, None
    target, blank, protocol = rest.rpartition(" ")
    if blank and protocol.startswith("HTTP/"):
        return method, target, protocol
    return method, rest, None


def _own_ids(roles: Roles, manner: Manner) -> Callable[[Values, Ids | None], Ids | None]:
    """Ids with columns of their own, added to those the headers brought; the writer's own trace goes first."""
    requests = tuple(
        (index, role.name) for index, role in enumerate(roles) if role is not None and role.word == "request_id"
    )
    trace, span, parent = (index_of(roles, word) for word in ("trace", "span", "parent"))
    if not requests and trace is None:
        return lambda _, said: said
    absent, unescape = manner.absent, manner.unescape

    def ids_of(values: Values, said: Ids | None) -> Ids | None:
        own = trace_ids(*(None if index is None else values[index] for index in (trace, span, parent)))
        shown = ((name, values[index] or "") for index, name in requests)
        minted = tuple((name, unescape(value)) for name, value in shown if value not in absent)
        if own is None and not minted:
            return said
        base = own or said
        before = () if said is None else said.requests
        if base is None:
            return Ids(requests=minted)
        return Ids(base.trace, base.span, base.parent, base.scheme, base.bits, base.raw, minted + before)

    return ids_of


def trace_ids(trace: str | None, span: str | None, parent: str | None) -> Ids | None:
    """The writer's own trace, span and parent, as it prints them; what is no id is none, and no error."""
    if trace is None or len(trace) not in (16, 32) or not _is_id(trace):
        return None
    full = trace.lower().rjust(32, "0")
    own, called = (text.lower() if text is not None and len(text) == 16 and _is_id(text) else None for text in (span, parent))
    return Ids(full, own, called, "other", 4 * len(trace), trace if trace != full else None)


def _is_id(text: str) -> bool:
    return set(text) <= _HEX and text.strip("0") != ""


_HEX: Final = frozenset("0123456789abcdefABCDEF")
