"""Time stamps → integer nanoseconds since the Unix epoch, UTC. Digits only, never floats.

Bounds: 1970-01-01 up to what 64 signed bits of nanoseconds hold (April 2262).
A second :60 is refused: the clocks these logs are written from do not count leap seconds.
More than nine digits of fraction are cut, not rounded.
Everything unreadable raises FormatError("time").
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal
from zoneinfo import ZoneInfo

from clientip.errors import FormatError

SECOND_NS: Final = 1_000_000_000
MILLISECOND_NS: Final = 1_000_000
MICROSECOND_NS: Final = 1_000

Layout = Literal["haproxy", "nginx_error"]

# The last whole second of which every nanosecond still fits 64 signed bits.
_LAST_SECOND: Final = (2**63 - 1) // SECOND_NS - 1
_POWERS: Final = tuple(int(f"1{'0' * (9 - digits)}") for digits in range(10))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_SECOND: Final = timedelta(seconds=1)

_MONTHS: Final = MappingProxyType(
    {
        name: str(number)
        for number, name in enumerate(
            ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
        )
    }
)

# Logs are read in order, so the same few seconds come again and again.
_MAX_REMEMBERED: Final = 4096

_DATE_TIME: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})")
_OFFSET: Final = re.compile(r"([0-9]*)([+-])([0-9]{2}):?([0-9]{2})")
_CLF: Final = re.compile(
    r"([0-9]{2})/([A-Z][a-z]{2})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"
)
_DECIMAL: Final = re.compile(r"([0-9]{1,20})(?:\.([0-9]{0,400}))?(?:[eE]([+-]?[0-9]{1,3}))?")
_HAPROXY: Final = re.compile(r"([0-9]{2})/([A-Z][a-z]{2})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-9]{2})")
_NGINX_ERROR: Final = re.compile(r"([0-9]{4})/([0-9]{2})/([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})")


def rfc3339_ns(text: str) -> int:
    """RFC 3339 `date-time`: any number of fraction digits, `Z` or an offset.

    Wider than the standard: `+0100` without its colon (ISO 8601 basic) is read too.

    >>> rfc3339_ns("1970-01-01T01:00:00.5+01:00")
    500000000
    """
    second_ns = _utc_second(text[:19])
    if text[-1] == "Z":
        length = len(text)
        if length == 20:
            return second_ns
        digits = text[20:-1]
        if length <= 30 and text[19] == "." and digits.isdigit() and digits.isascii():
            return second_ns + int(digits) * _POWERS[length - 21]
    return _rfc3339_tail(second_ns, text[19:])


def moment_ns(text: str) -> int:
    """A moment as people write it: an RFC 3339 `date-time`, or a date, which is its first moment in UTC.

    >>> moment_ns("1970-01-02"), moment_ns("1970-01-01T00:00:00Z")
    (86400000000000, 0)
    """
    return rfc3339_ns(f"{text}T00:00:00Z" if len(text) == len("1970-01-01") else text)


def _rfc3339_tail(second_ns: int, tail: str) -> int:
    """What follows the seconds where it is not the common `.digitsZ`."""
    if not tail.isascii() or (tail.startswith(".") and not tail[1:2].isdigit()):
        raise FormatError("time", 19)
    zulu = tail[-1:] in ("Z", "z")
    if zulu:
        tail = tail[:-1] + "+00:00"
    fraction = tail.startswith(".")
    match = _OFFSET.fullmatch(tail[1:] if fraction else tail)
    if match is None or bool(match[1]) != fraction:
        raise FormatError("time", 19)
    seconds = second_ns // SECOND_NS - _offset_seconds(match[2], match[3], match[4])
    return _bounded(seconds) * SECOND_NS + _fraction_ns(match[1])


def clf_ns(text: str) -> int:
    """The stamp of the Common Log Format, without its brackets: whole seconds.

    >>> clf_ns("10/Oct/2000:13:55:36 -0700") == rfc3339_ns("2000-10-10T13:55:36-07:00")
    True
    """
    return _clf_second(text) * SECOND_NS


def epoch_ns(text: str) -> int:
    """Seconds since the epoch as a decimal number: `1653485132.123456`.

    >>> epoch_ns("1653485132.123456")
    1653485132123456000
    """
    value = seconds_ns(text)
    _bounded(value // SECOND_NS)
    return value


def seconds_ns(text: str) -> int:
    """A duration in seconds, as a decimal number without sign, to whole nanoseconds (cut).

    Reads what JSON writers make of small floats, too.

    >>> seconds_ns("0.086"), seconds_ns("2.701e-06")
    (86000000, 2701)
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise FormatError("time")
    whole, fraction, exponent = match[1], match[2] or "", int(match[3] or "0")
    shift = 9 + exponent - len(fraction)
    value = int(whole + fraction) if len(fraction) <= 40 else int(whole + fraction[:40])
    shift += max(0, len(fraction) - 40)
    value = value * int(10**shift) if shift >= 0 else value // int(10**-shift)
    if value > 2**63 - 1:
        raise FormatError("time")
    return value


