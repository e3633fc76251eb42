"""What one raw Kafka message holds: a message to the lines in it, and the ids in its headers.

A message that cannot be cut is refused whole: where one of its lines ends is not known any more.  What the format
itself cuts needs no word here: spans and log records that `otlp_traces`, `otlp_logs` and their like read come as
`line`, in JSON or protobuf.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from clientip.errors import FormatError
from clientip.model import Ids
from clientip.syntax.headers import ID_HEADERS, disagree, read_ids, traces
from clientip.syntax.jsonlines import read_object
from clientip.syntax.otlp import LOGS, bodies, groups_of
from clientip.syntax.traceids import MAX_VALUE

Cut = Callable[[bytes], Iterable[bytes]]

MAX_MESSAGE: Final = 4 << 20  # bytes; a reader refuses longer messages before they come here
MAX_LINES: Final = 100_000  # of one message
MAX_HEADERS: Final = 256  # of one message; more, and none is looked at
MAX_DEPTH: Final = 512  # containers inside one element of an array

# Raw keeps the very bytes, and looks at no more of them than where they end.
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))


def cut(kind: str, message: bytes, most: int = MAX_LINES) -> tuple[bytes, ...]:
    """The lines of one message, in order and without their line ends; `kind` is a key of MESSAGES.

    None of them is what a message of blank lines, or an empty batch, holds.  How long one line may be is not looked
    at: one that is too long is no reason to refuse its neighbours.  Nor is how long the message is, but to cut it may
    take forty times as much memory.

    Raises FormatError: `json`, `json_too_deep`, `protobuf`, `no_match` for another shape than `kind` says,
    `too_many_lines` for more than `most`, and for `otlp_json` what `read_object` raises.

    >>> cut("line", b"a\\r\\n"), cut("lines", b"a\\n\\nb"), cut("json_array", b'[{"a" : 1}, "b\\\\n"]')
    ((b'a',), (b'a', b'b'), (b'{"a" : 1}', b'b'))
    """
    lines: list[bytes] = []
    for line in MESSAGES[kind](message):
        if len(lines) == most:
            raise FormatError("too_many_lines")
        lines.append(line)
    return tuple(lines)


def ids_of(headers: Sequence[tuple[str, bytes | None]]) -> Ids | None:
    """The trace and request ids that the headers of one message name; None where there are none.

    No writer speaks for another: a header that comes twice (in any case), two headers of different traces, or too
    many headers are no ids at all.

    >>> ids_of([("Traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]).parent
    '00f067aa0ba902b7'
    """
    if not headers or len(headers) > MAX_HEADERS:
        return None
    found: dict[str, str] = {}
    for written, value in headers:
        name = written.lower()
        if name not in ID_HEADERS:
            continue
        if name in found:
            return None
        found[name] = value.decode("ascii", "replace") if value and len(value) <= MAX_VALUE else ""
    pairs = [(name, (value,)) for name, value in found.items()]
    if disagree(traces(pairs)):
        return None
    ids = read_ids(pairs)
    return ids if ids.trace or ids.requests else None


def _line(message: bytes) -> Iterable[bytes]:
    return (_unended(message),)


def _lines(message: bytes) -> Iterable[bytes]:
    return (line.removesuffix(b"\r") for line in message.split(b"\n") if line and not line.isspace())


def _json_array(message: bytes) -> Iterable[bytes]:
    try:
        elements = _ARRAY.decode(message)
    except msgspec.ValidationError:
        raise FormatError("no_match", 0) from None
    except msgspec.DecodeError:
        raise FormatError("json") from None
    except RecursionError:
        raise FormatError("json_too_deep") from None
    return (_element(bytes(element)) for element in elements)


def _element(element: bytes) -> bytes:
    """An object as it is, a string's text."""
    if element.startswith(b"{"):
        # How deep the parser can go depends on who calls it, and the answer must not.
        if element.count(b"{") + element.count(b"[") > MAX_DEPTH and _depth(element) > MAX_DEPTH:
            raise FormatError("json_too_deep")
        return element
    if not element.startswith(b'"'):
        raise FormatError("no_match")
    # The parser has refused every escaped half of a surrogate pair, so what is one here was a stray byte.
    text: str = json.loads(element.decode(errors="surrogateescape"))
    return _unended(text.encode(errors="surrogateescape"))


def _depth(element: bytes) -> int:
    depth = deepest = 0
    for bracket in _STRING.sub(b"", element).translate(None, _NO_BRACKET):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _otlp_json(message: bytes) -> Iterable[bytes]:
    for _, _, records in groups_of(LOGS, read_object(message)):
        for record in records:
            body = record.get("body")
            if type(body) is not dict or set(body) != {"stringValue"} or type(body["stringValue"]) is not str:
                raise FormatError("no_match")
            yield _unended(body["stringValue"].encode())


def _otlp_proto(message: bytes) -> Iterable[bytes]:
    return (_unended(body.encode()) for body in bodies(message))


def _unended(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r") if line.endswith(b"\n") else line


MESSAGES: Final[Mapping[str, Cut]] = MappingProxyType(
    {
        "line": _line,  # the message is one line, or what the format cuts itself
        "lines": _lines,  # newline-separated lines (NDJSON); blank ones are none
        "json_array": _json_array,  # every object, or string's text, of an array
        "otlp_json": _otlp_json,  # log records whose body is the line, OTLP/JSON
        "otlp_proto": _otlp_proto,  # the same in protobuf
    }
)
