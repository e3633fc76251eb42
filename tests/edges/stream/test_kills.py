"""Whoever is killed: nothing is lost, nothing doubled, nothing other than in a replay."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stream_kills import Plan, run
from tests.worlds.brokers import Brokers
from tests.worlds.sizes import SIZE

pytestmark = pytest.mark.edge


def test_kills_of_workers_and_brokers_lose_double_and_change_nothing(tmp_path: Path) -> None:
    plan = Plan(kills=max(4, SIZE), lines=10_000 * SIZE, brokers=3, broker_kills=max(1, SIZE // 20), kill_s=2.0)
    with Brokers(tmp_path / "kafka", plan.brokers) as kafka:
        done = run(plan, tmp_path / "stream", kafka, "kills")
    print(done.row(plan))
    assert done.found.is_exact, done
