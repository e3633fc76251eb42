"""The ten rules of the walk, each by its sentence."""

from __future__ import annotations

import pytest
from clientip.model import Promise, Proof
from clientip.trust.walk import MAX_STEPS

from tests.worlds.walks import FORWARDED, PROXY, XFF, claim, found, owns, request, said, system, walk

APP = system("app", peers="lb")
LB = system("lb", "10.0.0.0/24", peers="outside", conveys=(XFF,))
CDN = system("cdn", "198.51.100.0/24", peers="outside", conveys=(XFF,))


def test_a_system_without_listed_peers_believes_nobody_and_names_nobody() -> None:
    alone = system("app")
    assert found(walk([alone], request("203.0.113.7:5"))) == ("unknown", None, "peer_unlisted")
    seen = request("203.0.113.7:5", claim("x-forwarded-for", "8.8.8.8"))
    assert found(walk([alone], seen)) == ("unknown", None, "peer_unlisted")


def test_an_outside_peer_is_the_client_whatever_it_writes() -> None:
    edge = system("app", peers="outside")
    resolution = walk([edge], request("203.0.113.7:5", claim("x-forwarded-for", "8.8.8.8, 9.9.9.9")))
    assert found(resolution) == ("seen", "203.0.113.7", "socket")
    assert resolution.client is not None and resolution.client.port == 5
    assert said(resolution) == (("x-forwarded-for", "8.8.8.8, 9.9.9.9"),)
    assert resolution.findings == ("header_from_outside",)
    assert len(resolution.path) == 1


def test_the_rightmost_entry_is_vouched_and_the_rest_is_a_claim() -> None:
    resolution = walk([APP, LB], request("10.0.0.1:9", claim("x-forwarded-for", "8.8.8.8", "203.0.113.7:99")))
    assert found(resolution) == ("vouched", "203.0.113.7", "x-forwarded-for")
    assert resolution.client is not None and resolution.client.port == 99
    assert said(resolution) == (("x-forwarded-for", "8.8.8.8"),)
    assert [(step.system, step.address, step.port, step.by, step.evidence) for step in resolution.path] == [
        ("lb", "10.0.0.1", 9, "socket", "seen"),
        (None, "203.0.113.7", 99, "x-forwarded-for", "vouched"),
    ]
    assert resolution.stopped_at is None


def test_each_hop_uses_up_one_entry() -> None:
    lb = system("lb", "10.0.0.0/24", peers="cdn", conveys=(XFF,))
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "1.1.1.1, 203.0.113.7, 198.51.100.3"))
    assert found(walk([APP, lb, CDN], seen)) == ("vouched", "203.0.113.7", "x-forwarded-for")


# Rule 1: ownership


def test_ownership_is_dated_and_its_end_is_exclusive() -> None:
    lb = system("lb", peers="outside", conveys=(XFF,), own=owns("10.0.0.0/24", from_ns=100, until_ns=200))
    xff = claim("x-forwarded-for", "203.0.113.7")
    assert found(walk([APP, lb], request("10.0.0.1", xff, at=(100, 199))))[0] == "vouched"
    assert found(walk([APP, lb], request("10.0.0.1", xff, at=(200, 200))))[2] == "peer_unlisted"
    assert found(walk([APP, lb], request("10.0.0.1", xff, at=(90, 99))))[2] == "peer_unlisted"


@pytest.mark.parametrize("at", [(99, 100), (150, 200), None])
def test_a_line_whose_time_straddles_the_change_of_owner_names_nobody(at: tuple[int, int] | None) -> None:
    lb = system("lb", peers="outside", conveys=(XFF,), own=owns("10.0.0.0/24", from_ns=100, until_ns=200))
    seen = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7"), at=at)
    assert found(walk([APP, lb], seen)) == ("unknown", None, "ambiguous")


