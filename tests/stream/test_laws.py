"""The laws of the stream, in memory: its records are those of a replay or unknown, whatever comes when, and dies."""

from __future__ import annotations

import json
import random
import re
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from clientip.config import load as config
from clientip.joins.join import settle
from clientip.model import Line, Outcome, Record
from clientip.outputs import OUTPUTS
from clientip.reasons import WAITING
from clientip.settings import Settings
from clientip.stream.join_messages import Watermark
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.replay_worlds import BEGIN, LONGEST, MS, Files, Shape, world
from tests.worlds.sizes import SIZE
from tests.worlds.stream_worlds import MEMORY, SECOND, Raw, Stream

TURN = 100 * MS
# Which event of a flow is named as its proof, its begin or its end, hangs on which of them have come.
PROOF = re.compile(rb'(?<="conntrack"),("evidence":"joined",)?"record":"[0-9a-f]+"')
SYSTEMS = {"nat": "nodes", "app": "app", "lb": "lb", "outer": "outer"}


def settings_of(files: Files, arrives: str = "10s", longest: str | None = "1s") -> Settings:
    text = files.config.replace(LONGEST, "")
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
        marks: list[Watermark] = []
        for system in systems:
            upto = stream.now_ns - late[system]
            taken = [raw for raw in waiting[system] if raw.appended_ns <= upto]
            waiting[system] = waiting[system][len(taken) :]
            batch += taken
            marks.append(Watermark(system, f"raw.{system}", 0, 1, upto, late[system] == 0))
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


