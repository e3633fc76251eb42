"""`clientip check`: do hops write the headers that they promise to write, as far as two logs show it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from clientip.engine import Engine
from clientip.joins.join import settle
from clientip.model import Outcome, Record

_FINDING: Final = "promise_broken"


class BrokenPromise(Struct, frozen=True):
    """A hop that does not write what the configuration says, and who heard it."""

    system: str
    hop: str
    headers: tuple[str, ...]  # those that the hop promises
    lines: int  # of `system`, in the sample, whose client the log of `hop` contradicts


def broken_promises(engine: Engine, outcomes: Iterable[Outcome]) -> tuple[BrokenPromise, ...]:
    """The promises that lines of both sides contradict; `engine` holds promises to the logs."""
    joining = engine.joining
    if joining is None or not joining.active:
        return ()
    found = Counter[tuple[str, str]]()
    for outcome in settle(joining, outcomes):
        if isinstance(outcome, Record) and _FINDING in outcome.resolution.findings:
            hop = outcome.resolution.stopped_at
            assert hop is not None
            found[outcome.observation.setup.system, hop] += 1
    drawn = engine.graph.systems
    return tuple(
        BrokenPromise(system, hop, tuple(each.source for each in drawn[hop].conveys), lines)
        for (system, hop), lines in sorted(found.items())
    )


def report_lines(broken: Iterable[BrokenPromise]) -> Iterator[str]:
    """The lines of the report."""
    for each in broken:
        count = "1 line" if each.lines == 1 else f"{each.lines:,} lines"
        headers = ", ".join(each.headers)
        yield (
            f"promise broken: {each.system} was told another client in {headers} than the log of {each.hop} shows "
            f"({count} of the sample): draw what {each.hop} does with the header, see `clientip help presets`"
        )
