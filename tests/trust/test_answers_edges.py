"""Edges of the walk that goes on with answers, which mutation testing asked for."""

from __future__ import annotations

import pytest
from clientip.model import Candidate, Observation, Promise, Resolution, Step, Stop, System
from clientip.trust.answers import Answer, Ended, Known, Refused, Site, Through
from clientip.trust.graph import draw
from clientip.trust.walk import resolve
from msgspec.structs import replace

from tests.worlds.walks import FORWARDED, PROXY, XFF, claim, endpoint, found, owns, request, system

A: Site = ("203.0.113.7", 51000)
NEAR: Site = ("10.0.0.1", 443)
SINGLE = Promise("x-real-ip", "overwrite")


def answered(systems: list[System], seen: Observation, *answers: Answer) -> Resolution:
    return resolve(draw(systems, [each.name for each in systems]), seen, answers=answers)


def through(system: str = "node", peer: Site = A, local: Site | None = NEAR, **more: bool) -> Through:
    return Through(system, peer, local, "conntrack", "rec", **more)


def path(resolution: Resolution) -> list[tuple[str | None, str | None, int | None, str, str, str | None]]:
    return [(step.system, step.address, step.port, step.by, step.evidence, step.record) for step in resolution.path]


APP = system("app", peers="node")
NODE = replace(system("node", "10.0.0.0/24", peers="outside"), tells=True, connects=True)


# Who may answer.


def test_witnesses_are_the_drawn_systems_that_log_and_tell() -> None:
    quiet = system("quiet", "10.0.1.0/24")
    assert draw([APP, NODE, quiet], ["node", "quiet", "ghost"]).witnesses == {"node"}
    assert draw([APP, NODE], ["app"]).witnesses == set()


# Where a walk stops it says what it would have to know.


@pytest.mark.parametrize(
    ("reason", "hop", "seen"),
    [
        ("snat_no_witness", {}, request("10.0.0.1:9")),
        ("header_missing", {"conveys": (XFF,)}, request("10.0.0.1:9", claim("x-forwarded-for"))),
        ("header_not_logged", {"conveys": (XFF,)}, request("10.0.0.1:9")),
        (
            "header_incomplete",
            {"conveys": (XFF,)},
            request("10.0.0.1:9", claim("x-forwarded-for", coverage="remainder")),
        ),
        ("header_unreadable", {"conveys": (XFF,)}, request("10.0.0.1:9", claim("x-forwarded-for", "unknown"))),
        ("proxy_missing", {"conveys": (PROXY,)}, request("10.0.0.1:9")),
        ("owner_unproved", {"conveys": (XFF,), "shared": True}, request("10.0.0.1:9")),
        ("ambiguous", {"own": owns("10.0.0.0/8", from_ns=5)}, request("10.0.0.1:9", at=(1, 9))),
    ],
)
def test_a_hop_that_did_not_vouch_is_asked_about(reason: str, hop: dict[str, object], seen: Observation) -> None:
    node = system("node", *([] if "own" in hop else ["10.0.0.0/24"]), peers="outside", **hop)  # type: ignore[arg-type]
    seen = replace(seen, local=endpoint("10.9.9.9:8080"))
    resolution = answered([APP, node], seen)
    assert found(resolution)[2] == reason
    assert resolution.stop == Stop(("node",), endpoint("10.0.0.1:9"), endpoint("10.9.9.9:8080"), (), 0)


def test_a_socket_that_was_not_logged_or_not_believed_is_asked_about_without_ends() -> None:
    stated = system("app", peers="node", logs_peer="realip")
    for seen, reason in ((request(None), "peer_not_logged"), (request(None, stated="203.0.113.7"), "not_believed")):
        resolution = answered([stated, NODE], seen)
        assert (resolution.reason, resolution.stop) == (reason, Stop((), None, None, (), 0))


def test_what_contradicts_itself_is_not_asked_about() -> None:
    node = system("node", "10.0.0.0/24", peers="outside", conveys=(XFF, FORWARDED))
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7"), claim("forwarded", "for=203.0.113.8"))
    resolution = answered([APP, node], seen)
    assert (resolution.reason, resolution.stop) == ("contradiction", None)


def test_only_owners_that_may_be_there_are_asked() -> None:
    other = system("other", "10.0.0.0/24", peers="outside", conveys=(XFF,))
    resolution = answered([APP, other, NODE], request("10.0.0.1:9"))
    assert resolution.reason == "ambiguous"
    assert resolution.stop is not None
    assert resolution.stop.systems == ("node",)


