"""Why a row of `clientip resolve` cannot be read, in the words of a configuration's faults."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from clientip.config.schema_check import Shape, misfits
from clientip.config.value_shapes import table

_TEXT: Final[Shape] = {"type": "string"}
_MODE: Final[Shape] = {"type": "string", "enum": ["append", "overwrite", "append2"]}
_A_PROMISE: Final = '"proxy" or {"header": …, "mode": …}'
_PROMISE: Final[Shape] = {
    "description": _A_PROMISE,
    "anyOf": [
        {"type": "string", "description": _A_PROMISE},
        table({"header": _TEXT, "mode": _MODE}, "header"),
    ],
}
_A_SYSTEM: Final = 'an object like {"addresses": ["10.0.0.0/8"]}'
_SYSTEM: Final[Shape] = {
    "description": _A_SYSTEM,
    **table(
        {
            "addresses": {"type": "array", "items": _TEXT},
            "conveys": {"type": "array", "items": _PROMISE},
            "hops": {"type": "integer", "minimum": 1},
        }
    ),
}
_A_PAIR: Final = 'a pair like ["x-real-ip", "203.0.113.7"]'
_PAIR: Final[Shape] = {"type": "array", "items": _TEXT, "description": _A_PAIR}
_ROW: Final[Shape] = table(
    {
        "peer": _TEXT,
        "headers": {"type": "array", "items": _PAIR},
        "proxy_hex": _TEXT,
        "trust": {"type": "array", "items": _SYSTEM},
    }
)
_MAY_BE_NULL: Final = ("id", "peer", "proxy_hex", "addresses", "hops")  # which then is as if they were left out
_BYTE: Final = re.compile(r"byte ([0-9]+)")


def row_fault(row: bytes, error: Exception) -> str:
    """The first fault of a row that the decoder refused with `error`: the place, what is wrong and what to write.

    >>> row_fault(b'{"peer": 5}', ValueError())
    'peer: must be a string, not 5'
    >>> row_fault(b'{"trust": [{"adresses": []}]}', ValueError())
    'trust[0].adresses: unknown key; did you mean "addresses"?'
    """
    try:
        value = msgspec.json.decode(row)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        return f"row: {_no_json(row, broken)}"
    if not isinstance(value, dict):
        return 'row: must be an object like {"id": 1, "peer": "203.0.113.7:443"}'
    first = next(misfits(_ROW, _said({**value, "id": None}), ""), None)
    if first is not None:
        return f"{first.path.removeprefix('.') or 'row'}: {first.text}"
    unpaired = (number for number, pair in enumerate(value.get("headers", ())) if len(pair) != 2)
    place = next(unpaired, None)
    if place is not None:
        return f"headers[{place}]: must be {_A_PAIR}"
    return f"row: cannot be read: {error}"


def _said(value: Any, depth: int = 6) -> Any:
    """The value without what is null where it may be; only as deep as a row can be."""
    if isinstance(value, dict) and depth:
        said = ((name, each) for name, each in value.items() if each is not None or name not in _MAY_BE_NULL)
        return {name: _said(each, depth - 1) for name, each in said}
    return [_said(each, depth - 1) for each in value] if isinstance(value, list) and depth else value


def _no_json(row: bytes, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    try:
        row.decode()
    except UnicodeDecodeError as coded:
        return f"is no UTF-8 from byte {coded.start} on"
    place = _BYTE.search(str(error))
    return "is no JSON: it ends too early" if place is None else f"is no JSON from byte {place[1]} on"
