"""The headers of one request, sorted: who says what about the client, proofs, ids.

Names compare in lower case; `_` and `-` are different characters.  CGI makes them one, and
so do the variables of an nginx that lets underscores pass; proxies do not.  So
`X_Forwarded_For` is a header that no proxy strips, and where a log cannot tell it from
`X-Forwarded-For` (coverage `twin`) neither is believed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from clientip.errors import FormatError
from clientip.model import Claim, Coverage, Ids, Node, Setup
from clientip.syntax import traceids
from clientip.syntax.addresses import format_endpoint, parse_node, read_endpoint_last_colon, split_list
from clientip.syntax.forwarded import for_nodes, seal_secrets

Pairs = Sequence[tuple[str, tuple[str, ...]]]

#: Headers that proxies append to: their right end is the newest entry.
LIST_HEADERS: Final = frozenset({"x-forwarded-for", "forwarded", "x-original-forwarded-for"})

#: Headers whose value is one address, by whoever set it last.
SINGLE_HEADERS: Final = frozenset(
    {
        "cf-connecting-ip",
        "cf-connecting-ipv6",
        "client-ip",
        "cloudfront-viewer-address",
        "do-connecting-ip",
        "fastly-client-ip",
        "fly-client-ip",
        "true-client-ip",
        "x-appengine-user-ip",
        "x-azure-clientip",
        "x-azure-socketip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-proxyuser-ip",
        "x-real-ip",
    }
)

#: The well-known headers that name a client; what `Setup.claim_headers` adds to.
FORWARDING: Final = LIST_HEADERS | SINGLE_HEADERS

#: Headers that carry a request id.
REQUEST_HEADERS: Final = frozenset(
    {
        "cf-ray",
        "correlation-id",
        "request-id",
        "unique-id",
        "x-akamai-request-id",
        "x-amz-cf-id",
        "x-amzn-requestid",
        "x-appgw-trace-id",
        "x-arr-log-id",
        "x-azure-ref",
        "x-correlation-id",
        "x-kong-request-id",
        "x-request-id",
        "x-unique-id",
    }
)

_MAX_REQUEST: Final = 200  # characters of one request id
_MAX_REQUESTS: Final = 16  # ids of one request
_MAX_MEMBERS: Final = 8  # different values of one trace header; more are an attack

# In the order in which they win.  X-Ray is last: AWS balancers put one on every request.
_TRACE_HEADERS: Final[tuple[tuple[str, tuple[str, ...], Callable[..., Ids | None]], ...]] = (
    ("b3", (), traceids.b3_single),
    ("x-b3-traceid", ("x-b3-spanid",), traceids.b3_multi),
    ("uber-trace-id", (), traceids.jaeger),
    ("x-cloud-trace-context", (), traceids.gcp),
    ("x-datadog-trace-id", ("x-datadog-parent-id", "x-datadog-tags"), traceids.datadog),
    ("x-amzn-trace-id", (), traceids.xray),
)

#: Headers that name a trace.
TRACE_HEADERS: Final = frozenset({"traceparent", *(name for name, _, _ in _TRACE_HEADERS)})

#: All headers that `read_ids` looks at.
ID_HEADERS: Final = REQUEST_HEADERS.union(("traceparent",), *((name, *more) for name, more, _ in _TRACE_HEADERS))


class SortedHeaders(Struct, frozen=True, gc=False):
    """What the headers of one request hold, each under what it is good for."""

    claims: tuple[Claim, ...] = ()
    proofs: tuple[tuple[str, str], ...] = ()  # (header, keyed hash)
    ids: Ids | None = None  # None: no header named a trace or a request
    notes: tuple[str, ...] = ()  # words of reasons.FINDINGS


def is_list(name: str) -> bool:
    """Whether a header (lower case) is a list that hops append to.

    >>> is_list("x-forwarded-for"), is_list("x-real-ip")
    (True, False)
    """
    return name in LIST_HEADERS


def proof_hash(key: bytes, value: str) -> str:
    """A secret as it is kept: 32 hex of BLAKE2b (RFC 7693) under the key.

    A key longer than the 64 bytes that BLAKE2b takes is hashed first, as HMAC does.

    >>> proof_hash(b"k", "secret") == proof_hash(b"k", "secret") != proof_hash(b"l", "secret")
    True
    """
    short = key if len(key) <= 64 else blake2b(key).digest()
    return blake2b(value.encode("utf-8", "backslashreplace"), digest_size=16, key=short).hexdigest()


def claim_nodes(name: str, values: tuple[str, ...]) -> tuple[Node, ...]:
    """The entries of a forwarding header in wire order, read as this header is written.

    Lists are joined and cut up (empty members dropped); of any other header each line is
    one entry.  `cloudfront-viewer-address` always ends in a port, IPv6 without brackets.

    >>> claim_nodes("cloudfront-viewer-address", ("2001:db8::7:4658",))[0].address.text
    '2001:db8::7'
    """
    if name == "forwarded":
        return for_nodes(values)
    if is_list(name):
        return split_list(values)[0]
    return tuple(map(_viewer if name == "cloudfront-viewer-address" else parse_node, values))


def _viewer(text: str) -> Node:
    try:
        end = read_endpoint_last_colon(text.strip(" \t"))
    except FormatError as error:
        return Node(text, fault=f"bad_{error.reason}")
    node = parse_node(format_endpoint(end))
    return Node(text, node.address, node.port, node.fault)


def _members(values: tuple[str, ...]) -> tuple[str, ...]:
    """The different values of a header that must be single; proxies join repeats with a comma."""
    if len(values) == 1 and "," not in values[0]:
        return values if len(values[0]) <= traceids.MAX_VALUE else ()
    found = (part.strip(" \t") for value in values if len(value) <= traceids.MAX_VALUE for part in value.split(","))
    return tuple(dict.fromkeys(part for part in found if part))[:_MAX_MEMBERS]


def traces(pairs: Pairs) -> tuple[Ids, ...]:
    """One `Ids` for each trace that some header names, the strongest header first.

    Order: traceparent, b3, x-b3-*, uber-trace-id, x-cloud-trace-context, x-datadog-*,
    x-amzn-trace-id.  A repeated header gives several of one scheme, except traceparent,
    which the standard then declares void; and of x-b3-* or x-datadog-* the further
    headers count only where none of them is repeated.

    >>> [ids.scheme for ids in traces([("b3", ("802bd09f480b5faa-e457b5a2e4d86bd1-1",)), ("traceparent", ("-",))])]
    ['b3']
    """
    said: dict[str, tuple[str, ...]] = {}
    for name, values in pairs:
        if name not in REQUEST_HEADERS:
            said[name] = said.get(name, ()) + values
    if not said:
        return ()
    parents = said.get("traceparent", ())
    found = [traceids.w3c(parents[0])] if len(parents) == 1 else []
    for name, more, read in _TRACE_HEADERS:
        if name in said:
            members = _members(said[name])
            parts = [",".join(said.get(other, ())) for other in more] if len(members) == 1 else []
            found += [read(member, *parts) for member in members]
    return tuple(ids for ids in found if ids is not None)


def disagree(found: Sequence[Ids]) -> bool:
    """Whether two headers name different traces; 64-bit ids are compared by their half.

    X-Ray is compared with itself only: AWS balancers begin a Root of their own beside a
    traceparent that they pass through.

    >>> disagree([traceids.b3_multi("a" * 16), traceids.b3_multi("b" * 16 + "a" * 16)])
    False
    >>> disagree([traceids.b3_multi("c" * 32), traceids.b3_multi("b" * 16 + "a" * 16)])
    True
    """
    if len(found) < 2:
        return False
    rooted = [ids for ids in found if ids.scheme == "xray"]
    return _differ(rooted) or _differ([ids for ids in found if ids.scheme != "xray"])


def _differ(found: Sequence[Ids]) -> bool:
    lows = {ids.trace[16:] for ids in found if ids.trace}
    whole = {ids.trace for ids in found if ids.bits == 128}
    return len(lows) > 1 or len(whole) > 1


def requests(pairs: Pairs) -> tuple[tuple[str, str], ...]:
    """The request ids, as (header name, value), in header order; repeats are all kept.

    Values stay as written, but for CF-Ray, which loses its data centre (`-AMS`): logs of
    Cloudflare do not print it.  X-Amzn-Trace-Id gives `xray_root`, so that a balancer's
    line is found again where another trace won, and `xray_self`: one pass through one balancer.

    >>> requests([("cf-ray", ("761fde4e984e5ab2-AMS",)), ("x-request-id", ("-",))])
    (('cf-ray', '761fde4e984e5ab2'),)
    """
    found: dict[tuple[str, str], None] = {}
    for name, values in pairs:
        if name in REQUEST_HEADERS:
            for text in map(traceids.clean, _members(values)):
                value = text.partition("-")[0].lower() if name == "cf-ray" else text
                if 0 < len(value) <= _MAX_REQUEST:
                    found[name, value] = None
        elif name == "x-amzn-trace-id":
            for text in _members(values):
                found.update(dict.fromkeys(_passes(text)))
    return tuple(found)[:_MAX_REQUESTS]


def _passes(text: str) -> Iterable[tuple[str, str]]:
    ids = traceids.xray(text)
    if ids and ids.trace:
        yield "xray_root", ids.trace
    for part in traceids.clean(text).split(";"):
        if part.startswith("Self=") and len(part) <= _MAX_REQUEST:
            yield "xray_self", part[5:]


def read_ids(pairs: Pairs) -> Ids:
    """What the headers of one request say, names in lower case, values as lines in wire order.

    The strongest header that names only one trace wins, and `scheme` says which; whether
    others name another one: `disagree(traces(pairs))`.

    >>> read_ids([("b3", ("802bd09f480b5faa-e457b5a2e4d86bd1-1",)), ("cf-ray", ("-",))]).scheme
    'b3'
    """
    return _chosen(traces(pairs), requests(pairs))


def _chosen(found: Sequence[Ids], said: tuple[tuple[str, str], ...]) -> Ids:
    for ids in found:
        if len(found) == 1 or not _differ([other for other in found if other.scheme == ids.scheme]):
            return Ids(ids.trace, None, ids.parent, ids.scheme, ids.bits, ids.raw, said, ids.header)
    return Ids(requests=said)


def sort_headers(setup: Setup, pairs: Iterable[tuple[str, tuple[str, ...], Coverage]]) -> SortedHeaders:
    """Headers as (name, lines in wire order, coverage) to claims, proofs and ids.

    A forwarding header with no lines gives a claim without values: the log would have
    shown it.  A name that comes twice (in another case) is one header, its lines in the
    order of coming.  An id that may be cut counts only if its form shows its end, one that
    may be of a twin not at all.  Proofs
    and the `secret` of Forwarded leave only as keyed hashes; a proof header is nothing else.
    The rest is dropped.

    >>> sort_headers(Setup(system="a", format="b"), [("X-Real-IP", ("192.0.2.1",), "all")]).claims[0].name
    'x-real-ip'
    """
    claims: dict[str, Claim] = {}
    proofs: list[tuple[str, str]] = []
    ids: list[tuple[str, tuple[str, ...]]] = []
    for written, values, coverage in pairs:
        name = written.lower()
        if name in setup.proof_headers:
            if coverage == "twin":
                continue  # the line that proves may be anybody's
            proofs += [(name, proof_hash(setup.proof_key, value)) for value in values]
        elif name in FORWARDING or name in setup.claim_headers:
            shown = _sealed(setup, values) if name == "forwarded" else values
            claims[name] = _joined(claims.get(name), Claim(name, shown, coverage))
        elif name in ID_HEADERS and coverage != "twin" and goes_on(setup, name):
            ids.append((name, values if coverage != "cut" else tuple(filter(is_whole_id, values))))
    found, notes = _read(ids) if ids else (None, ())
    return SortedHeaders(tuple(claims.values()), tuple(proofs), found, notes)


def goes_on(setup: Setup, name: str) -> bool:
    """Whether an id that came in this header may have reached the next hop; one that did not would hide one that did.

    >>> goes_on(Setup(system="a", format="b", passes_ids=("traceparent",)), "b3")
    False
    """
    promised = setup.passes_ids
    return not promised or name in promised or name in setup.mints or name not in REQUEST_HEADERS | TRACE_HEADERS


def is_whole_id(text: str) -> bool:
    """Whether an id whose end may be missing has it all the same: by a form of fixed length.

    >>> is_whole_id("7f3c2a10-5d1e-4c55-9a51-0242ac120002"), is_whole_id("order-77")
    (True, False)
    """
    return _WHOLE_ID.fullmatch(text) is not None


# 32 hexadecimal digits, a UUID, a traceparent.
_WHOLE_ID: Final = re.compile(
    r"[0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
    r"|00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
)


def _joined(before: Claim | None, claim: Claim) -> Claim:
    """One header from its parts; it counts as shown no better than its worst part."""
    if before is None:
        return claim
    is_worse = before.coverage == "all" or claim.coverage in ("cut", "twin")
    coverage = claim.coverage if is_worse else before.coverage
    return Claim(claim.name, before.values + claim.values, coverage)


def _sealed(setup: Setup, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(seal_secrets(value, partial(proof_hash, setup.proof_key)) for value in values)


def _read(pairs: Pairs) -> tuple[Ids | None, tuple[str, ...]]:
    found, said = traces(pairs), requests(pairs)
    if not found and not said:
        return None, ()
    return _chosen(found, said), ("trace_ids_disagree",) if disagree(found) else ()
