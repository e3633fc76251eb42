"""The open questions of a join partition, found by their numbers and by the hash of their key."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from msgspec import Struct

from clientip.joins.flows import NEVER

Reference = int
"""Where the caller keeps a question's body."""


class OpenQuestion(Struct, gc=False):
    """A question that has not left yet. Units: ns."""

    number: int  # its place among all questions of the partition
    offset: int  # of its message
    hash: int  # of its key
    first_ns: int  # append time of the line's first question
    reference: Reference
    need_ns: int = NEVER  # the moment up to which its witnesses must tell before it is looked at again


class QuestionIndex:
    """The open questions of one partition; numbers rise in the order in which questions are added."""

    def __init__(self) -> None:
        self.usual_topology = ""  # of the first question: most questions have it
        self._by_number: dict[int, OpenQuestion] = {}
        self._by_hash: dict[int, int | array[int]] = {}  # hash → number of its question, or of several
        self._topologies: dict[int, str] = {}  # number → topology, if it is not the usual one

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[int]:
        """The numbers, in rising order."""
        return iter(self._by_number)

    def add(self, question: OpenQuestion, topology: str) -> int:
        """One more question; returns how many are now open under its key."""
        number = question.number
        self._by_number[number] = question
        self.usual_topology = self.usual_topology or topology
        if topology != self.usual_topology:
            self._topologies[number] = topology
        alike = self._by_hash.get(question.hash)
        if alike is None:
            self._by_hash[question.hash] = number
            return 1
        if isinstance(alike, int):
            alike = self._by_hash[question.hash] = array("q", (alike,))
        alike.append(number)
        return len(alike)

    def remove(self, question: OpenQuestion) -> None:
        """Forget a question."""
        del self._by_number[question.number]
        self._topologies.pop(question.number, None)
        alike = self._by_hash[question.hash]
        if not isinstance(alike, int):
            alike.remove(question.number)
        if isinstance(alike, int) or not alike:
            del self._by_hash[question.hash]

    def get(self, number: int) -> OpenQuestion | None:
        """The question with this number; None if it is not open."""
        return self._by_number.get(number)

    def oldest(self) -> OpenQuestion | None:
        """The open question with the lowest number; None if none is open."""
        return next(iter(self._by_number.values()), None)

    def under(self, hashed: int) -> list[OpenQuestion]:
        """The questions under the hash of a key, in the order of their numbers."""
        numbers = self._by_hash.get(hashed, ())
        return [self._by_number[number] for number in ((numbers,) if isinstance(numbers, int) else numbers)]

    def has(self, hashed: int) -> bool:
        """Whether any question is open under this hash."""
        return hashed in self._by_hash

    def asked_among(self, hashes: Iterable[int]) -> list[int]:
        """Those of the hashes under which a question is open, in their order."""
        by_hash = self._by_hash
        return [hashed for hashed in hashes if hashed in by_hash]

    def topology(self, number: int) -> str:
        """The digest of the configuration under which a question is asked."""
        return self._topologies.get(number, self.usual_topology)

    def topologies(self) -> set[str]:
        """The topologies of all questions that are open, and the usual one."""
        return {self.usual_topology, *self._topologies.values()} - {""}
