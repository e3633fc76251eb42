"""The input enriched in place: the default output (`--output enriched`)."""

from __future__ import annotations

from typing import Final

import msgspec

from clientip.model import Record
from clientip.outputs.rows import enrichment

_ENCODE: Final = msgspec.json.Encoder().encode


def enriched(record: Record, rules: str) -> bytes:
    """The original JSON object byte for byte plus one key `clientip`; a text line as `message`.

    A JSON object that already has a key `clientip` (a forgery, or our own
    output fed back) is treated as text: it could not keep its bytes and stay unambiguous.
    Bytes that are no UTF-8 stand as backslash escapes in `message`.
    """
    added = _ENCODE(enrichment(record, rules))
    line = record.line
    if record.observation.extendable and line.raw is line.text:
        whole = line.raw.rstrip()
        comma = b"" if whole[1:-1].isspace() or len(whole) == 2 else b","
        return b'%b%b"clientip":%b}' % (whole[:-1], comma, added)
    message = _ENCODE(line.raw.decode("utf-8", "backslashreplace"))
    return b'{"message":%b,"clientip":%b}' % (message, added)
