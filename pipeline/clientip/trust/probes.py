"""Rule 10: which requests are health checks. `internal` is a statement of the log, never of a status.

A path alone proves nothing: anybody may ask for it. The log must show that the hop promised something of its peer, as
it does for every client, and said nothing.
"""

from __future__ import annotations

from clientip.model import Observation, System
from clientip.trust.graph import Graph


def is_probe(here: System, seen: Observation) -> bool:
    """Whether this is a request without any header to a path of health checks."""
    target = seen.http.target if seen.http is not None else None
    if target is None or target.partition("?")[0] not in here.probes or seen.proxied is not None:
        return False
    return not any(claim.values for claim in seen.claims)


def is_silent(graph: Graph, hop: System, seen: Observation) -> bool:
    """Whether the log has a column for all that the hop promises, or the system it carries; a probe's are empty."""
    promises = graph.systems[hop.carries[0]].conveys if hop.carries else hop.conveys
    return bool(promises) and all(_has_column(promise.source, seen) for promise in promises)


def _has_column(source: str, seen: Observation) -> bool:
    if source == "proxy":
        return seen.source_column == "sure"  # elsewhere a request that failed early shows the balancer itself, too
    return any(claim.name == source and claim.coverage in ("all", "first", "last") for claim in seen.claims)
