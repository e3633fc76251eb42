"""What a stream writes beside records and rejected lines, as types: dead letters, findings, counts."""

from __future__ import annotations

from msgspec import Struct


class DeadRow(Struct, frozen=True, omit_defaults=True):
    """A raw message that could not be cut into lines, whole; `raw_base64` where JSON would not hold it well."""

    schema: str
    system: str
    reason: str
    topic: str
    partition: int
    offset: int
    raw: str | None = None
    raw_base64: str | None = None


class FindingRow(Struct, frozen=True, omit_defaults=True):
    """A contradiction or an attack noticed on a record; with `count`, so many more of the batch that stand nowhere."""

    schema: str
    id: str
    kind: str
    system: str
    record_id: str | None = None
    count: int | None = None


class CountsRow(Struct, frozen=True):
    """Records of clients since the last message: deltas, to be added up. Only records with `entry` count."""

    schema: str
    upto_ms: int  # append time of the youngest raw line among them, Unix time
    clients: list[tuple[str, int]]
