"""The rows of a chunk put together: those that needed no answer, and each other one at its place."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Final

from msgspec import Struct

from clientip.edges.disk.compression import Compression
from clientip.edges.disk.parts import PartFile, disk_faults, part_path, temporary
from clientip.edges.disk.spill import read_blocks
from clientip.edges.replay.join_files import ROWS, Filled, filled
from clientip.errors import SinkError

WRITE_BYTES: Final = 1024 * 1024  # bytes put together before they are written


class Assembled(Struct, frozen=True, tag="assembled"):
    """A finished chunk with every row at its place."""

    unit: int
    records: int  # bytes of the part
    process_id: int
    parts: tuple[str, ...] = ("records",)


def assemble(folder: Path, chunk: int, rounds: Sequence[int], compress: Compression) -> Assembled:
    """Put a chunk together into a temporary part named after this process; the caller renames it."""
    with disk_faults("write", folder):
        out = _Out(PartFile(temporary(folder, chunk, "records", os.getpid()), compress))
    held = part_path(folder, chunk, ROWS)
    with disk_faults("read", held), held.open("rb") as rows:
        at = 0
        for each in _filled(folder, chunk, rounds):
            if each.position > at:
                out.copy(rows, each.position - at)
                at = each.position
            out.put(each.row)
        out.copy(rows, None)
    return Assembled(chunk, out.close(), os.getpid())


def _filled(folder: Path, chunk: int, rounds: Sequence[int]) -> Iterator[Filled]:
    """The rows of all rounds in the order of their places."""
    parts = [_rows(part_path(folder, chunk, filled(number))) for number in rounds]
    return parts[0] if len(parts) == 1 else heapq.merge(*parts, key=lambda each: each.number)


def _rows(path: Path) -> Iterator[Filled]:
    for block in read_blocks(path, list[Filled]):
        yield from block


class _Out:
    """Rows on their way to the part."""

    def __init__(self, part: PartFile) -> None:
        self._part, self._held, self._size = part, list[bytes](), 0

    def put(self, row: bytes) -> None:
        self._held += (row, b"\n")
        self._size += len(row)
        if self._size >= WRITE_BYTES:
            self._flush()

    def copy(self, source: BufferedReader, length: int | None) -> None:
        """The next bytes of `source`, None: all that are left."""
        self._flush()
        left = -1 if length is None else length
        while left and (data := source.read(WRITE_BYTES if left < 0 else min(left, WRITE_BYTES))):
            self._part.write(data)
            left -= len(data) if left > 0 else 0
        if left > 0:
            raise SinkError("rows are missing; use --restart", retry=False)

    def close(self) -> int:
        self._flush()
        self._part.close()
        return self._part.length

    def _flush(self) -> None:
        if self._held:
            self._part.write(b"".join(self._held))
            self._held, self._size = [], 0
