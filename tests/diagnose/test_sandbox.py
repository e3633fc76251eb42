"""`clientip resolve`: a question row, an answer row, in the same order, whatever the row holds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from clientip.diagnose.sandbox import answer
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.sizes import EXAMPLES

XFF = {"header": "X-Forwarded-For", "mode": "append"}
LB = {"addresses": ["10.0.0.0/8"], "conveys": [XFF]}


def ask(**row: Any) -> Any:
    return json.loads(answer(json.dumps({"id": "q"} | row).encode()))


def client(**row: Any) -> str | None:
    found = ask(**row)["client"]
    return found and found["ip"]


def xff(*values: str) -> list[list[str]]:
    return [["X-Forwarded-For", value] for value in values]


def test_without_trust_the_peer_is_the_client_and_headers_are_claims() -> None:
    row = ask(peer="203.0.113.7:5", headers=xff("8.8.8.8"))
    assert row == {
        "id": "q",
        "client": {"ip": "203.0.113.7", "port": 5},
        "verdict": "seen",
        "method": "socket",
        "reason": None,
        "claims": [{"header": "x-forwarded-for", "value": "8.8.8.8"}],
        "findings": ["header_from_outside"],
    }


@pytest.mark.parametrize("peer", ["192.168.7.7", "169.254.0.1", "100.64.0.9", "[fe80::1]:5"])
def test_outside_is_every_address_that_no_entry_owns_private_ones_too(peer: str) -> None:
    assert ask(peer=peer, trust=[LB])["verdict"] == "seen"


def test_an_entry_vouches_only_from_its_addresses() -> None:
    assert client(peer="10.1.2.3:4", headers=xff("8.8.8.8, 203.0.113.7:99"), trust=[LB]) == "203.0.113.7"
    assert client(peer="11.1.2.3:4", headers=xff("203.0.113.7"), trust=[LB]) == "11.1.2.3"
    mask = {"addresses": ["10.0.0.2/255.0.0.0"], "conveys": [XFF]}
    assert client(peer="10.9.9.9", headers=xff("203.0.113.7"), trust=[mask]) == "203.0.113.7"


def test_an_entry_is_its_own_neighbour_and_the_next_ones_but_no_farther_one() -> None:
    cdn = {"addresses": ["198.51.100.0/24"], "conveys": [XFF]}
    far = {"addresses": ["192.0.2.0/24"], "conveys": [XFF]}
    chain = xff("203.0.113.7, 192.0.2.1, 198.51.100.1, 10.0.0.2")
    assert client(peer="10.0.0.1", headers=chain, trust=[LB, cdn, far]) == "203.0.113.7"
    skipping = ask(peer="10.0.0.1", headers=xff("203.0.113.7, 192.0.2.1"), trust=[LB, cdn, far])
    assert (skipping["client"], skipping["reason"]) == (None, "unexpected_neighbour")
    assert ask(peer="198.51.100.1", headers=xff("1.1.1.1"), trust=[LB, cdn])["reason"] == "unexpected_neighbour"


@pytest.mark.parametrize(("hops", "expected"), [(1, "203.0.113.9"), (2, "203.0.113.8"), (3, "203.0.113.7"), (4, None)])
def test_hops_count_from_the_right_whatever_the_addresses(hops: int, expected: str | None) -> None:
    trust = [{"conveys": [XFF], "hops": hops}]
    chain = xff("203.0.113.7", "203.0.113.8, 203.0.113.9")
    assert client(peer="1.1.1.1", headers=chain, trust=trust) == expected
    assert client(peer=None, headers=chain, trust=trust) == expected


def test_hops_behind_listed_addresses_ask_only_the_peer_for_its_address() -> None:
    trust = [{"addresses": ["10.0.0.0/8"], "conveys": [XFF], "hops": 2}]
    assert client(peer="10.0.0.1", headers=xff("10.5.5.5, 10.6.6.6"), trust=trust) == "10.5.5.5"
    assert client(peer="9.9.9.9", headers=xff("10.5.5.5, 10.6.6.6"), trust=trust) == "9.9.9.9"


def test_a_peer_without_address_is_owned_by_the_first_entry() -> None:
    assert client(peer=None, headers=xff("203.0.113.7"), trust=[LB]) == "203.0.113.7"
    assert client(peer="unix:", headers=xff("203.0.113.7"), trust=[LB]) == "203.0.113.7"
    assert "error" in ask(peer=None)


def test_where_every_entry_is_a_system_the_request_began_inside() -> None:
    row = ask(peer="10.0.0.1", headers=xff("10.0.0.3, 10.0.0.2"), trust=[LB])
    assert (row["verdict"], row["client"]["ip"]) == ("internal", "10.0.0.3")


def test_an_overwritten_header_of_an_entry_without_addresses_names_the_client() -> None:
    trust = [{"conveys": [{"header": "CF-Connecting-IP", "mode": "overwrite"}]}]
    assert client(peer=None, headers=[["cf-connecting-ip", "2001:DB8::7"]], trust=trust) == "2001:db8::7"
    assert ask(peer=None, headers=[], trust=trust)["reason"] == "header_missing"


def test_two_counted_entries_follow_each_other() -> None:
    trust = [{"conveys": [XFF], "hops": 1}, {"conveys": [{"header": "X-Real-IP", "mode": "overwrite"}]}]
    headers = [*xff("198.51.100.1"), ["X-Real-IP", "203.0.113.7"]]
    assert client(peer="10.0.0.1", headers=headers, trust=trust) == "203.0.113.7"


V1 = b"PROXY TCP4 203.0.113.7 10.0.0.9 5555 443\r\n".hex()
LOCAL = "0d0a0d0a000d0a515549540a20000000"


def test_the_proxy_header_counts_where_the_peer_conveys_it() -> None:
    trust = [{"addresses": ["10.0.0.0/8"], "conveys": ["proxy"]}]
    row = ask(peer="10.0.0.1:7", proxy_hex=V1, trust=trust)
    assert (row["client"], row["method"]) == ({"ip": "203.0.113.7", "port": 5555}, "proxy_v1")
    outside = ask(peer="9.9.9.9:7", proxy_hex=V1, trust=trust)
    assert outside["client"]["ip"] == "9.9.9.9"
    assert outside["claims"] == [{"header": "proxy", "value": "203.0.113.7:5555"}]
    assert ask(peer="10.0.0.1:7", trust=trust)["reason"] == "proxy_missing"


def test_local_is_the_balancer_itself_and_a_malformed_header_is_nobody() -> None:
    trust = [{"conveys": ["proxy"]}]
    local = ask(peer="10.0.0.1:7", proxy_hex=LOCAL, trust=trust)
    assert (local["verdict"], local["client"]["ip"]) == ("internal", "10.0.0.1")
    broken = ask(peer="10.0.0.1:7", proxy_hex=b"PROXY TCP4 999.0.113.7 10.0.0.9 1 2\r\n".hex(), trust=trust)
    assert (broken["client"], broken["reason"]) == (None, "header_unreadable")


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"peer": "nonsense"}, "peer"),
        ({"peer": "10.0.0.1", "trust": [{"addresses": ["10.0.0.1/6000"]}]}, "10.0.0.1/6000"),
        ({"peer": "10.0.0.1", "trust": [{"conveys": [XFF], "hops": 0}]}, "hops"),
        ({"peer": "10.0.0.1", "trust": [{"conveys": [XFF], "hops": 31}]}, "hops"),
        ({"peer": "10.0.0.1", "trust": [{"conveys": [XFF | {"mode": "overwrite"}]}]}, "append"),
        ({"peer": "10.0.0.1", "trust": [{"conveys": [XFF | {"mode": "prepend"}]}]}, "prepend"),
        ({"peer": "10.0.0.1", "trust": [{"conveys": [{"header": "X-Real-IP", "mode": "append"}]}]}, "overwrite"),
        ({"peer": "10.0.0.1", "trust": [{"conveys": ["x-forwarded-for"]}]}, "proxy"),
        ({"peer": "10.0.0.1", "trust": [{"conveys": [XFF, XFF]}]}, "twice"),
        ({"peer": "10.0.0.1", "proxy_hex": "zz"}, "proxy_hex"),
        ({"peer": "10.0.0.1", "unheard": 1}, "unheard"),
        ({"peer": 5}, "peer"),
    ],
)
def test_a_row_that_cannot_mean_anything_says_why_and_keeps_its_id(row: dict[str, Any], word: str) -> None:
    answered = ask(**row)
    assert answered["id"] == "q"
    assert word in answered["error"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"heders": []}', 'heders: unknown key; did you mean "headers"?'),
        ('{"peer": 5}', "peer: must be a string, not 5"),
        ('{"trust": [{"adresses": []}]}', 'trust[0].adresses: unknown key; did you mean "addresses"?'),
        ('{"trust": [{"addresses": "10.0.0.1"}]}', 'trust[0].addresses: must be a list of strings, not "10.0.0.1"'),
        ('{"trust": [{"hops": "2"}]}', 'trust[0].hops: must be a whole number from 1 on, not "2"'),
        ('{"trust": [{"hops": 1.5}]}', "trust[0].hops: must be a whole number from 1 on, not 1.5"),
        (
            '{"trust": {}}',
            'trust: must be a list, each item an object like {"addresses": ["10.0.0.0/8"]}, not a table',
        ),
        (
            '{"trust": [{"conveys": [{"header": "forwarded", "mode": "appendd"}]}]}',
            'trust[0].conveys[0].mode: unknown word "appendd"; did you mean "append"?',
        ),
        ('{"trust": [{"conveys": [{"mode": "append"}]}]}', 'trust[0].conveys[0]: lacks "header"'),
        (
            '{"trust": [{"conveys": [7]}]}',
            'trust[0].conveys[0]: must be "proxy" or {"header": …, "mode": …}, not 7',
        ),
        ('{"headers": [["a", "b"], ["a"]]}', 'headers[1]: must be a pair like ["x-real-ip", "203.0.113.7"]'),
        (
            '{"headers": {"a": "b"}}',
            'headers: must be a list, each item a pair like ["x-real-ip", "203.0.113.7"], not a table',
        ),
        ('{"headers": [["a", null]]}', "headers[0][1]: must be a string, not null"),
        ('{"headers": null}', 'headers: must be a list, each item a pair like ["x-real-ip", "203.0.113.7"], not null'),
        ("[1]", 'row: must be an object like {"id": 1, "peer": "203.0.113.7:443"}'),
        ('{"id": 9', "row: is no JSON: it ends too early"),
        ("nonsense", "row: is no JSON from byte 4 on"),
        ("[" * 20_000, "row: is nested too deeply"),
        (
            '{"trust":' + "[" * 800 + "]" * 800 + "}",
            'trust[0]: must be an object like {"addresses": ["10.0.0.0/8"]}, not a list',
        ),
    ],
)
def test_a_row_of_another_shape_is_refused_in_the_words_of_a_configuration(row: str, said: str) -> None:
    assert json.loads(answer(row.encode()))["error"] == said


def test_a_row_that_is_no_text_says_where() -> None:
    assert json.loads(answer(b'{"id": 1, "peer": "\xff"}')) == {"id": 1, "error": "row: is no UTF-8 from byte 19 on"}


@pytest.mark.parametrize("given_id", [7, "x", None, [1, {"a": 2}], 12345678901234567890])
def test_the_id_comes_back_as_it_was_given(given_id: Any) -> None:
    assert json.loads(answer(json.dumps({"id": given_id, "peer": "1.1.1.1"}).encode()))["id"] == given_id


@settings(max_examples=EXAMPLES)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["id", "peer", "headers", "trust", "conveys", "hops"]), inner, max_size=4
                )
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_every_row_gets_one_answer(row: bytes) -> None:
    answered = json.loads(answer(row))
    assert ("error" in answered) != ("verdict" in answered)
