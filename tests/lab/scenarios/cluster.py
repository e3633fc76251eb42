"""What happens on the nodes: Services of both policies and modes, ports used again, long connections."""

from __future__ import annotations

import time
from functools import partial

from tests.lab import drawing
from tests.lab.driver import Driver
from tests.lab.network import Network
from tests.lab.scenario import Refusal, Scenario
from tests.lab.scenarios.sending import (
    APP_A,
    APP_B,
    INGRESS_B,
    NODE_A,
    NODE_A6,
    NODE_B,
    SELF_B,
    TENANT,
    inside,
    spread,
)

DRAWN = [address for own in drawing.NODE_ADDRESSES.values() for address in own if address != NODE_B]
FORGETFUL = {"nodes": drawing.nodes("outside", addresses=DRAWN), "app": drawing.app("nodes", "outside")}
NAT = {"nodes": drawing.nodes("outside"), "app": drawing.app("nodes")}
EAST_WEST = {"nodes": drawing.nodes("outside", "internal", "nodes"), "app": drawing.app("nodes", "outside", "internal")}


def _pod_to_service(driver: Driver) -> None:
    inside(driver, "tenant", TENANT, 10, (SELF_B, 80))
    inside(driver, "app-a", APP_A, 10, (SELF_B, 80))


def _same_node(driver: Driver) -> None:
    inside(driver, "ingress-b", INGRESS_B, 12, (SELF_B, 80))


def _host_to_service(driver: Driver) -> None:
    inside(driver, "node-a", NODE_A, 12, (SELF_B, 80))


def _hairpin(driver: Driver) -> None:
    inside(driver, "app-b", APP_B, 12, (SELF_B, 80))


def _headless(driver: Driver) -> None:
    spread(driver, 16, (APP_B, 8080))
    inside(driver, "tenant", TENANT, 6, (APP_B, 8080))


def _cluster(driver: Driver) -> None:
    spread(driver, 60, (NODE_A, 30080))


def _both_nodes(driver: Driver) -> None:
    spread(driver, 60, (NODE_A, 30080), (NODE_B, 30080))


def _same_node_pod(driver: Driver) -> None:
    spread(driver, 40, (NODE_A, 30082))


def _local(driver: Driver) -> None:
    spread(driver, 30, (NODE_B, 30081))


def _local_from_pods(driver: Driver) -> None:
    inside(driver, "tenant", TENANT, 8, (NODE_B, 30081), (NODE_A, 30081))


def _cluster_from_pods(driver: Driver) -> None:
    inside(driver, "tenant", TENANT, 12, (NODE_A, 30080))
    spread(driver, 12, (NODE_A, 30080))


def _local_from_hosts(driver: Driver) -> None:
    inside(driver, "node-a", NODE_A, 6, (NODE_A, 30081))
    inside(driver, "node-b", NODE_B, 6, (NODE_B, 30081))


def _ipv6(driver: Driver) -> None:
    spread(driver, 40, (NODE_A6, 30080), ipv6=True)


def _forgotten(driver: Driver) -> None:
    """Node B hides its clients behind an address of the outer network, as node A does; only node A is drawn with it."""
    spread(driver, 24, (NODE_B, 30082), group="forgotten")
    spread(driver, 24, (NODE_A, 30080))
    spread(driver, 12, (APP_A, 8080), (APP_B, 8080), group="direct")


def _reuse(driver: Driver) -> None:
    spread(driver, 300, (NODE_A, 30080))


def _two_pods(driver: Driver) -> None:
    spread(driver, 200, (NODE_A, 30084))


def _tcp_and_udp(driver: Driver) -> None:
    def datagrams() -> None:
        for source in driver.clients(60)[:24]:  # an entry stays for half a minute, and there are 32 ports
            driver.datagram((NODE_A, 30087), source, group="udp")

    driver.later(datagrams)
    spread(driver, 120, (NODE_A, 30087), group="tcp")
    driver.join()


def _tcp_beside_udp(network: Network) -> None:
    """kube-proxy's rules know the port for UDP only; TCP to the same pod and port makes the two meet."""
    rule = f"-t nat -{{}} PREROUTING {{}} -d {NODE_A} -p tcp --dport 30087 -j {{}}"
    for number, jump in enumerate(("KUBE-MARK-MASQ", "DNAT --to-destination 10.244.2.5:8053"), 1):
        network.command("node-a", "iptables", *rule.format("I", number, jump).split())


def _long(driver: Driver) -> None:
    """Transfers of two seconds beside short ones, and connections that rest between their requests."""
    for source in driver.clients(6):
        driver.later(partial(driver.send, (NODE_A, 30080), source, path="/slow", group="slow"))
        driver.later(partial(driver.send, (NODE_A, 30080), source, requests=4, pause=0.4, group="rests"))
    spread(driver, 20, (NODE_A, 30080))


def _keep_alive(driver: Driver) -> None:
    spread(driver, 16, (NODE_A, 30080), requests=12, reset=False)


def _before_the_collector(driver: Driver) -> None:
    """Some connections end before anybody collects, some outlive the collector's start."""
    spread(driver, 8, (NODE_A, 30080), group="missed")
    for source in driver.clients(6):
        driver.later(partial(driver.send, (NODE_A, 30080), source, requests=8, pause=0.4, group="outlives"))
    time.sleep(0.4)


def _after_the_start(driver: Driver) -> None:
    driver.join()
    spread(driver, 20, (NODE_A, 30080))


