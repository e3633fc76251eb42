"""Interleaved rounds: every contender works in every round, so that a busy machine is unkind to all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from benchmarks.setting import Work

Prepare = Callable[[Sequence[bytes]], Work]


def seconds(work: Work) -> float:
    """Processor time of one run: what other processes do meanwhile does not count."""
    gc.collect()
    before = time.process_time()
    work()
    return time.process_time() - before


def microseconds(
    contenders: Mapping[str, Prepare], fresh: Callable[[int], Sequence[bytes]], rounds: int
) -> dict[str, float]:
    """Median µs per line of each contender.

    `fresh` gives the lines of a turn: each contender gets lines it has not seen, so a cache
    helps as far as its clients come again, and no further.  The first round only warms up.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    turn = 0
    for number in range(rounds + 1):
        for name, prepare in contenders.items():
            turn += 1
            raw = fresh(turn)
            spent = seconds(prepare(raw)) * 1e6 / len(raw)
            if number:
                taken[name].append(spent)
    return {name: median(each) for name, each in taken.items()}
