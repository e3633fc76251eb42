"""The repository's pages as their readers use them: a fresh clone, and the blocks of a page one after the other.

The first line of a block may be a comment. It is the reader's, too:

    # clientip.toml            a file to write
    # as root                  the whole page happens in a network namespace of its own
    # starts a server          the same, because of its port
    # needs the network        so that packages can be fetched
    # runs until Ctrl-C        goes on beside the blocks that follow
    # in another terminal      tried again until the one that goes on has come so far
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.worlds.patience import LIMIT_S, until

ROOT = Path(__file__).parents[2]
RECORDED = "tests/golden/"  # pages that `make record` writes

NEEDS = ("as root", "starts a server", "needs the network", "runs until Ctrl-C", "in another terminal")

_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>[a-z]*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


class Block(NamedTuple):
    """One fence."""

    kind: str
    text: str

    @property
    def note(self) -> str:
        """Its first line, if that is a comment."""
        first = self.text.partition("\n")[0]
        return first.removeprefix("# ") if first.startswith("# ") else ""

    @property
    def needs(self) -> frozenset[str]:
        """What it needs beside a clone."""
        return frozenset(need for need in NEEDS if self.kind == "sh" and need in self.note)

    def missing_in(self, printed: str) -> str:
        """The first piece that was not printed; `…` in the block stands for anything."""
        text, place = " ".join(printed.split()), 0
        for piece in (" ".join(each.split()) for each in self.text.split("…")):
            place = text.find(piece, place)
            if place < 0:
                return piece
            place += len(piece)
        return ""


class Page(NamedTuple):
    """One page by its path in the repository."""

    path: str
    text: str

    @property
    def blocks(self) -> list[Block]:
        return [
            Block(found["kind"], re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE))
            for found in _FENCE.finditer(self.text)
        ]

    @property
    def prose(self) -> str:
        """Everything outside of the fences."""
        return _FENCE.sub("", self.text)

    @property
    def words(self) -> str:
        """The prose without code, and without where links lead."""
        return _INLINE.sub("", re.sub(r"\]\([^)]*\)", "]", self.prose))

    @property
    def inline(self) -> list[str]:
        """What stands between backticks."""
        return _INLINE.findall(self.prose)

    @property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """The anchors of its headings, as code forges make them."""
        heads = _HEADING.findall(self.prose)
        return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def pages() -> Iterator[Page]:
    """Every page of the repository that people write."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for path in sorted(set(listed.stdout.split())):
        if not path.startswith(RECORDED) and (ROOT / path).exists():
            yield Page(path, (ROOT / path).read_text())


def clone(folder: Path) -> Path:
    """A fresh clone, with the changes that are not committed yet."""
    made = folder / "clientip"
    subprocess.run(["git", "clone", "--quiet", ROOT, made], check=True)
    changes = subprocess.run(["git", "diff", "--binary", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["git", "apply", "--allow-empty"], cwd=made, input=changes, check=True)
    return made


def environment() -> dict[str, str]:
    """That of a reader who has installed the program."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def shell(text: str, inside: Sequence[str] = ()) -> list[str]:
    """The call that runs a block up to its first failure; `inside`: the call that leads to where it happens."""
    return [*inside, "bash", "-euo", "pipefail", "-c", text]


def follow(block: Block, folder: Path, inside: Sequence[str] = ()) -> str:
    """Run a block, or write the file that it names; what it printed."""
    if block.kind == "toml":
        if block.note.endswith(".toml"):
            (folder / block.note).write_text(block.text)
        return ""
    done = subprocess.run(
        shell(block.text, inside),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def read_on(blocks: Sequence[Block], folder: Path, *, edges: bool) -> None:
    """Do what a page says, in its order, with or without what needs more than a clone; what it shows as printed must
    have been. What runs until Ctrl-C is ended with the page."""
    apart = edges and any(block.needs - {"needs the network"} for block in blocks)
    with ExitStack() as running:
        inside, printed = _namespace(running) if apart else (), None
        for block in blocks:
            if block.kind not in ("sh", "toml"):
                missing = "" if printed is None else block.missing_in(printed)
                assert not missing, f"{missing!r} is not in:\n{printed}"
                continue
            printed = None
            if "runs until Ctrl-C" in block.needs and edges:
                _start(block, folder, inside, running)
            elif "in another terminal" in block.needs and edges:
                _until_it_works(block, folder, inside)
            elif edges or not block.needs:
                printed = follow(block, folder, () if "needs the network" in block.needs else inside)


def _namespace(running: ExitStack) -> list[str]:
    """The call that leads into a new network namespace, in which every port is free."""
    script = "ip link set lo up && echo up && exec sleep infinity"
    keeper = running.enter_context(
        subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
    )
    running.callback(keeper.kill)
    assert keeper.stdout is not None
    assert keeper.stdout.readline() == "up\n"
    return ["nsenter", f"--net=/proc/{keeper.pid}/ns/net"]


def _start(block: Block, folder: Path, inside: Sequence[str], running: ExitStack) -> None:
    process = subprocess.Popen(
        shell(block.text, inside), cwd=folder, env=environment(), stdin=subprocess.DEVNULL, start_new_session=True
    )
    running.callback(_interrupt, process)


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C, as a terminal sends it: to all that the block has started."""
    assert process.poll() is None, "it ended by itself"
    os.killpg(process.pid, signal.SIGINT)
    process.wait(LIMIT_S)


def _until_it_works(block: Block, folder: Path, inside: Sequence[str]) -> None:
    said: list[AssertionError] = []

    def works() -> bool:
        try:
            follow(block, folder, inside)
        except AssertionError as error:
            said.append(error)
            return False
        return True

    until(works, lambda: said[-1], 0.2)