def test_an_address_handed_over_belongs_to_each_owner_in_its_time() -> None:
    old = system("lb", peers="outside", conveys=(XFF,), own=owns("10.0.0.1/32", until_ns=100))
    new = system("cdn", peers="outside", own=owns("10.0.0.1/32", from_ns=100))
    app = system("app", peers="lb cdn")
    xff = claim("x-forwarded-for", "203.0.113.7")
    assert found(walk([app, old, new], request("10.0.0.1", xff, at=(99, 99))))[0] == "vouched"
    assert found(walk([app, old, new], request("10.0.0.1", xff, at=(100, 100))))[2] == "snat_no_witness"


def test_addresses_are_unique_only_in_their_network() -> None:
    lb = system("lb", "10.0.0.0/24", peers="outside", conveys=(XFF,), network="vpc-b")
    seen = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7"))
    assert found(walk([APP, lb], seen))[2] == "peer_unlisted"
    here = system("lb", peers="outside", conveys=(XFF,), network="vpc-b", own=owns("10.0.0.0/24", network="default"))
    assert found(walk([APP, here], seen))[0] == "vouched"


def test_a_step_is_looked_up_in_the_network_of_the_hop_that_told_it() -> None:
    lb = system("lb", peers="cdn", conveys=(XFF,), network="vpc-b", own=owns("10.0.0.0/24", network="default"))
    cdn = system("cdn", "10.9.0.0/24", peers="outside", conveys=(XFF,), network="vpc-b")
    seen = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7, 10.9.0.1"))
    assert found(walk([APP, lb, cdn], seen))[0] == "vouched"


def test_overlapping_owners_stop_the_walk_unless_they_would_convey_the_same() -> None:
    twin = system("twin", "10.0.0.0/16", peers="outside", conveys=(XFF,))
    other = system("other", "10.0.0.0/16", peers="outside")
    app = system("app", peers="lb twin other")
    seen = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7"))
    assert found(walk([app, LB, twin], seen))[0] == "vouched"
    assert found(walk([app, LB, other], seen)) == ("unknown", None, "ambiguous")
    assert found(walk([app, LB, twin, other], seen))[2] == "ambiguous"


@pytest.mark.parametrize(
    "difference",
    [
        {"conveys": ()},
        {"carries": "app"},
        {"peers": "app"},
        {"shared": True},
        {"shared": True, "proof": (Proof("x", "y"),)},
        {"logs_peer": "proxy"},
        {"believes": "app"},
    ],
)
def test_owners_that_differ_in_anything_the_walk_uses_are_not_alike(difference: dict[str, object]) -> None:
    drawn = {"peers": "outside", "conveys": (XFF,), "shared": False} | difference
    other = system("other", "10.0.0.0/16", **drawn)  # type: ignore[arg-type]
    app = system("app", peers="lb other")
    seen = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7"))
    assert found(walk([app, LB, other], seen))[2] == "ambiguous"


def test_owners_in_different_networks_behind_are_not_alike() -> None:
    other = system("other", peers="outside", conveys=(XFF,), network="b", own=owns("10.0.0.0/16", network="default"))
    app = system("app", peers="lb other")
    assert found(walk([app, LB, other], request("10.0.0.1", claim("x-forwarded-for", "1.1.1.1"))))[2] == "ambiguous"


# Rule 2: neighbours


def test_a_system_met_where_it_is_not_drawn_ends_the_walk() -> None:
    resolution = walk([APP, LB, CDN], request("198.51.100.1", claim("x-forwarded-for", "203.0.113.7")))
    assert found(resolution) == ("unknown", None, "unexpected_neighbour")
    assert "unexpected_neighbour" in resolution.findings
    assert resolution.stopped_at == "cdn"
    assert resolution.path[-1].system == "cdn"


def test_the_same_system_twice_in_a_row_must_be_drawn() -> None:
    seen = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7, 10.0.0.2"))
    assert found(walk([APP, LB], seen))[2] == "unexpected_neighbour"
    ring = system("lb", "10.0.0.0/24", peers="lb outside", conveys=(XFF,))
    assert found(walk([APP, ring], seen))[:2] == ("vouched", "203.0.113.7")


