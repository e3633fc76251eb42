"""`clientip init`: guesses → a commented configuration that trusts no address and asks what it cannot know.

What stands uncommented is what reads the files; whom to trust stands in comments as questions, because
a question without an answer must not name a client.
"""

from __future__ import annotations

import glob
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from clientip.config.keys import RESERVED
from clientip.edges.cli.exits import warn
from clientip.edges.cli.guess import FormatGuess, Guess, Peer, guess
from clientip.edges.cli.options import WIDE
from clientip.edges.disk.parts import disk_faults
from clientip.errors import ConfigError, Fault
from clientip.formats import FORMATS
from clientip.syntax.headers import is_list

_SHARE_TOLD: Final = 0.01  # of the lines; a local address below is no hop worth a question
_PUBLIC_SHARE_TOLD: Final = 0.05  # a public one may be a client, whose address has no place in a configuration …
_PUBLIC_LINES_TOLD: Final = 50  # … so it must be one that few clients are
_GROUPS_TOLD: Final = 5
_NAME_LENGTH: Final = 24
_ALWAYS: Final = 0.99
_MOST: Final = 0.9

_OUT: Final = (
    "Write it to this file, which must not be there; the paths in it are relative to its folder. "
    "Without: to standard output, with absolute paths."
)
_NO_UTF8: Final = re.compile("[\ud800-\udfff]")  # how Python writes bytes of a file name that TOML cannot hold
_IF_CLIENTS: Final = ': if these are clients and no CDN, add "outside".'
_HEADING: Final = """\
# Made by `clientip init`. It trusts no address yet: until the questions below are answered, no line from behind a
# balancer names its client. `clientip help config` explains every key; `clientip check` tries the answers.
"""


def init(paths: Sequence[str], folder: Path | None) -> str:
    """A configuration for these log files, to be saved in `folder`; None: anywhere, so their paths are absolute.

    Errors: SinkError if a file cannot be opened.
    """
    return scaffold([guess(path) for path in dict.fromkeys(paths)], folder)


def scaffold(guesses: Sequence[Guess], folder: Path | None) -> str:
    """One system for all files that lie together and read alike."""
    groups: dict[tuple[str, str, str | None, tuple[str, ...]], list[Guess]] = {}
    unread: list[Guess] = []
    for each in guesses:
        if each.best is None:
            unread.append(each)
            continue
        key = (str(Path(each.path).parent), each.best.format, each.best.pattern, each.best.wrapper)
        groups.setdefault(key, []).append(each)
    lines = [_HEADING]
    names: set[str] = set()
    for group in groups.values():
        lines += [*_system(_named(group[0], names), group, folder), ""]
    lines += [line for each in unread for line in _unread(each)]
    return "\n".join(lines).rstrip() + "\n"


def _named(first: Guess, taken: set[str]) -> str:
    """A name from the file's own, or from what wrote it; each once."""
    assert first.best is not None
    stem = Path(first.path).name.partition(".")[0].lower()
    word = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")
    if len(word) > _NAME_LENGTH:  # as of a container's log, which ends with hashes
        word = word[: _NAME_LENGTH + 1].rpartition("-")[0] or word[:_NAME_LENGTH]
    if not word or word.isdigit() or word in ("access", "log", "logs") or word in RESERVED:
        word = first.best.format.replace("_", "-")
    name, number = word, 1
    while name in taken:
        number += 1
        name = f"{word}-{number}"
    taken.add(name)
    return name


def _equals(best: FormatGuess, group: Sequence[Guess]) -> Iterable[str]:
    """What else reads the files as well: every other format once, and other patterns of the same one."""
    titles: dict[str, str] = {}
    for one in (one for each in group for one in each.equals):
        if one.format != best.format:
            titles.setdefault(one.format, one.format)
        elif one.pattern is not None:
            titles.setdefault(one.title, one.title)
    return titles.values()


def _system(name: str, group: Sequence[Guess], folder: Path | None) -> Iterator[str]:
    best = group[0].best
    assert best is not None
    read, lines = sum(each.read for each in group), sum(each.lines for each in group)
    yield f"# {read:,} of {lines:,} sampled lines read as {best.title}."
    if read < _MOST * lines:
        yield "# Question: who writes the other lines? If the same server, what is its own log format?"
    equals = _equals(best, group)
    if equals:
        yield f"# Question: which server wrote it? These read just as much: {'; '.join(equals)}."
    yield f"[systems.{name}]"
    yield f'format = "{best.format}"'
    inputs = [_NO_UTF8.sub("?", glob.escape(_path_from(folder, each.path))) for each in group]
    yield f"inputs = [{', '.join(map(_quoted, inputs))}]"
    if best.pattern is not None and FORMATS[best.format].pattern != "none":
        yield f"pattern = {_quoted(best.pattern)}"
    if best.wrapper:
        yield f"wrapper = [{', '.join(map(_quoted, best.wrapper))}]"
    yield from _setup_lines(best, zoneless=any(each.zoneless for each in group))
    yield from _peers_lines(name, group)


def _path_from(folder: Path | None, path: str) -> str:
    return str(Path(path).absolute()) if folder is None else os.path.relpath(path, folder)


