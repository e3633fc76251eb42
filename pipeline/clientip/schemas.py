"""The contracts of `schemas/`, made from the code they describe: `python -m clientip.schemas` writes them.

Rows may gain keys but never lose or change one, so their schemas allow keys they do not name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from clientip.config.keys import config_schema
from clientip.outputs.columns import COLUMNS
from clientip.outputs.meanings import MEANINGS
from clientip.outputs.notices import CountsRow, DeadRow, FindingRow
from clientip.outputs.record import RecordRow
from clientip.outputs.rejected import RejectedRow
from clientip.outputs.rows import Enrichment
from clientip.reasons import FINDINGS, REJECTED, SKIPPED, UNKNOWN, VERDICTS, Reason

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def record_schema() -> dict[str, Any]:
    """A row of `--output record`."""
    return _of_rows(RecordRow, "clientip record")


def rejected_schema() -> dict[str, Any]:
    """A row of the rejected lines."""
    return _of_rows(RejectedRow, "clientip rejected line")


def dead_schema() -> dict[str, Any]:
    """A message of a stream's topic for raw messages that could not be cut into lines."""
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
    schema = msgspec.json.schema(row)
    for struct, shape in schema["$defs"].items():
        for name, field in shape["properties"].items():
            field["description"] = MEANINGS[struct][name]
    return {"$schema": _DIALECT, "title": title, **schema}


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


_MADE: Final = "Made by `make schemas` from the code; do not edit. What it is for: [README.md](README.md).\n"


def fields_text() -> str:
    """What `fields.md` must hold: every field of every row, as tables."""
    tables: dict[str, type[msgspec.Struct]] = {
        "Enriched lines: the key `clientip`": Enrichment,
        "Records: these, and all of the above": RecordRow,
        "Rejected lines": RejectedRow,
        "Dead letters of a stream": DeadRow,
        "Findings of a stream": FindingRow,
        "Counts of a stream": CountsRow,
    }
    head = "A field in *italics* may be absent: nothing said it. A socket is an object of `ip` and, if known, `port`."
    parts = [f"# Fields\n\n{_MADE}\n{head}"]
    for title, row in tables.items():
        known = frozenset(Enrichment.__struct_encode_fields__ if row is RecordRow else ())
        rows = _field_rows(_of_rows(row, title)["$defs"], row.__name__, "", known)
        parts.append(f"## {title}\n\n" + _table(("field", "type", "meaning"), rows))
    return "\n\n".join(parts) + "\n"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ("---",) * len(heads), *rows))


def _field_rows(
    structs: Mapping[str, Any], struct: str, before: str = "", known: frozenset[str] = frozenset()
) -> Iterator[tuple[str, ...]]:
    """The fields of a struct and of those it holds, in the order of the row, without the known ones."""
    shape = structs[struct]
    for name, field in shape["properties"].items():
        if name in known:
            continue
        kind, inner = _kind(field)
        path = f"{before}{name}{'[]' if kind.startswith('list') else ''}"
        yield f"`{path}`" if name in shape.get("required", ()) else f"*`{path}`*", kind, field["description"]
        if inner is not None:
            yield from _field_rows(structs, inner, path + ".")


def _kind(field: Mapping[str, Any]) -> tuple[str, str | None]:
    """The type in words, and the struct to show beneath it."""
    one = next((each for each in field.get("anyOf", ()) if each.get("type") != "null"), field)
    if "prefixItems" in one:
        return "pair", None
    if one.get("type") == "array":
        kind, inner = _kind(one["items"])
        return f"list of {kind}s", inner
    struct = one.get("$ref", "").rpartition("/")[2]
    if struct:
        return ("socket", None) if struct == "Socket" else ("object", struct)
    return "word" if "enum" in one else str(one["type"]), None


def words_text() -> str:
    """What `words.md` must hold: every word of a closed list, as tables."""
    tables: Mapping[str, tuple[str, Mapping[str, Reason]]] = {
        "Verdicts": ("`verdict`: how the client is known.", VERDICTS),
        "Reasons of `unknown`": ("`reason`: why no client is named.", UNKNOWN),
        "Reasons of rejected lines": ("`reason` of a rejected line: why no record came of it.", REJECTED),
        "Skipped lines": ("Lines that are counted, and give no record.", SKIPPED),
        "Findings": ("`findings`: contradictions and attacks noticed on the way.", FINDINGS),
    }
    parts = [f"# Words\n\n{_MADE}\nThe lists are closed: a word that is not here is a defect."]
    for title, (text, words) in tables.items():
        rows = [(f"`{word}`", each.meaning, each.remedy) for word, each in words.items()]
        wide = any(remedy for *_, remedy in rows)
        heads = ("word", "meaning", "what helps")[: 3 if wide else 2]
        parts.append(f"## {title}\n\n{text}\n\n" + _table(heads, (row[: len(heads)] for row in rows)))
    return "\n\n".join(parts) + "\n"


def columns_text() -> str:
    """What `columns.md` must hold: every column of `clientip.scan`."""
    text = (
        "One row is one record. A column is null if nothing said it, or if it is not of this verdict. Further columns\n"
        "may come at the end; none goes, and none changes its meaning. `json` is text. `time` is in ns, UTC, and null\n"
        "also outside of the years 1678 to 2261."
    )
    rows = [(f"`{each.name}`", each.kind, each.meaning) for each in COLUMNS]
    return f"# Columns of `clientip.scan`\n\n{_MADE}\n{text}\n\n" + _table(("column", "kind", "meaning"), rows) + "\n"


PAGES: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {"columns.md": columns_text, "fields.md": fields_text, "words.md": words_text}
)


def write(folder: Path) -> None:
    """Write every schema and every page of tables into a folder."""
    for name in SCHEMAS:
        (folder / name).write_text(schema_text(name))
    for name, text in PAGES.items():
        (folder / name).write_text(text())


if __name__ == "__main__":
    write(Path("schemas"))
