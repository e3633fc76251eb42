"""The nouns. Frozen; a step of the pipeline is a function from one to the next.

Units: time is `int` nanoseconds since the Unix epoch, UTC (`_ns`). Absent: None "did not say", "" "said nothing".
Addresses are parsed once and canonical: RFC 5952 text, IPv4-mapped IPv6 is IPv4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

Kind = Literal["request", "connection", "translation", "span"]
LogsPeer = Literal["socket", "proxy", "realip"]
Mode = Literal["append", "overwrite", "append2"]
Verdict = Literal["seen", "vouched", "joined", "internal", "unknown"]
Coverage = Literal["all", "first", "last", "cut", "twin", "remainder", "appended"]


class Address(Struct, frozen=True, gc=False):
    """One IP address."""

    text: str  # canonical, RFC 5952
    number: int
    version: Literal[4, 6]
    scope: Literal["global", "local", "impossible"]  # who may hold it; see addresses.scope_of


class Endpoint(Struct, frozen=True, gc=False):
    """An address and, where it is known, a port."""

    address: Address
    port: int | None = None  # None: not said; a logged port 0 is None too


class Node(Struct, frozen=True, gc=False):
    """One entry of a forwarding header, as written and as read."""

    text: str  # as written, trimmed
    address: Address | None = None  # None: unreadable or deliberately hidden
    port: int | None = None
    fault: str | None = None  # why `address` is None: unknown, obfuscated, empty, bad_address …
    zone: str | None = None  # IPv6 zone, dropped for comparison


class ProxyHeader(Struct, frozen=True, gc=False):
    """A PROXY protocol header, v1 or v2."""

    version: Literal[1, 2]
    result: Literal["proxy", "local", "unknown", "unspec"]
    length: int  # bytes of the header on the wire; what follows is payload
    transport: str | None = None  # TCP4 TCP6 UDP4 UDP6 UNIX_STREAM UNIX_DGRAM
    source: Endpoint | None = None  # None for LOCAL, UNKNOWN, UNSPEC and UNIX sockets
    destination: Endpoint | None = None
    source_path: str | None = None  # UNIX sockets only
    destination_path: str | None = None
    tlvs: tuple[tuple[int, bytes], ...] = ()  # (type, value) in wire order
    tlv_fault: str | None = None  # why reading the TLVs stopped early; the addresses still hold


class Claim(Struct, frozen=True, gc=False):
    """One forwarding header as the observing system received it.

    `values` are its lines in wire order.  `coverage` says how much of it the log shows: `all` lines; the `first` or the
    `last`; a `cut` at N bytes; a `twin` (lines of a name with `_` for `-`, which no proxy strips, may be among them);
    the `remainder` after realip consumed the trusted entries; `appended`: all, with the system's own peer at the end.
    """

    name: str  # lower case, dashes
    values: tuple[str, ...]
    coverage: Coverage = "all"


class Ids(Struct, frozen=True, gc=False):
    """Trace and request ids of one request; all are claims unless minted."""

    trace: str | None = None  # 32 lower-case hex, never all zero
    span: str | None = None  # 16 lower-case hex: the writer's own span
    parent: str | None = None  # 16 lower-case hex: the span that called
    scheme: str | None = None  # w3c b3 xray gcp jaeger datadog otlp other
    bits: int | None = None  # 64 or 128: how much of `trace` was said
    raw: str | None = None  # the trace id as written, where it differs
    requests: tuple[tuple[str, str], ...] = ()  # (scheme, value), a namespace of their own
    header: str | None = None  # that `trace` was read from; None: the writer's own; "": a field, from anywhere


class Http(Struct, frozen=True, gc=False, omit_defaults=True):
    """What the line says of the request itself. Units: bytes, ns."""

    method: str | None = None
    target: str | None = None  # path and query as logged
    host: str | None = None
    protocol: str | None = None
    status: int | None = None
    user_agent: str | None = None
    referer: str | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    duration_ns: int | None = None


class Line(Struct, frozen=True, gc=False):
    """One framed input, with where it came from."""

    raw: bytes  # what is kept, hashed and written out again: no line end
    text: bytes  # what the format reads: `raw` without its wrappers
    file: str = ""  # fingerprint of the input, or its topic id
    offset: int = 0  # bytes, in the uncompressed stream
    index: int = 0  # which one, where one framed message holds several
    stamp_ns: int | None = None  # the wrapper's time
    instance: str | None = None  # which of the system's processes wrote it
    stream: str = ""  # CRI stream, for rejoining its parts
    partial: bool = False  # a part of a longer line (CRI `P`, Docker without newline)
    headless: bool = False  # nothing before it was read: it may be the last part of a longer line
    unended: bool = False  # the input ends here without a line end, so the line may have gone on


class Setup(Struct, frozen=True, kw_only=True):
    """How one system writes: what a format needs to compile its reader."""

    system: str
    format: str
    network: str = "default"
    pattern: str | None = None  # log_format string, for compiled formats
    escape: str | None = None  # nginx escape=default|json|none
    logs_peer: LogsPeer | None = None  # what the logged peer is; None only where it cannot be replaced
    timezone: str | None = None  # IANA name, for stamps without a zone
    max_skew_ns: int = 0  # bound of the system's clock error, either way
    stamped_within_ns: int | None = None  # how far stamps of receipt trail their events; None: nobody says
    retries: bool = True  # it may send a request again after a server may have read it
    captures: tuple[str, ...] = ()  # names of HAProxy captured headers, in order
    trace_fields: tuple[str, ...] = ()  # extra fields that hold ids
    mints: tuple[str, ...] = ()  # id headers this system always overwrites
    passes_ids: tuple[str, ...] = ()  # the only other id headers that go on; empty: anything may
    appends_before_log: bool = False  # logs X-Forwarded-For after adding its own peer
    relayed: bool = False  # its lines came through syslog, which cuts long ones
    drops_underscores: bool | None = None  # its server drops headers with `_` in their names; None: by the format
    claim_headers: frozenset[str] = frozenset()  # headers some system conveys, beside the well-known ones
    proof_headers: frozenset[str] = frozenset()  # headers whose values become keyed hashes when read
    proof_key: bytes = b""  # key of those hashes
    options: tuple[tuple[str, str], ...] = ()  # format-specific, documented by the format


class Numbered(Struct, frozen=True, gc=False):
    """The running number a witness gave this line, so that a lost one is noticed."""

    session: str  # one run of the collector: boot id and start
    number: int  # rises by one within a session
    at_ns: int  # what happened up to this moment has a number up to this one; never falls within a session
    since_ns: int  # what happened after this moment has a number of at least this one
    gap: bool = False  # the line also says that something was lost before it


class Link(Struct, frozen=True, gc=False):
    """An inner or calling span: leads from the span a callee names back to the one that served the request."""

    trace: str
    span: str
    parent: str
    start_ns: int
    end_ns: int


class Observation(Struct, frozen=True, gc=False):
    """What one system says it saw of one request, connection or translation."""

    setup: Setup
    kind: Kind
    start_ns: int | None  # earliest moment the request can have begun
    start_latest_ns: int | None  # latest such moment: stamp resolution and max_skew are inside
    end_ns: int | None  # best estimate of the end
    time_by: str | None  # own | wrapper | arrival; None: no time at all
    peer: Endpoint | None = None  # the far end of the system's own socket: seen
    stated: Endpoint | None = None  # the logged address after PROXY or realip replaced it: said
    local: Endpoint | None = None  # the near end of that socket
    proxied: Endpoint | None = None  # source of the PROXY header on that connection
    proxied_by: str | None = None  # proxy_v1 | proxy_v2 | proxy
    claims: tuple[Claim, ...] = ()
    upstream_local: Endpoint | None = None  # near end of the connection to the next hop
    upstream_peer: Endpoint | None = None
    ids: Ids | None = None
    http: Http | None = None
    instance: str | None = None
    connection_serial: str | None = None
    request_serial: int | None = None
    extendable: bool = False  # the text is one JSON object without a key `clientip`
    proofs: tuple[tuple[str, str], ...] = ()  # (header, value) that may prove a shared owner
    notes: tuple[str, ...] = ()  # findings the reader itself made, see reasons.FINDINGS
    transport: str | None = None  # tcp, udp …; None: not said, so that of the protocol
    assured: bool | None = None  # translations: whether both ends were seen to speak; None: not said
    numbered: Numbered | None = None
    connected_ns: int | None = None  # latest begin of the connection onward, of a line written then; None: at its end
    retried_until_ns: int | None = None  # until then it may have been on a connection that is not shown; None: no
    end_slack_ns: int | None = None  # how far `end_ns` may be off, either way; None: as far as the start
    source_column: Literal["sure", "late"] | None = None  # shows PROXY's or realip's address; late: or the socket's


class Heartbeat(Struct, frozen=True, gc=False):
    """A witness's line that says only: up to here I have told everything."""

    line: Line
    setup: Setup
    numbered: Numbered


