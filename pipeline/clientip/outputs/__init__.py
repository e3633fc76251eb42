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

__all__ = ["OUTPUTS", "Output", "rejected_row"]

Output = Callable[[Record, str], bytes]
"""(record, rules) → one row without a line end; `rules` is the digest of what decided."""

OUTPUTS: Final[Mapping[str, Output]] = MappingProxyType({"enriched": enriched, "record": record})
