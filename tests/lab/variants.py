"""The same recording with worse sources: stamps of arrival only, or a tenth of every log missing."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clientip.formats.conntrack.json_lines import GRACE_NS

from tests.lab import drawing
from tests.lab.drawing import Keys
from tests.lab.scenario import Scenario

Systems = dict[str, Keys]
LATEST_NS = 9_000_000  # how far a stamp of arrival trails the kernel's
EARLIEST_NS = 5_000_000  # how far before an event the collector can have looked last
LENGTH = 4  # bytes before a framed message


def _is_told(keys: Keys) -> bool:
    return keys.get("format") == "conntrack_json"


def has_events(scenario: Scenario) -> bool:
    """Whether stamps of NAT events matter here."""
    return any(map(_is_told, scenario.systems.values()))


def _same(systems: Systems, folder: Path) -> Systems:
    return systems


def _as_text(systems: Systems, folder: Path) -> Systems:
    """What `conntrack -E -o timestamp` printed in the same run: stamps of arrival, no numbers, the operator's word."""
    text = {"format": "conntrack", "inputs": ["nat/{instance}.log"], "lossless": True, "stamped_within": "1s"}
    return {name: {**keys, **text} if _is_told(keys) else keys for name, keys in systems.items()}


def _by_arrival(systems: Systems, folder: Path) -> Systems:
    """The collector's lines as on a kernel without stamps: every time is that of reading, some milliseconds late."""
    for path in sorted((folder / "nat").glob("node-?.jsonl")):
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        _arrive(rows)
        path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))
    return systems


def _arrive(rows: list[dict[str, Any]]) -> None:
    """Put the moment of arrival in the place of every stamp; lines arrive in the order of their numbers."""
    chance = random.Random(5)
    arrivals: dict[tuple[str, int], tuple[int, int]] = {}  # a repeated line has the stamps of the first one
    told: dict[str, tuple[int, int]] = {}
    rises: dict[str, int] = {}
    last: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: (row["session"], row["n"])):
        session, number, at = row["session"], row["n"], row["at"]
        stamp = row.get("end", row.get("start", at))
        if (session, number) not in arrivals:
            earliest = last.get(session, 0) + 1000
            last[session] = max(stamp + chance.randrange(200_000, LATEST_NS), earliest)
            arrivals[session, number] = stamp - chance.randrange(EARLIEST_NS), last[session]
        since, arrival = arrivals[session, number]
        if "since" in row:
            continue  # this kernel did not stamp at all
        if "start" in row:
            flow = json.dumps([row["proto"], row["id"], row["start"]])
            late = arrival if "end" not in row else min(row["start"] + LATEST_NS, arrival)
            begun = told.setdefault(flow, (row["start"] - EARLIEST_NS, late))
            row["since" if row["event"] == "NEW" else "start_since"], row["start"] = begun
        if "end" in row:
            row["since"], row["end"] = since, arrival
        if "stamps" in row or row.get("event") == "LIST":
            row["read"] = at + GRACE_NS + LATEST_NS
        if "stamps" in row:
            row["stamps"] = "user"
        rises[session] = max(rises.get(session, 0), at + min(0, since - stamp))
        row["at"] = rises[session]


def _with_losses(systems: Systems, folder: Path) -> Systems:
    """A tenth of the lines of every log is gone, and nobody claims otherwise."""
    chance = random.Random(11)
    for path in sorted(folder.glob("*/*")):
        data = path.read_bytes()
        pieces = _messages(data) if path.suffix == ".bin" else data.splitlines(keepends=True)
        path.write_bytes(b"".join(piece for piece in pieces if chance.random() >= 0.1))
    return {name: {key: value for key, value in keys.items() if key != "lossless"} for name, keys in systems.items()}


def _messages(data: bytes) -> list[bytes]:
    found, start = [], 0
    while start < len(data):
        end = start + LENGTH + int.from_bytes(data[start : start + LENGTH], "big")
        found.append(data[start:end])
        start = end
    return found


COMPLETE = "complete"
VARIANTS: dict[str, Callable[[Systems, Path], Systems]] = {
    COMPLETE: _same,
    "text": _as_text,
    "arrival": _by_arrival,
    "lossy": _with_losses,
}


def variants_of(scenario: Scenario) -> list[str]:
    """The variants that differ from each other for this scenario."""
    return [name for name in VARIANTS if has_events(scenario) or name in (COMPLETE, "lossy")]


def make(scenario: Scenario, variant: str, recording: Path, out: Path) -> Path:
    """A copy of a recording as this variant has it; returns its configuration."""
    shutil.copytree(recording, out)
    systems = VARIANTS[variant](scenario.systems, out)
    config = out / "clientip.toml"
    config.write_text(drawing.toml(systems, scenario.joins))
    return config