class Skipped(Struct, frozen=True, gc=False):
    """A line that is no observation and no error: comment, blank, inner span."""

    line: Line
    reason: str
    setup: Setup | None = None  # whose link it is
    link: Link | None = None


class Part(Struct, frozen=True, gc=False):
    """A line that is only part of another one, which will carry it."""

    line: Line


class Rejected(Struct, frozen=True, gc=False):
    """A line no one could read, kept whole, with the reason and the place."""

    line: Line
    reason: str  # word of reasons.REJECTED
    at: int | None = None  # byte offset in `line.text`
    detail: str | None = None  # finer word: which field, which check


class Promise(Struct, frozen=True):
    """One thing a system promises to tell its next hop, for every request."""

    source: str  # "proxy", or a lower-case header name
    mode: Mode = "append"


class Proof(Struct, frozen=True):
    """A header that only the real owner of a shared range can have written."""

    header: str  # lower case
    value: str  # keyed hash of the secret, or the plain value where it is no secret


class Ownership(Struct, frozen=True):
    """A range of addresses that belongs to one system, from–to."""

    low: int
    high: int
    version: Literal[4, 6]
    text: str  # as the operator wrote it, canonical
    from_ns: int | None = None  # None: always
    until_ns: int | None = None  # exclusive
    network: str | None = None  # None: the system's own


