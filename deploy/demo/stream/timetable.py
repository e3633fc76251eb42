"""When which recorded line is fed: endless, in order of time, at a steady rate."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Final, NamedTuple

from deploy.demo.stream.present import RENEW, SECOND, later, stamps

DELAY_NS: Final = SECOND  # from the writing of a line to its message, as if a shipper had brought it
PERIOD_NS: Final = 2 * SECOND  # in which a scenario begins anew, if it is over by then
APART_NS: Final = SECOND  # between two passes of a scenario: its ports are used again
_MS: Final = 1_000_000


class Line(NamedTuple):
    """A recorded line, and where it goes."""

    topic: str
    key: bytes | None  # the process that wrote it, where its log has several
    format: str
    text: bytes
    numbers: int  # running numbers that its file uses up in a pass; 0: it has none


class Due(NamedTuple):
    """A message, and when it is to be sent."""

    at_ns: int
    topic: str
    key: bytes | None
    value: bytes


def timetable(
    singles: Sequence[Line], scenarios: Mapping[str, Sequence[Line]], rate: float, start_ns: int
) -> Iterator[Due]:
    """Everything there is to feed from `start_ns` on, for ever.

    Scenarios are fed as they were recorded, whole and again and again, because their lines tell of each other.
    `singles` stand for themselves; they fill up to `rate` lines a second.
    """
    periods = {name: period_ns(lines) for name, lines in scenarios.items()}
    left = rate - sum(len(lines) * SECOND / periods[name] for name, lines in scenarios.items())
    shift = PERIOD_NS // max(1, len(scenarios))  # they do not all begin at once
    feeds: list[Iterable[Due]] = [
        _passes(lines, start_ns + number * shift, periods[name])
        for number, (name, lines) in enumerate(scenarios.items())
    ]
    return heapq.merge(*feeds, _one_by_one(singles, start_ns, max(1.0, left)), key=lambda due: due.at_ns)


def period_ns(lines: Sequence[Line]) -> int:
    """After how long a scenario may begin anew."""
    times = [each for line in lines for each in stamps(line.text)]
    return max(PERIOD_NS, max(times) - min(times) + APART_NS)


def _passes(lines: Sequence[Line], begin_ns: int, period: int) -> Iterator[Due]:
    timed = sorted(_timed(lines), key=lambda each: each[0])
    first_ns = min(each for line in lines for each in stamps(line.text))
    for turn in count():
        by_ns = (begin_ns + turn * period - first_ns) // _MS * _MS  # some logs know milliseconds only
        for at_ns, line in timed:
            value = RENEW[line.format](later(line.text, by_ns), turn, line.numbers)
            yield Due(at_ns + by_ns + DELAY_NS, line.topic, line.key, value)


def _timed(lines: Iterable[Line]) -> Iterator[tuple[int, Line]]:
    """Each line with the time at which it was written; those of one file stay in their order."""
    written: dict[tuple[str, bytes | None], int] = {}
    for line in lines:
        file = line.topic, line.key
        written[file] = max(written.get(file, 0), *stamps(line.text))
        yield written[file], line


def _one_by_one(lines: Sequence[Line], begin_ns: int, rate: float) -> Iterator[Due]:
    for number in count() if lines else ():
        line, at_ns = lines[number % len(lines)], begin_ns + int(number * SECOND / rate)
        value = later(line.text, at_ns - max(stamps(line.text), default=at_ns))
        yield Due(at_ns + DELAY_NS, line.topic, line.key, value)
