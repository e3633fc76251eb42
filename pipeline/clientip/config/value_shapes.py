"""Shapes of configuration values that more than one key has, or that need more than a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct

from clientip.config.schema_check import Shape
from clientip.framing.kafka_message import MESSAGES
from clientip.framing.wrappers import WRAPPERS
from clientip.syntax.headers import is_list

Table = Literal["systems", "limits", "joins", "geo", "secrets", "kafka", "stream"]


def _nothing(_value: object) -> Iterable[object]:
    return ()


class Key(Struct, frozen=True):
    """One key; `systems` keys stand under `[systems.NAME]`."""

    table: Table
    name: str
    shape: Shape
    meaning: str
    example: str  # what stands right of `=`
    default: int | str | None = None  # None: absent
    of_log: bool = False  # whether it makes sense only for a system that writes a log
    meant: Callable[[object], Iterable[object]] = _nothing  # the tables that a value without its shape may mean


TEXT: Final[Shape] = {"type": "string", "minLength": 1}
TEXTS: Final[Shape] = {"type": "array", "items": TEXT}
FLAG: Final[Shape] = {"type": "boolean"}
NAMES: Final[Shape] = {"type": "array", "items": TEXT, "description": "a list of system names"}
HEADER: Final[Shape] = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9!#$%&'*+.^`|~-]+$",
    "description": "a header name written with dashes",
}
DURATION: Final[Shape] = {
    "type": "string",
    "pattern": r"^[0-9]+(ns|us|ms|s|m|h)$",
    "description": 'a duration like "50ms"',
}
MOMENT: Final[Shape] = {
    "type": "string",
    "format": "date-time",
    "description": "a date, or a date and time with a zone",
}
DATES: Final[Mapping[str, Shape]] = {"from": MOMENT, "until": MOMENT, "network": TEXT}


def table(properties: Mapping[str, Shape], *required: str) -> Shape:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


ADDRESSES: Final[Shape] = {
    "type": "array",
    "items": {
        "anyOf": [
            {**TEXT, "description": 'an address or range like "10.0.0.0/24"'},
            table({"range": TEXT, **DATES}, "range"),
            table({"file": TEXT, **DATES}, "file"),
        ]
    },
}
CONVEYS: Final[Shape] = {
    "type": "array",
    "items": {
        "description": '"proxy" or { header = …, mode = … }',
        "anyOf": [
            {"type": "string", "enum": ["proxy"], "description": '"proxy" or { header = …, mode = … }'},
            table(
                {
                    "header": HEADER,
                    "mode": {"type": "string", "enum": ["append", "overwrite", "append2", "keep", "drops"]},
                },
                "header",
                "mode",
            ),
        ],
    },
}


def promised(value: object) -> Iterable[object]:
    """The row of `conveys` that a header alone means."""
    name = value.get("header") if isinstance(value, Mapping) else value
    if isinstance(name, str):
        written = name.lower().replace("_", "-")
        yield {"header": written, "mode": "append" if is_list(written) else "overwrite"}


def proved(value: object) -> Iterable[object]:
    """The row of `proof` that a header alone means."""
    name = value.get("header") if isinstance(value, Mapping) else value
    if isinstance(name, str):
        yield {"header": name.lower().replace("_", "-"), "value_file": "origin.secret"}


PROOF: Final[Shape] = {
    "type": "array",
    "items": {
        "anyOf": [
            table({"header": HEADER, "value": TEXT}, "header", "value"),
            table({"header": HEADER, "value_file": TEXT}, "header", "value_file"),
        ]
    },
}
WRAPPER: Final[Shape] = {"type": "string", "enum": list(WRAPPERS)}
INSTANCES: Final[Shape] = {
    "type": "object",
    "additionalProperties": TEXTS,
    "description": 'a table of lists like { node-a = ["198.51.100.11", "10.244.1.0"] }',
}

COUNT: Final[Shape] = {"type": "integer", "minimum": 1}
BROKERS: Final[Shape] = {
    "type": "array",
    "items": {
        "type": "string",
        "pattern": r"^(\[[0-9A-Fa-f:.]+\]|[^\s,:\[\]]+):[0-9]{1,5}$",
        "description": 'a broker like "kafka-1:9092"',
    },
}
TOPIC: Final[Shape] = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9._-]{1,200}$",
    "description": 'a name like "raw.ingress"',
}
TOPICS: Final[Shape] = {"type": "array", "items": TOPIC}
ONE_MESSAGE: Final[Shape] = {"type": "string", "enum": list(MESSAGES)}
