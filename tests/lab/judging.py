"""Compares what clientip says of every line with the truth that stands in the line."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clientip.edges.replay.plan import ReplayOptions, Request
from clientip.edges.replay.run import replay
from clientip.reasons import BROKEN

from tests.lab.driver import Truth, read_label
from tests.lab.scenario import Scenario

NAMED = ("seen", "vouched", "joined")


@dataclass
class Score:
    """How one replay did."""

    lines: int = 0
    recoverable: int = 0
    recovered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)  # refused for a reason that is not the true one
    unlabelled: int = 0
    rejected: int = 0
    broken: set[str] = field(default_factory=set)  # findings that the configuration does not fit its logs

    @property
    def share(self) -> float:
        """Recovered of what is recoverable; 1 where nothing is."""
        return self.recovered / self.recoverable if self.recoverable else 1.0


def replayed(config: Path, out: Path) -> tuple[list[dict[str, Any]], int, set[str]]:
    """The records of a replay, how many lines were rejected, and what was found that breaks the configuration."""
    warnings: list[str] = []
    replay(Request((config,), options=ReplayOptions(output="record"), restart=True), out, warnings.append)
    records = [json.loads(line) for line in (out / "record.ndjson").read_bytes().splitlines()]
    findings = json.loads((out / "summary.json").read_bytes())["findings"]
    return records, len((out / "rejected.ndjson").read_bytes().splitlines()), BROKEN.intersection(findings)


def score(scenario: Scenario, config: Path, truths: Path, out: Path) -> Score:
    """Replay and judge."""
    records, rejected, broken = replayed(config, out)
    result = Score(rejected=rejected, broken=broken)
    senders = {(row["client"], row["port"]) for row in map(json.loads, truths.read_text().splitlines())}
    for record in records:
        _judge(scenario, record, senders, result)
    return result


def _judge(scenario: Scenario, record: dict[str, Any], senders: set[tuple[str, int]], result: Score) -> None:
    result.lines += 1
    target = record.get("http", {}).get("target") or ""
    truth = read_label(target)
    client = record.get("client", {})
    if truth is None:
        # A broken request shows no label: whoever is named must at least be one of the senders.
        result.unlabelled += 1
        if client and (client["ip"], client.get("port")) not in senders:
            result.wrong.append(f"{record['system']}: names {client}, who sent nothing")
        return
    refusal = scenario.refusal(record["system"], truth.group)
    if record["verdict"] == "unknown":
        reason = record["reason"]
        result.refused[reason] += 1
        if refusal is None:
            result.recoverable += 1
        elif reason not in refusal.reasons:
            result.untrue.append(f"{record['system']} {truth.label()}: {reason}")
        return
    if _is_right(record, truth):
        result.recoverable += 1
        result.recovered += 1
        return
    named = client or [step.get("address") for step in record["path"]]
    result.wrong.append(f"{record['system']} {truth.label()}: {record['verdict']} {named} by {record.get('method')}")


def _is_right(record: dict[str, Any], truth: Truth) -> bool:
    if record["verdict"] == "internal":
        return truth.inside and record["path"][-1].get("address") == truth.client
    client = record["client"]
    return (
        record["verdict"] in NAMED
        and not truth.inside
        and client["ip"] == truth.client
        and client.get("port") in (None, truth.port)
    )
