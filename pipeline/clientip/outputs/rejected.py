"""A line no one could read, kept whole, as one JSON row."""

from __future__ import annotations

from base64 import b64encode

import msgspec
from msgspec import Struct

from clientip.model import Rejected
from clientip.outputs.rows import SCHEMA

_ENCODE = msgspec.json.Encoder().encode


class RejectedRow(Struct, frozen=True, omit_defaults=True):
    """`raw` is the line as text; `raw_base64` instead, where it is no UTF-8."""

    schema: str
    system: str
    reason: str
    file: str  # fingerprint of the input
    offset: int  # bytes, in the uncompressed input
    rules: str
    index: int = 0
    at: int | None = None  # byte in the line's text where it stopped fitting
    detail: str | None = None
    raw: str | None = None
    raw_base64: str | None = None


def rejected_row(rejected: Rejected, system: str, rules: str) -> bytes:
    """One row without a line end.

    >>> from clientip.model import Line
    >>> rejected_row(Rejected(Line(b"x", b"x"), "json"), "web", "r")
    b'{"schema":"clientip/1","system":"web","reason":"json","file":"","offset":0,"rules":"r","raw":"x"}'
    """
    line = rejected.line
    try:
        raw, coded = line.raw.decode(), None
    except UnicodeDecodeError:
        raw, coded = None, b64encode(line.raw).decode()
    return _ENCODE(
        RejectedRow(
            SCHEMA,
            system,
            rejected.reason,
            line.file,
            line.offset,
            rules,
            line.index,
            rejected.at,
            rejected.detail,
            raw,
            coded,
        )
    )
