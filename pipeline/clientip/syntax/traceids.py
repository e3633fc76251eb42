"""Trace and request ids out of propagation headers and log fields.

Everything here was sent by a client or copied from one: an id alone proves nothing.
A trace id is 32 lower-case hex, a span id 16, neither all zero; 64-bit ids are padded
with zeros on the left and say so (`Ids.bits`).  The span in a received header belongs to
the caller, so it is `Ids.parent`; `Ids.span` is only ever said by the writer of a log.
The header's name decides how it is read, never its shape.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from typing import Final

from msgspec import Struct

from clientip.model import Endpoint, Ids
from clientip.syntax.addresses import from_number

MAX_VALUE: Final = 512  # characters of one header value or field; longer ones hold no id

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*+)?", re.ASCII)
_B3: Final = re.compile(
    r"([0-9a-f]{16}(?:[0-9a-f]{16})?)-([0-9a-f]{16})(?:-[01d](?:-[0-9a-f]{16})?)?", re.IGNORECASE | re.ASCII
)
_ROOT: Final = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})", re.IGNORECASE | re.ASCII)
_CLOUD: Final = re.compile(r"([0-9a-f]{32})(?:/([0-9]{1,20}))?(?:;o=[0-9]{1,3})?", re.IGNORECASE | re.ASCII)
_UBER: Final = re.compile(
    r"([0-9a-f]{1,32}):([0-9a-f]{1,16}):(?:[0-9a-f]{1,16})?:[0-9a-f]{1,2}", re.IGNORECASE | re.ASCII
)
_HAPROXY: Final = re.compile(
    r"([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{1,4})_([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{1,4})"
    r"_([0-9A-F]{1,16})_([0-9A-F]{1,8}):([0-9A-F]{1,8})",
    re.IGNORECASE | re.ASCII,
)
_PLAIN_TRACE: Final = re.compile(r"(?!0{32})[0-9a-f]{32}").fullmatch
_PLAIN_PARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
_PLAIN_SPAN: Final = re.compile(r"(?!0{16})[0-9a-f]{16}").fullmatch
_HEX: Final = re.compile(r"[0-9a-f]++", re.IGNORECASE | re.ASCII)
_DECIMAL: Final = re.compile(r"[0-9]{1,20}+")
_TID: Final = re.compile(r"(?:^|,)\s*_dd\.p\.tid=([0-9a-fA-F]{16})(?:,|$)")
_TRACE_PATH: Final = re.compile(r"projects/[^/]{1,64}/traces/([0-9a-fA-F]{32})")
_BASE64: Final = re.compile(r"[0-9A-Za-z+/]++={1,2}")
_NONE: Final = frozenset({"-", "null", "undefined", "none", "nil"})


def clean(text: str | None) -> str:
    """An id without blanks, quotes and braces; "" for the many ways to say nothing.

    >>> clean(' "{785918D6-06b6-9312-bf77-6d9bd968dc21}" '), clean("undefined"), clean("0")
    ('785918D6-06b6-9312-bf77-6d9bd968dc21', '', '')
    """
    if text is None or len(text) > MAX_VALUE:
        return ""
    bare = text.strip().strip("\"'")
    if bare.startswith("{") and bare.endswith("}"):
        bare = bare[1:-1]
    return "" if bare.lower() in _NONE or not bare.strip("0-") else bare


def plain_w3c(traceparent: str) -> Ids | None:
    """The ids of a `traceparent` of version 00 as most writers print it; None: ask `w3c`, which knows the rest.

    >>> plain_w3c("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01") == w3c(
    ...     "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    ... )
    True
    """
    if not _PLAIN_PARENT(traceparent):
        return None
    trace = traceparent[3:35]
    bits = 128 if trace[:16] != "0000000000000000" else 64
    return Ids(trace, None, traceparent[36:52], "w3c", bits, None, (), "traceparent")


def _trace(text: str, raw: str, scheme: str, parent: str | None, header: str) -> Ids | None:
    """Ids of a trace given as up to 32 hex characters; None if it is all zero."""
    full = text.lower().rjust(32, "0")
    low, high = full[16:], full[:16]
    if not full.strip("0"):
        return None
    bits = 128 if high.strip("0") else 64
    called = _span(parent) if parent else None
    return Ids(high + low, None, called, scheme, bits, raw if raw != full else None, (), header)


def _span(text: str) -> str | None:
    return text.lower().rjust(16, "0") if text.strip("0") else None


def _is_span(text: str) -> bool:
    return len(text) == 16 and _HEX.fullmatch(text) is not None


def _decimal(text: str | None) -> str | None:
    """A decimal uint64 as 16 hex; None for zero and for what is no such number."""
    bare = clean(text)
    if not _DECIMAL.fullmatch(bare) or not 0 < int(bare) < 1 << 64:
        return None
    return format(int(bare), "016x")


def w3c(text: str) -> Ids | None:
    """One `traceparent`, W3C Trace Context level 1 and 2.

    Upper case is against the standard and read all the same; `raw` then shows it.
    Version ff, all-zero ids, and version 00 with anything appended are None.

    >>> w3c("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").parent
    '00f067aa0ba902b7'
    """
    bare = clean(text)
    found = _TRACEPARENT.fullmatch(bare.lower())
    if not found or found[1] == "ff" or (found[1] == "00" and found[4] is not None) or not found[3].strip("0"):
        return None
    return _trace(found[2], bare[3:35], "w3c", found[3], "traceparent")


def b3_single(text: str) -> Ids | None:
    """One `b3` header; the short forms `0`, `1` and `d` name no trace and are None.

    >>> b3_single("802bd09f480b5faa-e457b5a2e4d86bd1-1").bits
    64
    """
    found = _B3.fullmatch(clean(text))
    return _trace(found[1], found[1], "b3", found[2], "b3") if found else None


def b3_multi(trace: str, span: str | None = None) -> Ids | None:
    """`X-B3-TraceId` with `X-B3-SpanId`; the parent header is the caller's parent, of no use here.

    >>> b3_multi("80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1").parent
    'e457b5a2e4d86bd1'
    """
    bare, called = clean(trace), clean(span)
    if len(bare) not in (16, 32) or not _HEX.fullmatch(bare):
        return None
    return _trace(bare, bare, "b3", called if _is_span(called) else None, "x-b3-traceid")


def xray(text: str) -> Ids | None:
    """`X-Amzn-Trace-Id`, as header or as a load balancer logs it, or a bare Root.

    Field names compare case-sensitively, in any order; two different Roots are None.

    >>> xray("Root=1-58337262-36d228ad5d99923122bbe354;Parent=53995c3f42cd8ad8").trace
    '5833726236d228ad5d99923122bbe354'
    """
    bare = clean(text)
    fields = [field.strip().partition("=") for field in bare.split(";")]
    roots = {value for name, _, value in fields if name == "Root"} or {bare}
    found = _ROOT.fullmatch(roots.pop())
    if not found or roots:
        return None
    parents = {value for name, _, value in fields if name == "Parent"}
    parent = parents.pop() if len(parents) == 1 else ""
    return _trace(found[1] + found[2], found[0], "xray", parent if _is_span(parent) else None, "x-amzn-trace-id")


def gcp(text: str) -> Ids | None:
    """`X-Cloud-Trace-Context`: the span is decimal, unlike in Cloud Logging.

    >>> gcp("105445aa7843bc8bf206b12000100000/16789503974126156845;o=1").parent
    'e9004ce8eccc7c2d'
    """
    found = _CLOUD.fullmatch(clean(text))
    return _trace(found[1], found[1], "gcp", _decimal(found[2]), "x-cloud-trace-context") if found else None


def jaeger(text: str) -> Ids | None:
    """`uber-trace-id`: hex without leading zeros, perhaps with `%3A` for the colons.

    >>> jaeger("3a5f%3A1a2b%3A0%3A1").trace
    '00000000000000000000000000003a5f'
    """
    found = _UBER.fullmatch(clean(text).replace("%3A", ":").replace("%3a", ":"))
    if not found or not found[2].strip("0"):
        return None
    return _trace(found[1], found[1], "jaeger", found[2], "uber-trace-id")


def datadog(trace: str, parent: str | None = None, tags: str | None = None) -> Ids | None:
    """`x-datadog-trace-id` and `-parent-id` (decimal); `_dd.p.tid` of `-tags` is the upper half.

    >>> datadog("11803532876627986230", "67667974448284343", "_dd.p.tid=4bf92f3577b34da6").trace
    '4bf92f3577b34da6a3ce929d0e0e4736'
    """
    low = _decimal(trace)
    if low is None:
        return None
    upper = _TID.search(tags) if tags and len(tags) <= MAX_VALUE else None
    return _trace((upper[1] if upper else "") + low, clean(trace), "datadog", _decimal(parent), "x-datadog-trace-id")


def trace_id(text: str | None) -> str | None:
    """The trace id in a log field that is said to hold one, canonical; None if it does not.

    16 or 32 hex, an X-Ray Root (with or without `Root=`), a Google resource name, or the
    base64 that some OTLP/JSON writers print by mistake.  Shorter or longer hex, ULIDs and
    dashed UUIDs are request ids.  For `dd.trace_id` use `datadog_trace_id`.

    >>> trace_id("802BD09F480B5FAA"), trace_id("-")
    ('0000000000000000802bd09f480b5faa', None)
    """
    if text is not None and _PLAIN_TRACE(text):
        return text  # canonical already, as most writers print it
    bare = clean(text)
    if len(bare) in (16, 32) and _HEX.fullmatch(bare):
        return bare.lower().rjust(32, "0")
    if found := _TRACE_PATH.fullmatch(bare):
        return trace_id(found[1])
    if len(bare) == 24 and bare.endswith("==") and _BASE64.fullmatch(bare):
        return trace_bytes(a2b_base64(bare))
    ids = xray(bare)
    return ids.trace if ids else None


def span_id(text: str | None) -> str | None:
    """The span id in a log field, 16 lower-case hex; leading zeros may be missing.

    >>> span_id("2"), span_id("0000000000000000")
    ('0000000000000002', None)
    """
    if text is not None and _PLAIN_SPAN(text):
        return text
    bare = clean(text)
    if len(bare) <= 16 and _HEX.fullmatch(bare):
        return _span(bare)
    if len(bare) == 12 and bare.endswith("=") and _BASE64.fullmatch(bare):
        return span_bytes(a2b_base64(bare))
    return None


def trace_bytes(value: bytes) -> str | None:
    """The trace id in an OTLP message; any length but 16 drops the id, not the record.

    >>> trace_bytes(bytes(15) + b"\\1")
    '00000000000000000000000000000001'
    """
    return value.hex() if len(value) == 16 and any(value) else None


def span_bytes(value: bytes) -> str | None:
    """The span id in an OTLP message; None unless it has 8 bytes and is not all zero.

    >>> span_bytes(bytes(8)) is None
    True
    """
    return value.hex() if len(value) == 8 and any(value) else None


def datadog_trace_id(text: str | None) -> str | None:
    """`dd.trace_id` of a log: 32 hex, or a decimal uint64.

    Sixteen digits are read as decimal: Datadog's own tracers write no 16 hex there.

    >>> datadog_trace_id("11803532876627986230")
    '0000000000000000a3ce929d0e0e4736'
    """
    bare = clean(text)
    if len(bare) == 32 and _HEX.fullmatch(bare):
        return bare.lower()
    low = _decimal(bare)
    return low.rjust(32, "0") if low else None


def datadog_span_id(text: str | None) -> str | None:
    """`dd.span_id` of a log: a decimal uint64, or 16 hex with a letter among them.

    >>> datadog_span_id("67667974448284343")
    '00f067aa0ba902b7'
    """
    return _decimal(text) or (span_id(text) if _is_span(clean(text)) else None)


class HaproxyId(Struct, frozen=True, gc=False):
    """HAProxy's hexadecimal unique id, `%{+X}o %ci:%cp_%fi:%fp_%Ts_%rt:%pid`."""

    client: Endpoint
    frontend: Endpoint
    time_ns: int  # whole seconds
    counter: int  # requests of that process, 16 bits: wraps
    pid: int


def haproxy_unique_id(value: str) -> HaproxyId | None:
    """The parts of a HAProxy unique id in its documented form; None if it has another.

    >>> haproxy_unique_id("7F000001:8296_7F00001E:1F90_4F7B0A69_0003:790A").client.port
    33430
    """
    found = _HAPROXY.fullmatch(value)
    if not found:
        return None
    client, frontend = (
        Endpoint(from_number(int(host, 16), 4 if len(host) == 8 else 6), int(port, 16) or None)
        for host, port in ((found[1], found[2]), (found[3], found[4]))
    )
    return HaproxyId(client, frontend, int(found[5], 16) * 1_000_000_000, int(found[6], 16), int(found[7], 16))


def request_key(value: str) -> str:
    """What to compare an `X-Request-ID` by: Envoy rewrites character 14 of a UUID in passing.

    >>> request_key("785918d6-06b6-9312-bf77-6d9bd968dc21")
    '785918d6-06b6-x312-bf77-6d9bd968dc21'
    """
    return f"{value[:14]}x{value[15:]}" if len(value) == 36 else value