# Rule 3: nobody owns it


def test_a_private_stranger_is_a_workload_only_where_internal_peers_are_drawn() -> None:
    seen = request("10.9.9.9:1")
    assert found(walk([system("app", peers="outside")], seen)) == ("unknown", None, "peer_unlisted")
    assert found(walk([system("app", peers="outside internal")], seen)) == ("internal", "10.9.9.9", "socket")


def test_a_global_stranger_is_unlisted_where_outside_is_not_drawn() -> None:
    seen = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7"))
    inner = system("lb", "10.0.0.0/24", peers="internal", conveys=(XFF,))
    resolution = walk([APP, inner], seen)
    assert found(resolution) == ("unknown", None, "peer_unlisted")
    assert resolution.path[-1].address == "203.0.113.7"


@pytest.mark.parametrize("address", ["0.0.0.0", "240.0.0.1", "224.0.0.1", "255.255.255.255", "::", "ff02::1"])
def test_an_address_nobody_can_hold_is_never_the_client(address: str) -> None:
    seen = request("10.0.0.1", claim("x-forwarded-for", address))
    assert found(walk([APP, LB], seen)) == ("unknown", None, "header_unreadable")
    assert found(walk([system("app", peers="outside internal")], request(address)))[0] == "unknown"


# Rule 4: vouching


@pytest.mark.parametrize("entry", ["unknown", "_hidden", "nonsense", "203.0.113.7:99999", "010.0.0.2"])
def test_an_unreadable_entry_ends_the_walk_and_is_never_stepped_over(entry: str) -> None:
    resolution = walk([APP, LB], request("10.0.0.1", claim("x-forwarded-for", f"203.0.113.7, {entry}")))
    assert found(resolution) == ("unknown", None, "header_unreadable")
    assert resolution.stopped_at == "lb"


def test_a_promised_header_that_is_missing_is_not_replaced_by_another() -> None:
    claims = (claim("x-forwarded-for"), claim("x-real-ip", "203.0.113.7"), claim("forwarded", "for=203.0.113.7"))
    resolution = walk([APP, LB], request("10.0.0.1", *claims))
    assert found(resolution) == ("unknown", None, "header_missing")
    assert "promised_header_missing" in resolution.findings


def test_a_promised_header_the_log_has_no_column_for_is_told_apart_from_a_missing_one() -> None:
    assert found(walk([APP, LB], request("10.0.0.1")))[2] == "header_not_logged"


@pytest.mark.parametrize("coverage", ["first", "cut", "remainder"])
def test_a_list_whose_trusted_end_may_be_missing_vouches_for_nothing(coverage: str) -> None:
    seen = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7", coverage=coverage))  # type: ignore[arg-type]
    assert found(walk([APP, LB], seen))[2] == "header_incomplete"


def test_the_last_line_of_a_list_is_good_until_it_is_used_up() -> None:
    seen = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7", coverage="last"))
    assert found(walk([APP, LB], seen))[0] == "vouched"
    ring = system("lb", "10.0.0.0/24", peers="lb outside", conveys=(XFF,))
    seen = request("10.0.0.1", claim("x-forwarded-for", "10.0.0.2", coverage="last"))
    assert found(walk([APP, ring], seen))[2] == "header_incomplete"


def test_what_the_system_appended_before_logging_is_taken_off_again() -> None:
    seen = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7, 10.0.0.1", coverage="appended"))
    assert found(walk([APP, LB], seen))[:2] == ("vouched", "203.0.113.7")


def test_an_appended_entry_that_is_not_our_peer_is_a_contradiction() -> None:
    seen = request("10.0.0.1", claim("x-forwarded-for", "8.8.8.8, 203.0.113.7", coverage="appended"))
    assert found(walk([APP, LB], seen))[2] == "contradiction"
    empty = request("10.0.0.1", claim("x-forwarded-for", coverage="appended"))
    assert found(walk([APP, LB], empty))[2] == "header_missing"


