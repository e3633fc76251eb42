"""Contradictions and attacks noticed on a finished walk. They explain; they never change its end."""

from __future__ import annotations

from clientip.model import Address, Claim, Endpoint, Observation, Step, System
from clientip.syntax.headers import claim_nodes, is_list

_NOT_COMPARED = frozenset({"x-original-forwarded-for", "traefik-clienthost", "client.address"})


def findings(
    seen: Observation, path: tuple[Step, ...], reason: str | None, client: Endpoint | None, hop: System | None
) -> tuple[str, ...]:
    """Words of `reasons.FINDINGS`, each once, in a fixed order.

    `client`: the end of the walk, None if unknown; `hop`: the system that did not vouch.
    """
    claims = seen.claims
    if reason is None and not seen.notes and seen.stated is None and seen.proxied is None and _usual(claims, path):
        return ()
    said = [claim for claim in claims if claim.values and claim.name not in _NOT_COMPARED]
    if not said and reason is None and not seen.notes and seen.proxied is None and seen.stated is None:
        return ()
    found = list(seen.notes)
    if said and len(path) == 1 and path[0].system is None:
        found.append("header_from_outside")
    elif said:
        found += _disagreements(said, path)
    if reason is not None:
        found += _of_reason(reason, seen, hop)
    if client is not None and path:
        found += _of_statements(seen, path)
    addresses = [step.address for step in path if step.address is not None]
    if len(addresses) != len(set(addresses)):
        found.append("hop_listed_twice")
    return tuple(dict.fromkeys(found))


def _usual(claims: tuple[Claim, ...], path: tuple[Step, ...]) -> bool:
    """Whether every header is the one that was walked, or repeats an address of the path: nothing to compare."""
    if not path or (path[0].system is None and claims):
        return False
    met = [step.address for step in path]
    if len(set(met)) != len(met):
        return False
    for claim in claims:
        values = claim.values
        if values and claim.name != path[-1].by and (values[0] not in met or is_list(claim.name)):
            return False
    return True


def _of_reason(reason: str, seen: Observation, hop: System | None) -> list[str]:
    if reason == "unexpected_neighbour":
        return ["unexpected_neighbour"]
    if reason == "owner_unproved":
        return ["proof_missing"]
    if reason == "header_missing":
        return ["promised_header_missing"]
    if reason == "contradiction" and hop is not None:
        sources = {promise.source for promise in hop.conveys}
        if "proxy" in sources:
            return ["proxy_disagrees"]
        return ["forwarded_disagrees" if "forwarded" in sources else "header_disagrees"]
    if reason == "header_unreadable" and hop is not None:
        names = {promise.source for promise in hop.conveys}
        if any(len(claim.values) > 1 and not is_list(claim.name) for claim in seen.claims if claim.name in names):
            return ["several_values"]
    return []


def _of_statements(seen: Observation, path: tuple[Step, ...]) -> list[str]:
    """What the server itself derived, against what the walk met."""
    met = {step.address for step in path}
    found = []
    if seen.stated is not None and seen.stated.address.text not in met:
        found.append("statement_differs")
    if seen.proxied is not None and seen.proxied.address.text not in met:
        found.append("proxy_disagrees")
    return found


def _disagreements(said: list[Claim], path: tuple[Step, ...]) -> list[str]:
    if len(said) == 1 and is_list(said[0].name):
        return []  # nothing to compare it with
    lists = {claim.name: claim_nodes(claim.name, claim.values) for claim in said if is_list(claim.name)}
    found = []
    xff, forwarded = lists.get("x-forwarded-for"), lists.get("forwarded")
    if xff and forwarded and xff[-1].address != forwarded[-1].address:
        found.append("forwarded_disagrees")
    known: set[Address | None] = {node.address for nodes in lists.values() for node in nodes}
    met = {step.address for step in path}
    for claim in said:
        if is_list(claim.name):
            continue
        address = claim_nodes(claim.name, claim.values[:1])[0].address
        if address not in known and (address is None or address.text not in met):
            found.append("header_disagrees")
            break
    return found
