"""Line to observation."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.setting import Setting, Work, framed


def prepare(setting: Setting, raw: Sequence[bytes]) -> Work:
    """Read every line."""
    read, given = setting.reader, framed(raw)

    def work() -> None:
        for line in given:
            read(line)

    return work