def test_an_overwritten_header_is_one_value() -> None:
    cf = system("lb", "10.0.0.0/24", peers="outside", conveys=(Promise("cf-connecting-ip", "overwrite"),))
    one = request("10.0.0.1", claim("cf-connecting-ip", "203.0.113.7"), claim("x-forwarded-for", "8.8.8.8"))
    assert found(walk([APP, cf], one)) == ("vouched", "203.0.113.7", "cf-connecting-ip")
    two = walk([APP, cf], request("10.0.0.1", claim("cf-connecting-ip", "203.0.113.7", "203.0.113.8")))
    assert found(two)[2] == "header_unreadable" and "several_values" in two.findings
    comma = request("10.0.0.1", claim("cf-connecting-ip", "203.0.113.7, 203.0.113.8"))
    assert found(walk([APP, cf], comma))[2] == "header_unreadable"
    cut = request("10.0.0.1", claim("cf-connecting-ip", "203.0.113.7", coverage="cut"))
    assert found(walk([APP, cf], cut))[2] == "header_incomplete"
    assert found(walk([APP, cf], request("10.0.0.1", claim("cf-connecting-ip", ""))))[2] == "header_missing"
    assert found(walk([APP, cf], request("10.0.0.1", claim("cf-connecting-ip"))))[2] == "header_missing"
    assert found(walk([APP, cf], request("10.0.0.1")))[2] == "header_not_logged"


def test_an_overwritten_header_is_used_once() -> None:
    ring = system("lb", "10.0.0.0/24", peers="lb outside", conveys=(Promise("x-real-ip", "overwrite"),))
    assert found(walk([APP, ring], request("10.0.0.1", claim("x-real-ip", "10.0.0.2"))))[2] == "header_missing"


def test_google_appends_two_and_the_second_is_the_client() -> None:
    gcp = system("lb", "10.0.0.0/24", peers="outside", conveys=(Promise("x-forwarded-for", "append2"),))
    seen = request("10.0.0.1", claim("x-forwarded-for", "8.8.8.8,203.0.113.7,198.51.100.9"))
    assert found(walk([APP, gcp], seen))[:2] == ("vouched", "203.0.113.7")
    assert found(walk([APP, gcp], request("10.0.0.1", claim("x-forwarded-for", "198.51.100.9"))))[2] == "header_missing"
    bad = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7,unknown"))
    assert found(walk([APP, gcp], bad))[2] == "header_unreadable"


def test_several_promises_must_all_be_kept_and_agree() -> None:
    both = system("lb", "10.0.0.0/24", peers="outside", conveys=(XFF, FORWARDED))
    xff = claim("x-forwarded-for", "203.0.113.7")

    def with_forwarded(*values: str) -> tuple[str, str | None, str | None]:
        return found(walk([APP, both], request("10.0.0.1", xff, claim("forwarded", *values))))

    assert with_forwarded('for="203.0.113.7:80"')[:2] == ("vouched", "203.0.113.7")
    assert with_forwarded("for=203.0.113.8")[2] == "contradiction"
    assert with_forwarded()[2] == "header_missing"
    assert with_forwarded("for=unknown")[2] == "header_unreadable"
    resolution = walk([APP, both], request("10.0.0.1", xff, claim("forwarded", "for=203.0.113.8")))
    assert "forwarded_disagrees" in resolution.findings
    missing_first = request("10.0.0.1", claim("x-forwarded-for"), claim("forwarded", "for=203.0.113.7"))
    assert found(walk([APP, both], missing_first))[2] == "header_missing"


