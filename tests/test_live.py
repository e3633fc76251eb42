"""The real servers, started and asked now: the same answers as the committed recordings.

Needs root, network namespaces and the servers of `setup.sh`; `make test` installs them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.worlds.recordings import GOLDEN, Recording, expected


@pytest.mark.edge
def test_servers_asked_now_give_what_the_recordings_gave(tmp_path: Path) -> None:
    subprocess.run([sys.executable, GOLDEN / "record.py", "--to", tmp_path / "logs"], check=True, timeout=900)
    live = Recording(tmp_path / "logs")
    assert live.wrong() == []
    gives, before = live.gives(), expected()
    # A line may come under another request's number only where the request left no label in it.
    assert {key: gives.get(key) for key in before} == before
