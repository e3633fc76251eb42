"""Which wrapper, format and pattern read a file, and who its peers are: for `clientip init` and `clientip read`.

A guess is what tells the most peers of a sample, and reads the most lines.  Equals are not
decided here but told: the operator knows which server wrote the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from clientip.edges.cli.samples import sample
from clientip.engine import Engine, LogSource
from clientip.errors import ConfigError, FormatError
from clientip.formats import FORMATS
from clientip.framing.wrappers import WRAPPERS, is_relayed, peel
from clientip.model import Address, Fact, Line, LogsPeer, Observation, Record, Rejected, Setup, System

LINE_BYTES: Final = 1_048_576
_FIRST_LOOK: Final = 50  # lines on which every candidate is tried
_KEPT: Final = 6  # candidates that are tried on the whole sample
_NAME: Final = "guess"
_OPERATORS_WORDS: Final = ((), (("line_breaks", "escaped"),), (("server_name", "checked"),))
_ZONE: Final = "UTC"  # stands in for a zone only the operator knows


class FormatGuess(Struct, frozen=True):
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

    def beside(self, said: Setup, wrapper: tuple[str, ...]) -> str:
        """What was added to what was said, as arguments of `clientip read`."""
        found = self.setup or said
        added = [
            ("--pattern", self.pattern_name if said.pattern is None else None),
            ("--logs-peer", found.logs_peer if said.logs_peer is None else None),
            ("--timezone", found.timezone if said.timezone is None else None),
            *(("--wrapper", name) for name in self.wrapper if not wrapper),
        ]
        return " ".join(f"{key} {value}" for key, value in added if value is not None)


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
    best: FormatGuess | None = None  # None: no format reads any line
    equals: tuple[FormatGuess, ...] = ()  # that read just as much
    peers: tuple[Peer, ...] = ()  # most frequent first
    zoneless: bool = False  # its stamps do not say their zone


class _Score(NamedTuple):
    """What a candidate gets out of a sample; the greater the better, in this order.

    Peers come first: formats that show none, such as Traefik's common one, take other servers' lines for theirs.
    """

    peers: int
    read: int
    claims: int
    ids: int
    rejected: int  # less than nothing


def guess(path: str) -> Guess:
    """Try every wrapper, format and shipped pattern on the beginning of a file.

    Errors: SinkError if the file cannot be opened.
    """
    frames = {"lines": _lines(sample(path, LINE_BYTES)), "length32": _lines(sample(path, LINE_BYTES, "length32"))}
    first = {framing: lines[:_FIRST_LOOK] for framing, lines in frames.items()}
    scored = [(_score(_read(one, first[_framing(one)])), one) for one in _candidates(first["lines"])]
    scored.sort(key=lambda pair: pair[0], reverse=True)  # stable: the earlier in the tables of the equals
    most = scored[0][0].read
    promising = [one for n, (score, one) in enumerate(scored) if score.read and (n < _KEPT or score.read >= most)]
    if not promising:
        return Guess(path, len(frames["lines"]))
    full = [(_score(_read(one, frames[_framing(one)])), one) for one in promising]
    top = max(score for score, _ in full)
    best, equals = _choice([one for score, one in full if score == top])
    equals += tuple(one for score, one in full if score != top and score.read >= top.read)
    seen = _read(best, frames[_framing(best)])
    assert best.setup is not None
    return Guess(path, seen.lines, top.read, best, equals, _peers(seen.observations), best.setup.timezone is not None)


def _choice(tied: Sequence[FormatGuess]) -> tuple[FormatGuess, tuple[FormatGuess, ...]]:
    """The one to propose, and those to tell beside it.

    Where several patterns of one format do equally well, the lines need none of them.
    """
    best = tied[0]
    alike = [one for one in tied if (one.format, one.wrapper) == (best.format, best.wrapper)]
    bare = next((one for one in alike if one.pattern is None), best)
    if len(alike) > 2:
        best = bare
    others = (one for one in tied if one not in alike or best.pattern is not None)
    return best, tuple(one for one in others if one is not best and one is not bare)


def filled(setup: Setup, wrapper: tuple[str, ...], path: str | None) -> FormatGuess:
    """`setup` and `wrapper`; what they leave open, the way that tells most of the beginning of the file.

    Errors: SinkError if the file cannot be opened.
    """
    row = FORMATS[setup.format]
    lines = () if path is None else _lines(sample(path, LINE_BYTES, row.framing))[:_FIRST_LOOK]
    wrappers = [wrapper] if wrapper else [(), *((name,) for name in WRAPPERS if _is_wrapped(name, lines))]
    patterns = ((None, None), *row.known_patterns) if setup.pattern is None else ((None, setup.pattern),)
    tried = [
        FormatGuess(setup.format, pattern, name, peeled, complete)
        for peeled, (name, pattern) in product(wrappers, patterns)
        if (complete := _completed(replace(setup, pattern=pattern, relayed=is_relayed(peeled)))) is not None
    ]
    as_said = FormatGuess(setup.format, setup.pattern, None, wrapper, setup)  # if nothing helps, its faults are told
    return max(tried, key=lambda one: _score(_read(one, lines)), default=as_said)


def _lines(frames: Sequence[Line | Rejected]) -> tuple[Line, ...]:
    return tuple(frame for frame in frames if isinstance(frame, Line))


def _framing(candidate: FormatGuess) -> str:
    return FORMATS[candidate.format].framing


def _candidates(lines: Sequence[Line]) -> Iterator[FormatGuess]:
    wrappers = [(), *((name,) for name in WRAPPERS if _is_wrapped(name, lines))]
    for wrapper, known in product(wrappers, _known()):
        yield FormatGuess(known.format, known.pattern, known.pattern_name, wrapper, known.setup)


def _is_wrapped(name: str, lines: Sequence[Line]) -> bool:
    """Whether most lines have this wrapper."""
    found, said = 0, [line for line in lines if line.text.strip()]
    for line in said:
        try:
            peel(line, (name,))
        except FormatError:
            continue
        found += 1
    return found * 2 > len(said)


@lru_cache(maxsize=1)
def _known() -> tuple[FormatGuess, ...]:
    """Every format with every shipped pattern that compiles, in the order of the tables."""
    found = []
    for name, row in FORMATS.items():
        bare = ((None, None),) if row.pattern != "required" else ()
        for pattern_name, pattern in (*row.known_patterns, *bare):
            setup = _completed(Setup(system=_NAME, format=name, pattern=pattern))
            if setup is not None:
                found.append(FormatGuess(name, pattern, pattern_name, (), setup))
    return tuple(found)


def _completed(setup: Setup) -> Setup | None:
    """With the least that has to be said for the format to compile; None if nothing helps."""
    row = FORMATS[setup.format]
    logs_peers: Sequence[LogsPeer | None] = row.logs_peer or (None,)
    zones: Sequence[str | None] = (None, _ZONE)
    if setup.logs_peer is not None:
        logs_peers = (setup.logs_peer,)
    if setup.timezone is not None:
        zones = (setup.timezone,)
    for zone, logs_peer, options in product(zones, logs_peers, (setup.options,) if setup.options else _OPERATORS_WORDS):
        complete = replace(setup, logs_peer=logs_peer, timezone=zone, options=options)
        try:
            row.compile(complete)
        except ConfigError:
            continue
        return complete
    return None


class _Seen(NamedTuple):
    lines: int
    observations: tuple[Observation, ...]


def _read(candidate: FormatGuess, lines: Sequence[Line]) -> _Seen:
    """What the engine reads with this candidate, and of how many lines that are about anything."""
    assert candidate.setup is not None
    source = LogSource(candidate.setup, candidate.wrapper)
    name = candidate.setup.system
    reading = Engine([System(name=name)], [source], line_bytes=LINE_BYTES).reading(name)
    outcomes = [outcome for line in lines for outcome in reading.feed(line)]
    records = [each.record if isinstance(each, Fact) else each for each in outcomes if isinstance(each, Record | Fact)]
    rejected = sum(isinstance(each, Rejected) for each in outcomes)
    return _Seen(len(records) + rejected, tuple(record.observation for record in records))


def _score(seen: _Seen) -> _Score:
    observations = seen.observations
    return _Score(
        sum(one.peer is not None or one.stated is not None for one in observations),
        len(observations),
        sum(bool(one.claims) for one in observations),
        sum(one.ids is not None for one in observations),
        len(observations) - seen.lines,
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
