"""The contracts of `schemas/`, made from the code they describe: `python -m clientip.schemas` writes them.

Rows may gain keys but never lose or change one, so their schemas allow keys they do not name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from clientip.config.keys import config_schema
from clientip.outputs.notices import CountsRow, DeadRow, FindingRow
from clientip.outputs.record import RecordRow
from clientip.outputs.rejected import RejectedRow
from clientip.outputs.rows import Enrichment

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def record_schema() -> dict[str, Any]:
    """A row of `--output record`."""
    return _of_rows(RecordRow, "clientip record")


def rejected_schema() -> dict[str, Any]:
    """A row of the rejected lines."""
    return _of_rows(RejectedRow, "clientip rejected line")


def dead_schema() -> dict[str, Any]:
    """A message of a stream's topic for raw messages that nobody could cut."""
    return _of_rows(DeadRow, "clientip dead letter")


def finding_schema() -> dict[str, Any]:
    """A message of a stream's topic for findings."""
    return _of_rows(FindingRow, "clientip finding")


def counts_schema() -> dict[str, Any]:
    """A message of a stream's topic for counts."""
    return _of_rows(CountsRow, "clientip counts")


def enriched_schema() -> dict[str, Any]:
    """A row of the default output: any JSON object with the key `clientip`; `message` where the line was text."""
    schema = _of_rows(Enrichment, "clientip enriched line")
    reference = schema.pop("$ref")
    properties = {"clientip": {"$ref": reference}, "message": {"type": "string"}}
    return {**schema, "type": "object", "properties": properties, "required": ["clientip"]}


def _of_rows(row: type[msgspec.Struct], title: str) -> dict[str, Any]:
    return {"$schema": _DIALECT, "title": title, **msgspec.json.schema(row)}


SCHEMAS: Final[Mapping[str, Callable[[], dict[str, Any]]]] = MappingProxyType(
    {
        "config.schema.json": config_schema,
        "counts.schema.json": counts_schema,
        "dead.schema.json": dead_schema,
        "enriched.schema.json": enriched_schema,
        "finding.schema.json": finding_schema,
        "record.schema.json": record_schema,
        "rejected.schema.json": rejected_schema,
    }
)


def schema_text(name: str) -> str:
    """What the file of that name must hold."""
    return json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> None:
    """Write every schema into a folder."""
    for name in SCHEMAS:
        (folder / name).write_text(schema_text(name))


if __name__ == "__main__":
    write(Path("schemas"))
