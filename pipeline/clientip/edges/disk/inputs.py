"""Which files to read, and which system wrote each of them."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from clientip.edges.disk.files import beginning
from clientip.edges.disk.globs import INSTANCE, Glob
from clientip.errors import ConfigError, Fault, SinkError
from clientip.settings import Settings, SystemSettings

PIPE: Final = "-"
FINGERPRINT_BYTES: Final = 1024  # unpacked bytes that tell a file from another one, at most

_FIRST_LINE: Final = re.compile(rb"(?:#[^\n]*+\n|[^0-9\n]*+\n)*+[^\n]++\n")  # and the headings before it


class Fetched(Struct, frozen=True):
    """Which messages an input is that was fetched from Kafka: it is kept as the part `raw` of its chunk."""

    topic: str
    topic_id: str
    partition: int
    begin: int  # offset of the first message that counts; those before it only complete lines that come in parts
    messages: int


class Input(Struct, frozen=True):
    """One file of a run, as it was when the run was planned."""

    path: str  # absolute; "-" for the pipe; of fetched messages kafka:TOPIC/PARTITION@OFFSET
    system: str
    instance: str | None
    size: int  # bytes on disk
    packing: str  # gzip | zstd | bzip2 | ""
    fingerprint: str  # hex; the same before and after the file is compressed
    fetched: Fetched | None = None  # None: it is a file, or the pipe


class _Pattern(NamedTuple):
    system: str
    glob: str
    compiled: Glob


class _Found(NamedTuple):
    path: str
    system: str
    instance: str | None


class Begun(NamedTuple):
    """How a file begins, and whose it is."""

    path: str
    system: str
    instance: str | None
    head: bytes  # its first `FINGERPRINT_BYTES`, unpacked


class Inputs(NamedTuple):
    """The files of a run in order, and what the operator should know about them."""

    files: tuple[Input, ...]
    warnings: tuple[str, ...]
    unmatched: frozenset[str]  # systems of which a configured pattern matches no file; none if files were named


def find_inputs(settings: Settings, named: Sequence[str], system: str | None) -> Inputs:
    """The named files, folders and globs, or without any the configured `inputs`, in a fixed order.

    `system` overrides what the paths say.  A file named twice is read once.
    """
    patterns = _patterns(settings, system)
    matched = {name: _paths(name) for name in named or [pattern.glob for pattern in patterns]}
    warnings = [f"nothing matches {name}" for name, paths in matched.items() if not paths]
    if named and warnings:
        raise ConfigError(Fault("", "inputs", text) for text in warnings)
    found: dict[str, _Found | None] = {}
    for path in chain.from_iterable(matched.values()):
        found.setdefault(path, _owner(path, patterns, system, settings))
    strays = [path for path, owner in found.items() if owner is None]
    if strays:
        text = f"no system's `inputs` matches {', '.join(strays)}: add a pattern, or name the system with --system"
        raise ConfigError([Fault("", "inputs", text)])
    if not found:
        raise ConfigError([Fault("", "inputs", f"no input files: {'; '.join(warnings) or 'no system has `inputs`'}")])
    files, equal = _fingerprinted([owner for owner in found.values() if owner is not None])
    unmatched = frozenset(each.system for each in patterns if not named and not matched[each.glob])
    return Inputs(files, (*warnings, *equal), unmatched)


def fingerprints(files: Sequence[Begun]) -> list[str]:
    """Hex names of the files, in their order: no two have the same.

    A name does not change while its file grows, is packed or renamed, nor with the order of the files: it is made of
    the first line that holds more than a heading, and those files of which that is the same are told apart by the
    order of their paths.
    """
    alike: Counter[tuple[bytes, str, str | None]] = Counter()
    names: dict[str, str] = {}
    for each in sorted(files):
        start = first_line(each.head)
        key = (start, each.system, each.instance)
        names[each.path] = fingerprint_of(start, each.system, each.instance, alike[key])
        alike[key] += 1
    return [names[each.path] for each in files]


def first_line(head: bytes) -> bytes:
    """The bytes up to the end of the first line that says something: `head` where that has not come yet.

    Lines that begin with `#` or hold no digit are headings, with which every file of a log may begin.  A first byte
    of 0 is that of a length before a message, which then is the first line.

    >>> first_line(b"srcaddr dstaddr\\n192.0.2.1 198.51.100.7\\n192.0.2.2"), first_line(b"192.0")
    (b'srcaddr dstaddr\\n192.0.2.1 198.51.100.7\\n', b'192.0')
    """
    if head.startswith(b"\0"):
        return head[: 4 + int.from_bytes(head[:4], "big")]
    found = _FIRST_LINE.match(head)
    return head if found is None else found[0]


def fingerprint_of(head: bytes, system: str, instance: str | None, generation: int) -> str:
    """Hex name of an input that begins with `head`; `generation` counts inputs that begin alike."""
    digest = blake2b(digest_size=16)
    for part in (head, system.encode(), (instance or "").encode("utf-8", "surrogateescape"), b"%d" % generation):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _patterns(settings: Settings, system: str | None) -> list[_Pattern]:
    readable = [each for each in settings.systems if each.setup is not None]
    if system is not None and all(each.system.name != system for each in readable):
        names = ", ".join(each.system.name for each in readable)
        raise ConfigError([Fault("", "--system", f"{system!r} is no system with a format; there are: {names}")])
    chosen = [each for each in readable if system in (None, each.system.name)]
    return list(chain.from_iterable(map(_patterns_of, chosen)))


def _patterns_of(each: SystemSettings) -> Iterator[_Pattern]:
    for written in each.inputs:
        pattern = str(Path.cwd() / written)
        yield _Pattern(each.system.name, pattern.replace(INSTANCE, "*"), Glob(os.path.normpath(pattern)))


def _paths(name: str) -> list[str]:
    """The files a name stands for, sorted; hidden ones only if named themselves."""
    if name == PIPE:
        return [PIPE]
    path = Path.cwd() / name
    if path.is_dir():
        return Glob(f"{glob.escape(str(path))}/**").files()
    if path.exists():
        return [str(path)]
    if glob.has_magic(name):
        return Glob(str(path)).files()
    return []


def _owner(path: str, patterns: Sequence[_Pattern], system: str | None, settings: Settings) -> _Found | None:
    plain = path if path == PIPE else os.path.normpath(path)  # only to compare: it may lead elsewhere behind a link
    matches = [(pattern, match) for pattern in patterns if (match := pattern.compiled.match(plain)) is not None]
    if matches:
        pattern, match = max(matches, key=lambda pair: pair[0].compiled.weight)  # the first of equals
        return _Found(path, pattern.system, match.instance)
    if system is None and path == PIPE:
        readable = [each.system.name for each in settings.systems if each.setup is not None]
        system = readable[0] if len(readable) == 1 else None
    return None if system is None else _Found(path, system, None)


def _fingerprinted(found: Sequence[_Found]) -> tuple[tuple[Input, ...], list[str]]:
    read = {each.path: beginning(each.path, FINGERPRINT_BYTES) for each in found if each.path != PIPE}
    begun = [Begun(each.path, each.system, each.instance, read[each.path][0]) for each in found if each.path != PIPE]
    names = dict(zip(read, fingerprints(begun), strict=True))
    files = [
        Input(path, system, instance, _size(path), read[path][1], names[path])
        if path != PIPE
        else Input(PIPE, system, instance, 0, "", "")
        for path, system, instance in found
    ]
    return tuple(files), list(_same(begun))


def _same(files: Sequence[Begun]) -> Iterator[str]:
    """Warnings of files that may be copies: as far as both are read here, they are the same."""
    shorter: list[Begun] = []  # each the beginning of the next
    for each in sorted(files, key=lambda file: (file.system, file.instance or "", file.head, file.path)):
        while shorter and not _continues(each, shorter[-1]):
            shorter.pop()
        if shorter:
            yield f"{each.path} begins like {shorter[-1].path}: if it is the same log, its lines are counted twice"
        shorter.append(each)


def _continues(file: Begun, other: Begun) -> bool:
    same = (file.system, file.instance, first_line(file.head)) == (other.system, other.instance, first_line(other.head))
    return same and bool(other.head) and file.head.startswith(other.head)


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError as error:
        raise SinkError(f"cannot read {path}: {error.strerror}", retry=False) from error
