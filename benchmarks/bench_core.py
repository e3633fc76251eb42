"""Line to bytes: all stages as the engine puts them together, with the record's id."""

from __future__ import annotations

from collections.abc import Sequence

from clientip.engine import BLOCK_LINES
from clientip.model import Record
from clientip.outputs import OUTPUTS

from benchmarks.setting import Setting, Work, framed


def prepare(setting: Setting, raw: Sequence[bytes]) -> Work:
    """Feed lines in blocks, as the replay does, and write their records."""
    reading, render, rules, given = setting.engine.reading("web"), OUTPUTS["enriched"], setting.rules, framed(raw)

    def work() -> None:
        for first in range(0, len(given), BLOCK_LINES):
            for outcome in reading.feed_all(given[first : first + BLOCK_LINES]):
                assert isinstance(outcome, Record)
                render(outcome, rules)

    return work
