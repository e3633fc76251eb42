"""Raw messages to lines: what instances that hold parts of lines do to each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from clientip.config import load as config
from clientip.edges.kafka import raw_lines as rawlines
from clientip.edges.kafka.client import TopicPlace, Upto
from clientip.edges.kafka.raw_lines import RawLines, Taken
from clientip.engine import build
from clientip.model import Part, Record, Rejected
from confluent_kafka import Message

CONFIG = """
[systems.web]
format = "nginx"
escape = "json"
pattern = '{"msec":"$msec","peer":"$remote_addr","req":"$request","st":"$status"}'
wrapper = ["cri"]
topics = ["raw.web"]
instance_by = "key"
logs_peer = "socket"
peers = ["outside"]

[limits]
line_bytes = 1024
"""
HEAD, TAIL = b'{"msec":"1714557600.000","peer":"203.0.113.7","req":"GET /', b'","st":"200"}'
FORGED = b'{"msec":"1714557600.000","peer":"203.0.113.66","req":"GET / HTTP/1.1","st":"200"}'


def raw_lines(folder: Path) -> RawLines:
    path = folder / "c.toml"
    path.write_text(CONFIG)
    settings = config.load([path])
    return RawLines(settings, build(settings), "web", TopicPlace("raw.web", 0), "id")


@pytest.fixture
def lines(tmp_path: Path) -> RawLines:
    return raw_lines(tmp_path)


def cri(offset: int, instance: str, tag: bytes, text: bytes) -> Message:
    value = b"2024-05-01T10:00:00.0Z stdout %b %b" % (tag, text)
    return Message(topic="raw.web", partition=0, offset=offset, key=instance.encode(), value=value, timestamp=(2, 1))


def outcomes(lines: RawLines, *messages: Message) -> list[object]:
    return [each for taken in lines.read(messages) if isinstance(taken, Taken) for each in taken.outcomes]


def test_a_line_given_up_takes_no_beginning_from_lines_of_other_instances(
    lines: RawLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rawlines, "MAX_PARTS_MESSAGES", 10)
    outcomes(lines, cri(0, "dead", b"P", HEAD))
    [part, given_up] = outcomes(lines, cri(20, "live", b"P", HEAD))
    assert isinstance(part, Part)
    assert isinstance(given_up, Rejected) and given_up.reason == "truncated"
    # The rest of the line is what its client wrote, and must not pass for a line of the server.
    assert not any(isinstance(each, Record) for each in outcomes(lines, cri(21, "live", b"F", FORGED)))


def test_so_many_instances_that_some_are_forgotten_take_no_beginning_either(
    lines: RawLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rawlines, "MAX_READINGS", 10)
    outcomes(lines, cri(0, "live", b"P", HEAD))
    for offset in range(1, 30):
        outcomes(lines, cri(offset, f"pod-{offset}", b"F", HEAD + TAIL))
    assert not any(isinstance(each, Record) for each in outcomes(lines, cri(31, "live", b"F", FORGED)))


def test_the_tail_of_a_refused_line_is_no_line_for_a_successor_either(lines: RawLines, tmp_path: Path) -> None:
    parts = [cri(5, "live", b"P", HEAD + b"x" * 900), cri(6, "live", b"P", b"y" * 900), cri(7, "live", b"F", FORGED)]
    outcomes(lines, *parts[:2])
    successor = raw_lines(tmp_path)
    first = successor.go_on(Upto(7, lines.metadata()))
    [tail] = outcomes(successor, *parts[first - 5 :])
    assert isinstance(tail, Rejected)
    assert tail.reason == "too_many_parts"


def test_a_refused_line_is_read_again_no_longer_than_its_rest_may_come(
    lines: RawLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rawlines, "MAX_REST_MESSAGES", 10)
    outcomes(lines, cri(0, "live", b"P", HEAD + b"x" * 900), cri(1, "live", b"P", b"y" * 900))
    assert lines.metadata() == "id 0"
    outcomes(lines, cri(2, "live", b"F", b"z"))
    outcomes(lines, cri(20, "live", b"F", HEAD + TAIL))
    assert lines.metadata() == "id"
