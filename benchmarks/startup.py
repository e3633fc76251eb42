"""`python -m benchmarks.startup [--against COMMAND]`: what a command costs before it does its work.

Processor time of `clientip --help` and of a replay of 100 lines, beside a Python that does nothing and, with
`--against`, beside the same command of another release: `--against old/.venv/bin/clientip`.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

LINES: Final = 100
CONFIG: Final = """
[systems.web]
format    = "nginx"
logs_peer = "socket"
peers     = ["outside"]
inputs    = ["access.log"]
"""
LINE: Final = '203.0.113.{} - - [01/Dec/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "curl/8.5.0"\n'


def processor_s(command: Sequence[str], folder: Path) -> float:
    """Processor time of the command and of its own children, in seconds.  Errors: CalledProcessError."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(programs: dict[str, str], rounds: int, folder: Path) -> dict[str, dict[str, float]]:
    """Medians in seconds: program → what it did.  Programs take turns in every round."""
    (folder / "clientip.toml").write_text(CONFIG)
    (folder / "access.log").write_text("".join(LINE.format(number % 250) for number in range(LINES)))
    tasks = {
        "--help": ("--help",),
        f"replay of {LINES} lines": ("replay", "-c", "clientip.toml", "-o", "out", "--restart"),
    }
    commands = {name: {task: (path, *given) for task, given in tasks.items()} for name, path in programs.items()}
    commands["Python alone"] = dict.fromkeys(tasks, (sys.executable, "-c", "pass"))
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, each in commands.items():
            for task, command in each.items():
                taken.setdefault((name, task), []).append(processor_s(command, folder))
    return {name: {task: median(taken[name, task]) for task in tasks} for name in commands}


def show(figures: dict[str, dict[str, float]]) -> Table:
    """One row for each program; × is what `clientip` takes of it."""
    table = Table(title="processor time in seconds, medians")
    first = next(iter(figures.values()))
    for head in ("program", *(f"{task}{unit}" for task in first for unit in ("", ", ×"))):
        table.add_column(head, justify="left" if head == "program" else "right")
    for name, each in figures.items():
        table.add_row(
            name, *(text for task in each for text in (f"{each[task]:.3f}", f"{first[task] / each[task]:.2f}"))
        )
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup")
    parser.add_argument("--against", help="the command of another release")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    programs = {"clientip": str(Path(sys.executable).parent / "clientip")}
    if given.against:
        programs["the other release"] = str(Path(given.against).resolve())
    with tempfile.TemporaryDirectory() as folder:
        Console().print(show(measure(programs, given.rounds, Path(folder))))


if __name__ == "__main__":
    main()
