"""Candidates are shown beside a client that is not known, and never become one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clientip.model import Candidate, Record
from clientip.outputs import OUTPUTS
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from tests.worlds.nat_worlds import MS, NODE, drawing, graph_of, request

SCHEMAS = Path(__file__).parents[2] / "schemas"
SHOWN = (Candidate("203.0.113.7", 51000, "conntrack", "nat-1"), Candidate("2001:db8::8", None, "trace", "span-2"))


def record(candidates: tuple[Candidate, ...]) -> Record:
    asked = request(graph_of(drawing()), "r", f"{NODE}:40001", 5 * MS, 6 * MS)
    found = replace(asked.resolution, reason="ambiguous", candidates=candidates, stop=None)
    return replace(asked, resolution=found)


def row(output: str, candidates: tuple[Candidate, ...]) -> dict[str, object]:
    whole = json.loads(OUTPUTS[output](record(candidates), "0123456789abcdef"))
    Draft202012Validator(json.loads((SCHEMAS / f"{output}.schema.json").read_text())).validate(whole)
    found: dict[str, object] = whole.get("clientip", whole)
    return found


@pytest.mark.parametrize("output", ["enriched", "record"])
def test_candidates_stand_in_the_row_and_are_no_client(output: str) -> None:
    found = row(output, SHOWN)
    assert found["candidates"] == [
        {"ip": "203.0.113.7", "port": 51000, "method": "conntrack", "record": "nat-1"},
        {"ip": "2001:db8::8", "port": None, "method": "trace", "record": "span-2"},
    ]
    assert "client" not in found


@pytest.mark.parametrize("output", ["enriched", "record"])
def test_a_row_without_candidates_has_no_such_key(output: str) -> None:
    assert "candidates" not in row(output, ())
