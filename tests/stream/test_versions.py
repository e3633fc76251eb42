"""Messages between workers outlive the release that wrote them: those of the version before are still read.

Each file of `golden/stream` was written by the release that introduced its version, and never changes again.
A new version is a new file and a new row here.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from clientip.errors import FormatError
from clientip.joins.coverage import Run
from clientip.joins.facts import JoinFact, JoinQuestion, conn_key, trace_key
from clientip.joins.inquiry import Inquiry
from clientip.model import Step
from clientip.pending import Pending, unpacked
from clientip.stream.changelog import committed_state, entries
from clientip.stream.checkpoint import Checkpoint, read, written
from clientip.stream.holes import HoleNews
from clientip.stream.join_messages import (
    VERSION,
    Chunks,
    Partitions,
    Watermark,
    decode,
    unpacked_fact,
    unpacked_question,
)
from clientip.trust.answers import Ended, Through

GOLDEN = Path(__file__).parents[1] / "golden" / "stream"
NODE = ("198.51.100.11", 40001)
KEY = conn_key("default", "tcp", NODE)
STEP = Step("lb", "10.0.0.1", 4711, "socket", "seen")
FACTS = [
    JoinFact(
        KEY, "nodes", "node-a", "0" * 32, "translation", "DESTROY", 1, 2, 3, 4, ("10.244.2.5", 8080),
        ("203.0.113.7", 51000), ("198.51.100.11", 30080), own=False, assured=True,
    ),
    JoinFact(
        trace_key("ab" * 16), "lb", "", "1" * 32, "request", "", 1, 2, 3, 4, minted=True, span="cd" * 8,
        ended=Ended("seen", ("203.0.113.7", 51000), "socket", None, (STEP,), None),
    ),
]  # fmt: skip
ASKED = JoinQuestion(KEY, 0, 0, ("nodes",), "app", "a", 7, 1, 2, 3, NODE[0], ("10.244.2.5", 8080), True, None, True)
FRONTED = msgspec.structs.replace(ASKED, fronts=(("10.1.0.11", 30080), ("10.1.0.12", None)))
TRUSTING = msgspec.structs.replace(FRONTED, passing=("lb",), minting=("edge", "lb"))
THROUGH = Through("nodes", ("203.0.113.7", 51000), None, "conntrack", "0" * 32)
PENDING = Pending(b"raw", b"text", "file", 5, 6, 7, "a", "stdout", "2" * 32, True, b"seen", Inquiry((THROUGH,), 1), 8)
MARK = Watermark("nodes", "raw.nodes", 3, 4, 5, True)
HOLES = (HoleNews("lb", "", "raw.lb/0", 5, 9), HoleNews("lb", "", "raw.lb/1", 7))
RUNS = (("nodes", "node-a", (Run("s", 1, 2, 3, 4, True),)),)
RESUME = Checkpoint(1, 17, 4, 65, (("conn", "nodes", 99),))


def chunk() -> bytes:
    chunks = Chunks(Partitions("seed", 1), 60)
    for fact in FACTS:
        chunks.tell(fact)
    chunks.ask(TRUSTING, "0123456789abcdef", PENDING, 9)
    [message] = chunks.messages([MARK], RUNS, holes=HOLES)
    return message.value


def ledger() -> list[bytes]:
    return [each.value for each in (*entries(64, (), (7, 9), 7, 10, RUNS, HOLES), *entries(65, (9,), (), 0, 0, ()))]


MADE = {"chunk-3.hex": lambda: [chunk()], "ledger-2.hex": ledger, "metadata-1.hex": lambda: [written(RESUME).encode()]}


def recorded(name: str) -> list[bytes]:
    return [bytes.fromhex(line) for line in (GOLDEN / name).read_text().split()]


@pytest.mark.parametrize("name", MADE)
def test_this_release_writes_the_present_version_as_it_was_recorded(name: str) -> None:
    assert MADE[name]() == recorded(name), "what travels has changed: it needs a new version"


def test_a_chunk_of_a_version_that_is_too_old_is_refused() -> None:
    with pytest.raises(FormatError, match="version"):
        decode(recorded("chunk-1.hex")[0])


@pytest.mark.parametrize(
    ("name", "asked", "holes"), [("chunk-2.hex", FRONTED, HOLES), ("chunk-3.hex", TRUSTING, HOLES)]
)
def test_a_chunk_of_each_version_that_still_travels_is_read(
    name: str, asked: JoinQuestion, holes: tuple[HoleNews, ...]
) -> None:
    [message] = recorded(name)
    found = decode(message)
    ends = msgspec.convert(memoryview(found.facts.ends).cast("I").tolist(), list[int])
    bodies = [found.facts.bodies[low:high] for low, high in zip([0, *ends], ends, strict=False)]
    assert [unpacked_fact(body) for body in bodies] == FACTS
    [question] = found.questions
    assert unpacked(question.pending) == PENDING
    assert unpacked_question(question.asked) == asked
    assert (question.topology, question.first_ns, question.system) == ("0123456789abcdef", 9, "app")
    assert (found.watermarks, found.runs, found.holes) == ((MARK,), RUNS, holes)


@pytest.mark.parametrize(("name", "holes"), [("ledger-1.hex", ()), ("ledger-2.hex", HOLES)])
def test_a_changelog_of_every_version_is_read(name: str, holes: tuple[HoleNews, ...]) -> None:
    found = committed_state(recorded(name), 65)
    assert [found.is_open(number) for number in (7, 8, 9, 10)] == [True, False, False, True]
    assert (found.runs, found.holes) == (RUNS, holes)


def test_metadata_of_version_1_are_read() -> None:
    assert read(recorded("metadata-1.hex")[0].decode()) == RESUME


def test_a_later_version_is_refused_as_one() -> None:
    with pytest.raises(FormatError, match="version"):
        decode(bytes((VERSION + 1,)) + chunk()[1:])
    with pytest.raises(FormatError, match="version"):
        read(written(msgspec.structs.replace(RESUME, version=2)))
