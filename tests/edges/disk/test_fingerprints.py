"""The name of an input stays while the file grows and wherever it stands in a call, and no two have the same."""

from __future__ import annotations

import gzip
from itertools import permutations
from pathlib import Path

import pytest
from clientip.config import load as configuration
from clientip.edges.disk.inputs import FINGERPRINT_BYTES, Begun, find_inputs, fingerprints, first_line
from hypothesis import example, given
from hypothesis import strategies as st

LINES = st.sampled_from([b"#Fields: time 1\n", b"time client\n", b"\n", b"1\n", b"2\n", b"22\n", b"3" * 700 + b"\n"])
TEXTS = st.lists(LINES, max_size=4).map(b"".join)
FILES = st.dictionaries(st.sampled_from("abcd"), st.tuples(TEXTS, TEXTS), min_size=1)


def is_fixed(text: bytes) -> bool:
    """Whether a line that is no heading has come whole."""
    return any(line[:1] != b"#" and any(48 <= byte < 58 for byte in line) for line in text.splitlines())


def named(files: dict[str, bytes], order: tuple[str, ...]) -> dict[str, str]:
    begun = [Begun(path, "web", None, files[path][:FINGERPRINT_BYTES]) for path in order]
    return dict(zip(order, fingerprints(begun), strict=True))


@given(FILES, st.permutations("abcd"))
@example({"a": (b"1\n", b"2\n"), "b": (b"1\n", b"")}, ["b", "a", "c", "d"])
def test_names_stay_while_files_grow_and_in_any_order_and_differ(
    files: dict[str, tuple[bytes, bytes]], order: list[str]
) -> None:
    fixed = {path: texts for path, texts in files.items() if is_fixed(texts[0])}
    before = named({path: text for path, (text, _) in fixed.items()}, tuple(fixed))
    grown = {path: text + more for path, (text, more) in fixed.items()}
    assert named(grown, tuple(path for path in order if path in fixed)) == before
    assert len(set(before.values())) == len(before)


@pytest.mark.parametrize(
    ("head", "first"),
    [
        (b"", b""),
        (b"192.0.2.1 GE", b"192.0.2.1 GE"),
        (b"192.0.2.1 GET\n192", b"192.0.2.1 GET\n"),
        (b"#Version: 1.0\n#Date: 2026\n192.0.2.1\nx", b"#Version: 1.0\n#Date: 2026\n192.0.2.1\n"),
        (b"version srcaddr\n2 192.0.2.1\n2", b"version srcaddr\n2 192.0.2.1\n"),
        (b"\n\n1\n2\n", b"\n\n1\n"),
        (b"\0\0\0\3ab1\0\0\0\0", b"\0\0\0\3ab1"),
        (b"\0\0\0\n1\n", b"\0\0\0\n1\n"),
    ],
)
def test_the_first_line_is_the_first_that_is_no_heading(head: bytes, first: bytes) -> None:
    assert first_line(head) == first


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "c.toml").write_text(
        '[systems.web]\nformat = "nginx"\npattern = "$remote_addr $status"\nlogs_peer = "socket"\n'
        'peers = ["outside"]\ninputs = ["*.log*"]\n'
    )
    return tmp_path


def found(home: Path, *names: str) -> dict[str, str]:
    inputs = find_inputs(configuration.load([home / "c.toml"]), [str(home / name) for name in names], None)
    return {Path(each.path).name: each.fingerprint for each in inputs.files}


def test_a_short_file_has_one_name_before_and_after_it_grew_was_packed_and_renamed(home: Path) -> None:
    (home / "a.log").write_bytes(b"192.0.2.1 200\n")
    before = found(home, "a.log")["a.log"]
    whole = b"192.0.2.1 200\n" + b"192.0.2.2 200\n" * 200
    (home / "a.log").write_bytes(whole)
    (home / "a.log.1.gz").write_bytes(gzip.compress(whole))
    assert found(home, "a.log")["a.log"] == found(home, "a.log.1.gz")["a.log.1.gz"] == before


def test_files_that_begin_alike_have_their_own_names_in_any_order_of_the_call(home: Path) -> None:
    for name in ("a.log", "b.log", "c.log"):
        (home / name).write_bytes(b"192.0.2.1 200\n192.0.2.2 " + name.encode() + b"\n")
    answers = [found(home, *order) for order in permutations(("a.log", "b.log", "c.log"))]
    assert all(each == answers[0] for each in answers)
    assert len(set(answers[0].values())) == 3


def test_only_a_file_that_is_the_beginning_of_another_is_told_of(home: Path) -> None:
    texts = {"a.log": b"1\n", "b.log": b"1\n2\n", "c.log": b"1\n3\n", "d.log": b"5\n", "e.log": b""}
    for name, text in texts.items():
        (home / name).write_bytes(text)
    told = find_inputs(configuration.load([home / "c.toml"]), (), None).warnings
    assert [(Path(text.split()[0]).name, Path(text.split()[3].rstrip(":")).name) for text in told] == [
        ("b.log", "a.log"),
        ("c.log", "a.log"),
    ]
