"""The recorded logs of the lab as inputs of core tests: what is in a folder, read once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from clientip.config import load as config
from clientip.edges.replay.outcomes import outcomes_of
from clientip.edges.replay.plan import Request
from clientip.edges.replay.run import plan_of
from clientip.engine import Engine, build
from clientip.joins.join import Joining, settle
from clientip.model import Outcome, Record
from clientip.settings import Settings
from msgspec import Struct

from tests.worlds.patience import LIMIT_S

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests/lab/recorded"
NAMES = sorted(path.name for path in RECORDED.iterdir() if (path / "clientip.toml").exists())


class Logs(Struct, frozen=True):
    """One folder: its configuration, what the engine makes of its lines, and how the joins end them."""

    settings: Settings
    engine: Engine
    outcomes: tuple[Outcome, ...]
    ended: dict[str, Record]

    @property
    def joining(self) -> Joining:
        return Joining(self.engine.graph, self.settings.joins)

    @property
    def records(self) -> list[Record]:
        return [each for each in self.outcomes if isinstance(each, Record)]


@cache
def logs(name: str) -> Logs:
    place = RECORDED / name / "clientip.toml"
    settings = config.load([place])
    engine, plan = build(settings), plan_of(Request((place,)), settings, lambda _: None)
    outcomes = tuple(outcomes_of(engine, plan))
    ended = settle(Joining(engine.graph, settings.joins), outcomes)
    return Logs(settings, engine, outcomes, {each.record_id: each for each in ended if isinstance(each, Record)})


def app_lines(name: str) -> list[dict[str, Any]]:
    """The application's lines, as JSON objects."""
    [path] = (RECORDED / name / "app").glob("*.log")
    return [json.loads(line) for line in path.read_text().splitlines()]


def clientip(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in this folder."""
    main = [sys.executable, "-c", "from clientip.edges.cli.main import main; main()"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*main, *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=folder, env=environment
    )
