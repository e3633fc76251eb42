"""The peer of the whole replay, run as a program: a file of lines through VRL into another file.

`python -m benchmarks.peer_vrl_replay CASE IN OUT`
"""

from __future__ import annotations

import sys
from pathlib import Path

from pyvrl import Transform

from benchmarks.cases import CASES


def main(name: str, source: str, target: str) -> None:
    """Read, transform, write; buffers as large as the replay's."""
    program = next(case.vrl for case in CASES if case.name == name)
    remap = Transform(program).remap
    with Path(source).open("rb", buffering=1 << 20) as lines, Path(target).open("wb", buffering=1 << 20) as out:
        for line in lines:
            out.write(str(remap({"message": line.rstrip(b"\n").decode()})).encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
