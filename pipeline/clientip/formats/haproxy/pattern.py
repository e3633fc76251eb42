"""HAProxy `log-format` strings → tokens and roles: `%alias`, `%{flags}alias`, `%(name)alias`, `%[expression]`.

https://docs.haproxy.org/dev/configuration.html#8.2.6

What the writer escapes (8.6): the request line and captured headers lose `"`, `#` and everything that is not
printable ASCII to `#HH`, captured headers also `{`, `|` and `}`; blanks stay.  The value of an expression is written
as it is, between quotes with `+Q` or not, so it may hold any text; so is a captured cookie.  What may hold a line break
(`line_breaks`) is refused unless a converter encodes it, or options.line_breaks says that something else does.
Blanks in a row come out as one, and capture blocks vanish where nothing is captured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from msgspec.structs import replace

from clientip.formats.haproxy.line_breaks import encoded_unit, is_one_line
from clientip.model import Setup
from clientip.patterns.matcher import QUOTELESS, RAW, WORD, Field, Token, Weight
from clientip.patterns.roles import Role

_ADDRESS: Final = "[0-9A-Fa-f:.unix-]"  # `unix` for UNIX sockets
_DIGITS: Final = "[0-9+-]"  # + where `option logasap` wrote before the end
_NAME: Final = '[^ "/]'
_WORD: Final = r'[^ "/\[\]{}]'
_LOCAL_TIME: Final = r"[0-9]{2}/[A-Za-z]{3}/[0-9]{4}(?::[0-9]{2}){3}(?:\.[0-9]++)?+"
_ZONED_TIME: Final = r"[0-9]{2}/[A-Za-z]{3}/[0-9]{4}(?::[0-9]{2}){3} [+-][0-9]{4}"
_TIME: Final = "[0-9A-Za-z/:. +-]"

BLOCKS: Final = "captures"  # name of the field that holds `{…} {…}`
QUOTED: Final = "quoted captures"  # name of the field that holds `"…" "…"` of %hrl %hsl


class Item(NamedTuple):
    """What an alias or expression tells and what its value looks like."""

    role: Role | None = None
    unit: str = _WORD
    pattern: str | None = None
    weight: Weight = "text"
    ending: str | None = None  # patterns.Field.ending


def _trusted(word: str, unit: str = _DIGITS, how: str = "", name: str = "") -> Item:
    return Item(Role(word, how, name), unit, weight="trusted")


_UNIQUE_ID: Final = Item(Role("request_id", name="haproxy", sent=True), WORD, weight="trusted")


_START: Final = Item(Role("start", "haproxy"), _TIME, _LOCAL_TIME, "trusted")
_START_ZONED: Final = Item(Role("start", "clf"), _TIME, _ZONED_TIME, "trusted")
_NUMBER: Final = Item(None, _DIGITS)
_FLAGS: Final = "[A-Za-z-]"
_PROXY_NAME: Final = Item(None, _NAME)

# fmt: off
_NUMBERS: Final = (
    "ac", "bc", "fc", "sc", "rt", "lc", "bq", "sq", "pid",
    "Tq", "Td", "Th", "Ti", "Tu",
)
_MACHINE_EXPRESSIONS: Final = (
    "fc_err", "ssl_fc_err,hex", "ssl_fc_err", "ssl_c_err", "ssl_c_ca_err", "ssl_fc_is_resumed",
    "fc_rcvd_proxy", "be_name", "fe_name", "srv_name", "fc_http_major", "ssl_fc",
)
# fmt: on

ALIASES: Final[Mapping[str, Item]] = MappingProxyType(
    {
        "ci": _trusted("logged.ip", _ADDRESS),
        "cp": _trusted("logged.port"),
        "fi": _trusted("local.ip", _ADDRESS),
        "fp": _trusted("local.port"),
        "bi": _trusted("upstream_local.ip", _ADDRESS),
        "bp": _trusted("upstream_local.port"),
        "si": _trusted("upstream_peer.ip", _ADDRESS),
        "sp": _trusted("upstream_peer.port"),
        "t": _START,
        "tr": _START,
        "T": _START_ZONED,
        "Tl": _START_ZONED,
        "trg": _START_ZONED,
        "trl": _START_ZONED,
        "Ts": _trusted("start", how="epoch"),
        "ms": _trusted("fraction"),
        "Ta": _trusted("duration", how="ms"),
        "Tt": _trusted("duration", how="ms"),
        "ST": _trusted("status")._replace(ending="(?:-1|0|[1-9][0-9]{2})"),
        "rc": _trusted("tries", how="0"),
        "TR": _trusted("timer", how="0"),
        "Tw": _trusted("timer", how="1"),
        "Tc": _trusted("timer", how="2"),
        "Tr": _trusted("timer", how="3"),
        "B": Item(Role("response_bytes"), _DIGITS),
        "U": Item(Role("request_bytes"), _DIGITS),
        "ID": _UNIQUE_ID,
        "r": Item(Role("request"), QUOTELESS),
        "HM": Item(Role("method"), WORD),
        "HU": Item(Role("target"), WORD),
        "HP": Item(Role("target"), WORD),
        "HPO": Item(None, WORD),
        "HQ": Item(None, WORD),
        "HV": Item(Role("protocol"), WORD),
        "H": Item(Role("instance"), WORD),
        "f": _PROXY_NAME,
        "ft": _PROXY_NAME,
        "b": _PROXY_NAME,
        "s": _PROXY_NAME,
        "CC": Item(None, WORD),
        "CS": Item(None, WORD),
        "ts": Item(None, _FLAGS, ending=_FLAGS + "{2}"),
        "tsc": Item(None, _FLAGS, ending=_FLAGS + "{4}"),
        "sslv": Item(None, WORD),
        "sslc": Item(None, WORD),
        "hr": Item(None, QUOTELESS),
        "hs": Item(None, QUOTELESS),
        "hrl": Item(None, QUOTELESS),
        "hsl": Item(None, QUOTELESS),
        **dict.fromkeys(
            _NUMBERS,
            _NUMBER,
        ),
    }
)

_EXPRESSIONS: Final[Mapping[str, Item]] = MappingProxyType(
    {
        "src": ALIASES["ci"],
        "src_port": ALIASES["cp"],
        "fc_src": _trusted("peer.ip", _ADDRESS),
        "fc_src_port": _trusted("peer.port"),
        "dst": ALIASES["fi"],
        "dst_port": ALIASES["fp"],
        "fc_dst": ALIASES["fi"],
        "fc_dst_port": ALIASES["fp"],
        "bc_src": ALIASES["bi"],
        "bc_src_port": ALIASES["bp"],
        "bc_dst": ALIASES["si"],
        "bc_dst_port": ALIASES["sp"],
        "accept_date(ms)": _trusted("start", how="ms"),
        "accept_date(us)": _trusted("start", how="us"),
        "accept_date": _trusted("start", how="epoch"),
        "request_date(ms)": _trusted("start", how="ms"),
        "request_date(us)": _trusted("start", how="us"),
        "request_date": _trusted("start", how="epoch"),
        "status": ALIASES["ST"],
        "method": Item(Role("method"), RAW),
        "path": Item(Role("target"), RAW),
        "pathq": Item(Role("target"), RAW),
        "url": Item(Role("target"), RAW),
        "unique-id": ALIASES["ID"],
        **dict.fromkeys(
            _MACHINE_EXPRESSIONS,
            _PROXY_NAME,
        ),
    }
)

_NEVER_QUOTED: Final = frozenset({_DIGITS, _TIME, _FLAGS})  # numbers, stamps and termination flags

_ALIAS: Final = "|".join(sorted(ALIASES, key=len, reverse=True))
_ITEM: Final = re.compile(
    r"%(?:%|(?:\((?P<name>[^):]*)(?::[a-z]+)?\))?(?:\{(?P<flags>[^}]*)\})?(?:\((?P<late>[^):]*)(?::[a-z]+)?\))?"
    rf"(?:\[(?P<expression>(?:[^\[\]]|\[[^\]]*\])*)\]|(?P<global>o)(?![A-Za-z])|(?P<alias>{_ALIAS})))"
)
_HEADER: Final = re.compile(r"req\.f?hdr\(([A-Za-z0-9_-]+)(?:,-1)?\)")
_CAPTURE: Final = re.compile(r"capture\.req\.hdr\((\d+)\)")
_LENGTH: Final = "capture_length."
_IS_LENGTH: Final = re.compile("[1-9][0-9]{0,8}")
_VARIABLE: Final = re.compile(r"var\(([A-Za-z0-9_.]+)\)")
_BLOCKS: Final = re.compile(r"%(?:\{[^}]*\})?(?:hr|hs)(?: +%(?:\{[^}]*\})?hs)?(?![A-Za-z])( *)")
_QUOTED: Final = re.compile(r"%(?:\{[^}]*\})?(?:hrl|hsl)(?: +%(?:\{[^}]*\})?hsl)?(?![A-Za-z])( *)")


_COOKIE: Final = re.compile(r"%(?:\{[^}]*\})?C[CS]")
# Where the shipped formats have cookies: what stands between them and the captured headers holds no client's text.
_COOKIES_PLACES: Final = ("%CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr", "%CC %CS %hrl")


class Written(NamedTuple):
    """One item of a pattern: the key it has in JSON, and its token; None for plain text."""

    key: str
    token: Token
    role: Role | None


def items(setup: Setup, pattern: str) -> Iterator[Written]:
    """The pattern in order; literals have no key and no role."""
    quote, place = False, 0
    pattern = re.sub(" {2,}", " ", pattern)
    while place < len(pattern):
        blocks = _BLOCKS.match(pattern, place) or _QUOTED.match(pattern, place)
        if blocks is not None:
            yield _captures(blocks)
            place = blocks.end()
            continue
        found = _ITEM.match(pattern, place)
        if found is None:
            end = pattern.find("%", place + 1)
            yield Written("", pattern[place : end if end > 0 else len(pattern)], None)
            place = end if end > 0 else len(pattern)
            continue
        place = found.end()
        flags = found["flags"] or ""
        quoted = "+Q" in flags or (quote and "-Q" not in flags)
        if found["global"]:
            quote = quoted
            place += len(pattern[place:]) - len(pattern[place:].lstrip(" "))
        elif found[0] == "%%":
            yield Written("", "%", None)
        else:
            yield from _value(setup, found, quoted)


def with_raw_cookies(pattern: str, written: list[Written]) -> list[Written]:
    """Cookies are written as they came: elsewhere than in the shipped formats one may hold whatever follows."""
    if any(place in pattern for place in _COOKIES_PLACES):
        return written
    return [
        one._replace(token=replace(one.token, unit=RAW))
        if isinstance(one.token, Field) and is_cookie(one.token.name)
        else one
        for one in written
    ]


def is_cookie(name: str) -> bool:
    """Whether the field with this name is a captured cookie.

    >>> is_cookie("%{-Q}CC"), is_cookie("%ST")
    (True, False)
    """
    return _COOKIE.fullmatch(name) is not None


def _value(setup: Setup, found: re.Match[str], quoted: bool) -> Iterator[Written]:
    key = found["name"] or found["late"] or ""
    item = ALIASES[found["alias"]] if found["alias"] else _expression(setup, found["expression"])
    quoted = quoted and item.unit not in _NEVER_QUOTED
    text = _quotable(item) if quoted else item
    field = Field(
        name=found[0],
        unit=text.unit,
        pattern=text.pattern,
        shaped=text.pattern is not None,
        ending=text.ending,
        weight=text.weight,
    )
    if quoted:
        yield Written("", '"', None)
    yield Written(key, field, item.role)
    if quoted:
        yield Written("", '"', None)


def _quotable(item: Item) -> Item:
    """Between quotes a name may hold blanks, too."""
    return item._replace(unit=QUOTELESS) if item.unit in (_WORD, _NAME, WORD) else item


def _expression(setup: Setup, text: str) -> Item:
    """What an expression tells; headers by name, by capture number, or by option `var.<name>`."""
    if text in _EXPRESSIONS:
        item = _EXPRESSIONS[text]
        if setup.logs_peer == "proxy" and text in ("fc_src", "fc_src_port"):  # then PROXY replaced it, too
            return _trusted("logged.ip", _ADDRESS) if text == "fc_src" else _trusted("logged.port")
        return item
    name, limit = None, 0
    if found := _HEADER.fullmatch(text):
        name = found[1]
    elif (found := _CAPTURE.fullmatch(text)) and int(found[1]) < len(setup.captures):
        name = setup.captures[int(found[1])]
        limit = capture_lengths(setup).get(name.lower(), 0)
    elif found := _VARIABLE.fullmatch(text):
        name = dict(setup.options).get(f"var.{found[1]}")
    if name is None:
        return Item(None, encoded_unit(text) or RAW)
    if name.lower() in setup.mints and found is not None and found.re is _VARIABLE:  # HAProxy's own text
        return Item(Role("header", "last", name.lower(), sent=True), WORD, weight="claim")
    return Item(Role("header", "last", name.lower(), limit), RAW, weight="claim")


def breaking(setup: Setup, pattern: str) -> list[str]:
    """The expressions of the pattern that may hold a line break; in JSON, which escapes it, none."""
    found = dict.fromkeys(match["expression"] for match in _ITEM.finditer(pattern) if match["expression"])
    return [each for each in found if each not in _EXPRESSIONS and not is_one_line(each, known=_is_known(setup, each))]


def _is_known(setup: Setup, expression: str) -> bool:
    """Whether a variable holds a header by the operator's word; `txn.base` is the ingress controllers' own."""
    found = _VARIABLE.match(expression)
    return found is not None and (found[1] == "txn.base" or f"var.{found[1]}" in dict(setup.options))


def capture_lengths(setup: Setup) -> Mapping[str, int]:
    """The `len` of captured headers, by their lower-case names, as far as option `capture_length.<header>` tells it."""
    said = {key.removeprefix(_LENGTH).lower(): value for key, value in setup.options if key.startswith(_LENGTH)}
    return {name: int(value) for name, value in said.items() if _IS_LENGTH.fullmatch(value)}


def _captures(found: re.Match[str]) -> Written:
    """The capture blocks with the blank behind each: 0 to 2 `{…}`, or any number of `"…"`.

    Each ends in a character that no captured value holds, so of a line that is cut whole ones are left.
    """
    behind = "" if found.end() == len(found.string) else " "
    if found.re is _BLOCKS:
        count = found[0].count("%")
        pattern = rf'(?:\{{[^{{}}"]*+\}}{behind or " ?+"}){{0,{count}}}+'
        name = BLOCKS if "%hr" in found[0] or "}hr" in found[0] else ""
    else:
        pattern, name = rf'(?:"[^"]*+"{behind or " ?+"})*+', QUOTED if "hrl" in found[0] else ""
    blocks_field = Field(name=name, unit=QUOTELESS, pattern=pattern, shaped=True, ending=pattern, weight="claim")
    return Written("", blocks_field, None)
