"""An address that a NAT log translates to, and that no system lists, is never named as a client."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from clientip import replay
from clientip.config.load import load
from clientip.edges.cli.check import check, report_text
from clientip.edges.cli.main import app
from clientip.edges.disk.inputs import find_inputs
from clientip.edges.replay.plan import ReplayOptions
from clientip.edges.replay.run import planned
from clientip.edges.replay.translated import met_in
from clientip.joins.translated import translated
from clientip.model import Endpoint, Observation, Setup
from clientip.syntax.addresses import parse_address
from hypothesis import given
from hypothesis import strategies as st

DRAWN, FORGOTTEN, VICTIM = "198.51.100.11", "198.51.100.12", "203.0.113.9"
CONFIG = f"""
[systems.nodes]
format = "conntrack_xml"
inputs = ["nat.xml"]
addresses = ["{DRAWN}"]
peers = ["outside"]
[systems.web]
format = "nginx"
pattern = '$remote_addr $status'
inputs = ["web.log"]
logs_peer = "socket"
peers = ["nodes", "outside"]
"""


def flow(source: str, target: str, reply_from: str, reply_to: str) -> Observation:
    ends = [Endpoint(parse_address(text), 4711) for text in (source, target, reply_to, reply_from)]
    return Observation(
        Setup(system="nodes", format="conntrack"),
        "translation",
        None,
        None,
        None,
        None,
        peer=ends[0],
        local=ends[1],
        upstream_local=ends[2],
        upstream_peer=ends[3],
    )


addresses = st.ip_addresses(v=4).map(str)


@given(source=addresses, target=addresses, pod=addresses)
def test_whatever_ends_a_client_chooses_he_adds_no_address_but_the_node_s(source: str, target: str, pod: str) -> None:
    """The kernel answers a flow without source NAT to its sender, and one with it to the node."""
    assert translated(flow(source, target, target, source)) is None  # passed on, or sent by a transparent proxy
    assert translated(flow(source, target, pod, source)) is None  # DNAT alone, as full cone
    assert translated(flow(source, target, pod, FORGOTTEN)) in (FORGOTTEN, None)  # SNAT, hairpin too


def test_a_replay_names_nobody_by_an_address_that_a_later_file_translates_to(tmp_path: Path) -> None:
    found = [each.resolution for each in replay(site(tmp_path))]
    assert [(each.verdict, each.reason) for each in found] == [("unknown", "translated_address"), ("seen", None)]


def test_the_file_of_the_configuration_says_the_same_without_a_nat_log(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_text(f"{FORGOTTEN} 200\n{VICTIM} 200\n")
    (tmp_path / "known.txt").write_text(f"# nodes\n{FORGOTTEN}\n")
    config = tmp_path / "clientip.toml"
    config.write_text(CONFIG + '[joins]\ntranslated = "known.txt"\n')
    found = [each.resolution for each in replay(config, [tmp_path / "web.log"], system="web")]
    assert [(each.verdict, each.reason) for each in found] == [("unknown", "translated_address"), ("seen", None)]


def site(folder: Path, *listed: str) -> Path:
    """A web log with a forgotten node and a client, the node's NAT log, and the configuration."""
    (folder / "web.log").write_text(f"{FORGOTTEN} 200\n{VICTIM} 200\n")
    (folder / "nat.jsonl").write_text(json.dumps(NAT) + "\n")
    config = folder / "clientip.toml"
    text = CONFIG.replace("conntrack_xml", "ulogd_json").replace("nat.xml", "nat.jsonl")
    config.write_text(text.replace(f'"{DRAWN}"', ", ".join(f'"{each}"' for each in (DRAWN, *listed))))
    return config


def test_check_names_a_node_that_is_in_no_system_and_fails(tmp_path: Path) -> None:
    report = check(load([site(tmp_path)]))
    assert (report.code, report.translated) == (1, (FORGOTTEN,))
    assert f"NAT translates to {FORGOTTEN}, which is in no system" in report_text(report)
    assert check(load([site(tmp_path, FORGOTTEN)])).translated == ()


def test_check_reads_the_beginning_of_a_long_nat_log_and_a_replay_all_of_it(tmp_path: Path) -> None:
    config = site(tmp_path)
    plain = json.dumps(NAT | {"reply.ip.daddr.str": VICTIM}) + "\n"
    (tmp_path / "nat.jsonl").write_text(plain * 400 + json.dumps(NAT) + "\n")
    settings = load([config])
    inputs = find_inputs(settings, (), None).files
    plan = planned(ReplayOptions(chunk_bytes=64 << 10), settings, tuple(inputs))
    assert met_in(settings, plan, beginnings=True) == ()
    assert met_in(settings, plan) == (FORGOTTEN,)


def test_a_replay_that_met_one_ends_with_1_and_finds_it_once_only(tmp_path: Path) -> None:
    config, out = site(tmp_path), tmp_path / "out"
    called = CliRunner().invoke(app, ["replay", "-c", str(config), "-o", str(out)])
    assert (called.exit_code, "translated_undrawn" in called.stderr) == (1, True)
    verdicts = [json.loads(row)["clientip"]["verdict"] for row in (out / "enriched.ndjson").read_text().splitlines()]
    assert verdicts == ["unknown", "seen"]
    found = (out / "plan.json").read_bytes()
    again = CliRunner().invoke(app, ["replay", "-c", str(config), "-o", str(out)])
    assert ("nothing was read again" in again.stderr, (out / "plan.json").read_bytes()) == (True, found)
    assert FORGOTTEN in found.decode()


def test_a_node_that_is_listed_is_a_hop_as_any_other(tmp_path: Path) -> None:
    found = [each.resolution.reason for each in replay(site(tmp_path, FORGOTTEN))]
    assert "translated_address" not in found


NAT = {
    "timestamp": "2025-01-01T00:00:00.000000+00:00",
    "event.type": "destroy",
    "orig.ip.protocol": 6,
    "orig.ip.saddr.str": VICTIM,
    "orig.ip.daddr.str": "198.51.100.99",
    "orig.l4.sport": 4711,
    "orig.l4.dport": 80,
    "reply.ip.protocol": 6,
    "reply.ip.saddr.str": "10.0.0.5",
    "reply.ip.daddr.str": FORGOTTEN,
    "reply.l4.sport": 8080,
    "reply.l4.dport": 4711,
    "flow.start.sec": 1735689600,
    "flow.start.usec": 0,
    "flow.end.sec": 1735689601,
    "flow.end.usec": 0,
    "ct.id": 7,
}
