"""Cases that mutation testing asked for: each was a change of the walk that no other test noticed."""

from __future__ import annotations

import pytest
from clientip.model import Proof, System
from clientip.syntax.addresses import parse_address
from clientip.trust.graph import draw
from clientip.trust.owners import Owners, networks_of
from clientip.trust.walk import MAX_STEPS, resolve
from msgspec.structs import replace

from tests.worlds.walks import FORWARDED, PROXY, XFF, claim, found, owns, request, system, walk


def names(owners: Owners, text: str, at: tuple[int | None, int | None] = (5, 9)) -> tuple[list[str], bool]:
    systems, certain = owners.of("default", parse_address(text), *at)
    return [each.name for each in systems], certain


# Owners


def test_an_ipv6_address_with_the_number_of_an_ipv4_one_has_another_owner() -> None:
    owners = Owners([system("lb", "10.0.0.1", "10.1.0.0/16")])
    assert names(owners, "::a00:1") == ([], True)
    assert names(owners, "::a01:1") == ([], True)


@pytest.mark.parametrize("at", [(None, 9), (5, None), (None, None)])
def test_a_dated_owner_is_uncertain_unless_both_ends_of_the_time_are_known(at: tuple[int | None, int | None]) -> None:
    assert names(Owners([system("lb", own=owns("10.0.0.0/8", from_ns=1))]), "10.0.0.1", at) == (["lb"], False)


def test_an_owner_that_only_begins_is_nobody_before() -> None:
    owners = Owners([system("lb", own=owns("10.0.0.0/8", from_ns=100))])
    assert names(owners, "10.0.0.1", (5, 9)) == ([], True)
    assert names(owners, "10.0.0.1", (100, 100)) == (["lb"], True)
    assert names(owners, "10.0.0.1", (99, 100)) == (["lb"], False)


def test_owners_of_which_the_first_is_uncertain_stay_so_whatever_the_next_are() -> None:
    dated = system("old", own=owns("10.0.0.0/8", until_ns=7))
    later = system("new", own=owns("10.0.0.0/8", from_ns=1))
    assert names(Owners([dated, later]), "10.0.0.1") == (["old", "new"], False)
    assert names(Owners([later, dated]), "10.0.0.1") == (["new", "old"], False)
    assert names(Owners([dated, later]), "10.0.0.1", (None, None)) == (["old", "new"], False)


def test_what_is_remembered_never_changes_an_answer() -> None:
    owners = Owners([system("lb", "10.0.0.0/8", "10.1.2.3")])
    for _ in range(2):
        assert names(owners, "10.1.2.3") == (["lb"], True)
        assert names(owners, "11.1.2.3") == ([], True)


def test_a_range_ends_where_it_ends() -> None:
    owners = Owners([system("lb", "10.0.0.0/24", "10.0.2.1", "10.0.4.0/31", "2001:db8::/64")])
    inside = [
        "10.0.0.0",
        "10.0.0.255",
        "10.0.2.1",
        "10.0.4.0",
        "10.0.4.1",
        "2001:db8::",
        "2001:db8::ffff:ffff:ffff:ffff",
    ]
    outside = ["9.255.255.255", "10.0.1.0", "10.0.2.0", "10.0.2.2", "10.0.3.255", "10.0.4.2", "2001:db8:0:1::"]
    assert [text for text in inside + outside if names(owners, text)[0]] == inside


def test_an_owner_for_ever_stays_beside_one_that_comes_and_goes() -> None:
    always, dated = system("a", "10.0.0.0/8"), system("b", own=owns("10.0.0.0/8", until_ns=7))
    last = system("c", own=owns("10.0.0.0/8", from_ns=2))
    for order in ([always, dated, last], [dated, always, last]):
        assert sorted(names(Owners(order), "10.0.0.1")[0]) == ["a", "b", "c"]
        assert names(Owners(order), "10.0.0.1")[1] is False
        assert names(Owners(order), "10.0.0.1", (8, 9)) == (["a", "c"], True)
    assert names(Owners([always]), "10.0.0.1", (None, None)) == (["a"], True)
    assert names(Owners([always, system("b", "10.0.0.0/8")]), "10.0.0.1", (None, None)) == (["a", "b"], True)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clientip.trust.owners._MAX_REMEMBERED", 2)
    owners = Owners([system("lb", "10.0.0.0/8")])
    for number in range(9):
        assert names(owners, f"10.0.0.{number}") == (["lb"], True)
        assert len(owners._known) == len(owners.sole["default"]) == number % 2 + 1


