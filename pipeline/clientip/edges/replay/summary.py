"""What a run came to: for programs (`summary.json`) and for people (a table)."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from clientip.edges.replay.tally import OTHER, Tally, everything
from clientip.reasons import BROKEN, FINDINGS, REJECTED, UNKNOWN, Reason
from clientip.syntax.addresses import shortened

MAX_SHOWN_UNLISTED: Final = 20
_MIN_WIDTH: Final = 24  # characters of a column that is wrapped
_NUMBERS: Final = frozenset({"lines", "share", "records", "share of all"})  # heads of columns that stand to the right


class Summary(Struct, frozen=True):
    """The result of a run in numbers; a function of plan and inputs alone."""

    rules: str
    tallies: tuple[Tally, ...]  # one per system, by name
    faults: tuple[str, ...]  # inputs that could not be read to the end

    @property
    def lines(self) -> int:
        return sum(each.lines for each in self.tallies)

    @property
    def rejected(self) -> int:
        return sum(everything(self.tallies, "rejected").values())


def miscounted(summary: Summary) -> str | None:
    """None if every line is a record, a fact, a part, skipped or rejected; else a sentence."""
    for each in summary.tallies:
        if each.lines != each.accounted():
            return f"{each.system}: {each.lines} lines came in, {each.accounted()} are accounted for"
    return None


def broken(summary: Summary) -> Iterator[str]:
    """What the logs say against the configuration, a sentence for each."""
    for name, table in (("findings", FINDINGS), ("rejected", REJECTED)):
        for word, count in sorted(everything(summary.tallies, name).items()):
            if word in BROKEN:
                yield f"{word} ({count:,} lines): {table[word].meaning}; {table[word].remedy}"


def as_json(summary: Summary, *, show_addresses: bool = False) -> bytes:
    """The same bytes for the same run, with the remedy beside each reason.

    `show_addresses`: global addresses are whole, and not cut to their network.
    """
    document: dict[str, Any] = {
        "rules": summary.rules,
        "faults": summary.faults,
        "systems": {each.system: _system(each) for each in summary.tallies},
        "unknown": _remedies(everything(summary.tallies, "reasons"), UNKNOWN),
        "rejected": _remedies(everything(summary.tallies, "rejected"), REJECTED),
        "findings": _remedies(everything(summary.tallies, "findings"), FINDINGS),
        "unlisted": [
            {"address": address, "records": records, "share": round(share, 4)}
            for address, records, share in _ranked(summary.tallies, show_addresses)[:MAX_SHOWN_UNLISTED]
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"


def _system(tally: Tally) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(tally).items() if name not in ("system", "unlisted")}


def _remedies(counts: Mapping[str, int], table: Mapping[str, Reason]) -> dict[str, dict[str, Any]]:
    return {
        word: {"count": count, "meaning": table[word].meaning, "remedy": table[word].remedy}
        for word, count in counts.items()
    }


def _ranked(tallies: Sequence[Tally], whole: bool) -> list[tuple[str, int, float]]:
    """(address or its network, records, share of all records), the most frequent first."""
    total = sum(each.records for each in tallies)
    unlisted = Counter[str]()
    for address, records in everything(tallies, "unlisted").items():
        unlisted[address if whole else shortened(address)] += records
    ranked = sorted(unlisted.items(), key=lambda pair: (pair[0] == OTHER, -pair[1], pair[0]))
    return [(address, records, records / total) for address, records in ranked]


def as_text(summary: Summary, width: int, *, show_addresses: bool = False) -> str:
    """Tables for the operator: what became of the lines, and what to do about the rest; addresses as in `as_json`."""
    rows = [row for each in summary.tallies for row in _outcomes(each)]
    tables = [_table(("system", "outcome", "lines", "share"), rows, width)]
    advice = [
        *_advice("unknown", everything(summary.tallies, "reasons"), UNKNOWN),
        *_advice("rejected", everything(summary.tallies, "rejected"), REJECTED),
        *_advice("finding", everything(summary.tallies, "findings"), FINDINGS),
    ]
    if advice:
        tables.append(_table(("", "why", "lines", "what would help"), advice, width))
    ranked = _ranked(summary.tallies, show_addresses)[:MAX_SHOWN_UNLISTED]
    if ranked:
        unlisted = [(address, f"{records:,}", f"{share:.1%}") for address, records, share in ranked]
        tables.append(_table(("address in no system", "records", "share of all"), unlisted, width))
    return "\n".join("".join(f"{line}\n" for line in table) for table in tables)


def _outcomes(tally: Tally) -> Iterator[tuple[str, ...]]:
    """All lines of a system, and what they became: the counts below the first add up to it."""
    became = {
        **tally.verdicts,
        "fact": tally.facts,
        "part of another line": tally.parts,
        **{f"skipped: {reason}": count for reason, count in tally.skipped.items()},
        **{f"rejected: {reason}": count for reason, count in tally.rejected.items()},
    }
    yield tally.system, "all", f"{tally.lines:,}", ""
    for outcome, count in became.items():
        if count:
            yield "", outcome, f"{count:,}", f"{count / tally.lines:.1%}"


def _advice(kind: str, counts: Mapping[str, int], table: Mapping[str, Reason]) -> list[tuple[str, ...]]:
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(kind, word, f"{count:,}", table[word].remedy) for word, count in ranked]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Columns as wide as what stands in them; the last one is wrapped to what they leave of the width.

    >>> print(*_table(("why", "lines", "what would help"), [("odd", "7", "say who may connect to it")], 36), sep="\\n")
    why  lines  what would help
    ---  -----  ------------------------
    odd      7  say who may connect to
                it
    """
    widths = [max(len(row[place]) for row in (heads, *rows)) for place in range(len(heads))]
    room = max(_MIN_WIDTH, width - sum(widths[:-1]) - 2 * (len(heads) - 1))
    widths[-1] = min(widths[-1], room)
    yield _row(heads, heads, widths)
    yield "  ".join("-" * wide for wide in widths)
    for row in rows:
        first, *more = textwrap.wrap(row[-1], room) or [""]
        yield _row((*row[:-1], first), heads, widths)
        yield from (_row((*[""] * (len(heads) - 1), text), heads, widths) for text in more)


def _row(cells: Sequence[str], heads: Sequence[str], widths: Sequence[int]) -> str:
    columns = zip(cells, heads, widths, strict=True)
    return "  ".join(f"{cell:{'>' if head in _NUMBERS else '<'}{wide}}" for cell, head, wide in columns).rstrip()
