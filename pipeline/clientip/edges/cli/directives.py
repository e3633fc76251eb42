"""Configurations of servers cut into directives, as far as `check` needs it: where each stands, and its words.

Only the outer form is read, line by line: no include is followed, no variable or condition is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Final, NamedTuple


class ServerDirective(NamedTuple):
    """One statement of a server's configuration."""

    line: int  # of its first word, from 1
    words: tuple[str, ...]  # without quotes; of a nested format the keys down to this one, then its value
    section: int = 0  # directives of one section have the same number


Cut = Callable[[str], Iterator[ServerDirective]]

_HAPROXY_WORD: Final = re.compile(r'(?:[^\s"\'\\#]|\\.|"(?:[^"\\]|\\.)*+"?|\'[^\']*+\'?)++|#')
_NGINX_WORD: Final = re.compile(
    r'(?P<comment>#[^\n]*+)|(?P<sign>[;{}])|"(?:[^"\\]|\\.)*+"?|\'(?:[^\'\\]|\\.)*+\'?|(?:\$\{\w*+\}|[^\s;{}"\'\\]|\\.)++',
    re.S,
)
_APACHE_WORD: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[^\s"]++')
_QUOTES: Final = re.compile(r"""["']""")
_YAML_KEY: Final = re.compile(r"""((?:\s|-(?=\s))*+)["']?([\w.@/-]++)["']?\s*+:(?=\s|\Z)""")
_FLOW_KEY: Final = re.compile(r"""[{,]\s*+["']?([\w.@/-]++)["']?\s*+[:=]""")
_YAML_COMMENT: Final = re.compile(r"(?:^|\s)#")
_TOML_TABLE: Final = re.compile(r"\s*+\[\[?\s*+([^\[\]]++)\]")
_TOML_KEY: Final = re.compile(r"\s*+([\w.\"'-]++)\s*+=")
_ABOVE: Final = 64
_HAPROXY_SECTIONS: Final = frozenset({"global", "defaults", "frontend", "backend", "listen", "program", "peers"})


def haproxy_directives(text: str) -> Iterator[ServerDirective]:
    """A line is a directive; a section begins with its keyword.

    >>> [each.words for each in haproxy_directives("defaults\\n  no log # none")]
    [('defaults',), ('no', 'log')]
    """
    section = 0
    for number, line in enumerate(text.split("\n"), 1):
        found = takewhile(lambda word: word != "#", _HAPROXY_WORD.findall(line))
        words = tuple(_QUOTES.sub("", word) for word in found)
        if words:
            section += words[0] in _HAPROXY_SECTIONS
            yield ServerDirective(number, words, section)


def nginx_directives(text: str) -> Iterator[ServerDirective]:
    """A directive ends with `;`, or with the `{` of its block.

    >>> [each.words for each in nginx_directives("location / { access_log\\n off; # none\\n}")]
    [('location', '/'), ('access_log', 'off')]
    """
    words: list[str] = []
    line = first = 1
    place = 0
    for found in _NGINX_WORD.finditer(text):
        line += text.count("\n", place, found.start())
        place = found.start()
        if found["comment"]:
            continue
        if found["sign"]:
            if words:
                yield ServerDirective(first, tuple(words))
            words = []
            continue
        first = first if words else line
        words.append(_QUOTES.sub("", found[0]))
    if words:
        yield ServerDirective(first, tuple(words))


def apache_directives(text: str) -> Iterator[ServerDirective]:
    r"""A line is a directive, with those that follow a `\` at its end.

    >>> [each.words for each in apache_directives('# x\nCustomLog a "%h" \\\n env=x')]
    [('CustomLog', 'a', '%h', 'env=x')]
    """
    held: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        ended = line.rstrip("\r")
        goes_on = ended.endswith("\\")
        held.append(ended[:-1] if goes_on else ended)
        if goes_on:
            continue
        words = tuple(_QUOTES.sub("", word) for word in _APACHE_WORD.findall("".join(held)))
        first, held = number + 1 - len(held), []
        if words and not words[0].startswith("#"):
            yield ServerDirective(first, words)


def yaml_directives(text: str) -> Iterator[ServerDirective]:
    """A key is a directive with the keys above it; so is JSON that is written over many lines.

    Keys in braces count as if each stood below the ones before it in its line.

    >>> [each.words for each in yaml_directives("a:\\n- b: {c: 1}\\n  d: 2")]
    [('a', ''), ('a', 'b', '{c: 1}'), ('a', 'b', 'c', '{c: 1}'), ('a', 'd', '2')]
    """
    above: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        comment = _YAML_COMMENT.search(line)
        written = line if comment is None else line[: comment.start()]
        key = _YAML_KEY.match(written)
        rest = written if key is None else written[key.end() :]
        if key is not None:
            indent = len(key[1])
            above = [each for each in above if each[0] < indent]
            above.append((indent, key[2]))
            yield ServerDirective(number, (*(name for _, name in above), rest.strip()))
        for inside in _braced(rest):
            yield ServerDirective(number, (*(name for _, name in above), *inside, rest.strip()))


def toml_directives(text: str) -> Iterator[ServerDirective]:
    """A key is a directive with the tables above it, and so is a table.

    >>> [each.words for each in toml_directives("[a.b]\\nc = 1")]
    [('a', 'b', ''), ('a', 'b', 'c', '1')]
    """
    table: Sequence[str] = ()
    for number, line in enumerate(text.split("\n"), 1):
        comment = _YAML_COMMENT.search(line)
        written = line if comment is None else line[: comment.start()]
        head = _TOML_TABLE.match(written)
        if head is not None:
            table = _dotted(head[1])
            yield ServerDirective(number, (*table, ""))
        elif (key := _TOML_KEY.match(written)) is not None:
            rest = written[key.end() :].strip()
            for inside in ([], *_braced(rest)):
                yield ServerDirective(number, (*table, *_dotted(key[1]), *inside, rest))


def _braced(text: str) -> Iterator[list[str]]:
    """Each key in braces, behind those before it: at most _ABOVE of them."""
    keys = _FLOW_KEY.findall(text)
    return (keys[max(0, at - _ABOVE) : at + 1] for at in range(len(keys)))


def _dotted(text: str) -> tuple[str, ...]:
    return tuple(_QUOTES.sub("", part).strip() for part in text.split("."))
