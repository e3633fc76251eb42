"""The same fields in Vector's language (VRL), compiled to native code by the wheel `pyvrl`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.setting import Setting, Work


def prepare(setting: Setting, raw: Sequence[bytes]) -> Work:
    """Transform every line: text in, JSON text out, so that Python objects are made of neither."""
    remap = setting.remap

    def work() -> None:
        for text in raw:
            str(remap({"message": text.decode()})).encode()

    return work
