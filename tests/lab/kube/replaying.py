"""The configuration drawn of the whole lab, and every record of its replay held against the label in its URL."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.lab.kube.machines import Cluster, bridges
from tests.lab.kube.scenarios import BALANCER, NODES, Pod

CONFIG = """# Drawn by tests/lab/kube/replaying.py: addresses as the API told them.

[systems.lb]                                   # HAProxy passing TCP on: only its log knows both sides
format    = "haproxy"
pattern   = '%ci:%cp [%t] %fi:%fp %ft %b/%s %bi:%bp %si:%sp %Tw/%Tc/%Tt %B %ts'
inputs    = ["haproxy.log"]
logs_peer = "socket"
timezone  = "UTC"
addresses = {balancer}
peers     = ["outside", "internal"]
lossless  = true

[systems.nodes]                                # every node may be the one that hides a client
format    = "conntrack_json"
inputs    = ["nat/{{instance}}.ndjson"]
addresses = {nodes}
instances = {node_instances}
peers     = ["outside", "internal", "nodes", "lb"]

[systems.ingress]                              # Traefik pods
{ingress_log}
logs_peer = "socket"
addresses = {ingress}
instances = {ingress_instances}
peers     = ["nodes", "outside", "internal", "lb"]
probes    = ["/ping"]
conveys   = [{{ header = "x-forwarded-for", mode = "append" }}]
lossless  = true

[systems.edge]                                 # Traefik on the network of node-b: its addresses are the node's
format    = "traefik_json"
wrapper   = ["cri"]
inputs    = ["logs/node-*/web_{{instance}}_*/edge/*.log"]
logs_peer = "socket"
addresses = {edge}
conveys   = [{{ header = "x-forwarded-for", mode = "append" }}]
peers     = ["nodes", "outside", "internal"]
probes    = ["/ping"]

[systems.app]                                  # Caddy pods
format    = "caddy"
wrapper   = ["cri"]
inputs    = ["logs/node-*/web_{{instance}}_*/caddy/*.log"]
logs_peer = "socket"
peers     = ["ingress", "edge", "nodes", "internal"]
"""

# One cluster, drawn twice: the ingress known by its access log, and by its spans.
DRAWINGS = {
    "logs": """format    = "traefik_json"
wrapper   = ["cri"]
inputs    = ["logs/node-*/web_{instance}_*/traefik/*.log"]""",
    "spans": """format    = "otlp_traces_proto"
inputs    = ["spans.bin"]
tells     = true""",
}
UNRECOVERABLE = {  # (drawing, scenario, system): what no log of this cluster knows
    ("logs", "around-the-ingress", "app"),  # nobody from outside may connect to the application
    ("spans", "around-the-ingress", "app"),
    ("logs", "stolen-trace-cluster", "app"),  # one trace id for all; only its spans tell the requests apart
    ("logs", "B12-host-network", "app"),  # a port that the node translated before is not told apart
    ("spans", "B12-host-network", "app"),
    ("logs", "forged-headers-edge", "app"),
    ("spans", "forged-headers-edge", "app"),
    ("logs", "unlabelled", "edge"),  # probes of the kubelet before the collectors ran
    ("logs", "unlabelled", "ingress"),
    ("spans", "unlabelled", "edge"),
    ("spans", "unlabelled", "ingress"),
    ("logs", "warm-up", "app"),  # before the collectors ran
    ("logs", "warm-up", "ingress"),
    ("spans", "warm-up", "app"),
    ("spans", "warm-up", "ingress"),
}
ENOUGH = 0.99  # of what can be recovered
LABEL = re.compile(r"[?&]c=(\[[0-9a-f:]+\]|[0-9.]+):(\d+)&s=([A-Za-z0-9-]+)")
OURS = tuple(ip_network(each) for each in ("10.244.0.0/16", "198.51.100.0/24", "fd00:244::/44", "2001:db8:2::/64"))
NAMED = ("seen", "vouched", "joined")


@dataclass
class Row:
    """What became of the labelled lines of one scenario at one system."""

    scenario: str
    system: str
    lines: int = 0
    recovered: int = 0
    wrong: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)  # of wrong records


def write_configs(cluster: Cluster) -> None:
    """`NAME.toml` beside the logs for every drawing, as an operator of this cluster would write it."""
    owned = {f"node-{node.name}": [*NODES[node.name], *bridges(node)] for node in cluster.nodes}
    ingress = cluster.pods["ingress"]
    for name, log in DRAWINGS.items():
        text = CONFIG.format(
            balancer=json.dumps(BALANCER),
            nodes=json.dumps(sorted({address for each in owned.values() for address in each})),
            node_instances=_inline(owned),
            ingress_log=log,
            edge=json.dumps(owned["node-b"]),
            ingress=json.dumps([address for pod in ingress for address in pod.addresses]),
            ingress_instances=_inline({pod.name: _listening(pod) for pod in ingress}),
        )
        (cluster.scratch / f"{name}.toml").write_text(text)


def _listening(pod: Pod) -> list[str]:
    return [f"{pod.addresses[0]}:8000", f"[{pod.addresses[1]}]:8000"]


def _inline(table: dict[str, list[str]]) -> str:
    """An inline table of TOML."""
    return "{ " + ", ".join(f"{name} = {json.dumps(each)}" for name, each in table.items()) + " }"


def judge(out: Path) -> list[Row]:
    """One row per scenario and system of a replay's records; a line without a label counts as `unlabelled`."""
    rows: dict[tuple[str, str], Row] = {}
    for record in _records(out):
        label = LABEL.search(unquote((record.get("http") or {}).get("target") or ""))
        scenario = label[3] if label else "unlabelled"
        row = rows.setdefault((scenario, record["system"]), Row(scenario, record["system"]))
        row.lines += 1
        row.verdicts[record["verdict"]] += 1
        if label is None:
            _judge_unlabelled(row, record)
        else:
            _judge_one(row, record, label[1].strip("[]"), int(label[2]))
    return [rows[key] for key in sorted(rows)]


