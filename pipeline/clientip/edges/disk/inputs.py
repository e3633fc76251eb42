"""Which files to read, and which system wrote each of them."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from clientip.edges.disk.files import beginning
from clientip.errors import ConfigError, Fault, SinkError
from clientip.settings import Settings, SystemSettings

PIPE: Final = "-"
FINGERPRINT_BYTES: Final = 1024  # unpacked bytes that tell a file from another one
INSTANCE: Final = "{instance}"
_WILDCARD: Final = re.compile(r"\*\*/|\*\*|\*|\?|\[[^]]+\]|\{instance\}")


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
    matcher: re.Pattern[str]
    weight: int  # literal characters: the more, the more specific


class _Found(NamedTuple):
    path: str
    system: str
    instance: str | None


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
        plain = os.path.normpath(pattern)
        weight = len(_WILDCARD.sub("", plain))
        yield _Pattern(each.system.name, pattern.replace(INSTANCE, "*"), _matcher(plain), weight)


def _matcher(pattern: str) -> re.Pattern[str]:
    text, place, named = "", 0, False
    for wildcard in _WILDCARD.finditer(pattern):
        text += re.escape(pattern[place : wildcard.start()])
        place = wildcard.end()
        match wildcard[0]:
            case "**/":
                text += "(?:.*/)?"
            case "**":
                text += ".*"
            case "*":
                text += "[^/]*"
            case "?":
                text += "[^/]"
            case "{instance}":
                text += "(?P=instance)" if named else "(?P<instance>[^/]+?)"
                named = True
            case chars:
                text += _character_class(chars[1:-1])
    try:
        return re.compile(text + re.escape(pattern[place:]))
    except re.error as error:
        raise ConfigError([Fault("", "inputs", f"{pattern!r} is no pattern: {error}")]) from error


def _character_class(chars: str) -> str:
    negated = chars.startswith("!")
    inside = "".join(char if char == "-" else re.escape(char) for char in chars.removeprefix("!"))
    return f"[^{inside}]" if negated else f"[{inside}]"


def _paths(name: str) -> list[str]:
    """The files a name stands for, sorted; hidden ones only if named themselves."""
    if name == PIPE:
        return [PIPE]
    path = Path.cwd() / name
    if path.is_dir():
        inside = (child for child in path.rglob("*") if child.is_file())
        return sorted(str(child) for child in inside if not _is_hidden(child.relative_to(path)))
    if path.exists():
        return [str(path)]
    if glob.has_magic(name):
        found = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob would find hidden files too
        return sorted(each for each in found if Path(each).is_file())
    return []


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _owner(path: str, patterns: Sequence[_Pattern], system: str | None, settings: Settings) -> _Found | None:
    plain = path if path == PIPE else os.path.normpath(path)  # only to compare: it may lead elsewhere behind a link
    matches = [(pattern, match) for pattern in patterns if (match := pattern.matcher.fullmatch(plain))]
    if matches:
        pattern, match = max(matches, key=lambda pair: pair[0].weight)  # the first of equals
        return _Found(path, pattern.system, match.groupdict().get("instance"))
    if system is None and path == PIPE:
        readable = [each.system.name for each in settings.systems if each.setup is not None]
        system = readable[0] if len(readable) == 1 else None
    return None if system is None else _Found(path, system, None)


def _fingerprinted(found: Sequence[_Found]) -> tuple[tuple[Input, ...], list[str]]:
    files, warnings = [], []
    first: dict[tuple[bytes, str, str | None], list[str]] = {}
    for path, system, instance in found:
        if path == PIPE:
            files.append(Input(PIPE, system, instance, 0, "", ""))
            continue
        head, packing = beginning(path, FINGERPRINT_BYTES)
        alike = first.setdefault((head, system, instance), [])
        if alike and head:
            warnings.append(f"{path} begins like {alike[0]}: if it is the same log, its lines are counted twice")
        fingerprint = fingerprint_of(head, system, instance, len(alike))
        files.append(Input(path, system, instance, _size(path), packing, fingerprint))
        alike.append(path)
    return tuple(files), warnings


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError as error:
        raise SinkError(f"cannot read {path}: {error.strerror}", retry=False) from error
