"""Stops, reloads, floods, and lines in parts: a stream on a real cluster goes on where it was, in bounded memory."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.worlds.patience import LIMIT_S, until
from tests.worlds.sizes import SIZE
from tests.worlds.stream_lines import Item, World
from tests.worlds.stream_runs import WORKERS, Feeder, committed, peak, settled, stream_of
from tests.worlds.streams import ROOT, Stream, by_id

pytestmark = pytest.mark.edge

MIB = 1 << 20
TWO = ("reader-0", "answerer-0")
CRI = """
[systems.pods]
format = "nginx"
escape = "json"
pattern = '{"msec":"$msec","peer":"$remote_addr","req":"$request","st":"$status"}'
topics = ["PREFIX.raw.pods"]
wrapper = ["cri"]
logs_peer = "socket"
peers = ["outside"]
"""


def test_a_line_whose_parts_lie_on_both_sides_of_a_kill_is_one_record_once(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    dice, count, topic = random.Random(1), 6 + 2 * SIZE, f"{topic_prefix}.raw.pods"
    with Stream(
        tmp_path, kafka, topic_prefix, CRI.replace("PREFIX", topic_prefix), stream="join_partitions = 1"
    ) as stream:
        stream.make_topics()
        stream.start("reader-0")
        sent = 0
        for number in range(count):
            line = b'{"msec":"1795972951.170","peer":"203.0.113.9","req":"GET /%d HTTP/1.1","st":"200"}' % number
            cuts = sorted(dice.sample(range(1, len(line)), 2))
            parts = [line[: cuts[0]], line[cuts[0] : cuts[1]], line[cuts[1] :]]
            for place, part in enumerate(parts):
                tag = b"F" if place == 2 else b"P"
                sent += stream.produce(topic, [b"2026-11-29T17:00:00.000000000Z stdout %s %s" % (tag, part)])
                if number % 4 == 0:
                    upto = sent
                    until(lambda upto=upto: committed(stream, "readers", topic, [0])[0] >= upto, stream.log)  # type: ignore[misc]
                if number % 4 == 0 and place == number // 4 % 2:
                    stream.kill("reader-0")
                    stream.start("reader-0")
        found = settled(stream)
        assert found.is_exact and found.records == count, found
        assert stream.rows("rejected") == []


def test_a_stop_between_two_halves_changes_nothing_though_what_nat_tells_comes_tenfold(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Of ten flows one is asked for: the readers come through the NAT events at a tenth of the pace."""
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        for name in WORKERS:
            stream.start(name)
        records = stream.settings.kafka.topic("records")  # type: ignore[union-attr]
        with Feeder(stream, World(noise=9).items(5000 * SIZE), pace=3000) as feeder:
            until(lambda: feeder.count > 2500 * SIZE and len(stream.values(records)) > 100, stream.log, 0.5)
            for name in WORKERS:
                assert stream.kill(name, signal.SIGTERM) == 0
        Feeder(stream).feed(World(2, noise=9).items(5000 * SIZE))
        for name in WORKERS:
            stream.start(name)
        found = settled(stream)
        assert found.is_exact and found.waited == 0, found


def _apart(world: World, count: int) -> tuple[list[Item], list[Item]]:
    """Lines that ask, and what answers them."""
    items = [*world.marks(-30_000_000_000)]
    for _ in range(count):
        items += world.natted()
    items += world.marks(1_000_000_000)
    return [item for item in items if item.system == "app"], [item for item in items if item.system == "nodes"]


