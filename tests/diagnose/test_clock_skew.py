"""`check --skew` measures clocks on connections that two logs show, and on nothing else."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from clientip.diagnose import clock_skew as offsets
from clientip.diagnose.clock_skew import MAX_SKEW_NS, Match, Measuring, Offset, measured
from clientip.joins.facts import JoinFact, JoinQuestion, conn_key
from clientip.model import System
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.lab_logs import NAMES, RECORDED, clientip, logs
from tests.worlds.nat_worlds import MS, SECOND

APP, NAT = ("app", "app-b"), ("nodes", "node-a")
SERVER = ("10.244.2.5", 8080)
NODES = System(name="nodes", tells=True, connects=True)


def match(begin: int, end: int, request: int, offset: int) -> Match:
    """One connection and its one request, seen by a clock that is `offset` ahead."""
    return Match(request + offset - end, request + offset - begin)


def asked(port: int, at: int, serial: int = 1) -> JoinQuestion:
    key = conn_key("default", "tcp", ("198.51.100.11", port))
    return JoinQuestion(key, 0, 0, ("nodes",), *APP, serial, at, at, at, "198.51.100.11", SERVER)


def told(port: int, begin: int, end: int, *, event: str = "DESTROY", peer: int = 50_000) -> JoinFact:
    key = conn_key("default", "tcp", ("198.51.100.11", port))
    until = end if event == "DESTROY" else None
    ends = (SERVER, ("203.0.113.7", peer), ("198.51.100.11", 30080))
    return JoinFact(
        key, *NAT, f"{port}-{begin}-{event}", "translation", event, begin, begin, until, 0, *ends, assured=True
    )


def measure(questions: list[JoinQuestion], facts: list[JoinFact]) -> list[Offset]:
    measuring = Measuring({"nodes": NODES}, {}, 20 * MS)
    for question in questions:
        measuring.ask(question)
    for fact in facts:
        measuring.tell(fact)
    measuring.conclude()
    return measuring.offsets()


# The laws of the measure.


@settings(max_examples=200, deadline=None)
@given(st.integers(-MAX_SKEW_NS * 100, MAX_SKEW_NS * 100), st.integers(0, 10**6))
def test_a_constant_offset_lies_between_the_two_bounds(offset: int, seed: int) -> None:
    dice, matches = random.Random(seed), []
    for _ in range(dice.randrange(1, 30)):
        begin = dice.randrange(100 * SECOND)
        end = begin + dice.choice([MS, 50 * MS, 5 * SECOND])
        matches.append(match(begin, end, dice.randint(begin, end), offset))
    found = measured(APP, NAT, matches, 0)
    assert not found.drifts
    assert found.apart == 0
    assert found.smallest <= offset <= found.largest == found.estimate


def test_a_clock_that_drifts_is_told_apart_from_one_that_is_off() -> None:
    matches = [match(k * SECOND, k * SECOND + MS, k * SECOND, 10 * MS * k) for k in range(10)]
    found = measured(APP, NAT, matches, 0)
    assert found.drifts
    assert (found.smallest, found.largest) == (0, 89 * MS)
    assert found.needed == 89 * MS


def test_a_flow_of_another_day_is_left_out() -> None:
    same = [match(k * SECOND, k * SECOND + MS, k * SECOND, 5 * MS) for k in range(5)]
    found = measured(APP, NAT, [*same, Match(9000 * SECOND, 9001 * SECOND)], 0)
    assert (found.matches, found.apart, found.estimate) == (6, 1, 5 * MS)


def test_what_is_suggested_covers_what_was_measured() -> None:
    found = measured(APP, NAT, [match(0, MS, 0, -40 * MS - 1)], 0)
    assert not found.covered
    assert found.suggestion == "46ms"
    assert measured(APP, NAT, [match(0, MS, 0, -40 * MS - 1)], 46 * MS).covered


# Which connections count.


def test_the_two_events_of_one_flow_are_one_match() -> None:
    events = [told(1, 0, 0, event="NEW"), told(1, 0, SECOND)]
    [found] = measure([asked(1, 7 * MS), asked(1, SECOND + 3 * MS)], events)
    assert (found.asker, found.witness, found.matches) == (APP, NAT, 1)
    assert (found.smallest, found.largest) == (3 * MS, 7 * MS)


@pytest.mark.parametrize(
    ("questions", "facts"),
    [
        ([asked(1, MS)], [told(1, 0, 2 * MS), told(1, 5 * MS, 9 * MS, peer=50_001)]),  # two flows
        ([asked(1, MS)], [told(1, 0, 0, event="NEW")]),  # no end
        ([asked(1, MS), asked(1, 2 * MS, serial=2)], [told(1, 0, SECOND)]),  # two connections, one flow seen
        ([asked(1, MS)], [told(2, 0, SECOND)]),  # another port
        ([asked(1, MS)], []),
    ],
)
def test_what_is_not_one_connection_for_both_is_not_measured(
    questions: list[JoinQuestion], facts: list[JoinFact]
) -> None:
    assert measure(questions, facts) == []


def test_of_too_many_connections_an_even_sample_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offsets, "MAX_CONNECTIONS", 100)
    measuring = Measuring({"nodes": NODES}, {}, 0)
    for port in range(1, 2001):
        measuring.ask(asked(port, port * SECOND))
    for port in range(1, 2001):
        measuring.tell(told(port, port * SECOND, port * SECOND + MS))
    measuring.conclude()
    [found] = measuring.offsets()
    assert measuring.sampled
    assert 10 < found.matches <= 100


# Recorded logs.


def shifted(name: str, folder: Path, seconds: float) -> Path:
    """A recording whose application's clock was ahead."""
    place = folder / name
    shutil.copytree(RECORDED / name, place)
    [log] = (place / "app").glob("*.log")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    moved = [{**row, "msec": f"{float(row['msec']) + seconds:.3f}"} for row in rows]
    log.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in moved))
    return place


def test_clocks_of_one_machine_agree() -> None:
    done = clientip(RECORDED / "b1", "check", "--skew", "-c", "clientip.toml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("app/app-b against nodes/node-a: ")
    assert ": enough" in done.stdout


@pytest.mark.parametrize("seconds", [0.1, -7200.0])
def test_a_shifted_clock_is_measured_and_the_line_it_suggests_suffices(tmp_path: Path, seconds: float) -> None:
    place = shifted("b1", tmp_path, seconds)
    done = clientip(place, "check", "--skew", "-c", "clientip.toml")
    assert done.returncode == 1
    assert "too little" in done.stdout
    estimate = float(done.stdout.partition("offset about ")[2].partition(" ms")[0].replace(",", ""))
    assert abs(estimate - seconds * 1000) < 10
    [line] = [text.strip() for text in done.stdout.splitlines() if text.strip().startswith("max_skew")]
    config = place / "clientip.toml"
    config.write_text(config.read_text().replace("[systems.app]", f"[systems.app]\n{line}"))
    assert clientip(place, "check", "--skew", "-c", "clientip.toml").returncode == 0


def test_a_hop_further_out_is_measured_through_the_one_before() -> None:
    done = clientip(RECORDED / "b7", "check", "--skew", "-c", "clientip.toml")
    assert "app/app-b against lb: " in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_no_recording_shows_clocks_apart(name: str) -> None:
    of = logs(name)
    done = clientip(RECORDED / name, "check", "--skew", "-c", "clientip.toml")
    assert done.returncode == 0, done.stdout
    assert of.records
