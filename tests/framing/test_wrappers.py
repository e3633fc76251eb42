"""Laws of wrappers: what went in comes out, parts make the whole again, and no tail passes for a line."""

from __future__ import annotations

import json

import pytest
from clientip.errors import FormatError
from clientip.framing.wrappers import EMPTY, OPEN_BYTES, OPEN_LIMIT, PARTS_LIMIT, WRAPPERS, join, peel
from clientip.model import Line, Part, Rejected
from clientip.syntax.times import rfc3339_ns
from hypothesis import example, given
from hypothesis import strategies as st

STAMP = "2024-05-01T12:00:00.000000001+02:00"
STAMP_NS = rfc3339_ns(STAMP)
MESSAGES = st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=40)


def wrapped(name: str, message: str) -> bytes:
    """`message` as the shipper `name` writes it."""
    forms = {
        "cri": f"{STAMP} stdout F {message}",
        "docker": json.dumps({"log": message + "\n", "stream": "stdout", "time": STAMP}),
        "syslog3164": f"<134>May  1 12:00:00 host-1 app[7]: {message}",
        "syslog5424": f'<134>1 {STAMP} host-1 app 7 - [x@1 a="b\\]\\" c"][y] \ufeff{message}',
        "filebeat": json.dumps({"@timestamp": STAMP, "message": message, "host": {"name": "host-1"}}),
        "fluent": json.dumps({"time": STAMP, "log": message + "\n", "kubernetes": {"pod_name": "pod-1"}}),
        "vector": json.dumps({"timestamp": STAMP, "message": message, "host": "host-1"}),
        "compose": f"caddy-1  | {message}",
    }
    return forms[name].encode()


def bare(text: bytes) -> Line:
    return Line(text, text)


@pytest.mark.parametrize("name", WRAPPERS)
@given(message=MESSAGES)
@example(message="")
@example(message="a: b | c ]")
def test_every_wrapper_gives_its_message_back(name: str, message: str) -> None:
    line = peel(bare(wrapped(name, message)), [name])
    assert line.text == message.encode()
    assert line.raw == wrapped(name, message)
    assert not line.partial


@given(st.lists(st.sampled_from(list(WRAPPERS)), max_size=3), MESSAGES)
def test_wrappers_peel_outermost_first(names: list[str], message: str) -> None:
    text = message
    for name in reversed(names):
        text = wrapped(name, text).decode()
    assert peel(bare(text.encode()), names).text == message.encode()


@pytest.mark.parametrize("name", WRAPPERS)
@given(text=st.binary(max_size=120) | st.text(' <>[]{}|:"\\=-19TZabc', max_size=80).map(str.encode))
@example(text=b"{}")
@example(text=b'{"log":1,"message":null}')
@example(text=b"<1>1 - - - - - -")
def test_every_byte_string_peels_or_raises_format_error(name: str, text: bytes) -> None:
    try:
        peel(bare(text), [name])
    except FormatError as error:
        assert error.reason in ("wrapper", "empty_message", "json_repeated_key", "json_too_deep")


@pytest.mark.parametrize("name", [name for name in WRAPPERS if name not in ("syslog3164", "compose")])
def test_a_time_that_names_an_instant_becomes_the_stamp(name: str) -> None:
    assert peel(bare(wrapped(name, "x")), [name]).stamp_ns == STAMP_NS


def test_a_time_without_year_and_zone_is_no_stamp() -> None:
    assert peel(bare(wrapped("syslog3164", "x")), ["syslog3164"]).stamp_ns is None


def test_the_inner_time_counts_where_there_is_one() -> None:
    inner = '{"log":"x\\n","stream":"stderr","time":"2001-01-01T00:00:00Z"}'
    assert peel(bare(wrapped("filebeat", inner)), ["filebeat", "docker"]).stamp_ns == rfc3339_ns("2001-01-01T00:00:00Z")
    assert peel(bare(wrapped("filebeat", "caddy | x")), ["filebeat", "compose"]).stamp_ns == STAMP_NS


@pytest.mark.parametrize(
    ("name", "text", "instance"),
    [
        ("filebeat", b'{"message":"x","kubernetes":{"pod":{"name":"p"}},"host":{"name":"h"}}', "p"),
        ("filebeat", b'{"message":"x","host":"h"}', None),
        ("fluent", b'{"message":"x","kubernetes":{"pod_name":"p"}}', "p"),
        ("vector", b'{"message":"x","kubernetes":{"pod_name":"p"},"host":"h"}', "p"),
        ("compose", b"web-1 | x", "web-1"),
        ("compose", b"\x1b[36mweb  | \x1b[0mx", "web"),
        ("syslog5424", b"<1>1 - - - - - - x", None),
        ("syslog3164", b"<134>May  1 12:00:00 haproxy[14389]: x", None),
        ("syslog3164", b"May 11 12:00:00 edge-1 nginx: x", "edge-1"),
        ("syslog3164", b"2024-05-01T12:00:00+02:00 edge-1 haproxy[1]: x", "edge-1"),
    ],
)
def test_the_instance_is_the_one_the_wrapper_names(name: str, text: bytes, instance: str | None) -> None:
    line = peel(bare(text), [name])
    assert (line.instance, line.text) == (instance, b"x")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("cri", b"2024-05-01T12:00:00Z stdout X x", "wrapper"),
        ("cri", b"2024-02-30T12:00:00Z stdout F x", "wrapper"),
        ("docker", b"[]", "wrapper"),
        ("docker", b'{"log":"a\\n","log":"b\\n"}', "json_repeated_key"),
        ("docker", b'{"stream":"stdout"}', "empty_message"),
        ("filebeat", b'{"message":{}}', "empty_message"),
        ("filebeat", b'{"message":"a"}}', "wrapper"),
        ("syslog5424", b'<1>1 - - - - - [a b="c] x', "wrapper"),
        ("compose", b"no bar", "wrapper"),
    ],
)
def test_what_is_not_wrapped_as_said_is_refused(name: str, text: bytes, reason: str) -> None:
    with pytest.raises(FormatError) as caught:
        peel(bare(text), [name])
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cri", b"2024-05-01T12:00:00Z stdout P x"),
        ("cri", b"2024-05-01T12:00:00Z stdout P:tag x"),
        ("docker", b'{"log":"x","stream":"stdout"}'),
        ("fluent", b'{"log":"x","logtag":"P"}'),
        ("fluent", b'{"log":"x","partial_message":"true","partial_last":"false"}'),
        ("vector", b'{"message":"x","_partial":true}'),
    ],
)
def test_a_part_is_told_from_a_whole(name: str, text: bytes) -> None:
    assert peel(bare(text), [name]).partial


