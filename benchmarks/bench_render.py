"""Record to bytes, in the default output."""

from __future__ import annotations

from collections.abc import Sequence

from clientip.outputs import OUTPUTS

from benchmarks.setting import Setting, Work, records


def prepare(setting: Setting, raw: Sequence[bytes]) -> Work:
    """Write every record."""
    render, rules, given = OUTPUTS["enriched"], setting.rules, records(setting, raw)

    def work() -> None:
        for record in given:
            render(record, rules)

    return work
