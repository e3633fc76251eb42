"""Bytes of files and pipes → framed lines, in flat memory.

Three layers of iterators: raw blocks (`RawFile`, `pipe_blocks`), unpacked blocks (`unpacked`),
frames (`lines`, `messages`).  What cannot be read becomes a frame too (`RefusedFrame`, `Broken`), so
a reader of frames sees everything the input held, in order.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from clientip.edges.disk.compression import DAMAGES, packing_of, unpacked
from clientip.errors import SinkError

BLOCK_BYTES: Final = 256 * 1024  # large enough to amortise a system call, small enough to stay in cache
PACKED_BLOCK_BYTES: Final = 64 * 1024
LENGTH: Final = 4  # bytes of a length before a message

BLANK_BYTES: Final = 64 * 1024 * 1024  # of blank lines in one input, whatever its size on disk …
BLANK_SHARE: Final = 1000  # … and beyond that for each byte on disk

_DENSE: Final = 8  # bytes a line, at most, for which blank ones are looked for
_BLANK_LINES: Final = re.compile(rb"(?<![^\n])(?:[ \t\r\x0b\x0c]*+\n){2,}+")  # each from the beginning of a line
_EMPTY_MESSAGES: Final = re.compile(rb"(?:\0{4}){2,}+")


class Block(NamedTuple):
    """Lines that follow each other; line k+1 starts `len(line k) + step` bytes after line k.

    Many blank lines, which cost a packed file next to nothing, come uncut in a block of their own.
    """

    lines: list[bytes]
    offset: int  # of the first line, in the unpacked stream
    step: int  # bytes of framing per line: 1 for LF, 2 for CRLF, 4 for a length prefix
    unended: bool = False  # its one line is the last of the input, and no line end came
    blanks: bytes = b""  # blank lines with their framing; then there are no others

    @property
    def total(self) -> int:
        """How many lines it holds, blank or not."""
        blank = len(self.blanks) // LENGTH if self.step == LENGTH else self.blanks.count(b"\n")
        return len(self.lines) + blank

    def placed(self) -> Iterator[tuple[bytes, int]]:
        """Each line with its offset."""
        offset = self.offset
        for line in self.lines:
            yield line, offset
            offset += len(line) + self.step


class RefusedFrame(NamedTuple):
    """A line that no format gets to see; `head` is what is kept of it."""

    head: bytes
    offset: int
    reason: str
    detail: str | None


class Broken(NamedTuple):
    """The input cannot be read any further; always the last frame."""

    text: str


Frame = Block | RefusedFrame | Broken


class RawFile:
    """Bytes `start` to `stop` of a file; `position` tells how far it has been read."""

    def __init__(self, path: str, start: int, stop: int) -> None:
        self._path, self.position, self._stop = path, start, stop

    def blocks(self, size: int) -> Iterator[bytes]:
        """Blocks of at most `size` bytes; OSError if the file is shorter than promised."""
        with Path(self._path).open("rb", buffering=0) as file:
            file.seek(self.position)
            while self.position < self._stop:
                data = file.read(min(size, self._stop - self.position))
                if not data:
                    raise OSError(0, "the file is shorter than when the run was planned")
                self.position += len(data)
                yield data


def pipe_blocks(descriptor: int, size: int) -> Iterator[bytes]:
    """What a pipe has at the moment, as soon as it has anything."""
    while data := os.read(descriptor, size):
        yield data


def lines(blocks: Iterable[bytes], offset: int, limit: int, *, inside: bool = False) -> Iterator[Frame]:
    """Frames of text lines: LF or CRLF ends a line, the end of the input ends the last one.

    No block may be longer than `limit`.  `inside`: the first bytes may belong to a line that began before `offset`;
    they are passed over up to the first line end.
    """
    # At most the first line of a block can be longer than `limit`, because blocks are not.
    held = b""  # the line that has not ended yet; it starts at `offset`
    over = 0 if inside else -1  # bytes seen of a line that is passed over; -1: none
    try:
        for block in blocks:
            data = block
            if over >= 0:
                end = data.find(b"\n")
                over += len(data) if end < 0 else end
                if end < 0:
                    continue
                if not inside:
                    yield _too_long(held, offset, over)
                offset, data = offset + over + 1, data[end + 1 :]
                held, over, inside = b"", -1, False
            whole = held + data
            ended = whole.rfind(b"\n") + 1
            held = whole[ended:]
            if ended:
                yield from _ended_lines(whole[:ended], offset, limit)
                offset += ended
            if len(held) > limit:
                held, over = held[:limit], len(held)
    except DAMAGES as error:
        if held:
            yield RefusedFrame(held, offset, "truncated", None)
        yield Broken(_why(error))
        return
    if over >= 0 and not inside:
        yield _too_long(held, offset, over)
    elif held:
        yield from (block._replace(unended=True) for block in _blocks_of([held], offset, has_returns=True))


def _ended_lines(text: bytes, offset: int, limit: int) -> Iterator[Frame]:
    """The lines of a text that ends with one; only the first can be too long."""
    place, dense = 0, text.count(b"\n") * _DENSE > len(text)
    for run in _BLANK_LINES.finditer(text, text.index(b"\n") + 1) if dense else ():
        if run.start() > place:
            yield from _split_lines(text[place : run.start()], offset + place, limit)
        yield Block([], offset + run.start(), 1, blanks=run[0])
        place = run.end()
    if place < len(text):
        yield from _split_lines(text[place:], offset + place, limit)


def _split_lines(text: bytes, offset: int, limit: int) -> Iterator[Frame]:
    found = text[:-1].split(b"\n")
    if len(found[0]) > limit:
        yield _too_long(found[0][:limit], offset, len(found[0]))
        offset += len(found.pop(0)) + 1
    if found:
        yield from _blocks_of(found, offset, has_returns=b"\r" in text)


def _too_long(head: bytes, offset: int, length: int) -> RefusedFrame:
    return RefusedFrame(head, offset, "too_long", f"{length} bytes")


def _blocks_of(found: list[bytes], offset: int, *, has_returns: bool) -> Iterator[Block]:
    if not has_returns:
        yield Block(found, offset, 1)
        return
    for returns, run in groupby(found, lambda line: line.endswith(b"\r")):
        raw = list(run)
        yield Block([line[:-1] for line in raw], offset, 2) if returns else Block(raw, offset, 1)
        offset += sum(map(len, raw)) + len(raw)


def messages(blocks: Iterable[bytes], offset: int, limit: int) -> Iterator[Frame]:
    """Frames of length-prefixed messages: four bytes, big endian, then as many bytes."""
    held = b""
    over = 0  # bytes still to come of a message that is passed over
    try:
        for block in blocks:
            held += block
            while held:
                passed = min(over, len(held))
                found, used = _messages_in(held, passed, limit, offset)
                yield from found
                held, offset, over = held[used:], offset + used, over - passed
                length = int.from_bytes(held[:4], "big")
                if over or length <= limit or len(held) < 4 + limit:
                    break
                yield _too_long(held[4 : 4 + limit], offset, length)
                over = 4 + length
    except DAMAGES as error:
        if held:
            yield RefusedFrame(held, offset, "truncated", None)
        yield Broken(_why(error))
        return
    if held or over:
        yield RefusedFrame(held, offset, "truncated", None)


def _messages_in(held: bytes, start: int, limit: int, offset: int) -> tuple[list[Block], int]:
    """The whole messages from `start` on, and where the first one that is not whole begins."""
    blocks, found, begin, used = list[Block](), list[bytes](), start, start
    while len(held) >= used + LENGTH:
        length = int.from_bytes(held[used : used + LENGTH], "big")
        if length > limit or used + LENGTH + length > len(held):
            break
        empty = None if length else _EMPTY_MESSAGES.match(held, used)
        if empty is None:
            found.append(held[used + LENGTH : used + LENGTH + length])
            used += LENGTH + length
            continue
        if found:
            blocks.append(Block(found, offset + begin, LENGTH))
        blocks.append(Block([], offset + used, LENGTH, blanks=empty[0]))
        found, begin = [], empty.end()
        used = begin
    if found:
        blocks.append(Block(found, offset + begin, LENGTH))
    return blocks, used


def with_few_blanks(frames: Iterable[Frame], read: Callable[[], int]) -> Iterator[Frame]:
    """The frames, up to where blank lines are far more than the bytes `read` from disk so far.

    No server writes such a log and no client can make one, but a few kilobytes of an archive unpack to it.
    """
    blank = 0
    for frame in frames:
        if isinstance(frame, Block) and frame.blanks:
            blank += len(frame.blanks)
            if blank > BLANK_BYTES + BLANK_SHARE * read():
                yield Broken(f"it unpacks to more than {blank >> 20} MiB of blank lines")
                return
        yield frame


def before(frames: Iterable[Frame], stop: int) -> Iterator[Frame]:
    """The frames up to the last line that begins before `stop`."""
    for frame in frames:
        if isinstance(frame, Broken):
            yield frame
        elif frame.offset >= stop:
            return
        elif isinstance(frame, Block):
            yield _cut(frame, stop)
        else:
            yield frame


def _cut(block: Block, stop: int) -> Block:
    if block.blanks:
        last = block.blanks.find(b"\n", stop - block.offset - 1)  # the end of the last line that begins before `stop`
        return block if last < 0 else block._replace(blanks=block.blanks[: last + 1])
    return block._replace(lines=[line for line, offset in block.placed() if offset < stop])


def beginning(path: str, length: int) -> tuple[bytes, str]:
    """The first `length` unpacked bytes of a file, and its compression.

    A damaged file gives what can be read of it; the damage is reported when its lines are read.
    """
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise SinkError(f"{path} is a folder; name the log files in it", retry=False)
        if not stat.S_ISREG(status.st_mode):  # its size says nothing, and it cannot be read twice
            raise SinkError(f"{path} is no regular file; give - and connect it to standard input", retry=False)
        size = status.st_size
        head = next(RawFile(path, 0, size).blocks(length), b"")
    except OSError as error:
        raise SinkError(f"cannot read {path}: {error.strerror}", retry=False) from error
    packing = packing_of(head)
    if not packing:
        return head, packing
    found = b""
    pieces = unpacked(RawFile(path, 0, size).blocks(PACKED_BLOCK_BYTES), packing, BLOCK_BYTES)
    try:
        while len(found) < length and (piece := next(pieces, None)) is not None:
            found += piece
    except DAMAGES:
        return found[:length], packing
    return found[:length], packing


def _why(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the compressed data ends too early"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damaged: {error}"
