"""SECURITY.md says what the code does for every licence and every way to make a line missing; a test holds each."""

from __future__ import annotations

import re
from collections import Counter
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADING = "## What may license an answer"


def rows_of(text: str) -> list[list[str]]:
    """The cells of every row of every table under the heading, without the rules below the titles."""
    section = text.partition(HEADING)[2].partition("\n## ")[0]
    lines = [each for each in section.splitlines() if each.startswith("|") and not each.startswith("|---")]
    return [[cell.strip() for cell in each.strip("|").split("|")] for each in lines]


def tables(text: str) -> tuple[list[str], list[list[str]]]:
    """The letters of the licences, and the rows of (way, letters, what the code does, test)."""
    rows = rows_of(text)
    return [each[0] for each in rows if len(each) == 2][1:], [each for each in rows if len(each) == 4][1:]


def faults(text: str) -> list[str]:
    """Empty cells, cells that are missing or said twice, and tests that do not exist."""
    letters, rows = tables(text)
    said = Counter((way, letter) for way, of, *_ in rows for letter in of.split())
    ways = dict.fromkeys(way for way, *_ in rows)
    found = [
        f"{way}, {letter}: {said[way, letter]} cells"
        for way, letter in product(ways, letters)
        if said[way, letter] != 1
    ]
    found += [f"{way}, {letter}: no such licence" for way, letter in said if letter not in letters]
    found += [f"an empty cell: {' | '.join(row)}" for row in rows if not all(row)]
    return found + [f"no such test: {test}" for *_, test in rows if not exists(test)]


def exists(named: str) -> bool:
    """Whether the file has a test function of that name."""
    file, _, function = named.strip("`").partition("::")
    path = ROOT / "tests" / file
    return path.is_file() and re.search(rf"^def {re.escape(function)}\(", path.read_text(), re.MULTILINE) is not None


def test_every_licence_has_a_cell_for_every_way_and_each_names_a_test_that_exists() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    letters, rows = tables(text)
    assert len(letters) > 5
    assert len({way for way, *_ in rows}) > 10
    assert faults(text) == []


def test_what_is_empty_missing_or_said_twice_is_noticed() -> None:
    licences = "| | licence |\n|---|---|\n| A | a |\n| B | b |\n"
    head = f"{HEADING}\n{licences}\n| way | licence | does | test |\n|---|---|---|---|\n"
    good = "`test_licence_table.py::test_what_is_empty_missing_or_said_twice_is_noticed`"
    assert faults(f"{head}| cut | A B | hole | {good} |\n") == []
    assert faults(f"{head}| cut | A | hole | {good} |\n") == ["cut, B: 0 cells"]
    assert faults(f"{head}| cut | A B | hole | {good} |\n| cut | A | no | {good} |\n") == ["cut, A: 2 cells"]
    assert len(faults(f"{head}| cut | A B C | | {good} |\n")) == 2
    assert faults(f"{head}| cut | A B | hole | `test_licence_table.py::test_of` |\n") != []
    assert faults(f"{head}| cut | A B | hole | `nowhere.py::test_of` |\n") != []