def test_agreeing_promises_share_the_port_one_of_them_says_and_must_not_say_two() -> None:
    both = system("lb", "10.0.0.0/24", peers="outside", conveys=(XFF, PROXY))
    xff = claim("x-forwarded-for", "203.0.113.7")
    resolution = walk([APP, both], request("10.0.0.1", xff, proxied="203.0.113.7:99"))
    assert resolution.client is not None and resolution.client.port == 99
    with_port = claim("x-forwarded-for", "203.0.113.7:98")
    resolution = walk([APP, both], request("10.0.0.1", with_port, proxied="203.0.113.7:99"))
    assert found(resolution)[2] == "contradiction" and "proxy_disagrees" in resolution.findings
    resolution = walk([APP, both], request("10.0.0.1", with_port, proxied="203.0.113.7"))
    assert resolution.client is not None and resolution.client.port == 98


def test_the_proxy_source_counts_only_from_the_hop_at_our_own_socket() -> None:
    nlb = system("lb", "10.0.0.0/24", peers="outside", conveys=(PROXY,))
    assert found(walk([APP, nlb], request("10.0.0.1", proxied="203.0.113.7:9"))) == (
        "vouched",
        "203.0.113.7",
        "proxy_v2",
    )
    assert found(walk([APP, nlb], request("10.0.0.1")))[2] == "proxy_missing"
    front = system("front", "10.1.0.0/24", peers="lb", conveys=(XFF,))
    app = system("app", peers="front")
    seen = request("10.1.0.1", claim("x-forwarded-for", "10.0.0.1"), proxied="8.8.8.8:1")
    resolution = walk([app, front, nlb], seen)
    assert found(resolution)[2] == "proxy_missing"
    assert ("proxy", "8.8.8.8:1") in said(resolution)


def test_a_connection_the_balancer_opened_for_itself_is_internal() -> None:
    nlb = system("lb", "10.0.0.0/24", peers="outside", conveys=(PROXY,))
    assert found(walk([APP, nlb], request("10.0.0.1:7", proxied="10.0.0.1:7")))[:2] == ("internal", "10.0.0.1")


def test_a_list_in_which_every_entry_is_a_system_began_inside() -> None:
    ring = system("lb", "10.0.0.0/24", peers="lb outside", conveys=(XFF,))
    seen = request("10.0.0.1", claim("x-forwarded-for", "10.0.0.3, 10.0.0.2"))
    assert found(walk([APP, ring], seen)) == ("internal", "10.0.0.3", "x-forwarded-for")


def test_the_walk_ends_at_its_bound() -> None:
    ring = system("lb", "10.0.0.0/24", peers="lb", conveys=(XFF,))
    seen = request("10.0.0.1", claim("x-forwarded-for", *["10.0.0.2"] * (MAX_STEPS + 1)))
    resolution = walk([APP, ring], seen)
    assert found(resolution)[2] == "too_many_steps"
    assert len(resolution.path) == MAX_STEPS
    shorter = request("10.0.0.1", claim("x-forwarded-for", *["10.0.0.2"] * (MAX_STEPS - 1)))
    assert found(walk([APP, ring], shorter))[0] == "internal"


# Rule 5: carrying


def test_a_carrier_is_walked_through_as_if_the_carried_system_had_connected() -> None:
    nodes = system("nodes", "10.1.0.0/24", peers="nlb", carries="nlb")
    nlb = system("nlb", "10.0.0.0/24", peers="outside", conveys=(PROXY,))
    app = system("app", peers="nodes")
    resolution = walk([app, nodes, nlb], request("10.1.0.5:4", proxied="203.0.113.7:9"))
    assert found(resolution) == ("vouched", "203.0.113.7", "proxy_v2")
    assert [step.evidence for step in resolution.path] == ["seen", "config", "vouched"]
    assert resolution.path[1].system == "nlb" and resolution.path[1].address is None


def test_a_carrier_of_systems_that_convey_differently_is_ambiguous() -> None:
    nodes = system("nodes", "10.1.0.0/24", peers="nlb lb", carries="nlb lb")
    nlb = system("nlb", "10.5.0.0/24", peers="outside", conveys=(PROXY,))
    seen = request("10.1.0.5", claim("x-forwarded-for", "203.0.113.7"), proxied="203.0.113.7:9")
    assert found(walk([system("app", peers="nodes"), nodes, nlb, LB], seen))[2] == "ambiguous"


