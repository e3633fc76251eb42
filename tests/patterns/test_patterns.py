"""Law: a value a client writes never moves the border of a value we trust."""

from __future__ import annotations

import re

import pytest
from clientip.errors import ConfigError, FormatError
from clientip.patterns.matcher import ESCAPED, QUOTELESS, RAW, Field, Token, compile_tokens, decode_text
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds.patience import processor_s

ADDRESS = Field(name="address", unit="[0-9.:]", weight="trusted")
STATUS = Field(name="status", unit="[0-9]", pattern="[0-9]{3}", weight="trusted")


def client(name: str, unit: str = RAW) -> Field:
    return Field(name=name, unit=unit, weight="claim")


def test_text_that_looks_like_columns_stays_in_its_own_column() -> None:
    read = compile_tokens([ADDRESS, " ", client("user"), " ", STATUS]).read
    assert read("10.0.0.1 a 404 b 200") == ("10.0.0.1", "a 404 b", "200")


def test_a_trusted_field_among_wild_ones_is_refused_and_named() -> None:
    with pytest.raises(ConfigError, match="`status` lies among `user` … `agent`"):
        compile_tokens([ADDRESS, " ", client("user"), " ", STATUS, " ", client("agent")])


def test_a_fence_makes_what_follows_certain_again() -> None:
    read = compile_tokens([client("user", QUOTELESS), ' "', client("path", QUOTELESS), '" ', STATUS]).read
    assert read('a b "/" 200') == ("a b", "/", "200")


def test_fields_without_text_between_them_are_refused_or_read_as_one() -> None:
    with pytest.raises(ConfigError, match="nothing stands between"):
        compile_tokens([ADDRESS, client("path")])
    plain = [Field(name=name, unit="[a-z]") for name in ("scheme", "host")]
    assert compile_tokens([*plain, " ", STATUS]).read("ab 200") == ("ab", "200")


def test_a_separator_inside_a_wild_value_is_two_readings() -> None:
    read = compile_tokens(['"', client("forwarded"), '" "', client("agent"), '" ', ADDRESS]).read
    assert read('"1.1.1.1" "x" 10.0.0.1') == ("1.1.1.1", "x", "10.0.0.1")
    with pytest.raises(FormatError, match="two_readings"):
        read('"1.1.1.1" "x" "y" 10.0.0.1')


def test_plain_text_that_cannot_be_told_apart_is_left_out_and_the_rest_read() -> None:
    text = [Field(name=name, unit=QUOTELESS) for name in ("referer", "agent")]
    read = compile_tokens([STATUS, " ", text[0], " ", text[1]]).read
    assert read("200 - curl") == ("200", "-", "curl")
    assert read("200 - a b") == ("200", None, None)


def test_a_list_is_not_continued_by_a_client() -> None:
    item = "[0-9.:]++"
    listed = Field(
        name="upstream",
        unit=QUOTELESS,
        pattern=rf"{item}(?:(?:, | : ){item})*+",
        shaped=True,
        listed=True,
        weight="trusted",
    )
    assert compile_tokens([listed, ' "', client("id", QUOTELESS), '"']).read('1.1.1.1:1, 2.2.2.2:2 "x"')[0] == (
        "1.1.1.1:1, 2.2.2.2:2"
    )
    with pytest.raises(ConfigError, match="`upstream` lies among"):  # `: 6.6.6.6:6` would go on with the list
        compile_tokens([listed, " ", client("id")])


def test_the_place_where_a_line_stops_fitting() -> None:
    with pytest.raises(FormatError) as caught:
        compile_tokens([ADDRESS, ' "', client("path", QUOTELESS), '" ', STATUS]).read('10.0.0.1 "/" 2x0')
    assert (caught.value.reason, caught.value.at) == ("no_match", 13)


@pytest.mark.parametrize("evil", ['" "', '"', " 1", "\\", " ", "\\\\ ", '" 200 ', ": "])
@pytest.mark.parametrize("unit", [RAW, QUOTELESS, ESCAPED])
def test_time_is_linear(unit: str, evil: str) -> None:
    tokens: list[Token] = [ADDRESS, " "]
    for name in ("a", "b", "c"):
        tokens += [client(name, unit), '" "']
    read = compile_tokens([*tokens, STATUS, " ", ADDRESS]).read

    def took_s(size: int) -> float:
        def refuse() -> None:
            with pytest.raises(FormatError):
                read("10.0.0.1 " + evil * (size // len(evil)) + "!")

        return processor_s(refuse, runs=3)

    assert took_s(80_000) < 12 * took_s(20_000) + 0.02


@given(st.text(), st.text())
def test_one_wild_value_never_moves_the_trusted_ones(user: str, other: str) -> None:
    read = compile_tokens([ADDRESS, " ", client("user"), " ", STATUS]).read
    assert read(f"10.0.0.1 {user} {other} 200") == ("10.0.0.1", f"{user} {other}", "200")


@given(st.lists(st.text(alphabet='ab "\\[]1', max_size=12), min_size=3, max_size=3))
def test_several_wild_values_are_read_as_written_or_not_at_all(values: list[str]) -> None:
    read = compile_tokens([ADDRESS, ' "', *_between([client(name) for name in "abc"], '" "'), '" ', STATUS]).read
    try:
        got = read('10.0.0.1 "' + '" "'.join(values) + '" 200')
    except FormatError as error:
        assert error.reason == "two_readings"
        assert any('"' in value for value in values)
    else:
        assert got == ("10.0.0.1", *values, "200")


@given(st.lists(st.text(alphabet='ab "\\[]1', max_size=12), min_size=3, max_size=3))
def test_escaped_values_come_back_whatever_they_hold(values: list[str]) -> None:
    escaped = [re.sub(r'(["\\])', r"\\\1", value) for value in values]
    read = compile_tokens(
        [ADDRESS, ' "', *_between([client(name, ESCAPED) for name in "abc"], '" "'), '" ', STATUS]
    ).read
    assert read('10.0.0.1 "' + '" "'.join(escaped) + '" 200') == ("10.0.0.1", *escaped, "200")


def _between(fields: list[Field], literal: str) -> list[Token]:
    tokens: list[Token] = [fields[0]]
    for field in fields[1:]:
        tokens += [literal, field]
    return tokens


@given(st.binary())
def test_every_byte_string_is_text(data: bytes) -> None:
    decode_text(data).encode()
