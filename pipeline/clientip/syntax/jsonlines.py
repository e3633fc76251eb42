"""JSON text → dict, refusing what has two readings.

orjson keeps the last of two equal keys and cannot be told otherwise, so keys are counted a second time by
simdjson, whose parse holds repeated ones apart.  Both are linear; nothing here recurses on input.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson
import simdjson

from clientip.errors import FormatError

DEPTH_LIMIT: Final = 32  # containers inside one another, the outermost included

_CONTAINERS: Final = frozenset((dict, list))
# Below this many nested values, looking each one up again costs less than writing the whole out twice.
_LOOKUP_LIMIT: Final = 4
# Decimal digits an integer may have before it is read as a float (Python refuses 4,301, and is slow before that).
_INTEGER_DIGITS: Final = 40
_KEY_END: Final = b'":'
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}")


# One parser owns one buffer.  It refuses to parse while a document still points there, as it may when two threads meet
# here; a line that is refused takes the slow path, which needs no parser.
_PARSE: Final = simdjson.Parser().parse


def read_object(text: bytes) -> dict[str, Any]:
    """The one JSON object (RFC 8259) that `text` is.

    Bytes that are no UTF-8 are tolerated and come out as a backslash, `x` and two hex digits.
    Integers beyond 64 bits stay exact up to 40 digits.

    Raises FormatError: `json` (with the offset), `json_not_object`, `json_repeated_key` (at any level; keys are
    compared unescaped), `json_too_deep`.

    >>> read_object(b'{"a": [1, "b"]}')
    {'a': [1, 'b']}
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _second_try(text, error)
    if type(value) is not dict:
        raise FormatError("json_not_object", 0)
    try:
        node: Any = _PARSE(text)
    except (RuntimeError, ValueError):  # numbers past 64 bits, or the parser is busy; orjson has vouched for the rest
        return _read_exactly(text, value)
    if len(node) != len(value):
        raise FormatError("json_repeated_key")
    if text.find(b"{", 1) >= 0 or text.find(b"[") >= 0:
        nested = [key for key, inner in value.items() if type(inner) in _CONTAINERS]
        if nested:
            _check_nested(node, value, nested)
    return value


def extendable(text: bytes, fields: dict[str, Any]) -> bool:
    """Whether `clientip` can be added to the object `fields` was read from, byte for byte otherwise."""
    if "clientip" in fields:
        return False
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def text_of(fields: dict[str, Any], key: str) -> str | None:
    """The value as text; a number as its JSON form; None where it is absent or null.

    Raises FormatError `no_match` for a value that is no scalar.

    >>> text_of({"port": 80}, "port")
    '80'
    """
    value = fields.get(key)
    if value is None or type(value) is str:
        return value
    if type(value) in _CONTAINERS or type(value) is bool:
        raise FormatError("no_match")
    return str(value)


def int_of(fields: dict[str, Any], key: str) -> int | None:
    """The value as an integer, also where it was written as text or with a fraction of zero.

    None where it is absent, null, empty or `-`.  Raises FormatError `number` for anything else.

    >>> int_of({"status": "200"}, "status"), int_of({"status": "-"}, "status")
    (200, None)
    """
    value = fields.get(key)
    if value is None or type(value) is int:
        return value
    if type(value) is str:
        if value in ("", "-"):
            return None
        if _INTEGER.fullmatch(value):
            return int(value)
    elif type(value) is float and value.is_integer():
        return int(value)
    raise FormatError("number")


def _check_nested(node: Any, value: dict[str, Any], nested: list[str]) -> None:
    """Refuse repeated keys below the top level, and depth; `nested` names the values that are containers."""
    # simdjson ends a key it is asked for at NUL, and would answer for another one.
    if len(nested) <= _LOOKUP_LIMIT and all("\0" not in key and _is_flat(value[key]) for key in nested):
        if any(len(node[key]) != len(value[key]) for key in nested):
            raise FormatError("json_repeated_key")
        return
    _check_depth(value)
    # Written compactly, `":` stands once behind every key, and inside strings only where the string has it.
    # A repeated key is in simdjson's text and not in orjson's, so it alone makes the counts differ.
    if node.mini.count(_KEY_END) != orjson.dumps(value).count(_KEY_END):
        raise FormatError("json_repeated_key")


def _is_flat(value: dict[str, Any] | list[Any]) -> bool:
    return _CONTAINERS.isdisjoint(map(type, value.values() if type(value) is dict else value))


def _check_depth(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    for _ in range(DEPTH_LIMIT):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _CONTAINERS
        ]
        if not level:
            return
    raise FormatError("json_too_deep")


def _second_try(text: bytes, error: orjson.JSONDecodeError) -> dict[str, Any]:
    """Read text that is not UTF-8 with its stray bytes written out; raise what the first try found otherwise."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return read_object(re.sub(r"[\udc80-\udcff]", _written_out, text.decode(errors="surrogateescape")).encode())
    # orjson's own bound of depth (1,024) lies beyond ours; it has no other sign than its words.
    raise FormatError("json_too_deep" if "depth" in error.msg else "json", error.pos) from None


def _written_out(stray: re.Match[str]) -> str:
    return f"\\\\x{ord(stray[0]) - 0xDC00:02x}"


def _read_exactly(text: bytes, value: dict[str, Any]) -> dict[str, Any]:
    """Slow: for the rare line that simdjson does not take."""
    _check_depth(value)
    exact: dict[str, Any] = json.loads(text, object_pairs_hook=_unique, parse_int=_integer)
    return exact


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FormatError("json_repeated_key")
    return fields


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INTEGER_DIGITS else float(digits)
