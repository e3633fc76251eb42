"""`clientip help …`: reference made from the very tables the program runs on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import click

from clientip.config.keys import config_help
from clientip.edges.cli.options import WIDE, one_of
from clientip.edges.telemetry.metrics import metrics_help
from clientip.formats import FORMATS
from clientip.model import Format
from clientip.outputs import OUTPUTS
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
    if each.samples:
        yield f"    example: {each.samples[0].line.decode('utf-8', 'backslashreplace')[:200]}"
    if each.ask_for:
        yield from ("    ask for: " + line for line in each.ask_for.splitlines())
    yield ""


def _outputs() -> str:
    return (
        "\n".join(f"{name}: {(render.__doc__ or '').strip().splitlines()[0]}" for name, render in OUTPUTS.items())
        + "\n"
    )


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


TOPICS: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {"config": config_help, "formats": _formats, "metrics": metrics_help, "outputs": _outputs, "reasons": _reasons}
)


@click.command("help", context_settings=WIDE)
@click.argument("subject", required=False)
def command(subject: str | None) -> None:
    """Print a reference table; without a subject, list the subjects."""
    sys.stdout.write(TOPICS[one_of("help", subject or "", tuple(TOPICS))]())
