"""The end of a walk that a header led on: held to the log of the first hop, and never a node's own address."""

from __future__ import annotations

import pytest
from clientip.model import Resolution, Stop, System, Verdict
from clientip.trust.answers import Answer, Ended, Known, Refused
from clientip.trust.graph import draw
from clientip.trust.walk import resolve
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.worlds.walks import PROXY, XFF, claim, endpoint, found, request, system

CLIENT, OTHER, NODE, EDGE = "203.0.113.7", "198.51.100.66", "198.51.100.11", "10.0.0.5"
HOP = replace(system("edge", EDGE, peers="outside internal", conveys=(XFF,)), tells=True)
APP = system("app", peers="edge outside")


def walked(systems: list[System], *answers: Answer, claimed: str = CLIENT, peer: str = EDGE) -> Resolution:
    graph = draw(systems, [each.name for each in systems], holds=True)
    return resolve(graph, request(peer, claim("x-forwarded-for", claimed)), answers=answers)


def known(client: str | None, verdict: Verdict = "seen") -> Known:
    site = None if client is None else (client, 4711)
    return Known("edge", Ended(verdict, site, None, None, (), None), "request_id", "rec")


def test_what_a_header_says_is_asked_of_the_log_of_the_hop_that_wrote_it() -> None:
    end = walked([APP, HOP])
    assert found(end) == ("vouched", CLIENT, "x-forwarded-for")
    assert end.stop == Stop(("edge",), endpoint(EDGE), None, (), 0)


@pytest.mark.parametrize(
    "hop",
    [
        replace(HOP, tells=False),
        replace(HOP, conveys=(PROXY,)),
        replace(HOP, conveys=(), carries=("outer",)),
    ],
)
def test_nothing_is_asked_of_a_hop_that_does_not_tell_or_promises_no_header(hop: System) -> None:
    outer = system("outer", "10.0.0.6", peers="outside", conveys=(XFF,))
    graph = draw([APP, hop, outer], ["app", "edge"], holds=True)
    assert graph.held == frozenset()


def test_nothing_is_asked_unless_promises_are_held() -> None:
    assert draw([APP, HOP], ["app", "edge"]).held == frozenset()
    assert draw([APP, HOP], ["app", "edge"], holds=True).held == {"edge"}


def test_nothing_is_asked_of_a_client_that_was_seen() -> None:
    assert walked([APP, HOP], peer=OTHER).stop is None


def test_nothing_is_asked_of_a_hop_that_only_a_statement_names() -> None:
    app = system("app", peers="edge", logs_peer="realip", believes="edge")
    graph = draw([app, HOP], ["app", "edge"], holds=True)
    seen = request(None, claim("x-forwarded-for", f"{CLIENT}, {EDGE}"), stated=EDGE, logs_peer="realip")
    assert resolve(graph, seen).stop is None


def test_a_log_that_names_the_same_client_changes_nothing() -> None:
    assert walked([APP, HOP], known(CLIENT)) == replace(walked([APP, HOP]), stop=None)


def test_a_log_that_names_another_client_leaves_nobody() -> None:
    end = walked([APP, HOP], known(OTHER))
    assert (found(end), end.stop, end.stopped_at) == (("unknown", None, "contradiction"), None, "edge")
    assert end.findings[-1] == "promise_broken"
    assert end.path == walked([APP, HOP]).path


def test_a_workload_is_held_to_the_log_as_a_client_is() -> None:
    end = walked([APP, HOP], claimed="10.0.9.9")
    assert (end.verdict, end.stop is not None) == ("internal", True)
    assert walked([APP, HOP], known(OTHER), claimed="10.0.9.9").reason == "contradiction"


@given(st.sampled_from([known(None, "unknown"), Refused("evidence_missing"), Refused("too_late"), known(CLIENT)]))
def test_a_log_that_does_not_say_leaves_the_promise_believed(answer: Answer) -> None:
    assert walked([APP, HOP], answer) == replace(walked([APP, HOP]), stop=None)


@pytest.mark.parametrize(("peers", "reason"), [("outside", "translated_address"), ("internal", "translated_address")])
def test_an_address_that_nat_translates_to_is_no_client(peers: str, reason: str) -> None:
    graph = draw([system("app", peers=peers)], ["app"], [NODE, "10.0.0.9"])
    for node in (NODE, "10.0.0.9"):
        assert found(resolve(graph, request(node))) == ("unknown", None, reason)
    assert resolve(graph, request(OTHER)).reason == (None if peers == "outside" else "peer_unlisted")


def test_an_address_that_nat_translates_to_is_a_hop_where_a_system_lists_it() -> None:
    nodes = system("nodes", NODE, peers="outside")
    graph = draw([system("app", peers="nodes outside"), nodes], ["app"], [NODE])
    assert resolve(graph, request(NODE)).reason == "snat_no_witness"


def test_where_no_stranger_may_stand_an_address_that_nat_translates_to_is_unlisted() -> None:
    graph = draw([system("app", peers="edge"), HOP], ["app"], [NODE])
    assert resolve(graph, request(NODE)).reason == "peer_unlisted"
