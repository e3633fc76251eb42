"""Laws of the shipper's own origin: a line sent again has the same, another line another."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from clientip.engine import Engine, LogSource
from clientip.framing.shipper_origin import MAX_NAME, MAX_OFFSET, shipped
from clientip.model import Line, Record, Setup, System
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

FILEBEAT: dict[str, Any] = {
    "@timestamp": "2024-05-01T10:00:00.000Z",
    "agent": {"id": "6d0c5a9e", "ephemeral_id": "1", "name": "edge-1"},
    "host": {"name": "edge-1"},
    "log": {
        "offset": 512,
        "file": {"path": "/var/log/a", "device_id": "64512", "inode": "77", "fingerprint": "ab" * 32},
    },
    "message": "203.0.113.7 200",
}
VECTOR: dict[str, Any] = {
    "file": "/var/log/a",
    "host": "edge-1",
    "message": "203.0.113.7 200",
    "offset": 512,
    "source_type": "file",
    "timestamp": "2024-05-01T10:00:00.123456789Z",
}
ENVELOPES = [("filebeat", FILEBEAT), ("vector", VECTOR)]
GONE = object()


def line_of(fields: dict[str, Any], **other: Any) -> Line:
    text = json.dumps(fields).encode()
    return Line(text, text, **{"file": "topic/3", "offset": 7, "index": 2, **other})


def changed(fields: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with another value, or none (GONE), at a dotted path."""
    copy = deepcopy(fields)
    *outer, last = path.split(".")
    inner = copy
    for key in outer:
        inner = inner[key]
    if value is GONE:
        del inner[last]
    else:
        inner[last] = value
    return copy


def place_of(wrapper: str, fields: dict[str, Any]) -> tuple[str, int, int]:
    found = shipped(line_of(fields), (wrapper,))
    return found.file, found.offset, found.index


def is_untouched(line: Line, *wrapper: str) -> bool:
    return shipped(line, wrapper) is line


@pytest.mark.parametrize(("wrapper", "fields"), ENVELOPES)
def test_nothing_but_the_origin_changes(wrapper: str, fields: dict[str, Any]) -> None:
    line = line_of(fields, stamp_ns=5, instance="i", stream="s", partial=True)
    found = shipped(line, (wrapper, "cri"))
    assert (found.offset, found.index, len(found.file)) == (512, 0, 32)
    assert replace(found, file=line.file, offset=line.offset, index=line.index) == line


@pytest.mark.parametrize(("wrapper", "fields"), ENVELOPES)
@given(offset=st.integers(0, 99), index=st.integers(0, 99), stamp=st.text("0123456789", min_size=9, max_size=9))
def test_a_line_sent_again_has_the_same_origin(
    wrapper: str, fields: dict[str, Any], offset: int, index: int, stamp: str
) -> None:
    key = "@timestamp" if wrapper == "filebeat" else "timestamp"
    again = line_of(changed(fields, key, f"2024-05-01T11:00:00.{stamp}Z"), file="topic/0", offset=offset, index=index)
    found = shipped(again, (wrapper,))
    assert (found.file, found.offset, found.index) == place_of(wrapper, fields)


@pytest.mark.parametrize("key", ["agent.ephemeral_id", "agent.name", "log.file.path", "log.file.inode"])
def test_what_changes_between_two_readings_of_one_file_is_no_part_of_its_name(key: str) -> None:
    assert place_of("filebeat", changed(FILEBEAT, key, "other")) == place_of("filebeat", FILEBEAT)


@pytest.mark.parametrize(
    ("wrapper", "fields", "key"),
    [
        ("filebeat", FILEBEAT, "host.name"),
        ("filebeat", FILEBEAT, "agent.id"),
        ("filebeat", FILEBEAT, "log.file.fingerprint"),
        ("vector", VECTOR, "host"),
        ("vector", VECTOR, "file"),
    ],
)
def test_another_host_or_file_is_another_origin(wrapper: str, fields: dict[str, Any], key: str) -> None:
    assert place_of(wrapper, changed(fields, key, "other"))[0] != place_of(wrapper, fields)[0]


def test_two_shippers_that_say_the_same_do_not_say_the_same() -> None:
    both = {**VECTOR, "agent": {"id": "edge-1"}, "log": {"offset": 512, "file": {"path": "/var/log/a"}}}
    assert place_of("vector", both)[0] != place_of("filebeat", both)[0]


