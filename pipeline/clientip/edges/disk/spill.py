"""Files that one task of a run writes and another one reads: blocks one after the other, or sorted into buckets.

Both keep a bounded amount in memory, both are packed and summed, and both end with a mark: a file that was
cut short or damaged is told, never read as a shorter one.
"""

from __future__ import annotations

import mmap
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec
from xxhash import xxh3_64_intdigest

from clientip.edges.disk.compression import DAMAGES, packed, unpacked_block
from clientip.edges.disk.parts import PartFile
from clientip.errors import SinkError

BLOCK_BYTES: Final = 512 * 1024  # of a block: as much is unpacked at a time
SPILL_BYTES: Final = 16 * 1024 * 1024  # held back, so that a bucket's items come in long blocks

_LENGTH: Final = struct.Struct("<Q")
_END: Final = struct.Struct("<QQ8s")  # where the list of tables begins, a check, mark
_MARK: Final = b"clientip"
_ARRAY: Final = b"\xdd"  # msgpack: an array with a length of four bytes

T = TypeVar("T")


class BlockWriter:
    """Items in order; read again by `read_blocks`."""

    def __init__(self, path: Path) -> None:
        self._file = PartFile(path, "none")
        self._encode = msgspec.msgpack.Encoder().encode_into
        self._held, self._count, self.items = bytearray(), 0, 0

    def add(self, item: object) -> None:
        """One more item."""
        self._encode(item, self._held, -1)
        self._count += 1
        if len(self._held) >= BLOCK_BYTES:
            self._flush()

    def close(self) -> bool:
        """End the file; it is safe on disk then.  False, and no file, where it would hold nothing."""
        self._flush()
        if not self.items:
            self._file.drop()
            return False
        self._file.write(_END.pack(0, self.items, _MARK))
        self._file.close()
        return True

    def _flush(self) -> None:
        if self._count:
            block = packed(_array(self._held, self._count))
            self._file.write(_LENGTH.pack(len(block)) + block)
            self.items += self._count
            self._held, self._count = bytearray(), 0


def _array(items: bytearray, count: int) -> bytes:
    return b"".join((_ARRAY, count.to_bytes(4, "big"), items))


def read_blocks(path: Path, of: type[list[T]]) -> Iterator[list[T]]:
    """The blocks of a file made by `BlockWriter`; SinkError where anything of it is missing."""
    decode = msgspec.msgpack.Decoder(of).decode
    count = 0
    try:
        with path.open("rb") as file:
            end = _end_of(file.seek(-_END.size, 2), file.read())
            file.seek(0)
            while file.tell() < end.position:
                block = decode(unpacked_block(file.read(_LENGTH.unpack(file.read(_LENGTH.size))[0])))
                count += len(block)
                yield block
            if count != end.check or file.tell() != end.position:
                raise ValueError
    except _DAMAGE as error:
        raise damaged(path) from error


class _End(msgspec.Struct, frozen=True):
    position: int  # of the end itself
    tables: int
    check: int  # how many items; of buckets, the sum of the list of tables


def _end_of(position: int, data: bytes | memoryview) -> _End:
    tables, check, mark = _END.unpack(data)
    if mark != _MARK or not 0 <= tables <= position:
        raise ValueError
    return _End(position, tables, check)


_DAMAGE: Final = (*DAMAGES, msgspec.DecodeError, ValueError, OverflowError, IndexError, struct.error)


def damaged(path: Path) -> SinkError:
    """What to say of a file that is not what was written."""
    return SinkError(f"{path} is damaged; use --restart", retry=False)


