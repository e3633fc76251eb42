"""Cases that mutation testing asked for: each was a change of `said` that no other test noticed."""

from __future__ import annotations

import pytest
from clientip.model import Claim, Endpoint, Promise, Unbelieved
from clientip.trust.header_cursor import Said

from tests.worlds.walks import FORWARDED, PROXY, XFF, claim, found, request, system, walk

# What is left unsaid


def unread(resolution: object) -> list[Unbelieved]:
    return list(resolution.claims)  # type: ignore[attr-defined]


def test_a_proxy_source_nobody_promised_is_a_claim_and_a_promised_one_is_none() -> None:
    seen = request("10.0.0.1:9", claim("x-forwarded-for", "203.0.113.9"), proxied="203.0.113.7:5")
    mute = system("lb", "10.0.0.1", peers="outside")
    assert Unbelieved("proxy", "203.0.113.7:5") in unread(walk([system("app", peers="lb"), mute], seen))
    proxying = system("lb", "10.0.0.1", peers="outside", conveys=(PROXY,))
    assert unread(walk([system("app", peers="lb"), proxying], seen)) == [Unbelieved("x-forwarded-for", "203.0.113.9")]
    assert unread(walk([system("app", peers="outside")], request("203.0.113.7:9"))) == []


def test_unread_entries_and_lines_are_told_as_written_and_used_ones_are_not() -> None:
    lb = system("lb", "10.0.0.1", peers="outside", conveys=(XFF, Promise("x-real-ip", "overwrite")))
    seen = request(
        "10.0.0.1:9",
        claim("x-real-ip", "203.0.113.7"),
        claim("x-forwarded-for", "1.1.1.1 ,~2.2.2.2", "3.3.3.3,\t203.0.113.7 "),
        claim("client-ip"),
        claim("forwarded", "for=4.4.4.4", "for=5.5.5.5"),
    )
    assert unread(walk([system("app", peers="lb"), lb], seen)) == [
        Unbelieved("x-forwarded-for", "1.1.1.1, ~2.2.2.2, 3.3.3.3"),
        Unbelieved("forwarded", "for=4.4.4.4, for=5.5.5.5"),
    ]


# Reading one line's headers


def said(*claims: Claim, peer: str | None = "10.0.0.1:9", stated: str | None = None, realip: bool = False) -> Said:
    logs_peer = "realip" if realip else None
    seen = request(peer, *claims, stated=stated, logs_peer=logs_peer)  # type: ignore[arg-type]
    return Said(seen, stated=peer is None, believed=True)


END = "read to its end"


def take(one: Said, promise: Promise = XFF) -> str:
    got = one.take(promise, at_socket=False)
    if isinstance(got, Endpoint):
        return got.address.text
    return END if got.at_end else got.reason


@pytest.mark.parametrize("coverage", ["first", "last"])
def test_a_header_that_is_not_there_is_missing_however_little_the_log_shows(coverage: str) -> None:
    assert take(said(claim("x-forwarded-for", coverage=coverage))) == "header_missing"  # type: ignore[arg-type]


def test_a_column_that_may_be_cut_away_does_not_say_that_there_was_no_header() -> None:
    assert take(said(claim("x-forwarded-for", coverage="cut"))) == "header_incomplete"


def test_realip_has_used_entries_only_where_the_walk_began_at_its_statement() -> None:
    entries = claim("x-forwarded-for", "203.0.113.7, 10.0.0.2")
    assert take(said(entries, realip=True)) == "10.0.0.2"
    begun = said(entries, peer=None, stated="10.0.0.2:5", realip=True)
    assert [take(begun), take(begun)] == ["203.0.113.7", END]
    assert take(said(entries, peer=None, realip=True)) == "contradiction"


def test_the_appended_entry_is_compared_with_the_statement_where_there_is_no_peer() -> None:
    entries = claim("x-forwarded-for", "203.0.113.7, 10.0.0.2", coverage="appended")
    assert take(said(entries, peer=None, stated="10.0.0.2:5")) == "203.0.113.7"
    assert take(said(entries, peer="10.0.0.2:5")) == "203.0.113.7"
    assert take(said(entries, peer=None)) == "contradiction"