def test_questions_asked_before_a_reload_are_answered_under_the_configuration_they_were_asked_in(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    asking, witnesses = _apart(World(), 50)
    with stream_of(tmp_path, kafka, topic_prefix, partitions=2) as stream:
        old, log = stream.settings.rules, tmp_path / "supervisor.log"
        options = ["--readers", "1", "--answerers", "1", "--listen", "none", "--name", "test"]
        code = "import sys; from clientip.edges.cli.main import main; sys.exit(main())"
        command = [sys.executable, "-c", code, "stream", "-c", str(stream.path), *options]
        with log.open("wb") as output:
            supervisor = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            feeder = Feeder(stream)
            feeder.feed(asking)
            topic = f"{topic_prefix}.raw.app"
            until(
                lambda: (
                    sum(max(0, each) for each in committed(stream, "readers", topic, range(2)).values()) >= len(asking)
                ),
                stream.log,
            )
            until(lambda: log.read_bytes().count(b"partitions.assigned") >= 2, log.read_text)  # both hold theirs
            stream.path.write_text(stream.path.read_text().replace('tolerance = "5ms"', 'tolerance = "6ms"'))
            supervisor.send_signal(signal.SIGHUP)
            until(lambda: b"config.taken" in log.read_bytes(), log.read_text)
            until(lambda: log.read_bytes().count(b"partitions.assigned") >= 4, log.read_text)
            feeder.feed(witnesses)
            rows = by_id(stream.await_rows(len(asking))).values()
            assert Counter((row["clientip"]["verdict"], row["clientip"]["rules"]) for row in rows) == {
                ("joined", old): len(asking)
            }
            feeder.feed(World(3).items(300))
            until(lambda: any(row["clientip"]["rules"] != old for row in stream.rows("records")), stream.log)
        finally:
            supervisor.send_signal(signal.SIGTERM)
            ended = supervisor.wait(LIMIT_S)
        assert ended == 0, log.read_text()


def test_a_question_of_a_configuration_that_nobody_knows_stops_the_answerer_and_says_what_to_do(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    asking, witnesses = _apart(World(), 50)
    with stream_of(tmp_path, kafka, topic_prefix, partitions=1) as stream:
        text = stream.path.read_text()
        stream.start("reader-0")
        Feeder(stream).feed([*asking, *witnesses])
        until(lambda: committed(stream, "readers", f"{topic_prefix}.raw.app", [0])[0] >= len(asking), stream.log)
        stream.path.write_text(text.replace('tolerance = "5ms"', 'tolerance = "6ms"'))
        stream.start("answerer-0")
        until(lambda: stream.code("answerer-0") is not None, stream.log)
        assert stream.code("answerer-0") == 3
        assert "--previous" in stream.log() and "is not known here" in stream.log()
        stream.release("answerer-0")
        stream.path.write_text(text)
        stream.start("answerer-0")
        found = settled(stream)
        assert found.is_exact and found.waited == 0, found


FLOODS = {
    "foreign traces": lambda world, number: world.api(
        f"x-{number}", f"/flood/{number}", time.time_ns(), _parent(number)
    ),
    "one id": lambda world, number: world.api("one", f"/flood/{number}", time.time_ns()),
}


def _parent(number: int) -> str:
    return f"00-{number + 1:032x}-{number + 1:016x}-01"


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_ids_neither_fills_the_memory_nor_holds_up_others(
    kafka: str, topic_prefix: str, tmp_path: Path, kind: str
) -> None:
    count, world, most = 20_000 if SIZE == 1 else 10_000 * SIZE, World(), 8 * MIB
    others = 0
    with stream_of(tmp_path, kafka, topic_prefix, partitions=2, more=f"memory = {most}\n") as stream:
        for name in TWO:
            stream.start(name)
        feeder = Feeder(stream)
        feeder.feed(world.marks())
        until(lambda: stream.log().count("partitions.assigned") >= 2, stream.log)
        before = peak(stream.pid("answerer-0"))
        for number in range(count):
            feeder.put(FLOODS[kind](world, number))
            if number % 100 == 0:
                feeder.feed(list(world.minted()))
                others += 1
        feeder.flush()

        def done() -> bool:
            rows = [
                row["clientip"]
                for row in stream.rows("records")
                if "/api/" in str(row["message"]) and '"xrid"' in row["message"]
            ]
            return Counter(row["verdict"] for row in rows)["joined"] == others

        until(done, stream.log, 1.0)
        grown = peak(stream.pid("answerer-0")) - before
        print(kind, count, f"memory grown by {grown / MIB:.0f} MiB")
        assert grown < 5 * most + 60 * MIB
        assert all(stream.code(name) is None for name in TWO)
