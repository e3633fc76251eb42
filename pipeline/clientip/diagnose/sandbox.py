"""Try a trust setting without a log: one question row to one answer row (`clientip resolve`).

A row draws its own little graph: each `trust` entry is one system, the first is
nearest to us, its neighbours are itself, the next entry and the outside.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from clientip.config.topology import promise_fault
from clientip.diagnose.row_faults import row_fault
from clientip.errors import FormatError
from clientip.model import Endpoint, Mode, Observation, Ownership, Promise, Setup, System, Unbelieved
from clientip.syntax.addresses import holds, parse_range, read_endpoint
from clientip.syntax.headers import sort_headers
from clientip.syntax.proxyheader import parse_proxy
from clientip.trust.graph import Graph, draw
from clientip.trust.walk import resolve

MAX_HOPS = 30
MAX_SYSTEMS = 1000  # of one row, hops counted one by one; a walk takes far fewer steps
_US = "us"


class Conveyed(Struct, forbid_unknown_fields=True):
    """A promised header; a bare string "proxy" stands for the PROXY protocol."""

    header: str
    mode: Mode = "append"


class Trusted(Struct, forbid_unknown_fields=True):
    """One system. Without `addresses` any peer is its own; `hops` counts such systems in a row."""

    addresses: list[str] | None = None
    conveys: list[str | Conveyed] = []
    hops: int | None = None


class ResolveRow(Struct, forbid_unknown_fields=True):
    """One request as one server met it. `peer` null (or `unix:…`): owned by the first entry."""

    id: msgspec.Raw = msgspec.Raw(b"null")
    peer: str | None = None
    headers: list[tuple[str, str]] = []
    proxy_hex: str | None = None
    trust: list[Trusted] = []


class Client(Struct):
    """The client, also for `internal`."""

    ip: str
    port: int | None


class ResolveAnswer(Struct):
    """What the walk found; `claims` and `findings` as in a record."""

    id: msgspec.Raw
    client: Client | None
    verdict: str
    method: str | None
    reason: str | None
    claims: tuple[Unbelieved, ...]
    findings: tuple[str, ...]


class ResolveRefusal(Struct):
    """A row that cannot mean anything, and why."""

    id: msgspec.Raw
    error: str


_DECODE = msgspec.json.Decoder(ResolveRow).decode
_ENCODE = msgspec.json.Encoder().encode


class _IdOnly(Struct):
    id: msgspec.Raw = msgspec.Raw(b"null")


def answer(row: bytes) -> bytes:
    """One answer row without a line end; never raises.

    >>> answer(b'{"id": 1, "peer": "203.0.113.7:5"}')
    b'{"id":1,"client":{"ip":"203.0.113.7","port":5},"verdict":"seen","method":"socket","reason":null,"claims":[],"findings":[]}'
    >>> answer(b'{"id": 2, "peer": "x"}')
    b'{"id":2,"error":"peer: \\'x\\' is no address; write one like 203.0.113.7 or 203.0.113.7:443"}'
    """
    try:
        question = _DECODE(row)
        _check_text(question.id)
        try:
            return _ENCODE(_answer(question))
        except FormatError as error:
            return _ENCODE(ResolveRefusal(question.id, str(error)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _ENCODE(ResolveRefusal(_id_of(row), row_fault(row, error)))


def _check_text(id_: msgspec.Raw) -> None:
    """The id goes out as it came, so it must be UTF-8; of all other texts the decoder sees to that."""
    bytes(id_).decode()


def _id_of(row: bytes) -> msgspec.Raw:
    try:
        id_ = msgspec.json.decode(row, type=_IdOnly).id
        _check_text(id_)
        return id_
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.Raw(b"null")  # no JSON object, or no text: its error says so, and there is no id to repeat


def _answer(question: ResolveRow) -> ResolveAnswer:
    peer = _endpoint(question.peer)
    graph, owner = _graph(question.trust, peer)
    found = resolve(graph, _observation(question, peer), owner)
    client, reason = found.client, found.reason
    if reason == "proxy_missing" and question.proxy_hex is not None:
        reason = "header_unreadable"  # it was sent, but is malformed or names a UNIX path
    return ResolveAnswer(
        question.id,
        None if client is None else Client(client.address.text, client.port),
        found.verdict,
        found.method,
        reason,
        found.claims,
        found.findings,
    )


def _endpoint(text: str | None) -> Endpoint | None:
    if text is None or text.startswith("unix:"):  # a UNIX socket has no address: owned by the first entry
        return None
    try:
        return read_endpoint(text)
    except FormatError:
        text = f"peer: {text[:100]!r} is no address; write one like 203.0.113.7 or 203.0.113.7:443"
        raise FormatError(text) from None


def _observation(question: ResolveRow, peer: Endpoint | None) -> Observation:
    lines: dict[str, list[str]] = {}
    for name, value in question.headers:
        lines.setdefault(name.lower(), []).append(value)
    wanted = frozenset(
        each.header.lower() for entry in question.trust for each in entry.conveys if isinstance(each, Conveyed)
    )
    for name in wanted:
        lines.setdefault(name, [])  # the row shows all headers: what is not there was not sent
    setup = Setup(system=_US, format="row", claim_headers=wanted)
    shown = sort_headers(setup, [(name, tuple(values), "all") for name, values in lines.items()])
    proxied, by = _proxied(question.proxy_hex, peer)
    return Observation(
        setup,
        "request",
        None,
        None,
        None,
        None,
        peer=peer,
        proxied=proxied,
        proxied_by=by,
        claims=shown.claims,
        ids=shown.ids,
        notes=shown.notes,
    )


def _proxied(text: str | None, peer: Endpoint | None) -> tuple[Endpoint | None, str | None]:
    """The PROXY source and its method; a malformed header names no client.

    LOCAL, UNKNOWN and UNSPEC mean the real connection's own end (PROXY protocol, section 2).
    """
    if text is None:
        return None, None
    try:
        data = bytes.fromhex(text)
    except ValueError:
        raise FormatError("proxy_hex: is not hexadecimal") from None
    try:
        header = parse_proxy(data)
    except FormatError:
        return None, None
    return header.source if header.result == "proxy" else peer, f"proxy_v{header.version}"


def _graph(trust: Sequence[Trusted], peer: Endpoint | None) -> tuple[Graph, System | None]:
    """The row's drawing; with it the owner of a peer that has no address."""
    if sum(max(1, min(entry.hops or 1, MAX_HOPS)) for entry in trust) > MAX_SYSTEMS:
        raise FormatError(f"trust: more than {MAX_SYSTEMS} systems")
    rows = [_row(number, entry) for number, entry in enumerate(trust)]
    if not rows and peer is None:
        raise FormatError("peer: null is owned by the first trust entry, and there is none")
    us = System(name=_US, peers=frozenset({"outside", *(row[0].name for row in rows[:1])}))
    systems, behind = [us], dict[str, System]()
    for number, row in enumerate(rows):
        following = rows[number + 1] if number + 1 < len(rows) else []
        for hop, system in enumerate(row):
            after = row[hop + 1 : hop + 2] or [system, *following[:1]]
            systems.append(msgspec.structs.replace(system, peers=frozenset({"outside", *(s.name for s in after)})))
            if after[-1].anywhere and after[-1] is not system:
                behind[system.name] = after[-1]
    drawn = {system.name: system for system in systems}
    first = drawn[rows[0][0].name] if rows else None
    if first is not None and (first.anywhere or _counted_from(trust[0], rows[0][0], peer)):
        behind[_US] = first
    graph = msgspec.structs.replace(
        draw(_owning_where_counted(trust, systems)),
        behind={name: drawn[system.name] for name, system in behind.items()},
        private_outside=True,
    )
    return graph, first if peer is None else None


