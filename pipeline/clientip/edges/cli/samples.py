"""The first lines of a file, for `init` and `check`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from clientip.edges.disk.files import BLOCK_BYTES, Block, Frame, RefusedFrame, beginning, lines, messages
from clientip.model import Line, Rejected

SAMPLE_LINES: Final = 2000
SAMPLE_BYTES: Final = 4 * 1024 * 1024  # unpacked


def sample(path: str, limit: int, framing: Literal["lines", "length32"] = "lines") -> tuple[Line | Rejected, ...]:
    """At most SAMPLE_LINES frames of a file, compressed or not; one longer than `limit` is rejected already.

    Errors: SinkError if the file cannot be opened.
    """
    head, _ = beginning(path, SAMPLE_BYTES)
    step = min(BLOCK_BYTES, limit)
    blocks = (head[start : start + step] for start in range(0, len(head), step))
    frames = messages(blocks, 0, limit) if framing == "length32" else lines(blocks, 0, limit)
    found = [each for frame in frames for each in _of_frame(frame)]
    if len(head) == SAMPLE_BYTES:
        del found[-1:]  # where the sample ends, the line may not
    return tuple(found[:SAMPLE_LINES])


def _of_frame(frame: Frame) -> Iterator[Line | Rejected]:
    if isinstance(frame, Block):
        yield from (Line(raw, raw, unended=frame.unended) for raw in frame.lines)
    elif isinstance(frame, RefusedFrame):
        yield Rejected(Line(frame.head, frame.head), frame.reason, None, frame.detail)
