"""What to write instead of a value that does not fit. A suggestion always fits itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from clientip.config.schema_check import Misfit, Shape, called, misfits
from clientip.config.value_shapes import Key

_NUMBER = re.compile(r"[0-9]+", re.ASCII)
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def key_faults(key: Key, value: object, path: str) -> Iterator[tuple[str, str]]:
    """(dotted key, what is wrong and what to write) for every place where a value does not have its shape."""
    for misfit in misfits(key.shape, value, path):
        text, written = misfit.text, _instead_of(key, misfit)
        yield misfit.path, text if written is None else f"{text}; write {written}"


def _instead_of(key: Key, misfit: Misfit) -> str | None:
    if misfit.value is None or "did you mean" in misfit.text:
        return None
    in_list = misfit.path.endswith("]")
    several = _parts(misfit.shape, misfit.value) if in_list else ()  # one item that holds more than one
    found = next(chain(several, _meant(key, misfit.shape, misfit.value)), None)
    if found is None:
        return called(misfit.shape) if misfit.text.startswith("lacks") else None
    return found if in_list else f"{misfit.path.rpartition('.')[2]} = {found}"


def _meant(key: Key, shape: Shape, value: object) -> Iterator[str]:
    """TOML of values near this one that fit, the likeliest first."""
    if "anyOf" in shape:
        for one in shape["anyOf"]:
            yield from _meant(key, one, value)
    elif shape["type"] == "array" and not isinstance(value, list):
        yield from (f"[{item}]" for item in _items(key, shape["items"], value))
    elif shape["type"] == "object":
        yield from map(toml, _fitting(shape, key.meant(value)))
    elif _NUMBER.fullmatch(str(value)) and _fits(shape, f"{value}ms") and not _fits(shape, str(value)):
        yield f'"{value}ms" or "{value}s"'
    else:
        yield from map(toml, _fitting(shape, _near(shape, value)))


def _items(key: Key, shape: Shape, value: object) -> Iterator[str]:
    """The items of a list for which one value stands."""
    yield from _parts(shape, value)
    if _fits(shape, value):
        yield toml(value)
    yield from _meant(key, shape, value)


def _parts(shape: Shape, value: object) -> Iterator[str]:
    """The items of a list that stand in one string."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else []
    if len(parts) > 1 and all(_fits(shape, part) for part in parts):
        yield ", ".join(map(toml, parts))


def _near(shape: Shape, value: object) -> Iterable[object]:
    """What is written nearly like this value."""
    if isinstance(value, list):
        return value if len(value) == 1 else ()
    if isinstance(value, int):  # a number gives no hint of another meaning
        return (str(value),) if shape == {"type": "string"} and not isinstance(value, bool) else ()
    if not isinstance(value, str):
        return ()
    numbers = [int(value)] if _NUMBER.fullmatch(value) else []
    flags = [_FLAGS[value.lower()]] if value.lower() in _FLAGS else []
    days = [f"{24 * int(value[:-1])}h"] if _NUMBER.fullmatch(value[:-1]) and value.endswith("d") else []
    return (*numbers, *flags, *days, value.strip(), value.lower(), value.replace("_", "-"), f"/{value}")


def _fitting(shape: Shape, values: Iterable[object]) -> Iterator[object]:
    return (value for value in values if _fits(shape, value))


def _fits(shape: Shape, value: object) -> bool:
    return not any(misfits(shape, value, ""))


def toml(value: object) -> str:
    """A value as it is written in TOML.

    >>> toml({"header": "x-real-ip", "mode": "overwrite"})
    '{ header = "x-real-ip", mode = "overwrite" }'
    """
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{bare(name)} = {toml(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def bare(name: str) -> str:
    """A key or a part of a table's name as it is written in TOML.

    >>> bare("lb"), bare("lb.eu")
    ('lb', '"lb.eu"')
    """
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
