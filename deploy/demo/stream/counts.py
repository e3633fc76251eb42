"""What is shown: counted records, and the figures of the stream's own page."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from deploy.demo.stream.truth import Truths, judged

LAST: Final = 10  # records that are shown
VERDICTS: Final = ("seen", "vouched", "joined", "internal", "unknown")

_SAMPLE: Final = re.compile(r"^clientip_([a-z_]+)\{(.*)\} ([0-9.e+-]+|\+Inf)$", re.MULTILINE)
_LABEL: Final = re.compile(r'([a-z_]+)="([^"]*)"')


class Shown(NamedTuple):
    """One of the last records."""

    system: str
    verdict: str
    client: str
    how: str
    wrong: bool


class Counts:
    """Records so far."""

    def __init__(self, truths: Truths) -> None:
        self._truths = truths
        self.verdicts: Counter[str] = Counter()
        self.methods: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.judgements: Counter[str] = Counter()
        self._last: dict[tuple[str, str], Shown] = {}  # the newest at the end
        self.wrong: deque[Shown] = deque(maxlen=LAST)

    @property
    def total(self) -> int:
        """All records."""
        return self.verdicts.total()

    @property
    def last(self) -> list[Shown]:
        """The newest records, one of each way to know the client or not to, in the order of the systems' names."""
        return sorted(list(self._last.values())[-LAST:])

    def add(self, record: Mapping[str, Any]) -> None:
        """Count one, as `output = "record"` writes it."""
        judgement = judged(record, self._truths)
        self.verdicts[record["verdict"]] += 1
        self.judgements[judgement] += 1
        if "method" in record:
            self.methods[record["method"]] += 1
        if "reason" in record:
            self.reasons[record["reason"]] += 1
        shown = Shown(record["system"], record["verdict"], _client(record), _how(record), judgement == "wrong")
        kind = shown.verdict, str(record.get("method") or record.get("reason"))
        self._last.pop(kind, None)
        self._last[kind] = shown
        if shown.wrong:
            self.wrong.append(shown)


def _client(record: Mapping[str, Any]) -> str:
    client = record.get("client")
    if client is None:
        return "-"
    return f"{client['ip']} port {client['port']}" if "port" in client else str(client["ip"])


def _how(record: Mapping[str, Any]) -> str:
    if "reason" in record:
        return str(record["reason"])
    network = record.get("network", "")
    steps = [step["system"].removeprefix(f"{network}-") for step in record["path"] if step.get("system")]
    way = " ← ".join(steps)
    return f"{record.get('method', '')}: {way}" if way else str(record.get("method", ""))


class Page:
    """The figures of all workers, as they stand at /metrics."""

    def __init__(self, text: str) -> None:
        self._samples = [
            (found[1], dict(_LABEL.findall(found[2])), float(found[3])) for found in _SAMPLE.finditer(text)
        ]

    def values(self, name: str, **labels: str) -> list[float]:
        """All values of a figure whose labels begin so.

        >>> Page('clientip_lag_resume_messages{worker="w",topic="a.join.1"} 3\\n').values("lag_resume_messages")
        [3.0]
        """
        return [
            value
            for each, held, value in self._samples
            if each == name and all(held.get(key, "").startswith(start) for key, start in labels.items())
        ]

    def total(self, name: str, **labels: str) -> float:
        """The sum of these."""
        return sum(self.values(name, **labels))

    def most(self, name: str, **labels: str) -> float:
        """The highest of these; 0 where there is none."""
        return max(self.values(name, **labels), default=0.0)

    def by(self, name: str, label: str) -> Counter[str]:
        """The sums by one label."""
        found: Counter[str] = Counter()
        for each, held, value in self._samples:
            if each == name:
                found[held.get(label, "")] += int(value)
        return found

    def within(self, name: str, share: float, **labels: str) -> float | None:
        """The bound of a histogram's buckets below which that share of its values lies; None: there are no values."""
        buckets: Counter[float] = Counter()
        for each, held, value in self._samples:
            if each == f"{name}_bucket" and all(held.get(key, "").startswith(start) for key, start in labels.items()):
                buckets[float(held["le"])] += int(value)
        total = max(buckets.values(), default=0)
        reached = [bound for bound, times in buckets.items() if total and times >= share * total]
        return min(reached, default=None)
