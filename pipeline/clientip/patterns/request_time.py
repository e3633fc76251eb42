"""When a request began and ended, from the time columns of a text log."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from clientip.errors import FormatError
from clientip.model import Line, Setup
from clientip.patterns.matcher import Values
from clientip.patterns.roles import Manner, Roles, index_of
from clientip.syntax.times import SECOND_NS, clf_ns, epoch_ns, local_ns, resolution_of, rfc3339_ns, seconds_ns, spread

Span = tuple["int | None", "int | None", "int | None", "str | None"]  # start_ns, start_latest_ns, end_ns, time_by

_DURATIONS: Final = MappingProxyType({"s": SECOND_NS, "ms": 1_000_000, "us": 1_000})


def number(text: str) -> int:
    """A decimal number without sign; FormatError("number") for anything else, or more than 20 digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise FormatError("number")
    return int(text)


def _unsaid(_: Values) -> None:
    return None


def compile_span(setup: Setup, roles: Roles, manner: Manner) -> Callable[[Line, Values], Span]:
    """The time of a line: from its stamp, from the stamp and the duration, or from the wrapper."""
    start, end = index_of(roles, "start"), index_of(roles, "end")
    skew, lasted = setup.max_skew_ns, compile_duration(roles, manner)
    if start is not None:
        stamp_of = _stamp(setup, roles, start)

        def from_start(_: Line, values: Values) -> Span:
            first, last, resolution = stamp_of(values)
            duration = lasted(values)
            earliest, _ignored = spread(first, resolution, skew)
            _ignored, latest = spread(last, resolution, skew)
            return earliest, latest, None if duration is None else first + duration, "own"

        return from_start
    if end is None:
        return _wrapper_span
    stamp_of = _stamp(setup, roles, end)

    def from_end(_: Line, values: Values) -> Span:
        first, last, resolution = stamp_of(values)
        duration = lasted(values)
        if duration is None:  # when it began is not said: any time before
            return None, spread(last, resolution, skew)[1], first, "own"
        earliest, _ignored = spread(first - duration, resolution, skew)
        _ignored, latest = spread(last - duration, resolution, skew)
        return earliest, latest, first, "own"

    return from_end


def _wrapper_span(line: Line, _: Values) -> Span:
    """The wrapper's stamp is the moment of writing, so it is an end."""
    if line.stamp_ns is None:
        return None, None, None, None
    return None, line.stamp_ns, line.stamp_ns, "wrapper"


def _stamp(setup: Setup, roles: Roles, index: int) -> Callable[[Values], tuple[int, int, int]]:
    """Reads a stamp column: earliest and latest instant it names, and its resolution, all in ns."""
    role, fraction = roles[index], index_of(roles, "fraction")
    assert role is not None
    layout, zone = role.how, setup.timezone or "UTC"

    def stamp_of(values: Values) -> tuple[int, int, int]:
        text = values[index] or ""
        if fraction is not None and layout == "epoch":
            text = f"{text}.{values[fraction]}"
        if layout == "clf":
            first = last = clf_ns(text)
            return first, last, SECOND_NS
        if layout == "haproxy":
            first, last = local_ns(text, "haproxy", zone)
        elif layout == "rfc3339":
            first = last = rfc3339_ns(text)
        elif layout == "epoch":
            first = last = epoch_ns(text)
        else:
            first = last = number(text) * _DURATIONS[layout]
            return first, last, _DURATIONS[layout]
        return first, last, resolution_of(text)

    return stamp_of


def stages_of(roles: Roles) -> Callable[[Values], int | None] | None:
    """How long all stages up to the response's first byte took, ns, rounded up; None: the line does not show it."""
    known = {role.how: at for at, role in enumerate(roles) if role is not None and role.word == "timer"}
    if set(known) != {"0", "1", "2", "3"}:
        return None

    def passed(values: Values) -> int | None:
        texts = [values[at] or "" for at in known.values()]
        if not all(text.isascii() and text.isdigit() and len(text) < 12 for text in texts):
            return None  # a stage that was not reached
        return sum(int(text) + 1 for text in texts) * _DURATIONS["ms"]

    return passed


def compile_duration(roles: Roles, manner: Manner) -> Callable[[Values], int | None]:
    index, absent = index_of(roles, "duration"), manner.absent
    if index is None:
        return _unsaid
    role = roles[index]
    assert role is not None
    factor = _DURATIONS[role.how]

    def lasted(values: Values) -> int | None:
        text = values[index]
        if text is None or text in absent or text[0] in "+-":  # +: logged before the end; -1: not reached
            return None
        return seconds_ns(text) * factor // SECOND_NS

    return lasted