def test_a_stop_names_those_the_walk_went_through_once_and_no_ends_of_theirs() -> None:
    ring = system("ring", "10.1.0.0/24", peers="ring node", conveys=(XFF,))
    seen = request("10.1.0.1:9", claim("x-forwarded-for", "10.0.0.1:7, 10.1.0.2"))
    resolution = answered([system("app", peers="ring"), ring, NODE], replace(seen, local=endpoint("10.9.9.9:8080")))
    assert resolution.stop == Stop(("node",), endpoint("10.0.0.1:7"), None, ("ring",), 0)


def test_behind_a_statement_the_near_end_and_the_proxy_header_are_not_the_observers() -> None:
    app = system("app", peers="node", logs_peer="realip", believes="node")
    node = system("node", "10.0.0.0/24", peers="outside", conveys=(PROXY,))
    seen = request(None, stated="10.0.0.1:9", proxied="203.0.113.7:51000")
    resolution = answered([app, node], replace(seen, local=endpoint("10.9.9.9:8080")))
    assert resolution.reason == "proxy_missing"
    assert resolution.stop is not None
    assert resolution.stop.target is None


def test_of_a_carrier_whose_carried_system_did_not_vouch_that_one_is_named() -> None:
    node = system("node", "10.0.0.0/24", peers="lb", carries="lb")
    lb = system("lb", "10.1.0.1", peers="outside", conveys=(PROXY,))
    assert answered([APP, node, lb], request("10.0.0.1:9")).stopped_at == "lb"


# A connection seen through.


def test_behind_one_connection_the_next_is_asked_about_with_the_ends_that_the_teller_saw() -> None:
    systems = [APP, replace(NODE, peers=frozenset({"lb"})), system("lb", "10.1.0.0/24", peers="outside")]
    seen = replace(request("10.0.0.1:9"), local=endpoint("10.9.9.9:8080"))
    for local in (NEAR, None):
        stop = answered(systems, seen, through(peer=("10.1.0.1", 7), local=local)).stop
        target = None if local is None else endpoint("10.0.0.1:443")
        assert stop == Stop(("lb",), endpoint("10.1.0.1:7"), target, ("node",), 1)
    stopped = answered(systems, seen, through(peer=("10.1.0.1", 7)), through("lb"))
    assert (stopped.stop, found(stopped)) == (None, ("joined", "203.0.113.7", "conntrack"))


def test_answers_are_used_one_by_one() -> None:
    ring = replace(system("node", "10.0.0.0/24", peers="node outside"), tells=True)
    hops = [through(peer=("10.0.0.2", 7)), through(peer=("10.0.0.3", 8))]
    resolution = answered([APP, ring], request("10.0.0.1:9"), *hops)
    assert [step.address for step in resolution.path] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert resolution.stop is not None
    assert resolution.stop.at == 2
    assert found(answered([APP, ring], request("10.0.0.1:9"), *hops, through()))[:2] == ("joined", "203.0.113.7")


def test_a_hop_that_kept_the_address_was_told_of_all_the_same() -> None:
    systems = [APP, replace(NODE, peers=frozenset({"node"}))]
    resolution = answered(systems, request("10.0.0.1:9"), through(peer=("10.0.0.1", 9)))
    assert path(resolution) == [
        ("node", "10.0.0.1", 9, "socket", "seen", None),
        ("node", "10.0.0.1", 9, "conntrack", "joined", "rec"),
    ]


def test_only_a_system_that_may_be_there_sees_through() -> None:
    systems = [APP, NODE, system("side", "10.2.0.0/24", peers="outside")]
    resolution = answered(systems, request("10.0.0.1:9"), through("side"))
    assert found(resolution) == ("unknown", None, "snat_no_witness")


def test_the_owner_that_answers_is_the_one_that_was_there() -> None:
    """Also further out, where the steps before stay what they are."""
    mixed = [system(name, "10.0.0.0/24", peers="outside", conveys=(each,)) for name, each in (("a", XFF), ("b", PROXY))]
    near = system("near", "10.1.0.0/24", peers="a b", conveys=(SINGLE,))
    direct = answered([system("app", peers="a b"), *mixed], request("10.0.0.1:9"), through("b"))
    last = (None, *A, "conntrack", "joined", "rec")
    assert path(direct) == [("b", "10.0.0.1", 9, "socket", "seen", None), last]
    seen = request("10.1.0.1:9", claim("x-real-ip", "10.0.0.1"))
    further = answered([system("app", peers="near"), near, *mixed], seen, through("b"))
    assert path(further) == [
        ("near", "10.1.0.1", 9, "socket", "seen", None),
        ("b", "10.0.0.1", None, "x-real-ip", "vouched", None),
        last,
    ]


