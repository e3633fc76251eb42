"""Framing: every byte is in exactly one frame, whatever the block borders and the compression."""

from __future__ import annotations

import bz2
import gzip
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from clientip.edges.disk.compression import packing_of, unpacked
from clientip.edges.disk.files import (
    BLANK_BYTES,
    BLANK_SHARE,
    BLOCK_BYTES,
    LENGTH,
    Block,
    Broken,
    Frame,
    RefusedFrame,
    before,
    beginning,
    lines,
    messages,
    with_few_blanks,
)
from hypothesis import given
from hypothesis import strategies as st

PACK = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress, "bzip2": bz2.compress}


def blocks_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def blanks_of(block: Block) -> list[tuple[int, bytes, str | None]]:
    """The blank lines that came uncut, cut as the definition of a line says."""
    if block.step == LENGTH:
        assert not block.blanks.strip(b"\0")
        return [(block.offset + at, b"", None) for at in range(0, len(block.blanks), LENGTH)]
    assert not block.blanks.strip()
    return [(block.offset + at, line, reason) for at, line, reason in expected(block.blanks, len(block.blanks))]


def placed(frames: Iterator[Frame]) -> list[tuple[int, bytes, str | None]]:
    found: list[tuple[int, bytes, str | None]] = []
    for frame in frames:
        if isinstance(frame, Block):
            assert not (frame.lines and frame.blanks)
            blank = blanks_of(frame)
            assert frame.total == len(frame.lines) + len(blank)
            found += [(offset, line, None) for line, offset in frame.placed()] + blank
        elif isinstance(frame, RefusedFrame):
            found.append((frame.offset, frame.head, f"{frame.reason} {frame.detail}"))
        else:
            found.append((-1, b"", frame.text))
    return found


def expected(data: bytes, limit: int) -> list[tuple[int, bytes, str | None]]:
    """The definition of a line, written without any regard to memory."""
    found: list[tuple[int, bytes, str | None]] = []
    offset = 0
    for raw in data.split(b"\n") if data else []:
        if offset < len(data):
            if len(raw) > limit:
                found.append((offset, raw[:limit], f"too_long {len(raw)} bytes"))
            else:
                found.append((offset, raw.removesuffix(b"\r"), None))
        offset += len(raw) + 1
    return found


TEXT = st.lists(
    st.sampled_from([b"a", b"bcd", b"\n", b"\n" * 5, b" \n", b"\r", b"\r\n", b" ", b"\0", b"x" * 9]), max_size=40
).map(b"".join)


@given(TEXT, st.integers(1, 12))
def test_lines_are_the_same_whatever_the_block_borders(data: bytes, size: int) -> None:
    assert placed(lines(blocks_of(data, size), 0, 12)) == expected(data, 12)


@given(TEXT, st.integers(1, 12), st.integers(1, 50))
def test_chunks_share_all_lines_among_them(data: bytes, size: int, step: int) -> None:
    found = []
    for start in range(0, max(1, len(data)), step):
        first = max(0, start - 1)
        frames = lines(blocks_of(data[first:], size), first, 12, inside=start > 0)
        found += placed(before(frames, start + step))
    assert found == expected(data, 12)


@given(st.lists(st.one_of(st.just(b""), st.binary(max_size=30)), max_size=20), st.integers(1, 12))
def test_messages_are_the_same_whatever_the_block_borders(parts: list[bytes], size: int) -> None:
    data = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    found = placed(messages(blocks_of(data, size), 0, 12))
    offset, wanted = 0, []
    for part in parts:
        reason = f"too_long {len(part)} bytes" if len(part) > 12 else None
        wanted.append((offset, part[:12], reason))
        offset += 4 + len(part)
    assert found == wanted


@given(st.binary(min_size=1, max_size=30), st.integers(1, 12), st.data())
def test_a_message_cut_short_is_refused(part: bytes, size: int, data: st.DataObject) -> None:
    whole = len(part).to_bytes(4, "big") + part
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    *_, last = placed(messages(blocks_of(cut, size), 0, 12))
    assert last[2] == "truncated None" or last[2] == f"too_long {len(part)} bytes"


@pytest.mark.parametrize("packing", PACK)
@given(st.lists(TEXT, min_size=1, max_size=3), st.integers(1, 100))
def test_compressed_members_read_as_one(packing: str, parts: list[bytes], size: int) -> None:
    packed = b"".join(map(PACK[packing], parts))
    assert packing_of(packed) == packing
    pieces = list(unpacked(blocks_of(packed, size), packing, 7))
    assert b"".join(pieces) == b"".join(parts)
    assert all(len(piece) <= 7 for piece in pieces)


