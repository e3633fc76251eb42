"""Every word a record may carry is documented, and every documented word is used."""

from __future__ import annotations

from pathlib import Path

from clientip import reasons

PACKAGE = Path(__file__).parent.parent / "pipeline" / "clientip"
SOURCE = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "reasons.py")


def test_every_documented_word_is_used_by_the_code() -> None:
    words = [*reasons.UNKNOWN, *reasons.REJECTED, *reasons.SKIPPED, *reasons.FINDINGS]
    assert [word for word in words if f'"{word}"' not in SOURCE] == []


def test_who_waits_gives_reasons_that_are_documented() -> None:
    assert reasons.UNKNOWN.keys() >= reasons.WAITING


def test_every_unknown_and_rejected_word_names_what_would_help() -> None:
    tables = (reasons.UNKNOWN, reasons.REJECTED, reasons.FINDINGS)
    assert [word for table in tables for word, entry in table.items() if not (entry.meaning and entry.remedy)] == []
