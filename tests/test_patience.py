"""Tests ask for a state, never for a speed: who waits, waits as long as `patience` does, and nothing reads a clock.

What is left is listed here with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(
    path.relative_to(HERE).as_posix()
    for path in HERE.rglob("*.py")
    if not path.is_relative_to(HERE / "golden") and not path.is_relative_to(HERE / "lab")
)
CLOCKS = ("sleep", "monotonic", "perf_counter", "process_time", "Timer")
WAITS = (
    *("wait", "result", "flush", "communicate", "join", "settimeout", "run", "urlopen", "create_connection"),
    *("init_transactions", "commit_transaction", "abort_transaction", "list_topics", "committed"),
)
TIMED = {  # file → functions that read a clock or sleep, and why that asks for no speed
    "worlds/patience.py": {"until", "processor_s"},  # the one place that waits
    "worlds/stream_lines.py": {"items"},  # lines of the present: marks a second apart
    "worlds/stream_runs.py": {"feed"},  # no faster than its pace
    "fuzz.py": {"check", "_rounds"},  # processor time; fuzzes for so long
    "mutants.py": {"run"},  # a mutant that does not end is found by time
    "stream_kills.py": {"run"},  # prints how long it took
    "edges/kafka/test_transactions.py": {  # frozen for longer than a session lasts, not shorter
        "test_who_waits_for_brokers_longer_than_the_session_lasts_loses_the_batch_and_goes_on_in_the_same_process"
    },
    "edges/replay/test_replay_kafka.py": {  # what comes later than a line may arrive
        "test_a_time_range_cuts_the_records_and_what_is_fetched"
    },
    "edges/telemetry/test_health.py": {"live"},  # the clock that is tested
    "edges/telemetry/test_figures.py": {"test_a_worker_is_ready_when_it_said_so_and_alive_while_it_beats"},
}
SHORT = {  # file → functions that wait for less on purpose
    "edges/kafka/test_brokers.py": {  # in vain
        "test_a_stopped_broker_comes_back_at_its_address_with_its_records",
        "test_a_paused_broker_answers_only_when_resumed",
        "is_told",
    },
}


def calls(file: str) -> Iterator[tuple[str, str, ast.Call]]:
    """Function around it, name that is called, call."""

    def within(node: ast.AST, function: str) -> Iterator[tuple[str, str, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            inner = child.name if isinstance(child, ast.FunctionDef) else function
            if isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute):
                yield inner, child.func.attr, child
            yield from within(child, inner)

    yield from within(ast.parse((HERE / file).read_text()), "")


def limit_of(call: ast.Call) -> float | None:
    """Of a call that waits: the seconds that are written out; None where there are none."""
    given = [each.value for each in call.keywords if each.arg == "timeout"] or call.args[-1:]
    written = given[0] if given else None
    if isinstance(written, ast.Constant) and isinstance(written.value, int | float):
        return float(written.value)
    return None


@pytest.mark.parametrize("file", FILES)
def test_no_test_reads_a_clock_or_sleeps(file: str) -> None:
    found = {function for function, name, _ in calls(file) if name in CLOCKS}
    assert found == TIMED.get(file, set())


@pytest.mark.parametrize("file", FILES)
def test_whoever_waits_for_a_program_or_a_broker_waits_long(file: str) -> None:
    found = {
        function
        for function, name, call in calls(file)
        if name in WAITS and (limit := limit_of(call)) is not None and limit < 120
    }
    assert found == SHORT.get(file, set())