# Ownership on the walk


def test_two_owners_that_are_the_same_but_for_their_proof_are_not_alike() -> None:
    shared = {"peers": "outside", "conveys": (XFF,), "shared": True}
    one = system("a", "10.0.0.0/8", proof=(Proof("x-origin", "1"),), **shared)  # type: ignore[arg-type]
    two = system("b", "10.0.0.0/8", proof=(Proof("x-origin", "2"),), **shared)  # type: ignore[arg-type]
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7"), proofs=(("x-origin", "1"),))
    assert found(walk([system("app", peers="a b"), one, two], seen)) == ("unknown", None, "ambiguous")


def test_of_three_owners_every_one_must_be_alike() -> None:
    alike = [system(name, "10.0.0.0/8", peers="outside", conveys=(XFF,)) for name in "ab"]
    other = system("c", "10.0.0.0/8", peers="outside", conveys=(FORWARDED,))
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7"))
    assert found(walk([system("app", peers="a b c"), *alike, other], seen))[2] == "ambiguous"
    assert found(walk([system("app", peers="a b c"), other, *alike], seen))[2] == "ambiguous"


def test_the_first_of_owners_that_are_alike_is_named() -> None:
    alike = [system(name, "10.0.0.0/8", peers="outside", conveys=(XFF,)) for name in "ab"]
    resolution = walk(
        [system("app", peers="a"), *alike], request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7"))
    )
    assert [step.system for step in resolution.path] == ["a", None]


def test_a_walk_ends_the_same_however_often_its_addresses_were_met_before() -> None:
    old = system("old", peers="outside", conveys=(XFF,), own=owns("10.0.0.0/24", until_ns=100))
    new = system("new", peers="outside", conveys=(FORWARDED,), own=owns("10.0.0.0/24", from_ns=100))
    one = system("one", "10.1.0.0/16", peers="outside", conveys=(XFF,))
    two = system("two", "10.1.1.0/24", peers="outside", conveys=(FORWARDED,))
    alike = system("alike", "10.1.2.0/24", peers="outside", conveys=(XFF,))
    graph = draw([system("app", peers="old new one two alike outside"), old, new, one, two, alike])
    asked = [
        ("10.0.0.1:9", (5, 9), "x-forwarded-for"),
        ("10.0.0.1:9", (100, 101), "forwarded"),
        ("10.0.0.1:9", (99, 100), "ambiguous"),
        ("10.0.0.1:9", None, "ambiguous"),
        ("10.1.0.1:9", (5, 9), "x-forwarded-for"),
        ("10.1.1.1:9", (5, 9), "ambiguous"),
        ("10.1.2.1:9", (5, 9), "x-forwarded-for"),
        ("203.0.113.9:9", (5, 9), "socket"),
    ]
    headers = claim("x-forwarded-for", "203.0.113.7"), claim("forwarded", "for=203.0.113.7")
    for _ in range(3):
        for peer, at, end in asked:
            assert found(resolve(graph, request(peer, *headers, at=at)))[2] == end, (peer, at)


# The walk


def test_the_bound_of_steps_is_exact() -> None:
    lb = system("lb", "10.0.0.0/8", peers="lb outside", conveys=(XFF,))
    for hops, verdict in ((MAX_STEPS - 1, "vouched"), (MAX_STEPS, "unknown")):
        entries = ", ".join(["203.0.113.7"] + ["10.0.0.1"] * (hops - 1))
        assert walk(
            [system("app", peers="lb"), lb], request("10.0.0.1:9", claim("x-forwarded-for", entries))
        ).verdict == (verdict)
    assert MAX_STEPS == 32