class BucketWriter:
    """Items by the number of their bucket; read again by `BucketReader`."""

    def __init__(self, path: Path) -> None:
        self._file = PartFile(path, "none")
        self._encode = msgspec.msgpack.Encoder().encode_into
        self._full: list[tuple[int, bytearray, int]] = []  # bucket, block, how many items
        self._held: dict[int, bytearray] = {}
        self._counts: dict[int, int] = {}
        self._bytes, self.items = 0, 0
        self._tables = array("Q")
        self.buckets: set[int] = set()

    def add(self, bucket: int, item: object) -> None:
        """One more item."""
        held = self._held.get(bucket)
        if held is None:
            held = self._held[bucket] = bytearray()
            self._counts[bucket] = 0
        before = len(held)
        self._encode(item, held, -1)
        self._counts[bucket] += 1
        self._bytes += len(held) - before
        if len(held) >= BLOCK_BYTES:
            self._full.append((bucket, self._held.pop(bucket), self._counts.pop(bucket)))
        if self._bytes >= SPILL_BYTES:
            self._flush()

    def close(self) -> bool:
        """End the file; it is safe on disk then.  False, and no file, where it would hold nothing."""
        self._flush()
        if not self.items:
            self._file.drop()
            return False
        position, tables = self._file.length, self._tables.tobytes()
        self._file.write(tables + _END.pack(position, xxh3_64_intdigest(tables), _MARK))
        self._file.close()
        return True

    def _flush(self) -> None:
        """Blocks in the order of their buckets, then a table: buckets, where each block begins, how many items."""
        blocks = self._full + [(bucket, held, self._counts[bucket]) for bucket, held in self._held.items()]
        if not blocks:
            return
        blocks.sort(key=itemgetter(0))  # keeps the order within a bucket
        begin, lengths = self._file.length, []
        for _, items, count in blocks:
            block = packed(_array(items, count))
            lengths.append(len(block))
            self._file.write(block)
        numbers = array("Q", (bucket for bucket, _, _ in blocks))
        counts = array("Q", (count for _, _, count in blocks))
        places = array("Q", accumulate(lengths, initial=begin))
        table = numbers.tobytes() + places.tobytes() + counts.tobytes()
        self._tables.extend((self._file.length, len(numbers), xxh3_64_intdigest(table)))
        self._file.write(table)
        self.items += sum(counts)
        self.buckets.update(numbers)
        self._full, self._held, self._counts, self._bytes = [], {}, {}, 0


class BucketReader(Generic[T]):
    """A file made by `BucketWriter`, its items decoded as `of`."""

    def __init__(self, path: Path, of: type[list[T]]) -> None:
        self._path = path
        self._decode = msgspec.msgpack.Decoder(of).decode
        try:
            with path.open("rb") as file:
                self._data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            size = len(self._data)
            end = _end_of(size - _END.size, self._data[size - _END.size :])
            tables = self._data[end.tables : size - _END.size]
            if xxh3_64_intdigest(tables) != end.check:
                raise ValueError
            self._tables: list[int] = tables.cast("Q").tolist()
        except (*_DAMAGE, TypeError) as error:
            raise damaged(path) from error

    def count(self, bucket: int) -> int:
        """How many items the bucket has."""
        return sum(count for _, _, count in self._blocks(bucket))

    def read(self, bucket: int) -> Iterator[list[T]]:
        """The bucket's items in the order in which they were added, block by block."""
        for begin, end, count in self._blocks(bucket):
            try:
                block = self._decode(unpacked_block(self._data[begin:end]))
                if len(block) != count:
                    raise ValueError
            except _DAMAGE as error:
                raise damaged(self._path) from error
            yield block

    def _blocks(self, bucket: int) -> Iterator[tuple[int, int, int]]:
        tables = iter(self._tables)
        for position, length, check in zip(tables, tables, tables, strict=True):
            table = self._data[position : position + 8 * (3 * length + 1)]
            if xxh3_64_intdigest(table) != check:
                raise damaged(self._path)
            numbers = table.cast("Q")
            at = bisect_left(numbers, bucket, 0, length)
            while at < length and numbers[at] == bucket:
                yield numbers[length + at], numbers[length + at + 1], numbers[2 * length + 1 + at]
                at += 1
