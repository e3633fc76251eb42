"""Which wrapper, format and pattern read a file, and who its peers are: for `clientip init`.

A guess is what reads the most lines of a sample and learns the most from them.  Equals are not
decided here but told: the operator knows which server wrote the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Final, NamedTuple

from msgspec import Struct

from pipeline.edges.samples import sample
from pipeline.engine import Engine, Source
from pipeline.errors import ConfigError, FormatError
from pipeline.formats import FORMATS
from pipeline.model import Address, Fact, Line, Observation, Record, Rejected, Setup, System
from pipeline.wrappers import WRAPPERS, peel

LINE_BYTES: Final = 1_048_576
_FIRST_LOOK: Final = 50  # lines on which every candidate is tried
_KEPT: Final = 6  # candidates that are tried on the whole sample
_NAME: Final = "guess"
_ZONE: Final = "UTC"  # stands in for a zone only the operator knows


class Candidate(Struct, frozen=True):
    """One way to read a file."""

    format: str
    pattern: str | None = None
    pattern_name: str | None = None  # of the shipped pattern; None: the format has none
    wrapper: tuple[str, ...] = ()
    setup: Setup | None = None  # with which it was tried

    @property
    def title(self) -> str:
        """The candidate in words, for the operator."""
        pattern = f" with the pattern {self.pattern_name}" if self.pattern_name else ""
        wrapper = f", wrapped by {self.wrapper[0]}" if self.wrapper else ""
        return f"{self.format}{pattern}{wrapper}"


class Peer(Struct, frozen=True):
    """Who connected, and what it sent along."""

    address: Address
    lines: int
    headers: tuple[tuple[str, int], ...]  # forwarding header, lines that had it; most frequent first


class Guess(Struct, frozen=True):
    """What a sample says of one file."""

    path: str
    lines: int  # in the sample, those about nothing left out
    read: int = 0
    best: Candidate | None = None  # None: no format reads any line
    equals: tuple[Candidate, ...] = ()  # that read and learn just as much
    peers: tuple[Peer, ...] = ()  # most frequent first
    zoneless: bool = False  # its stamps do not say their zone


class _Score(NamedTuple):
    """What a candidate gets out of a sample; the greater the better, in this order."""

    read: int
    peers: int
    claims: int
    ids: int


def guess(path: str) -> Guess:
    """Try every wrapper, format and shipped pattern on the beginning of a file.

    Errors: SinkError if the file cannot be opened.
    """
    frames = {"lines": _lines(sample(path, LINE_BYTES)), "length32": _lines(sample(path, LINE_BYTES, "length32"))}
    first = {framing: lines[:_FIRST_LOOK] for framing, lines in frames.items()}
    scored = [(_score(_read(one, first[_framing(one)])), one) for one in _candidates(first["lines"])]
    scored.sort(key=lambda pair: pair[0], reverse=True)  # stable: the earlier in the tables of the equals
    promising = [one for score, one in scored[:_KEPT] if score.read]
    if not promising:
        return Guess(path, len(frames["lines"]))
    full = [(_score(_read(one, frames[_framing(one)])), one) for one in promising]
    top, best = max(full, key=lambda pair: pair[0])
    equals = tuple(one for score, one in full if score == top and one is not best)
    seen = _read(best, frames[_framing(best)])
    assert best.setup is not None
    return Guess(path, seen.lines, top.read, best, equals, _peers(seen.observations), best.setup.timezone is not None)


def _lines(frames: Sequence[Line | Rejected]) -> tuple[Line, ...]:
    return tuple(frame for frame in frames if isinstance(frame, Line))


def _framing(candidate: Candidate) -> str:
    return FORMATS[candidate.format].framing


def _candidates(lines: Sequence[Line]) -> Iterator[Candidate]:
    wrappers = [(), *((name,) for name in WRAPPERS if _is_wrapped(name, lines))]
    for wrapper, known in product(wrappers, _known()):
        yield Candidate(known.format, known.pattern, known.pattern_name, wrapper, known.setup)


def _is_wrapped(name: str, lines: Sequence[Line]) -> bool:
    """Whether most lines have this wrapper."""
    found = 0
    for line in lines:
        try:
            peel(line, (name,))
        except FormatError:
            continue
        found += 1
    return found * 2 > len(lines)


@lru_cache(maxsize=1)
def _known() -> tuple[Candidate, ...]:
    """Every format with every shipped pattern that compiles, in the order of the tables."""
    found = []
    for name, row in FORMATS.items():
        for pattern_name, pattern in row.known_patterns or ((None, None),):
            setup = _setup(name, pattern)
            if setup is not None:
                found.append(Candidate(name, pattern, pattern_name, (), setup))
    return tuple(found)


def _setup(name: str, pattern: str | None) -> Setup | None:
    """The least that has to be said for the format to compile; None if nothing helps."""
    row = FORMATS[name]
    logs_peers = ("socket", *(row.logs_peer)) if "socket" in row.logs_peer else (None, *row.logs_peer)
    for zone, logs_peer in product((None, _ZONE), logs_peers):
        setup = Setup(system=_NAME, format=name, pattern=pattern, logs_peer=logs_peer, timezone=zone)
        try:
            row.compile(setup)
        except ConfigError:
            continue
        return setup
    return None


class _Seen(NamedTuple):
    lines: int
    observations: tuple[Observation, ...]


def _read(candidate: Candidate, lines: Sequence[Line]) -> _Seen:
    """What the engine reads with this candidate, and of how many lines that are about anything."""
    assert candidate.setup is not None
    source = Source(candidate.setup, candidate.wrapper)
    reading = Engine([System(name=_NAME)], [source], line_bytes=LINE_BYTES).reading(_NAME)
    outcomes = [outcome for line in lines for outcome in reading.feed(line)]
    records = [each.record if isinstance(each, Fact) else each for each in outcomes if isinstance(each, Record | Fact)]
    rejected = sum(isinstance(each, Rejected) for each in outcomes)
    return _Seen(len(records) + rejected, tuple(record.observation for record in records))


def _score(seen: _Seen) -> _Score:
    observations = seen.observations
    return _Score(
        len(observations),
        sum(one.peer is not None or one.stated is not None for one in observations),
        sum(bool(one.claims) for one in observations),
        sum(one.ids is not None for one in observations),
    )


def _peers(observations: Sequence[Observation]) -> tuple[Peer, ...]:
    addresses: dict[str, Address] = {}
    lines, headers = Counter[str](), dict[str, Counter[str]]()
    for one in observations:
        end = one.peer or one.stated
        if end is None:
            continue
        text = end.address.text
        addresses[text] = end.address
        lines[text] += 1
        headers.setdefault(text, Counter()).update(claim.name for claim in one.claims if claim.values)
    return tuple(
        Peer(addresses[text], count, tuple(headers[text].most_common())) for text, count in lines.most_common()
    )
