"""What is asked of the whole lab: from where, to where, and what an attacker writes into it.

The letters are those of the usual table of Kubernetes patterns: A inside the cluster, B node ports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tests.lab.kube.driver import Connection

NODES = {"a": ("198.51.100.11", "2001:db8:2::11"), "b": ("198.51.100.12", "2001:db8:2::12")}
BALANCER = ("198.51.100.50", "2001:db8:2::50")
CLIENTS = {
    4: tuple(f"203.0.113.{n}" for n in (10, 11, 12, 13)),
    6: tuple(f"2001:db8:1::{n}" for n in (10, 11, 12, 13)),
}
SERVICE, APP = ("10.96.0.15", "fd00:96::15"), "10.96.0.30"
CLUSTER, LOCAL, EDGE, POD, APP_POD = 30085, 30086, 8088, 8000, 8080
STOLEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FORGED = (
    ("X-Forwarded-For", "198.51.100.66"),
    ("X-Forwarded-For", "192.0.2.66, 10.244.1.1"),
    ("Forwarded", 'for="[2001:db8:6::6]:6666"'),
    ("X-Real-Ip", "192.0.2.66"),
    ("CF-Connecting-IP", "192.0.2.66"),
    ("True-Client-IP", "192.0.2.66"),
    ("User-Agent", '","ClientAddr":"192.0.2.66:6666","x":"'),
)
PROXY_V1 = "PROXY TCP4 192.0.2.66 198.51.100.11 6666 30085\r\n"
AGENT = ("User-Agent", "lab/1")
SECRET_ID = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"


@dataclass(frozen=True)
class Pod:
    """A pod as the API tells it."""

    name: str
    node: str  # a or b
    addresses: tuple[str, str]


@dataclass(frozen=True)
class Batch:
    """Connections from one place: `client`, a node's namespace (`a`, `b`) or a pod by name."""

    place: str
    connections: tuple[Connection, ...]


def batches(pods: Mapping[str, list[Pod]], mode: str, count: int) -> Iterator[Batch]:
    """All scenarios, `count` connections each; the mode of kube-proxy becomes part of their names."""
    named = [("client", list(_outside(count))), ("client", list(_attacks(count)))]
    named.append(("client", [each for pod in pods["ingress"] for each in _direct(pod, count // 2)]))
    named.append(("client", [each for pod in pods["app"] for each in _around(pod, count // 4)]))
    named += [(pod.name, list(_inside(pod, count // 2))) for pod in pods["app"]]
    named += [(node, list(_host(node, addresses, count // 2))) for node, addresses in NODES.items()]
    for place, connections in named:
        yield Batch(place, tuple(replace(each, scenario=f"{each.scenario}.{mode}") for each in connections))


def _spread(base: Connection, count: int, sources: tuple[str, ...] = ("",)) -> Iterator[Connection]:
    """One scenario: every third connection carries two more requests, every other ends with a reset."""
    for number in range(count):
        source = sources[number % len(sources)]
        requests = 3 if number % 3 == 2 and not base.preamble else 1
        yield replace(base, source=source, requests=requests, aborts=number % 2 == 1)


def _outside(count: int) -> Iterator[Connection]:
    for node, addresses in NODES.items():
        for version, address in zip((4, 6), addresses, strict=True):
            share = count if version == 4 else count // 2
            for name, port in (("B1-cluster", CLUSTER), ("B4-local", LOCAL)):
                base = Connection(f"{name}-{node}-v{version}", address, port, headers=(AGENT,))
                yield from _spread(base, share, CLIENTS[version])
    balanced = (("v4", 0, 80), ("v6", 1, 80), ("v4-to-v6", 0, 82), ("v4-local", 0, 81))
    for name, family, port in balanced:
        base = Connection(f"B7-balancer-{name}", BALANCER[family], port, headers=(AGENT,))
        yield from _spread(base, count, CLIENTS[6 if family else 4])
    base = Connection("B12-host-network", NODES["b"][0], EDGE, headers=(AGENT,))
    yield from _spread(base, count, CLIENTS[4])


def _attacks(count: int) -> Iterator[Connection]:
    """Everything an outside client can write; what it says must never become the client."""
    target, sources = NODES["a"][0], CLIENTS[4]
    trace = (AGENT, ("traceparent", STOLEN), ("X-Request-Id", SECRET_ID))
    for name, port in (("cluster", CLUSTER), ("local", LOCAL)):
        yield from _spread(Connection(f"forged-headers-{name}", target, port, headers=FORGED), count, sources)
        yield from _spread(Connection(f"stolen-trace-{name}", target, port, headers=trace), count, sources)
    yield from _spread(Connection("forged-headers-balancer", BALANCER[0], 80, headers=FORGED), count, sources)
    preamble = Connection("proxy-injection", target, CLUSTER, headers=(AGENT,), preamble=PROXY_V1)
    yield from _spread(preamble, max(1, count // 10), sources)
    probe = Connection("probe-path", target, CLUSTER, headers=(AGENT,), path="/ping")
    yield from _spread(probe, max(1, count // 10), sources)
    edge = Connection("forged-headers-edge", NODES["b"][0], EDGE, headers=FORGED)
    yield from _spread(edge, count, sources)


def _direct(pod: Pod, count: int) -> Iterator[Connection]:
    for version, address in zip((4, 6), pod.addresses, strict=True):
        base = Connection(f"A10-pod-address-v{version}", address, POD, headers=(AGENT,))
        yield from _spread(base, count, CLIENTS[version])


def _around(pod: Pod, count: int) -> Iterator[Connection]:
    """Past the ingress, to the application itself, with the headers that the ingress would write."""
    base = Connection("around-the-ingress", pod.addresses[0], APP_POD, headers=(*FORGED, ("traceparent", STOLEN)))
    yield from _spread(base, count, CLIENTS[4])


def _inside(pod: Pod, count: int) -> Iterator[Connection]:
    """From a pod: to the Service, through the public node ports, and to its own Service."""
    other = "b" if pod.node == "a" else "a"
    for version in (0, 1):
        name = f"v{4 if version == 0 else 6}"
        share = count if version == 0 else count // 2
        yield from _spread(Connection(f"A1-pod-to-service-{name}", SERVICE[version], 80, headers=(AGENT,)), share)
        own = NODES[pod.node][version]
        yield from _spread(Connection(f"B9-pod-to-local-{name}", own, LOCAL, headers=(AGENT,)), share)
        yield from _spread(Connection(f"B9b-pod-to-cluster-{name}", NODES[other][version], CLUSTER), share)
    yield from _spread(Connection("tenant-forged-headers", SERVICE[0], 80, headers=FORGED), count)
    around = Connection("tenant-around-ingress", APP, 80, headers=(*FORGED, ("traceparent", STOLEN)))
    yield from _spread(around, count)


def _host(node: str, addresses: tuple[str, str], count: int) -> Iterator[Connection]:
    """From a process of the node itself."""
    for version in (0, 1):
        name = f"v{4 if version == 0 else 6}"
        share = count if version == 0 else count // 2
        yield from _spread(Connection(f"A5-host-to-service-{name}", SERVICE[version], 80, headers=(AGENT,)), share)
        yield from _spread(Connection(f"B9c-host-to-local-{name}", addresses[version], LOCAL), share)
