"""What a run writes goes where the operator said and nowhere else, whoever made the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from clientip.edges.disk.parts import (
    PartFile,
    append_line,
    merge,
    part_path,
    refuse_strangers,
    replace_file,
    whole_lines,
)
from clientip.errors import SinkError


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    (tmp_path / "precious").write_bytes(b"precious")
    return tmp_path / "precious"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out/parts").mkdir(parents=True)
    return tmp_path / "out"


@pytest.mark.parametrize("name", ["list", "list.tmp", "00000000.records", "result.partial", "parts/any"])
def test_a_link_in_the_folder_is_refused_before_anything_is_written(precious: Path, out: Path, name: str) -> None:
    refuse_strangers(out, "parts")
    (out / name).symlink_to(precious)
    with pytest.raises(SinkError, match="is a link"):
        refuse_strangers(out, "parts")


def test_a_link_that_comes_later_is_not_followed(precious: Path, out: Path) -> None:
    for name in ("list", "small.tmp", "part", "result.partial"):
        (out / name).symlink_to(precious)
    for write in (
        lambda: append_line(out / "list", b"x"),
        lambda: whole_lines(out / "list"),
        lambda: PartFile(out / "part", "none"),
        lambda: merge(out / "parts", "records", [], out / "result"),
    ):
        with pytest.raises((SinkError, OSError)):
            write()
    replace_file(out / "small", b"x")  # the draft is made anew
    assert (out / "small").read_bytes() == b"x"
    assert precious.read_bytes() == b"precious"


def test_files_of_a_run_are_readable_for_the_group_at_most(out: Path) -> None:
    before = os.umask(0)
    try:
        append_line(out / "list", b"x")
        replace_file(out / "small", b"x")
        part = PartFile(part_path(out / "parts", 0, "records"), "none")
        part.write(b"row\n")
        part.close()
        merge(out / "parts", "records", [4], out / "result")
    finally:
        os.umask(before)
    assert {(out / name).stat().st_mode & 0o777 for name in ("list", "small", "result")} == {0o640}
    assert (out / "result").read_bytes() == b"row\n"


def test_a_folder_of_another_user_is_taken_if_it_is_empty_or_all_in_it_is_ours(
    out: Path, precious: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "plan").write_bytes(b"")
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(SinkError, match="belongs to another user, and holds"):
        refuse_strangers(out, "parts")
    (out / "plan").unlink()
    (out / "parts").rmdir()
    refuse_strangers(out, "parts")


def test_a_list_that_a_kill_cut_short_loses_its_last_line(out: Path) -> None:
    (out / "list").write_bytes(b"one\ntwo\nthr")
    assert whole_lines(out / "list") == [b"one", b"two"]
    append_line(out / "list", b"three")
    assert whole_lines(out / "list") == [b"one", b"two", b"three"]