class System(Struct, frozen=True, kw_only=True):
    """One deployed thing, as the operator drew it."""

    name: str
    network: str = "default"
    owns: tuple[Ownership, ...] = ()
    peers: frozenset[str] = frozenset()  # system names, "outside", "internal"
    conveys: tuple[Promise, ...] = ()
    keeps: frozenset[str] = frozenset()  # headers that it passes on as they came
    drops: frozenset[str] = frozenset()  # headers that it never passes on
    carries: tuple[str, ...] = ()  # systems whose bytes it passes through
    shared: bool = False  # strangers send from its range too
    proof: tuple[Proof, ...] = ()
    logs_peer: LogsPeer | None = None
    believes: tuple[str, ...] = ()  # from whom it accepts PROXY or realip headers
    probes: tuple[str, ...] = ()  # paths of health checks
    mints: tuple[str, ...] = ()  # id headers it always overwrites, lower case
    passes_ids: tuple[str, ...] = ()  # id headers of which it passes one line, the logged one, and no other such header
    tells: bool = False  # what its log shows may answer for others
    connects: bool = False  # its log shows the near end of its connections to the next hop
    translates: bool = False  # its log is of NAT: what it does not show of its addresses, it opened itself
    lossless: bool = False  # the operator's word: no line of its log goes missing
    writes_begins: bool = False  # its log shows connections when they begin, not when they are over
    longest_ns: int | None = None  # no request or connection of it lasts longer; None: the operator says nothing
    instances: tuple[tuple[str, tuple[Endpoint, ...]], ...] = ()  # (name, its own addresses; ports where it listens)
    fronts: tuple[Endpoint, ...] = ()  # addresses that a translator leads to where it listens
    anywhere: bool = False  # `resolve` only: owns whatever address reaches it


class Step(Struct, frozen=True, gc=False, omit_defaults=True):
    """One address looked at while walking, nearest first."""

    system: str | None  # owner; None: nobody we know
    address: str | None  # None: the socket was not logged
    port: int | None
    by: str  # what named it: socket, proxy_v1, proxy_v2, proxy, realip, config, a header name
    evidence: str  # seen | vouched | stated | config | joined
    record: str | None = None  # joined: the record id of the line that told it


class Unbelieved(Struct, frozen=True, gc=False):
    """A header's text that nobody on the path vouched for."""

    header: str
    value: str