def test_private_strangers_stay_strangers_where_only_resolve_may_call_them_outside() -> None:
    graph = draw([system("app", peers="outside")])
    lenient = replace(graph, private_outside=True)
    for address in ("0.0.0.1", "240.0.0.1"):
        assert found(resolve(lenient, request(f"{address}:9"))) == ("unknown", None, "peer_unlisted")
    assert found(resolve(lenient, request("10.0.0.1:9"))) == ("seen", "10.0.0.1", "socket")


def test_promises_that_disagree_on_the_port_contradict() -> None:
    lb = system("lb", "10.0.0.1", peers="outside", conveys=(PROXY, XFF))
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7:6"), proxied="203.0.113.7:5")
    assert found(walk([system("app", peers="lb"), lb], seen))[2] == "contradiction"


def test_promises_that_name_the_same_address_and_port_agree() -> None:
    lb = system("lb", "10.0.0.1", peers="outside", conveys=(PROXY, XFF))
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7:5"), proxied="203.0.113.7:5")
    assert found(walk([system("app", peers="lb"), lb], seen)) == ("vouched", "203.0.113.7", "proxy_v2")


def test_the_proxy_header_of_an_owner_known_without_its_address_is_its_word() -> None:
    lb = system("lb", "10.0.0.1", peers="outside", conveys=(PROXY,))
    graph = draw([system("app", peers="lb"), lb])
    assert found(resolve(graph, request(None, proxied="203.0.113.7:5"), owner=lb)) == (
        "vouched",
        "203.0.113.7",
        "proxy_v2",
    )


def test_a_second_promise_whose_list_is_read_to_its_end_is_a_missing_header() -> None:
    lb = system("lb", "10.0.0.0/24", peers="lb outside", conveys=(XFF, FORWARDED))
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7, 10.0.0.2"), claim("forwarded", "for=10.0.0.2"))
    assert found(walk([system("app", peers="lb"), lb], seen)) == ("unknown", None, "header_missing")


def test_what_named_a_step_without_a_known_header_version_is_proxy() -> None:
    lb = system("lb", "10.0.0.1", peers="outside", conveys=(PROXY,))
    seen = request("10.0.0.1:9", proxied="203.0.113.7:5")
    bare = type(seen)(**{name: getattr(seen, name) for name in seen.__struct_fields__} | {"proxied_by": None})
    assert found(walk([system("app", peers="lb"), lb], bare)) == ("vouched", "203.0.113.7", "proxy")


def test_the_first_promise_names_the_method() -> None:
    lb = system("lb", "10.0.0.1", peers="outside", conveys=(XFF, FORWARDED))
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7"), claim("forwarded", "for=203.0.113.7"))
    assert found(walk([system("app", peers="lb"), lb], seen)) == ("vouched", "203.0.113.7", "x-forwarded-for")


def test_a_carried_step_says_that_only_the_configuration_names_it() -> None:
    nat = system("nat", "10.0.0.1", peers="lb", carries="lb")
    lb = system("lb", peers="outside", conveys=(XFF,))
    path = walk(
        [system("app", peers="nat"), nat, lb], request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7"))
    ).path
    assert [(step.system, step.by, step.evidence) for step in path] == [
        ("nat", "socket", "seen"),
        ("lb", "config", "config"),
        (None, "x-forwarded-for", "vouched"),
    ]


def test_the_owner_of_a_peer_without_an_address_is_named_by_the_configuration() -> None:
    lb = system("lb", "10.0.0.1", peers="outside", conveys=(XFF,))
    graph = draw([system("app", peers="lb"), lb])
    path = resolve(graph, request(None, claim("x-forwarded-for", "203.0.113.7")), owner=lb).path
    assert (path[0].system, path[0].address, path[0].by, path[0].evidence) == ("lb", None, "config", "config")


def test_an_empty_list_behind_a_peer_without_an_address_is_a_missing_header() -> None:
    lb = system("lb", "10.0.0.1", peers="lb outside", conveys=(XFF,))
    graph = draw([system("app", peers="lb"), lb])
    seen = request(None, claim("x-forwarded-for", ""))
    assert found(resolve(graph, seen, owner=lb)) == ("unknown", None, "header_missing")


