"""What attackers try: forged headers and PROXY bytes, stolen and shared ids, tenants inside, hand-made log formats."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from tests.lab import drawing, patterns
from tests.lab.driver import Driver, proxy_v2
from tests.lab.network import CLIENTS4
from tests.lab.scenario import Refusal, Scenario
from tests.lab.scenarios.balancers import CARRIED
from tests.lab.scenarios.sending import (
    APP_B,
    FORGED,
    INGRESS_SERVICE,
    LB,
    NODE_A,
    NODE_B,
    TENANT,
    Target,
    alike,
    forgeries,
    inside,
    spread,
    traceparent,
)

Options = dict[str, Any]
VICTIM, ATTACKER = CLIENTS4[0], CLIENTS4[4]
ROUND = ("snat_no_witness", "evidence_missing", "evidence_incomplete", "ambiguous", "unexpected_neighbour")


def _forged(driver: Driver, hop: str, *targets: Target) -> None:
    for number, source in enumerate(driver.clients(32)):
        headers = forgeries(source, hop)[number % 8]
        driver.send(targets[number % len(targets)], source, headers=headers, group="forged")


def _forged_nodeport(driver: Driver) -> None:
    _forged(driver, NODE_A, (NODE_A, 30080))


def _forged_balancer(driver: Driver) -> None:
    _forged(driver, LB, (LB, 84))


def _forged_ingress(driver: Driver) -> None:
    _forged(driver, "10.244.1.6", (NODE_A, 30086), (NODE_B, 30086))


def _forged_caddy(driver: Driver) -> None:
    _forged(driver, NODE_B, (NODE_B, 80))


def _forged_envoy(driver: Driver) -> None:
    _forged(driver, NODE_A, (NODE_A, 80))


def _if_none(driver: Driver) -> None:
    spread(driver, 20, (LB, 87))
    _forged(driver, LB, (LB, 87))


def _injection(driver: Driver) -> None:
    spread(driver, 12, (NODE_A, 30080))
    for number, source in enumerate(driver.clients(12)):
        text = f"PROXY TCP4 {FORGED} {APP_B} 4711 8080\r\n".encode()
        prefix = text if number % 2 else proxy_v2(FORGED, 4711, APP_B, 8080)
        driver.send((NODE_A, 30080), source, prefix=prefix, group="injected")


def _around_the_proxy(driver: Driver) -> None:
    """Straight to the NodePort of the listener that believes PROXY headers."""
    spread(driver, 16, (LB, 81))
    for source in driver.clients(16):
        driver.send((NODE_A, 30083), source, prefix=proxy_v2(FORGED, 4711, NODE_A, 30083), group="around")


def _stolen_trace(driver: Driver) -> None:
    """While the victim's transfer runs, its trace is replayed: through the ingress, and straight to the application."""
    for number in range(driver.count(6)):
        stolen = traceparent(number + 1, "a")
        victim: Options = {"headers": (stolen,), "path": "/slow", "group": "victim"}
        driver.later(partial(driver.send, (NODE_A, 30086), VICTIM, **victim))
    spread(driver, 8, (NODE_A, 30086))
    for number in range(driver.count(6)):
        stolen = traceparent(number + 1, "a")
        driver.send((NODE_A, 30086), ATTACKER, headers=(stolen,), group="replayed")
        forged = (stolen, ("X-Forwarded-For", FORGED))
        driver.send((NODE_A, 30080), ATTACKER, headers=forged, group="around")
    driver.join()


def _stolen_id(driver: Driver) -> None:
    """The application answers with the request id it saw; who gets hold of one sends it past the balancer."""
    for _ in range(driver.count(8)):
        answer = driver.send((LB, 86), VICTIM, group="victim")
        driver.later(lambda: driver.send((LB, 86), VICTIM, path="/slow", group="victim"))
        found = re.search(rb"X-Seen-Request-Id: ([^\r]+)", answer)
        stolen = ("X-Request-ID", found[1].decode() if found else "none")
        driver.send((NODE_A, 30080), ATTACKER, headers=(stolen,), group="around")
        driver.send((LB, 86), ATTACKER, headers=(stolen,), group="replayed")
    driver.join()


