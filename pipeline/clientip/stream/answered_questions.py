"""Questions that have left, as long as they may help to answer others.

If several connections fit a request, the order of the same server's requests may leave one. Requests that were
answered before count in that order, too.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final

MAX_ANSWERED_PER_KEY: Final = 1_000


class AnsweredQuestions:
    """The answered questions of one partition, by the hash of their key."""

    def __init__(self) -> None:
        self._by_hash: dict[int, list[tuple[int, bytes]]] = {}  # hash → (offset of its message, packed question)
        self._by_offset: list[tuple[int, int]] = []  # a heap of (offset, hash)

    def __len__(self) -> int:
        return len(self._by_offset)

    def add(self, offset: int, hashed: int, asked: bytes) -> None:
        """One more question, of the message at `offset`. Of a key that has MAX_ANSWERED_PER_KEY no more are kept."""
        kept = self._by_hash.setdefault(hashed, [])
        if len(kept) < MAX_ANSWERED_PER_KEY:
            kept.append((offset, asked))
            heapq.heappush(self._by_offset, (offset, hashed))

    def under(self, hashed: int) -> list[bytes]:
        """The packed questions under a hash, in the order in which they left."""
        return [asked for _, asked in self._by_hash.get(hashed, ())]

    def answered_among(self, hashes: Iterable[int]) -> list[int]:
        """Those of the hashes under which a question has left, in their order."""
        by_hash = self._by_hash
        return [hashed for hashed in hashes if hashed in by_hash] if by_hash else []

    def first_offset(self) -> int | None:
        """The lowest offset of a message whose question is kept; None if none is."""
        return self._by_offset[0][0] if self._by_offset else None

    def drop_before(self, offset: int) -> None:
        """Forget the questions of messages before `offset`."""
        while self._by_offset and self._by_offset[0][0] < offset:
            _, hashed = heapq.heappop(self._by_offset)
            left = [each for each in self._by_hash.pop(hashed, ()) if each[0] >= offset]
            if left:
                self._by_hash[hashed] = left
