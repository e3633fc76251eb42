"""File name patterns of the operator: `*`, `?`, `[a-z]`, `[!a-z]`, `**` for any folders, `{instance}` for a name.

Others name the files and lay out the folders that a pattern is compared with, so the work is linear: a name is
compared with all places of the pattern at once, each folder is looked into once, and `**` follows no link to a folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import reduce
from itertools import accumulate
from operator import or_
from pathlib import Path
from typing import Final, NamedTuple

from clientip.errors import ConfigError, Fault

INSTANCE: Final = "{instance}"

_FOLDERS: Final = "**"
_WILDCARD: Final = re.compile(r"\*+|\?|\[!?\]?[^]]*\]|\{instance\}")

_Places = int
"""Places between the characters of a name as bits: bit k is the one before the k-th character."""
_Token = Callable[[str, _Places], _Places]
"""Places where a part of the pattern begins to those where it may end."""


class Matched(NamedTuple):
    """A path fits a pattern."""

    instance: str | None  # what stands in the place of `{instance}`; None: the pattern has none


class Glob:
    """One absolute pattern, compiled; ConfigError where it is none.

    >>> Glob("/logs/{instance}/*.log").match("/logs/web-1/access.log")
    Matched(instance='web-1')
    """

    def __init__(self, pattern: str) -> None:
        try:
            self._segments = [None if text == _FOLDERS else _Segment(text) for text in pattern.split("/")]
        except ValueError as error:
            raise ConfigError([Fault("", "inputs", f"{pattern!r} is no pattern: {error}")]) from error
        self.weight = len(
            _WILDCARD.sub("", pattern.replace("**/", ""))
        )  # literal characters: the more, the more specific

    def match(self, path: str) -> Matched | None:
        """How the whole path fits; None if it does not.

        Of several readings `**`, and `*` before the instance, take as much as they can, and the instance as little.
        """
        names = path.split("/")
        fits = self._fitting(names)
        if not fits[0][0]:
            return None
        place, instance = 0, None
        for at, segment in enumerate(self._segments):
            if segment is None:
                place = max(end for end in range(place, len(names) + 1) if fits[at + 1][end])
            else:
                instance = segment.instance_in(names[place]) or instance
                place += 1
        return Matched(instance)

    def _fitting(self, names: Sequence[str]) -> list[list[bool]]:
        """[i][k]: whether the segments from the i-th on fit the names from the k-th on."""
        rows = [[False] * len(names) + [True]]
        for segment in reversed(self._segments):
            after = rows[-1]
            if segment is None:
                row = [*accumulate(reversed(after), or_)][::-1]
            else:
                row = [after[place + 1] and segment.fits(name) for place, name in enumerate(names)] + [False]
            rows.append(row)
        return rows[::-1]

    def files(self) -> list[str]:
        """All files that fit, sorted; a hidden name fits only what begins with a dot itself."""
        found: set[str] = set()
        waiting = [("/", frozenset((1,)))]  # a folder, and the segments with which the names in it are compared
        while waiting:
            folder, places = waiting.pop()
            reached = self._reached(places)
            for name in self._names(folder, reached):
                path = folder + name
                onward = frozenset(
                    at if self._segments[at] is None else at + 1 for at in reached if self._takes(at, name, path)
                )
                if len(self._segments) in self._reached(onward) and Path(path).is_file():
                    found.add(path)
                onward -= {len(self._segments)}
                if onward and Path(path).is_dir():
                    waiting.append((f"{path}/", onward))
        return sorted(found)

    def _reached(self, places: frozenset[int]) -> frozenset[int]:
        """With the segments that come into question because `**` may stand for no folder."""
        reached = set(places)
        for at, segment in enumerate(self._segments):
            if segment is None and at in reached:
                reached.add(at + 1)
        return frozenset(reached)

    def _takes(self, at: int, name: str, path: str) -> bool:
        if at == len(self._segments):
            return False
        segment = self._segments[at]
        if segment is None:
            return not name.startswith(".") and not (Path(path).is_symlink() and Path(path).is_dir())
        return segment.fits(name) and (not name.startswith(".") or segment.text.startswith("."))

    def _names(self, folder: str, places: frozenset[int]) -> Iterator[str]:
        """What is to be compared in a folder: where the pattern names it, that alone, so it need not be listable."""
        segments = [self._segments[at] for at in places if at < len(self._segments)]
        literal = [segment.text for segment in segments if segment is not None and segment.is_literal]
        if len(literal) == len(segments):
            yield from (name for name in literal if os.path.lexists(folder + name))
            return
        with suppress(OSError):  # a folder that is gone, or not ours to read, holds no file that could be read
            yield from (each.name for each in Path(folder).iterdir())


class _Segment:
    """What stands between two slashes."""

    def __init__(self, text: str) -> None:
        self.text = text
        before, sign, behind = text.partition(INSTANCE)
        self._has_instance = bool(sign)
        self._before, self._behind = _tokens(before), _tokens(behind, backwards=True)
        self.is_literal = not sign and _WILDCARD.search(text) is None

    def fits(self, name: str) -> bool:
        if self.is_literal:
            return name == self.text
        if self._has_instance:
            return self._instance(name) is not None
        return bool(_ends(self._before, name) >> len(name))

    def instance_in(self, name: str) -> str | None:
        """What of a name that fits is the instance; None where the segment has none."""
        place = self._instance(name) if self._has_instance else None
        return None if place is None else name[place]

    def _instance(self, name: str) -> slice | None:
        begins = _ends(self._before, name)
        left = [len(name) - place for place in _bits(_ends(self._behind, name[::-1]))]  # where what is behind begins
        begins &= (1 << max(left, default=0)) - 1  # those with room for an instance
        if not begins:
            return None
        begin = begins.bit_length() - 1
        return slice(begin, min(end for end in left if end > begin))


def _ends(tokens: Sequence[_Token], name: str) -> _Places:
    """Where a part of the pattern may end that begins where the name does."""
    return reduce(lambda places, token: token(name, places) if places else 0, tokens, 1)


def _bits(places: _Places) -> Iterator[int]:
    while places:
        yield places.bit_length() - 1
        places ^= 1 << (places.bit_length() - 1)


def _tokens(text: str, *, backwards: bool = False) -> list[_Token]:
    """The parts of a pattern without an instance; `backwards`: for names that are read from their end."""
    found: list[_Token] = []
    place = 0
    for wildcard in _WILDCARD.finditer(text):
        found += _literal(text[place : wildcard.start()], backwards=backwards)
        found.append(_wild(wildcard[0]))
        place = wildcard.end()
    found += _literal(text[place:], backwards=backwards)
    return found[::-1] if backwards else found


def _literal(text: str, *, backwards: bool) -> list[_Token]:
    wanted = text[::-1] if backwards else text
    return [lambda name, places: sum(1 << at + len(wanted) for at in _found(wanted, name, places))] if text else []


def _found(wanted: str, name: str, places: _Places) -> Iterator[int]:
    at = name.find(wanted)
    while at >= 0:
        if places >> at & 1:
            yield at
        at = name.find(wanted, at + 1)


def _wild(text: str) -> _Token:
    if text.startswith("*"):
        return lambda name, places: (1 << len(name) + 1) - (places & -places)  # every place from the first on
    if text == "?":
        return lambda name, places: places << 1 & (1 << len(name) + 1) - 1
    holds = _character_class(text[1:-1])
    return lambda name, places: sum(1 << at + 1 for at, char in enumerate(name) if places >> at & 1 and holds(char))


def _character_class(text: str) -> Callable[[str], bool]:
    """Whether a character is one of these; ValueError where a range runs backwards."""
    chars = text.removeprefix("!")
    ranges = [(each[0], each[-1]) for each in re.findall(r".-.|.", chars, re.DOTALL)]
    wrong = next((f"{low}-{high} runs backwards" for low, high in ranges if low > high), None)
    if wrong is not None:
        raise ValueError(wrong)
    negated = text.startswith("!")
    return lambda char: negated != any(low <= char <= high for low, high in ranges)
