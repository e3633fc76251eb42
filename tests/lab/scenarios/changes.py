"""Scenarios made from recordings of others: events late, doubled, lost, clocks apart, a reboot, a tenant's lies."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.lab import drawing, patterns
from tests.lab.driver import read_label
from tests.lab.scenario import Refusal, Scenario
from tests.lab.scenarios import balancers, cluster, proxies
from tests.lab.scenarios.sending import FORGED, NODE_B

Row = dict[str, Any]
SKEW_NS = 50_000_000


def rewrite(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the lines of one file."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(change(lines)))


def _events(folder: Path) -> list[Path]:
    return [path for path in sorted((folder / "nat").glob("*.jsonl")) if "ulogd" not in path.name]


def _late(folder: Path) -> None:
    """A third of the events stand far behind their place."""

    def change(lines: list[bytes]) -> list[bytes]:
        chance = random.Random(7)
        late = [chance.random() < 1 / 3 for _ in lines]
        held = [line for line, is_late in zip(lines, late, strict=True) if is_late]
        chance.shuffle(held)
        return [line for line, is_late in zip(lines, late, strict=True) if not is_late] + held

    for path in _events(folder):
        rewrite(path, change)


def _doubled(folder: Path) -> None:
    """Every line twice, as after a shipper that repeats."""
    for path in [*_events(folder), *(folder / "lb").glob("*.log")]:
        rewrite(path, lambda lines: [*lines, *lines])


def _lost(folder: Path) -> None:
    """A stretch of the events is missing, and the numbers show it."""
    for path in _events(folder):
        rewrite(path, lambda lines: lines[: len(lines) // 3] + lines[len(lines) // 2 :])


def _rebooted(folder: Path) -> None:
    """In the middle the collector ends, another one begins after a while: another session, numbers from one."""
    for path in _events(folder):
        rows: list[Row] = [json.loads(line) for line in path.read_bytes().splitlines()]
        first, lost, second = rows[: len(rows) // 2], rows[len(rows) // 2 :][:6], rows[len(rows) // 2 + 6 :]
        begun = max((value for row in lost for key, value in row.items() if key in ("at", "start", "end")), default=0)
        for number, row in enumerate(second, 1):
            row["n"], row["session"], row["at"] = number, "0" * 8 + row["session"][8:], max(row["at"], begun)
        path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in [*first, *second]))


def _apart(folder: Path) -> None:
    """The nodes' clocks are 50 ms ahead, the application's as much behind."""

    def ahead(row: Row) -> Row:
        return {key: value + SKEW_NS if key in ("at", "start", "end") else value for key, value in row.items()}

    for path in _events(folder):
        rows = [ahead(json.loads(line)) for line in path.read_bytes().splitlines()]
        path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))
    for path in (folder / "nat").glob("*.log"):
        text = re.sub(r"^\[([0-9.]+)\]", lambda found: f"[{float(found[1]) + 0.05:.6f}]", path.read_text(), flags=re.M)
        path.write_text(text)
    for path in (folder / "app").glob("*.log"):
        text = re.sub(r'"msec":"([0-9.]+)"', lambda found: f'"msec":"{float(found[1]) - 0.05:.3f}"', path.read_text())
        path.write_text(text)


def _without_near_end(folder: Path) -> None:
    """The application does not log where it was reached."""
    for path in (folder / "app").glob("*.log"):
        path.write_text(re.sub(r'"local":"[^"]*",', "", path.read_text()))


def _none(folder: Path) -> None:
    """The logs stay as they are; only the drawing differs."""


def _lies(folder: Path) -> None:
    """A tenant prints lines and exports spans with the traces of others, each naming somebody else."""
    (folder / "tenant").mkdir()
    lines, spans = [], []
    for path in (folder / "app").glob("*.log"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            truth = read_label(row["req"])
            assert truth is not None
            request = row["req"].replace(truth.label(), replace(truth, group="lie").label())
            lines.append({**row, "peer": FORGED, "peer_port": "4711", "xff": FORGED, "req": request})
            _, trace, parent, _ = row["tp"].split("-")
            begun = int(float(row["msec"]) * 1000) * 1_000_000
            spans.append(_span(trace, parent, begun))
    (folder / "tenant" / "tenant.log").write_text(
        "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in lines)
    )
    body = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    (folder / "tenant" / "tenant.spans.jsonl").write_text(json.dumps(body) + "\n")


def _span(trace: str, span: str, begun: int) -> Row:
    """A server span that claims the very span id the victim's line names as its caller."""
    peer = [("network.peer.address", FORGED), ("url.path", "/lie"), ("http.request.method", "GET")]
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in peer]
    attributes.append({"key": "network.peer.port", "value": {"intValue": "4711"}})
    times = {"startTimeUnixNano": str(begun - 20_000_000), "endTimeUnixNano": str(begun + 20_000_000)}
    return {"traceId": trace, "spanId": span, "name": "lie", "kind": 2, **times, "attributes": attributes}


