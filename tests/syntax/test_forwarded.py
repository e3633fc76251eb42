"""Laws of RFC 7239: strict inside an element, and no element can hurt one to its right."""

from __future__ import annotations

import pytest
from clientip.errors import FormatError
from clientip.model import Node
from clientip.syntax.addresses import MAX_ENTRIES, parse_address
from clientip.syntax.forwarded import (
    Element,
    check_forwarded,
    for_nodes,
    parse_forwarded,
    parse_node_value,
    seal_secrets,
)
from hypothesis import given
from hypothesis import strategies as st

TOKEN = st.text(alphabet="abzABZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8)
QUOTED = st.text(alphabet='ab,;= \t\\"[]:<é', max_size=10).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
PAIR = st.tuples(TOKEN, st.one_of(TOKEN, QUOTED))
ELEMENT = (
    st.lists(PAIR, min_size=1, max_size=4, unique_by=lambda pair: pair[0].lower())
    .map(lambda pairs: ";".join(f"{name}={value}" for name, value in pairs))
    .filter(bool)
)
JUNK = st.text(alphabet='for=";,\\ \t1.2:[]x\0é', max_size=40)


def said(*lines: str) -> list[str | None]:
    return [node.fault or (node.address.text if node.address else None) for node in for_nodes(lines)]


# --- the grammar, section 4


def test_every_part_of_an_element_finds_its_place() -> None:
    line = 'For="[2001:db8:cafe::17]:4711";by=_edge;HOST="a.example:8080";proto=https;secret=s;Ext="x, y";z=1'
    assert parse_forwarded([line]).elements == (
        Element(
            Node("[2001:db8:cafe::17]:4711", parse_address("2001:db8:cafe::17"), 4711),
            Node("_edge", fault="obfuscated"),
            "a.example:8080",
            "https",
            "s",
            (("ext", "x, y"), ("z", "1")),
        ),
    )


def test_all_lines_are_one_list_in_wire_order() -> None:
    assert said("for=192.0.2.1,for=192.0.2.2", "for=192.0.2.3") == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


def test_empty_members_are_dropped_and_counted_and_empty_pairs_are_legal() -> None:
    seen = parse_forwarded([", ;for=192.0.2.1; ,\t, for=192.0.2.2;;", ""])
    assert [element.node.text for element in seen.elements] == ["192.0.2.1", "192.0.2.2"]
    assert (seen.dropped, seen.malformed) == (3, None)
    assert said(";") == ["missing"]
    assert parse_forwarded([]) == parse_forwarded(()) == parse_forwarded(())


def test_commas_semicolons_and_escapes_inside_quotes_belong_to_the_value() -> None:
    seen = parse_forwarded([r'x="a, for=6.6.6.6";for=192.0.2.1, y="\"\\, \a;";for=192.0.2.2'])
    assert [element.others for element in seen.elements] == [(("x", "a, for=6.6.6.6"),), (("y", '"\\, a;'),)]


@pytest.mark.parametrize(
    "element",
    [
        "for",
        "for=",
        "=192.0.2.1",
        "for =192.0.2.1",
        "for= 192.0.2.1",
        "for=192.0.2.1 ;by=_x",
        "for=192.0.2.1; by=_x",
        "for=192.0.2.1:80",
        "for=[2001:db8::1]",
        "for=2001:db8::1",
        r"for=192.0.2.\1",
        'for="192.0.2.1',
        'for=192.0.2.1"',
        'for="192.0.2.1"x',
        'for="192.0.2.1\\"',
        'for="192.0.2.1\0"',
        'for="192.0.2.1\x7f"',
        'for="\\\n"',
        "for=192.0.2.1;for=192.0.2.2",
        "for=192.0.2.1;FOR=192.0.2.1",
        "for=192.0.2.1 for=192.0.2.2",
        "for=é",
        "fér=a",
        '"for=192.0.2.1"',
        "proto=a:b;for=192.0.2.1",
    ],
)
def test_what_does_not_fit_the_grammar_ends_the_reading_and_says_so(element: str) -> None:
    assert said(f"for=192.0.2.9, {element}, for=203.0.113.7") == ["malformed", "203.0.113.7"]
    assert parse_forwarded([element]).malformed == element
    assert for_nodes([element]) == (Node(element, fault="malformed"),)
    with pytest.raises(FormatError, match="malformed"):
        check_forwarded(element)


def test_an_unquoted_port_is_let_pass_in_host_alone_and_never_by_the_strict_check() -> None:
    assert said("for=192.0.2.1;host=example.com:8080", "host=[::1]:80;for=192.0.2.2") == ["192.0.2.1", "192.0.2.2"]
    with pytest.raises(FormatError) as caught:
        check_forwarded("for=192.0.2.1;host=example.com:8080")
    assert caught.value.at == 30


# --- nodes, section 6


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", None),
        ("192.0.2.1:80", "192.0.2.1", 80),
        ("192.0.2.1:00080", "192.0.2.1", 80),
        ("192.0.2.1:65535", "192.0.2.1", 65535),
        ("192.0.2.1:0", "192.0.2.1", None),
        ("192.0.2.1:_p", "192.0.2.1", None),
        ("[2001:DB8::7]", "2001:db8::7", None),
        ("[2001:db8::7]:_p.1", "2001:db8::7", None),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1", 80),
    ],
)
def test_a_node_names_an_address(text: str, address: str, port: int | None) -> None:
    assert parse_node_value(text) == Node(text, parse_address(address), port)
    assert for_nodes([f'for="{text}"'])[0] == Node(text, parse_address(address), port)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        ("unknown", "unknown"),
        ("Unknown:80", "unknown"),
        ("un\u212anown", "bad_address"),
        ("_gazonk", "obfuscated"),
        ("_gazonk:80", "obfuscated"),
        ("_", "bad_address"),
        ("_a b", "bad_address"),
        ("example.com", "bad_address"),
        ("example.com:80", "bad_address"),
        ("2001:db8::7", "bad_address"),
        ("abcd::7", "bad_address"),
        ("[192.0.2.1]", "bad_address"),
        ("[2001:db8::7", "bad_address"),
        ("[fe80::1%eth0]", "bad_address"),
        ("[2001:db8::00007]", "bad_address"),
        ("010.0.0.1", "bad_address"),
        ("192.0.2.1x", "bad_address"),
        ("999.0.0.1:99999", "bad_address"),
        ("0.0.0.0", "unspecified"),
        ("[::]:80", "unspecified"),
        ("192.0.2.1:", "bad_port"),
        ("192.0.2.1:99999", "bad_port"),
        ("192.0.2.1:65536", "bad_port"),
        ("192.0.2.1:123456", "bad_port"),
        ("192.0.2.1:+80", "bad_port"),
        ("192.0.2.1:80x", "bad_port"),
        ("unknown:", "bad_port"),
        ("x" * 129, "too_long"),
    ],
)
def test_a_node_without_an_address_says_why(text: str, fault: str) -> None:
    assert parse_node_value(text) == Node(text, fault=fault)


