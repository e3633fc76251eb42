"""RFC 7239 `Forwarded`: strict inside an element, read from the right.

An attacker's element stands to the left of ours.  Read from the left, one open quote
there swallows everything after it, ours included.  So each line is cut into elements
from its right end, each must fit the grammar whole, and reading stops at the first that
does not: a bad element costs only what stands left of it.

Why the cut is right: outside a quoted string a comma always separates; a `"` met from
the right closes one; its opener is the next `"` to the left with an even number of
backslashes before it, because inside a quoted string every `"` has an odd number.  All
of that lies within the element, so nothing left of a well-formed element can change it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from clientip.errors import FormatError
from clientip.model import Address, Node
from clientip.syntax.addresses import MAX_ENTRIES, MAX_ENTRY, parse_address

_TCHAR: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"  # RFC 9110 section 5.6.2
_TOKEN: Final = re.compile(_TCHAR + "++")
_HOST: Final = re.compile(f"(?:{_TCHAR}|[:\\[\\]])++")
_INSIDE: Final = r'(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*+'
_OPEN: Final = re.compile('"' + _INSIDE)
_QUOTED: Final = re.compile(f'"({_INSIDE})"')
_ESCAPE: Final = re.compile(r"\\(.)")
_OWS: Final = re.compile(r"[ \t]*+")
_NODE: Final = re.compile(  # RFC 7239 section 6; IPv6 in brackets, no zones, no host names
    r"(?:(?P<v4>[0-9.]++)|\[(?P<v6>[0-9A-F:.]++)\]|(?P<unknown>unknown)|(?P<hidden>_[0-9A-Z._-]++))"
    r"(?P<colon>:(?:(?P<port>[0-9]{1,5}+)|_[0-9A-Z._-]++)?+)?+",
    re.IGNORECASE | re.ASCII,
)
_SECRET: Final = re.compile("secret", re.IGNORECASE | re.ASCII)
_NO_NODE: Final = frozenset({"empty", "too_long", "bad_address", "bad_port"})


class Element(Struct, frozen=True, gc=False):
    """One element: what one hop said.

    `node` is the `for` parameter (fault `missing` if there is none); `by`, `host` and
    `proto` are None where absent and "" where empty.  Only `node` is evidence about a client.
    """

    node: Node
    by: Node | None = None
    host: str | None = None
    proto: str | None = None
    secret: str | None = None  # a credential: hash it before keeping it, see seal_secrets
    others: tuple[tuple[str, str], ...] = ()  # extension parameters, lower-case names, in order


class ForwardedList(Struct, frozen=True):
    """The readable right part of a Forwarded header, in wire order."""

    elements: tuple[Element, ...] = ()
    dropped: int = 0  # empty list members among them (RFC 9110 section 5.6.1.2)
    malformed: str | None = None  # the element at which reading from the right stopped


class _Pair(NamedTuple):
    name: str  # lower case
    value: str  # unescaped
    at: int  # where the value begins, quotes included
    end: int


def parse_node_value(text: str) -> Node:
    """The value of `for` or `by` after unquoting, by RFC 7239 section 6; never raises.

    Stricter than `addresses.parse_node`: IPv6 needs brackets, there are no zones and no
    quotes.  A port that is hidden (`_x`) or 0 is None.

    >>> parse_node_value("[2001:db8::17]:4711").port, parse_node_value("2001:db8::17").fault
    (4711, 'bad_address')
    """
    if not text:
        return Node(text, fault="empty")
    if len(text) > MAX_ENTRY:
        return Node(text, fault="too_long")
    found = _NODE.match(text)
    if not found or not (found.end() == len(text) or found["colon"]):
        return Node(text, fault="bad_address")
    address, fault = _who(found)
    port = int(found["port"] or 0)
    if fault != "bad_address" and (found.end() != len(text) or found["colon"] == ":" or port > 65535):
        return Node(text, fault="bad_port")
    return Node(text, address, port or None) if address else Node(text, fault=fault)


def _who(found: re.Match[str]) -> tuple[Address | None, str | None]:
    """The node's name: an address, or why there is none."""
    if found["unknown"]:
        return None, "unknown"
    if found["hidden"]:
        return None, "obfuscated"
    try:
        if found["v6"] and ":" not in found["v6"]:
            return None, "bad_address"
        address = parse_address(found["v4"] or found["v6"])
    except FormatError:
        return None, "bad_address"
    return (address, None) if address.number else (None, "unspecified")


