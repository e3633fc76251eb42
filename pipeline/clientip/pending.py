"""A suspended line, its codec, and the two steps that replay and stream share: a line begins, and it goes on.

Pure: the caller carries questions, answers and pending lines, and keeps what is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from clientip.engine import Engine
from clientip.joins.coverage import Witness
from clientip.joins.facts import JoinFact
from clientip.joins.inquiry import Inquiry, Open
from clientip.joins.join import Joining, numbered
from clientip.joins.witnesses import settled
from clientip.model import Line, Numbered, Observation, Outcome, Record, Resolution, Setup
from clientip.trust.answers import Answer, Awaits, Refused


class Pending(Struct, frozen=True, gc=False, array_like=True):
    """A suspended line: everything it needs to go on when its answer comes.

    It travels in messages of the join topic: the order of its fields is part of their version.
    """

    raw: bytes
    text: bytes | None  # what its format read; None: the same as `raw`
    file: str
    offset: int
    index: int
    stamp_ns: int | None
    instance: str | None
    stream: str
    record_id: str
    entry: bool
    observation: bytes  # packed, without its setup; empty: the line has to be read again
    inquiry: Inquiry
    appended_ns: int = 0  # when its message came; 0: it came in no message

    def line(self) -> Line:
        """The line as its format read it."""
        text = self.raw if self.text is None else self.text
        return Line(
            self.raw, text, self.file, self.offset, self.index, self.stamp_ns, self.instance, self.stream, False
        )


_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(Pending).decode


def packed(pending: Pending) -> bytes:
    """The pending line as bytes."""
    return _ENCODE(pending)


def unpacked(data: bytes) -> Pending:
    """The pending line again. Raises msgspec.MsgspecError for bytes that hold none.

    >>> line = Pending(b"raw", None, "file", 0, 0, None, None, "", "id", True, b"", Inquiry())
    >>> unpacked(packed(line)) == line
    True
    """
    return _DECODE(data)


class Codec:
    """Suspends lines of one system and reads them again.

    The setup stays here: it is the same for all of them, and it holds the operator's secrets.
    """

    def __init__(self, engine: Engine, system: str) -> None:
        self._setup, self._system, self._again = engine.sources[system].setup, system, engine.again
        self._stand_in = Setup(system=system, format=self._setup.format)
        self._decode = msgspec.msgpack.Decoder(Observation).decode
        self._decode_json = msgspec.json.Decoder(Observation).decode

    def suspend(self, record: Record, inquiry: Inquiry, appended_ns: int = 0) -> Pending:
        """The line of a record that has to ask; `appended_ns`: when its message came."""
        line = record.line
        return Pending(
            line.raw,
            None if line.text is line.raw else line.text,
            line.file,
            line.offset,
            line.index,
            line.stamp_ns,
            line.instance,
            line.stream,
            record.record_id,
            record.entry,
            self._pack(record.observation),
            inquiry,
            appended_ns,
        )

    def observation(self, pending: Pending, line: Line) -> Observation:
        """What the line was read as; `line` is `pending.line()`."""
        body = pending.observation
        if not body:
            return self._again(self._system, line)
        decode = self._decode_json if body.startswith(b"{") else self._decode
        return replace(decode(body), setup=self._setup)

    def _pack(self, seen: Observation) -> bytes:
        bare = replace(seen, setup=self._stand_in)
        try:
            return _ENCODE(bare)
        except OverflowError:  # an IPv6 address is a number of more than 64 bits, which JSON takes
            return msgspec.json.encode(bare)


class Over(Struct, frozen=True, gc=False):
    """No answer will come any more: the line ends."""

    refused: Refused | None = None  # why; None: lines await each other in a circle


Reply = Answer | Awaits | Over | None  # None: the line that it awaits has not ended yet


class Suspensions:
    """Lines of one system on their way through the joins, under one configuration."""

    def __init__(self, engine: Engine, joining: Joining, system: str) -> None:
        self._joining, self._inquirer = joining, joining.inquirer
        self._codec = Codec(engine, system)
        self.suspend = self._codec.suspend
        self.tells = joining.witnesses.tells(system)

    def begin(
        self, outcome: Outcome, tell: Callable[[JoinFact], None], count: Callable[[Witness, Numbered], None]
    ) -> Outcome | Open:
        """The outcome as it leaves, or the question that it has to ask first.

        `tell` takes every fact the line proves to others, `count` its running number.
        """
        begun: Outcome | Open = outcome
        if type(outcome) is Record:
            if outcome.resolution.stop is not None:
                begun = self._joining.begin(outcome)
        elif self.tells and (found := numbered(outcome)) is not None:
            count(*found)
        if self.tells:
            for fact in self._joining.witnesses.facts(outcome if isinstance(begun, Open) else begun):
                tell(fact)
        return begun

    def go_on(
        self, lines: Sequence[Pending], replies: Sequence[Reply], tell: Callable[[JoinFact], None]
    ) -> list[Open | Record]:
        """What follows for each line from its reply: a further question, or its record.

        `tell` takes how the walk of each line ended, for the lines that await it.  Stage by stage, which is
        faster, as in `Reading.feed_all`.
        """
        framed = [each.line() for each in lines]
        read = [self._codec.observation(each, line) for each, line in zip(lines, framed, strict=True)]
        found = [
            self._follow(seen, each.inquiry, reply) for each, seen, reply in zip(lines, read, replies, strict=True)
        ]
        left: list[Open | Record] = []
        for each, line, seen, end in zip(lines, framed, read, found, strict=True):
            if isinstance(end, Open):
                left.append(end)
                continue
            record = Record(line, seen, end, each.record_id, each.entry)
            if self.tells:
                tell(settled(record))
            left.append(record)
        return left

    def _follow(self, seen: Observation, inquiry: Inquiry, reply: Reply) -> Open | Resolution:
        if reply is None:
            return self._inquirer.ask_again(seen, inquiry)
        if not isinstance(reply, Over):
            return self._inquirer.go_on(seen, inquiry, reply)
        if reply.refused is None:
            return self._inquirer.give_up(seen, inquiry)
        return self._inquirer.end(seen, inquiry, reply.refused)
