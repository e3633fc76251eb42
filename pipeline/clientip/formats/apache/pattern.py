r"""`LogFormat` strings of Apache httpd, and what varnishncsa shares with them → tokens and roles.

https://httpd.apache.org/docs/2.4/mod/mod_log_config.html

All texts of clients are written with `"` and `\` behind a backslash and what is not printable as `\xhh`, `%u` too
(`ap_escape_logitem`); an empty user is written as `""`.  Blanks stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from clientip.model import Setup
from clientip.patterns.matcher import ESCAPED, WORD, Field, Token, Weight, decode_text
from clientip.patterns.minting import Advice
from clientip.patterns.roles import Role

_ADDRESS: Final = "[0-9A-Fa-f:.-]"
_DIGITS: Final = "[0-9-]"
_CLF: Final = r"[0-9]{2}/[A-Za-z]{3}/[0-9]{4}(?::[0-9]{2}){3} [+-][0-9]{4}"
_CLF_UNIT: Final = "[0-9A-Za-z/: +-]"


ADVICE: Final = Advice(
    "%{NAME}i, which shows what RequestHeader set, or %{UNIQUE_ID}e, and send it: RequestHeader set NAME %{UNIQUE_ID}e",
    "%{NAME}i, which shows what RequestHeader set",
)


class Directive(NamedTuple):
    """What a directive tells and what its value looks like."""

    role: Role | None = None
    unit: str = ESCAPED
    pattern: str | None = None
    shaped: bool = False
    weight: Weight = "text"
    ending: str | None = None  # patterns.Field.ending


def trusted(word: str, unit: str = _DIGITS, how: str = "", name: str = "", ending: str | None = None) -> Directive:
    """A directive whose value no client can write."""
    return Directive(Role(word, how, name), unit, weight="trusted", ending=ending)


_STAMP: Final = Directive(Role("start", "clf"), _CLF_UNIT, _CLF, True, "trusted", _CLF)

#: By letter, with the argument in front where there is one.
DIRECTIVES: Final[Mapping[str, Directive]] = MappingProxyType(
    {
        "h": Directive(Role("logged.ip"), WORD, weight="trusted"),
        "a": trusted("logged.ip", _ADDRESS),
        "{c}a": trusted("peer.ip", _ADDRESS),
        "{remote}p": trusted("logged.port"),
        "{local}p": trusted("local.port"),
        "A": trusted("local.ip", _ADDRESS),
        "p": Directive(None, _DIGITS),
        "{canonical}p": Directive(None, _DIGITS),
        "s": trusted("status", ending="(?:[0-9]{3}|-)"),
        "b": Directive(Role("response_bytes"), _DIGITS),
        "B": Directive(Role("response_bytes"), _DIGITS),
        "O": Directive(Role("response_bytes"), _DIGITS),
        "I": Directive(Role("request_bytes"), _DIGITS),
        "S": Directive(None, _DIGITS),
        "D": trusted("duration", how="us"),
        "T": trusted("duration", "[0-9.-]", how="s"),
        "{s}T": trusted("duration", how="s"),
        "{ms}T": trusted("duration", how="ms"),
        "{us}T": trusted("duration", how="us"),
        "k": trusted("request_serial"),
        "{UNIQUE_ID}e": Directive(Role("request_id", name="unique-id", sent=True), "[0-9A-Za-z@_-]", weight="trusted"),
        "L": Directive(None, WORD),
        "r": Directive(Role("request")),
        "m": Directive(Role("method"), WORD),
        "U": Directive(Role("target")),
        "q": Directive(),
        "H": Directive(Role("protocol"), WORD),
        "v": Directive(None, WORD),
        "V": Directive(Role("host"), WORD),
        "l": Directive(None, WORD),
        "u": Directive(None, ESCAPED, f'(?:""|{ESCAPED}*)'),
        "P": Directive(None, _DIGITS),
        "X": Directive(None, "[X+-]"),
        "R": Directive(None, WORD),
        "{User-Agent}i": Directive(Role("user_agent")),
        "{Referer}i": Directive(Role("referer")),
        "{Host}i": Directive(Role("host")),
        "{Cookie}i": Directive(),
    }
)

# `%{…}t`; a value that is not here tells no time.
_STAMPS: Final[Mapping[str, Directive]] = MappingProxyType(
    {
        "sec": trusted("start", how="epoch"),
        "%s": trusted("start", how="epoch"),
        "msec": trusted("start", how="ms"),
        "usec": trusted("start", how="us"),
        "msec_frac": trusted("fraction"),
        "usec_frac": trusted("fraction"),
        "%d/%b/%Y:%H:%M:%S %z": _STAMP,
        "%d/%b/%Y:%T %z": _STAMP,
        "%Y-%m-%dT%H:%M:%S%z": trusted("start", "[0-9T:Z.+-]", how="rfc3339"),
        "%FT%T%z": trusted("start", "[0-9T:Z.+-]", how="rfc3339"),
    }
)

_DIRECTIVE: Final = re.compile(
    r"%(?:%|[<>]?(?:!?[0-9]{3}(?:,[0-9]{3})*)?(?:\{(?P<argument>[^}]*)\})?[<>]?(?P<letter>\^[a-z]{2}|[a-zA-Z]))"
)
_CONFIG_ESCAPE: Final = re.compile(r'\\(["\\tn])')
_CONFIG_TEXT: Final = MappingProxyType({'"': '"', "\\": "\\", "t": "\t", "n": "\n"})
_ESCAPE: Final = re.compile(r"(?P<hex>(?:\\x[0-9A-Fa-f]{2})++)|\\(?P<one>.)")
_ONE: Final = MappingProxyType({"n": "\n", "t": "\t", "r": "\r", "b": "\b", "v": "\v", "f": "\f"})


def tokens(setup: Setup, pattern: str, more: Mapping[str, Directive]) -> Iterator[tuple[Token, Role | None]]:
    r"""The pattern in order, each token with its role; `more` has directives of the one program.

    The pattern may be written as in the configuration file, with `\"`.
    """
    if '\\"' in pattern:
        pattern = _CONFIG_ESCAPE.sub(lambda found: _CONFIG_TEXT[found[1]], pattern)
    place = 0
    for found in _DIRECTIVE.finditer(pattern):
        if found.start() > place:
            yield pattern[place : found.start()], None
        place = found.end()
        if found[0] == "%%":
            yield "%", None
        else:
            yield from _value(setup, found, more)
    if place < len(pattern):
        yield pattern[place:], None


def _value(setup: Setup, found: re.Match[str], more: Mapping[str, Directive]) -> Iterator[tuple[Token, Role | None]]:
    argument, letter = found["argument"], found["letter"]
    bare = letter == "t" and argument is None
    directive = _STAMP if bare else _directive(setup, argument, letter, more)
    if bare:
        yield "[", None
    field = Field(
        name=found[0],
        unit=directive.unit,
        pattern=directive.pattern,
        shaped=directive.shaped,
        ending=directive.ending,
        weight=directive.weight,
    )
    yield field, directive.role
    if bare:
        yield "]", None


def _directive(setup: Setup, argument: str | None, letter: str, more: Mapping[str, Directive]) -> Directive:
    key = letter if argument is None else f"{{{argument}}}{letter}"
    known = more.get(key) or DIRECTIVES.get(key)
    if known is not None:
        return known
    if argument in setup.trace_fields:
        return Directive(Role("trace"), "[0-9A-Fa-f-]", weight="trusted")
    if letter == "i" and argument is not None:
        name = argument.lower()
        known = DIRECTIVES.get(f"{{{name.title()}}}i")
        return known or Directive(Role("header", "all", name, sent=True), weight="claim")
    if letter == "t" and argument is not None:
        end = argument.startswith("end:")
        stamp = _STAMPS.get(argument.removeprefix("begin:").removeprefix("end:"), Directive(unit='[^"\\[\\]]'))
        role = stamp.role
        return stamp._replace(role=role._replace(word="end")) if end and role and role.word == "start" else stamp
    return Directive()


def unescape(text: str) -> str:
    r"""What the writer escaped, as it was; bytes that are no UTF-8 become `\xhh` again.

    >>> unescape(r'a \"b\" \xc3\xa9')
    'a "b" é'
    """
    return _ESCAPE.sub(_unescaped, text) if "\\" in text else text


def _unescaped(found: re.Match[str]) -> str:
    if found["hex"]:
        return decode_text(bytes.fromhex(found["hex"].replace("\\x", "")))
    return _ONE.get(found["one"], found["one"])