def test_a_header_read_in_single_and_as_a_list_is_used_by_the_first() -> None:
    one = said(claim("x-real-ip", "203.0.113.7"), claim("x-forwarded-for", "203.0.113.8"))
    assert take(one, Promise("x-real-ip", "overwrite")) == "203.0.113.7"
    assert take(one) == "203.0.113.8"
    assert take(one, Promise("x-real-ip", "overwrite")) == "header_missing"


@pytest.mark.parametrize("promise", [Promise("x-real-ip", "overwrite"), Promise("x-real-ip")])
def test_an_address_nobody_can_hold_is_no_word_of_a_system(promise: Promise) -> None:
    assert take(said(claim("x-real-ip", "240.0.0.1")), promise) == "header_unreadable"


def test_empty_members_and_blanks_do_not_count_as_entries() -> None:
    one = said(claim("x-forwarded-for", ", 203.0.113.7 ,, \t,", "", "~"))
    assert [take(one), take(one), take(one)] == ["header_unreadable", "203.0.113.7", END]


def test_any_other_header_that_is_appended_to_is_a_list_of_plain_entries() -> None:
    one = said(claim("x-our-path", "203.0.113.7", "10.0.0.3, 10.0.0.2"))
    assert [take(one, Promise("x-our-path")) for _ in range(3)] == ["10.0.0.2", "10.0.0.3", "203.0.113.7"]
    assert take(said(claim("forwarded", "for=203.0.113.7;by=10.0.0.2")), FORWARDED) == "203.0.113.7"


@pytest.mark.parametrize(
    ("stepped_over", "word"),
    [
        ("10.0.0.9", "vouched"),
        ("10.0.0.0", "vouched"),
        ("10.0.0.255", "vouched"),
        ("10.0.0.9, 10.0.0.8", "vouched"),
        ("9.255.255.255", "contradiction"),
        ("10.0.1.0", "contradiction"),
        ("8.8.8.8", "contradiction"),
        ("::a00:9", "contradiction"),  # the number of 10.0.0.9, but not its address
        ("unknown", "contradiction"),
        ("10.0.0.9, 8.8.8.8", "contradiction"),
    ],
)
def test_realip_can_only_have_stepped_over_addresses_of_those_it_believes(stepped_over: str, word: str) -> None:
    app = system("app", peers="lb", logs_peer="realip", believes="lb")
    lb = system("lb", "10.0.0.0/24", peers="cdn", conveys=(XFF,))
    cdn = system("cdn", "198.51.100.0/24", peers="outside", conveys=(XFF,))
    list_ = claim("x-forwarded-for", f"203.0.113.7, 198.51.100.3, {stepped_over}")
    found_ = found(walk([app, lb, cdn], request(None, list_, stated="198.51.100.3", logs_peer="realip")))
    assert word in found_


def test_what_a_hop_states_is_worth_nothing_where_it_believes_anybody() -> None:
    front = system("front", "10.1.0.0/24", peers="lb", conveys=(XFF,), logs_peer="proxy")
    nlb = system("lb", "10.0.0.0/24", peers="outside", conveys=(PROXY,))
    seen = request("10.1.0.1", claim("x-forwarded-for", "203.0.113.7"))
    resolution = walk([system("app", peers="front"), front, nlb], seen)
    assert found(resolution) == ("unknown", None, "not_believed")
    assert resolution.stopped_at == "front"


def test_a_statement_that_stands_nowhere_in_the_list_came_from_elsewhere() -> None:
    app = system("app", peers="lb", logs_peer="realip", believes="lb")
    lb = system("lb", "10.0.0.0/24", peers="cdn", conveys=(XFF,))
    cdn = system("cdn", "198.51.100.0/24", peers="outside", conveys=(XFF,))
    seen = request(None, claim("x-forwarded-for", "10.0.0.9"), stated="198.51.100.3", logs_peer="realip")
    assert found(walk([app, lb, cdn], seen)) == ("unknown", None, "contradiction")
