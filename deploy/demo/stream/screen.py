"""How it looks: a screen of 100 × 40 characters, a line a second where there is no terminal, and the last words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deploy.demo.stream.counts import VERDICTS, Counts, Page, Shown

_COLOURS: Final = {"seen": "green", "vouched": "cyan", "joined": "blue", "internal": "magenta", "unknown": "yellow"}
_BAR: Final = 14
_ROWS: Final = 6


class View(NamedTuple):
    """Everything that is shown at one moment."""

    counts: Counts
    page: Page
    seconds: float  # since the first line was fed
    per_second: float  # records, of late
    metrics: str  # where the page is


def screen(view: View) -> RenderableType:
    """The whole screen."""
    head = Text.assemble(
        ("clientip stream", "bold"), f"   {view.metrics}   {view.seconds:.0f} s   ", ("Ctrl-C ends it", "dim")
    )
    counts, page = view.counts, view.page
    records = Panel(_shares(counts.verdicts, VERDICTS), title=_rate(view), title_align="left")
    methods = Panel(_top(counts.methods), title="how the client is known", title_align="left")
    reasons = Panel(_top(counts.reasons), title="why it is unknown", title_align="left")
    findings = Panel(_top(page.by("findings_total", "kind")), title="noticed on the way", title_align="left")
    return Group(
        head,
        _beside(records, methods),
        _beside(reasons, findings),
        _beside(Panel(_figures(page), title="the stream", title_align="left"), _truth(counts)),
        Panel(_last(counts.last), title="last records, one of each kind", title_align="left"),
    )


def line(view: View) -> str:
    """The same in one line."""
    counts, page = view.counts, view.page
    shares = " ".join(f"{verdict} {counts.verdicts[verdict]}" for verdict in VERDICTS)
    lag = f"lag {_lag(page, '')}, resume {_resume(page)}"
    held = f"open {page.total('questions_open'):.0f} facts {page.total('facts_held'):.0f}"
    wrong = counts.judgements["wrong"]
    return f"{view.seconds:4.0f} s  {view.per_second:.0f} records/s  {shares}  wrong {wrong}  {lag}  {held}"


def summary(view: View) -> str:
    """The last words."""
    counts = view.counts
    rows = [f"{counts.total} records in {view.seconds:.0f} s"]
    rows += [f"  {verdict:<9}{_share(counts.verdicts, verdict)}" for verdict in VERDICTS]
    rows += ["how the client is known"]
    rows += [f"  {name:<24}{_share(counts.methods, name)}" for name, _ in counts.methods.most_common()]
    rows += ["why it is unknown"]
    rows += [f"  {name:<24}{_share(counts.reasons, name)}" for name, _ in counts.reasons.most_common()]
    judged = counts.judgements
    rows += [
        f"compared with the truth: {judged['right']} right, {judged['wrong']} wrong, {judged['open']} without a client"
    ]
    rows += [f"  WRONG: {each.system} {each.verdict} {each.client} ({each.how})" for each in counts.wrong]
    return "\n".join(rows) + "\n"


def _beside(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(left, right)
    return grid


def _rate(view: View) -> str:
    return f"{view.counts.total:,} records, {view.per_second:,.0f} a second"


def _percent(counter: Counter[str], name: str) -> float:
    return 100 * counter[name] / max(1, counter.total())


def _share(counter: Counter[str], name: str) -> str:
    return f"{counter[name]:>9,} {_percent(counter, name):5.1f} %"


def _shares(counter: Counter[str], names: Iterable[str]) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    for name in names:
        colour = _COLOURS[name]
        bar = "█" * round(_BAR * _percent(counter, name) / 100)
        table.add_row(Text(name, colour), Text(f"{bar:<{_BAR}}", colour), Text(_share(counter, name), justify="right"))
    table.add_row("")
    return table


def _top(counter: Counter[str]) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    rows = counter.most_common(_ROWS)
    for name, _ in rows:
        table.add_row(name, Text(_share(counter, name), justify="right"))
    for _ in range(_ROWS - len(rows)):  # so that nothing jumps
        table.add_row("", "")
    return table


def _lag(page: Page, worker: str) -> str:
    messages = page.total("lag_processed_messages", topic=worker)
    return f"{messages:,.0f} messages, {page.most('lag_processed_time_seconds', topic=worker):.1f} s"


def _resume(page: Page) -> str:
    return f"{page.total('lag_resume_messages'):,.0f} messages, {page.most('lag_resume_time_seconds'):.1f} s"


def _delay(page: Page) -> str:
    half, most = (page.within("records_delay_seconds", share) for share in (0.5, 0.99))
    return "-" if half is None or most is None else f"50 % ≤ {half:g} s, 99 % ≤ {most:g} s"


def _figures(page: Page) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    rows = {
        "unread lines": _lag(page, "raw."),
        "unread join topic": f"{page.total('lag_processed_messages', topic='clientip.join.'):,.0f} messages",
        "re-read at a restart": _resume(page),
        "open questions": f"{page.total('questions_open'):,.0f}",
        "facts held": f"{page.total('facts_held'):,.0f} ({page.total('memory_held_bytes') / 1e6:.1f} MB)",
        "line to record": _delay(page),
    }
    for name, value in rows.items():
        table.add_row(name, Text(value, justify="right"))
    return table


def _truth(counts: Counts) -> Panel:
    wrong = counts.judgements["wrong"]
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_row(Text("right", "green"), Text(f"{counts.judgements['right']:,}", justify="right"))
    table.add_row(Text("without a client", "yellow"), Text(f"{counts.judgements['open']:,}", justify="right"))
    style = "bold red" if wrong else "green"
    table.add_row(Text("WRONG CLIENT" if wrong else "wrong", style), Text(f"{wrong:,}", style, justify="right"))
    notes = [Text("who sent each request was written down", "dim"), Text(""), Text("")]
    shown = [Text(f"{each.system}: {each.client} ({each.how})", "bold red") for each in list(counts.wrong)[-3:]]
    return Panel(Group(table, *(shown + notes)[:3]), title="compared with the truth", title_align="left")


def _last(records: Iterable[Shown]) -> Table:
    table = Table.grid(padding=(0, 2))
    for each in records:
        colour = "bold red" if each.wrong else _COLOURS[each.verdict]
        how = Text(each.how, no_wrap=True, overflow="ellipsis")
        table.add_row(each.system, Text(each.verdict, colour), Text(each.client, colour), how)
    return table
