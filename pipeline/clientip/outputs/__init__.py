"""A record to bytes; the table of encoders.

A new one is a new file here and one line below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from clientip.model import Record
from clientip.outputs.enriched import enriched
from clientip.outputs.record import record
from clientip.outputs.rejected import rejected_row

__all__ = ["OUTPUTS", "PURPOSES", "Output", "rejected_row"]

Output = Callable[[Record, str], bytes]
"""(record, rules) → one row without a line end; `rules` is the digest of what decided."""

OUTPUTS: Final[Mapping[str, Output]] = MappingProxyType({"enriched": enriched, "record": record})

PURPOSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "enriched": "For tools that read your logs already: the input line byte for byte, with one more key `clientip` "
        "that holds client, verdict, path and claims. A line that is no JSON object, or has such a key, becomes "
        '{"message": …, "clientip": …}. Schema: schemas/enriched.schema.json.',
        "record": "For tables and for joining logs of different servers: one shape for all formats, with the times, "
        "connections, ids and HTTP fields that were read from the line, and without the line itself. "
        "Schema: schemas/record.schema.json.",
    }
)
"""What each output is for."""
