"""What an answerer commits beside its offset, and how the next answerer goes on from there.

The offset is the next message to answer. The metadata name an earlier message: everything from there on is read
again, up to that offset without answering. Of that stretch the facts are kept, and the questions which have not left
by the changelog.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from clientip.errors import FormatError
from clientip.joins.flows import NEVER
from clientip.stream.changelog import COMMITS_PER_BITMAP, NOTHING_COMMITTED, ChangelogEntry, CommittedState, entries
from clientip.stream.fact_store import Again, Source
from clientip.stream.join_messages import JoinChunk, QuestionItem
from clientip.stream.join_partition import Departure, JoinPartition
from clientip.stream.question_index import Reference
from clientip.stream.waiting_times import STRATA
from clientip.stream.watermarks import View, Watermarks

VERSION: Final = 1
MAX_METADATA: Final = 3000  # bytes; brokers take 4096 by default


class Checkpoint(Struct, frozen=True, array_like=True):
    """The metadata of a committed offset of the join topic."""

    version: int
    first: int  # offset from which to read again; -1: from the committed one
    number: int  # of the first question from there on
    commit: int  # the last one in the changelog
    forgotten: tuple[tuple[str, str, int], ...] = ()  # (kind of key, system or "" for all, ns): facts up to then


_DECODE: Final = msgspec.json.Decoder(Checkpoint).decode


def written(resume: Checkpoint) -> str:
    """The metadata. If they are too long for a broker, they say less precisely which facts were forgotten."""
    text = msgspec.json.encode(resume)
    if len(text) > MAX_METADATA:
        latest: dict[str, int] = {}
        for kind, _, moment in resume.forgotten:
            latest[kind] = max(moment, latest.get(kind, NEVER))
        resume = msgspec.structs.replace(resume, forgotten=tuple((kind, "", at) for kind, at in latest.items()))
        text = msgspec.json.encode(resume)
    return text.decode()


def read(metadata: str) -> Checkpoint:
    """The metadata again. Raises FormatError: `version`, `no_match`.

    >>> read(written(Checkpoint(1, 17, 4, 2))).first
    17
    """
    try:
        found = _DECODE(metadata)
    except (msgspec.MsgspecError, UnicodeError):
        raise FormatError("no_match") from None
    if found.version != VERSION:
        raise FormatError("version")
    return found


class Commit(NamedTuple):
    """What to commit for one partition."""

    metadata: str
    entries: list[ChangelogEntry]  # for the state topic


class CheckpointedPartition:
    """One partition of the join topic in the hands of an answerer, with what has to be committed for it."""

    def __init__(
        self,
        views: Callable[[Watermarks, str], View],
        keep_ns: int,
        asked_of: Callable[[Reference], bytes],
        upto: int,
        resume: Checkpoint | None = None,
        committed: CommittedState = NOTHING_COMMITTED,
        *,
        is_blind: bool = False,
    ) -> None:
        """`upto`: the committed offset; the messages before it were answered.

        `is_blind`: there may be facts from before the first message that is read, and this answerer cannot know them.
        """
        watermarks = Watermarks(committed.runs, committed.holes)
        forgotten: Mapping[Source, int] = {}
        if resume is not None:
            forgotten = {(kind, system): at for kind, system, at in resume.forgotten}
        number = 0 if resume is None else resume.number
        self.state = JoinPartition(
            lambda topology: views(watermarks, topology), keep_ns, asked_of, watermarks, number, forgotten
        )
        self.upto, self._is_blind = upto, is_blind
        self._keep_ns, self._unwritten_ns = keep_ns, 0  # append time of the message `state.unwritten`
        self._committed, self._commit = committed, 0 if resume is None else resume.commit
        self._closed: list[int] = []

    def take(self, offset: int, appended_ns: int, chunk: JoinChunk, refer: Callable[[QuestionItem], Reference]) -> None:
        """One message."""
        state = self.state
        if self._is_blind:
            self._is_blind = False
            state.facts.complete_since |= {(kind, ""): appended_ns for kind in STRATA}
        state.take(offset, appended_ns, chunk, refer, self._committed.is_open if offset < self.upto else None)
        if (chunk.runs or chunk.holes) and state.unwritten is None:
            state.unwritten, self._unwritten_ns = offset, state.clock_ns

    def turn(self, memory: int) -> tuple[list[Departure], list[Again], int]:
        """Questions that leave, facts to be sent again, and how many facts were evicted because memory was full."""
        self._committed = NOTHING_COMMITTED
        evicted = self.state.give_up(memory)
        leaving = self.state.turn()
        self._closed += [each.number for each in leaving]
        return leaving, self.state.forget(), evicted

    def commit(self) -> Commit:
        """What to commit now; to be called once per transaction, and only for what is then sent."""
        state, needs_bitmap = self.state, self._needs_bitmap()
        is_written = bool(self._closed) or needs_bitmap
        if is_written:
            self._commit += COMMITS_PER_BITMAP - self._commit % COMMITS_PER_BITMAP if needs_bitmap else 1
        is_bitmap = is_written and self._commit % COMMITS_PER_BITMAP == 0
        if is_bitmap:
            state.unwritten = None
        first, number = state.resume()
        changelog: list[ChangelogEntry] = []
        if is_written:
            runs = state.watermarks.listed() if is_bitmap else ()
            holes = state.watermarks.holes.listed() if is_bitmap else ()
            changelog = entries(self._commit, self._closed, state.open(), number, state.next_number, runs, holes)
            self._closed = []
        since = state.facts.complete_since
        forgotten = tuple((kind, system, at) for (kind, system), at in sorted(since.items()))
        resume = Checkpoint(VERSION, -1 if first is None else first, number, self._commit, forgotten)
        return Commit(written(resume), changelog)

    def _needs_bitmap(self) -> bool:
        """Whether runs came so long ago that a successor would soon not read their message any more."""
        state = self.state
        return state.unwritten is not None and state.clock_ns - self._unwritten_ns > self._keep_ns // 2


def start(metadata: str, upto: int) -> tuple[Checkpoint, int]:
    """What was committed, and the offset from which to read."""
    resume = read(metadata)
    return resume, upto if resume.first < 0 else resume.first
