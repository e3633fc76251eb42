"""`python -m benchmarks [--quick] [--json FILE] [--size MB] [NAME …]`: tables, ratios of one run.

`python -m benchmarks stream [--lines N] [--partitions 1,4,8] [--only latency,…]` measures the stream alone.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks import (
    bench_core,
    bench_parse,
    bench_render,
    bench_replay,
    bench_resolve,
    floor,
    joins,
    peer_vrl,
    stream,
)
from benchmarks.cases import CASES, Case
from benchmarks.lines import lines
from benchmarks.setting import check_agreement, make_ready
from benchmarks.timing import microseconds

GOAL: Final = 2.0  # times as fast as VRL, of the whole replay of Traefik JSON

Figures = dict[str, float]


def stages(case: Case, count: int, rounds: int) -> Figures:
    """µs per line of every stage and of what stands beside it."""
    setting = make_ready(case)
    check_agreement(setting)
    contenders = {
        "parse": bench_parse.prepare,
        "resolve": bench_resolve.prepare,
        "render": bench_render.prepare,
        "core": bench_core.prepare,
        "vrl": peer_vrl.prepare,
        "floor": floor.prepare,
    }
    if case.name == "Traefik JSON":
        contenders["typed floor"] = floor.prepare_typed
    bound = {name: partial(prepare, setting) for name, prepare in contenders.items()}
    return microseconds(bound, lambda turn: lines(case.write, turn, count), rounds)


def whole(case: Case, megabytes: int, rounds: int) -> Figures:
    """Lines per second of the whole replay, by processor time and by the clock on the wall."""
    done = bench_replay.replay(case, megabytes, rounds)
    return {
        "lines": done.lines,
        "bytes per line": done.size / done.lines,
        "replay lines/s": done.lines / done.ours.processor,
        "replay lines/s by the wall": done.lines / done.ours.wall,
        "replay × VRL": done.theirs.processor / done.ours.processor,
    }


def show(figures: Mapping[str, Figures], cases: Sequence[Case]) -> Table:
    """All figures as one table."""
    title = f"µs per line, medians of interleaved rounds; VRL is pyvrl {version('pyvrl')} (vrl 0.15.0)"
    table = Table(title=title, caption=f"Python {platform.python_version()}, {platform.machine()}, per core")
    heads = ("format", "parse", "resolve", "render", "core", "core/s", "VRL", "× VRL", "floor", "typed floor")
    for head in (*heads, "replay/s", "by the wall", "× VRL"):
        table.add_column(head, justify="left" if head == "format" else "right")
    table.add_column("bar")
    for case in cases:
        each = figures[case.name]
        row = [f"{each[name]:.2f}" for name in ("parse", "resolve", "render", "core")]
        row += [f"{1e6 / each['core']:,.0f}", f"{each['vrl']:.2f}", f"{each['vrl'] / each['core']:.2f}"]
        row += [f"{each[name]:.2f}" if name in each else "" for name in ("floor", "typed floor")]
        row += [f"{each['replay lines/s']:,.0f}", f"{each['replay lines/s by the wall']:,.0f}"]
        table.add_row(case.name, *row, f"{each['replay × VRL']:.2f}", verdict(case, each))
    return table


def verdict(case: Case, each: Figures) -> str:
    """The bar and whether it is reached."""
    if case.bar is None:
        return ""
    reached = each["replay lines/s"] >= case.bar and (case is not CASES[0] or each["replay × VRL"] >= GOAL)
    goal = f", {GOAL:.0f} × VRL" if case is CASES[0] else ""
    return f"{case.bar:,}/s{goal}: {'reached' if reached else 'missed'}"


def joined(requests: int, rounds: int) -> Figures:
    """What a replay with joins costs, in lines of one without."""
    done = joins.measure(requests, rounds)
    lines_read = done.requests + done.events
    return {
        "joined lines/s": lines_read / done.joined.processor,
        "line × plain": done.per_line,
        "both logs × alone": done.together,
        "request × plain": done.per_request,
    }


def show_joined(figures: Figures) -> Table:
    """The same as a table."""
    table = Table(title="replay with joins: nginx behind NAT, two events per request")
    for head in (*figures, "bar"):
        table.add_column(head, justify="right")
    reached = figures["line × plain"] <= joins.GOAL
    values = (f"{value:,.0f}" if value > 100 else f"{value:.2f}" for value in figures.values())
    table.add_row(*values, f"line ≤ {joins.GOAL:.0f} × plain: {'reached' if reached else 'missed'}")
    return table


def streamed(given: argparse.Namespace, console: Console) -> dict[str, Figures]:
    """Measure the stream and print its tables; the figures by part and row."""
    partitions = tuple(map(int, given.partitions.split(",")))
    plan = stream.Plan(20_000 if given.quick else given.lines, partitions, tuple(given.only.split(",")))
    with console.status("stream") as status:
        parts = stream.measure(plan, lambda text: status.update(f"stream: {text}"))
    for part, rows in parts.items():
        console.print(stream.show(part, rows), width=max(console.width, 110), crop=False)
    return {f"stream {part}: {row}": each for part, rows in parts.items() for row, each in rows.items()}


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    names = "only formats whose name begins so; `joins` for the joins, `stream` for the stream"
    parser.add_argument("names", nargs="*", help=names)
    parser.add_argument("--quick", action="store_true", help="minutes instead of a quarter of an hour: rough figures")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--size", type=int, default=200, help="MB of the replayed file")
    parser.add_argument("--lines", type=int, default=100_000, help="of the stream's backlogs")
    parser.add_argument("--partitions", default="1,4,8", help="of the stream's raw topics")
    parser.add_argument("--only", default=",".join(stream.PARTS), help="parts of the stream's benchmark")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write the figures down where asked to."""
    given = arguments()
    cases = [
        case for case in CASES if not given.names or case.name.lower().startswith(tuple(map(str.lower, given.names)))
    ]
    console, figures = Console(), dict[str, Figures]()
    for case in cases:
        with console.status(case.name):
            measured = stages(case, *((3_000, 3) if given.quick else (15_000, 7)))
            measured |= whole(case, *((20, 1) if given.quick else (given.size, 3)))
            figures[case.name] = measured
    if cases:
        console.print(show(figures, cases))
    if not given.names or "joins" in given.names:
        with console.status("joins"):
            figures["joins"] = joined(*((20_000, 1) if given.quick else (200_000, 3)))
        console.print(show_joined(figures["joins"]))
    if not given.names or "stream" in given.names:
        figures |= streamed(given, console)
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