def test_a_carried_request_with_an_empty_list_did_not_begin_at_the_carrier() -> None:
    nodes = system("nodes", "10.1.0.0/24", peers="lb", carries="lb")
    lb = system("lb", "10.0.0.0/24", peers="nodes outside", conveys=(XFF,))
    seen = request("10.1.0.5", claim("x-forwarded-for", "10.1.0.6"))
    assert found(walk([system("app", peers="nodes"), nodes, lb], seen))[2] == "header_missing"


# Rule 6: shared ranges


def test_a_shared_range_vouches_only_with_its_proof() -> None:
    proof = (Proof("x-azure-fdid", "hash-of-ours"),)
    cdn = system("lb", "10.0.0.0/24", peers="outside", conveys=(XFF,), shared=True, proof=proof)
    xff = claim("x-forwarded-for", "203.0.113.7")
    resolution = walk([APP, cdn], request("10.0.0.1", xff))
    assert found(resolution)[2] == "owner_unproved" and "proof_missing" in resolution.findings
    proved = request("10.0.0.1", xff, proofs=(("x-azure-fdid", "hash-of-ours"),))
    assert found(walk([APP, cdn], proved))[0] == "vouched"
    for header, value in (("x-azure-fdid", "hash-of-another"), ("x-other", "hash-of-ours")):
        assert found(walk([APP, cdn], request("10.0.0.1", xff, proofs=((header, value),))))[2] == "owner_unproved"


def test_a_carried_shared_system_needs_its_proof_too() -> None:
    nodes = system("nodes", "10.1.0.0/24", peers="lb", carries="lb")
    cdn = system("lb", "10.0.0.0/24", peers="outside", conveys=(XFF,), shared=True, proof=(Proof("p", "1"),))
    xff, app = claim("x-forwarded-for", "203.0.113.7"), system("app", peers="nodes")
    assert found(walk([app, nodes, cdn], request("10.1.0.5", xff)))[2] == "owner_unproved"
    assert found(walk([app, nodes, cdn], request("10.1.0.5", xff, proofs=(("p", "1"),))))[0] == "vouched"


# Rule 7: statements


def ingress(**drawn: object) -> list[object]:
    base: dict[str, object] = {"peers": "lb", "logs_peer": "proxy", "believes": "lb"}
    return [system("app", **(base | drawn)), system("lb", "10.0.0.0/24", peers="outside", conveys=(PROXY,))]  # type: ignore[arg-type]


def test_a_statement_is_believed_at_most_as_vouched() -> None:
    resolution = walk(ingress(), request(None, stated="203.0.113.7:9", logs_peer="proxy"))  # type: ignore[arg-type]
    assert found(resolution) == ("vouched", "203.0.113.7", "proxy")
    assert resolution.path[0].evidence == "stated"


def test_a_statement_is_worth_nothing_where_headers_are_accepted_from_others_than_the_drawn_peers() -> None:
    for drawn in ({"believes": ""}, {"believes": "lb cdn"}, {"believes": "lb outside", "peers": "lb outside"}):
        seen = request(None, stated="203.0.113.7:9", logs_peer="proxy")
        assert found(walk(ingress(**drawn), seen))[2] == "not_believed"  # type: ignore[arg-type]


def test_a_line_without_peer_and_statement_says_so() -> None:
    assert found(walk(ingress(), request(None, logs_peer="proxy"))) == ("unknown", None, "peer_not_logged")  # type: ignore[arg-type]


def test_a_statement_may_name_only_whom_the_believed_hop_may_meet() -> None:
    app = system("app", peers="lb", logs_peer="proxy", believes="lb")
    inner = system("lb", "10.0.0.0/24", peers="internal", conveys=(PROXY,))
    seen = request(None, stated="203.0.113.7:9", logs_peer="proxy")
    assert found(walk([app, inner], seen))[2] == "peer_unlisted"