def failures(drawing: str, table: list[Row], scratch: Path) -> list[str]:
    """What must not be: wrong clients, too few recovered, answered requests without a line."""
    found = [f"WRONG {row.scenario} {row.system} {each}" for row in table for each in row.examples[:5]]
    found += [
        f"TOO FEW {row.scenario} {row.system}: {row.recovered} of {row.lines}"
        for row in table
        if (drawing, row.scenario, row.system) not in UNRECOVERABLE and row.recovered < ENOUGH * row.lines
    ]
    entered = Counter[str]()
    for row in table:
        if row.system in ("app" if "around" in row.scenario else "ingress", "edge"):
            entered[row.scenario] += row.lines
    for scenario, answered in _answered(scratch).items():
        if entered[scenario] < answered:
            found.append(f"LOST {scenario}: {answered} answered, {entered[scenario]} lines")
    return found


def _answered(scratch: Path) -> Counter[str]:
    """Per scenario, how many requests were answered by the application."""
    answered = Counter[str]()
    for line in (scratch / "truth.jsonl").read_text().splitlines():
        sent = json.loads(line)
        answered[sent["scenario"].partition(".")[0]] += sent["statuses"].count(200)
    return answered


def _records(out: Path) -> Iterator[Any]:
    with (out / "record.ndjson").open() as lines:
        for line in lines:
            yield json.loads(line)


def _judge_one(row: Row, record: Any, address: str, port: int) -> None:
    """A named client must be the labelled socket; requests from inside must name nobody from outside."""
    truth = ip_address(address)
    inside = any(truth in network for network in OURS)
    client = record.get("client") or {}
    named = client.get("ip")
    right = named == str(truth) and client.get("port") in (None, port)
    if record["verdict"] == "unknown":
        row.refused[record["reason"]] += 1
    elif right if record["verdict"] in NAMED else inside:
        row.recovered += 1
    elif record["verdict"] == "seen" and named == str(truth):
        # A node that only rewrites the destination gives the client another port where the tuple is taken already.
        row.refused["port_moved_by_nat"] += 1
    else:
        row.wrong += 1
        row.examples.append(f"{record['record_id']}: {record['verdict']} {client}, but {address}:{port}")


def _judge_unlabelled(row: Row, record: Any) -> None:
    """Probes of the kubelet and lines of attacks that no server parsed: they must name nobody."""
    if record["verdict"] in NAMED:
        row.wrong += 1
        row.examples.append(f"{record['record_id']}: {record['verdict']} {record.get('client')}, but no label")
    elif record["verdict"] == "internal":
        row.recovered += 1
    else:
        row.refused[record["reason"]] += 1


def report(table: list[Row]) -> str:
    """The table for people."""
    lines = [f"{'scenario':34} {'system':8} {'lines':>6} {'recovered':>10} {'wrong':>6}  how, and refused by reason"]
    for row in [*table, _total(table)]:
        how = " ".join(f"{name}={count}" for name, count in sorted(row.verdicts.items()) if name != "unknown")
        why = " ".join(f"{name}={count}" for name, count in sorted(row.refused.items()))
        share = f"{100 * row.recovered / row.lines:9.1f}%" if row.lines else f"{'-':>10}"
        found = f"{how}{'; ' if how and why else ''}{why}"
        lines.append(f"{row.scenario:34} {row.system:8} {row.lines:6} {share} {row.wrong:6}  {found}")
    return "\n".join(lines)


def _total(table: list[Row]) -> Row:
    total = Row("all", "")
    for row in table:
        total.lines += row.lines
        total.recovered += row.recovered
        total.wrong += row.wrong
        total.refused += row.refused
        total.verdicts += row.verdicts
    return total
