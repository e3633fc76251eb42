"""`conveys` of a system: what it tells of its peer, and what it does with the headers that came to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from clientip.model import Promise


class Passed(NamedTuple):
    """What leaves a system towards the next hop."""

    conveys: tuple[Promise, ...]  # what it tells of its own peer
    keeps: frozenset[str]  # headers that it passes on as they came: they tell nothing of its peer
    drops: frozenset[str]  # headers that it never passes on


def passed(entries: Iterable[str | Mapping[str, Any]]) -> Passed:
    """The entries of `conveys`, sorted by what they mean.

    >>> passed(["proxy", {"header": "X-Real-IP", "mode": "keep"}])
    Passed(conveys=(Promise(source='proxy', mode='append'),), keeps=frozenset({'x-real-ip'}), drops=frozenset())
    """
    conveys: list[Promise] = []
    others: dict[str, set[str]] = {"keep": set(), "drops": set()}
    for entry in entries:
        if isinstance(entry, str):
            conveys.append(Promise(entry))
        elif entry["mode"] in others:
            others[entry["mode"]].add(entry["header"].lower())
        else:
            conveys.append(Promise(entry["header"].lower(), entry["mode"]))
    return Passed(tuple(conveys), frozenset(others["keep"]), frozenset(others["drops"]))