def test_the_best_name_that_a_file_has_counts() -> None:
    by_inode = changed(FILEBEAT, "log.file.fingerprint", GONE)
    by_path = changed(by_inode, "log.file.inode", GONE)
    assert len({place_of("filebeat", fields)[0] for fields in (FILEBEAT, by_inode, by_path)}) == 3
    assert place_of("filebeat", by_inode) == place_of("filebeat", changed(by_inode, "log.file.path", "/rotated"))
    assert place_of("filebeat", by_path) == place_of("filebeat", changed(by_path, "log.file.device_id", GONE))


@pytest.mark.parametrize("key", ["host.name", "agent.id"])
def test_a_host_or_an_agent_is_enough(key: str) -> None:
    assert place_of("filebeat", changed(FILEBEAT, key, GONE))[1:] == (512, 0)
    neither = changed(changed(FILEBEAT, "host.name", GONE), "agent.id", GONE)
    assert is_untouched(line_of(neither), "filebeat")


@pytest.mark.parametrize("bad", [GONE, None, "", 1, [], {}, "x" * (MAX_NAME + 1), "a\0b"])
@pytest.mark.parametrize(
    ("wrapper", "fields", "keys"),
    [
        ("vector", VECTOR, ("host",)),
        ("vector", VECTOR, ("file",)),
        ("filebeat", FILEBEAT, ("host.name", "agent.id")),
        ("filebeat", FILEBEAT, ("log.file.fingerprint", "log.file.device_id", "log.file.path")),
    ],
)
def test_a_name_that_is_none_leaves_the_line_as_it_is(
    wrapper: str, fields: dict[str, Any], keys: tuple[str, ...], bad: object
) -> None:
    for key in keys:
        fields = changed(fields, key, bad)
    assert is_untouched(line_of(fields), wrapper)


@pytest.mark.parametrize("bad", [GONE, None, "512", 512.0, True, -1, MAX_OFFSET, [], {}])
@pytest.mark.parametrize(
    ("wrapper", "fields", "key"), [("vector", VECTOR, "offset"), ("filebeat", FILEBEAT, "log.offset")]
)
def test_an_offset_that_is_none_leaves_the_line_as_it_is(
    wrapper: str, fields: dict[str, Any], key: str, bad: object
) -> None:
    assert is_untouched(line_of(changed(fields, key, bad)), wrapper)


@pytest.mark.parametrize("text", [b'{"offset":1,"offset":2,"host":"a","file":"b"}', b'{"offset":', b'["offset"]', b""])
def test_what_has_two_readings_or_none_is_left_to_the_engine(text: bytes) -> None:
    assert is_untouched(Line(text, text), "vector")


@pytest.mark.parametrize("wrapper", [(), ("fluent",), ("cri",), ("docker", "vector"), ("unknown",)])
def test_only_the_outermost_wrapper_is_the_shippers(wrapper: tuple[str, ...]) -> None:
    assert is_untouched(line_of(VECTOR), *wrapper)


@given(st.binary(max_size=80) | st.text('{}[]":,ofsethl 0\\', max_size=60).map(str.encode))
def test_any_bytes_are_left_or_read(text: bytes) -> None:
    for wrapper in ("filebeat", "vector"):
        line = Line(text, text + b'"offset"')
        assert shipped(line, (wrapper,)) is line


def test_a_message_repeated_in_the_topic_is_one_record() -> None:
    setup = Setup(system="web", format="nginx", pattern="$remote_addr $status", logs_peer="socket")
    system = System(name="web", peers=frozenset({"outside"}))
    engine = Engine([system], [LogSource(setup, ("vector",))], line_bytes=65536)

    def ids(*fields: dict[str, Any]) -> list[str]:
        lines = [shipped(line_of(each, offset=number), ("vector",)) for number, each in enumerate(fields)]
        outcomes = [outcome for line in lines for outcome in engine.reading("web").feed(line)]
        return [outcome.record_id for outcome in outcomes if isinstance(outcome, Record)]

    first, again, other = ids(VECTOR, VECTOR, {**VECTOR, "offset": 528})
    assert first == again != other
