"""`schemas/` says what the code does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from clientip.engine import Engine, LogSource
from clientip.model import Line, Record, Rejected, Setup, System
from clientip.outputs import OUTPUTS, rejected_row
from clientip.outputs.meanings import MEANINGS
from clientip.schemas import PAGES, SCHEMAS, schema_text
from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parent.parent / "schemas"

GOOD = b'203.0.113.7 - - [01/May/2024:10:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "curl/8" "198.51.100.1"'
LINES = (GOOD, GOOD.replace(b"203.0.113.7", b"10.0.0.1"), GOOD.replace(b'"198.51.100.1"', b'"-"'), b"no such line")


def validator(name: str) -> Any:
    return Draft202012Validator(json.loads((FOLDER / name).read_text()))


def outcomes() -> list[object]:
    pattern = (
        '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
        '"$http_referer" "$http_user_agent" "$http_x_forwarded_for"'
    )
    setup = Setup(system="web", format="nginx", pattern=pattern, logs_peer="socket")
    engine = Engine([System(name="web", peers=frozenset({"outside"}))], [LogSource(setup)], line_bytes=65536)
    reading = engine.reading("web")
    return [outcome for line in LINES for outcome in reading.feed(Line(line, line))]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_file_is_what_the_code_makes(name: str) -> None:
    assert (FOLDER / name).read_text() == schema_text(name), "run: make schemas"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_tables_is_what_the_code_makes(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name](), "run: make schemas"


def test_every_field_has_a_meaning_and_every_meaning_a_field() -> None:
    structs = {name: shape for schema in SCHEMAS for name, shape in SCHEMAS[schema]().get("$defs", {}).items()}
    shown = {name: set(shape["properties"]) for name, shape in structs.items() if "properties" in shape}
    assert {name: set(fields) for name, fields in MEANINGS.items()} == {name: shown[name] for name in MEANINGS}
    rows = {"Enrichment", "RecordRow", "RejectedRow", "DeadRow", "FindingRow", "CountsRow"}
    assert rows <= MEANINGS.keys()


def test_there_is_no_schema_file_that_no_code_makes() -> None:
    assert {path.name for path in FOLDER.glob("*.schema.json")} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(json.loads((FOLDER / name).read_text()))


@pytest.mark.parametrize("output", [name for name in OUTPUTS if f"{name}.schema.json" in SCHEMAS])
def test_rows_of_our_own_outputs_fit_their_schemas(output: str) -> None:
    records = [outcome for outcome in outcomes() if isinstance(outcome, Record)]
    assert len(records) == 3
    for record in records:
        validator(f"{output}.schema.json").validate(json.loads(OUTPUTS[output](record, "0123456789abcdef")))


def test_a_rejected_row_fits_its_schema() -> None:
    [rejected] = [outcome for outcome in outcomes() if isinstance(outcome, Rejected)]
    validator("rejected.schema.json").validate(json.loads(rejected_row(rejected, "web", "0123456789abcdef")))


@pytest.mark.parametrize("name", ["record.schema.json", "enriched.schema.json", "rejected.schema.json"])
def test_a_row_that_lacks_what_every_row_has_is_refused(name: str) -> None:
    assert not validator(name).is_valid({"schema": "clientip/1"})
