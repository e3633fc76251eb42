"""Parts in order → the files of the result, so that a kill at any moment costs nothing.

The length of every part stands in the manifest, so where part k begins in the result is known.
Parts are removed from the first on, and only when the disk has what was copied of them.  After a
kill, the first part that is still there says how much of the draft counts; the rest of it is cut off.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from io import FileIO
from itertools import accumulate
from pathlib import Path
from typing import Final

from clientip.edges.disk.parts import part_path, sync_folder, told
from clientip.errors import SinkError

SYNC_BYTES: Final = 256 * 1024 * 1024  # copied between two waits for the disk; also the room needed beside the parts
_NO_KERNEL_COPY: Final = frozenset({errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP})


def merge(parts: Path, name: str, lengths: Sequence[int], result: Path) -> None:
    """Join the parts called `name` into `result` and remove them; go on where a killed merge stopped."""
    with told(result):
        if result.exists():
            return
        begins = [0, *accumulate(lengths)]
        first = next((k for k in range(len(lengths)) if part_path(parts, k, name).exists()), len(lengths))
        draft = result.with_name(result.name + ".partial")
        draft.touch()
        with draft.open("r+b", buffering=0) as out:
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
