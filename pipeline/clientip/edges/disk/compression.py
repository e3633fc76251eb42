"""Compression in and out, in flat memory whatever the input: the only home of `zstandard`."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType
from typing import Final, Literal, Protocol

import zstandard

Compression = Literal["none", "gzip", "zstd"]  # of what is written

ZSTD_SLICE: Final = 512  # four bytes of zstd can unpack to 128 KiB: this bounds a bomb to 16 MiB at a time

MAGIC: Final = MappingProxyType({b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"})
DAMAGES: Final = (EOFError, OSError, zlib.error, zstandard.ZstdError)  # what `unpacked` raises

_PACKER: Final = zstandard.ZstdCompressor(level=1, write_checksum=True)
_UNPACKER: Final = zstandard.ZstdDecompressor()


class Packer(Protocol):
    """Takes rows, gives compressed bytes; what `flush` gives ends the member."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def packer_of(compress: Compression) -> Packer | None:
    """One member per chunk, and no time stamp in it: equal rows give equal bytes."""
    match compress:
        case "gzip":
            return zlib.compressobj(6, zlib.DEFLATED, 31)
        case "zstd":
            return zstandard.ZstdCompressor(level=3).compressobj()
    return None


def packed(data: bytes | bytearray) -> bytes:
    """One block of a file that only this program reads: fast, and with a check sum."""
    return _PACKER.compress(data)


def unpacked_block(data: bytes | memoryview) -> bytes:
    """What was packed by `packed`; zstandard.ZstdError (one of DAMAGES) where it is damaged."""
    return _UNPACKER.decompress(data)


def packing_of(head: bytes) -> str:
    """The compression that the first bytes announce; "" for none."""
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), "")


def unpacked(blocks: Iterable[bytes], packing: str, size: int) -> Iterator[bytes]:
    """The blocks without their compression, in pieces of at most `size` bytes.

    Raises EOFError, zlib.error, OSError or zstandard.ZstdError where the compressed bytes are
    damaged; everything before has been yielded.
    """
    for piece in UNPACKERS[packing](blocks, size):
        if len(piece) <= size:
            yield piece
        else:
            yield from (piece[start : start + size] for start in range(0, len(piece), size))


def _plain(blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
    yield from blocks


def _gzip(blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
    unpacker, started = zlib.decompressobj(wbits=31), False
    for block in blocks:
        data = block
        while data:
            if not started:
                data = data.lstrip(b"\0")  # tape and disk images pad members with zeros
                started = bool(data)
            if started:
                yield unpacker.decompress(data, size)
                data = unpacker.unconsumed_tail
            if unpacker.eof:
                data = unpacker.unused_data
                unpacker, started = zlib.decompressobj(wbits=31), False
    if started:
        yield unpacker.flush()
        if not unpacker.eof:
            raise EOFError


def _bzip2(blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
    unpacker, started = bz2.BZ2Decompressor(), False
    for block in blocks:
        data = block
        while data or (started and not unpacker.needs_input):
            started = True
            yield unpacker.decompress(data, size)
            data = b""
            if unpacker.eof:
                data = unpacker.unused_data
                unpacker, started = bz2.BZ2Decompressor(), False
    if started:
        raise EOFError


def _zstd(blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
    # Not `stream_reader`: it takes a truncated frame for the end of the file.
    context = zstandard.ZstdDecompressor()
    unpacker, started = context.decompressobj(), False
    for block in blocks:
        for start in range(0, len(block), ZSTD_SLICE):
            data = block[start : start + ZSTD_SLICE]
            while data:
                started = True
                yield unpacker.decompress(data)
                data = b""
                if unpacker.eof:
                    data = unpacker.unused_data
                    unpacker, started = context.decompressobj(), False
    if started:
        raise EOFError


UNPACKERS: Final[MappingProxyType[str, Callable[[Iterable[bytes], int], Iterator[bytes]]]] = MappingProxyType(
    {"": _plain, "gzip": _gzip, "zstd": _zstd, "bzip2": _bzip2}
)
