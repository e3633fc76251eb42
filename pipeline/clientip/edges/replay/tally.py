"""Counting what became of every line, and adding counts up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from msgspec import Struct, field

from clientip.model import Record

MAX_UNLISTED: Final = 10_000  # addresses counted one by one per chunk; the others together
MAX_KEPT_UNLISTED: Final = 1_000  # of these, how many a finished chunk remembers
OTHER: Final = "other"

Answer = tuple[str, str | None, str | None, tuple[str, ...]]  # verdict, method, reason, findings


class Tally(Struct):
    """What became of the lines of one system.

    `lines` is counted where lines are framed, the rest where outcomes are: they must agree.
    """

    system: str
    lines: int = 0
    records: int = 0
    facts: int = 0
    parts: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    methods: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    findings: dict[str, int] = field(default_factory=dict)
    unlisted: dict[str, int] = field(default_factory=dict)  # address that no system lists → records

    def accounted(self) -> int:
        """How many lines the outcomes speak for."""
        return self.records + self.facts + self.parts + sum(self.skipped.values()) + sum(self.rejected.values())


_COUNTERS: Final = ("skipped", "rejected", "verdicts", "methods", "reasons", "findings", "unlisted")


def _add_answers(tally: Tally, answers: dict[Answer, int]) -> None:
    """Count records by each part of their answer."""
    for (verdict, method, reason, findings), times in answers.items():
        tally.records += times
        _count(tally.verdicts, verdict, times)
        if method is not None:
            _count(tally.methods, method, times)
        if reason is not None:
            _count(tally.reasons, reason, times)
        for finding in findings:
            _count(tally.findings, finding, times)


def _count_unlisted(unlisted: dict[str, int], record: Record) -> None:
    """Count the unlisted address at which the walk ended; bounded, whatever clients send."""
    path = record.resolution.path
    address = (path[-1].address if path else None) or OTHER
    _count(unlisted, address if address in unlisted or len(unlisted) < MAX_UNLISTED else OTHER, 1)


def most_frequent(unlisted: dict[str, int]) -> dict[str, int]:
    """The addresses worth remembering; the same whatever the order in which they were met."""
    ranked = sorted(unlisted.items(), key=lambda pair: (pair[0] == OTHER, -pair[1], pair[0]))
    kept = dict(ranked[:MAX_KEPT_UNLISTED])
    for _, times in ranked[MAX_KEPT_UNLISTED:]:
        _count(kept, OTHER, times)
    return kept


class Endings:
    """How records ended, counted line by line and bounded in memory; `into` a tally at the end."""

    __slots__ = ("_answers", "_unlisted")

    def __init__(self) -> None:
        self._answers: dict[Answer, int] = defaultdict(int)
        self._unlisted: dict[str, int] = {}

    def count(self, record: Record) -> None:
        """One more record."""
        found = record.resolution
        self._answers[found.verdict, found.method, found.reason, found.findings] += 1
        if found.reason == "peer_unlisted":
            _count_unlisted(self._unlisted, record)

    def into(self, tally: Tally) -> Tally:
        """The tally with these counts in it; to be called once."""
        _add_answers(tally, self._answers)
        tally.unlisted = most_frequent(self._unlisted)
        return tally


def totals(tallies: Iterable[Tally]) -> tuple[Tally, ...]:
    """One tally per system, by name."""
    found: dict[str, Tally] = {}
    for each in tallies:
        total = found.setdefault(each.system, Tally(each.system))
        total.lines += each.lines
        total.records += each.records
        total.facts += each.facts
        total.parts += each.parts
        for name in _COUNTERS:
            into: dict[str, int] = getattr(total, name)
            for word, times in getattr(each, name).items():
                _count(into, word, times)
        if len(total.unlisted) > MAX_UNLISTED:
            total.unlisted = most_frequent(total.unlisted)
    return tuple(found[name] for name in sorted(found))


def everything(tallies: Iterable[Tally], name: str) -> Counter[str]:
    """One counter over all systems."""
    found: Counter[str] = Counter()
    for each in tallies:
        found.update(getattr(each, name))
    return found


def _count(counts: dict[str, int], word: str, times: int) -> None:
    counts[word] = counts.get(word, 0) + times
