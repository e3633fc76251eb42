"""What is held of witnesses is bounded by bytes, and what is not held covers nothing."""

from __future__ import annotations

from itertools import count

from clientip.joins.coverage import NAMES_BYTES, OTHERS, Coverage, RunsByWitness
from clientip.model import Numbered, System
from clientip.syntax.addresses import parse_address

NODE = parse_address("10.0.0.1")


def line(number: int) -> Numbered:
    return Numbered("session", number, number * 10, number * 10, gap=False)


def covered(runs: RunsByWitness) -> str:
    coverage = Coverage({"nodes": System(name="nodes")}, {witness: each.all() for witness, each in runs.items()})
    return coverage.of("nodes", NODE, 10, 20)


def test_a_system_whose_instances_are_all_known_covers() -> None:
    runs = RunsByWitness()
    for instance in ("a", "b"):
        for number in (1, 2):
            runs["nodes", instance].add(line(number))
    assert covered(runs) == "yes"


def test_names_of_instances_are_held_up_to_a_number_of_bytes() -> None:
    runs, name = RunsByWitness(), "n" * 10_000
    for number in count():
        runs["nodes", f"{name}{number}"].add(line(1))
        if ("nodes", OTHERS) in runs:
            break
        assert number <= NAMES_BYTES // len(name)
    held = len(runs)
    for number in range(1000):
        runs["nodes", f"{name} more {number}"].add(line(1))
    assert len(runs) == held


def test_a_system_of_which_not_all_instances_are_held_covers_nothing() -> None:
    runs = RunsByWitness()
    for number in (1, 2):
        runs["nodes", "a"].add(line(number))
    assert covered(runs) == "yes"
    runs["nodes", "n" * NAMES_BYTES].add(line(1))
    assert covered(runs) == "no"
    for number in (1, 2):
        runs["nodes", OTHERS].add(line(number))  # the name itself, in a log
    assert covered(runs) == "no"