def _kept_ids(driver: Driver) -> None:
    for number, source in enumerate(driver.clients(24)):
        driver.send((LB, 88), source, group="none")
        driver.send((LB, 88), source, headers=(("X-Request-ID", f"own-{number}"),), group="own")
    alike(driver, driver.clients(24), (LB, 88), headers=(("X-Request-ID", "same"),), group="same")


def _crowd(driver: Driver) -> None:
    """A hundred clients share one trace; others have none."""
    shared = traceparent(1, "c")
    driver.later(lambda: spread(driver, 100, (NODE_A, 30086), headers=(shared,), group="crowd"))
    spread(driver, 30, (NODE_A, 30086))
    driver.join()


def _tenant_pod(driver: Driver) -> None:
    stolen = traceparent(1, "d")
    victim: Options = {"headers": (stolen,), "path": "/slow", "group": "victim"}
    for _ in range(3):
        driver.later(partial(driver.send, (NODE_A, 30086), VICTIM, **victim))
    spread(driver, 12, (NODE_A, 30086))
    for headers in forgeries(TENANT, "10.244.1.6"):
        inside(driver, "tenant", TENANT, 2, (INGRESS_SERVICE, 80), headers=headers, group="through")
        inside(driver, "tenant", TENANT, 2, (APP_B, 8080), headers=(*headers, stolen), group="around")
    driver.join()


def _hand_made(driver: Driver) -> None:
    """The User-Agent closes the string and writes keys of its own."""
    texts = (
        f'x","peer":"{FORGED}","peer_port":"4711',
        f'x","xff":"{FORGED}',
        f'x"}}\n{{"msec":"1","peer":"{FORGED}","peer_port":"1","ua":"y',
        "x\\",
        f'","peer":"{FORGED}","local":"10.244.2.5:8082","ua":"',
    )
    spread(driver, 12, (APP_B, 8082))
    for number, source in enumerate(driver.clients(20)):
        text = texts[number % len(texts)].replace("\n", " ")
        driver.send((APP_B, 8082), source, headers=(("User-Agent", text),), group="forged")


INGRESS = {"ingress": drawing.ingress("outside"), "app": drawing.app("ingress")}
TWO_DOORS = {"ingress": drawing.ingress("outside", conveys=[]), "nodes": drawing.silent_nodes("outside")}
UNREADABLE = (Refusal("*", "forged", ("header_unreadable", "header_missing", "contradiction"), optional=True),)