@given(st.lists(st.tuples(st.sampled_from("ab"), st.binary(max_size=5), st.booleans()), max_size=30))
def test_parts_of_a_stream_make_its_lines_again_and_nothing_is_lost(parts: list[tuple[str, bytes, bool]]) -> None:
    held = EMPTY
    whole: dict[str, list[bytes]] = {"a": [b""], "b": [b""]}
    joined: dict[str, list[bytes]] = {"a": [], "b": []}
    raws: list[bytes] = []
    for offset, (stream, text, partial) in enumerate(parts):
        whole[stream][-1] += text
        if not partial:
            whole[stream].append(b"")
        held, outcome = join(held, Line(b"%d" % offset, text, offset=offset, stream=stream, partial=partial), 1000)
        if isinstance(outcome, Line):
            assert (outcome.offset, outcome.partial) == (offset, False)
            joined[stream].append(outcome.text)
            raws += outcome.raw.split(b"\n")
        else:
            assert isinstance(outcome, Part)
    for stream, lines in whole.items():
        assert joined[stream] == lines[:-1]
    raws += [raw for left in held.lines() for raw in left.raw.split(b"\n")]
    assert sorted(raws, key=int) == [b"%d" % offset for offset in range(len(parts))]


def test_no_tail_of_a_line_that_grew_too_long_passes_for_a_line() -> None:
    held = EMPTY
    outcomes = []
    for number, partial in enumerate((True, True, True, True, False, False)):
        held, outcome = join(held, Line(b"%d" % number, b"xxxx", stream="stdout", partial=partial), 9)
        outcomes.append(outcome)
    assert [type(outcome) for outcome in outcomes] == [Part, Part, Rejected, Rejected, Rejected, Line]
    refused = [outcome.line.raw for outcome in outcomes if isinstance(outcome, Rejected)]
    assert refused == [b"0\n1\n2", b"3", b"4"]
    assert held == EMPTY


def test_the_number_of_parts_is_bounded_too() -> None:
    held = EMPTY
    for _ in range(PARTS_LIMIT):
        held, outcome = join(held, Line(b"", b"", partial=True), 9)
        assert isinstance(outcome, Part)
    held, outcome = join(held, Line(b"", b"", partial=True), 9)
    assert isinstance(outcome, Rejected)


def test_a_line_that_never_ends_is_still_held() -> None:
    held, _ = join(EMPTY, Line(b"1", b"a", partial=True), 9)
    assert [left.raw for left in held.lines()] == [b"1"]


def test_what_is_held_of_lines_that_begin_and_never_end_is_bounded() -> None:
    held = EMPTY
    begun = OPEN_LIMIT + 100
    for number in range(begun):
        held, outcome = join(held, Line(b"a", b"a", instance=f"pod-{number}", partial=True), 9)
        assert isinstance(outcome, Part if number < OPEN_LIMIT else Rejected)
    assert len(held.lines()) == OPEN_LIMIT
    for number in range(begun):
        held, outcome = join(held, Line(b"b", b"b", instance=f"pod-{number}"), 9)
        assert isinstance(outcome, Line if number < OPEN_LIMIT else Rejected)  # no tail passes for a line
    assert held == EMPTY


def test_the_bytes_of_lines_that_begin_and_never_end_are_bounded() -> None:
    held, large = EMPTY, b"x" * (OPEN_BYTES // 10)
    for number in range(20):
        held, outcome = join(held, Line(large, b"x", instance=f"pod-{number}", partial=True), 9)
        assert isinstance(outcome, Part if number < 10 else Rejected)
    assert held.bytes_held == sum(len(each.raw) for each in held.lines()) <= OPEN_BYTES


def test_instances_with_long_names_are_told_apart_without_holding_the_names() -> None:
    held, names = EMPTY, ["n" * 10_000 + word for word in ("a", "b")]
    for name in names:
        held, _ = join(held, Line(b"1", b"1", instance=name, partial=True), 9)
    assert len(held.unfinished) == 2
    assert max(len(instance or "") for _, instance, _ in held.unfinished) < 1000
    for name in names:
        held, outcome = join(held, Line(b"2", b"2", instance=name), 9)
        assert isinstance(outcome, Line)
        assert (outcome.text, outcome.instance) == (b"12", name)
