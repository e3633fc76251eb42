"""Observation to resolution."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.setting import Setting, Work, framed
from pipeline.model import Observation
from pipeline.trust import resolve


def prepare(setting: Setting, raw: Sequence[bytes]) -> Work:
    """Walk from every peer."""
    graph = setting.engine.graph
    given = [seen for seen in map(setting.reader, framed(raw)) if isinstance(seen, Observation)]

    def work() -> None:
        for seen in given:
            resolve(graph, seen)

    return work