LATE = (
    Refusal("app", "missed", ("evidence_incomplete", "events_lost")),
    # Only what lies well inside a connection that was listed later is certain; its first request does not.
    Refusal("app", "outlives", ("evidence_incomplete", "events_lost"), optional=True),
)

# The translation leads to the node's own address; that a process there began it, no log line says.
HOST = (Refusal("app", "*", ("evidence_missing",), optional=True),)

ALL = (
    Scenario(
        name="a1", rows="A1", note="pod to ClusterIP: the pod's address stays", systems=EAST_WEST, send=_pod_to_service
    ),
    Scenario(
        name="a2",
        rows="A2",
        note="the same with nftables",
        systems=EAST_WEST,
        send=_pod_to_service,
        mode="nftables",
    ),
    Scenario(
        name="a5",
        rows="A5",
        note="a host process to ClusterIP",
        systems=EAST_WEST,
        send=_host_to_service,
        refusals=HOST,
    ),
    Scenario(name="a6", rows="A6", note="a pod to itself through its Service", systems=EAST_WEST, send=_hairpin),
    Scenario(name="a7", rows="A7", note="another pod of the same node", systems=EAST_WEST, send=_same_node),
    Scenario(name="a10", rows="A10", note="headless: no translation", systems=EAST_WEST, send=_headless),
    Scenario(name="b1", rows="B1", note="NodePort, Cluster: the node hides the client", systems=NAT, send=_cluster),
    Scenario(name="b1-nft", rows="B1", note="with nftables", systems=NAT, send=_cluster, mode="nftables"),
    Scenario(name="b1-both", rows="B1 B3", note="through either node", systems=NAT, send=_both_nodes),
    Scenario(
        name="b1-ulogd",
        rows="B1",
        note="ulogd2's JSON as the source of NAT events",
        systems={
            "nodes": drawing.nodes(
                "outside",
                format="ulogd_json",
                inputs=["nat/{instance}.ulogd.jsonl"],
                lossless=True,
                stamped_within="50ms",
                longest=drawing.LONGEST,
            ),
            "app": drawing.app("nodes"),
        },
        send=_cluster,
        ulogd=True,
    ),
    Scenario(name="b2", rows="B2", note="over VXLAN: the overlay's address", systems=NAT, send=_cluster, overlay=True),
    Scenario(
        name="b3",
        rows="B3",
        note="the pod stands on the entry node: the bridge's address",
        systems=NAT,
        servers=("app-a",),
        send=_same_node_pod,
    ),
    Scenario(name="b4", rows="B4 B5", note="demo 1: Local keeps the client", systems=EAST_WEST, send=_local),
    Scenario(name="b4-nft", rows="B4", note="with nftables", systems=EAST_WEST, send=_local, mode="nftables"),
    Scenario(name="b9", rows="B9", note="Local, from a pod", systems=EAST_WEST, send=_local_from_pods),
    Scenario(name="b9b", rows="B9b", note="Cluster, from a pod", systems=EAST_WEST, send=_cluster_from_pods),
    Scenario(
        name="b9c", rows="B9c", note="Local, from a host", systems=EAST_WEST, send=_local_from_hosts, refusals=HOST
    ),
    Scenario(name="g5", rows="G5", note="IPv6", systems=NAT, send=_ipv6),
    Scenario(name="g9", rows="G9", note="long transfers and resting connections", systems=NAT, send=_long),
    Scenario(name="keep-alive", rows="G9", note="many requests per connection", systems=NAT, send=_keep_alive),
    Scenario(name="reuse-64k", rows="3.5", note="the whole range of SNAT ports", systems=NAT, send=_reuse),
    Scenario(name="reuse-256", rows="3.5", note="256 SNAT ports", systems=NAT, send=_reuse, snat_ports=256),
    Scenario(name="reuse-32", rows="3.5", note="32 SNAT ports", systems=NAT, send=_reuse, snat_ports=32),
    Scenario(
        name="unstamped-32",
        rows="3.6-3",
        note="32 SNAT ports on a kernel that does not stamp: the collector's own clock",
        systems={"nodes": drawing.nodes("outside"), "app": drawing.app("nodes")},
        send=_reuse,
        snat_ports=32,
        stamps=False,
        refusals=(Refusal("app", "*", ("ambiguous",), optional=True),),  # on a busy machine intervals are wide
    ),
    Scenario(
        name="two-pods",
        rows="3.5",
        note="the same 32 SNAT ports towards two pods",
        systems=NAT,
        servers=("app-b", "app-b2"),
        send=_two_pods,
        snat_ports=32,
    ),
    Scenario(
        name="tcp-udp",
        rows="G15 3.5",
        note="TCP and UDP towards one pod and port, on the same 32 SNAT ports",
        systems={**NAT, "shop": drawing.shop("nodes", lossless=True)},
        servers=("app-b", "shop-b"),
        prepare=_tcp_beside_udp,
        send=_tcp_and_udp,
        snat_ports=32,
    ),
    Scenario(
        name="forgotten-node",
        rows="B1 B3",
        note="one node's address is in no system, and looks like a client's",
        systems=FORGETFUL,
        servers=("app-a", "app-b"),
        send=_forgotten,
        refusals=(Refusal("app", "forgotten", ("translated_address",)),),
        broken=("translated_undrawn",),
    ),
    Scenario(
        name="late-collector",
        rows="3.6-2",
        note="a node comes up and its collector later",
        systems=NAT,
        before=_before_the_collector,
        send=_after_the_start,
        refusals=LATE,
    ),
)