def _read_pair(text: str, at: int, end: int, strict: bool) -> _Pair:
    name = _TOKEN.match(text, at, end)
    if not name:
        raise FormatError("malformed", at)
    equals = name.end()
    if equals == end:
        raise FormatError("malformed")
    if text[equals] != "=":
        raise FormatError("malformed", equals)
    at = equals + 1
    token = _TOKEN if strict or name[0].lower() != "host" else _HOST
    if value := token.match(text, at, end):
        return _Pair(name[0].lower(), value[0], at, value.end())
    if value := _QUOTED.match(text, at, end):
        return _Pair(name[0].lower(), _ESCAPE.sub(r"\1", value[1]), at, value.end())
    raise FormatError("malformed", _break(text, at, end))


def _break(text: str, at: int, end: int) -> int | None:
    """Where a value stops being one; None: the text ends too early."""
    if opened := _OPEN.match(text, at, end):
        at = opened.end()
        if at + 1 == end and text[at] == "\\":
            return None
    return at if at < end else None


def _read_pairs(text: str, at: int, end: int, *, strict: bool) -> tuple[list[_Pair], int]:
    """The pairs of the element that begins at `at`, and where it ends.

    Many writers forget the quotes of `host=example.com:8080`; unless `strict` that is
    let pass, since neither `:` nor brackets can move the end of an element.
    """
    pairs: list[_Pair] = []
    names: set[str] = set()
    while at < end and text[at] not in ", \t":
        if text[at] == ";":  # empty pairs are legal
            at += 1
            continue
        pair = _read_pair(text, at, end, strict)
        if pair.name in names:
            raise FormatError("malformed", at)
        names.add(pair.name)
        pairs.append(pair)
        at = pair.end
        if at < end and text[at] not in ";, \t":
            raise FormatError("malformed", at)
    return pairs, at


def _element(pairs: list[_Pair]) -> Element:
    said = {pair.name: pair.value for pair in pairs}
    source, by, host, proto, secret = (said.pop(name, None) for name in ("for", "by", "host", "proto", "secret"))
    return Element(
        Node("", fault="missing") if source is None else parse_node_value(source),
        None if by is None else parse_node_value(by),
        host,
        proto,
        secret,
        tuple(said.items()),
    )


def _start(text: str, end: int) -> int:
    """Where the element that ends at `end` begins, found from the right.

    Linear: `comma` is searched again only once a quoted string reaches past it, so no
    stretch of text is scanned twice for the same character.
    """
    cut = end
    comma = text.rfind(",", 0, cut)
    while True:
        quote = text.rfind('"', comma + 1, cut)
        if quote < 0:
            return comma + 1
        cut = _opener(text, quote)
        if cut < 0:
            return 0  # no string begins here: nothing left of this can be told apart
        if cut < comma:
            comma = text.rfind(",", 0, cut)


def _opener(text: str, close: int) -> int:
    """The `"` that opens the string closed at `close`; -1 if there is none."""
    at = close
    while (at := text.rfind('"', 0, at)) >= 0:
        before = at
        while before and text[before - 1] == "\\":
            before -= 1
        if (at - before) % 2 == 0:
            return at
        at = before
    return -1


def _cut(text: str) -> Iterator[tuple[int, int]]:
    """The list members of one line, last first, without the blanks round them."""
    end = len(text)
    while True:
        start = _start(text, end)
        first, last = start, end
        while first < last and text[first] in " \t":
            first += 1
        while first < last and text[last - 1] in " \t":
            last -= 1
        yield first, last
        if start == 0:
            return
        end = start - 1


