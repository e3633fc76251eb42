"""Where requests go, and the usual ways to send many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tests.lab.driver import Driver

NODE_A, NODE_B, LB = "198.51.100.11", "198.51.100.12", "198.51.100.50"
NODE_A6, NODE_B6 = "2001:db8:2::11", "2001:db8:2::12"
APP_A, APP_B = "10.244.1.5", "10.244.2.5"
INGRESS_A, INGRESS_B, TENANT = "10.244.1.6", "10.244.2.6", "10.244.1.9"
SELF_B, CLUSTER_B, INGRESS_SERVICE = "10.96.0.20", "10.96.0.10", "10.96.0.15"

Target = tuple[str, int]


def spread(driver: Driver, wanted: int, *targets: Target, ipv6: bool = False, workers: int = 6, **more: Any) -> None:
    """Connections of all clients, several at once; every third is reset, every fourth carries three requests."""

    calls: list[Callable[[], object]] = []
    for number, source in enumerate(driver.clients(wanted, ipv6)):
        usual = {"requests": 3 if number % 4 == 0 else 1, "reset": number % 3 == 0}
        calls.append(partial(driver.send, targets[number % len(targets)], source, **{**usual, **more}))
    driver.many(calls, workers)


def alike(driver: Driver, sources: Sequence[str], target: Target, workers: int = 6, **more: Any) -> None:
    """One connection for each source, all of the same kind."""
    driver.many([partial(driver.send, target, source, **more) for source in sources], workers)


def inside(driver: Driver, where: str, source: str, wanted: int, *targets: Target, **more: Any) -> None:
    """Connections that begin at a pod or a node."""
    for number in range(driver.count(wanted)):
        driver.send(targets[number % len(targets)], source, where, **more)


def traceparent(number: int, flavour: str = "1") -> tuple[str, str]:
    """A header as a client that traces sends it.

    >>> traceparent(7)
    ('traceparent', '00-10000000000000000000000000000007-1000000000000007-01')
    """
    return "traceparent", f"00-{flavour}{number:031x}-{flavour}{number:015x}-01"


FORGED = "192.0.2.66"  # no client of the lab has it


def forgeries(own: str, hop: str) -> Sequence[Sequence[tuple[str, str]]]:
    """Headers that name somebody else, or a trusted hop as if it had written."""
    return (
        (("X-Forwarded-For", FORGED),),
        (("X-Forwarded-For", f"{FORGED}, {hop}"),),
        (("X-Forwarded-For", f"{FORGED}, {own}, {hop}"), ("X-Forwarded-For", hop)),
        (("Forwarded", f"for={FORGED};by={hop}"), ("X-Real-IP", FORGED)),
        (("X-Forwarded-For", ""), ("X-Forwarded-For", f"{FORGED}:80, [2001:db8:bad::66]:1")),
        (("CF-Connecting-IP", FORGED), ("True-Client-IP", FORGED), ("X-Client-IP", FORGED)),
        (("Connection", "X-Forwarded-For"), ("X-Forwarded-For", FORGED)),
        (("X-Forwarded-For", f"unknown, {FORGED}, {hop}, {hop}"), ("X-Original-Forwarded-For", FORGED)),
    )
