"""Systems of which a run read no line at all, and what their format complained of first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from clientip.edges.disk.inputs import Input
from clientip.edges.replay.summary import Summary
from clientip.outputs.rejected import RejectedRow
from clientip.reasons import REJECTED

_NOT_READ = frozenset({"blank"})  # the one reason to skip a line that says nothing of its format


def unread_systems(summary: Summary) -> tuple[str, ...]:
    """Those whose lines were all rejected, blank ones left aside."""
    return tuple(
        each.system
        for each in summary.tallies
        if each.rejected and not (each.records or each.facts or each.skipped.keys() - _NOT_READ)
    )


def first_rows(rows: Iterable[bytes], systems: Sequence[str]) -> Mapping[str, bytes]:
    """The first rejected row of each of these systems, as far as there is one."""
    decode = msgspec.json.Decoder(RejectedRow).decode
    found: dict[str, bytes] = {}
    for row in rows:
        found.setdefault(decode(row).system, row)
        if found.keys() >= set(systems):
            break
    return {system: found[system] for system in systems if system in found}


def complaints(systems: Iterable[str], first: Mapping[str, bytes], inputs: Iterable[Input]) -> Iterator[str]:
    """A sentence for each system: the place of its first line, why no format could read it, and what helps."""
    paths = {each.fingerprint: each.path for each in inputs}
    for system in systems:
        text = f"{system}: no line could be read"
        if system in first:
            row = msgspec.json.decode(first[system], type=RejectedRow)
            reason = REJECTED[row.reason]
            place = f"{paths.get(row.file, 'standard input')} at byte {row.offset}"
            stops = "" if row.at is None else f" and stops fitting after {row.at} bytes"
            detail = "" if row.detail is None else f" ({row.detail})"
            text += f"; the first is in {place}{stops}: {reason.meaning}{detail}; {reason.remedy}"
        yield text
