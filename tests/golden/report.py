"""Writes what goes beside the logs: truth, set-ups and the README."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import envoy_conf
from setups import ALL, BALANCER, Setup

HEAD = Path(__file__).parent / "conf" / "README.head.md"


@dataclass
class Truth:
    """What really happened for one request."""

    label: str
    setup: str
    client: str
    port: int
    forged: bool
    headers: list[list[str]]
    note: str
    lines: dict[str, set[int]] = field(default_factory=dict)
    unnamed: set[str] = field(default_factory=set)

    def add(self, log: str, number: int, *, by_label: bool) -> None:
        """Note a line of this request; `by_label` says whether the line holds the label."""
        self.lines.setdefault(log, set()).add(number)
        if by_label:
            self.unnamed.discard(log)
        else:
            self.unnamed.add(log)

    def as_json(self) -> dict[str, Any]:
        """One object of truth.jsonl; line numbers only where the label cannot be searched."""
        numbers = {log: sorted(self.lines[log]) for log in sorted(self.unnamed)}
        return {
            "label": self.label,
            "log": sorted(self.lines),
            **({"lines": numbers} if numbers else {}),
            "client": self.client,
            "port": self.port,
            "forged": self.forged,
            "headers": self.headers,
            "note": self.note,
        }


def write_truth(path: Path, truths: list[Truth]) -> None:
    """One JSON object per request."""
    rows = [json.dumps(truth.as_json(), separators=(",", ":")) for truth in truths]
    path.write_text("\n".join(rows) + "\n")


def pattern(setup: Setup) -> str | None:
    """The literal format string, where the server has one."""
    return envoy_conf.pattern(setup) if setup.server == "envoy" else setup.pattern


def local_addresses(setup: Setup) -> list[str]:
    """Where the server listens for the requests of this log."""
    if setup in BALANCER:
        return ["10.0.0.10:*", "[fd00::10]:*"]
    v4 = [f"{setup.v4[0]}:{setup.port}"]
    return v4 + ([f"[{setup.v6[0]}]:{setup.port}"] if setup.ipv6 else [])


def write_setups(path: Path, versions: dict[str, str]) -> None:
    """The machine-readable table of set-ups."""
    table = {
        setup.log: {
            "server": setup.server,
            "version": versions[setup.server],
            "format": setup.format,
            "pattern": pattern(setup),
            "escape": setup.escape,
            "logs_peer": setup.logs_peer,
            "via": setup.via,
            "wrapper": setup.wrapper,
            "appends_before_log": setup.appends_before_log,
            "captures": setup.captures,
            "peers": setup.peers or ((("lb",) if setup.via else ()) + ("outside", "internal")),
            "believes": setup.believes or (("lb",) if setup.via and setup.logs_peer != "socket" else ()),
            "local": local_addresses(setup),
        }
        for setup in ALL
    }
    rows = [f"{json.dumps(log)}: {json.dumps(row, separators=(',', ':'))}" for log, row in table.items()]
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n")


def write_readme(path: Path, versions: dict[str, str], counts: dict[str, int]) -> None:
    """The hand-written head, then one row and one format per log file."""
    rows = [HEAD.read_text().rstrip(), ""]
    rows += ["| log | lines | server | peer | from | listens on | note |", "|" + "---|" * 7]
    for setup in ALL:
        came = {"lb-xff": "LB, XFF", "lb-proxy": "LB, PROXY"}.get(setup.via or "", "direct")
        cells = [
            setup.log,
            str(counts[setup.log]),
            f"{setup.server} {versions[setup.server]}",
            setup.logs_peer,
            came,
            " ".join(local_addresses(setup)),
            setup.note,
        ]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    rows += ["", "## Format strings", ""]
    seen: dict[str, list[str]] = {}
    for setup in ALL:
        if text := setup.pattern:  # JSON formats are in setups.json
            seen.setdefault(text, []).append(setup.name)
    for text, names in seen.items():
        literal = text.replace("\n", "\\n")
        rows.append(f"- {', '.join(names)}: `{literal}`")
    path.write_text("\n".join(rows) + "\n")
