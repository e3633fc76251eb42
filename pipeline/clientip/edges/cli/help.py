"""`clientip help …`: reference made from the very tables the program runs on."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import click

from clientip.config.key_help import config_help
from clientip.config.presets import presets_help
from clientip.edges.cli.longest import longest_help
from clientip.edges.cli.lossless import lossless_help
from clientip.edges.cli.man import man_page
from clientip.edges.cli.options import WIDE, one_of
from clientip.edges.cli.words import WORDS, explained, words_in
from clientip.edges.telemetry.metrics import metrics_help
from clientip.formats import FORMATS, SHOWN
from clientip.model import Format
from clientip.outputs import PURPOSES
from clientip.reasons import FINDINGS, REJECTED, SKIPPED, UNKNOWN, VERDICTS, Reason


def _formats() -> str:
    return "\n".join(line for each in FORMATS.values() for line in _format(each))


def _format(each: Format) -> Iterator[str]:
    yield f"{each.name}: {each.title}"
    if each.logs_peer:
        yield f"    logs_peer: {' | '.join(each.logs_peer)}"
    if each.pattern != "none":
        without = f"; without one: {', '.join(each.side_by_side or [name for name, _ in each.known_patterns[:1]])}"
        yield f"    pattern: {each.pattern}, the server's own string or a known name{without}"
    yield from (f"    known pattern {name}: {pattern}" for name, pattern in each.known_patterns)
    yield from (f"    option {key}: {meaning}" for key, meaning in each.options)
    for column, shown in each.ids:
        yield f"    ids in {column}: {SHOWN[shown]}"
    if each.samples:
        yield f"    example: {each.samples[0].line.decode('utf-8', 'backslashreplace')[:200]}"
    if each.ask_for:
        yield from ("    ask for: " + line for line in each.ask_for.splitlines())
    yield ""


def _outputs() -> str:
    lines = []
    for name, purpose in PURPOSES.items():
        lines += [f"{name}:", *textwrap.wrap(purpose, 110, initial_indent="    ", subsequent_indent="    "), ""]
    rejected = "Lines that cannot be read go to rejected.ndjson, with the reason. Schema: schemas/rejected.schema.json."
    return "\n".join([*lines, *textwrap.wrap(rejected, 110)]) + "\n"


def _reasons() -> str:
    tables = {"verdicts": VERDICTS, "unknown": UNKNOWN, "rejected": REJECTED, "skipped": SKIPPED, "findings": FINDINGS}
    return "\n".join(line for name, table in tables.items() for line in _reason_table(name, table))


def _reason_table(name: str, table: Mapping[str, Reason]) -> Iterator[str]:
    yield f"{name}:"
    for word, reason in table.items():
        yield f"  {word}: {reason.meaning}"
        if reason.remedy:
            yield f"      what helps: {reason.remedy}"
    yield ""


def _words() -> str:
    return explained("", WORDS)


class _Subject(NamedTuple):
    meaning: str
    text: Callable[[], str]


SUBJECTS: Final[Mapping[str, _Subject]] = MappingProxyType(
    {
        "config": _Subject("every key of the configuration, with allowed values", config_help),
        "formats": _Subject("the log formats that are read, and what each needs", _formats),
        "outputs": _Subject("the ways in which records are written", _outputs),
        "presets": _Subject("what common products pass on, by their settings: rows to copy", presets_help),
        "reasons": _Subject("verdicts, and why a client is unknown or a line rejected; what helps", _reasons),
        "longest": _Subject("which setting of a server ends every request or connection by force", longest_help),
        "lossless": _Subject("what passes on a request or connection without a line, by product", lossless_help),
        "metrics": _Subject("what a stream tells Prometheus and OpenTelemetry", metrics_help),
        "words": _Subject("the words of our own that all of this uses", _words),
        "man": _Subject("the manual page, as roff: clientip help man | man -l -", man_page),
    }
)


def _subject(name: str) -> str:
    text = SUBJECTS[name].text()
    return text if name in ("man", "words") else explained(text, words_in(text))


def _list() -> str:
    wide = max(map(len, SUBJECTS))
    lines = (f"  {name:{wide}}  {subject.meaning}" for name, subject in SUBJECTS.items())
    return "\n".join(["clientip help SUBJECT prints a reference. Subjects:", *lines]) + "\n"


def _complete(_context: click.Context, _argument: click.Parameter, begun: str) -> list[str]:
    return [name for name in SUBJECTS if name.startswith(begun)]


@click.command("help", context_settings=WIDE)
@click.argument("subject", required=False, shell_complete=_complete)
def command(subject: str | None) -> None:
    """Print a reference table; without a subject, list the subjects."""
    sys.stdout.write(_list() if subject is None else _subject(one_of("help", subject, tuple(SUBJECTS))))