ALL = (
    Scenario(
        name="forged-nodeport",
        rows="B1",
        note="forged headers of every kind; the nodes vouch for none",
        systems={"nodes": drawing.nodes("outside"), "app": drawing.app("nodes")},
        send=_forged_nodeport,
        attack=True,
    ),
    Scenario(
        name="forged-balancer",
        rows="G11 C12",
        note="forged headers through a balancer that appends",
        systems={
            "lb": drawing.balancer("lb-http", conveys=drawing.APPEND),
            "nodes": drawing.nodes("lb"),
            "app": drawing.app("nodes"),
        },
        servers=("app-b", "lb-http"),
        send=_forged_balancer,
        attack=True,
    ),
    Scenario(
        name="forged-ingress",
        rows="B4",
        note="forged headers through Traefik",
        systems=INGRESS,
        servers=("app-b", "ingress-a", "ingress-b"),
        send=_forged_ingress,
        attack=True,
    ),
    Scenario(
        name="forged-caddy",
        rows="B12",
        note="forged headers through Caddy",
        systems={
            "caddy": drawing.caddy("outside", addresses=["198.51.100.12", "10.244.2.1"]),
            "app": drawing.app("caddy"),
        },
        servers=("app-b", "caddy"),
        send=_forged_caddy,
        attack=True,
    ),
    Scenario(
        name="forged-envoy",
        rows="B12",
        note="forged headers through Envoy",
        systems={
            "envoy": drawing.envoy(
                "envoy", "outside", addresses=["198.51.100.11"], appends_before_log=True, conveys=drawing.APPEND
            ),
            "app": drawing.app("envoy"),
        },
        servers=("app-b", "envoy"),
        send=_forged_envoy,
        refusals=UNREADABLE,
        attack=True,
    ),
    Scenario(
        name="if-none",
        rows="C12",
        note="HAProxy's `if-none` believes what clients send; the drawing promises nothing",
        systems={
            "lb": drawing.balancer("lb-if-none"),
            "nodes": drawing.nodes("lb"),
            "app": drawing.app("nodes"),
        },
        servers=("app-b", "lb-if-none"),
        send=_if_none,
        refusals=(Refusal("app", "*", ("ambiguous",), optional=True),),
        attack=True,
    ),
    Scenario(
        name="proxy-injected",
        rows="B1",
        note="PROXY headers to a listener that expects none",
        systems={"nodes": drawing.nodes("outside"), "app": drawing.app("nodes")},
        send=_injection,
        attack=True,
    ),
    Scenario(
        name="proxy-around",
        rows="C12",
        note="forged PROXY headers past the balancer",
        systems={**CARRIED, "nodes": drawing.nodes("lb", carries=["lb"])},
        servers=("app-b", "lb-tcp"),
        send=_around_the_proxy,
        refusals=(Refusal("app", "around", ("contradiction", "unexpected_neighbour", "peer_unlisted")),),
        attack=True,
    ),
    Scenario(
        name="stolen-trace",
        rows="G11",
        note="a trace id replayed through the ingress and around it, while the victim's request runs",
        systems={**TWO_DOORS, "app": drawing.app("ingress", "nodes")},
        servers=("app-b", "ingress-a"),
        send=_stolen_trace,
        refusals=(
            Refusal("app", "around", ROUND),
            Refusal("app", "victim", ("ambiguous",), optional=True),
            Refusal("app", "replayed", ("ambiguous",), optional=True),
        ),
        attack=True,
    ),
    Scenario(
        name="stolen-id",
        rows="G11",
        note="a minted request id sent past the balancer",
        systems={
            "lb": drawing.balancer("lb-mints", mints=["x-request-id"]),
            "nodes": drawing.silent_nodes("lb", "outside"),
            "app": drawing.app("nodes"),
        },
        servers=("app-b", "lb-mints"),
        send=_stolen_id,
        refusals=(Refusal("app", "*", ROUND),),  # one door is open to all: no id proves that it was not used
        attack=True,
    ),
    Scenario(
        name="stolen-id-told",
        rows="B1 G11",
        note="the same with NAT events: they tell who came past the balancer",
        systems={
            "lb": drawing.balancer("lb-mints", mints=["x-request-id"]),
            "nodes": drawing.nodes("lb", "outside"),
            "app": drawing.app("nodes"),
        },
        servers=("app-b", "lb-mints"),
        send=_stolen_id,
        attack=True,
    ),
    Scenario(
        name="kept-ids",
        rows="G11",
        note="request ids that the balancer keeps if they come from outside; many share one",
        systems={
            "lb": drawing.balancer("lb-keeps", passes_ids=["x-request-id"]),
            "nodes": drawing.silent_nodes("lb"),
            "app": drawing.app("nodes"),
        },
        servers=("app-b", "lb-keeps"),
        send=_kept_ids,
        refusals=(Refusal("app", "same", ("ambiguous", "crowded"), optional=True),),
        attack=True,
    ),
    Scenario(
        name="shared-trace",
        rows="G11",
        note="one trace id for a hundred clients",
        systems={"ingress": drawing.ingress("outside", conveys=[]), "app": drawing.app("ingress")},
        servers=("app-b", "ingress-a"),
        send=_crowd,
        refusals=(Refusal("app", "crowd", ("ambiguous", "crowded"), optional=True),),
        attack=True,
    ),
    Scenario(
        name="tenant-pod",
        rows="A1 A10",
        note="a tenant's pod sends through the ingress and around it, with forged headers and a stolen trace",
        systems={"ingress": drawing.ingress("outside", "internal"), "app": drawing.app("ingress", "internal")},
        servers=("app-b", "ingress-a", "ingress-b"),
        send=_tenant_pod,
        attack=True,
    ),
    Scenario(
        name="hand-made",
        rows="A10",
        note="hand-made JSON without escaping, and a User-Agent that writes keys",
        systems={
            "app": drawing.app(
                "outside", pattern=patterns.NGINX_HAND_MADE, escape="none", inputs=["app/app-b-hand.log"]
            )
        },
        servers=("app-b-hand", "app-b"),
        send=_hand_made,
        attack=True,
    ),
)