def local_ns(text: str, layout: Layout, zone: str) -> tuple[int, int]:
    """A stamp without a zone, read in the IANA zone `zone`: (earliest, latest) instant it can mean.

    The two differ only in the hour that a clock set back runs through twice.
    A time that the clock skipped when it was set forward is no time.
    Layouts: `haproxy` 06/Feb/2009:12:14:14.655, `nginx_error` 2021/04/01 13:02:31.
    The RFC 3164 stamp is none of them: it has no year, so it names no instant.

    >>> [ns // 10**9 for ns in local_ns("2021/10/31 02:30:00", "nginx_error", "Europe/Berlin")]
    [1635640200, 1635643800]
    """
    stamp, dot, digits = text.partition(".")
    earliest, latest = _local_second(stamp, layout, zone)
    if not dot:
        return earliest * SECOND_NS, latest * SECOND_NS
    if not (digits.isdigit() and digits.isascii()):
        raise FormatError("time", len(stamp))
    fraction = _fraction_ns(digits)
    return earliest * SECOND_NS + fraction, latest * SECOND_NS + fraction


def spread(start_ns: int, resolution_ns: int, skew_ns: int) -> tuple[int, int]:
    """Earliest and latest true instant behind a stamp that was cut to its resolution.

    >>> spread(5_000, 1_000, 10)
    (4990, 6009)
    """
    return start_ns - skew_ns, start_ns + resolution_ns - 1 + skew_ns


def resolution_of(text: str) -> int:
    """Nanoseconds one unit of a stamp's last written digit stands for.

    >>> resolution_of("2024-01-01T00:00:00.123Z"), resolution_of("10/Oct/2000:13:55:36 -0700")
    (1000000, 1000000000)
    """
    dot = text.find(".")
    if dot < 0:
        return SECOND_NS
    end = dot + 1
    while end - dot <= 9 and text[end : end + 1].isdigit():
        end += 1
    return _POWERS[end - dot - 1]


@lru_cache(_MAX_REMEMBERED)
def _utc_second(text: str) -> int:
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise FormatError("time")
    return _bounded(_instant(_datetime(match, match[1], match[2], match[3]).replace(tzinfo=UTC))) * SECOND_NS


@lru_cache(_MAX_REMEMBERED)
def _clf_second(text: str) -> int:
    match = _CLF.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        raise FormatError("time")
    seconds = _instant(_datetime(match, match[3], _MONTHS[match[2]], match[1]).replace(tzinfo=UTC))
    return _bounded(seconds - _offset_seconds(match[7], match[8], match[9]))


@lru_cache(_MAX_REMEMBERED)
def _local_second(text: str, layout: Layout, zone: str) -> tuple[int, int]:
    naive = _local_haproxy(text) if layout == "haproxy" else _local_nginx(text)
    place = ZoneInfo(zone)
    first, second = (_instant(naive.replace(tzinfo=place, fold=fold)) for fold in (0, 1))
    if first > second:  # PEP 495: in a gap the two folds change places
        raise FormatError("time")
    return _bounded(first), _bounded(second)


def _local_haproxy(text: str) -> datetime:
    match = _HAPROXY.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        raise FormatError("time")
    return _datetime(match, match[3], _MONTHS[match[2]], match[1])


def _local_nginx(text: str) -> datetime:
    match = _NGINX_ERROR.fullmatch(text)
    if match is None:
        raise FormatError("time")
    return _datetime(match, match[1], match[2], match[3])


def _datetime(match: re.Match[str], year: str, month: str, day: str) -> datetime:
    """The date given apart, since layouts order it as they like; the clock is groups 4 to 6 in all of them."""
    try:
        return datetime(int(year), int(month), int(day), int(match[4]), int(match[5]), int(match[6]))
    except ValueError:
        raise FormatError("time") from None


def _instant(moment: datetime) -> int:
    try:
        return (moment.astimezone(UTC) - _EPOCH) // _ONE_SECOND
    except OverflowError:  # years 1 and 9999 have no neighbours
        raise FormatError("time") from None


def _offset_seconds(sign: str, hours: str, minutes: str) -> int:
    if int(hours) > 23 or int(minutes) > 59:
        raise FormatError("time")
    seconds = int(hours) * 3600 + int(minutes) * 60
    return -seconds if sign == "-" else seconds


def _fraction_ns(digits: str) -> int:
    """The fraction of a second in nanoseconds; digits after the ninth are cut."""
    return int((digits[:9] or "0").ljust(9, "0"))


def _bounded(seconds: int) -> int:
    if not 0 <= seconds <= _LAST_SECOND:
        raise FormatError("time")
    return seconds
