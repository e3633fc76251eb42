"""Observation to resolution."""

from __future__ import annotations

from collections.abc import Sequence

from clientip.model import Observation
from clientip.trust.walk import resolve

from benchmarks.setting import Setting, Work, framed


def prepare(setting: Setting, raw: Sequence[bytes]) -> Work:
    """Walk from every peer."""
    graph = setting.engine.graph
    given = [seen for seen in map(setting.reader, framed(raw)) if isinstance(seen, Observation)]

    def work() -> None:
        for seen in given:
            resolve(graph, seen)

    return work
