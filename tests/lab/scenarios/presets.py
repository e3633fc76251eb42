"""Traefik's settings: those of X-Forwarded-For, each drawn with its preset, and PROXY, whose socket it does not log."""

from __future__ import annotations

from functools import partial

from tests.lab import drawing
from tests.lab.driver import Driver, proxy_v2
from tests.lab.network import Network
from tests.lab.scenario import Refusal, Scenario
from tests.lab.scenarios.sending import FORGED, LB, NODE_A, Target, forgeries, spread

INGRESS = "10.244.1.6"
PROXIED = 30095


def _send(door: Target, around: Target | None, driver: Driver) -> None:
    """Honest requests and forged ones through the door that is meant; forged ones straight to Traefik, too."""
    spread(driver, 16, door)
    for number, source in enumerate(driver.clients(24)):
        headers = forgeries(source, (LB, INGRESS)[number % 2])[number % 8]
        driver.send(door, source, headers=headers, group="forged")
        if around is not None:
            driver.send(around, source, headers=headers, group="around")


def _to_the_proxied_door(network: Network) -> None:
    """A NodePort of Traefik's entry point that believes PROXY headers, which kube-proxy's rules do not have."""
    rule = f"-t nat -{{}} PREROUTING {{}} -d {NODE_A} -p tcp --dport {PROXIED} -j {{}}"
    for number, jump in enumerate(("KUBE-MARK-MASQ", f"DNAT --to-destination {INGRESS}:8005"), 1):
        network.command("node-a", "iptables", *rule.format("I", number, jump).split())


def _around_to_traefik(driver: Driver) -> None:
    spread(driver, 16, (LB, 108))
    for source in driver.clients(16):
        prefix = proxy_v2(FORGED, 4711, NODE_A, PROXIED)
        driver.send((NODE_A, PROXIED), source, prefix=prefix, group="around")


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
    Scenario(
        name="proxy-around-traefik",
        rows="C12 G11",
        note="forged PROXY headers past the balancer, to a Traefik that logs no socket",
        systems={
            "lb": drawing.endless(drawing.balancer("lb-tcp", conveys=["proxy"])),
            "nodes": drawing.nodes("lb", carries=["lb"]),
            "ingress": {
                "format": "traefik_json",
                "inputs": ["ingress/{instance}.log"],
                "logs_peer": "proxy",
                "believes": ["nodes"],
                "instances": {"ingress-settings": [f"{INGRESS}:8005"]},
                "peers": ["nodes"],
            },
        },
        servers=("app-b", "ingress-settings", "lb-tcp"),
        prepare=_to_the_proxied_door,
        send=_around_to_traefik,
        refusals=(Refusal("ingress", "*", ("source_unproved",)),),
        attack=True,
    ),
)
