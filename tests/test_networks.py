"""Every network of `deploy/networks/` is true: it loads, fits the logs it names, and names the right clients there."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from clientip.config.load import load
from clientip.edges.cli.check import check
from clientip.edges.replay.plan import ReplayOptions, Request
from clientip.edges.replay.run import replay

from deploy.demo.stream.truth import judged, truths

ROOT = Path(__file__).parent.parent
NETWORKS = ROOT / "deploy" / "networks"
NAMES = sorted(path.stem for path in NETWORKS.glob("*.toml"))
KNOWN = truths([ROOT / "tests/golden/logs/truth.jsonl", *ROOT.glob("tests/lab/recorded/*/truth.jsonl")])

OPEN = {"cloudflare": 3, "google": 1, "tcp-balancer": 16}  # of strangers, or before and after what a log vouches for
WARNED = {"host-network": 1}  # its two systems share addresses, which is what it is about


def records(name: str, out: Path) -> list[dict[str, Any]]:
    """What a replay of the network as it stands makes of the requests in the logs it names."""
    request = Request((NETWORKS / f"{name}.toml",), options=ReplayOptions(output="record"), restart=True)
    replay(request, out, lambda _: None)
    assert (out / "rejected.ndjson").read_bytes() == b""
    return [json.loads(line) for line in (out / "record.ndjson").read_bytes().splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_a_network_fits_the_logs_it_names(name: str) -> None:
    report = check(load([NETWORKS / f"{name}.toml"]))
    assert report.code == 0
    assert all(each.share == 1 for each in report.systems if each.wanted)
    assert len(report.warnings) == WARNED.get(name, 0), report.warnings


@pytest.mark.parametrize("name", NAMES)
def test_a_network_names_the_right_client_of_every_line_but_those_of_strangers(name: str, tmp_path: Path) -> None:
    found = Counter(judged(record, KNOWN) for record in records(name, tmp_path))
    assert found["wrong"] == 0
    assert found["open"] == OPEN.get(name, 0)
    assert found["right"] >= 4


@pytest.mark.parametrize("name", NAMES)
def test_every_line_that_names_a_place_of_ours_is_marked_as_yours(name: str) -> None:
    lines = (NETWORKS / f"{name}.toml").read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("inputs", "pattern", "instances")) or "samples/" in line:
            assert "yours" in line or "yours" in lines[number - 1], line


@pytest.mark.parametrize("name", NAMES)
def test_every_log_a_network_names_is_in_the_repository(name: str) -> None:
    systems = tomllib.loads((NETWORKS / f"{name}.toml").read_text())["systems"].values()
    patterns = [pattern for system in systems for pattern in system.get("inputs", ())]
    assert patterns
    for pattern in patterns:
        assert list(NETWORKS.glob(pattern.replace("{instance}", "*"))), pattern