def _from(source: Scenario, name: str, note: str, change: Callable[[Path], None], **more: Any) -> Scenario:
    """A scenario like another one, after a change to its recording."""
    made = {"derived_from": source.name, "change": change, "send": None, "before": None, "prepare": None}
    return replace(source, name=name, note=note, **{**made, **more})


def _skewed(systems: dict[str, drawing.Keys]) -> dict[str, drawing.Keys]:
    return {name: {**keys, "max_skew": "55ms"} for name, keys in systems.items()}


NEAR_END = '"local":"$server_addr:$server_port",'
SOURCES = {scenario.name: scenario for scenario in (*cluster.ALL, *balancers.ALL, *proxies.ALL)}
LOSS = ("events_lost", "evidence_incomplete", "evidence_missing", "ambiguous")
ANY_LOSS = (Refusal("app", "*", LOSS, optional=True),)
TENANTS = {
    "tenant": {
        "format": "nginx",
        "pattern": patterns.NGINX,
        "escape": "json",
        "inputs": ["tenant/*.log"],
        "logs_peer": "socket",
        "peers": ["internal"],
        "tells": False,
    },
    "tenant-spans": {
        "format": "otlp_traces",
        "inputs": ["tenant/*.jsonl"],
        "logs_peer": "socket",
        "peers": ["internal"],
    },
}
LIES = (Refusal("tenant", "*", ("peer_unlisted",)), Refusal("tenant-spans", "*", ("peer_unlisted",)))

ALL = (
    _from(SOURCES["b1"], "events-late", "events arrive late and in disorder", _late),
    _from(SOURCES["b1"], "events-doubled", "events arrive twice", _doubled),
    _from(SOURCES["reuse-32"], "events-late-32", "late and in disorder, on 32 SNAT ports", _late),
    _from(SOURCES["b1"], "events-lost", "a stretch of the events is missing", _lost, refusals=ANY_LOSS),
    _from(SOURCES["reuse-32"], "events-lost-32", "the same on 32 SNAT ports", _lost, refusals=ANY_LOSS),
    _from(SOURCES["reuse-256"], "reboot", "the node reboots, its collector comes late", _rebooted, refusals=ANY_LOSS),
    _from(SOURCES["b1"], "skew", "clocks 100 ms apart", _apart, systems=_skewed(cluster.NAT)),
    _from(
        SOURCES["reuse-256"],
        "skew-256",
        "the same on 256 SNAT ports",
        _apart,
        systems=_skewed(cluster.NAT),
        refusals=(Refusal("app", "*", ("ambiguous",), optional=True),),
    ),
    _from(
        SOURCES["b8"],
        "b8-fronts",
        "full proxy to a Local NodePort, and the drawing says that it leads to the application (`fronts`)",
        _none,
        systems={
            **SOURCES["b8"].systems,
            "app": {**SOURCES["b8"].systems["app"], "fronts": [f"{NODE_B}:30081"]},
        },
        refusals=(),
    ),
    _from(
        SOURCES["b8"],
        "b8-no-local",
        "full proxy to a Local NodePort, and the application does not log where it was reached",
        _without_near_end,
        systems={
            **SOURCES["b8"].systems,
            "app": {**SOURCES["b8"].systems["app"], "pattern": patterns.NGINX.replace(NEAR_END, "")},
        },
        refusals=(),
    ),
    _from(
        SOURCES["log-and-spans"],
        "tenant-lies",
        "a tenant prints lines and exports spans with the traces of others",
        _lies,
        systems={**SOURCES["log-and-spans"].systems, **TENANTS},
        refusals=LIES,
        attack=True,
    ),
)
