"""From the columns of a text format to an Observation: what all of them share.

A format says for every column what it tells, as a `roles.Role`; here a closure is built that knows the indexes
and skips what the pattern does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, get_args

from clientip.errors import FormatError
from clientip.model import Coverage, Endpoint, Heartbeat, Http, Ids, Line, Observation, Reader, Setup, Skipped
from clientip.patterns.matcher import Values
from clientip.patterns.minting import carried_in, kept_columns
from clientip.patterns.onward import with_onward
from clientip.patterns.request_time import compile_duration, compile_span, number
from clientip.patterns.roles import HeaderColumn, Manner, Roles, index_of
from clientip.syntax.addresses import parse_address, read_endpoint, read_port
from clientip.syntax.headers import SortedHeaders, is_whole_id, sort_headers

PLAIN: Final = Manner()
__all__ = ["compile_columns", "first_of", "last_address", "number", "refuse_part", "split_request", "trace_ids"]

_COVERAGES: Final[Mapping[str, Coverage]] = MappingProxyType({word: word for word in get_args(Coverage)})
_POOR: Final[Mapping[Coverage, int]] = MappingProxyType({"appended": 1, "twin": 2, "cut": 2})
CUT_FROM: Final = 900  # bytes: the least that anything cuts lines at, 1024, without what stands before them
_NO_ADDRESS: Final = ("unix", "/", "@", "envoy://")  # UNIX sockets by name, path, abstract name; listeners inside Envoy
_INJECTED: Final = ("proxy_injection",)


Get = Callable[[Values], "Endpoint | None"]


def first_of(readers: Sequence[Reader]) -> Reader:
    """The reader of a log in which lines of several formats stand side by side: the first that fits reads a line.

    Only for formats that no line has in common, whatever clients write into it.
    """
    if len(readers) == 1:
        return readers[0]

    def read(line: Line) -> Observation | Skipped | Heartbeat:
        errors = []
        for reader in readers:
            try:
                return reader(line)
            except FormatError as error:
                if error.reason in ("two_readings", "truncated"):
                    raise  # another format would not mend it
                errors.append(error)
        raise max(errors, key=lambda error: (error.reason != "no_match", error.at or 0))

    return read


def compile_columns(setup: Setup, roles: Roles, manner: Manner = PLAIN) -> Callable[[Line, Values], Observation]:
    """The function from a line and its values to the observation; raises FormatError from it."""
    roles = kept_columns(setup, roles)
    peers_of = _peers(setup, roles, manner)
    local_of, proxied_of, near_of, far_of = (
        _endpoint(roles, word, manner) or _nowhere for word in ("local", "proxied", "upstream_local", "upstream_peer")
    )
    time_of, headers_of = compile_span(setup, roles, manner), _headers(setup, roles, manner)
    http_of, ids_of = _http(roles, manner), _own_ids(setup, roles, manner)
    text_of = {word: _text(roles, word, manner) for word in ("instance", "connection_serial", "request_serial")}
    instance_of, connection_of, request_of = text_of.values()
    kind, by_proxy = manner.kind, setup.logs_peer == "proxy"
    is_json, closed, shown = manner.is_json, manner.closed, _source_column(setup, roles, manner)

    # Hot: the stage `parse` of `python -m benchmarks`. Called once for every line: one construction by position,
    # nothing looked up by name.
    def observe(line: Line, values: Values) -> Observation:
        if line.headless or line.unended:
            refuse_part(line, is_json=is_json, closed=closed)
        start, latest, end, time_by = time_of(line, values)
        peer, stated = peers_of(values)
        proxied = proxied_of(values)
        if by_proxy and peer is not None and proxied is None:
            proxied, stated = stated, None  # beside the socket, the replaced address is the PROXY source itself
            if shown == "late" and proxied is not None and proxied.address == peer.address:
                proxied = None  # or it was not replaced
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
            source_column=shown,
        )

    told = with_onward(setup, roles, manner, observe)
    return told if not manner.forgeable else _short_only(told)


def _source_column(setup: Setup, roles: Roles, manner: Manner) -> Literal["sure", "late"] | None:
    """`Observation.source_column`: sure in a column of its own, and where only whole requests are logged."""
    if setup.logs_peer == "realip":
        return "late" if manner.late else None
    if index_of(roles, "proxied.ip") is not None:
        return "sure"
    return None if setup.logs_peer != "proxy" else "late" if manner.late else "sure"


def _short_only(observe: Callable[[Line, Values], Observation]) -> Callable[[Line, Values], Observation]:
    """Refuses lines as long as those that HAProxy and syslog daemons cut."""

    def observe_short(line: Line, values: Values) -> Observation:
        if len(line.text) >= CUT_FROM:
            raise FormatError("truncated")
        return observe(line, values)

    return observe_short


def refuse_part(line: Line, *, is_json: bool = False, closed: bool = False) -> None:
    """Refuse as `truncated` a line of text that may be only part of one; `closed` as in `matcher.LineEnd`.

    Who writes a long line would choose where its last part begins, and what a part that was cut shows at its end.
    """
    if (line.headless and not is_json) or (line.unended and not (is_json or closed)):
        raise FormatError("truncated")


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
            return None if value is None or value in absent or value.startswith(_NO_ADDRESS) else read(value)

        return whole
    if alone is None:
        return None

    def halves(values: Values) -> Endpoint | None:
        value = values[alone]
        if value is None or value in absent or value.startswith(_NO_ADDRESS):
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
    zero_said = manner.port_zero_said and index_of(roles, "logged") is not None
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
            return (None, logged) if zero_said and logged.port is None else (logged, stated_of(values))
        if socket is not None and socket.address == logged.address and not replaced:
            return (socket if socket.port is not None else logged), None
        return socket, Endpoint(logged.address) if bare else logged

    return peers_of


def _headers(setup: Setup, roles: Roles, manner: Manner) -> Callable[[Values], SortedHeaders]:
    """All header columns of a line, sorted into claims, proofs, ids."""
    columns: dict[str, tuple[int, Coverage, int]] = {}
    for index, role in enumerate(roles):
        if role is not None and role.word == "header":
            known = columns.get(role.name)
            coverage = _COVERAGES[role.how]
            # As received is better than as sent on, and that better than a column that may have been cut.
            if known is None or _POOR.get(coverage, 0) < _POOR.get(known[1], 0):
                columns[role.name] = (index, coverage, role.limit)
    table = tuple((name, *column) for name, column in columns.items())
    absent, unescape, more, mints = manner.absent, manner.unescape, manner.more_headers, setup.mints
    if not table and more is None:
        nothing = sort_headers(setup, ())
        return lambda _: nothing

    def headers_of(values: Values) -> SortedHeaders:
        pairs: list[HeaderColumn] = []
        for name, index, coverage, limit in table:
            value = values[index]
            if value is None or value in absent:
                pairs.append((name, (), coverage))
            else:
                cut = limit and len(value.encode("utf-8", "replace")) >= limit
                pairs.append((name, (unescape(value),), "cut" if cut else coverage))
        if more is not None:
            pairs += [pair for pair in more(values) if pair[0] not in mints]
        return sort_headers(setup, pairs)

    return headers_of


def _http(roles: Roles, manner: Manner) -> Callable[[Values], tuple[Http | None, tuple[str, ...]]]:
    """What the line says of the request, and whether its request line is a PROXY header."""
    if manner.kind == "connection":
        return lambda _: (None, ())
    indexes = tuple(index_of(roles, word) for word in _HTTP_TEXTS)
    request, counts = index_of(roles, "request"), tuple(index_of(roles, word) for word in _HTTP_NUMBERS)
    absent, unescape, lasted = manner.absent, manner.unescape, compile_duration(roles, manner)

    def text(values: Values, index: int | None) -> str | None:
        value = None if index is None else values[index]
        return None if value is None or value in absent else unescape(value)

    def count(values: Values, index: int | None) -> int | None:
        value = None if index is None else values[index]
        return None if value is None or value in absent or value == "-1" else number(value.removeprefix("+"))

    def http_of(values: Values) -> tuple[Http | None, tuple[str, ...]]:
        method, target, protocol, host, agent, referer = [None if at is None else text(values, at) for at in indexes]
        notes: tuple[str, ...] = ()
        line = text(values, request)
        if line is not None:
            method, target, protocol = split_request(line)
            notes = _INJECTED if line.startswith("PROXY ") else ()
        status, received, sent = [None if at is None else count(values, at) for at in counts]
        answered = status or None  # 0, 000: nothing was answered
        duration = lasted(values)
        return Http(method, target, host, protocol, answered, agent, referer, received, sent, duration), notes

    return http_of


_HTTP_TEXTS: Final = ("method", "target", "protocol", "host", "user_agent", "referer")
_HTTP_NUMBERS: Final = ("status", "request_bytes", "response_bytes")


def split_request(line: str) -> tuple[str | None, str | None, str | None]:
    """Method, target and protocol of a request line; what is none is all target.

    >>> split_request("GET /a b HTTP/1.1"), split_request("HELP"), split_request("\\x16\\x03 b")
    (('GET', '/a b', 'HTTP/1.1'), (None, 'HELP', None), (None, '\\x16\\x03 b', None))
    """
    method, blank, rest = line.partition(" ")
    if not blank or not method.replace("-", "").replace("_", "").isalnum() or not method.isascii():
        return None, line, None
    target, blank, protocol = rest.rpartition(" ")
    if blank and protocol.startswith("HTTP/"):
        return method, target, protocol
    return method, rest, None


def _own_ids(setup: Setup, roles: Roles, manner: Manner) -> Callable[[Values, Ids | None], Ids | None]:
    """Ids with columns of their own, added to those the headers brought; the writer's own trace goes first."""
    carried = carried_in(setup, roles)
    requests = tuple(
        (index, name, role.how == "cut")
        for index, role in enumerate(roles)
        if role is not None and role.word == "request_id"
        for name in (role.name, *(carried if role.sent else ()))
    )
    trace, span, parent = (index_of(roles, word) for word in ("trace", "span", "parent"))
    if not requests and trace is None:
        return lambda _, said: said
    absent, unescape = manner.absent, manner.unescape
    role = None if trace is None else roles[trace]
    header = None if role is None or role.sent else ""

    def ids_of(values: Values, said: Ids | None) -> Ids | None:
        own = trace_ids(header, *(None if index is None else values[index] for index in (trace, span, parent)))
        shown = ((name, values[index] or "", cut) for index, name, cut in requests)
        minted = tuple(
            (name, unescape(value))
            for name, value, cut in shown
            if value not in absent and not (cut and not is_whole_id(value))
        )
        if own is None and not minted:
            return said
        base = own or said
        before = () if said is None else said.requests
        if base is None:
            return Ids(requests=minted)
        return Ids(base.trace, base.span, base.parent, base.scheme, base.bits, base.raw, minted + before, base.header)

    return ids_of


def trace_ids(header: str | None, trace: str | None, span: str | None, parent: str | None) -> Ids | None:
    """The writer's own trace, span and parent, as it prints them; what is no id is none, and no error.

    `header`: "" where the column may hold what came from outside.
    """
    if trace is None or len(trace) not in (16, 32) or not _is_id(trace):
        return None
    full = trace.lower().rjust(32, "0")
    own, called = (
        text.lower() if text is not None and len(text) == 16 and _is_id(text) else None for text in (span, parent)
    )
    return Ids(full, own, called, "other", 4 * len(trace), trace if trace != full else None, (), header)


def _is_id(text: str) -> bool:
    return set(text) <= _HEX and text.strip("0") != ""


_HEX: Final = frozenset("0123456789abcdefABCDEF")
