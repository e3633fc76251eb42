"""Law: whom a header names that may have come round the balancer is not believed where a log knows better."""

from __future__ import annotations

from clientip.model import LogsPeer, Promise, System
from clientip.trust.graph import draw
from clientip.trust.walk import resolve
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.worlds.walks import PROXY, claim, request, system

LOGGED = ["nodes", "ingress", "app"]


def drawing(logs_peer: LogsPeer = "proxy") -> list[System]:
    nodes = replace(system("nodes", "10.244.1.1", peers="balancer outside", carries="balancer"), tells=True)
    xff = (Promise("x-forwarded-for"),)
    return [
        system("balancer", "198.51.100.20", peers="outside nodes", conveys=(PROXY,)),
        replace(nodes, connects=True, translates=True),
        system("ingress", "10.244.1.12", peers="nodes", logs_peer=logs_peer, believes="nodes", conveys=xff),
        system("app", peers="ingress"),
    ]


ENDS = st.one_of(
    st.sampled_from(["203.0.113.9:1", "198.51.100.20:80", "10.244.1.1:2222", "10.244.1.12:5", "8.8.8.8:1"]),
    st.ip_addresses().map(lambda each: f"[{each}]:7" if each.version == 6 else f"{each}:7"),
)


@given(ENDS, st.sampled_from(["proxy", "realip"]))
def test_no_statement_is_believed_that_came_through_a_hop_whose_log_knows_each_connection(
    source: str, logs_peer: LogsPeer
) -> None:
    graph = draw(drawing(logs_peer), LOGGED)
    found = resolve(graph, request(None, stated=source, by="ingress"))
    assert (found.verdict, found.reason, found.named) == ("unknown", "source_unproved", None)
    behind = resolve(graph, request("10.244.1.12:9", claim("x-forwarded-for", source), by="app"))
    assert (behind.verdict, behind.named) == ("unknown", None)


def test_a_source_through_a_hop_without_a_log_is_the_word_of_the_operator() -> None:
    graph = draw(drawing(), ["ingress", "app"])
    assert resolve(graph, request(None, stated="203.0.113.9:1", by="ingress")).verdict == "vouched"
    behind = resolve(graph, request("10.244.1.12:9", claim("x-forwarded-for", "203.0.113.9"), by="app"))
    assert behind.verdict == "vouched"
