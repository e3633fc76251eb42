"""An address that a NAT log translates to, and that no system lists, is never named as a client."""

from __future__ import annotations

import json
from pathlib import Path

from clientip import replay
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
    (tmp_path / "web.log").write_text(f"{FORGOTTEN} 200\n{VICTIM} 200\n")
    (tmp_path / "nat.jsonl").write_text(json.dumps(NAT) + "\n")
    config = tmp_path / "clientip.toml"
    config.write_text(CONFIG.replace("conntrack_xml", "ulogd_json").replace("nat.xml", "nat.jsonl"))
    found = [each.resolution for each in replay(config)]
    assert [(each.verdict, each.reason) for each in found] == [("unknown", "translated_address"), ("seen", None)]


def test_the_file_of_the_configuration_says_the_same_without_a_nat_log(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_text(f"{FORGOTTEN} 200\n{VICTIM} 200\n")
    (tmp_path / "known.txt").write_text(f"# nodes\n{FORGOTTEN}\n")
    config = tmp_path / "clientip.toml"
    config.write_text(CONFIG + '[joins]\ntranslated = "known.txt"\n')
    found = [each.resolution for each in replay(config, [tmp_path / "web.log"], system="web")]
    assert [(each.verdict, each.reason) for each in found] == [("unknown", "translated_address"), ("seen", None)]


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
