"""The files a run writes: one part per chunk and output, safe on disk before it counts; then the results.

The length of every part stands in the manifest, so where part k begins in the result is known.  Parts are removed
from the first on, and only when the disk has what was copied of them.  After a kill, the first part that is still
there says how much of the draft counts; the rest of it is cut off.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedWriter, FileIO
from itertools import accumulate, chain
from pathlib import Path
from typing import Final, Literal

from clientip.edges.disk.compression import Compression, packer_of
from clientip.errors import SinkError

RESULT_MODE: Final = 0o640  # of all files that a run makes: they say who did what
SYNC_BYTES: Final = 256 * 1024 * 1024  # copied between two waits for the disk; also the room needed beside the parts
_NO_KERNEL_COPY: Final = frozenset({errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP})


class PartFile:
    """One output of one chunk: compressed on the way, safe on disk when closed."""

    def __init__(self, path: Path, compress: Compression) -> None:
        self._path, self.length = path, 0
        self._file = opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._packer = packer_of(compress)

    def write(self, data: bytes) -> None:
        """All of it, or SinkError."""
        self._put(data if self._packer is None else self._packer.compress(data))

    def close(self) -> None:
        """End the member and wait until the disk has it."""
        if self._packer is not None:
            self._put(self._packer.flush())
        with disk_faults("write", self._path):
            os.fsync(self._file.fileno())
            self._file.close()

    def drop(self) -> None:
        """Leave nothing behind."""
        with disk_faults("write", self._path):
            self._file.close()
            self._path.unlink()

    def _put(self, data: bytes) -> None:
        self.length += len(data)
        with disk_faults("write", self._path):
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]


def opened(path: Path, flags: int) -> FileIO:
    """A file of ours, not buffered: never through a link, and readable for the owner's group at most."""
    mode = "rb+" if flags & os.O_ACCMODE == os.O_RDWR else "ab" if flags & os.O_APPEND else "wb"
    return FileIO(os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, RESULT_MODE), mode)


def refuse_strangers(folder: Path, inner: str) -> None:
    """SinkError for a folder of another user that is not empty, and for links in it and in its folder `inner`.

    Who made the folder could have other files of ours written to through it.  In a folder of another user, as volumes
    of containers are, everything must be ours: it was written before.
    """
    with disk_faults("read", folder):
        own = folder.stat().st_uid == os.geteuid()
        for each in chain(folder.iterdir(), (folder / inner).glob("*")):
            status = each.lstat()
            if stat.S_ISLNK(status.st_mode):
                raise SinkError(f"{each} is a link: name another folder, or remove it", retry=False)
            if not own and (status.st_uid != os.geteuid() or (stat.S_ISREG(status.st_mode) and status.st_nlink > 1)):
                text = f"{folder} belongs to another user, and holds {each.name}: name an empty folder, or your own"
                raise SinkError(text, retry=False)


@contextmanager
def disk_faults(tried: Literal["read", "write", "remove"], path: Path) -> Iterator[None]:
    """Faults of the disk as SinkError that says what was tried."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"disk full: {path.parent}; make room, then run the same command again"
            raise SinkError(text, retry=True) from error
        raise SinkError(f"cannot {tried} {path}: {error.strerror}", retry=False) from error


def part_path(folder: Path, chunk: int, name: str) -> Path:
    """Where the finished part of a chunk lies; `.tmp` files beside it are not finished."""
    return folder / f"{chunk:08}.{name}"


def temporary(folder: Path, chunk: int, name: str, process_id: int) -> Path:
    """A name no other process writes to, not even one left over from a killed run."""
    path = part_path(folder, chunk, name)
    return path.with_name(f"{path.name}.{process_id}.tmp")


def adopt(folder: Path, unit: int, names: Iterable[str], process_id: int) -> None:
    """Give a finished task's parts their names, and wait until the disk has them."""
    with disk_faults("write", folder):
        for name in names:
            temporary(folder, unit, name, process_id).replace(part_path(folder, unit, name))
    sync_folder(folder)


def remove_parts(folder: Path, units: Iterable[int], names: Sequence[str]) -> None:
    """Remove parts, whether they are there or not."""
    with disk_faults("remove", folder):
        for unit in units:
            for name in names:
                part_path(folder, unit, name).unlink(missing_ok=True)


def append_line(path: Path, line: bytes) -> None:
    """One more line of a list, safe on disk."""
    with disk_faults("write", path), BufferedWriter(opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)) as file:
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def whole_lines(path: Path) -> list[bytes]:
    """The lines of such a list; a last one that a kill cut short is cut off."""
    with disk_faults("read", path):
        if not path.exists():
            return []
        with opened(path, os.O_RDWR) as file:
            whole = file.readall()
            whole = whole[: whole.rfind(b"\n") + 1]
            file.truncate(len(whole))
    return whole.splitlines()


def replace_file(path: Path, data: bytes) -> None:
    """Write a small file so that it is there whole or not at all."""
    with disk_faults("write", path):
        draft = path.with_name(path.name + ".tmp")
        draft.unlink(missing_ok=True)
        with BufferedWriter(opened(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder."""
    with disk_faults("write", folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def merge(parts: Path, name: str, lengths: Sequence[int], result: Path) -> None:
    """Join the parts called `name` into `result` and remove them; go on where a killed merge stopped."""
    with disk_faults("write", result):
        if result.exists():
            return
        begins = [0, *accumulate(lengths)]
        first = next((k for k in range(len(lengths)) if part_path(parts, k, name).exists()), len(lengths))
        draft = result.with_name(result.name + ".partial")
        with opened(draft, os.O_RDWR | os.O_CREAT) as out:
            if os.fstat(out.fileno()).st_size < begins[first]:
                raise SinkError(f"parts are missing in {parts}; use --restart", retry=False)
            out.truncate(begins[first])
            out.seek(begins[first])
            _append_all(parts, name, lengths, first, out)
        draft.replace(result)
    sync_folder(result.parent)


def _append_all(parts: Path, name: str, lengths: Sequence[int], first: int, out: FileIO) -> None:
    pending: list[Path] = []
    copied = 0
    for number in range(first, len(lengths)):
        part = part_path(parts, number, name)
        _append(part, lengths[number], out)
        pending.append(part)
        copied += lengths[number]
        if copied >= SYNC_BYTES:
            _settle(out, pending)
            copied = 0
    _settle(out, pending)


def _settle(out: FileIO, pending: list[Path]) -> None:
    os.fsync(out.fileno())
    while pending:
        pending.pop(0).unlink()


def _append(part: Path, length: int, out: FileIO) -> None:
    with part.open("rb") as source:
        if os.fstat(source.fileno()).st_size != length:
            raise SinkError(f"{part} has another length than when it was finished; use --restart", retry=False)
        try:
            while os.copy_file_range(source.fileno(), out.fileno(), length):
                pass
        except OSError as error:
            if error.errno not in _NO_KERNEL_COPY:
                raise
            shutil.copyfileobj(source, out, 1024 * 1024)