@pytest.mark.parametrize("packing", PACK)
def test_a_truncated_file_gives_its_lines_and_then_says_so(packing: str) -> None:
    text = b"".join(b"line %d %d\n" % (number, number * 7919 % 10007) for number in range(60000))
    packed = PACK[packing](text)
    for length in (len(packed) // 2, len(packed) - 1):
        found = list(lines(unpacked(blocks_of(packed[:length], 1000), packing, BLOCK_BYTES), 0, BLOCK_BYTES))
        assert found[-1] == Broken("the compressed data ends too early")
        read = [line for frame in found if isinstance(frame, Block) for line in frame.lines]
        assert read == text.splitlines()[: len(read)]
        if length > len(packed) // 2 and packing != "bzip2":
            assert read


@pytest.mark.parametrize("packing", PACK)
def test_damage_in_the_middle_is_told(packing: str) -> None:
    packed = bytearray(PACK[packing](b"some line of text\n" * 50_000))
    packed[len(packed) // 2] ^= 0xFF
    packed[len(packed) // 2 + 1] ^= 0xFF
    found = list(lines(unpacked([bytes(packed)], packing, BLOCK_BYTES), 0, BLOCK_BYTES))
    assert isinstance(found[-1], Broken)


def test_zeros_between_gzip_members_are_padding_and_anything_else_is_damage() -> None:
    one = gzip.compress(b"a\n")
    assert placed(lines(unpacked([one + b"\0" * 100 + one], "gzip", 9), 0, 9)) == [(0, b"a", None), (2, b"a", None)]
    assert placed(lines(unpacked([one + b"rubbish"], "gzip", 9), 0, 9))[-1][2].startswith("damaged")


@pytest.mark.parametrize("packing", PACK)
def test_the_beginning_is_the_same_before_and_after_compression(packing: str, tmp_path: Path) -> None:
    text = b"".join(b"line %d\n" % number for number in range(5000))
    plain, packed = tmp_path / "a.log", tmp_path / "a.log.packed"
    plain.write_bytes(text)
    packed.write_bytes(PACK[packing](text))
    assert beginning(str(plain), 1024) == (text[:1024], "")
    assert beginning(str(packed), 1024) == (text[:1024], packing)


BOMB = """
import sys
from clientip.edges.disk.compression import unpacked
from clientip.edges.disk.files import BLOCK_BYTES, PACKED_BLOCK_BYTES, lines
packed = open(sys.argv[1], "rb")
blocks = iter(lambda: packed.read(PACKED_BLOCK_BYTES), b"")
frames = list(lines(unpacked(blocks, sys.argv[2], BLOCK_BYTES), 0, 1 << 20))
assert [frame.reason for frame in frames] == ["too_long"], frames
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("blank", [b"\n", b" \n", b"\r\n", b"\t \n\n"])
def test_blank_lines_are_counted_without_being_cut(blank: bytes) -> None:
    data = b"first\n" + blank * 100_000 + b"last\n"
    frames = list(lines(blocks_of(data, BLOCK_BYTES), 0, BLOCK_BYTES))
    assert sum(frame.total for frame in frames if isinstance(frame, Block)) == data.count(b"\n")
    assert [line for frame in frames if isinstance(frame, Block) for line in frame.lines if line.strip()] == [
        b"first",
        b"last",
    ]
    assert sum(len(frame.lines) for frame in frames if isinstance(frame, Block)) < 20


def test_far_more_blank_lines_than_bytes_on_disk_end_an_input() -> None:
    def unpacked_for_ever() -> Iterator[bytes]:
        while True:
            yield b"\n" * BLOCK_BYTES

    frames = list(with_few_blanks(lines(unpacked_for_ever(), 0, BLOCK_BYTES), lambda: 100))
    assert isinstance(frames[-1], Broken)
    total = sum(frame.total for frame in frames if isinstance(frame, Block))
    assert BLANK_BYTES + 100 * BLANK_SHARE - BLOCK_BYTES <= total <= BLANK_BYTES + 100 * BLANK_SHARE


def test_as_many_blank_lines_as_bytes_on_disk_end_nothing() -> None:
    data, read = b"\n" * BLOCK_BYTES, [0]

    def plain() -> Iterator[bytes]:
        for _ in range(2 * BLANK_BYTES // BLOCK_BYTES):
            read[0] += BLOCK_BYTES
            yield data

    frames = with_few_blanks(lines(plain(), 0, BLOCK_BYTES), lambda: read[0])
    assert not any(isinstance(frame, Broken) for frame in frames)


def test_empty_messages_are_counted_without_being_cut() -> None:
    data = bytes(4 * 100_000) + b"\0\0\0\1x" + bytes(4)
    frames = list(messages(blocks_of(data, BLOCK_BYTES), 0, BLOCK_BYTES))
    assert sum(frame.total for frame in frames if isinstance(frame, Block)) == 100_002
    assert [line for frame in frames if isinstance(frame, Block) for line in frame.lines if line] == [b"x"]
    assert len(frames) < 20


@pytest.mark.parametrize("packing", PACK)
def test_a_bomb_of_one_endless_line_stays_in_flat_memory(packing: str, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    bomb.write_bytes(PACK[packing](b"x" * (1 << 28)))
    run = subprocess.run([sys.executable, "-c", BOMB, bomb, packing], check=True, stdout=subprocess.PIPE)
    assert int(run.stdout) < 100 * 1024  # kB