def test_a_list_read_to_its_end_where_hops_are_only_counted_did_not_begin_inside() -> None:
    lb, far = (
        system(name, f"10.0.{n}.0/24", peers="far beyond outside", conveys=(XFF,)) for n, name in enumerate("lf")
    )
    graph = draw([system("app", peers="l"), lb, far])
    counted = replace(graph, may_state=graph.may_state | {"l": frozenset("f")}, behind={"f": far})
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "10.0.1.1"))
    assert found(resolve(counted, seen)) == ("unknown", None, "header_missing")
    assert found(resolve(replace(graph, may_state=counted.may_state), seen)) == (
        "internal",
        "10.0.1.1",
        "x-forwarded-for",
    )


def test_a_statement_without_a_word_for_itself_came_from_realip() -> None:
    app = system("app", peers="lb outside", believes="lb")
    lb = system("lb", "10.0.0.1", peers="outside", conveys=(XFF,))
    assert found(walk([app, lb], request(None, stated="203.0.113.7:5"))) == ("vouched", "203.0.113.7", "realip")


def test_what_a_hop_that_logs_its_socket_writes_is_vouched_and_not_only_stated() -> None:
    lb = system("lb", "10.0.0.1", peers="outside", conveys=(XFF,), logs_peer="socket")
    path = walk([system("app", peers="lb"), lb], request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.7"))).path
    assert path[-1].evidence == "vouched"


# What a server states of its peer

NLB = system("nlb", "10.0.0.1", peers="outside", conveys=(PROXY,))
STATING = {"peers": "nlb", "believes": "nlb"}


def test_a_server_that_accepts_headers_from_more_than_its_peers_states_nothing() -> None:
    cdn = system("cdn", "198.51.100.0/24", peers="outside", conveys=(XFF,))
    app = system("app", peers="nlb", believes="nlb cdn", logs_peer="proxy")
    assert found(walk([app, NLB, cdn], request(None, stated="203.0.113.7:5")))[2] == "not_believed"


def test_a_balancer_that_states_itself_spoke_for_itself_if_the_statement_cannot_be_the_socket() -> None:
    app = system("app", **STATING, logs_peer="proxy")  # type: ignore[arg-type]
    seen = request(None, stated="10.0.0.1:5", logs_peer="proxy", source_column="sure")
    assert found(walk([app, NLB], seen)) == ("internal", "10.0.0.1", "proxy")
    late = request(None, stated="10.0.0.1:5", logs_peer="proxy", source_column="late")
    early = request(None, stated="10.0.0.1:5", proxied="203.0.113.7:5", logs_peer="proxy", source_column="sure")
    for each in (late, early, request(None, stated="10.0.0.1:5", logs_peer="proxy")):
        assert found(walk([app, NLB], each)) == ("unknown", None, "proxy_missing")


def test_only_a_proxy_statement_can_be_the_balancer_speaking_for_itself() -> None:
    app = system("app", **STATING, logs_peer="realip")  # type: ignore[arg-type]
    seen = request(None, stated="10.0.0.1:5", logs_peer="realip")
    assert found(walk([app, NLB], seen)) == ("unknown", None, "proxy_missing")


def test_a_carrier_of_a_balancer_cannot_speak_for_it() -> None:
    nat = system("nat", "10.0.9.9", peers="nlb", carries="nlb")
    app = system("app", peers="nat nlb", believes="nat nlb", logs_peer="proxy")
    seen = request(None, stated="10.0.9.9:5", logs_peer="proxy")
    assert found(walk([app, nat, NLB], seen)) == ("unknown", None, "proxy_missing")


def left_by_realip(stated: str | None, believes: str = "lb") -> tuple[str, str | None, str | None]:
    """A server that logs its socket, what realip made of the header, and what it left of it."""
    lb = system("lb", "10.0.0.1", peers="outside", conveys=(XFF,))
    app = system("app", peers="lb", believes=believes)
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "192.0.2.66", coverage="remainder"), stated=stated)
    return found(walk([app, lb], seen))


