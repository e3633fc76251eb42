"""Real servers' logs: every recorded line gives the client that sent it, or names nobody.

The truth travels in the URL, so re-recording (`make record`) changes no expectation:
`expected.jsonl` holds verdict and word per label, and the client stands in `truth.jsonl`.
`CLIENTIP_EXPECT=1 pytest tests/test_golden.py` writes it anew; read the difference before you keep it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine import Engine, Source
from pipeline.model import Fact, Line, Promise, Record, Rejected, Setup, System
from tests.walks import owns, system

LOGS = Path(__file__).parent / "golden" / "logs"
EXPECTED = Path(__file__).parent / "golden" / "expected.jsonl"
SETUPS: dict[str, dict[str, Any]] = json.loads((LOGS / "setups.json").read_text())
TRUTH = [json.loads(row) for row in (LOGS / "truth.jsonl").read_text().splitlines()]

BALANCER = ("10.0.0.10", "fd00::10")
XFF = (Promise("x-forwarded-for"),)


def drawing(row: dict[str, Any]) -> list[System]:
    """The network the recordings were made in, as an operator would draw it."""
    peers, believes = " ".join(row["peers"]), " ".join(row["believes"])
    app = system("app", peers=peers, logs_peer=row["logs_peer"], believes=believes)
    conveys = (Promise("proxy"),) if row["via"] == "lb-proxy" else XFF
    return [app, system("lb", peers="outside internal", conveys=conveys, own=owns(*BALANCER))]


def setup_of(name: str) -> tuple[Setup, tuple[str, ...]]:
    row = SETUPS[name]
    return (
        Setup(
            system="app",
            format=row["format"],
            pattern=row["pattern"],
            escape=row["escape"],
            logs_peer=row["logs_peer"],
            timezone="UTC",
            captures=tuple(row["captures"]),
            appends_before_log=row["appends_before_log"],
        ),
        (row["wrapper"],) if row["wrapper"] else (),
    )


@cache
def outcomes(name: str) -> tuple[tuple[int, bytes, Any], ...]:
    """(line number, bytes, outcome) of every line of one recording."""
    setup, wrapper = setup_of(name)
    row = SETUPS[name]
    engine = Engine(drawing(row), [Source(setup, wrapper)], line_bytes=1 << 20)
    reading = engine.reading("app")
    found = []
    for number, raw in enumerate((LOGS / name).read_bytes().split(b"\n")[:-1], 1):
        found += [(number, raw, outcome) for outcome in reading.feed(Line(raw, raw))]
    return tuple(found)


def truths_of(name: str, number: int, raw: bytes) -> Iterator[dict[str, Any]]:
    for truth in TRUTH:
        if name in truth["log"] and (
            f"/t/{truth['label']}".encode() in raw or number in (truth.get("lines") or {}).get(name, ())
        ):
            yield truth


def word(outcome: Any) -> str:
    if isinstance(outcome, Rejected):
        return f"rejected {outcome.reason}"
    if isinstance(outcome, Fact):
        return f"fact {word(outcome.record)}"
    if not isinstance(outcome, Record):
        return f"skipped {outcome.reason}"
    found = outcome.resolution
    return f"{found.verdict} {found.reason or found.method}"


def rows() -> dict[str, str]:
    """`log label` → what came out, for every recorded line."""
    found: dict[str, str] = {}
    for name in SETUPS:
        for number, raw, outcome in outcomes(name):
            for truth in truths_of(name, number, raw):
                found[f"{name} {truth['label']}"] = word(outcome)
    return found


def named(outcome: Any) -> tuple[str, int | None] | None:
    record = outcome.record if isinstance(outcome, Fact) else outcome
    if not isinstance(record, Record) or record.resolution.client is None:
        return None
    return record.resolution.client.address.text, record.resolution.client.port


@pytest.mark.parametrize("name", sorted(SETUPS))
def test_no_recorded_line_names_a_wrong_client(name: str) -> None:
    wrong = []
    for number, raw, outcome in outcomes(name):
        client = named(outcome)
        for truth in truths_of(name, number, raw):
            if client is not None and client[0] != truth["client"]:
                wrong.append((number, truth["label"], client, truth["client"]))
            if client is not None and client[1] is not None and truth["port"] not in (None, client[1]):
                wrong.append((number, truth["label"], client, truth["port"]))
    assert wrong == []


@pytest.mark.parametrize("name", sorted(SETUPS))
def test_every_recorded_line_gives_what_it_gave_before(name: str) -> None:
    expected = {row["line"]: row["gives"] for row in map(json.loads, EXPECTED.read_text().splitlines())}
    mine = {key: gives for key, gives in rows().items() if key.startswith(f"{name} ")}
    assert mine == {key: gives for key, gives in expected.items() if key.startswith(f"{name} ")}


def test_only_formats_without_escapes_reject_lines_and_only_where_a_client_forged_columns() -> None:
    lost = {key: gives for key, gives in rows().items() if gives.startswith("rejected")}
    assert lost.pop("haproxy-syslog3164.log haproxy-syslog3164-long-ua-010") == "rejected no_match"  # cut at 1024
    unescaped = {name for name, row in SETUPS.items() if row["format"] in ("envoy_text", "traefik_clf")}
    assert {key.partition(" ")[0] for key in lost} <= unescaped
    assert set(lost.values()) == {"rejected two_readings"}
    assert all(any(word in key for word in ("-ua-", "-path-", "-xff-clf")) for key in lost)


if os.environ.get("CLIENTIP_EXPECT"):
    EXPECTED.write_text(
        "".join(json.dumps({"line": key, "gives": gives}) + "\n" for key, gives in sorted(rows().items()))
    )