def test_an_element_without_for_is_a_hop_that_kept_silent() -> None:
    assert said('by=_x, for="", for=192.0.2.1') == ["missing", "empty", "192.0.2.1"]


# --- nothing to the left can hurt what stands to the right

ATTACKS = {
    "open quote": 'for="1.1.1.1',
    "bad token": "for=1.1.1.1;a b",
    "bare word": "evil",
    "lone equals sign": "=",
    "control character": "for=1.1.1.1\x00",
    "escaped open quote": 'for="1.1.1.1\\"',
    "quote that would close ours": 'for="1.1.1.1, x="',
    "backslash at the end": "for=1.1.1.1\\",
    "lone quote": '"',
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.parametrize("ours", ["for=203.0.113.7", 'for="[2001:db8::7]:80";host="a,b\\"c";by="_x"'])
def test_an_attack_on_the_same_line_or_an_earlier_one_costs_only_its_own_side(attack: str, ours: str) -> None:
    alone = for_nodes([ours])
    for lines in ([f"{attack}, {ours}"], [f"{attack},{ours}"], [attack, ours], [f"for=9.9.9.9, {attack}", ours]):
        seen = for_nodes(lines)
        assert seen[-1:] == alone
        assert seen[-2].fault is not None


def test_a_stray_quote_after_ours_leaves_nothing_to_believe() -> None:
    assert said('for=192.0.2.1, for=203.0.113.7"') == ["malformed"]


@given(JUNK, st.lists(ELEMENT, min_size=1, max_size=3))
def test_whatever_stands_left_of_well_formed_elements_they_are_read_the_same(junk: str, ours: list[str]) -> None:
    line = ", ".join(ours)
    alone = parse_forwarded([line]).elements
    assert len(alone) == len(ours)
    assert parse_forwarded([f"{junk}, {line}"]).elements[-len(ours) :] == alone
    assert parse_forwarded([junk, line]).elements[-len(ours) :] == alone


@given(st.lists(ELEMENT, max_size=4))
def test_from_the_right_a_well_formed_field_reads_as_from_the_left(elements: list[str]) -> None:
    line = " ,\t".join(elements)
    try:
        strict = check_forwarded(line)
    except FormatError:
        return  # grammar is right but some `for` or `by` is no node
    assert parse_forwarded([line]).elements == strict
    assert len(strict) == len(elements)


@given(st.lists(st.one_of(JUNK, ELEMENT, st.text()), max_size=4))
def test_any_text_is_elements_or_malformed(lines: list[str]) -> None:
    seen = parse_forwarded(lines)
    assert len(for_nodes(lines)) == len(seen.elements) + (seen.malformed is not None)
    for line in lines:
        try:
            check_forwarded(line)
        except FormatError as error:
            assert error.reason == "malformed"
            assert error.at is None or 0 <= error.at < len(line)


def test_a_padded_list_keeps_its_trusted_end() -> None:
    nodes = for_nodes(["for=6.6.6.6," * 100_000 + "for=192.0.2.1," * (MAX_ENTRIES - 1) + "for=203.0.113.7"])
    assert (len(nodes), nodes[0].text, nodes[-1].text) == (MAX_ENTRIES, "192.0.2.1", "203.0.113.7")


@pytest.mark.parametrize(
    "unit",
    ['"', "\\", ",", 'a="";', '\\"', " ", 'a="b,', "for=1.1.1.1,", ";", '="', 'a="\\\\",', "secret=a,", 'secret="'],
)
def test_megabytes_of_one_thing_end_soon(unit: str) -> None:
    text = unit * (500_000 // len(unit))
    parse_forwarded([text])
    seal_secrets(f"{text}secret", lambda _: "x")
    try:
        check_forwarded(text)
    except FormatError as error:
        assert error.reason == "malformed"


# --- the strict check of one field


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("a=b,=c", 4),
        ("a =b", 1),
        ("a= b", 2),
        ("a", None),
        ("a=", None),
        ('a="b', None),
        ('a="b\\', None),
        ('a="b\0c"', 4),
        ('a="b\\\0"', 4),
        ('a="b"c', 5),
        ("a=b:c", 3),
        ("a=b c=d", 4),
        ("a=b ", None),
        (" a=b", 1),
        ("a=b;A=c", 4),
        ("a=b, for=nope", 9),
        ('by="[::1]:"', 3),
        ("for=", None),
        ('for=""', 4),
    ],
)
def test_the_strict_check_names_the_first_unreadable_character(value: str, at: int | None) -> None:
    with pytest.raises(FormatError) as caught:
        check_forwarded(value)
    assert (caught.value.reason, caught.value.at) == ("malformed", at)