def test_a_statement_through_a_carrier_reaches_whom_the_carried_system_meets() -> None:
    app = system("app", peers="nodes internal", logs_peer="proxy", believes="nodes")
    nodes = system("nodes", "10.1.0.0/24", peers="lb", carries="lb")
    lb = system("lb", "10.0.0.0/24", peers="outside", conveys=(PROXY,))
    assert found(walk([app, nodes, lb], request(None, stated="203.0.113.7:9", logs_peer="proxy")))[0] == "vouched"


def test_behind_a_stated_proxy_source_the_header_is_still_unread() -> None:
    app = system("app", peers="lb", logs_peer="proxy", believes="lb")
    nlb = system("lb", "10.0.0.0/24", peers="cdn", conveys=(PROXY,))
    seen = request(None, claim("x-forwarded-for", "203.0.113.7"), stated="198.51.100.3:9", logs_peer="proxy")
    assert found(walk([app, nlb, CDN], seen))[:2] == ("vouched", "203.0.113.7")


def test_realip_has_used_the_entries_right_of_its_statement() -> None:
    app = system("app", peers="lb", logs_peer="realip", believes="lb")
    lb = system("lb", "10.0.0.0/24", peers="cdn", conveys=(XFF,))
    seen = request(
        None, claim("x-forwarded-for", "8.8.8.8, 203.0.113.7, 198.51.100.3"), stated="198.51.100.3", logs_peer="realip"
    )
    assert found(walk([app, lb, CDN], seen))[:2] == ("vouched", "203.0.113.7")
    other = request(None, claim("x-forwarded-for", "203.0.113.7"), stated="198.51.100.3", logs_peer="realip")
    assert found(walk([app, lb, CDN], other))[2] == "contradiction"
    used_up = request(None, claim("x-forwarded-for", "198.51.100.3"), stated="198.51.100.3", logs_peer="realip")
    assert found(walk([app, lb, CDN], used_up))[:2] == ("internal", "198.51.100.3")


def test_realip_that_walked_over_two_believed_hops_may_state_whom_the_farther_one_meets() -> None:
    app = system("app", peers="lb cdn", logs_peer="realip", believes="lb cdn")
    lb = system("lb", "10.0.0.0/24", peers="cdn", conveys=(XFF,))
    seen = request(
        None, claim("x-forwarded-for", "203.0.113.7, 198.51.100.3"), stated="203.0.113.7", logs_peer="realip"
    )
    assert found(walk([app, lb, CDN], seen)) == ("vouched", "203.0.113.7", "realip")


def test_the_remainder_that_mod_remoteip_leaves_is_unread() -> None:
    app = system("app", peers="lb", logs_peer="realip", believes="lb")
    lb = system("lb", "10.0.0.0/24", peers="cdn", conveys=(XFF,))
    rest = claim("x-forwarded-for", "8.8.8.8, 203.0.113.7", coverage="remainder")
    seen = request(None, rest, stated="198.51.100.3", logs_peer="realip")
    assert found(walk([app, lb, CDN], seen))[:2] == ("vouched", "203.0.113.7")


def test_what_a_hop_writes_after_its_peer_was_replaced_is_a_statement_too() -> None:
    front = system("front", "10.1.0.0/24", peers="lb", conveys=(XFF,), logs_peer="proxy", believes="lb")
    nlb = system("lb", "10.0.0.0/24", peers="outside", conveys=(PROXY,))
    resolution = walk(
        [system("app", peers="front"), front, nlb], request("10.1.0.1", claim("x-forwarded-for", "203.0.113.7"))
    )
    assert found(resolution)[:2] == ("vouched", "203.0.113.7")
    assert resolution.path[-1].evidence == "stated"


# Rule 8: nothing vouched


def test_a_hop_that_conveys_nothing_hides_its_peer() -> None:
    resolution = walk([APP, system("lb", "10.0.0.0/24", peers="outside")], request("10.0.0.1:9"))
    assert found(resolution) == ("unknown", None, "snat_no_witness")
    assert resolution.stopped_at == "lb"