def test_what_realip_took_off_the_list_is_put_back() -> None:
    assert left_by_realip("203.0.113.7") == ("vouched", "203.0.113.7", "x-forwarded-for")


def test_what_realip_left_alone_is_not_put_back() -> None:
    assert left_by_realip("10.0.0.1") == ("vouched", "192.0.2.66", "x-forwarded-for")


def test_what_realip_took_is_put_back_behind_an_owner_without_an_address_too() -> None:
    lb = system("lb", "10.0.0.1", peers="outside", conveys=(XFF,))
    graph = draw([system("app", peers="lb", believes="lb"), lb])
    seen = request(None, claim("x-forwarded-for", "192.0.2.66", coverage="remainder"), stated="203.0.113.7")
    assert found(resolve(graph, seen, owner=lb)) == ("vouched", "203.0.113.7", "x-forwarded-for")


def test_a_remainder_without_a_statement_or_of_a_server_that_believes_others_is_incomplete() -> None:
    assert left_by_realip(None) == ("unknown", None, "header_incomplete")
    assert left_by_realip("203.0.113.7", believes="lb outside") == ("unknown", None, "header_incomplete")
    assert left_by_realip("203.0.113.7", believes="") == ("unknown", None, "header_incomplete")


def test_behind_a_statement_the_remainder_is_read_as_it_stands() -> None:
    lb = system("lb", "10.0.0.1", peers="outside", conveys=(XFF,))
    app = system("app", peers="lb", believes="lb", logs_peer="realip")
    entries = claim("x-forwarded-for", "203.0.113.7", coverage="remainder")
    seen = request(None, entries, stated="10.0.0.1", logs_peer="realip")
    assert found(walk([app, lb], seen)) == ("vouched", "203.0.113.7", "x-forwarded-for")


# Whom a statement may name


def told(*others: System, **fields: str) -> frozenset[str]:
    return draw([system("app", **fields), *others]).may_state["app"]  # type: ignore[arg-type]


def test_a_system_that_logs_its_socket_names_its_own_peers_only() -> None:
    lb = system("lb", peers="outside")
    assert told(lb, peers="lb", believes="lb", logs_peer="socket") == {"lb"}
    assert told(lb, peers="lb", believes="lb", logs_peer="proxy") == {"lb", "outside"}


def test_realip_may_have_walked_over_every_hop_it_believes_and_proxy_over_one() -> None:
    near, far = system("near", peers="far internal"), system("far", peers="outside")
    both = {"peers": "near", "believes": "near far"}
    assert told(near, far, **both, logs_peer="realip") == {"near", "far", "internal", "outside"}
    one = {"peers": "near", "believes": "near"}
    assert told(near, far, **one, logs_peer="realip") == {"near", "far", "internal"}
    assert told(near, far, **one, logs_peer="proxy") == {"near", "far", "internal"}


def test_believed_hops_that_believe_each_other_and_unknown_ones_end() -> None:
    near, far = system("near", peers="far"), system("far", peers="near outside")
    loop = {"peers": "near", "believes": "near far gone", "logs_peer": "realip"}
    assert told(near, far, **loop) == {"near", "far", "outside"}


def test_carriers_that_carry_each_other_are_followed_once() -> None:
    nat, other = system("nat", carries="other lb"), system("other", carries="nat")
    lb = system("lb", peers="outside")
    assert told(nat, other, lb, peers="nat", believes="nat", logs_peer="proxy") == {"nat", "outside"}


def test_an_address_is_owned_in_the_network_of_its_range_else_in_its_systems() -> None:
    lb = system("lb", own=(*owns("10.0.0.0/8", network="pods"), *owns("10.1.0.0/16", "192.0.2.1")), network="edge")
    assert networks_of(lb, parse_address("10.0.0.1")) == {"pods"}
    assert networks_of(lb, parse_address("10.1.0.1")) == {"pods", "edge"}
    assert networks_of(lb, parse_address("192.0.2.2")) == frozenset()
