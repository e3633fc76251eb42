"""Laws every format keeps: its samples are read as they say, and nothing but the documented rejections leaves it."""

from __future__ import annotations

import pytest
from clientip.errors import FormatError
from clientip.formats import FORMATS
from clientip.model import Format, Line, Observation, Reader, Sample, Setup, Skipped
from clientip.reasons import FINDINGS, REJECTED, SKIPPED
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.samples_check import check_sample
from tests.worlds.sizes import EXAMPLES

SAMPLES = [(each, sample) for each in FORMATS.values() for sample in each.samples]
HOSTILE = [b'"', b"\\", b" ", b"\x00", b"\xff", b"[", b"{", b"'", b"\t", b"-", b":", b",", b"%", b"\x1b["]


def reader_of(each: Format, sample: Sample) -> Reader:
    given_ = dict(sample.setup)
    if each.logs_peer:
        given_.setdefault("logs_peer", "socket")
    given_.setdefault("timezone", "UTC")
    return each.compile(Setup(system="s", format=each.name, **given_))  # type: ignore[arg-type]


def read(each: Format, reader: Reader, raw: bytes) -> None:
    """Feed one message; anything but an observation, a skip or a FormatError fails the test."""
    try:
        messages = each.split(raw) if each.split else (raw,)
        for message in messages:
            outcome = reader(Line(message, message))
            assert isinstance(outcome, Observation | Skipped)
            if isinstance(outcome, Skipped):
                assert outcome.reason in SKIPPED
            else:
                assert set(outcome.notes) <= FINDINGS.keys()
    except FormatError as error:
        assert error.reason in REJECTED, error.reason
        assert error.at is None or 0 <= error.at <= len(raw) * 6


@pytest.mark.parametrize(("each", "sample"), SAMPLES, ids=[f"{each.name}-{n}" for n, (each, _) in enumerate(SAMPLES)])
def test_every_sample_is_read_as_it_says(each: Format, sample: Sample) -> None:
    check_sample(each, sample)


@pytest.mark.parametrize("each", FORMATS.values(), ids=list(FORMATS))
def test_every_format_has_samples_that_are_read_and_a_title(each: Format) -> None:
    assert any(not sample.rejected and not sample.skipped for sample in each.samples)
    assert each.title
    assert all(sample.rejected is None or sample.rejected in REJECTED for sample in each.samples)


@pytest.mark.parametrize("each", FORMATS.values(), ids=list(FORMATS))
@settings(max_examples=max(20, EXAMPLES // 4), deadline=None)
@given(data=st.data())
def test_every_byte_string_is_read_or_rejected_with_a_documented_reason(each: Format, data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(each.samples))
    reader = reader_of(each, sample)
    cut = data.draw(st.integers(0, len(sample.line)))
    junk = data.draw(st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(HOSTILE), max_size=8).map(b"".join)))
    skip = data.draw(st.integers(0, 12))
    read(each, reader, sample.line[:cut] + junk + sample.line[cut + skip :])
    read(each, reader, junk)


@pytest.mark.parametrize("each", FORMATS.values(), ids=list(FORMATS))
@pytest.mark.parametrize("junk", HOSTILE, ids=[repr(junk) for junk in HOSTILE])
def test_a_million_hostile_bytes_in_any_place_end_soon(each: Format, junk: bytes) -> None:
    # A quadratic pattern would take hours here; a linear one takes milliseconds.
    sample = next(sample for sample in each.samples if not sample.rejected)
    reader = reader_of(each, sample)
    for cut in (0, len(sample.line) // 2, len(sample.line) - 1):
        read(each, reader, sample.line[:cut] + junk * (1_000_000 // len(junk)) + sample.line[cut:])