def test_the_owner_that_answers_is_named_although_the_walk_met_it_before() -> None:
    ring = system("b", "10.0.0.0/24", "10.1.0.0/24", peers="a b outside", conveys=(SINGLE,))
    other = system("a", "10.0.0.0/24", peers="outside", conveys=(PROXY,))
    seen = request("10.1.0.1:9", claim("x-real-ip", "10.0.0.1"))
    resolution = answered([system("app", peers="b"), ring, other], seen, through("b"))
    assert [step.system for step in resolution.path] == ["b", "b", None]


def test_a_proxy_header_of_the_observers_connection_is_not_that_of_one_further_out() -> None:
    """Nor of the connection that a teller's PROXY header hides."""
    lb = system("lb", "10.1.0.0/24", peers="outside", conveys=(PROXY,))
    node = replace(NODE, peers=frozenset({"lb"}))
    near = system("near", "10.2.0.0/24", peers="node", conveys=(SINGLE,))
    hop = through(peer=("10.1.0.1", 7))
    seen = request("10.0.0.1:9", proxied="203.0.113.9:5")
    assert found(answered([APP, node, lb], seen, hop))[:2] == ("joined", "203.0.113.9")
    assert found(answered([APP, node, lb], seen, replace(hop, stated=True)))[2] == "proxy_missing"
    behind = request("10.2.0.1:9", claim("x-real-ip", "10.0.0.1:9"), proxied="203.0.113.9:5")
    assert found(answered([system("app", peers="near"), near, node, lb], behind, hop))[2] == "proxy_missing"


def test_a_carrier_is_asked_only_if_its_own_log_tells_of_its_connections() -> None:
    node = system("node", "10.0.0.0/24", peers="lb", carries="lb")
    lb = system("lb", "10.1.0.0/24", peers="outside", conveys=(PROXY,))
    seen = request("10.0.0.1:9", proxied="203.0.113.7:51000")
    for tells, connects in ((False, False), (False, True), (True, False)):
        drawn = replace(node, tells=tells, connects=connects)
        assert found(answered([APP, drawn, lb], seen))[:2] == ("vouched", "203.0.113.7")
    assert answered([APP, replace(node, tells=True, connects=True), lb], seen).reason == "snat_no_witness"


def test_who_came_through_the_carried_system_did_not_reach_around_it() -> None:
    node = replace(system("node", "10.0.0.0/24", peers="lb outside", carries="lb"), tells=True, connects=True)
    lb = system("lb", "10.1.0.0/24", peers="outside", conveys=(PROXY,))
    inside = answered([APP, node, lb], request("10.0.0.1:9"), through(peer=("10.1.0.1", 7)))
    around = answered([APP, node, lb], request("10.0.0.1:9"), through(peer=("203.0.113.9", 7)))
    assert (inside.reason, inside.findings) == ("proxy_missing", ())
    assert around.findings == ("reached_around",)


@pytest.mark.parametrize(
    ("peer", "further"), [(("10.0.0.1", 9), 0), (("10.0.0.1", 8), 1), (("10.0.0.2", 9), 1), (("10.0.0.2", 8), 1)]
)
def test_what_a_hop_opened_itself_shows_its_own_address_where_it_is_another(peer: Site, further: int) -> None:
    resolution = answered([APP, NODE], request("10.0.0.1:9"), through(peer=peer, own=True))
    assert found(resolution)[:2] == ("internal", peer[0])
    assert path(resolution)[1:] == [("node", *peer, "conntrack", "joined", "rec")] * further


def test_a_proxy_drawn_on_a_device_is_what_the_device_began_itself() -> None:
    proxy = system("proxy", "10.0.0.1", peers="outside", conveys=(XFF,))
    systems = [system("app", peers="node proxy"), NODE, proxy]
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7"))
    last = (None, "203.0.113.7", None, "x-forwarded-for", "vouched", None)
    same = answered(systems, seen, through(peer=("10.0.0.1", 9), own=True))
    assert path(same) == [("proxy", "10.0.0.1", 9, "socket", "seen", "rec"), last]
    moved = answered(systems, seen, through(peer=("10.0.0.1", 8), own=True))
    assert path(moved) == [
        ("node", "10.0.0.1", 9, "socket", "seen", None),
        ("proxy", "10.0.0.1", 8, "conntrack", "joined", "rec"),
        last,
    ]


