"""A hop that does not write the header it promises: `check` notices, and `holds_promises` names nobody by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from clientip import replay
from clientip.config.load import load
from clientip.edges.cli.check import check, report_text
from clientip.edges.cli.main import app
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.sizes import SIZE

CLIENT, FORGED = "198.51.100.66", "203.0.113.9"
PATTERN = '{"msec":"$msec","rt":"$request_time","peer":"$remote_addr","xff":"$http_x_forwarded_for","id":"$ID"}'
CONFIG = """
[systems.edge]
format = "nginx"
escape = "json"
pattern = 'PATTERN'
inputs = ["edge.log"]
logs_peer = "socket"
addresses = ["10.0.0.5"]
peers = ["outside"]
conveys = [{ header = "x-forwarded-for", mode = "append" }]
mints = ["x-request-id"]

[systems.app]
format = "nginx"
escape = "json"
pattern = 'PATTERN'
inputs = ["app.log"]
logs_peer = "socket"
peers = ["edge"]
"""
for _column in ("request_id", "http_x_request_id"):
    CONFIG = CONFIG.replace("PATTERN", PATTERN.replace("$ID", f"${_column}"), 1)
HELD = "\n[joins]\nholds_promises = true\n"


def line(peer: str, forwarded: str, number: int) -> str:
    stamp = f"{1_772_442_000 + number}.500"
    return json.dumps({"msec": stamp, "rt": "0.010", "peer": peer, "xff": forwarded, "id": f"{number:032x}"}) + "\n"


def site(folder: Path, received: list[str], *, held: bool = False) -> Path:
    """The logs of an edge and of the app behind it; `received`: X-Forwarded-For as the app got it, by request."""
    (folder / "edge.log").write_text("".join(line(CLIENT, FORGED, number) for number, _ in enumerate(received, 1)))
    (folder / "app.log").write_text("".join(line("10.0.0.5", each, number) for number, each in enumerate(received, 1)))
    config = folder / "clientip.toml"
    config.write_text(CONFIG + (HELD if held else ""))
    return config


KEPT, APPENDED = FORGED, f"{FORGED}, {CLIENT}"


def test_check_fails_and_names_the_hop_that_keeps_what_it_should_append_to(tmp_path: Path) -> None:
    report = check(load([site(tmp_path, [KEPT] * 3)]))
    assert report.code == 1
    assert "app was told another client in x-forwarded-for than the log of edge shows (3 lines" in report_text(report)


def test_check_is_content_where_every_promise_is_kept(tmp_path: Path) -> None:
    report = check(load([site(tmp_path, [APPENDED] * 3)]))
    assert (report.code, report.broken) == (0, ())


@pytest.mark.parametrize("held", [False, True])
def test_a_held_promise_that_is_broken_names_nobody_and_ends_a_replay_with_1(tmp_path: Path, held: bool) -> None:
    config = site(tmp_path, [KEPT, APPENDED], held=held)
    called = CliRunner().invoke(app, ["replay", "-c", str(config), "-o", str(tmp_path / "out")])
    rows = [json.loads(row) for row in (tmp_path / "out" / "enriched.ndjson").read_text().splitlines()]
    found = [(each["clientip"].get("client", {}).get("ip"), each["clientip"].get("reason")) for each in rows[2:]]
    wrong = (None, "contradiction") if held else (FORGED, None)
    assert (called.exit_code, found) == (int(held), [wrong, (CLIENT, None)])


def test_a_held_promise_without_a_line_of_the_hop_is_believed(tmp_path: Path) -> None:
    config = site(tmp_path, [APPENDED], held=True)
    (tmp_path / "edge.log").write_text(line(CLIENT, FORGED, 99))
    found = [each.resolution for each in replay(config)]
    assert [(each.verdict, each.stop) for each in found] == [("seen", None), ("vouched", None)]


@settings(max_examples=20 * SIZE, deadline=None)
@given(received=st.lists(st.sampled_from([KEPT, APPENDED, "", "unknown", CLIENT, "10.0.0.9", "10.0.0.5"]), max_size=6))
def test_holding_promises_names_no_client_that_is_not_named_without(
    tmp_path_factory: pytest.TempPathFactory, received: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("site")
    found = {}
    for held in (False, True):
        config = site(folder, [*received, APPENDED], held=held)
        found[held] = [each.resolution for each in replay(config)]
    for believed, checked in zip(found[False], found[True], strict=True):
        assert checked == believed or (checked.named, checked.reason) == (None, "contradiction")
    assert all(each.named is None or each.named.address.text == CLIENT for each in found[True])