def test_the_strict_check_accepts_empty_members_unknown_and_hidden_nodes() -> None:
    seen = check_forwarded(" , for=unknown;;proto=https ,,\tby=_x;for=0.0.0.0, ")
    assert [element.node.fault for element in seen] == ["unknown", "unspecified"]
    assert check_forwarded("") == ()


# --- secrets


def sealed(value: str) -> str:
    return seal_secrets(value, lambda text: f"h{len(text)}")


def test_a_secret_leaves_only_as_its_seal_and_the_rest_unchanged() -> None:
    assert sealed('for=192.0.2.1 , SECRET="a,\\"b" ,for=192.0.2.2;secret=abc;by=_x') == (
        "for=192.0.2.1 , SECRET=h4 ,for=192.0.2.2;secret=h3;by=_x"
    )
    assert sealed('for=192.0.2.1;note="secret=abc"') == 'for=192.0.2.1;note="secret=abc"'
    assert sealed("for=192.0.2.1") == "for=192.0.2.1"


def test_what_cannot_be_read_is_sealed_from_the_word_on_and_stays_unreadable() -> None:
    assert (
        sealed('for=1.1.1.1;secret="x y, for=203.0.113.7;secret=z')
        == "for=1.1.1.1;secret=<h11>, for=203.0.113.7;secret=h1"
    )
    assert sealed('evil", for=203.0.113.7;secret=z') == 'evil", for=203.0.113.7;secret=h1'


@given(JUNK, st.lists(st.one_of(ELEMENT, st.just('secret="s;,";for=192.0.2.1')), min_size=1, max_size=3))
def test_sealing_changes_no_node_that_can_be_read(junk: str, ours: list[str]) -> None:
    line = f'{junk}secret="k, {", ".join(ours)}'
    before, after = for_nodes([line]), for_nodes([sealed(line)])
    assert [node for node in before if node.fault != "malformed"] == [
        node for node in after if node.fault != "malformed"
    ]
    assert len(before) == len(after)
    assert "s;," not in sealed(line)
