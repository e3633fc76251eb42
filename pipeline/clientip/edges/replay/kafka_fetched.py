"""Raw messages as they wait on disk, read as a stream's reader reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from clientip.edges.disk.files import Frame, RefusedFrame
from clientip.edges.disk.parts import part_path
from clientip.edges.disk.spill import read_blocks
from clientip.edges.kafka.client import TopicPlace, Upto
from clientip.edges.kafka.raw_lines import Dead, RawLines
from clientip.edges.replay.plan import Chunk, ReadLines
from clientip.engine import Engine
from clientip.model import Outcome, Rejected
from clientip.settings import Settings

RAW: Final = "raw"  # the part with the messages of a chunk


class Kept(Struct, frozen=True, gc=False, array_like=True):
    """A raw message; it answers as the library's own do."""

    at: int
    stamp_ms: int
    name: bytes | None
    body: bytes | None
    said: list[tuple[str, bytes | None]]  # the headers, where they name any id

    def offset(self) -> int:
        """Its place in the partition."""
        return self.at

    def timestamp(self) -> tuple[int, int]:
        """The kind is not kept."""
        return 0, self.stamp_ms

    def key(self) -> bytes | None:
        """The key."""
        return self.name

    def value(self) -> bytes | None:
        """The message itself."""
        return self.body

    def headers(self) -> list[tuple[str, bytes | None]]:
        """None are as good as those that name no id."""
        return self.said


class FetchedReader:
    """Reads one chunk of fetched messages; `position` is how far into its file, estimated."""

    def __init__(self, settings: Settings, engine: Engine, chunk: Chunk, folder: Path) -> None:
        assert chunk.input.fetched is not None
        self._fetched, self._size = chunk.input.fetched, chunk.input.size
        self._path = part_path(folder, chunk.number, RAW)
        place = TopicPlace(self._fetched.topic, self._fetched.partition)
        self._lines = RawLines(settings, engine, chunk.input.system, place, self._fetched.topic_id)
        self.position = 0

    def frames(self) -> Iterator[Frame | ReadLines]:
        """What became of the messages from `begin` on, in order."""
        begin = self._fetched.begin
        self._lines.go_on(Upto(begin))
        count = 0
        for block in read_blocks(self._path, list[Kept]):
            messages: list[Any] = list(block)  # `RawLines` asks no more of a message than `Kept` answers
            for taken in self._lines.read(messages):
                if isinstance(taken, Dead):
                    yield RefusedFrame(taken.message, taken.offset, taken.reason, None)
                else:
                    yield _read(taken.outcomes, begin, were_parts=taken.were_parts)
            count += len(block)
            self.position = self._size * count // self._fetched.messages
        for taken in self._lines.end():
            yield _read(taken.outcomes, begin, were_parts=True)


def _read(outcomes: Sequence[Outcome], begin: int, *, were_parts: bool) -> ReadLines:
    """Without lines that began and were left off before the first one that counts."""
    if were_parts:
        outcomes = [each for each in outcomes if isinstance(each, Rejected) and each.line.offset >= begin]
    return ReadLines(outcomes, were_parts)
