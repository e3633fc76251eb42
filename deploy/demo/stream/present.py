"""Recorded lines as if they were written now: later by a given time, and with names that were not used before.

A log that is fed again and again must not tell twice of one connection or one trace. So a line of a later pass has
later stamps, and what a server numbers or draws by lot is a new one: NAT events go on counting in the same session,
nginx's connections get other numbers, traces and request ids other digits, the same ones in all logs of a pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

SECOND: Final = 1_000_000_000  # ns

_STAMPS: Final = re.compile(
    rb"\b(?P<ns>1[0-9]{18})\b"  # conntrack_json
    rb"|\b(?P<seconds>1[0-9]{9}\.[0-9]{3,9})\b"  # nginx, Envoy, Caddy, Apache
    rb"|\b(?P<iso>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)(?=Z)"  # Traefik
    rb"|\b(?P<day>[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?)"  # HAProxy, and many
)
_DATES: Final = {"iso": "%Y-%m-%dT%H:%M:%S", "day": "%d/%b/%Y:%H:%M:%S"}  # all were recorded in UTC

_NUMBER: Final = re.compile(rb'^\{"n":([0-9]+)')  # of a NAT event in its session
_CONNECTION: Final = re.compile(rb'(?<="conn":")[0-9]+')  # nginx's $connection
_TRACE: Final = re.compile(rb"(?<![0-9A-Za-z])(?:[0-9a-f]{32}|[0-9a-f]{16})(?![0-9A-Za-z])")  # of a trace, or a span
_REQUEST: Final = re.compile(rb"(?<=_)[0-9A-F]{8}(?=_[0-9A-F]{4}:)")  # the second in HAProxy's unique-id
_CONNECTIONS: Final = 100_000  # more than a pass has


def stamps(line: bytes) -> Iterator[int]:
    """All times that stand in a line, in nanoseconds.

    >>> list(stamps(b'{"msec":"1795483631.197"} [24/Nov/2026:01:27:12.472]'))
    [1795483631197000000, 1795483632472000000]
    """
    for found in _STAMPS.finditer(line):
        yield _read(found.lastgroup or "", found[0])


def later(line: bytes, by_ns: int) -> bytes:
    """The line as it would have been written so much later; every stamp keeps the number of its digits.

    >>> later(b'"StartUTC":"2026-11-24T01:27:28.880821376Z" at 1795483631.197', 3_600_000_000_000)
    b'"StartUTC":"2026-11-24T02:27:28.880821376Z" at 1795487231.197'
    """

    def moved(found: re.Match[bytes]) -> bytes:
        kind = found.lastgroup or ""
        return _written(kind, _read(kind, found[0]) + by_ns, found[0])

    return _STAMPS.sub(moved, line)


def _read(kind: str, text: bytes) -> int:
    if kind == "ns":
        return int(text)
    whole, _, fraction = text.partition(b".")
    part_ns = int(fraction.ljust(9, b"0"))
    if kind == "seconds":
        return int(whole) * SECOND + part_ns
    moment = datetime.strptime(whole.decode(), _DATES[kind]).replace(tzinfo=UTC)
    return int(moment.timestamp()) * SECOND + part_ns


def _written(kind: str, ns: int, like: bytes) -> bytes:
    if kind == "ns":
        return b"%d" % ns
    digits = len(like.partition(b".")[2])
    point = (b".%09d" % (ns % SECOND))[: digits + 1] if digits else b""
    if kind == "seconds":
        return b"%d" % (ns // SECOND) + point
    return datetime.fromtimestamp(ns // SECOND, UTC).strftime(_DATES[kind]).encode() + point


Renew = Callable[[bytes, int, int], bytes]
"""(line, number of the pass from 0, running numbers that a pass uses up) → the line with names of that pass"""


def _counted_on(line: bytes, turn: int, numbers: int) -> bytes:
    """
    >>> _counted_on(b'{"n":3,"session":"s","at":1795483631198728944}', 2, 14)
    b'{"n":31,"session":"s","at":1795483631198728944}'
    """
    return _NUMBER.sub(lambda found: b'{"n":%d' % (int(found[1]) + turn * numbers), line)


def _renamed(line: bytes, turn: int, _numbers: int) -> bytes:
    """
    >>> _renamed(b'"tp":"00-60a4a812056d666ef66570f9e8d87ec8-f2a9b193835b593e-01","conn":"49"', 1, 0)
    b'"tp":"00-60a4a812056d666ef66571f9e8d87ec8-f2a9b193825b593e-01","conn":"100049"'
    """

    def other(found: re.Match[bytes]) -> bytes:
        digits = len(found[0])
        return b"%0*x" % (digits, int(found[0], 16) ^ (turn << (40 if digits == 32 else 24)))

    line = _TRACE.sub(other, line)
    line = _REQUEST.sub(lambda found: b"%08X" % (int(found[0], 16) + turn), line)
    return _CONNECTION.sub(lambda found: b"%d" % (int(found[0]) + turn * _CONNECTIONS), line)


RENEW: Final[Mapping[str, Renew]] = {
    "conntrack_json": _counted_on,
    "haproxy": _renamed,
    "nginx": _renamed,
    "traefik_json": _renamed,
}


def last_number(lines: list[bytes]) -> int:
    """The highest running number of NAT events; 0 where there is none."""
    return max((int(found[1]) for found in map(_NUMBER.match, lines) if found), default=0)