def _setup_lines(best: FormatGuess, *, zoneless: bool) -> Iterator[str]:
    assert best.setup is not None
    if zoneless:
        yield "# Question: its stamps do not say their zone. Which zone does the server write in?"
        yield f"timezone = {_quoted(best.setup.timezone or 'UTC')}"
    for key, value in best.setup.options:
        (meaning,) = (text for name, text in FORMATS[best.format].options if name == key)
        yield f"# Question: is it so? {meaning}. If it is, make this a line; if not, log JSON."
        yield f'# options = {{ {key} = "{value}" }}'
    if best.setup.logs_peer is not None:
        choices = " or ".join(f'"{word}"' for word in FORMATS[best.format].logs_peer)
        yield "# Question: is the logged address its socket's far end, or has the server put there what a PROXY header"
        yield f'# or realip said? Write {choices}; if not "socket", also from whom it accepts that, in `believes`.'
        yield f'logs_peer = "{best.setup.logs_peer}"'


def _peers_lines(name: str, group: Sequence[Guess]) -> Iterator[str]:
    lines = sum(peer.lines for each in group for peer in each.peers)
    yield '# Question: who may connect to it? Clients themselves are "outside", workloads and operators "internal";'
    yield "# balancers, CDNs and proxies are systems of their own, to be drawn and named here."
    if lines:
        public = sum(peer.lines for each in group for peer in each.peers if peer.address.scope == "global")
        if public:
            yield f"# {_share(public, lines)} of the lines come from public addresses{_IF_CLIENTS}"
    yield 'peers = ["internal"]'
    if not lines:
        best = group[0].best
        assert best is not None
        yield "# Question: no line shows who connected. Can the log say so? Ask the server for:"
        yield from (f"#     {line}" for line in FORMATS[best.format].ask_for.splitlines())
    frequent = _frequent(group, lines)
    for number, alike in enumerate(_alike(frequent), start=1):
        yield from _hop_lines(f"{name}-hop-{number}", name, alike, lines)
    silent = [f"{peer.address.text} ({_share(peer.lines, lines)})" for peer in frequent if not peer.headers]
    if silent:
        yield "# Question: clients, workloads, or hops that hide clients? Never with a forwarding header:"
        yield f"# {', '.join(silent[:_GROUPS_TOLD])}"


def _frequent(group: Sequence[Guess], lines: int) -> list[Peer]:
    """Peers frequent enough to be hops, the most frequent first."""
    found: dict[str, Peer] = {}
    for peer in sorted((peer for each in group for peer in each.peers), key=lambda peer: -peer.lines):
        is_public = peer.address.scope == "global"
        if peer.lines < (_PUBLIC_SHARE_TOLD if is_public else _SHARE_TOLD) * lines:
            continue
        if is_public and peer.lines < _PUBLIC_LINES_TOLD:
            continue
        found.setdefault(peer.address.text, peer)
    return list(found.values())


def _alike(peers: Iterable[Peer]) -> list[list[Peer]]:
    """Peers that send the same header, as the nodes of one balancer do, together."""
    groups: dict[tuple[str, bool], list[Peer]] = {}
    for peer in peers:
        if peer.headers:
            header, count = peer.headers[0]
            groups.setdefault((header, _is_always(count, peer.lines)), []).append(peer)
    return list(groups.values())[:_GROUPS_TOLD]


def _is_always(count: int, lines: int) -> bool:
    return count >= _ALWAYS * lines


def _hop_lines(hop: str, name: str, alike: Sequence[Peer], lines: int) -> Iterator[str]:
    header = alike[0].headers[0][0]
    own, count = sum(peer.lines for peer in alike), sum(dict(peer.headers)[header] for peer in alike)
    often = "always" if _is_always(count, own) else f"in {_share(count, own)} of them"
    addresses = [peer.address.text for peer in alike]
    others = dict.fromkeys(other for peer in alike for other, _ in peer.headers if other != header)
    yield f"# Question: {', '.join(addresses)}: {_share(own, lines)} of the lines, {often} with {header}: a balancer?"
    yield f'# If it writes that into every request, put "{hop}" into the `peers` of {name}, and this:'
    yield f"#     [systems.{hop}]"
    yield f"#     addresses = [{', '.join(map(_quoted, addresses))}]"
    yield '#     peers = ["outside"]'
    if others:
        yield f"#     # it also came with {', '.join(others)}"
    mode = "append" if is_list(header) else "overwrite"
    yield f'#     conveys = [{{ header = "{header}", mode = "{mode}" }}]'


def _unread(each: Guess) -> Iterator[str]:
    if not each.lines:
        yield f"# {_commented(each.path)} holds no line yet."
        return
    yield f"# Question: how is {_commented(each.path)} written? No format reads any of its {each.lines:,} lines."
    yield "# If it is nginx, Apache, HAProxy or Envoy, give its own log format as `pattern`: `clientip help formats`."
    yield "# Or copy the configuration of your network (README.md lists them) and write the pattern there."


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if part * 100 >= whole or not part else "< 1 %"


def _commented(text: str) -> str:
    """A file name inside a comment: a line end in it would leave the comment."""
    return json.dumps(_NO_UTF8.sub("?", text), ensure_ascii=False)


def _quoted(text: str) -> str:
    """A TOML string: literal where that is possible, because patterns are full of backslashes and quotes."""
    if "'" not in text and text.isprintable() and ('"' in text or "\\" in text):
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@click.command("init", context_settings=WIDE)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), help=_OUT)
def command(files: tuple[str, ...], out: Path | None) -> None:
    """Guess the formats of log files and print a configuration to start from."""
    if out is None:
        sys.stdout.write(init(files, None))
        return
    text = init(files, out.parent)
    with disk_faults("write", out):
        try:
            file = out.open("x")
        except FileExistsError as error:
            raise ConfigError([Fault("", "--out", f"{out} is there already; name another file")]) from error
        with file:
            file.write(text)
    warn(f"{out} is written; answer the questions in it, then try it with `clientip check -c {out}`")
