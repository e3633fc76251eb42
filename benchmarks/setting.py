"""A case made ready: the engine its configuration describes, and the VRL program compiled."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson
from clientip.config import load as config
from clientip.engine import Engine, build
from clientip.formats import FORMATS
from clientip.model import Line, Reader, Record
from clientip.outputs import OUTPUTS
from pyvrl import Transform

from benchmarks.cases import Case
from benchmarks.lines import lines

Work = Callable[[], object]


class Setting(NamedTuple):
    """Everything a stage needs."""

    case: Case
    engine: Engine
    reader: Reader
    rules: str
    remap: Callable[[dict[str, object]], object]


def make_ready(case: Case) -> Setting:
    """Compile both sides."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clientip.toml")
        path.write_text(case.config)
        settings = config.load([path])
    engine = build(settings)
    setup = engine.sources["web"].setup
    return Setting(case, engine, FORMATS[setup.format].compile(setup), settings.rules, Transform(case.vrl).remap)


def framed(raw: Sequence[bytes]) -> list[Line]:
    """Lines as the replay would hand them to the engine."""
    offset, done = 0, []
    for text in raw:
        done.append(Line(text, text, "benchmark", offset))
        offset += len(text) + 1
    return done


def records(setting: Setting, raw: Sequence[bytes]) -> list[Record]:
    """The records of lines that must all be records."""
    feed = setting.engine.reading("web").feed
    outcomes = [outcome for line in framed(raw) for outcome in feed(line)]
    done = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    assert len(done) == len(raw), next(outcome for outcome in outcomes if not isinstance(outcome, Record))
    return done


def check_agreement(setting: Setting) -> None:
    """Both sides must name the same client for every line, or the comparison would be of different work."""
    raw = lines(setting.case.write, 999, 500)
    for record, text in zip(records(setting, raw), raw, strict=True):
        ours = orjson.loads(OUTPUTS["enriched"](record, setting.rules))["clientip"]
        theirs = orjson.loads(str(setting.remap({"message": text.decode()})))["clientip"]
        assert ours["client"]["ip"] == theirs["client"]["ip"], text
