"""One record's path in plain words: what was met, who vouched, what was not believed, what would help."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from clientip.model import Candidate, Record, Step
from clientip.reasons import FINDINGS, UNKNOWN
from clientip.syntax.terminals import printable

_VERDICTS = {
    "seen": "the observing system's own socket met this outside address",
    "vouched": "every system between vouched for the next address, one by one",
    "joined": "at least one step came from another log by an exact fact",
    "internal": "the request began inside: a workload or a health check, not a client",
    "unknown": "no client is named",
}

_EVIDENCE = {
    "seen": "the far end of the observing system's own socket",
    "vouched": "told by the system before it, in {by}",
    "stated": "stated by the server: its logged peer was replaced ({by})",
    "config": "from the drawing: the hop before it passes these bytes on unchanged",
    "joined": "told by another log ({by})",
}

_MAX_SHOWN: Final = 600  # characters of a log line


class Shown(NamedTuple):
    """A log line as it is shown: whose it is, where it stands, its text or the beginning of it."""

    system: str
    place: str
    text: str


Find = Callable[[str], Shown | None]
"""Record id → the line, if it was read."""


def explain(record: Record, find: Find = lambda _: None, own: Shown | None = None, question: str | None = None) -> str:
    """The walk of one record as text, ending with a line end.

    `find` and `own` show the lines between which other logs were asked.  `question` stands in the
    place of the record's heading where no line was asked about.  The text shows addresses and headers
    of the record itself: it is for the terminal of who asked, not for our own logs.
    """
    return "\n".join(
        [
            *(_heading(record) if question is None else [question, ""]),
            *_answer(record),
            *_path(record),
            *_evidence(record, find, own),
            *_candidates(record, find),
            *_claims(record),
            *_findings(record),
            *_remedy(record),
            "",
        ]
    )


def _heading(record: Record) -> list[str]:
    seen = record.observation
    what = ""
    if seen.http is not None and seen.http.method is not None:
        what = f": {printable(seen.http.method)} {printable(seen.http.target or '')}"
    when = ""
    if seen.start_ns is not None:
        when = f" at {datetime.fromtimestamp(seen.start_ns // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return [f"Record {record.record_id}", f"{seen.kind} seen by {seen.setup.system}{when}{what}", ""]


def _answer(record: Record) -> list[str]:
    found = record.resolution
    if found.verdict == "unknown":
        reason = UNKNOWN[found.reason or "peer_not_logged"]
        return [f"Client: unknown ({found.reason}): {reason.meaning}.", ""]
    assert found.client is not None
    port = f", port {found.client.port}" if found.client.port is not None else ""
    word = "Client" if found.verdict != "internal" else "Began at"
    return [
        f"{word}: {found.client.address.text}{port}",
        f"Verdict: {found.verdict} ({_VERDICTS[found.verdict]}); method: {found.method}",
        "",
    ]


def _path(record: Record) -> list[str]:
    lines = ["Path, nearest first:"]
    lines += [f"  {number}. {_step(step)}" for number, step in enumerate(record.resolution.path, 1)]
    return lines if len(lines) > 1 else ["Path: empty; the line shows no address to begin at."]


def _step(step: Step) -> str:
    address = step.address or "(address not shown)"
    port = f" port {step.port}" if step.port is not None else ""
    owner = f"belongs to {step.system}" if step.system is not None else "belongs to no listed system"
    return f"{address}{port}: {owner}; {_EVIDENCE[step.evidence].format(by=step.by)}"


def _evidence(record: Record, find: Find, own: Shown | None) -> Iterator[str]:
    """Both lines of every step that another log told: the one that asked, and the one that knew."""
    asking = own
    for number, step in enumerate(record.resolution.path, 1):
        told = None if step.record is None else find(step.record)
        if told is None:
            continue
        yield from ("", f"Step {number} stands on these lines:")
        if asking is not None:
            yield from _line(asking)
        yield from _line(told)
        asking = told


def _line(shown: Shown) -> Iterator[str]:
    yield f"  {shown.system}, {printable(shown.place)}:"
    text = printable(shown.text[: _MAX_SHOWN + 1])
    yield f"    {text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + '…'}"


def _candidates(record: Record, find: Find) -> Iterator[str]:
    found = record.resolution.candidates
    if found:
        yield from ("", "Fits, and is not proved:")
    for each in found:
        yield f"  {_candidate(each)}"
        line = find(each.record)
        if line is not None:
            yield from (f"  {text}" for text in _line(line))


def _candidate(each: Candidate) -> str:
    port = "" if each.port is None else f" port {each.port}"
    return f"{each.address}{port} ({each.method}, record {each.record})"


def _claims(record: Record) -> list[str]:
    claims = record.resolution.claims
    if not claims:
        return []
    return ["", "Said, and not believed:", *[f"  {claim.header}: {printable(claim.value)}" for claim in claims]]


def _findings(record: Record) -> list[str]:
    found = record.resolution.findings
    if not found:
        return []
    return ["", "Noticed:", *[f"  {word}: {FINDINGS[word].meaning}; {FINDINGS[word].remedy}" for word in found]]


def _remedy(record: Record) -> list[str]:
    found = record.resolution
    if found.reason is None:
        return []
    where = f" (stopped at {found.stopped_at})" if found.stopped_at is not None else ""
    return ["", f"What would help{where}: {UNKNOWN[found.reason].remedy}."]
