"""The `addresses` of one system → ownerships. Every bad range is a fault, with its line if a file holds it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, Final, NamedTuple

from clientip.config.place import ConfigPlace
from clientip.errors import FormatError
from clientip.model import Ownership
from clientip.syntax.addresses import parse_range
from clientip.syntax.times import moment_ns

_EXAMPLE: Final = 'write an address, or a range like "10.0.0.0/24"'


class _Terms(NamedTuple):
    """From when, until when and in which network a range is owned."""

    from_ns: int | None = None
    until_ns: int | None = None
    network: str | None = None


_ALWAYS: Final = _Terms()


def ownerships(entries: Iterable[str | Mapping[str, Any]], place: ConfigPlace) -> tuple[Ownership, ...]:
    """The ranges of well-shaped `addresses`, in the order they are written."""
    found: list[Ownership] = []
    for index, entry in enumerate(entries):
        at = place.item(index)
        if isinstance(entry, str):
            found += _of_text(entry, _ALWAYS, at)
        elif "range" in entry:
            found += _of_text(entry["range"], _terms(entry, at), at.at("range"))
        else:
            found += _of_file(entry["file"], _terms(entry, at), at.at("file"))
    return tuple(found)


def _of_text(text: str, terms: _Terms, place: ConfigPlace) -> Iterator[Ownership]:
    try:
        low, high, version, canonical = parse_range(text)
    except FormatError:
        place.wrong(f'"{text}" is no range; {_EXAMPLE}')
        return
    yield Ownership(low, high, version, canonical, *terms)


def _of_file(name: str, terms: _Terms, place: ConfigPlace) -> Iterator[Ownership]:
    """One range a line; a comment begins with `#`.  What it holds may be a secret if it is no list: it is not shown."""
    held = place.contents(name)
    if held is None:
        return
    path = place.folder / name
    for number, line in enumerate(held.decode("utf-8", "backslashreplace").splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                low, high, version, canonical = parse_range(text)
            except FormatError:
                place._replace(file=f"{path}:{number}").wrong(f"this line is no range; {_EXAMPLE}")
                continue
            yield Ownership(low, high, version, canonical, *terms)


def translated_of(name: str | None, place: ConfigPlace | None) -> tuple[str, ...]:
    """The addresses in the file that `[joins] translated` names: canonical text, sorted, each once."""
    if name is None or place is None:
        return ()
    listed = tuple(_of_file(name, _ALWAYS, place))
    for own in listed:
        if own.low != own.high:
            place.wrong(f"{place.folder / name} holds the range {own.text}; write single addresses")
    return tuple(sorted({own.text for own in listed}))


def _terms(entry: Mapping[str, Any], place: ConfigPlace) -> _Terms:
    from_ns, until_ns = (_moment_ns(entry.get(name), place.at(name)) for name in ("from", "until"))
    if from_ns is not None and until_ns is not None and from_ns >= until_ns:
        place.at("until").wrong("must be later than `from`; the range is owned up to, not including, `until`")
    return _Terms(from_ns, until_ns, entry.get("network"))


def _moment_ns(value: str | date | None, place: ConfigPlace) -> int | None:
    """A date is its first moment in UTC; a time of day must say its zone."""
    if value is None:
        return None
    text = value if isinstance(value, str) else value.isoformat()
    try:
        return moment_ns(text)
    except FormatError:
        place.wrong(
            f'"{text}" is no moment; write a date like 2025-01-01 or a time with its zone like 2025-01-01T08:00:00Z'
        )
        return None


def doubly_owned(owners: Iterable[tuple[str, str, Ownership]]) -> Iterator[tuple[str, str, Ownership]]:
    """(system, other system, range) for the very same range owned twice at one time in one network.

    Ranges that merely overlap are allowed: which system it was may not matter to a walk.
    """
    seen: dict[tuple[str, int, int, int], list[tuple[str, Ownership]]] = {}
    for name, network, own in owners:
        holders = seen.setdefault((own.network or network, own.version, own.low, own.high), [])
        for other, theirs in holders:
            if other != name and in_force_together(own, theirs):
                yield name, other, own
                break
        holders.append((name, own))


def in_force_together(one: Ownership, other: Ownership) -> bool:
    """Whether there is a moment at which both are owned."""
    return not _over_before(one, other) and not _over_before(other, one)


def _over_before(one: Ownership, other: Ownership) -> bool:
    return one.until_ns is not None and other.from_ns is not None and one.until_ns <= other.from_ns
