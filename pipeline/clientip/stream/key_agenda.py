"""Which keys of a join partition have to be looked at, and which of them have to rest first."""

from __future__ import annotations

from collections.abc import Iterable

from clientip.joins.flows import NEVER


class KeyAgenda:
    """Hashes of keys under which something changed. A key that took long to look through rests for a while.

    >>> agenda = KeyAgenda()
    >>> agenda.add_all([7, 8])
    >>> agenda.rest(7, until_ns=100)
    >>> agenda.take(99), agenda.take(100)
    ([8], [7])
    """

    def __init__(self) -> None:
        self._changed: dict[int, None] = {}
        self._rests: dict[int, int] = {}  # hash → until when it is not looked at

    def add(self, hashed: int) -> None:
        """Something changed under this key."""
        self._changed[hashed] = None

    def add_all(self, hashes: Iterable[int]) -> None:
        """Something changed under these keys."""
        self._changed.update(dict.fromkeys(hashes))

    def take(self, now_ns: int) -> list[int]:
        """The keys to look at now, in the order in which they were added; those that rest stay."""
        found = [hashed for hashed in self._changed if self._rests.get(hashed, NEVER) <= now_ns]
        for hashed in found:
            del self._changed[hashed]
        return found

    def rest(self, hashed: int, until_ns: int) -> None:
        """Do not look at this key before that moment."""
        self._rests[hashed] = until_ns

    def wake(self, hashed: int) -> None:
        """The key does not rest any longer."""
        self._rests.pop(hashed, None)
