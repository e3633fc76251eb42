"""Contradictions between systems: names, neighbours and promises that cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from clientip.config.keys import RESERVED
from clientip.config.schema_check import instead
from clientip.config.suggest import bare
from clientip.model import System
from clientip.syntax.headers import FORWARDING, REQUEST_HEADERS, TRACE_HEADERS, is_list

Finding = tuple[str, tuple[str, ...], str]
"""(system, the wrong key and the keys that it contradicts, what is wrong and what to write)."""


def promise_fault(source: str, mode: str) -> str | None:
    """Why a system cannot promise this header in this mode; None if it can.

    >>> promise_fault("x-real-ip", "append")
    'x-real-ip holds a single address; write mode = "overwrite"'
    """
    if source == "proxy":
        return None
    if mode == "overwrite" and is_list(source):
        return f'{source} is a list; write mode = "append": what replaces the list writes its rightmost entry too'
    if mode != "overwrite" and not is_list(source):
        return f'{source} holds a single address; write mode = "overwrite"'
    return None


def topology_faults(systems: Sequence[System], logging: Collection[str]) -> Iterator[Finding]:
    """Every contradiction in the topology; `logging`: the systems that write a log."""
    names = frozenset(system.name for system in systems)
    conveyed = frozenset(promise.source for system in systems for promise in system.conveys)
    for system in systems:
        yield from _of_names(system, names)
        yield from _of_neighbours(system, system.name in logging)
        yield from _of_promises(system)
        yield from _of_trust(system, conveyed)
        for header in sorted({*system.passes_ids} - REQUEST_HEADERS - TRACE_HEADERS):
            text = f"no id is read from {header}; write one of {', '.join(sorted(REQUEST_HEADERS | TRACE_HEADERS))}"
            yield system.name, ("passes_ids",), text


def _of_names(system: System, names: frozenset[str]) -> Iterator[Finding]:
    for name in sorted(system.peers - names - RESERVED):
        yield system.name, ("peers",), _no_system(name, names - {system.name} | RESERVED)
    for key, listed in (("carries", system.carries), ("believes", system.believes)):
        for name in listed:
            if name in RESERVED:
                yield system.name, (key,), f'"{name}" is no system; name only systems that are drawn'
            elif name not in names:
                yield system.name, (key,), _no_system(name, names - {system.name})
            elif name not in system.peers:
                yield system.name, (key, "peers"), f'"{name}" is not in `peers`; add it there, or take it out here'


def _no_system(name: str, known: Collection[str]) -> str:
    mend = instead(name, known)
    if mend.startswith("write"):
        mend = f"add it, or {mend.replace('write', 'use', 1)}"
    return f"no [systems.{bare(name)}]; {mend if known else 'add it'}"


def _of_neighbours(system: System, logs: bool) -> Iterator[Finding]:
    if not system.peers and (logs or system.conveys):
        wanted = '"outside", "internal" or the systems before it'
        yield system.name, ("peers",), f"is missing: nothing says who may connect to it; write {wanted}"
    if (system.conveys or system.carries) and not system.owns:
        key = "conveys" if system.conveys else "carries"
        yield system.name, ("addresses", key), f"are missing: it `{key}`, so list the addresses it connects from"


def _of_promises(system: System) -> Iterator[Finding]:
    for promise in system.conveys:
        fault = promise_fault(promise.source, promise.mode)
        if fault is not None:
            yield system.name, ("conveys",), fault
    named = [*(promise.source for promise in system.conveys), *sorted(system.keeps), *sorted(system.drops)]
    for source, times in Counter(named).items():
        if times > 1:
            yield system.name, ("conveys",), f'"{source}" is promised twice; write it once'
    if (system.conveys or system.drops) and system.carries:
        text = "it hides its peers and passes their bytes, so it cannot tell anything; write `carries` or `conveys`"
        yield system.name, ("conveys", "carries"), text


def _of_trust(system: System, conveyed: frozenset[str]) -> Iterator[Finding]:
    if system.believes and system.logs_peer in (None, "socket"):
        text = 'a socket needs no belief; write logs_peer = "proxy" or "realip", or take `believes` out'
        yield system.name, ("believes", "logs_peer"), text
    if system.proof and not system.shared:
        yield (
            system.name,
            ("proof", "shared"),
            "proves nothing for addresses of its own; write shared = true, or take it out",
        )
    for header in sorted({proof.header for proof in system.proof} & (FORWARDING | conveyed)):
        text = f"{header} names clients and would be kept as a hash only; prove with a header that no system conveys"
        yield system.name, ("proof",), text
