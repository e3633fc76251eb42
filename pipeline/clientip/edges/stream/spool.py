"""Lines that wait, in files without a name: memory holds only the place of each line. Made again at every start."""

from __future__ import annotations

import os
import tempfile
from typing import Final

import msgspec

from clientip.errors import SinkError
from clientip.stream.join_messages import QuestionItem

SEGMENT_BYTES: Final = 64 << 20  # of one file; it is deleted when none of its lines waits any longer
BUFFER_BYTES: Final = 1 << 20  # kept in memory first: most lines are answered before they would reach the disk
_PLACE_BITS: Final = 32  # of a reference: the place in its segment

_ENCODE: Final = msgspec.msgpack.Encoder().encode_into
_DECODE: Final = msgspec.msgpack.Decoder(QuestionItem).decode


class _Segment:
    __slots__ = ("buffer", "descriptor", "length", "live", "written")

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.length, self.written, self.live = descriptor, 0, 0, 0
        self.buffer = bytearray()


class Spool:
    """Questions of one partition by reference. Errors: SinkError if the disk is full."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._segments: dict[int, _Segment] = {}
        self._last = -1

    def put(self, question: QuestionItem) -> int:
        """Keep a question; its reference."""
        segment = self._segments.get(self._last)
        if segment is None or segment.length >= SEGMENT_BYTES:
            segment = self._open()
        body = bytearray()
        _ENCODE(question, body)
        at = segment.length
        segment.buffer += len(body).to_bytes(4, "little") + body
        segment.length += 4 + len(body)
        segment.live += 1
        return self._last << _PLACE_BITS | at

    def _open(self) -> _Segment:
        before = self._segments.get(self._last)
        if before is not None:
            self._write(before)
            if not before.live:
                self._close(self._last)
        self._last += 1
        try:
            descriptor, path = tempfile.mkstemp(prefix="clientip-", dir=self._folder)
            os.unlink(path)  # noqa: PTH108 - the file lives as long as it is open
        except OSError as error:
            raise SinkError(f"stream.spool: {error.strerror}: {error.filename}", retry=True) from error
        segment = self._segments[self._last] = _Segment(descriptor)
        return segment

    def flush(self) -> None:
        """Write the questions in memory to the disk, if they are many; to be called after every turn."""
        segment = self._segments.get(self._last)
        if segment is None or not segment.buffer:
            return
        if not segment.live:  # no reference to any of it is left
            segment.buffer.clear()
            segment.length = segment.written
        elif len(segment.buffer) >= BUFFER_BYTES:
            self._write(segment)

    def _write(self, segment: _Segment) -> None:
        data = memoryview(segment.buffer)
        try:
            while data:
                count = os.pwrite(segment.descriptor, data, segment.written)
                segment.written, data = segment.written + count, data[count:]
        except OSError as error:
            raise SinkError(f"stream.spool: {error.strerror}", retry=True) from error
        data.release()
        segment.buffer = bytearray()

    def get(self, reference: int) -> QuestionItem:
        """The question again."""
        segment, at = self._segments[reference >> _PLACE_BITS], reference & ((1 << _PLACE_BITS) - 1)
        if at >= segment.written:
            first = at - segment.written + 4
            length = int.from_bytes(segment.buffer[first - 4 : first], "little")
            return _DECODE(segment.buffer[first : first + length])
        head = os.pread(segment.descriptor, 4096, at)
        length = int.from_bytes(head[:4], "little")
        body = head[4 : 4 + length]
        return _DECODE(body if len(body) == length else os.pread(segment.descriptor, length, at + 4))

    def drop(self, reference: int) -> None:
        """Forget a question."""
        number = reference >> _PLACE_BITS
        segment = self._segments[number]
        segment.live -= 1
        if not segment.live and number != self._last:
            self._close(number)

    def _close(self, number: int) -> None:
        os.close(self._segments.pop(number).descriptor)

    def close(self) -> None:
        """Delete all files."""
        for number in list(self._segments):
            self._close(number)
