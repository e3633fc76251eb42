"""A folder of recorded logs, read through the engine and compared with the truth about each request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from clientip.engine import Engine, LogSource
from clientip.formats import FORMATS
from clientip.model import Fact, Line, Promise, Record, Rejected, Setup, System

from tests.worlds.samples_check import CHECKED
from tests.worlds.walks import owns, system

GOLDEN = Path(__file__).parents[1] / "golden"
EXPECTED = GOLDEN / "expected.jsonl"

BALANCER = ("10.0.0.10", "fd00::10")
HTTPSLOG = dict(FORMATS["haproxy"].known_patterns)["httpslog"]
XFF = (Promise("x-forwarded-for"),)

# HAProxy's httpslog was recorded on a port without TLS: nobody sent a server name, and with it line breaks.
# Envoy's server was one that refuses server names with anything odd in them.
OPTIONS = {HTTPSLOG: (("line_breaks", "escaped"),)}

Read = tuple[int, bytes, Any]
"""(line number, bytes, outcome)"""


def drawing(row: dict[str, Any]) -> list[System]:
    """The network the recordings were made in, as an operator would draw it."""
    peers, believes = " ".join(row["peers"]), " ".join(row["believes"])
    app = system("app", peers=peers, logs_peer=row["logs_peer"], believes=believes)
    conveys = (Promise("proxy"),) if row["via"] == "lb-proxy" else XFF
    return [app, system("lb", peers="outside internal", conveys=conveys, own=owns(*BALANCER))]


def setup_of(row: dict[str, Any]) -> Setup:
    return Setup(
        system="app",
        format=row["format"],
        pattern=row["pattern"],
        escape=row["escape"],
        logs_peer=row["logs_peer"],
        timezone="UTC",
        captures=tuple(row["captures"]),
        appends_before_log=row["appends_before_log"],
        options=CHECKED if row["format"] == "envoy_text" else OPTIONS.get(row["pattern"], ()),
    )


class Recording:
    """One run of `golden/record.py`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.setups: dict[str, dict[str, Any]] = json.loads((folder / "setups.json").read_text())
        self.truth = [json.loads(row) for row in (folder / "truth.jsonl").read_text().splitlines()]

    @cached_property
    def read(self) -> dict[str, list[Read]]:
        """What comes out for every line of every log."""
        return {name: list(self._read(name)) for name in self.setups}

    def _read(self, name: str) -> Iterator[Read]:
        row = self.setups[name]
        wrapper = (row["wrapper"],) if row["wrapper"] else ()
        reading = Engine(drawing(row), [LogSource(setup_of(row), wrapper)], line_bytes=1 << 20).reading("app")
        for number, raw in enumerate((self.folder / name).read_bytes().split(b"\n")[:-1], 1):
            for outcome in reading.feed(Line(raw, raw)):
                yield number, raw, outcome

    def truths_of(self, name: str, number: int, raw: bytes) -> Iterator[dict[str, Any]]:
        """The requests a line belongs to: by the label in its URL, else by its number."""
        for truth in self.truth:
            if name in truth["log"] and (
                f"/t/{truth['label']}".encode() in raw or number in (truth.get("lines") or {}).get(name, ())
            ):
                yield truth

    def gives(self) -> dict[str, str]:
        """`log label` → what came out, for every recorded line."""
        return {
            f"{name} {truth['label']}": word(outcome)
            for name, lines in self.read.items()
            for number, raw, outcome in lines
            for truth in self.truths_of(name, number, raw)
        }

    def wrong(self) -> list[tuple[str, str, tuple[str, int | None], str, int | None]]:
        """Every line that names another client, or another port of it, than the one that sent the request."""
        return [
            (name, truth["label"], client, truth["client"], truth["port"])
            for name, lines in self.read.items()
            for number, raw, outcome in lines
            if (client := named(outcome)) is not None
            for truth in self.truths_of(name, number, raw)
            if client[0] != truth["client"] or client[1] not in (None, truth["port"])
        ]


def word(outcome: Any) -> str:
    """Verdict and method or reason, in two words."""
    if isinstance(outcome, Rejected):
        return f"rejected {outcome.reason}"
    if isinstance(outcome, Fact):
        return f"fact {word(outcome.record)}"
    if not isinstance(outcome, Record):
        return f"skipped {outcome.reason}"
    found = outcome.resolution
    return f"{found.verdict} {found.reason or found.method}"


def named(outcome: Any) -> tuple[str, int | None] | None:
    record = outcome.record if isinstance(outcome, Fact) else outcome
    if not isinstance(record, Record) or record.resolution.client is None:
        return None
    return record.resolution.client.address.text, record.resolution.client.port


def expected() -> dict[str, str]:
    return {row["line"]: row["gives"] for row in map(json.loads, EXPECTED.read_text().splitlines())}