# Rule 9: claims and findings


def test_headers_nobody_conveys_are_claims_and_their_contradictions_are_findings() -> None:
    seen = request(
        "10.0.0.1",
        claim("x-forwarded-for", "203.0.113.7"),
        claim("forwarded", "for=9.9.9.9"),
        claim("client-ip", "8.8.8.8"),
    )
    resolution = walk([APP, LB], seen)
    assert found(resolution)[:2] == ("vouched", "203.0.113.7")
    assert said(resolution) == (("forwarded", "for=9.9.9.9"), ("client-ip", "8.8.8.8"))
    assert set(resolution.findings) == {"forwarded_disagrees", "header_disagrees"}


def test_headers_that_agree_are_no_finding() -> None:
    seen = request(
        "10.0.0.1",
        claim("x-forwarded-for", "203.0.113.7"),
        claim("x-real-ip", "203.0.113.7"),
        claim("forwarded", "for=203.0.113.7"),
    )
    assert walk([APP, LB], seen).findings == ()
    peer_named = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7"), claim("x-real-ip", "10.0.0.1"))
    assert walk([APP, LB], peer_named).findings == ()


def test_the_servers_own_result_is_compared_with_the_walk() -> None:
    seen = request("10.0.0.1", claim("x-forwarded-for", "8.8.8.8, 203.0.113.7"), stated="8.8.8.8")
    assert "statement_differs" in walk([APP, LB], seen).findings
    same = request("10.0.0.1", claim("x-forwarded-for", "8.8.8.8, 203.0.113.7"), stated="203.0.113.7")
    assert walk([APP, LB], same).findings == ()
    proxied = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7"), proxied="9.9.9.9:1")
    assert "proxy_disagrees" in walk([APP, LB], proxied).findings


def test_an_address_met_twice_is_noticed() -> None:
    ring = system("lb", "10.0.0.0/24", peers="lb outside", conveys=(XFF,))
    seen = request("10.0.0.1", claim("x-forwarded-for", "203.0.113.7, 10.0.0.1"))
    assert "hop_listed_twice" in walk([APP, ring], seen).findings


def test_what_the_reader_noticed_is_kept() -> None:
    assert walk([system("app", peers="outside")], request("203.0.113.7", notes=("proxy_injection",))).findings == (
        "proxy_injection",
    )


# Rule 10: probes


def test_a_header_less_probe_from_an_owned_address_is_internal() -> None:
    app = system("app", peers="lb outside", probes=("/healthz",))
    resolution = walk([app, LB], request("10.0.0.1:3", claim("x-forwarded-for"), target="/healthz?x=1"))
    assert found(resolution) == ("internal", "10.0.0.1", "probe")
    assert found(walk([app, LB], request("10.0.0.1:3", target="/healthz"))) == ("unknown", None, "header_not_logged")
    assert found(walk([app, LB], request("10.0.0.1:3", target="/other")))[2] == "header_not_logged"
    assert found(walk([app, LB], request("203.0.113.7:3", target="/healthz"))) == ("seen", "203.0.113.7", "socket")
    with_header = request("10.0.0.1:3", claim("x-forwarded-for", "203.0.113.7"), target="/healthz")
    assert found(walk([app, LB], with_header))[:2] == ("vouched", "203.0.113.7")
    with_proxy = request("10.0.0.1:3", proxied="203.0.113.7:1", target="/healthz")
    assert found(walk([app, LB], with_proxy))[0] != "internal"
    no_path = request("10.0.0.1:3")
    assert found(walk([app, LB], no_path))[2] == "header_not_logged"


def test_a_probe_from_a_system_that_is_not_drawn_here_is_no_probe() -> None:
    app = system("app", peers="outside", probes=("/healthz",))
    assert found(walk([app, LB], request("10.0.0.1:3", target="/healthz")))[2] == "unexpected_neighbour"