def _members(values: Sequence[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    for line in reversed(values):
        for span in _cut(line):
            yield line, span


def _try_pairs(text: str, first: int, last: int) -> list[_Pair] | None:
    """The pairs between these offsets; None if they are not one well-formed element."""
    try:
        pairs, at = _read_pairs(text, first, last, strict=False)
    except FormatError:
        return None
    return pairs if at == last else None


def parse_forwarded(values: Sequence[str]) -> ForwardedList:
    """What can be read of the header's lines, from the right end of the last one.

    `values` are the lines in wire order.  Never raises.  At most `MAX_ENTRIES` elements
    are read; what stands left of them could not be reached by any walk.

    >>> seen = parse_forwarded(['for="1.1.1.1, for="[2001:db8::17]:80";proto=https'])
    >>> seen.elements[0].node.address.text, seen.malformed
    ('2001:db8::17', 'for="1.1.1.1')
    """
    elements: list[Element] = []
    dropped = 0
    malformed: str | None = None
    for line, (first, last) in _members(values):
        if first == last:
            dropped += 1
            continue
        if len(elements) == MAX_ENTRIES:
            break
        pairs = _try_pairs(line, first, last)
        if pairs is None:
            malformed = line[first:last]
            break
        elements.append(_element(pairs))
    return ForwardedList(tuple(reversed(elements)), dropped, malformed)


def for_nodes(values: Sequence[str]) -> tuple[Node, ...]:
    """The `for` nodes in wire order, as far as the header can be read from the right.

    The first unreadable element stands at the left with fault `malformed`, so that a
    walk which comes that far ends there; an element without `for` has fault `missing`.

    >>> [node.fault or node.address.text for node in for_nodes(["for", "for=203.0.113.7, by=_x"])]
    ['malformed', '203.0.113.7', 'missing']
    """
    seen = parse_forwarded(values)
    nodes = tuple(element.node for element in seen.elements)
    return nodes if seen.malformed is None else (Node(seen.malformed, fault="malformed"), *nodes)


def check_forwarded(value: str) -> tuple[Element, ...]:
    """The elements of one whole field value, strictly by RFC 7239 and RFC 9110.

    Empty pairs and empty list members are legal.  The values of `for` and `by` must be
    nodes; those of `host` and `proto` are not judged.  Raises FormatError("malformed",
    offset of the first unreadable character; None: the value ends too early).

    >>> check_forwarded("for =192.0.2.43")
    Traceback (most recent call last):
    clientip.errors.FormatError: malformed at 3
    """
    elements: list[Element] = []
    at, end = 0, len(value)
    while True:
        pairs, after = _read_pairs(value, at, end, strict=True)
        if after > at:
            elements.append(_judged(pairs))
        at = _skip_blanks(value, after)
        if at == end and at == after:
            return tuple(elements)
        if at == end:
            raise FormatError("malformed")  # blanks stand only beside a comma
        if value[at] != ",":
            raise FormatError("malformed", at)
        at = _skip_blanks(value, at + 1)


def _skip_blanks(text: str, at: int) -> int:
    found = _OWS.match(text, at)
    assert found
    return found.end()


def _judged(pairs: list[_Pair]) -> Element:
    for pair in pairs:
        if pair.name in ("for", "by") and parse_node_value(pair.value).fault in _NO_NODE:
            raise FormatError("malformed", pair.at)
    return _element(pairs)


def seal_secrets(value: str, seal: Callable[[str], str]) -> str:
    """One header line with every `secret` replaced by `seal` of it, else unchanged.

    `seal` must give a token.  The elements that can be read stay readable, those that
    cannot stay unreadable: of these, everything from the word `secret` on is sealed.

    >>> seal_secrets('for=192.0.2.1;secret="a,b", for=192.0.2.2', lambda text: "x" * len(text))
    'for=192.0.2.1;secret=xxx, for=192.0.2.2'
    """
    if not _SECRET.search(value):
        return value
    parts: list[str] = []  # from the right
    end = len(value)
    for first, last in _cut(value):
        parts.append(value[last:end])
        pairs = _try_pairs(value, first, last)
        if pairs is None:
            parts.append(_seal_rest(value[:last], seal))
            end = 0
            break
        parts.append(_seal_element(value, first, last, pairs, seal))
        end = first
    parts.append(value[:end])
    return "".join(reversed(parts))


def _seal_element(text: str, first: int, last: int, pairs: list[_Pair], seal: Callable[[str], str]) -> str:
    for pair in pairs:
        if pair.name == "secret":  # at most one
            return text[first : pair.at] + seal(pair.value) + text[pair.end : last]
    return text[first:last]


def _seal_rest(text: str, seal: Callable[[str], str]) -> str:
    found = _SECRET.search(text)
    if not found:
        return text
    return f"{text[: found.start()]}secret=<{seal(text[found.start() :])}>"  # `<` keeps it unreadable
