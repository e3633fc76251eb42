"""The manual is true: its commands run, its targets exist, it keeps its length."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"^ *```sh\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place that looks like the root of a clone, where commands may write."""
    for name in ("deploy", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "build").mkdir()
    return tmp_path


@pytest.mark.parametrize("block", BLOCKS)
def test_the_commands_of_the_manual_run(block: str, folder: Path) -> None:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env=os.environ | {"PATH": programs},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_manual_shows_commands_that_are_run() -> None:
    commands = {"init", "check", "replay", "explain", "resolve", "read"}
    assert {word for word in commands if f"clientip {word}" in " ".join(BLOCKS)} == commands


def test_every_make_target_the_documents_name_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"make ([a-z-]+)`", README + (ROOT / "ARCHITECTURE.md").read_text()))
    named |= set(re.findall(r"^    make ([a-z-]+)", README, re.MULTILINE))
    assert [target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_documents_keep_their_length() -> None:
    assert README.count("\n") <= 500
    assert (ROOT / "ARCHITECTURE.md").read_text().count("\n") <= 300
