"""Does the configuration of a server hold what breaks the operator's word for its log?

It reads what `server_config` names, for `clientip check` alone: a file changes no record.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from clientip.edges.cli.directives import (
    Cut,
    ServerDirective,
    apache_directives,
    haproxy_directives,
    nginx_directives,
    toml_directives,
    yaml_directives,
)
from clientip.edges.disk.globs import Glob
from clientip.settings import Settings, SystemSettings

MAX_BYTES: Final = 1 << 20  # of one file
MAX_FILES: Final = 1000
_SHOWN: Final = 100  # characters of a directive

Breaks = Callable[[Sequence[ServerDirective]], Iterator[tuple[ServerDirective, str]]]
"""The directives of one file to those that break the word, each as it is shown."""


class _Server(NamedTuple):
    cut: Cut
    breaks: Breaks
    toml: Cut | None = None  # for files of this kind


def faults_of(settings: Settings) -> tuple[str, ...]:
    """What the servers' configurations hold against the words of their systems, one sentence each."""
    return tuple(fault for each in settings.systems for fault in _of_system(each))


def _of_system(each: SystemSettings) -> Iterator[str]:
    server = None if each.setup is None else _SERVERS.get(each.setup.format)
    name = each.system.name
    for pattern in each.server_config:
        if server is None:
            yield f"{name}: no directive of this format is known; take `server_config` out, and read {_HELP}"
            return
        paths = _paths(pattern)
        if not paths:
            yield f"{name}: nothing matches {pattern} of `server_config`"
        if len(paths) > MAX_FILES:
            yield f"{name}: {pattern} matches more than {MAX_FILES:,} files; name those of this server"
            continue
        for path in paths:
            yield from _of_file(path, each, server)


def _paths(pattern: str) -> list[str]:
    path = Path.cwd() / pattern
    return Glob(str(path)).files() if glob.has_magic(pattern) and not path.exists() else [str(path)]


def _of_file(path: str, each: SystemSettings, server: _Server) -> Iterator[str]:
    name = each.system.name
    try:
        with Path(path).open("rb") as file:
            held = file.read(MAX_BYTES + 1)
    except OSError as error:
        yield f"{name}: {path}: cannot be read: {error.strerror}"
        return
    if len(held) > MAX_BYTES:
        yield f"{name}: {path}: is longer than {MAX_BYTES:,} bytes and was not read"
        return
    cut = server.toml if server.toml is not None and path.endswith(".toml") else server.cut
    directives = tuple(cut(held.decode("utf-8", "replace")))
    if each.system.lossless:
        for directive, shown in server.breaks(directives):
            yield f"{name}: {path}, line {directive.line}: {shown[:_SHOWN]}: {_BROKEN}"
    if each.setup is not None and each.setup.format == "nginx" and each.setup.drops_underscores is not False:
        for directive in directives:
            if directive.words[:2] == ("underscores_in_headers", "on"):
                yield f"{name}: {path}, line {directive.line}: {' '.join(directive.words)}: {_KEEPS_UNDERSCORES}"


_HELP: Final = "`clientip help lossless`"
_BROKEN: Final = f"requests can pass without a line; take it out, or `lossless` ({_HELP})"
_KEEPS_UNDERSCORES: Final = "headers with `_` pass; write drops_underscores = false"


def _haproxy(directives: Sequence[ServerDirective]) -> Iterator[tuple[ServerDirective, str]]:
    modes = {each.words[1] for each in directives if each.words[0] == "mode" and len(each.words) > 1}
    whole = {each.section for each in directives if each.words[0] == "log" and not _partial(each.words)}
    for each in directives:
        words = each.words
        silent = any(pair == ("set-log-level", "silent") for pair in pairwise(words))
        null = words[:2] == ("option", "dontlognull") and modes != {"http"}
        partial = words[0] == "log" and _partial(words) and each.section not in whole
        if silent or null or partial or words[:2] in (("option", "dontlog-normal"), ("no", "log")):
            yield each, " ".join(words)


_TRAFFIC_HIDDEN: Final = frozenset({"emerg", "alert", "crit", "err", "warning", "notice"})
_LOG_OPTIONS: Final = frozenset({"len", "format", "sample", "profile"})


def _partial(words: Sequence[str]) -> bool:
    """Whether this `log` takes some lines of traffic only: a sample, or levels above theirs, which is info.

    >>> _partial(["log", "/dev/log", "local1", "notice"]), _partial(["log", "/dev/log", "len", "9", "local0"])
    (True, False)
    """
    at = 2
    while at < len(words) and words[at] in _LOG_OPTIONS:
        if words[at] == "sample":
            return True
        at += 2
    return not _TRAFFIC_HIDDEN.isdisjoint(words[at + 1 : at + 2])


def _nginx(directives: Sequence[ServerDirective]) -> Iterator[tuple[ServerDirective, str]]:
    for each in directives:
        name, values = each.words[0], each.words[1:]
        some = name == "access_log" and (values[:1] == ("off",) or any(text.startswith("if=") for text in values))
        if some or (name == "mirror" and values[:1] != ("off",)):
            yield each, " ".join(each.words)


def _apache(directives: Sequence[ServerDirective]) -> Iterator[tuple[ServerDirective, str]]:
    for each in directives:
        conditions = [word for word in each.words[1:] if word.lower().startswith(("env=", "expr="))]
        if each.words[0].lower() == "customlog" and conditions:
            yield each, " ".join(each.words)


def _envoy(directives: Sequence[ServerDirective]) -> Iterator[tuple[ServerDirective, str]]:
    for each in directives:
        *above, key = (_plain(word) for word in each.words[:-1])
        if (key == "filter" and "accesslog" in above) or key in ("requestmirrorpolicies", "requestmirrorpolicy"):
            yield each, ".".join(each.words[:-1])


def _traefik(directives: Sequence[ServerDirective]) -> Iterator[tuple[ServerDirective, str]]:
    for each in directives:
        *above, key = (_plain(word) for word in each.words[:-1])
        off = key == "accesslogs" and re.search(r"\bfalse\b", each.words[-1]) is not None
        if off or (key == "filters" and "accesslog" in above) or (key == "mirrors" and "mirroring" in above):
            yield each, ".".join(each.words[:-1])


def _plain(word: str) -> str:
    return word.replace("_", "").lower()


def _caddy(directives: Sequence[ServerDirective]) -> Iterator[tuple[ServerDirective, str]]:
    for each in directives:
        if each.words[0] in ("log_skip", "skip_log", "sampling"):
            yield each, " ".join(each.words)


_ENVOY: Final = _Server(yaml_directives, _envoy)
_TRAEFIK: Final = _Server(yaml_directives, _traefik, toml_directives)
_SERVERS: Final[Mapping[str, _Server]] = MappingProxyType(
    {
        "haproxy": _Server(haproxy_directives, _haproxy),
        "nginx": _Server(nginx_directives, _nginx),
        "apache": _Server(apache_directives, _apache),
        "envoy_text": _ENVOY,
        "envoy_json": _ENVOY,
        "traefik_json": _TRAEFIK,
        "traefik_clf": _TRAEFIK,
        "caddy": _Server(apache_directives, _caddy),
    }
)
