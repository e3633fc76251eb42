"""The kernel of all text formats: a list of literals and fields becomes one linear matcher.

A line is `L0 F1 L1 F2 L2 … Fn Ln`.  Where a value can hold the text that follows it, the line may be read
in several ways, and whoever writes the value chooses.  So boundaries are *determined*, never searched:

1. From the left.  A field is *closed* when its value cannot hold the first character of the literal after it.
   Up to the first open field every boundary is certain.
2. At a *fence*: a character of a later literal that no value since that open field can hold (the quote, where
   the writer escapes quotes).  The first fence is the right one, and certainty begins anew behind it.
   Without a fence the end of the line is one.
3. From the fence back.  A closed field that cannot hold some character of the literal before it is certain too.

What is left between is the wild middle.  One field alone in it is certain, whatever it holds.  Several are
read only if none holds a character that separates them; otherwise the line has two readings.  A field we trust
must not stand in a wild middle of several, or the pattern is refused.

All this takes the line for whole.  What of it a line that lost its end would show otherwise, `line_end` says.

Linear: closed fields are possessive, a middle gives back one character at a time, and a field behind it ends
where the next attempt would begin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from clientip.errors import ConfigError, Fault, FormatError

Weight = Literal["trusted", "claim", "text"]
Values = tuple["str | None", ...]

RAW: Final = "."  # unit of a value the writer does not escape
ESCAPED: Final = r'(?:[^"\\]|\\.)'  # unit of a value in which `"` and `\` stand behind a backslash
QUOTELESS: Final = '[^"]'  # unit of a value in which `"` is written otherwise, as `\x22` or `#22`
WORD: Final = '[^ "]'  # unit of a value without blanks and quotes

_ESCAPED_WHOLE: Final = r'[^"\\]*+(?:\\.[^"\\]*+)*+'
_SEPARATORS: Final = tuple(" \"[]{}()|<>,;:/~='\t")  # characters that literals are looked at for


class Field(Struct, frozen=True, kw_only=True):
    """One value of a line, and what may stand in it.

    `unit` is a regular expression of one character of the value, an escape counting as one.  `pattern` is
    narrower: the whole value; it must not backtrack, unless it is all that stands in a wild middle.
    `shaped` says that `pattern` alone tells where the value ends.  `listed` marks a list whose items a
    blank and a colon may separate.  `ending` is the whole value where it is the last thing in the line: no value
    that fits it begins another one, so a value that was cut does not fit.  `weight`: what is believed (address,
    port, time, status, id), what is a claim, and what is only text.
    """

    name: str
    unit: str
    pattern: str | None = None
    shaped: bool = False
    listed: bool = False
    ending: str | None = None
    weight: Weight = "text"


Token = str | Field


class Matcher(NamedTuple):
    """A compiled pattern.

    `read` gives the values in the order of `names`; None for a text field that could not be told from its
    neighbour.  It raises FormatError: `no_match` with the character where the line stops fitting, or
    `two_readings`.
    """

    names: tuple[str, ...]
    read: Callable[[str], Values]


class LineEnd(NamedTuple):
    """What is sure of a line whose end may be missing."""

    loose: int = 0  # how many of the last fields may have been cut short, or moved by a cut
    closed: bool = True  # whether a line that fits the pattern has its end
    forgeable: bool = False  # whether a client can write an end that fits, so that a long line may be cut behind it


class _Piece(NamedTuple):
    """A literal and the field after it; the last piece has no field."""

    literal: str
    field: Field | None


class _Part(NamedTuple):
    """A stretch of the expression: `strict` reads, `loose` also takes what has several readings."""

    strict: str
    loose: str


def decode_text(data: bytes) -> str:
    r"""UTF-8; a byte that is none becomes `\xhh`, so no two lines differ only in what got lost.

    >>> decode_text(b"caf\xc3\xa9 \xff")
    'café \\xff'
    """
    return data.decode("utf-8", "backslashreplace")


def compile_tokens(tokens: Sequence[Token]) -> Matcher:
    r"""The matcher of a pattern; raises ConfigError with key `pattern` for one that cannot be read safely.

    >>> name = Field(name="user", unit=QUOTELESS)
    >>> time = Field(name="time", unit="[0-9:]", weight="trusted")
    >>> compile_tokens([name, " [", time, '] "', Field(name="path", unit=QUOTELESS), '"']).read('a [1] b [9] "/"')
    ('a [1] b', '9', '/')
    """
    pieces = _pieces(tokens)
    parts = _parts(pieces)
    names = tuple(piece.field.name for piece in pieces if piece.field is not None)
    match = re.compile("".join(part.strict for part in parts), re.DOTALL).fullmatch
    cumulative = tuple(accumulate(part.strict for part in parts))
    open_middles = [part for part in parts if part.loose != part.strict]
    loose = re.compile("".join(part.loose for part in parts), re.DOTALL) if open_middles else None
    unclear = any("(?#claim)" in part.loose for part in open_middles)

    def read(text: str) -> Values:
        found = match(text)
        if found is not None:
            return found.groups()
        if loose is not None and (found := loose.fullmatch(text)) is not None:
            if unclear:
                raise FormatError("two_readings")
            return found.groups()
        raise FormatError("no_match", _stops_fitting(cumulative, text))

    return Matcher(names, read)


def line_end(tokens: Sequence[Token], *, raw: bool = False) -> LineEnd:
    """What a cut line can show otherwise than it was: a client who writes long values chooses where a line is cut.

    The end of a line is closed by a character of the last literal that no field behind the last certain border can
    hold, or by the form of the last value (`Field.ending`).  `raw`: the server escapes nothing, so nothing can close
    what stands behind a client's value; then only the last field has to be closed, and long lines are `forgeable`.
    Raises ConfigError with key `pattern` where a field we trust is not.

    >>> address = Field(name="address", unit="[0-9.]", weight="trusted")
    >>> line_end(['"', address, '"']).closed, line_end([address, " ", Field(name="path", unit=QUOTELESS)]).loose
    (True, 1)
    """
    pieces = _pieces(tokens)
    literal, run = pieces[-1].literal, [piece.field for piece in pieces[_last_run(pieces) : -1] if piece.field]
    if _is_closed(literal, run):
        return LineEnd()
    loose = ([] if _is_closed(literal, run[-1:]) else run[-1:]) if raw else run
    for field in loose:
        if field.weight == "trusted":
            raise refuse(_UNCLOSED.format(field.name))
    return LineEnd(len(loose), False, raw and len(run) > 1)


_UNCLOSED: Final = (
    "nothing closes `{0}` at the end of the line: where a line is cut, it shows another value; put it further left, "
    'and end the line with a constant such as " end", or with quotes round a value in which the server escapes them'
)


def _last_run(pieces: Sequence[_Piece]) -> int:
    """The first field of the stretch that only the end of the line bounds."""
    index = first = 0
    while index < len(pieces) - 1:
        first = index
        index = index + 1 if _closed(pieces, index) else _fence(pieces, index) + 1
    return first


def _is_closed(literal: str, run: Sequence[Field]) -> bool:
    if literal or not run:
        return any(not any(_holds(field, character) for field in run) for character in literal)
    return len(run) == 1 and run[0].ending is not None


def begins_its_own_way(tokens: Sequence[Token]) -> bool:
    """Whether the writer alone chooses how a line begins, so that the beginning can tell another kind of line.

    Otherwise a client could make its line pass for one of those, if it also makes the pattern fail.
    """
    first = next(iter(tokens), "")
    return isinstance(first, str) or first.weight == "trusted" or not _holds(first, " ")


def refuse(text: str) -> ConfigError:
    """The error of a pattern that cannot be read safely."""
    return ConfigError([Fault("", "pattern", text)])


def _pieces(tokens: Iterable[Token]) -> list[_Piece]:
    """Literals and fields in turn; neighbouring literals are joined, neighbouring text fields become one."""
    pieces: list[_Piece] = []
    literal = ""
    for token in tokens:
        if isinstance(token, str):
            literal += token
        elif literal or not pieces:
            pieces.append(_Piece(literal, token))
            literal = ""
        else:
            before = pieces.pop()
            assert before.field is not None
            pieces.append(_Piece(before.literal, _merged(before.field, token)))
    pieces.append(_Piece(literal, None))
    return pieces


def _merged(left: Field, right: Field) -> Field:
    if left.weight != "text" or right.weight != "text":
        raise refuse(f"nothing stands between `{left.name}` and `{right.name}`; write a blank or quotes between them")
    return Field(name=f"{left.name}+{right.name}", unit=_joint_unit([left, right]))


def _parts(pieces: Sequence[_Piece]) -> list[_Part]:
    """The expression, stretch by stretch, so that a failure can be placed."""
    parts: list[_Part] = []
    index, last = 0, len(pieces) - 1
    while index < last:
        if _closed(pieces, index):
            is_last = index == last - 1 and not pieces[last].literal
            parts += (_literal(pieces[index].literal), _certain(pieces[index].field, is_last=is_last))
            index += 1
        else:
            end = _fence(pieces, index)
            certain = _first_certain(pieces, index, end)
            parts += (_literal(pieces[index].literal), _middle(pieces, index, certain))
            for behind in range(certain, end + 1):
                parts += (_literal(pieces[behind].literal), _certain(pieces[behind].field))
            index = end + 1
    parts.append(_literal(pieces[last].literal))
    return parts


def _literal(text: str) -> _Part:
    return _Part(re.escape(text), re.escape(text))


def _certain(field: Field | None, *, is_last: bool = False) -> _Part:
    assert field is not None
    whole = _ESCAPED_WHOLE if field.unit == ESCAPED else field.unit + "*+"
    expression = f"({(field.ending if is_last else None) or field.pattern or whole})"
    return _Part(expression, expression)


def _holds(field: Field, character: str) -> bool:
    return re.fullmatch(field.unit, character, re.DOTALL) is not None


def _closed(pieces: Sequence[_Piece], index: int) -> bool:
    """Whether the value of `pieces[index]` ends where its expression, taken as far as it goes, ends."""
    field, after = pieces[index].field, pieces[index + 1]
    assert field is not None
    if field.listed and (
        after.literal[:2] in (", ", " :") or (after.literal == " " and _opens_with_colon(after.field))
    ):
        return False
    return field.shaped or not after.literal or not _holds(field, after.literal[0])


def _opens_with_colon(field: Field | None) -> bool:
    return field is not None and bool(re.match(field.pattern or field.unit, ":", re.DOTALL))


def _fence(pieces: Sequence[_Piece], start: int) -> int:
    """The last field before the first fence behind `start`; a fence no field since `start` can hold."""
    allowed = set(_SEPARATORS)
    for index in range(start, len(pieces) - 1):
        field = pieces[index].field
        assert field is not None
        allowed = {character for character in allowed if not _holds(field, character)}
        if allowed.intersection(pieces[index + 1].literal):
            return index
    return len(pieces) - 2


def _first_certain(pieces: Sequence[_Piece], start: int, end: int) -> int:
    """The first field of the run that can be told from its right end: all from there to `end` can."""
    first = end + 1
    for index in range(end, start, -1):
        field = pieces[index].field
        assert field is not None
        if not _closed(pieces, index) or all(_holds(field, character) for character in pieces[index].literal):
            break
        first = index
    return first


def _middle(pieces: Sequence[_Piece], start: int, end: int) -> _Part:
    """The wild middle: fields `start` … `end` - 1, without the literal before the first."""
    run = pieces[start:end]
    fields = [piece.field for piece in run if piece.field is not None]
    if len(fields) == 1:
        expression = f"({fields[0].pattern or fields[0].unit + '*'})"
        return _Part(expression, expression)
    _refuse_trusted(fields)
    marks = "".join(sorted({_mark(piece.literal) for piece in run[1:]}))
    strict = "".join(
        (re.escape(piece.literal) if position else "") + f"({_without(field.unit, marks)}*)"
        for position, (piece, field) in enumerate(zip(run, fields, strict=True))
    )
    note = "(?#claim)" if any(field.weight == "claim" for field in fields) else ""
    # The groups of the loose reading match nothing: what belongs to which field is not known.
    return _Part(strict, f"{note}{_joint_unit(fields)}*" + "(?:(?!)()|)" * len(fields))


def _refuse_trusted(fields: Sequence[Field]) -> None:
    for field in fields:
        if field.weight == "trusted":
            first, last = fields[0].name, fields[-1].name
            raise refuse(
                f"`{field.name}` lies among `{first}` … `{last}`, where clients can write the text that separates the "
                "fields; put it before the first of them or behind the last, or log JSON, or escape and quote them"
            )


def _mark(literal: str) -> str:
    """The character of a separating literal that no value beside it may hold; rarest in values first."""
    return next((character for character in '"|[]{}' if character in literal), literal.strip()[:1] or literal[0])


def _without(unit: str, marks: str) -> str:
    """`unit` without the characters `marks`; a plain class where it can be one, which is three times as fast."""
    barred = re.escape(marks)
    if unit == RAW:
        return f"[^{barred}]"
    return f"[^{barred}{unit[2:]}" if unit.startswith("[^") else f"(?:(?![{barred}]){unit})"


def _joint_unit(fields: Sequence[Field]) -> str:
    """A unit for any of these values and what separates them; it takes one way only, so it stays linear."""
    kept = [character for character in _SEPARATORS if not any(_holds(field, character) for field in fields)]
    barred = re.escape("".join(kept))
    if any(re.fullmatch(field.unit, r"\"", re.DOTALL) for field in fields):
        return rf"(?:[^\\{barred}]|\\.)"
    return f"[^{barred}]" if barred else "."


@lru_cache(64)
def _expressions(cumulative: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(text, re.DOTALL) for text in cumulative)


def _stops_fitting(cumulative: tuple[str, ...], text: str) -> int:
    """The end of the longest part of the pattern that still fits; a slow second look at a bad line."""
    expressions = _expressions(cumulative)
    low, high, place = 0, len(expressions), 0
    while low < high:
        half = (low + high) // 2
        found = expressions[half].match(text)
        if found is None:
            high = half
        else:
            low, place = half + 1, found.end()
    return place
