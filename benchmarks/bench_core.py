"""Line to bytes: all stages as the engine puts them together, with the record's id."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.setting import Setting, Work, framed
from pipeline.model import Record
from pipeline.outputs import OUTPUTS


def prepare(setting: Setting, raw: Sequence[bytes]) -> Work:
    """Feed every line and write its record."""
    feed, render, rules, given = setting.engine.reading("web").feed, OUTPUTS["enriched"], setting.rules, framed(raw)

    def work() -> None:
        for line in given:
            for outcome in feed(line):
                assert isinstance(outcome, Record)
                render(outcome, rules)

    return work
