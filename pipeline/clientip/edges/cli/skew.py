"""`clientip check --skew`: how far the clocks of the configured logs lie apart, measured on what both sides show.

A report for who writes `max_skew`; nothing that is measured here decides about a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from clientip.diagnose.clock_skew import Measuring, Offset, Writer
from clientip.edges.replay.outcomes import outcomes_of
from clientip.edges.replay.plan import Plan, Request
from clientip.edges.replay.run import plan_of
from clientip.engine import Engine, build
from clientip.joins.inquiry import Open
from clientip.joins.join import Joining
from clientip.model import Record
from clientip.settings import Settings
from clientip.syntax.terminals import printable

MAX_HOPS: Final = 4  # connections one behind the other
_MILLISECOND: Final = 1_000_000


class Skews(Struct, frozen=True):
    """What was measured, per pair of logs."""

    offsets: tuple[Offset, ...]
    sampled: bool

    @property
    def code(self) -> int:
        """Exit code: 1 where two clocks lie further apart than the configuration allows for."""
        return 0 if all(each.covered for each in self.offsets) else 1


def measure(settings: Settings, request: Request, warn: Callable[[str], None]) -> Skews:
    """Read all inputs of the request, once for the questions and once for every hop of answers.

    Errors: ConfigError if there are no inputs, SinkError if one cannot be read to its end.
    """
    engine, plan = build(settings), plan_of(request, settings, warn)
    skews = {name: source.setup.max_skew_ns for name, source in engine.sources.items()}
    measuring = Measuring(engine.graph.systems, skews, settings.joins.tolerance_ns)
    joining = Joining(engine.graph, settings.joins)
    _ask(engine, plan, joining, measuring)
    for _ in range(MAX_HOPS):
        for outcome in outcomes_of(engine, plan):
            for fact in joining.witnesses.facts(outcome):
                measuring.tell(fact)
        if not measuring.conclude():
            break
    return Skews(tuple(measuring.offsets()), measuring.sampled)


def _ask(engine: Engine, plan: Plan, joining: Joining, measuring: Measuring) -> None:
    for outcome in outcomes_of(engine, plan):
        begun = joining.begin(outcome) if isinstance(outcome, Record) else None
        if isinstance(begun, Open):
            measuring.ask(begun.question)


def report_text(skews: Skews) -> str:
    """The report for a terminal, ending with a line end."""
    lines = [line for each in skews.offsets for line in _pair(each)]
    if not lines:
        lines.append("nothing to measure: no connection is shown by two logs with both its ends")
    if skews.sampled:
        lines.append("measured on an even sample of the connections: there are too many to keep")
    return "".join(f"{printable(line)}\n" for line in lines)


def _pair(each: Offset) -> Iterator[str]:
    connections = "1 connection" if each.matches == 1 else f"{each.matches:,} connections"
    apart = f", {each.apart:,} of them left out as not the same" if each.apart else ""
    yield f"{_name(each.asker)} against {_name(each.witness)}: {connections}{apart}"
    moved = "the clocks drift, by at least" if each.drifts else "within"
    yield (
        f"  offset about {_milliseconds(each.estimate)}, {moved} "
        f"{_milliseconds(each.smallest)} to {_milliseconds(each.largest)}"
    )
    allowed = f"the configuration allows {_milliseconds(each.configured)} (`max_skew` of both, and `tolerance`)"
    if each.covered:
        yield f'  {allowed}: enough; max_skew = "{each.suggestion}" of one of them would do'
        return
    yield f"  {allowed}: too little; write for the one whose clock is wrong, {_either(each)}:"
    yield f'    max_skew = "{each.suggestion}"'


def _either(each: Offset) -> str:
    names = dict.fromkeys((each.asker[0], each.witness[0]))
    return " or ".join(f"[systems.{name}]" for name in names)


def _name(writer: Writer) -> str:
    system, instance = writer
    return f"{system}/{instance}" if instance else system


def _milliseconds(ns: int) -> str:
    """
    >>> _milliseconds(-1_234_567)
    '-1.235 ms'
    """
    return f"{ns / _MILLISECOND:,.3f} ms"
