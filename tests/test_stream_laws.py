"""The laws of the stream, in memory: its records are those of a replay or unknown, whatever comes when, and dies."""

from __future__ import annotations

import random
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import config
from pipeline.joinchunk import Mark
from pipeline.joining import settle
from pipeline.model import Line, Outcome, Record
from pipeline.outputs import OUTPUTS
from pipeline.reasons import WAITING
from pipeline.settings import Settings
from tests.replay_worlds import BEGIN, MS, Files, Shape, world
from tests.sizes import SIZE
from tests.stream_worlds import SECOND, Raw, Stream

TURN = 100 * MS
# Which event of a flow is named as its proof, its begin or its end, hangs on which of them have come.
PROOF = re.compile(rb'(?<="conntrack"),("evidence":"joined",)?"record":"[0-9a-f]+"')
SYSTEMS = {"nat": "nodes", "app": "app", "lb": "lb", "outer": "outer"}


def settings_of(files: Files, arrives: str = "10s", longest: str | None = "1s") -> Settings:
    text = files.config
    for folder, system in SYSTEMS.items():
        bound = "" if longest is None else f'longest = "{longest}"\n'
        feed = f'topics = ["raw.{system}"]\narrives_within = "{arrives}"\n{bound}'
        text = text.replace(f'inputs = ["{folder}/', f'{feed}inputs = ["{folder}/')
    with TemporaryDirectory() as home:
        path = Path(home) / "c.toml"
        path.write_text(text)
        return config.load([path])


def raws_of(files: Files, dice: random.Random, skew: int) -> list[Raw]:
    """All lines as messages, by the time of their arrival; in a topic they keep their order."""
    found = []
    for name, lines in files.logs.items():
        folder, _, file = name.partition("/")
        instance = file.partition(".")[0] if folder in ("nat", "outer") else None
        last = BEGIN
        for offset, text in enumerate(lines):
            # The worlds last a few seconds; marks of collectors speak of hours and come as they are.
            last = max(last, BEGIN + 8 * SECOND + dice.randrange(skew + 1))
            found.append(Raw(SYSTEMS[folder], instance, text, last, offset))
    return sorted(found, key=lambda raw: raw.appended_ns)


def replayed(stream: Stream, raws: list[Raw]) -> dict[str, bytes]:
    outcomes: list[Outcome] = []
    for raw in raws:
        reading = stream.engine.reading(raw.system, raw.instance, walks_facts=False)
        outcomes += reading.feed(Line(raw.text, raw.text, raw.system, raw.offset, 0, None, raw.instance))
    return rows(each for each in settle(stream.joining, outcomes) if isinstance(each, Record))


def rows(records) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for record in records:
        assert record.record_id not in found, "written twice"
        found[record.record_id] = PROOF.sub(b"", OUTPUTS["enriched"](record, ""))
    return found


def run(stream: Stream, raws: list[Raw], dice: random.Random, *, crashes: float = 0.0, lag: int = 0) -> None:
    """Everything through the stream, until all waits are over; the readers of some systems come `lag` later."""
    systems = sorted({raw.system for raw in raws} | set(stream.feeds))
    late = {system: dice.randrange(lag + 1) if lag else 0 for system in systems}
    waiting = {system: [raw for raw in raws if raw.system == system] for system in systems}
    stream.now_ns = BEGIN + 8 * SECOND
    for _ in range(6000):
        stream.now_ns += TURN
        batch: list[Raw] = []
        marks: list[Mark] = []
        for system in systems:
            upto = stream.now_ns - late[system]
            taken = [raw for raw in waiting[system] if raw.appended_ns <= upto]
            waiting[system] = waiting[system][len(taken) :]
            batch += taken
            marks.append(Mark(system, f"raw.{system}", 0, 1, upto, late[system] == 0))
        dice.shuffle(batch)
        batch.sort(key=lambda raw: raw.system if dice.random() < 0.5 else "")
        batch.sort(key=lambda raw: (raw.system, raw.offset))
        stream.read(batch, marks)
        for number in range(stream.partitions.count):
            if dice.random() < 0.8:
                stream.answer(number)
            if dice.random() < crashes:
                stream.crash(number)
        if not any(waiting.values()) and all(stream.open_count(n) == 0 for n in range(stream.partitions.count)):
            break
    else:
        raise AssertionError("the stream does not come to rest")


def different(stream: Stream, expected: dict[str, bytes]) -> tuple[list[str], int]:
    """Records that differ although they name a client or another reason than waiting; and how many only waited."""
    found = rows(stream.records)
    assert found.keys() == expected.keys(), "lost or invented"
    waited, wrong = 0, []
    by_id = {record.record_id: record for record in stream.records}
    for key, row in found.items():
        if row == expected[key]:
            continue
        if by_id[key].resolution.reason in WAITING:
            waited += 1
        else:
            wrong.append(f"{row!r}\n  instead of\n{expected[key]!r}")
    return wrong, waited


SHAPES = st.builds(
    Shape,
    seed=st.integers(0, 10**6),
    flows=st.integers(1, 30),
    ports=st.integers(1, 4),
    balancer=st.booleans(),
    outer=st.booleans(),
    mints=st.booleans(),
    lossless=st.booleans(),
    shows_port=st.booleans(),
    shows_id=st.booleans(),
    one_id=st.sampled_from([False, False, False, True]),
    marks=st.booleans(),
    lost=st.sampled_from([0.0, 0.0, 0.1, 0.4]),
    keepalive=st.integers(1, 3),
)


@settings(max_examples=60 * SIZE, deadline=None)
@given(SHAPES, st.integers(0, 10**6))
def test_a_record_of_the_stream_is_that_of_the_replay_or_unknown_for_want_of_time(shape: Shape, seed: int) -> None:
    dice, files = random.Random(seed), world(shape)
    stream = Stream(settings_of(files))
    raws = raws_of(files, dice, SECOND // 2)
    run(stream, raws, dice, lag=dice.choice([0, 0, 5 * SECOND, 60 * SECOND]))
    wrong, _ = different(stream, replayed(stream, raws))
    assert wrong == []


@settings(max_examples=40 * SIZE, deadline=None)
@given(SHAPES, st.integers(0, 10**6))
def test_it_is_so_whoever_dies(shape: Shape, seed: int) -> None:
    dice, files = random.Random(seed), world(shape)
    stream = Stream(settings_of(files))
    raws = raws_of(files, dice, SECOND // 2)
    run(stream, raws, dice, crashes=0.2)
    wrong, _ = different(stream, replayed(stream, raws))
    assert wrong == []


@pytest.mark.parametrize("seed", range(8))
def test_what_comes_in_time_is_answered_as_in_the_replay(seed: int) -> None:
    shape = Shape(seed=seed, balancer=seed % 2 == 1, mints=seed % 4 == 3, outer=seed % 4 == 1)
    dice, files = random.Random(seed), world(shape)
    stream = Stream(settings_of(files))
    raws = raws_of(files, dice, SECOND // 4)
    run(stream, raws, dice)
    wrong, waited = different(stream, replayed(stream, raws))
    assert wrong == []
    assert waited == 0