def _counted_from(entry: Trusted, first: System, peer: Endpoint | None) -> bool:
    """Whether the hops of an entry that also has addresses are counted from this peer on."""
    if entry.hops is None or peer is None:
        return False
    return any(holds(own, peer.address) for own in first.owns)


def _owning_where_counted(trust: Sequence[Trusted], systems: list[System]) -> list[System]:
    """Counting hops asks only the peer for its address: behind it the n-th value is the client, whatever it is."""
    if not trust or trust[0].hops is None:
        return systems
    return [systems[0], msgspec.structs.replace(systems[1], owns=()), *systems[2:]]


def _row(number: int, entry: Trusted) -> list[System]:
    """The systems of one entry, nearest first."""
    where = f"trust[{number}]"
    if entry.hops is not None and not 1 <= entry.hops <= MAX_HOPS:
        raise FormatError(f"{where}.hops: must be 1 to {MAX_HOPS}")
    owns = tuple(_ownership(where, text) for text in entry.addresses or ())
    conveys = tuple(_promise(where, each) for each in entry.conveys)
    if len({promise.source for promise in conveys}) != len(conveys):
        raise FormatError(f"{where}.conveys: names the same source twice")
    hops = entry.hops if entry.hops is not None else 1
    return [
        System(
            name=f"{where}#{hop}",
            owns=owns if hop == 0 else (),
            conveys=conveys,
            anywhere=entry.addresses is None or hop > 0,
        )
        for hop in range(hops)
    ]


def _ownership(where: str, text: str) -> Ownership:
    try:
        low, high, version, canonical = parse_range(text)
    except FormatError as error:
        raise FormatError(f"{where}.addresses: {text!r} is no range ({error})") from None
    return Ownership(low, high, version, canonical)


def _promise(where: str, each: str | Conveyed) -> Promise:
    if isinstance(each, str):
        source, mode = each, "append"
        if each != "proxy":
            raise FormatError(f'{where}.conveys: {each!r}: write "proxy" or {{"header": …, "mode": …}}')
    else:
        source, mode = each.header.lower(), each.mode
        if source == "proxy":
            raise FormatError(f'{where}.conveys: the PROXY protocol is no header: write "proxy"')
    fault = promise_fault(source, mode)
    if fault is not None:
        raise FormatError(f"{where}.conveys: {fault}")
    return Promise(source, mode)  # type: ignore[arg-type]
