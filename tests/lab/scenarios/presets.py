"""Traefik's four settings of X-Forwarded-For, each drawn with its preset: does it do to the header what that says?"""

from __future__ import annotations

from functools import partial

from tests.lab import drawing
from tests.lab.driver import Driver
from tests.lab.scenario import Refusal, Scenario
from tests.lab.scenarios.sending import LB, Target, forgeries, spread

INGRESS = "10.244.1.6"


def _send(door: Target, around: Target | None, driver: Driver) -> None:
    """Honest requests and forged ones through the door that is meant; forged ones straight to Traefik, too."""
    spread(driver, 16, door)
    for number, source in enumerate(driver.clients(24)):
        headers = forgeries(source, (LB, INGRESS)[number % 2])[number % 8]
        driver.send(door, source, headers=headers, group="forged")
        if around is not None:
            driver.send(around, source, headers=headers, group="around")


def _ingress(preset: str, *peers: str, **more: object) -> drawing.Keys:
    return {"addresses": [INGRESS], "peers": list(peers), "preset": preset, **more}


def _direct(preset: str, port: int, note: str) -> Scenario:
    return Scenario(
        name=preset,
        rows="G11",
        note=note,
        systems={"ingress": _ingress(preset, "outside"), "app": drawing.app("ingress")},
        servers=("app-b", "ingress-settings"),
        send=partial(_send, (INGRESS, port), None),
        attack=True,
    )


def _behind_a_balancer(preset: str, port: int, note: str, ingress: drawing.Keys, *refusals: Refusal) -> Scenario:
    return Scenario(
        name=preset,
        rows="C12 G11",
        note=note,
        systems={
            "lb": drawing.endless(drawing.balancer("lb-forwards", conveys=drawing.APPEND)),
            "ingress": ingress,
            "app": drawing.app("ingress"),
        },
        servers=("app-b", "ingress-settings", "lb-forwards"),
        send=partial(_send, (LB, port), (INGRESS, 7900 + port)),
        refusals=refusals,
        attack=True,
    )


ALL = (
    _direct("traefik", 8001, "Traefik that trusts no peer replaces what clients write"),
    _behind_a_balancer(
        "traefik-trusted",
        102,
        "Traefik that trusts the balancer appends to its header",
        _ingress("traefik-trusted", "lb", "outside"),
    ),
    _direct("traefik-no-append", 8003, "Traefik that appends nothing and trusts no peer drops X-Forwarded-For"),
    _behind_a_balancer(
        "traefik-no-append-trusted",
        104,
        "Traefik that appends nothing passes what the balancer wrote",
        _ingress("traefik-no-append-trusted", "lb", carries=["lb"]),
        Refusal("app", "around", ("header_missing",)),
    ),
)
