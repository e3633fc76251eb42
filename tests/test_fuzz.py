"""Nothing a stranger writes ends in anything but a documented refusal; `tests/fuzz.py` holds the targets."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import ROOT, check, targets
from tests.worlds.sizes import EXAMPLES, SIZE

TARGETS = targets()
SECONDS = 18 * SIZE  # of each half: an hour in all at the full size

# What readers trip over: delimiters, escapes cut off, other alphabets, numbers at their bounds.
TOKENS = [
    *(bytes([byte]) for byte in range(256)),
    *(b'\\"', b"\\u", b"\\ud800", b"\xed\xa0\x80", b"\xef\xbb\xbf", "٣".encode(), b"::", b"[::1]:", b"%25", b"\r\n"),
    *(b"0" * 20, b"9" * 400, b"-1", b"1e999", b"NaN", b"4294967296", b"18446744073709551616", b"65536"),
    *(b'{"a":', b"[" * 40, b'"clientip":1,', b"PROXY TCP4 ", b"for=", b'";"', b", ", b" - - ["),
]
EDIT = st.tuples(
    st.sampled_from(["insert", "cut", "repeat"]), st.floats(0, 1), st.integers(1, 40), st.sampled_from(TOKENS)
)


def edited(data: bytes, edits: list[tuple[str, float, int, bytes]]) -> bytes:
    for how, place, length, token in edits:
        at = int(place * len(data))
        if how == "insert":
            data = data[:at] + token + data[at:]
        elif how == "cut":
            data = data[:at] + data[at + length :]
        else:
            data = data[: at + length] + data[at:]
    return data


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=max(10, EXAMPLES // 2), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_an_edited_seed_is_read_or_refused(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    seed = data.draw(st.sampled_from(target.seeds))
    check(target, edited(seed, data.draw(st.lists(EDIT, min_size=1, max_size=4))))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_sixty_thousand_times_the_same_byte_end_soon(name: str, place: float) -> None:
    target = TARGETS[name]
    for token in b'"\\ [{,:;=%-0':
        check(target, edited(target.seeds[0], [("insert", place, 1, bytes([token]) * 60_000)]))


@pytest.mark.prove
@pytest.mark.parametrize("half", ["first", "second"])
def test_coverage_guided_fuzzing_finds_nothing(half: str) -> None:
    names = sorted(TARGETS)[half == "second" :: 2]
    only = [word for name in names for word in ("--only", name)]
    call = [sys.executable, str(ROOT / "tests" / "fuzz.py"), "--seconds", str(SECONDS), *only]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
