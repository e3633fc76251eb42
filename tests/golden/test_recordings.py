"""The recordings agree with themselves: every truth has its line, nothing is oversized."""

import json
from pathlib import Path

import pytest

LOGS = Path(__file__).parent / "logs"
SETUPS = json.loads((LOGS / "setups.json").read_text())
TRUTHS = [json.loads(line) for line in (LOGS / "truth.jsonl").read_text().splitlines()]


def holders(log: str, number: int, line: bytes) -> list[str]:
    """The labels of the requests a line belongs to, by its text or by its number."""
    return [
        truth["label"]
        for truth in TRUTHS
        if truth["label"].encode() in line or number in truth.get("lines", {}).get(log, [])
    ]


@pytest.mark.parametrize("log", sorted(SETUPS))
def test_lines_and_truths_belong_together(log: str) -> None:
    found: set[str] = set()
    for number, line in enumerate((LOGS / log).read_bytes().split(b"\n")[:-1], 1):
        labels = holders(log, number, line)
        assert labels, f"{log}:{number} belongs to no request"
        found.update(labels)
    assert found == {truth["label"] for truth in TRUTHS if log in truth["log"]}


def test_labels_are_unique_and_no_client_is_a_forged_address() -> None:
    labels = [truth["label"] for truth in TRUTHS]
    assert len(labels) == len(set(labels))
    assert not any(truth["client"].startswith(("192.0.2.", "2001:db8:bad")) for truth in TRUTHS)


def test_the_folder_stays_small() -> None:
    assert sum(path.stat().st_size for path in LOGS.iterdir()) < 450_000
