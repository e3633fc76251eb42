"""The small lab: nobody is named wrongly, what can be recovered is, and what is refused has its true reason.

With root and namespaces the scenarios run for real; elsewhere those of `recorded/` stand in, and a warning says so.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from tests.lab import drawing, network, patterns, record, rivals, variants
from tests.lab.judging import Score
from tests.lab.report import judge
from tests.lab.scenario import Scenario
from tests.lab.scenarios import ALL, BY_NAME

RECORDED = Path(__file__).parent / "recorded"
KEPT = sorted(path.name for path in RECORDED.iterdir())
WHY_NOT = network.missing()
NAMES = [scenario.name for scenario in ALL] if WHY_NOT is None else KEPT
SCALE = "0.4"
SHARE = 0.99


def _halves() -> list[list[str]]:
    """The scenarios for two labs; one that is made from another one's recording goes with it."""
    families = [list(group) for _, group in groupby(sorted(ALL, key=_family), key=_family)]
    halves: list[list[str]] = [[], []]
    for number, family in enumerate(families):
        halves[number % 2] += [scenario.name for scenario in family]
    return halves


def _family(scenario: Scenario) -> str:
    return scenario.derived_from or scenario.name


def _record(folder: Path) -> None:
    """Both labs at once; each has namespaces of its own."""
    command = [sys.executable, "-m", "tests.lab.record", "--scale", SCALE, "--out", str(folder)]
    labs = [subprocess.Popen([*command, *names], stderr=subprocess.PIPE, text=True) for names in _halves()]
    for lab in labs:
        _, errors = lab.communicate()
        assert lab.returncode == 0, errors


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The recorded scenarios; made once for all processes of the test run."""
    if WHY_NOT is not None:
        warnings.warn(f"no lab here ({WHY_NOT}): the recorded scenarios stand in", stacklevel=1)
        yield RECORDED
        return
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "popen-" in base.name else base
    folder = shared / "lab"
    with (shared / "lab.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            _record(folder)
    yield folder


def hold(scenario: Scenario, variant: str, found: Score) -> None:
    """The laws of the lab, for one replay."""
    assert found.wrong == [], f"{scenario.name} {variant}"
    if variant != variants.COMPLETE:
        return
    assert found.lines > 0
    assert found.unlabelled == 0 or scenario.attack, f"{scenario.name}: lines without a label"
    assert found.untrue == [], f"{scenario.name}: refused for a reason that is not the true one"
    assert found.broken == set(scenario.broken), f"{scenario.name}: what the logs break"
    assert found.share >= SHARE, f"{scenario.name}: {found.recovered} of {found.recoverable}; refused: {found.refused}"


@pytest.mark.edge
@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_named_wrongly_and_what_can_be_known_is(name: str, recordings: Path, tmp_path: Path) -> None:
    for variant in variants.variants_of(BY_NAME[name]):
        hold(BY_NAME[name], variant, judge(BY_NAME[name], variant, recordings, tmp_path))


@pytest.mark.parametrize("name", KEPT)
def test_recorded_scenarios_hold_anywhere(name: str, tmp_path: Path) -> None:
    for variant in variants.variants_of(BY_NAME[name]):
        hold(BY_NAME[name], variant, judge(BY_NAME[name], variant, RECORDED, tmp_path))


@pytest.mark.parametrize("name", KEPT)
def test_recordings_fit_the_table(name: str) -> None:
    """Who changes a drawing or a log format records again."""
    scenario = BY_NAME[name]
    assert (RECORDED / name / "clientip.toml").read_text() == drawing.toml(scenario.systems, scenario.joins)
    assert (RECORDED / name / "truth.jsonl").stat().st_size > 0


def test_recordings_stay_small() -> None:
    sizes = [path.stat().st_size for path in RECORDED.rglob("*") if path.is_file()]
    assert sum(sizes) < 800_000


def test_others_do_name_wrong_clients_on_these_lines() -> None:
    """The comparison would be worth nothing if the lines were easy."""
    wrong: Counter[str] = sum((rivals.wrong_by(BY_NAME[name], RECORDED / name) for name in KEPT), start=Counter())
    assert all(wrong[name] > 0 for name in rivals.RIVALS)


def test_names_are_unique_and_every_derived_scenario_has_its_source() -> None:
    assert len(BY_NAME) == len(ALL)
    for scenario in ALL:
        assert (scenario.send is None) == (scenario.derived_from is not None)
        assert scenario.derived_from is None or BY_NAME[scenario.derived_from].send is not None


def test_servers_and_drawing_share_their_formats() -> None:
    assert drawing.app("nodes")["pattern"] == patterns.NGINX
    assert {record.place_of(Path(f"{name}.log")) for name in ("app-a", "lb-tcp")} == {"app/app-a.log", "lb/lb-tcp.log"}
