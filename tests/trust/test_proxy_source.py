"""Law: a PROXY header that names the device that brought it leads to nobody: its writer chose the tuple."""

from __future__ import annotations

import pytest
from clientip.model import System
from clientip.trust.graph import draw
from clientip.trust.walk import resolve
from msgspec.structs import replace

from tests.worlds.walks import PROXY, request, system


def drawing(*, balancer_peers: str) -> list[System]:
    nodes = replace(system("nodes", "10.244.1.1", peers="balancer outside", carries="balancer"), tells=True)
    return [
        system("balancer", "198.51.100.20", peers=balancer_peers, conveys=(PROXY,)),
        replace(nodes, connects=True, translates=True),
        system("ingress", peers="nodes", logs_peer="proxy", believes="nodes"),
    ]


@pytest.mark.parametrize(("balancer_peers", "asks"), [("outside", False), ("outside nodes", True)])
def test_a_source_of_the_device_itself_asks_no_log_unless_the_balancer_may_meet_it(
    balancer_peers: str, asks: bool
) -> None:
    graph = draw(drawing(balancer_peers=balancer_peers), ["nodes", "ingress"])
    found = resolve(graph, request(None, stated="10.244.1.1:2222", by="ingress"))
    assert found.named is None
    assert (found.stop is not None) == asks
    assert ("reached_around" in found.findings) != asks
