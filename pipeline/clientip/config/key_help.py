"""Every key of the configuration for people, as `clientip help config` prints it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from clientip.config.keys import TABLES, keys_of
from clientip.config.schema_check import Shape, called
from clientip.config.value_shapes import DURATION, Key, Table

GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "Its place in the network: who connects to it, and where it connects from": (
            "peers",
            "addresses",
            "network",
            "instances",
            "fronts",
            "probes",
        ),
        "What it passes on, and what it believes": (
            "conveys",
            "preset",
            "carries",
            "shared",
            "proof",
            "logs_peer",
            "believes",
            "drops_underscores",
        ),
        "How its log is written (only for a system that writes one)": (
            "format",
            "pattern",
            "inputs",
            "wrapper",
            "escape",
            "captures",
            "options",
            "timezone",
            "max_skew",
            "stamped_within",
            "appends_before_log",
            "trace_fields",
        ),
        "What its log proves for the records of other systems": (
            "tells",
            "lossless",
            "server_config",
            "retries",
            "mints",
            "passes_ids",
        ),
        "How its log comes through Kafka": ("topics", "messages", "instance_by", "arrives_within", "longest"),
    }
)
"""What the keys of a system are for → the keys; every key stands in one group."""

REQUIRED: Final[Mapping[tuple[Table, str], str]] = MappingProxyType(
    {
        ("systems", "peers"): "for a system that writes a log or conveys",
        ("systems", "addresses"): "for a system that conveys or carries",
        ("systems", "format"): "for a system that writes a log",
        ("systems", "logs_peer"): "for the formats of which `clientip help formats` names words for it",
        ("systems", "timezone"): "for stamps without a zone",
        ("kafka", "brokers"): "for a stream, and for a replay from or to topics",
        ("kafka", "key_file"): "beside `cert_file`",
        ("kafka", "cert_file"): "beside `key_file`",
        ("kafka", "user"): "beside `sasl`",
        ("kafka", "password_file"): "beside `sasl`",
        ("secrets", "key_file"): "beside a `proof` with `value_file`",
    }
)
"""When a key must be written; all others may be left out."""


def config_help() -> str:
    """Every key with its meaning, example, allowed values, default, and when it is required."""
    lines = ["A key that is not marked as required may be left out.", ""]
    for table, meaning in TABLES.items():
        lines += [f"[{table}.NAME]" if table == "systems" else f"[{table}]", f"    {meaning}", ""]
        for title, names in _groups(table).items():
            lines += [f"  -- {title} --", ""] if title else []
            lines += [line for name in names for line in _key_lines(keys_of(table)[name])]
    return "\n".join(lines).rstrip() + "\n"


def _groups(table: Table) -> Mapping[str, Sequence[str]]:
    return GROUPS if table == "systems" else {"": tuple(keys_of(table))}


def _key_lines(key: Key) -> Iterator[str]:
    yield f"{key.name} = {key.example}"
    yield from _wrapped(key.meaning)
    values = allowed(key.shape)
    if values:
        yield from _wrapped(f"Allowed: {values}")
    required = REQUIRED.get((key.table, key.name))
    if required is not None:
        yield from _wrapped(f"Required {required}.")
    if key.default is not None:
        yield from _wrapped(f"Default: {key.default}")
    yield ""


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 110, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)


def allowed(shape: Shape) -> str:
    """What may stand in a value, where it is not just any text.

    >>> allowed({"type": "array", "items": {"type": "string", "enum": ["a", "b"]}})
    'a list, each item "a" or "b"'
    >>> allowed({"type": "string"})
    ''
    """
    if shape is DURATION:
        return 'a whole number with its unit: "ns", "us", "ms", "s", "m" or "h"'
    words = list(dict.fromkeys(_words(shape)))
    if words and "description" not in shape and "items" not in shape:
        return ("one of these, or a list of them: " if "anyOf" in shape else "") + ", ".join(words)
    text = called(shape)
    if text in ("a string", "a list of strings"):
        return ""
    modes = f"; mode is {' or '.join(words[1:])}" if words[:1] == ['"proxy"'] else ""
    return text + modes


def _words(shape: Shape) -> Iterator[str]:
    """Every word of the closed lists in a shape, in their order."""
    yield from (f'"{word}"' for word in shape.get("enum", ()))
    inner = [*shape.get("anyOf", ()), *shape.get("properties", {}).values()]
    for each in [*inner, shape["items"]] if "items" in shape else inner:
        yield from _words(each)
