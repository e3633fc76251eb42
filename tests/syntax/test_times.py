"""Laws of time stamps: exact digits, real dates, an interval that holds the true instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from clientip.errors import FormatError
from clientip.syntax.times import SECOND_NS, clf_ns, epoch_ns, local_ns, resolution_of, rfc3339_ns, seconds_ns, spread
from hypothesis import given
from hypothesis import strategies as st

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2262, 4, 1), timezones=st.just(UTC))
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59)
DIGITS = st.text("0123456789", min_size=1, max_size=15)


def cut_ns(digits: str) -> int:
    return int(Fraction(int(digits), 10 ** len(digits)) * SECOND_NS)


def seconds_since(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(seconds=1)


def offset_text(minutes: int, colon: str = ":") -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{colon}{abs(minutes) % 60:02}"


@given(MOMENTS, DIGITS)
def test_rfc3339_is_exact_to_the_nanosecond_and_cuts_what_is_finer(moment: datetime, digits: str) -> None:
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{digits}Z"
    assert rfc3339_ns(text) == seconds_since(moment) * SECOND_NS + cut_ns(digits)


@given(MOMENTS, OFFSETS, st.sampled_from(["", ".5", ".123456789", ".000000001999"]))
def test_rfc3339_with_an_offset_is_its_utc_form(moment: datetime, minutes: int, fraction: str) -> None:
    there = moment.astimezone(timezone(timedelta(minutes=minutes)))
    utc = rfc3339_ns(f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z")
    for colon in ("", ":"):
        assert rfc3339_ns(f"{there:%Y-%m-%dT%H:%M:%S}{fraction}{offset_text(minutes, colon)}") == utc


@given(MOMENTS, OFFSETS)
def test_clf_names_the_same_instant_as_rfc3339(moment: datetime, minutes: int) -> None:
    there = moment.astimezone(timezone(timedelta(minutes=minutes)))
    assert clf_ns(f"{there:%d/%b/%Y:%H:%M:%S} {offset_text(minutes, '')}") == seconds_since(moment) * SECOND_NS


@given(st.integers(0, 9_223_372_035), DIGITS)
def test_epoch_seconds_keep_every_digit_a_float_would_lose(seconds: int, digits: str) -> None:
    assert epoch_ns(f"{seconds}.{digits}") == seconds * SECOND_NS + cut_ns(digits)


@given(st.floats(0, 9_000_000_000, allow_subnormal=False))
def test_a_written_float_is_read_as_its_written_digits(value: float) -> None:
    assert seconds_ns(repr(value)) == int(Fraction(repr(value)) * SECOND_NS)


def test_epoch_seconds_known() -> None:
    assert epoch_ns("1693840791.7564995") == 1693840791756499500
    assert epoch_ns("1653485132") == 1653485132 * SECOND_NS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2023-02-29T00:00:00Z",
        "2023-13-01T00:00:00Z",
        "2023-01-01T24:00:00Z",
        "2023-01-01T23:59:60Z",
        "2023-01-01T00:00:00",
        "2023-01-01T00:00:00.Z",
        "2023-01-01T00:00:00.+01:00",
        "2023-01-01T00:00:005Z",
        "2023-01-01T00:00:00.5",
        "2023-01-01T00:00:00.5 Z",
        "2023-01-01T00:00:00+24:00",
        "2023-01-01T00:00:00+01:60",
        "2023-01-01T00:00:00.١Z",
        "2023-01-01T00:00:00.1²+01:00",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+01:00",
        "2262-04-12T00:00:00Z",
        "9999-12-31T23:59:59-23:00",
        "0000-01-01T00:00:00Z",
        "２０２３-01-01T00:00:00Z",
    ],
)
def test_no_instant_is_read_from_what_is_none(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        rfc3339_ns(text)
    assert caught.value.reason == "time"


@pytest.mark.parametrize(
    "text",
    [
        "31/Feb/2000:00:00:00 +0000",
        "01/jan/2000:00:00:00 +0000",
        "01/Xxx/2000:00:00:00 +0000",
        "01/Jan/2000:00:00:00",
        "-",
    ],
)
def test_clf_rejects_what_is_no_date(text: str) -> None:
    with pytest.raises(FormatError):
        clf_ns(text)


@pytest.mark.parametrize(
    "text", ["", "-1", ".5", "1e99", "1e-", "nan", "99999999999", "9223372037", "1 ", "1_0", "0x1"]
)
def test_epoch_rejects_what_is_no_bounded_decimal(text: str) -> None:
    with pytest.raises(FormatError):
        epoch_ns(text)


@given(st.text(max_size=60) | st.text("0123456789.eE+-:/TZ", max_size=60))
def test_every_text_reads_or_raises_format_error(text: str) -> None:
    for read in (rfc3339_ns, clf_ns, epoch_ns, seconds_ns, lambda t: local_ns(t, "haproxy", "Europe/Berlin")):
        try:
            read(text)
        except FormatError as error:
            assert error.reason == "time"


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2037, 12, 31)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.integers(0, 999),
)
def test_a_local_stamp_holds_the_instant_it_was_written_at(moment: datetime, zone: str, millis: int) -> None:
    there = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
    instant = seconds_since(moment.replace(tzinfo=UTC)) * SECOND_NS
    earliest, latest = local_ns(f"{there:%d/%b/%Y:%H:%M:%S}.{millis:03}", "haproxy", zone)
    assert instant + millis * 1_000_000 in (earliest, latest)
    assert earliest <= latest
    assert local_ns(f"{there:%Y/%m/%d %H:%M:%S}", "nginx_error", zone)[1] == latest - millis * 1_000_000


def test_the_hour_that_runs_twice_is_both_and_the_hour_that_was_skipped_is_none() -> None:
    earliest, latest = local_ns("31/Oct/2021:02:30:00.000", "haproxy", "Europe/Berlin")
    assert latest - earliest == 3600 * SECOND_NS
    with pytest.raises(FormatError):
        local_ns("28/Mar/2021:02:30:00.000", "haproxy", "Europe/Berlin")


@given(st.integers(0, 2**62), st.sampled_from([1, 1000, 10**6, 10**9]), st.integers(0, 10**9), st.data())
def test_the_spread_holds_every_instant_that_prints_the_stamp(
    true_ns: int, resolution: int, skew: int, data: st.DataObject
) -> None:
    error = data.draw(st.integers(-skew, skew))
    stamp = (true_ns + error) // resolution * resolution
    earliest, latest = spread(stamp, resolution, skew)
    assert earliest <= true_ns <= latest


def test_the_resolution_is_that_of_the_last_digit() -> None:
    assert resolution_of("2024-01-01T00:00:00.123456789123Z") == 1
    assert resolution_of("2024-01-01T00:00:00.1+01:00") == 10**8
    assert resolution_of("1653485132.123456") == 1000
