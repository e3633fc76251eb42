"""Whether a record is right. The recorder of the logs wrote down who sent each request; the URL tells which it was.

The labels: `/truth=CLIENT~PORT~SCENARIO~NUMBER~GROUP` in the lab (`in-CLIENT` for a workload), `/t/LABEL` in the demo.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

Judgement = Literal["right", "wrong", "open"]  # open: it names no client, and so no wrong one

_LAB: Final = re.compile(r"/truth=(in-)?([0-9A-Fa-f.:]+)~([0-9]+)~")
_DEMO: Final = re.compile(r"/t/([A-Za-z0-9.-]+)")


class Truth(NamedTuple):
    """Who sent a request."""

    client: str
    port: int
    inside: bool | None  # whether it is a workload of ours; None: not written down


class Truths(NamedTuple):
    """Everything that was written down."""

    labels: Mapping[str, Truth]  # of the demo
    senders: frozenset[str]  # addresses that sent anything: some requests are too broken to show a label


def truths(files: Iterable[Path]) -> Truths:
    """What stands in the `truth.jsonl` of the recordings. Errors: OSError."""
    labels, senders = {}, set()
    for path in files:
        for row in map(json.loads, path.read_bytes().splitlines()):
            senders.add(row["client"])
            if "label" in row:
                labels[row["label"]] = Truth(row["client"], row["port"], None)
    return Truths(labels, frozenset(senders))


def judged(record: Mapping[str, Any], known: Truths) -> Judgement:
    """What a record (as `output = "record"` writes it) is worth.

    >>> known = Truths({}, frozenset(["203.0.113.7"]))
    >>> row = {"verdict": "seen", "client": {"ip": "203.0.113.7"}, "http": {"target": "/truth=203.0.113.7~4711~b1~1~x"}}
    >>> judged(row, known), judged(row | {"client": {"ip": "203.0.113.8"}}, known)
    ('right', 'wrong')
    """
    if record["verdict"] == "unknown":
        return "open"
    truth = _truth((record.get("http") or {}).get("target") or "", known)
    client = record.get("client")
    if record["verdict"] == "internal":
        return "right" if client is None and _began_at(record, truth, known) else "wrong"
    if client is None:
        return "wrong"
    if truth is None:
        return "right" if client["ip"] in known.senders else "wrong"
    port = client.get("port")
    return "right" if not truth.inside and client["ip"] == truth.client and port in (None, truth.port) else "wrong"


def _truth(target: str, known: Truths) -> Truth | None:
    lab, demo = _LAB.search(target), _DEMO.search(target)
    if lab is not None:
        return Truth(lab[2], int(lab[3]), lab[1] is not None)
    return None if demo is None else known.labels.get(demo[1])


def _began_at(record: Mapping[str, Any], truth: Truth | None, known: Truths) -> bool:
    """Whether the walk ended at the workload that sent the request."""
    address = record["path"][-1].get("address")
    if truth is None:
        return address in known.senders
    return truth.inside is not False and address == truth.client