@settings(max_examples=30 * SIZE, deadline=None)
@given(SHAPES, st.integers(0, 10**6))
def test_a_record_of_the_stream_is_that_of_the_replay_or_unknown_for_want_of_time(shape: Shape, seed: int) -> None:
    dice, files = random.Random(seed), world(shape)
    stream = Stream(settings_of(files))
    raws = raws_of(files, dice, SECOND // 2)
    run(stream, raws, dice, lag=dice.choice([0, 0, 5 * SECOND, 60 * SECOND]))
    wrong, _ = different(stream, replayed(stream, raws))
    assert wrong == []


@settings(max_examples=15 * SIZE, deadline=None)
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


# Many readers, little memory, long times.

WORLDS = st.builds(
    Shape,
    seed=st.integers(0, 10**6),
    flows=st.integers(1, 30),
    ports=st.integers(1, 4),
    balancer=st.booleans(),
    mints=st.booleans(),
    lossless=st.booleans(),
    shows_id=st.booleans(),
    shows_near=st.booleans(),
    lost=st.sampled_from([0.0, 0.0, 0.1]),
    keepalive=st.integers(1, 3),
    ipv6=st.booleans(),
)


class Topics:
    """The raw partitions of all systems, and readers that own some of them each."""

    def __init__(self, stream: Stream, raws: list[Raw], dice: random.Random, readers: int, partitions: int) -> None:
        self._stream, self._dice, self._readers, self._count = stream, dice, readers, partitions
        self.waiting: dict[tuple[str, int], list[Raw]] = {
            (system, number): [] for system in stream.feeds for number in range(partitions)
        }
        for raw in raws:
            self.waiting[raw.system, dice.randrange(partitions)].append(raw)
        self._behind: dict[tuple[str, int], int] = {}
        self.move()

    def move(self) -> None:
        """The partitions go to other readers, and whoever read them forgets what it knew."""
        self._owner = {place: self._dice.randrange(self._readers) for place in self.waiting}
        self._behind = {place: self._dice.choice([0, 0, 3 * SECOND]) for place in self.waiting}
        for reader in range(self._readers):
            self._stream.lose(reader)

    def turn(self) -> None:
        """One batch of every reader that is not at rest."""
        for reader in range(self._readers):
            if self._dice.random() < 0.3:
                continue
            batch, marks = [], []
            for place in [each for each, owner in self._owner.items() if owner == reader]:
                upto = self._stream.now_ns - self._behind[place]
                taken = [raw for raw in self.waiting[place] if raw.appended_ns <= upto]
                self.waiting[place] = self.waiting[place][len(taken) :]
                batch += taken
                marks.append(
                    Watermark(place[0], f"raw.{place[0]}", place[1], self._count, upto, self._behind[place] == 0)
                )
            self._stream.read(batch, marks, reader)


def run_all(
    stream: Stream,
    topics: Topics,
    dice: random.Random,
    *,
    turn: int = TURN,
    moves: float = 0.0,
    crashes: float = 0.0,
    later: Settings | None = None,
) -> None:
    """Everything through the stream, until all waits are over."""
    stream.now_ns = BEGIN + 8 * SECOND
    for _ in range(6000):
        stream.now_ns += turn
        topics.turn()
        if dice.random() < moves:
            topics.move()
        if later is not None and dice.random() < 0.1:
            stream.reload(later)
            later = None
            topics.move()
        for number in range(stream.partitions.count):
            if dice.random() < 0.8:
                stream.answer(number)
            if dice.random() < crashes:
                stream.crash(number)
        rests = all(stream.open_count(n) == 0 for n in range(stream.partitions.count))
        if rests and not any(topics.waiting.values()):
            return
    raise AssertionError("the stream does not come to rest")


@settings(max_examples=10 * SIZE, deadline=None)
@given(WORLDS, st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3))
def test_it_is_so_for_readers_that_share_partitions_and_lose_them(
    shape: Shape, seed: int, readers: int, partitions: int
) -> None:
    dice, files = random.Random(seed), world(shape)
    stream = Stream(settings_of(files))
    raws = raws_of(files, dice, SECOND // 2)
    run_all(stream, Topics(stream, raws, dice, readers, partitions), dice, moves=0.1, crashes=0.05)
    wrong, _ = different(stream, replayed(stream, raws))
    assert wrong == []


@settings(max_examples=8 * SIZE, deadline=None)
@given(WORLDS, st.integers(0, 10**6))
def test_it_is_so_under_two_configurations_one_after_the_other(shape: Shape, seed: int) -> None:
    dice, files = random.Random(seed), world(shape)
    stream = Stream(settings_of(files))
    raws = raws_of(files, dice, SECOND // 2)
    expected = replayed(stream, raws)
    files.config = files.config.replace('horizon = "1m"', 'horizon = "61s"')
    later = settings_of(files, arrives="20s", longest="2s")
    run_all(stream, Topics(stream, raws, dice, 2, 2), dice, crashes=0.05, later=later)
    wrong, _ = different(stream, expected)
    assert wrong == []


@settings(max_examples=20 * SIZE, deadline=None)
@given(WORLDS, st.integers(0, 10**6), st.sampled_from([2_000, 5_000, 20_000]))
def test_it_is_so_in_too_little_memory(shape: Shape, seed: int, memory: int) -> None:
    dice, files = random.Random(seed), world(shape)
    stream = Stream(settings_of(files), partitions=dice.choice([1, 3]), memory=memory)
    raws = raws_of(files, dice, SECOND // 2)
    run_all(stream, Topics(stream, raws, dice, 2, 1), dice, crashes=0.05)
    wrong, _ = different(stream, replayed(stream, raws))
    assert wrong == []


@settings(max_examples=10 * SIZE, deadline=None)
@given(WORLDS, st.integers(0, 10**6), st.sampled_from([MEMORY, MEMORY, 20_000]))
def test_it_is_so_for_connections_that_outlive_what_a_partition_holds(shape: Shape, seed: int, memory: int) -> None:
    dice, files = random.Random(seed), world(msgspec.structs.replace(shape, stretch=5000))
    stream = Stream(settings_of(files, longest="20m"), memory=memory)
    raws = slowly(files, dice)
    run_all(stream, Topics(stream, raws, dice, 2, 1), dice, turn=5 * SECOND, moves=0.02, crashes=0.02)
    wrong, _ = different(stream, replayed(stream, raws))
    assert wrong == []


def slowly(files: Files, dice: random.Random, late: float = 0.0) -> list[Raw]:
    """All lines as messages, soon after their own time; some much later."""
    found = []
    for name, lines in files.logs.items():
        folder, _, file = name.partition("/")
        instance = file.partition(".")[0] if folder in ("nat", "outer") else None
        for offset, text in enumerate(lines):
            came = time_of(text) + 8 * SECOND + dice.randrange(SECOND)
            came += dice.randrange(300 * SECOND) if dice.random() < late else 0
            found.append(Raw(SYSTEMS[folder], instance, text, came, offset))
    return sorted(found, key=lambda raw: raw.appended_ns)


def time_of(text: bytes) -> int:
    """When a line of `replay_worlds` was written, ns."""
    if text.startswith(b"{"):
        row = json.loads(text)
        return row["at"] if "at" in row else round(float(row["msec"]) * 1000) * MS
    stamp = re.search(rb"\[([^]]+)\]", text)
    assert stamp is not None
    moment = datetime.strptime(stamp[1].decode(), "%d/%b/%Y:%H:%M:%S.%f").replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000) * MS


@settings(max_examples=15 * SIZE, deadline=None)
@given(WORLDS, st.integers(0, 10**6))
def test_lines_much_later_than_promised_name_nobody_else(shape: Shape, seed: int) -> None:
    """Of logs whose lines are numbered; of one without loss the operator's word is that they do not come so late."""
    dice, files = random.Random(seed), world(msgspec.structs.replace(shape, stretch=500, lossless=False))
    stream = Stream(settings_of(files))
    raws = slowly(files, dice, late=0.2)
    run_all(stream, Topics(stream, raws, dice, 2, 2), dice, turn=5 * SECOND)
    by_target = {target.encode(): client.rpartition(":")[0] for target, client in files.truth.items()}
    for record in stream.records:
        client = record.resolution.client
        target = re.search(rb"GET (/\S+)", record.line.text)
        if client is not None and record.observation.setup.system == "app":
            assert target is not None
            assert client.address.text == by_target[target[1]], record
