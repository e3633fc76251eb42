"""Patterns of the operator mean what they mean to a shell, and no name or folder of a stranger makes them slow."""

from __future__ import annotations

import glob
import re
from pathlib import Path

import pytest
from clientip.edges.disk.globs import Glob
from clientip.errors import ConfigError
from hypothesis import example, given
from hypothesis import strategies as st

from tests.worlds.patience import processor_s

NAMES = st.text("ab.-", min_size=1, max_size=6)
SEGMENTS = st.lists(st.sampled_from(["a", "b", ".", "-", "*", "?", "[ab]", "[!a]", "[a-b.]"]), min_size=1, max_size=6)


def expression(segment: str) -> str:
    """The same as a regular expression, which may take exponential time."""
    parts = re.findall(r"\*|\?|\[[^]]+\]|\{instance\}|[^*?\[{]", segment)
    words = {"*": "[^/]*", "?": "[^/]", "{instance}": "(?P<instance>[^/]+?)"}
    return "".join(
        words.get(part) or (part.replace("[!", "[^") if part[0] == "[" else re.escape(part)) for part in parts
    )


@given(SEGMENTS.map("".join), NAMES)
def test_a_name_fits_as_the_regular_expression_of_the_pattern_says(segment: str, name: str) -> None:
    assert (Glob(f"/{segment}").match(f"/{name}") is not None) == (re.fullmatch(expression(segment), name) is not None)


@given(SEGMENTS.map("".join), SEGMENTS.map("".join), NAMES)
def test_the_instance_is_as_short_as_it_can_be_after_as_much_as_fits_before_it(
    before: str, behind: str, name: str
) -> None:
    before = before.replace(
        "*", "", max(0, before.count("*") - 1)
    )  # with several, regular expressions prefer otherwise
    found = Glob(f"/{before}{{instance}}{behind}").match(f"/{name}")
    expected = re.fullmatch(expression(f"{before}{{instance}}{behind}"), name)
    assert (found and found.instance) == (expected and expected["instance"])


@given(
    st.lists(st.sampled_from(["a", "b", "ab", "*", "**", "a*"]), min_size=1, max_size=5), st.lists(NAMES, max_size=5)
)
@example(["**"], [])
def test_two_stars_alone_stand_for_any_folders(segments: list[str], names: list[str]) -> None:
    text = "".join("(?:[^/]+/)*" if each == "**" else expression(each) + "/" for each in segments)
    expected = re.fullmatch(text, "".join(f"{name}/" for name in names)) is not None
    assert (Glob("/".join(["", *segments])).match("/".join(["", *names])) is not None) == expected


TREE = (
    "a.log",
    "b.log",
    ".c.log",
    "d/a.log",
    "d/.hidden/a.log",
    "d/e/a.log.1",
    "d/e/f/a.log",
    ".d/a.log",
    "[x].log",
    "g/x",
)


@pytest.mark.parametrize(
    "pattern",
    [
        "*", "*.log", "a.log", "?.log", "[ab].log", "[!a].log", ".*.log", ".*/*.log", "**", "**/*.log", "**/a.log*",
        "d/**/*.log", "d/*/*", "**/**/*.log", "d/**", "[[]x[]].log", "nowhere/*", "*/x", "**/.hidden/*", "d/.hidden/*",
    ],
)  # fmt: skip
def test_the_files_are_those_that_a_shell_finds(tmp_path: Path, pattern: str) -> None:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    whole = f"{glob.escape(str(tmp_path))}/{pattern}"
    expected = sorted({each for each in glob.glob(whole, recursive=True) if Path(each).is_file()})  # noqa: PTH207
    assert Glob(whole).files() == expected
    assert all(Glob(whole).match(each) for each in expected)


def test_links_to_files_are_found_and_those_to_folders_only_where_the_pattern_counts_them(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.log").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "b.log").symlink_to(tmp_path / "real/a.log")
    (tmp_path / "gone.log").symlink_to(tmp_path / "nothing")

    def found(pattern: str) -> list[str]:
        return [str(Path(each).relative_to(tmp_path)) for each in Glob(f"{tmp_path}/{pattern}").files()]

    assert found("*/*.log") == ["link/a.log", "real/a.log"]
    assert found("link/*.log") == ["link/a.log"]
    assert found("**/*.log") == ["b.log", "real/a.log"]


def test_folders_that_lead_back_to_themselves_are_looked_into_once(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"")
    for name in "bcdefgh":
        (tmp_path / name).symlink_to(tmp_path)
    found: list[str] = []
    assert (
        processor_s(lambda: found.extend(Glob(f"{tmp_path}/**/**/**/*.log").files())) < 10
    )  # not 7 to the power of 40
    assert found == [f"{tmp_path}/a.log"]


def test_a_folder_that_cannot_be_listed_is_no_obstacle_to_what_is_named_in_it(tmp_path: Path) -> None:
    (tmp_path / "shut/open").mkdir(parents=True)
    (tmp_path / "shut/open/a.log").write_bytes(b"")
    whole = Glob(f"{tmp_path}/shut/open/*.log")
    (tmp_path / "shut").chmod(0o100)
    try:
        assert whole.files() == [f"{tmp_path}/shut/open/a.log"]
        assert Glob(f"{tmp_path}/nowhere/*").files() == []
    finally:
        (tmp_path / "shut").chmod(0o700)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/" + "*a" * 40 + "*b", "/" + "a" * 255),
        ("/" + "*a" * 40 + "{instance}" + "a*" * 40 + "b", "/" + "a" * 255),
        ("/" + "?*" * 100 + "b", "/" + "a" * 255),
        ("/" + "[a-z]*" * 60 + "0", "/" + "a" * 255),
        ("/" + "**/" * 20 + "*b", "/a" * 2000),
        ("/" + "**/a*/" * 20 + "b", "/a" * 2000),
    ],
)
def test_no_name_makes_a_pattern_slow(pattern: str, path: str) -> None:
    compiled = Glob(pattern)
    assert compiled.match(path) is None
    assert processor_s(lambda: compiled.match(path)) < 2


def test_a_range_that_runs_backwards_is_no_pattern() -> None:
    with pytest.raises(ConfigError, match="b-a runs backwards"):
        Glob("/logs/[b-a].log")
