"""Whom a fact names, and the answer that it gives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from clientip.joins.facts import JoinFact, kind_of
from clientip.model import Candidate
from clientip.trust.answers import Answer, Awaits, Known, Refused, Through

MAX_CANDIDATES: Final = 4  # shown of those that fit


def name_of(fact: JoinFact) -> tuple[object, ...]:
    """Whom a fact names: facts of one name are one answer."""
    if fact.role != "request":
        return fact.system, fact.peer, fact.local, fact.own
    if fact.ended is None or fact.ended.client is None:
        return fact.system, fact.record
    return fact.system, fact.ended.client, fact.ended.verdict


def through(fact: JoinFact) -> Answer | Awaits:
    if fact.role == "request":
        return known(fact, "connection_log")
    if fact.peer is None:
        return Refused("peer_not_logged")
    method = ("conntrack" if fact.event else "flow_record") if fact.role == "translation" else "connection_log"
    return Through(fact.system, fact.peer, fact.local, method, fact.record, fact.stated, fact.own)


def known(fact: JoinFact, method: str) -> Known | Awaits:
    if fact.ended is None:
        return Awaits(fact.system, method, fact.record)
    return Known(fact.system, fact.ended, method, fact.record)


def candidates(facts: Iterable[JoinFact]) -> tuple[Candidate, ...]:
    """Whom the facts name, for people to look at; each once, in a fixed order."""
    found = set()
    for fact in facts:
        named = fact.peer if fact.role != "request" else fact.ended.client if fact.ended is not None else None
        if named is not None and not fact.own:
            found.add((named[0], -1 if named[1] is None else named[1], method_of(fact), fact.record))
    return tuple(
        Candidate(address, None if port < 0 else port, method, record)
        for address, port, method, record in sorted(found)[:MAX_CANDIDATES]
    )


def method_of(fact: JoinFact) -> str:
    kind = kind_of(fact.key)
    if kind == "conn":
        return "conntrack" if fact.role == "translation" else "connection_log"
    return "trace" if kind == "trace" else "request_id"
