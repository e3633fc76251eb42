"""The program, made to stand still at a moment of its own that a test names: when it next touches the disk after a file
is there with so many lines.  Then it is killed, stopped or let go on; nothing depends on how fast anything runs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.worlds.patience import LIMIT_S, until

_PROGRAM = """
import os, sys, threading, time
from pathlib import Path

still, file, lines, more = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
del sys.argv[1:5]
process, thread, looking = os.getpid(), threading.get_ident(), False

def look(event, _):  # its children are not held
    global looking, more
    if event not in ("open", "os.rename", "os.remove", "os.mkdir"):
        return
    if looking or os.getpid() != process or threading.get_ident() != thread:
        return
    looking = True
    if more == 0:
        still.touch()
        while still.exists():
            time.sleep(0.01)
        more = -1
    elif more > 0 and file.exists() and (lines == 0 or file.read_bytes().count(b"\\n") >= lines):
        more -= 1
    looking = False

sys.addaudithook(look)
from clientip.edges.cli.main import main
main()
"""


class Moment(NamedTuple):
    """A file of the run's folder with so many lines; then so many touches of the disk more."""

    name: str
    lines: int = 0
    more: int = 1


class Standing:
    """One call of the program that stands still at a moment, if it comes there."""

    def __init__(self, folder: Path, moment: Moment, arguments: Sequence[str], **options: Any) -> None:
        """`folder`: where the moment's file will be; beside it a file says that the program stands still."""
        self._still = folder.with_name(f"{folder.name}.still")
        self._still.unlink(missing_ok=True)
        held = [str(self._still), str(folder / moment.name), str(moment.lines), str(moment.more)]
        self.process = subprocess.Popen([sys.executable, "-c", _PROGRAM, *held, *arguments], **options)
        until(lambda: self._still.exists() or self.process.poll() is not None)

    def stands(self) -> bool:
        """Whether it came there; otherwise it has ended."""
        return self._still.exists()

    def go_on(self) -> None:
        """Let it."""
        self._still.unlink()

    def end(self, number: int) -> int:
        """Send a signal; the exit code, 0 where it was done before."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT_S)
