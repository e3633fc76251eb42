"""Laws of reading JSON lines: one reading or none, at every level, in linear time."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import Any

import pytest
from clientip.errors import FormatError
from clientip.syntax.jsonlines import DEPTH_LIMIT, extendable, int_of, read_object, text_of
from hypothesis import example, given
from hypothesis import strategies as st

from tests.worlds.patience import processor_s

# Keys and strings that look like JSON themselves: what a counter of quotes and colons would stumble over.
NASTY = st.sampled_from(
    ['a":', '":', ":", '"', "\\", '\\":', "{", "}", '","a":1', "", "clientip", "é", "\u2028", "\x00"]
)
TEXTS = NASTY | st.text(max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=30
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=8)


def object_text(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Objects whose keys come from so small a choice that they often repeat."""
    pair = st.tuples(TEXTS.map(json.dumps), inner).map(":".join)
    return st.lists(pair, max_size=4).map(lambda pairs: "{" + ",".join(pairs) + "}")


def list_text(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]")


PAIRS = object_text(
    st.recursive(SCALARS.map(json.dumps), lambda inner: object_text(inner) | list_text(inner), max_leaves=20)
)


class RepeatedError(Exception):
    pass


def refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise RepeatedError
    return dict(pairs)


def reason_of(text: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        read_object(text)
    return caught.value.reason


@given(OBJECTS, st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")]))
def test_an_object_is_read_as_it_was_written(
    value: dict[str, Any], ascii_only: bool, separators: tuple[str, str]
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, separators=separators)
    assert read_object(text.encode()) == value


@given(PAIRS)
def test_a_key_repeated_anywhere_is_refused(text: str) -> None:
    try:
        expected = json.loads(text, object_pairs_hook=refuse_repeated)
    except RepeatedError:
        assert reason_of(text.encode()) == "json_repeated_key"
    else:
        assert read_object(text.encode()) == expected


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":[{"b":1,"b":2}]}',
        b'{"a":[[[{"b":1,"c":2,"b":3}]]],"d":1}',
        b'{"a":{},"b":{},"c":{},"d":{},"e":{"x":1,"x":1}}',
        b'{"a":{"b":{"c":1,"c":1}},"x":"\\":\\":"}',
        b'{"a":{"x":":","x":":"},"b":[[]]}',
        b'{"a":123456789012345678901234567890,"a":1}',
        b'{"a":123456789012345678901234567890,"b":{"c":1,"c":1}}',
        b'{"a":"\xff","b":1,"b":1}',
        b'{"a\\u0000":{"b":1,"b":1},"a":{"b":1}}',
    ],
)
def test_repeated_keys_known(text: bytes) -> None:
    assert reason_of(text) == "json_repeated_key"


@given(st.binary(max_size=200) | OBJECTS.map(lambda value: json.dumps(value).encode()[:-1]))
@example(b"\xef\xbb\xbf{}")
@example(b'{"a":"\\ud800"}')
@example(b'{"a":1e999}')
@example(b'{"a":' + b"9" * 5000 + b"}")
@example(b'{"a":18446744073709551616}')
@example(b'{"\xff":1,"\xff":1}')
@example(b"\xff")
def test_every_byte_string_reads_or_raises_format_error(text: bytes) -> None:
    try:
        assert isinstance(read_object(text), dict)
    except FormatError as error:
        assert error.reason.startswith("json")


@pytest.mark.parametrize("text", [b"[]", b'"x"', b"1", b"null"])
def test_json_that_is_no_object_is_said_to_be_none(text: bytes) -> None:
    assert reason_of(text) == "json_not_object"


def test_a_fault_is_told_with_its_place() -> None:
    with pytest.raises(FormatError) as caught:
        read_object(b'{"a":1 x')
    assert (caught.value.reason, caught.value.at) == ("json", 7)


@pytest.mark.parametrize("inner", [(b'{"a":', b"}"), (b'{"a":[', b"]}")])
@pytest.mark.parametrize("number", [b"1", b"1" * 30])
def test_depth_is_bounded_exactly(inner: tuple[bytes, bytes], number: bytes) -> None:
    levels = DEPTH_LIMIT // (2 if b"[" in inner[0] else 1)
    assert read_object(inner[0] * levels + number + inner[1] * levels)
    for deeper in (levels + 1, 1000, 1100, 100_000):
        assert reason_of(inner[0] * deeper + number + inner[1] * deeper) == "json_too_deep"


def test_stray_bytes_are_written_out() -> None:
    assert read_object(b'{"a":"x\xffy\xc3\xa9"}') == {"a": "x\\xffy\u00e9"}


def test_integers_past_64_bits_stay_exact() -> None:
    assert read_object(b'{"a":[18446744073709551617]}') == {"a": [18446744073709551617]}
    assert read_object(b'{"a":' + b"1" * 200 + b"}")["a"] == float("1" * 200)


def test_a_parser_is_free_again_after_every_refusal() -> None:
    for text in (
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":[[{"b":1,"b":1}]]}',
        b"[",
        b'{"a":1e30}',
        b'{"a":{"b":' * 33,
    ):
        with contextlib.suppress(FormatError):
            read_object(text)
        assert read_object(b'{"a":{"b":[{}]}}') == {"a": {"b": [{}]}}


def test_threads_do_not_disturb_each_other() -> None:
    failures: list[BaseException] = []

    def read_many() -> None:
        try:
            for _ in range(2000):
                assert read_object(b'{"a":{"b":[{"c":1}]},"d":"e"}')["d"] == "e"
                assert reason_of(b'{"a":{"b":[{"c":1,"c":1}]},"d":"e"}') == "json_repeated_key"
        except BaseException as error:  # noqa: BLE001 - carried to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=read_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    "text",
    [
        b"{" + b",".join(b'"k%d":{"a":[{}]}' % n for n in range(60_000)) + b"}",
        b'{"a":[' + b"{}," * 300_000 + b"{}]}",
        b'{"a":"' + b'\\":' * 300_000 + b'"}',
        b'{"a":"' + b"\xff" * 300_000 + b'"}',
        b'{"a":[' + b"1" * 1_000_000 + b"]}",
    ],
)
def test_a_megabyte_of_anything_takes_no_longer_than_reading_it(text: bytes) -> None:
    def read() -> None:
        with contextlib.suppress(FormatError):
            read_object(text)

    assert processor_s(read) < 2


@given(OBJECTS)
def test_what_can_be_extended_stays_json_with_one_key_more(value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    assert extendable(text, value) == ("clientip" not in value)


def test_text_that_is_no_utf8_cannot_be_extended() -> None:
    text = b'{"a":"\xff"}'
    assert not extendable(text, read_object(text))


@pytest.mark.parametrize(
    ("value", "number"), [(200, 200), ("200", 200), (200.0, 200), ("-1", -1), ("-", None), ("", None), (None, None)]
)
def test_numbers_are_read_however_they_were_written(value: object, number: int | None) -> None:
    assert int_of({"key": value}, "key") == number


@pytest.mark.parametrize("value", [True, "2 00", "1e3", "٣", "9" * 21, 1.5, float("nan"), float("inf"), [], {}])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(FormatError, match="number"):
        int_of({"key": value}, "key")


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (1, "1"), (1.5, "1.5"), (None, None)])
def test_texts_are_read_however_they_were_written(value: object, text: str | None) -> None:
    assert text_of({"key": value}, "key") == text


@pytest.mark.parametrize("value", [True, [], {}])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(FormatError, match="no_match"):
        text_of({"key": value}, "key")
