"""`python -m benchmarks stream`: the stream on a real broker beside a bare transaction loop and two stream libraries.

All of one run, on one machine, broker included: ratios to the bare loop say more than lines per second.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Final, NamedTuple

from rich.table import Table

from benchmarks import stream_rebuild
from benchmarks.stream_lines import SECOND, Message, alone, config_alone, config_joined, is_request, joined
from benchmarks.stream_run import PEERS, Job, Run, Seen
from benchmarks.stream_stages import Stages
from tests.worlds.brokers import Brokers

PARTS: Final = ("backlog", "latency", "rebuild", "stages")
TRAEFIK, NGINX = "Traefik JSON", "nginx main"
WARM: Final = 1_000
RATE: Final = 4_000.0  # lines per second, for delays and for the stamps of a backlog
STEADY_S, SKIPPED_S = 7.0, 2.0
COMMITS: Final = ("100ms", "30ms")
SLOW: Final = 20  # Faust gets so many times fewer lines

Figures = dict[str, dict[str, float]]


class Plan(NamedTuple):
    """How much is measured."""

    lines: int = 100_000
    partitions: tuple[int, ...] = (1, 4, 8)
    only: tuple[str, ...] = PARTS


class Place(NamedTuple):
    """Where it runs."""

    folder: Path
    address: str


def measure(plan: Plan, say: Callable[[str], None]) -> dict[str, Figures]:
    """The figures of each part, by row; `say` hears what is under way."""
    work = {"backlog": _backlogs, "latency": _latencies, "rebuild": _rebuilds}
    found: dict[str, Figures] = {}
    if "stages" in plan.only:
        say("stages")
        found["stages"] = _stages(plan)
    if set(plan.only) & work.keys():
        with tempfile.TemporaryDirectory() as name, Brokers(Path(name, "kafka")) as kafka:
            place = Place(Path(name), kafka.address)
            found |= {part: each(plan, place, say) for part, each in work.items() if part in plan.only}
    return found


# A backlog, worked off.


def _backlogs(plan: Plan, place: Place, say: Callable[[str], None]) -> Figures:
    found: Figures = {}
    for count in plan.partitions:
        say(f"backlog, {count} partitions")
        bare = _peer(plan, place, "bare", count)
        found[f"bare loop, {count}"] = _figures(bare, bare)
        found[f"{TRAEFIK} alone, {count}"] = _figures(_alone(plan, place, TRAEFIK, count), bare)
    most = max(plan.partitions)
    found[f"{NGINX} alone, {most}"] = _figures(_alone(plan, place, NGINX, most), bare)
    for steps in (1, 2):
        say(f"backlog, {steps} steps")
        found[f"joined, {steps} step, {most}"] = _figures(_joined(plan, place, steps, most), bare)
    for name in ("quixstreams", "faust"):
        if PEERS.exists():
            say(f"backlog, {name}")
            found[f"{name}, one key, {most}"] = _figures(_peer(plan, place, name, most), bare)
    return found


def _figures(run: Run, bare: Run) -> dict[str, float]:
    """Ratios first. Units: µs, per second."""
    rate, per_line = run.lines / run.seconds, {name: spent * 1e6 / run.lines for name, spent in run.spent.items()}
    own = sum(per_line.values())
    bare_own = sum(bare.spent.values()) * 1e6 / bare.lines
    found = {
        "× bare": rate / (bare.lines / bare.seconds),
        "CPU × bare": own / bare_own,
        "lines/s": rate,
        "CPU µs": own,
        "broker µs": run.broker * 1e6 / run.lines,
    }
    if "answerer" in per_line:
        found |= {f"{name} µs": spent for name, spent in per_line.items()}
        found["per record µs"] = own * run.lines / run.records
    return found


def _peer(plan: Plan, place: Place, name: str, partitions: int) -> Run:
    count = max(WARM, plan.lines // SLOW) if name == "faust" else plan.lines
    with Job(*place, f"{name}{partitions}", [f"{name}{partitions}.raw.web"], partitions) as job:
        job.peer(name)
        run = job.backlog(list(alone(TRAEFIK, job.sources[0], WARM + count, partitions, RATE)), WARM, WARM)
    assert len(run.seen.values) == WARM + count
    return run


def _alone(plan: Plan, place: Place, case: str, partitions: int) -> Run:
    name = case.partition(" ")[0].lower() + str(partitions)
    with Job(*place, name, [f"{name}.raw.web"], partitions) as job:
        job.stream(config_alone(case, job.sources[0]))
        job.wait_ready()
        run = job.backlog(list(alone(case, job.sources[0], WARM + plan.lines, partitions, RATE)), WARM, WARM)
    _check(run.seen, "vouched", WARM + plan.lines)
    return run


def _joined(plan: Plan, place: Place, steps: int, partitions: int) -> Run:
    name = f"joined{steps}"
    with _joining(place, name, steps, partitions) as job:
        job.stream(config_joined(f"{name}.raw", steps, partitions))
        job.wait_ready()
        # Stamps so far back that the whole backlog lies in the past.
        begin_ns = time.time_ns() - round((plan.lines / RATE + 30) * SECOND)
        warm = 2 * int(RATE)  # two seconds; its last requests wait for what comes after
        messages = joined(f"{name}.raw", begin_ns, warm + plan.lines, steps, partitions, RATE)
        run = job.backlog(messages, warm, 1)
    _check(run.seen, "joined", sum(map(is_request, messages)))
    return run


def _joining(place: Place, name: str, steps: int, partitions: int) -> Job:
    """A job with the topics of joined lines; of lines that resolve alone for no step."""
    words = ("app", "nodes", "outer")[: 1 + steps] if steps else ("web",)
    return Job(*place, name, [f"{name}.raw.{word}" for word in words], partitions)


def _check(seen: Seen, verdict: str, count: int) -> None:
    """A wrong answer has no speed."""
    found = [json.loads(value)["clientip"]["verdict"] for value in seen.values]
    right = found.count(verdict)
    assert len(found) == count, f"{len(found)} records of {count} lines"
    assert right >= 0.999 * count, f"{right} of {count} are {verdict}"


# Delays at a steady rate.


def _latencies(plan: Plan, place: Place, say: Callable[[str], None]) -> Figures:
    found: Figures = {}
    partitions = max(plan.partitions)
    for commit in COMMITS:
        for steps, title in enumerate(("alone", "one step", "two steps")):
            say(f"delays, {title}, commit {commit}")
            found[f"{title}, commit {commit}"] = _delays(place, f"steady{steps}c{commit}", steps, partitions, commit)
    return found


def _delays(place: Place, name: str, steps: int, partitions: int, commit: str) -> dict[str, float]:
    options, count = f'commit = "{commit}"', round(RATE * STEADY_S)
    with _joining(place, name, steps, partitions) as job:
        raw = job.sources[0]
        job.stream(config_joined(f"{name}.raw", steps, partitions) if steps else config_alone(TRAEFIK, raw), options)
        job.wait_ready()
        begin_ns = time.time_ns() + 3 * SECOND  # by then the lines are made
        messages: Sequence[Message]
        if steps:
            messages = joined(f"{name}.raw", begin_ns, count, steps, partitions, RATE)
        else:
            messages = list(alone(TRAEFIK, raw, count, partitions, RATE))
        seen, delays = job.steady(messages, begin_ns, SKIPPED_S)
    _check(seen, "joined" if steps else "vouched", sum(map(is_request, messages)))
    cuts = quantiles(delays, n=100)
    third = len(delays) // 3
    return {
        "p50 ms": cuts[49],
        "p90 ms": cuts[89],
        "p99 ms": cuts[98],
        "max ms": max(delays),
        "rise ms": median(delays[-third:]) - median(delays[:third]),  # more than a commit: it does not keep up
    }


# After a kill, and without a broker.


def _rebuilds(plan: Plan, place: Place, say: Callable[[str], None]) -> Figures:
    found: Figures = {}
    for title, items, questions in (("facts", 2 * plan.lines, False), ("questions", plan.lines // 2, True)):
        say(f"rebuild, {title}")
        done = stream_rebuild.measure(*place, f"rebuild{title}", items, questions=questions)
        found[title] = {
            "items": done.items,
            "items/s": done.per_second,
            "bytes each": done.bytes_each,
            "bytes each after": done.bytes_after,
        }
    return found


def _stages(plan: Plan) -> Figures:
    """µs of processor time per raw line."""
    count = min(plan.lines, 60_000)
    found: dict[str, dict[str, float]] = {}
    for case in (TRAEFIK, NGINX):
        made = list(alone(case, "raw.web", count, 4, RATE))
        _add_stages(found, case, config_alone(case, "raw.web"), made)
    for steps in (1, 2):
        made = joined("raw", time.time_ns() - 60 * SECOND, count, steps, 4, RATE)
        _add_stages(found, f"joined, {steps} step", config_joined("raw", steps, 4), made)
    return found


def _add_stages(found: Figures, title: str, text: str, messages: Sequence[Message]) -> None:
    stages = Stages(text, 16, time.time_ns())
    stages.run(messages)
    assert stages.joined in (0, sum(map(is_request, messages)))
    for stage, seconds in stages.spent.items():
        found.setdefault(stage, {})[title] = seconds * 1e6 / len(messages)


TITLES: Final[Mapping[str, str]] = {
    "backlog": "stream: a backlog worked off by one reader and one answerer; after the name, raw partitions",
    "latency": f"stream, from the append of a line to that of its record at {RATE:,.0f} lines/s, evidence there before",
    "rebuild": "stream, an answerer after kill -9; one join partition",
    "stages": "stream, µs of processor time per raw line, each stage alone, no broker",
}


def show(part: str, figures: Figures) -> Table:
    """One part as a table."""
    table = Table(title=TITLES[part])
    heads = list(dict.fromkeys(head for row in figures.values() for head in row))
    table.add_column("", min_width=max(map(len, figures)))
    for head in heads:
        table.add_column(head, justify="right", min_width=len(head))
    for name, row in figures.items():
        table.add_row(name, *(_number(row.get(head)) for head in heads))
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
