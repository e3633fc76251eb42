"""What lines tell each other and ask each other: nouns that travel under a join key.

A join key is text whose first word says of which kind it is:
`conn` network, transport and the far end of a connection; `request` scheme and id;
`trace` the trace id; `line` the record id of a line whose own walk is awaited.
Units: ns since the epoch.  Addresses are canonical text, so that a noun is plain data.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from clientip.trust.answers import Ended, Site

Role = Literal["translation", "connection", "request", "link"]

SEPARATOR: Final = "\x1f"  # stands in no header value and no address
UUID_LENGTH: Final = 36
TRACE_FLAG: Final = 14  # Envoy writes its sampling decision over this character of its request ids


class JoinFact(Struct, frozen=True, gc=False, array_like=True):
    """One fact: what a line proves to others under one key."""

    key: str
    system: str
    instance: str
    record: str
    role: Role
    event: str  # NEW, UPDATE, DESTROY, LIST of translations; NEW of connections; "" where the line tells the whole
    begin: int | None  # earliest and latest moment it can have begun; None: not known
    begin_latest: int | None
    end: int | None
    slack: int  # how far `end` may be off, either way
    target: Site | None = None  # near end of the connection
    peer: Site | None = None  # the witness's own far and near end
    local: Site | None = None
    stated: bool = False
    own: bool = False
    assured: bool | None = None
    minted: bool = False  # the id was made by the witness for this request alone
    span: str | None = None
    parent: str | None = None
    ended: Ended | None = None  # requests: how its own walk ended; None: it asks itself


class JoinQuestion(Struct, frozen=True, gc=False, array_like=True):
    """One question: which fact under this key is about this request?"""

    key: str
    number: int  # whose question it is: the asker's place in its chunk
    chunk: int
    witnesses: tuple[str, ...]  # systems whose facts count, nearest first
    system: str
    instance: str
    serial: int | None  # the asker's number of the connection, rising
    earliest: int | None  # the request's start: earliest (None: not known) and latest moment
    latest: int
    end: int | None
    source: str = ""  # conn: address of the far end
    target: Site | None = None  # conn: near end; a port of None: not logged
    http1: bool = True  # conn: one request at a time on it
    parent: str | None = None  # trace: the span that called
    nat: bool = False  # conn: every possible owner of the source is a NAT device that tells
    fronts: tuple[
        Site, ...
    ] = ()  # conn: what a connection to the near end may have been addressed to before translation
    passing: tuple[str, ...] = ()  # request, trace: witnesses from which only such ids go on as their logs show
    minting: tuple[str, ...] = ()  # request, trace: witnesses that overwrite the header which the asker read


def conn_key(network: str, transport: str, source: Site) -> str:
    """The key of the connection whose far end is `source`.

    >>> conn_key("default", "tcp", ("10.0.0.1", 4711)).split(SEPARATOR)
    ['conn', 'default', 'tcp', '10.0.0.1', '4711']
    """
    return SEPARATOR.join(("conn", network, transport, source[0], str(source[1])))


def request_key(scheme: str, value: str) -> str:
    """The key of a request id; the character in which Envoy notes its sampling does not count.

    >>> request_key("x-request-id", "785918d6-06b6-9312-bf77-6d9bd968dc21")[-36:]
    '785918d6-06b6-*312-bf77-6d9bd968dc21'
    """
    if len(value) == UUID_LENGTH and value[TRACE_FLAG - 1] == "-":
        value = f"{value[:TRACE_FLAG]}*{value[TRACE_FLAG + 1 :]}"
    return SEPARATOR.join(("request", scheme, value))


def trace_key(trace: str) -> str:
    """The key of a trace."""
    return f"trace{SEPARATOR}{trace}"


def line_key(record: str) -> str:
    """The key of a line whose own walk is awaited."""
    return f"line{SEPARATOR}{record}"


def kind_of(key: str) -> str:
    """conn, request, trace or line."""
    return key.partition(SEPARATOR)[0]
