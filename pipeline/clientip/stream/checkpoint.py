"""What an answerer commits beside its offset, and how the next one goes on from there.

The offset is the next message to answer.  From the message named in the metadata on everything is read again, first
silently up to that offset: facts are held, and of the questions those that have not left by the changelog.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from clientip.errors import FormatError
from clientip.joins.flows import NEVER
from clientip.stream.changelog import EVERY, FRESH, ChangelogEntry, Standing, entries
from clientip.stream.fact_store import Again, Source
from clientip.stream.join_messages import JoinChunk, QuestionItem
from clientip.stream.join_partition import STRATA, Answering, Departure, Reference
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
    """The metadata; short enough for a broker, if need be by saying less precisely what was forgotten."""
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


class Partition:
    """One partition of the join topic in an answerer's hands."""

    def __init__(
        self,
        views: Callable[[Watermarks, str], View],
        keep_ns: int,
        asked_of: Callable[[Reference], bytes],
        upto: int,
        resume: Checkpoint | None = None,
        standing: Standing = FRESH,
        *,
        is_blind: bool = False,
    ) -> None:
        """`upto`: the committed offset; messages before it were answered.

        `is_blind`: facts may have been told before the first message that is read, which nobody knows here.
        """
        watermarks = Watermarks(standing.runs)
        forgotten: Mapping[Source, int] = {}
        if resume is not None:
            forgotten = {(kind, system): at for kind, system, at in resume.forgotten}
        number = 0 if resume is None else resume.number
        self.answering = Answering(
            lambda topology: views(watermarks, topology), keep_ns, asked_of, watermarks, number, forgotten
        )
        self.upto, self._is_blind = upto, is_blind
        self._keep_ns, self._unwritten_ns = keep_ns, 0
        self._standing, self._commit = standing, 0 if resume is None else resume.commit
        self._closed: list[int] = []

    def take(self, offset: int, appended_ns: int, chunk: JoinChunk, refer: Callable[[QuestionItem], Reference]) -> None:
        """One message."""
        if self._is_blind:
            self._is_blind = False
            self.answering.facts.complete_since |= {(kind, ""): appended_ns for kind in STRATA}
        is_open = self._standing.is_open if offset < self.upto else None
        self.answering.take(offset, appended_ns, chunk, refer, is_open)
        if chunk.runs and self.answering.unwritten is None:
            self.answering.unwritten, self._unwritten_ns = offset, self.answering.clock_ns

    def turn(self, memory: int) -> tuple[list[Departure], list[Again], int]:
        """Questions that leave, facts to be told again, and how many facts were evicted for want of memory."""
        self._standing = FRESH
        evicted = self.answering.give_up(memory)
        leaving = self.answering.turn()
        self._closed += [each.number for each in leaving]
        return leaving, self.answering.forget(), evicted

    def commit(self) -> Commit:
        """What to commit now; to be called once per transaction, and only for what is then sent."""
        answering, whole = self.answering, self._has_to_be_whole()
        if self._closed or whole:
            self._commit += EVERY - self._commit % EVERY if whole else 1
            whole = self._commit % EVERY == 0
        if whole:
            answering.unwritten = None
        first, number = answering.resume()
        said: list[ChangelogEntry] = []
        if self._closed or whole:
            runs = answering.watermarks.listed() if whole else ()
            said = entries(self._commit, self._closed, answering.open(), number, answering.next_number, runs)
            self._closed = []
        since = self.answering.facts.complete_since
        forgotten = tuple((kind, system, at) for (kind, system), at in sorted(since.items()))
        resume = Checkpoint(VERSION, -1 if first is None else first, number, self._commit, forgotten)
        return Commit(written(resume), said)

    def _has_to_be_whole(self) -> bool:
        """Whether stretches were told so long ago that a successor would no longer read them."""
        answering = self.answering
        return answering.unwritten is not None and answering.clock_ns - self._unwritten_ns > self._keep_ns // 2


def start(metadata: str, upto: int) -> tuple[Checkpoint, int]:
    """What was committed, and the offset from which to read."""
    resume = read(metadata)
    return resume, upto if resume.first < 0 else resume.first