@pytest.mark.parametrize(
    ("others", "end"),
    [
        ([system("side", "10.0.0.1", peers="outside", conveys=(XFF,))], ("internal", "10.0.0.1", "socket")),
        (
            [system(name, "10.0.0.1", peers="outside", conveys=(XFF,)) for name in ("proxy", "second")],
            ("unknown", None, "ambiguous"),
        ),
        (
            [system("proxy", own=owns("10.0.0.1", from_ns=5), peers="outside", conveys=(XFF,))],
            ("unknown", None, "ambiguous"),
        ),
    ],
)
def test_a_device_on_which_nobody_may_run_spoke_for_itself_and_of_several_none_is_chosen(
    others: list[System], end: tuple[str, str | None, str]
) -> None:
    systems = [system("app", peers="node proxy second"), NODE, *others]
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7"), at=(1, 9))
    assert found(answered(systems, seen, through(peer=("10.0.0.1", 9), own=True))) == end


def test_a_probe_through_a_witness_of_nat_may_be_anybodys() -> None:
    app = system("app", peers="node", probes=("/healthz",))
    seen = request("10.0.0.1:9", claim("x-forwarded-for"), target="/healthz")
    promising = replace(NODE, conveys=(XFF,))
    nat = replace(promising, translates=True)
    assert answered([app, nat], seen).reason == "header_missing"
    for node in (promising, replace(nat, tells=False)):
        assert found(answered([app, node], seen))[0::2] == ("internal", "probe")
    assert answered([app, NODE], seen).reason == "snat_no_witness"  # it promises nothing that could be missing
    other = system("other", "10.0.0.0/24", peers="outside", conveys=(XFF,))
    assert answered([replace(app, peers=frozenset({"node", "other"})), NODE, other], seen).reason == "ambiguous"


# A line that is this very request.

ENDED = Ended(
    "seen", A, "socket", None, (Step("in", "10.5.0.1", 5, "socket", "seen"), Step(None, *A, "xff", "vouched")), None
)


def known(ended: Ended = ENDED) -> Known:
    return Known("node", ended, "trace", "rec")


def test_another_lines_walk_is_added_and_its_first_step_says_whose_it_is() -> None:
    resolution = answered([APP, NODE], request("10.0.0.1:9"), known())
    assert found(resolution) == ("joined", "203.0.113.7", "trace")
    assert path(resolution) == [
        ("node", "10.0.0.1", 9, "socket", "seen", None),
        ("in", "10.5.0.1", 5, "socket", "joined", "rec"),
        (None, *A, "xff", "vouched", None),
    ]


def test_a_line_without_steps_adds_none() -> None:
    resolution = answered([APP, NODE], request("10.0.0.1:9"), known(replace(ENDED, path=())))
    assert (found(resolution)[0], len(resolution.path)) == ("joined", 1)


@pytest.mark.parametrize("verdict", ["seen", "vouched", "joined"])
def test_a_client_of_another_line_is_joined(verdict: str) -> None:
    assert found(answered([APP, NODE], request("10.0.0.1:9"), known(replace(ENDED, verdict=verdict))))[0] == "joined"


def test_what_began_inside_for_another_line_did_so_for_this() -> None:
    resolution = answered([APP, NODE], request("10.0.0.1:9"), known(replace(ENDED, verdict="internal")))
    assert found(resolution) == ("internal", "203.0.113.7", "trace")


def test_what_another_line_does_not_know_this_does_not_either() -> None:
    unknown = Ended("unknown", None, None, "header_missing", ENDED.path, "lb")
    resolution = answered([APP, NODE], request("10.0.0.1:9"), known(unknown))
    assert (resolution.verdict, resolution.client, resolution.method) == ("unknown", None, None)
    assert (resolution.reason, resolution.stopped_at, resolution.stop) == ("header_missing", "lb", None)


def test_what_the_asker_was_sent_is_compared_with_its_own_steps_only() -> None:
    seen = request("10.0.0.1:9", claim("x-real-ip", A[0]))
    assert answered([APP, NODE], seen, known()).findings == ("header_disagrees",)


def test_the_last_answer_ends_the_walk() -> None:
    node = replace(NODE, peers=frozenset({"lb"}))
    lb = system("lb", "10.1.0.0/24", peers="outside")
    hop = through(peer=("10.1.0.1", 7))
    assert found(answered([APP, node, lb], request("10.0.0.1:9"), hop, known()))[0] == "joined"
    shown = (Candidate(*A, "trace", "rec"),)
    refused = answered([APP, node, lb], request("10.0.0.1:9"), hop, Refused("crowded", shown))
    assert (refused.reason, refused.candidates, refused.stop) == ("crowded", shown, None)
