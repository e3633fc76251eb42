"""A balancer outside the cluster: passthrough, full proxy, PROXY protocol, shared upstream connections, request ids."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.lab import drawing
from tests.lab.driver import Driver
from tests.lab.network import CLIENTS4, Network
from tests.lab.scenario import Refusal, Scenario
from tests.lab.scenarios.sending import LB, alike, spread

VIRTUAL = "203.0.113.200"  # what the passthrough balancer announces


def _chain(name: str, **more: object) -> dict[str, drawing.Keys]:
    return {
        "lb": drawing.balancer(name, "outside", **more),
        "nodes": drawing.nodes("lb"),
        "app": drawing.app("nodes"),
    }


def _send(port: int, wanted: int = 60) -> Callable[[Driver], None]:
    def send(driver: Driver) -> None:
        spread(driver, wanted, (LB, port))

    return send


def _passthrough(network: Network) -> None:
    """The router as a balancer that translates the destination only."""
    network.command("router", "iptables", "-t", "nat", "-F", "PREROUTING")
    rule = f"-t nat -A PREROUTING -d {VIRTUAL} -p tcp --dport 80 -j DNAT --to-destination 198.51.100.11:30080"
    network.command("router", "iptables", *rule.split())


def _to_virtual(driver: Driver) -> None:
    # Clients are on the router's own link, so they need to be told where the address is.
    spread(driver, 40, (VIRTUAL, 80))


def _announce(network: Network) -> None:
    _passthrough(network)
    network.ip("router", [f"addr replace {VIRTUAL}/32 dev wan0"])


def _transparent(network: Network) -> None:
    """The balancer connects in the client's name; the node's answers come back to it."""
    marks = "-t mangle -A PREROUTING -p tcp -m socket --transparent -j MARK --set-mark 1"
    network.command("lb", "iptables", "-t", "mangle", "-F", "PREROUTING")
    network.command("lb", "iptables", *marks.split())
    network.ip("lb", ["rule add fwmark 1 lookup 100", "route replace local 0.0.0.0/0 dev lo table 100"])
    network.ip("node-b", [f"route replace {client}/32 via {LB}" for client in CLIENTS4[-2:]])


def _through_transparent(driver: Driver) -> None:
    for number in range(driver.count(20)):
        driver.send((LB, 89), CLIENTS4[-2:][number % 2])


def _in_turn(driver: Driver) -> None:
    """One client after the other on the same upstream connection, further apart than the clocks' tolerance."""
    for source in driver.clients(30):
        driver.send((LB, 82), source)
        time.sleep(0.05)


def _pooled(driver: Driver) -> None:
    """Four clients at a time; each rests between its two requests, so that the connections go from hand to hand."""
    alike(driver, driver.clients(80), (LB, 82), workers=4, requests=2, pause=0.02)


def _tls(driver: Driver) -> None:
    for source in driver.clients(20):
        driver.send((LB, 85), source, tls=True, requests=2)


CARRIED = {
    "lb": drawing.balancer("lb-tcp", conveys=["proxy"]),
    "nodes": drawing.silent_nodes("lb", carries=["lb"]),
    "app": drawing.app("nodes"),
}
CLOSE = (Refusal("app", "*", ("ambiguous",), optional=True),)

ALL = (
    Scenario(
        name="b6",
        rows="B6",
        note="a balancer that passes the client's address through",
        systems={"nodes": drawing.nodes("outside"), "app": drawing.app("nodes")},
        prepare=_announce,
        send=_to_virtual,
    ),
    Scenario(
        name="b7",
        rows="B7 C12 G4",
        note="a full-proxy balancer without PROXY or header, then the node",
        systems=_chain("lb-tcp"),
        servers=("app-b", "lb-tcp"),
        send=_send(80),
    ),
    Scenario(
        name="b7-32",
        rows="B7 C12",
        note="the same on 32 SNAT ports",
        systems=_chain("lb-tcp"),
        servers=("app-b", "lb-tcp"),
        send=_send(80, 200),
        snat_ports=32,
    ),
    Scenario(
        name="b8",
        rows="B8",
        note="full proxy to a Local NodePort: only the balancer hides the client",
        systems={"lb": drawing.balancer("lb-tcp"), "app": drawing.app("lb")},
        servers=("app-b", "lb-tcp"),
        send=_send(83),
        # The balancer connected to the node's port, the pod was reached at its own: no line shows that these are one.
        refusals=(Refusal("app", "*", ("evidence_missing",), optional=True),),
    ),
    Scenario(
        name="proxy-carried",
        rows="C12",
        note="PROXY v2 through a NodePort, the nodes say nothing (`carries`)",
        systems=CARRIED,
        servers=("app-b", "lb-tcp"),
        send=_send(81),
    ),
    Scenario(
        name="proxy-told",
        rows="C12",
        note="PROXY v2 through a NodePort, with NAT events and the balancer's log beside",
        systems={**CARRIED, "nodes": drawing.nodes("lb", carries=["lb"])},
        servers=("app-b", "lb-tcp"),
        send=_send(81),
    ),
    Scenario(
        name="c13",
        rows="C13",
        note="a balancer that connects in the client's name",
        systems={"lb": drawing.balancer("lb-transparent"), "app": drawing.app("outside", "lb")},
        servers=("app-b", "lb-transparent"),
        prepare=_transparent,
        send=_through_transparent,
    ),
    Scenario(
        name="g8",
        rows="G8",
        note="TLS passed through to the pod",
        systems=_chain("lb-tcp"),
        servers=("app-b", "lb-tcp"),
        send=_tls,
    ),
    Scenario(
        name="g11-pool",
        rows="G11",
        note="clients share the balancer's upstream connections; only its request lines tell them apart",
        systems=_chain("lb-http"),
        servers=("app-b", "lb-http"),
        send=_in_turn,
    ),
    Scenario(
        name="g11-dense",
        rows="G11",
        note="the same within milliseconds of each other: clocks cannot tell",
        systems=_chain("lb-http"),
        servers=("app-b", "lb-http"),
        send=_pooled,
        refusals=CLOSE,
    ),
    Scenario(
        name="g11-header",
        rows="G11",
        note="shared upstream connections, and a header for every request",
        systems=_chain("lb-http", conveys=drawing.APPEND),
        servers=("app-b", "lb-http"),
        send=_send(84),
    ),
    Scenario(
        name="g11-never",
        rows="B7 G11",
        note="an HTTP balancer with an upstream connection for each client",
        systems=_chain("lb-http"),
        servers=("app-b", "lb-http"),
        send=_send(92),
        refusals=CLOSE,
    ),
    Scenario(
        name="ids-minted",
        rows="G11",
        note="the balancer writes a request id of its own; nobody collects NAT events",
        systems={
            "lb": drawing.balancer("lb-mints", mints=["x-request-id"]),
            "nodes": drawing.silent_nodes("lb"),
            "app": drawing.app("nodes"),
        },
        servers=("app-b", "lb-mints"),
        send=_send(86),
    ),
)
