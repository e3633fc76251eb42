"""A parsed TOML value against the shape it must have: every misfit, in words, with its dotted key.

A shape is JSON Schema, of which this module knows: type, enum, pattern, format,
minLength, minimum, items, properties, required, additionalProperties, anyOf;
`description` is what a fault calls the value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time
from typing import Any, Final, NamedTuple

Shape = Mapping[str, Any]


def instead(word: str, known: Iterable[str]) -> str:
    """What to write instead of an unknown word: the nearest known one, else all of them.

    >>> instead("pears", ["peers", "proof"])
    'did you mean "peers"?'
    >>> instead("fog", ["fog_json", "fog_text"])
    'did you mean "fog_json" or "fog_text"?'
    >>> instead("zzz", ["peers", "proof"])
    'write one of "peers", "proof"'
    """
    words = sorted(known)
    near = nearest(word, words)
    if near is not None:
        longer = [each for each in words if each.startswith(word)] if near.startswith(word) else [near]
        return "did you mean " + " or ".join(f'"{each}"' for each in longer) + "?"
    if not words:
        return "there is none to choose from"
    one_of = "one of " if len(words) > 1 else ""
    return f"write {one_of}" + ", ".join(f'"{known_word}"' for known_word in words)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant; None if none is near."""
    beginning = (each for each in sorted(known) if word and each.startswith(f"{word}_"))
    return next(beginning, None) or next(iter(difflib.get_close_matches(word, sorted(known), n=1)), None)


class Misfit(NamedTuple):
    """A place where a value does not have its shape."""

    path: str  # dotted key
    text: str  # what is wrong
    shape: Shape
    value: object


def misfits(shape: Shape, value: object, path: str) -> Iterator[Misfit]:
    """Every place where a value does not have its shape; none: it fits."""
    if "anyOf" in shape:
        fitting = [list(misfits(one, value, path)) for one in shape["anyOf"] if _is_a(one["type"], value)]
        nearest_one = min(fitting, key=len) if fitting else [Misfit(path, _must_be(shape, value), shape, value)]
        yield from (each._replace(shape=shape) if each.path == path else each for each in nearest_one)
    elif not _is_a(shape["type"], value) or not _is_one_of(shape, value):
        yield Misfit(path, _must_be(shape, value), shape, value)
    elif isinstance(value, list) and "items" in shape:
        for index, item in enumerate(value):
            yield from misfits(shape["items"], item, f"{path}[{index}]")
    elif isinstance(value, dict):
        yield from _table_misfits(shape, value, path)


def _table_misfits(shape: Shape, value: Mapping[str, object], path: str) -> Iterator[Misfit]:
    properties, others = shape.get("properties", {}), shape["additionalProperties"]
    for name, item in value.items():
        if name in properties:
            yield from misfits(properties[name], item, f"{path}.{name}")
        elif others is False:
            yield Misfit(f"{path}.{name}", f"unknown key; {instead(name, properties)}", shape, None)
        else:
            yield from misfits(others, item, f"{path}.{name}")
    for name in shape.get("required", ()):
        if name not in value:
            yield Misfit(path, f'lacks "{name}"', shape, value)


_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "array": (list,),
    "object": (dict,),
}


def _is_a(type_name: str, value: object) -> bool:
    if isinstance(value, date | time):  # TOML writes dates without quotes; JSON Schema knows them as strings
        return type_name == "string"
    return isinstance(value, _TYPES[type_name]) and (type_name == "boolean" or not isinstance(value, bool))


def _is_one_of(shape: Shape, value: object) -> bool:
    """Whether a value of the right type is also one of those allowed."""
    if isinstance(value, date | time):
        return shape.get("format") == "date-time"
    if isinstance(value, str):
        return (
            len(value) >= shape.get("minLength", 0)
            and value in shape.get("enum", (value,))
            and re.search(shape.get("pattern", "").removesuffix("$") + _end(shape), value) is not None
        )
    return not isinstance(value, int) or value >= shape.get("minimum", value)


def _end(shape: Shape) -> str:
    # In JSON Schema `$` is the end alone; Python would let a line end follow.
    return r"\Z" if shape.get("pattern", "").endswith("$") else ""


def _must_be(shape: Shape, value: object) -> str:
    if "enum" in shape and isinstance(value, str):
        near = nearest(value, shape["enum"])
        if near is not None:
            return f'unknown word "{value}"; did you mean "{near}"?'
    return f"must be {called(shape)}, not {_shown(value)}"


def called(shape: Shape) -> str:
    """A shape in words, for faults and help.

    >>> called({"type": "array", "items": {"type": "string", "enum": ["a", "b"]}})
    'a list, each item "a" or "b"'
    """
    if "description" in shape:
        return str(shape["description"])
    if "anyOf" in shape:
        return ", or ".join(called(one) for one in shape["anyOf"])
    if "enum" in shape:
        return " or ".join(f'"{word}"' for word in shape["enum"])
    if shape["type"] == "array":
        items = called(shape["items"])
        return "a list of strings" if items == "a string" else f"a list, each item {items}"
    if shape["type"] == "object":
        return "{ " + ", ".join(f"{name} = …" for name in shape["required"]) + " }"
    if shape["type"] == "integer":
        return f"a whole number from {shape['minimum']} on"
    return {"string": "a string", "boolean": "true or false"}[shape["type"]]


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if value else "an empty string"
    if isinstance(value, int | float | date | time):
        return str(value)
    return "a list" if isinstance(value, list) else "a table"
