"""How long a test waits: for a state, as long as any machine may need, and never to measure a speed.

What is bounded in effort is measured in processor time, which other programs do not change.
`tests/test_patience.py` holds every test to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tests.worlds.sizes import SIZE

LIMIT_S: Final = 300.0 + 20.0 * SIZE  # a state that is not there by then will never be


def until(holds: Callable[[], object], why: Callable[[], object] = str, step_s: float = 0.02) -> None:
    """Wait until it holds.  Errors: AssertionError, with what `why` says, where it does not.

    >>> until(lambda: True)
    """
    end_s = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end_s, f"not within {LIMIT_S:.0f} s: {why()}"
        time.sleep(step_s)


def processor_s(act: Callable[[], object], runs: int = 1) -> float:
    """Processor time of this, in seconds: that of the fastest of so many runs.

    >>> processor_s(lambda: None) < 1
    True
    """
    taken = []
    for _ in range(runs):
        began = time.process_time()
        act()
        taken.append(time.process_time() - began)
    return min(taken)
