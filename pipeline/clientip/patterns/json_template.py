"""Log patterns that are JSON objects: keys and templates → values, in the order of the fields.

Every slot is a JSON string or number of the pattern's object; a slot of several fields, such as
`"$server_addr:$server_port"`, is read like a line of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from clientip.errors import FormatError
from clientip.patterns.matcher import Field, Token, Values, compile_tokens
from clientip.syntax.jsonlines import read_object

Path = tuple[str, ...]


def compile_slots(slots: Mapping[Path, Sequence[Token]]) -> tuple[tuple[str, ...], Callable[[bytes], Values]]:
    """The names of all fields, and the function from a line to their values.

    Raises FormatError: `field_missing` where a key is absent, `no_match` where a value is an object or array or
    does not fit its template, and what `read_object` raises.  A key of the line that the pattern does not hold
    is passed over.

    >>> name = Field(name="ip", unit="[0-9.]")
    >>> compile_slots({("peer", "ip"): [name]})[1](b'{"peer": {"ip": "10.0.0.1"}}')
    ('10.0.0.1',)
    """
    names: list[str] = []
    plans: list[tuple[Path, Callable[[str], Values]]] = []
    for path, tokens in slots.items():
        fields = [token for token in tokens if isinstance(token, Field)]
        if len(tokens) == 1 and len(fields) == 1:
            names.append(fields[0].name)
            plans.append((path, _alone))
        elif fields:
            matcher = compile_tokens(tokens)
            names += matcher.names
            plans.append((path, matcher.read))

    def read(line: bytes) -> Values:
        found = read_object(line)
        values: list[str | None] = []
        for path, values_of in plans:
            values += values_of(_text(found, path))
        return tuple(values)

    return tuple(names), read


def _alone(text: str) -> Values:
    return (text,)


def _text(found: object, path: Path) -> str:
    """The value under a path as text; null is the empty text."""
    for key in path:
        if type(found) is not dict or key not in found:
            raise FormatError("field_missing")
        found = found[key]
    if type(found) is str:
        return found
    if found is None:
        return ""
    if type(found) is bool:
        return "true" if found else "false"
    if isinstance(found, int | float):
        return str(found)
    raise FormatError("no_match")