class Stop(Struct, frozen=True, gc=False):
    """Where a walk needs another log: who could tell, and of which connection."""

    systems: tuple[str, ...]  # possible owners of `source`; empty: the socket was not logged
    source: Endpoint | None  # far end of the connection, as the near side met it
    target: Endpoint | None  # near end; None: not logged
    passed: tuple[str, ...]  # systems the walk went through, nearest first
    at: int  # how many answers the walk has used


class Candidate(Struct, frozen=True, gc=False):
    """A client that fits and is not proved: never the client."""

    address: str
    port: int | None
    method: str  # trace, request_id, connection_log …
    record: str  # of the line that names it


class Resolution(Struct, frozen=True, gc=False):
    """Who the client is and how that is known, or why it is not."""

    verdict: Verdict
    client: Endpoint | None  # filled for seen, vouched, joined; for internal: where the walk ended
    method: str | None  # what gave the client: socket, proxy_v2, x-forwarded-for, …
    reason: str | None  # word of reasons.UNKNOWN; None unless verdict is unknown
    path: tuple[Step, ...]
    claims: tuple[Unbelieved, ...] = ()  # what was said and not believed
    findings: tuple[str, ...] = ()  # words of reasons.FINDINGS
    stopped_at: str | None = None  # unknown: the system that did not vouch, where there is one
    candidates: tuple[Candidate, ...] = ()
    stop: Stop | None = None  # unknown: what another log could tell

    @property
    def named(self) -> Endpoint | None:
        """The client of `seen`, `vouched` and `joined`; None for any other verdict.

        >>> Resolution("internal", Endpoint(Address("10.0.0.7", 167772167, 4, "local")), "socket", None, ()).named
        """
        return self.client if self.verdict in ("seen", "vouched", "joined") else None


Reader = Callable[[Line], "Observation | Skipped | Heartbeat"]


class Sample(Struct, frozen=True, kw_only=True):
    """A line of a format, and what must be read from it: example, doc and test in one."""

    line: bytes
    setup: tuple[tuple[str, object], ...] = ()  # Setup fields beside system and format
    expect: tuple[tuple[str, object], ...] = ()  # dotted Observation path → text form or number
    rejected: str | None = None  # the reason, where the line must be refused
    skipped: str | None = None


class Format(Struct, frozen=True, kw_only=True):
    """How one kind of system writes; a row of `formats.FORMATS`."""

    name: str
    title: str
    compile: Callable[[Setup], Reader]  # raises ConfigError with keys relative to the system (`pattern` …)
    samples: tuple[Sample, ...]
    logs_peer: tuple[LogsPeer, ...] = ()  # what the logged peer may be; empty: always the socket
    pattern: Literal["none", "optional", "required"] = "none"
    known_patterns: tuple[tuple[str, str], ...] = ()  # (name, pattern) shipped by vendors; the first is the default
    side_by_side: tuple[str, ...] = ()  # names of the patterns that are read together where none is given
    options: tuple[tuple[str, str], ...] = ()  # (key of `Setup.options`, what it says)
    ids: tuple[tuple[str, str], ...] = ()  # (column, how it shows an id: a word of formats.SHOWN)
    split: Callable[[bytes], tuple[bytes, ...]] | None = None  # one framed message to self-contained ones
    framing: Literal["lines", "length32"] = "lines"  # how a file holds messages
    connections: str | None = None  # word of a pattern that shows the near end of connections onward; "": always shown
    tries: tuple[str, str] = ("", "")  # patterns of what shows that a log is of requests, and how often one was sent on
    writes: frozenset[str] = frozenset()  # begins: a line when a connection begins; receipts: stamps of receipt
    drops_underscores: bool | None = None  # what nothing said of it means; None: it keeps `_` and `-` apart
    ask_for: str = ""  # the log configuration to ask the operator for: shows socket, port, headers, ids


class Record(Struct, frozen=True, gc=False):
    """What leaves: one observation with its resolution."""

    line: Line
    observation: Observation
    resolution: Resolution
    record_id: str  # 32 hex
    entry: bool  # no system nearer to the client on the path has inputs: count these
    geo: tuple[tuple[str, str | int | float], ...] = ()  # of the client only


class Fact(Struct, frozen=True, gc=False):
    """A translation or connection: evidence for others, written only on request."""

    record: Record


Outcome = Record | Fact | Heartbeat | Part | Skipped | Rejected
