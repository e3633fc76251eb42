"""The stream on a real cluster gives what a replay of the same lines gives, and everything exactly once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds.sizes import SIZE
from tests.worlds.stream_lines import World
from tests.worlds.stream_runs import WORKERS, Feeder, settled, stream_of

pytestmark = pytest.mark.edge


def test_records_of_a_live_stream_are_those_of_a_replay_once_each(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    with stream_of(tmp_path, kafka, topic_prefix) as stream:
        for name in WORKERS:
            stream.start(name)
        with Feeder(stream, World().items(10_000 * SIZE), pace=10_000):
            pass
        found = settled(stream)
        assert found.is_exact, found
        assert found.waited == 0
        assert found.records > 5000 * SIZE and found.rejected
        assert [stream.kill(name, 15) for name in WORKERS] == [0, 0, 0, 0]
