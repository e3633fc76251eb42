"""Ingress controllers, sidecars and what they say of the client: headers, access logs, spans."""

from __future__ import annotations

from tests.lab import drawing
from tests.lab.driver import Driver
from tests.lab.scenario import Refusal, Scenario
from tests.lab.scenarios.sending import LB, NODE_A, NODE_B, spread, traceparent

SILENT: drawing.Keys = {"conveys": []}  # the header is there, and the drawing does not trust it
ENVOY_HOST = ["198.51.100.11"]
CADDY_HOST = ["198.51.100.12", "10.244.2.1"]


def _local_ingress(driver: Driver) -> None:
    spread(driver, 40, (NODE_A, 30086), (NODE_B, 30086))


def _cluster_ingress(driver: Driver) -> None:
    spread(driver, 40, (NODE_A, 30085))


def _chain(driver: Driver) -> None:
    spread(driver, 40, (LB, 93))


def _shop(driver: Driver) -> None:
    spread(driver, 40, (NODE_A, 30086), path="/shop")


def _shop_traced(driver: Driver) -> None:
    """Every client brings a trace of its own; some send several requests in it."""
    for number, source in enumerate(driver.clients(24)):
        driver.send((NODE_A, 30086), source, path="/shop", headers=(traceparent(number + 1),), requests=1 + number % 2)


def _caddy(driver: Driver) -> None:
    spread(driver, 30, (NODE_B, 80))


def _envoy(driver: Driver) -> None:
    spread(driver, 30, (NODE_A, 80))


def _both_doors(driver: Driver) -> None:
    """The node's address is the source of the ingress's own connections and of translated ones."""
    driver.later(lambda: spread(driver, 40, (NODE_A, 30080), group="nodeport"))
    spread(driver, 40, (NODE_A, 80), group="ingress")
    driver.join()


def _mesh(driver: Driver) -> None:
    spread(driver, 30, ("10.244.1.7", 8080), workers=3)


ALL = (
    Scenario(
        name="metal-local",
        rows="B4 G11",
        note="demo 2: bare metal, Traefik behind a Local NodePort, headers for the application",
        systems={"ingress": drawing.ingress("outside"), "app": drawing.app("ingress")},
        servers=("app-b", "ingress-a", "ingress-b"),
        send=_local_ingress,
    ),
    Scenario(
        name="metal-cluster",
        rows="B1 G11",
        note="the same behind a Cluster NodePort: Traefik's header names a node, its trace id leads on",
        systems={
            "nodes": drawing.nodes("outside"),
            "ingress": drawing.ingress("nodes"),
            "app": drawing.app("ingress"),
        },
        servers=("app-b", "ingress-a", "ingress-b"),
        send=_cluster_ingress,
    ),
    Scenario(
        name="chain",
        rows="B7 C12 G11",
        note="balancer, node, ingress, application as one path",
        systems={
            "lb": drawing.balancer("lb-tcp"),
            "nodes": drawing.nodes("lb"),
            "ingress": drawing.ingress("nodes"),
            "app": drawing.app("ingress"),
        },
        servers=("app-b", "ingress-a", "ingress-b", "lb-tcp"),
        send=_chain,
    ),
    Scenario(
        name="spans-header",
        rows="G11",
        note="spans of ingress and application, with the header",
        systems={"ingress": drawing.ingress_spans("outside"), "shop": drawing.shop("ingress")},
        servers=("ingress-a", "shop-b"),
        send=_shop,
    ),
    Scenario(
        name="spans-trace",
        rows="G11",
        note="spans of ingress and application, the trace alone",
        systems={"ingress": drawing.ingress_spans("outside", **SILENT), "shop": drawing.shop("ingress")},
        servers=("ingress-a", "shop-b"),
        send=_shop,
    ),
    Scenario(
        name="spans-kept",
        rows="G11",
        note="clients bring trace ids, the ingress keeps them",
        systems={"ingress": drawing.ingress_spans("outside", **SILENT), "shop": drawing.shop("ingress")},
        servers=("ingress-a", "shop-b"),
        send=_shop_traced,
    ),
    Scenario(
        name="log-and-spans",
        rows="G11",
        note="the application's log line leads through the ingress's trace id alone",
        systems={"ingress": drawing.ingress("outside", **SILENT), "app": drawing.app("ingress")},
        servers=("app-b", "ingress-a", "ingress-b"),
        send=_local_ingress,
    ),
    Scenario(
        name="b12-caddy",
        rows="B12",
        note="Caddy on the node's own address",
        systems={
            "caddy": drawing.caddy("outside", addresses=CADDY_HOST),
            "app": drawing.app("caddy"),
        },
        servers=("app-b", "caddy"),
        send=_caddy,
    ),
    Scenario(
        name="b12-envoy",
        rows="B12",
        note="Envoy on the node's own address; no header is drawn, its connection log leads on",
        systems={
            "envoy": drawing.envoy("envoy", "outside", addresses=ENVOY_HOST, appends_before_log=True),
            "app": drawing.app("envoy"),
        },
        servers=("app-b", "envoy"),
        send=_envoy,
        refusals=(Refusal("app", "*", ("ambiguous",), optional=True),),
    ),
    Scenario(
        name="host-ingress",
        rows="B1 B12",
        note="an ingress on a node that also translates NodePorts: one address, two owners",
        systems={
            "nodes": drawing.nodes("outside"),
            "envoy": drawing.envoy("envoy", "outside", addresses=ENVOY_HOST, appends_before_log=True),
            "app": drawing.app("nodes", "envoy"),
        },
        servers=("app-b", "envoy"),
        send=_both_doors,
        refusals=(Refusal("app", "ingress", ("ambiguous",), optional=True),),
    ),
    Scenario(
        name="f1",
        rows="F1",
        note="a sidecar behind REDIRECT: the application sees 127.0.0.6, clients share connections",
        systems={
            "sidecar": drawing.envoy("sidecar", "outside", addresses=["127.0.0.6"], mints=["x-request-id"]),
            "app": drawing.app("sidecar"),
        },
        servers=("mesh-app", "sidecar"),
        send=_mesh,
        refusals=(Refusal("app", "*", ("ambiguous",), optional=True),),
    ),
)
