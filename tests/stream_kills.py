"""Workers and brokers of a stream killed at random: how many records are lost, doubled or other than a replay's.

    python -m tests.stream_kills --kills 100 --lines 1000000 --brokers 3 --broker-kills 5

prints a row of a table, and ends with 1 where anything is wrong.  Killed workers are started again at once, as a
supervisor does; a killed broker after two more kills.  A kill comes when so many more records have come out.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.worlds.brokers import Brokers
from tests.worlds.patience import until
from tests.worlds.stream_lines import World
from tests.worlds.stream_replays import Found
from tests.worlds.stream_runs import WORKERS, Feeder, settled, stream_of
from tests.worlds.streams import Counter, Stream

KILLS_AWAY = 2  # of workers, while a broker of three is away
ONES = 0.4  # of the lines become records, and more


class Plan(NamedTuple):
    """What to do."""

    kills: int
    lines: int
    brokers: int = 1
    broker_kills: int = 0
    seed: int = 1
    kill_s: float = 1.5  # from one kill to the next, in the mean, where the machine keeps up


class Run(NamedTuple):
    """What was done, and what came of it."""

    found: Found
    kills: int
    broker_kills: int
    seconds: float

    def row(self, plan: Plan) -> str:
        """One row of a table."""
        found, lines = self.found, plan.lines
        return (
            f"| {plan.brokers} | {self.kills} | {self.broker_kills} | {lines} | {found.records} | {found.lost} "
            f"| {found.doubled} | {found.different} | {found.waited} | {self.seconds:.0f} |"
        )


HEAD = (
    "| brokers | kills of workers | of brokers | raw lines | records | lost | doubled | different | only waited | s |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def run(plan: Plan, folder: Path, kafka: Brokers, prefix: str) -> Run:
    """Lines come all the while; kills end when the lines do, or later if not all have been made by then."""
    dice, began = random.Random(plan.seed), time.monotonic()
    pace = plan.lines / (plan.kills * plan.kill_s)
    with stream_of(folder, kafka.address, prefix) as stream:
        for name in WORKERS:
            stream.start(name)
        with Feeder(stream, World(plan.seed).items(plan.lines), pace):
            broker_kills = _kill(plan, dice, stream, kafka)
        found = settled(stream, meanwhile=lambda: revive(stream))
        revive(stream)
        for name in WORKERS:
            until(partial(_stop, stream, name))
    return Run(found, plan.kills, broker_kills, time.monotonic() - began)


def _kill(plan: Plan, dice: random.Random, stream: Stream, kafka: Brokers) -> int:
    """Kill as planned; how many brokers."""
    due = set(dice.sample(range(plan.kills), plan.broker_kills))
    away: tuple[int, int] | None = None
    assert stream.settings.kafka is not None
    counter = Counter(stream.address, stream.settings.kafka.topic("records"))
    for number in range(plan.kills):
        if number in due and away is None:
            away = number + (KILLS_AWAY if plan.brokers > 2 else 0), dice.randrange(plan.brokers) + 1
            kafka.kill(away[1])
        if away is not None and number >= away[0]:
            kafka.start(away[1])
            away = None
        _await(stream, counter, ONES * plan.lines * (number + dice.random()) / plan.kills)
        name = dice.choice(WORKERS)
        stream.kill(name)
        stream.start(name)
    if away is not None:
        kafka.start(away[1])
    counter.close()
    return len(due)


def _await(stream: Stream, counter: Counter, count: float) -> None:
    """Until so many records have come."""

    def have_come() -> bool:
        revive(stream)
        return counter.count() >= count

    until(have_come, lambda: f"{count:.0f} records\n{stream.log()[-6000:]}")


def revive(stream: Stream) -> None:
    """Start workers again that gave up, as a supervisor does: where no broker answers, they may."""
    for name in WORKERS:
        code = stream.code(name)
        if code is not None:
            assert code == 3, f"{name} ended with {code}\n{stream.log()[-3000:]}"
            stream.start(name)


def _stop(stream: Stream, name: str) -> bool:
    """Stop a worker; False: it gave up a transaction that a broker was slow to end, or had hardly begun."""
    code = stream.kill(name, signal.SIGTERM)
    if code:
        assert code in (3, -signal.SIGTERM), f"{name} ended with {code}\n{stream.log()[-3000:]}"
        stream.start(name)
    return code == 0


def main() -> int:
    """As a program."""
    parser = argparse.ArgumentParser(prog="python -m tests.stream_kills", description="Kill workers of a stream.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--brokers", type=int, default=3)
    parser.add_argument("--broker-kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds-between", type=float, default=3.0)
    wanted = parser.parse_args()
    plan = Plan(wanted.kills, wanted.lines, wanted.brokers, wanted.broker_kills, wanted.seed, wanted.seconds_between)
    with tempfile.TemporaryDirectory(prefix="clientip-kills-") as home:
        folder = Path(home)
        with Brokers(folder / "kafka", plan.brokers) as kafka:
            done = run(plan, folder / "stream", kafka, "kills")
    print(HEAD, done.row(plan), sep="\n")
    return 0 if done.found.is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
