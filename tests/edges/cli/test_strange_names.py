"""What strangers name or write cannot drive the operator's terminal, and is not shown where nobody asked for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clientip.config.load import load
from clientip.edges.cli.check import check, report_text
from clientip.edges.cli.exits import warn
from clientip.edges.replay.summary import Summary, as_json, as_text
from clientip.edges.replay.tally import OTHER, Tally
from clientip.errors import ConfigError
from clientip.syntax.addresses import shortened
from clientip.syntax.terminals import printable
from hypothesis import given
from hypothesis import strategies as st

EVIL = "x\x1b]0;title\x07\n  everything fits\nc.log"
CONFIG = """
[systems.web]
format = "nginx"
pattern = "$remote_addr $status"
logs_peer = "socket"
peers = ["outside"]
inputs = ["logs/*"]
"""


@given(st.text())
def test_nothing_that_is_printed_drives_a_terminal(text: str) -> None:
    assert printable(text).isprintable()


def test_the_report_of_a_check_has_no_line_that_a_file_name_wrote(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(CONFIG)
    (tmp_path / "logs").mkdir()
    for name in (EVIL, f"{EVIL}.1"):
        (tmp_path / "logs" / name).write_text("203.0.113.7 bad line\n")
    lines = report_text(check(load([tmp_path / "c.toml"]))).splitlines()
    assert all(line.isprintable() for line in lines)
    assert "  everything fits" not in lines
    assert any(r"x\x1b]0;title\x07\n  everything fits\nc.log" in line for line in lines)


def test_a_warning_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    warn(f"cannot read {EVIL}")
    assert capsys.readouterr().err == "clientip: cannot read x\\x1b]0;title\\x07\\n  everything fits\\nc.log\n"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("10.0.0.7", "10.0.0.7"),
        ("100.64.0.9", "100.64.0.9"),
        ("fd00::7", "fd00::7"),
        (OTHER, OTHER),
    ],
)
def test_global_addresses_are_cut_to_their_network_and_local_ones_are_whole(address: str, shown: str) -> None:
    assert shortened(address) == shown


def test_a_summary_shows_strangers_whole_only_if_asked() -> None:
    unlisted = {"203.0.113.7": 3, "203.0.113.8": 2, "10.9.9.9": 4}
    summary = Summary("rules", (Tally("web", records=9, unlisted=unlisted),), ())
    cut = [
        {"address": "203.0.113.0/24", "records": 5, "share": 0.5556},
        {"address": "10.9.9.9", "records": 4, "share": 0.4444},
    ]
    assert json.loads(as_json(summary))["unlisted"] == cut
    assert "203.0.113.7" not in as_text(summary, 100)
    whole = {each["address"]: each["records"] for each in json.loads(as_json(summary, show_addresses=True))["unlisted"]}
    assert whole == unlisted
    assert "203.0.113.7" in as_text(summary, 100, show_addresses=True)


def test_a_file_that_is_no_list_is_told_of_by_line_and_not_by_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("10.0.0.0/8\nhunter2:$6$abc\n")
    (tmp_path / "c.toml").write_text(
        CONFIG + '\n[systems.lb]\naddresses = [{ file = "secret" }]\npeers = ["outside"]\n'
    )
    with pytest.raises(ConfigError) as caught:
        load([tmp_path / "c.toml"])
    [fault] = caught.value.faults
    assert "secret:2" in str(fault)
    assert "hunter2" not in str(fault)
