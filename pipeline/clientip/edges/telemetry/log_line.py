"""One line of a worker's own log: a JSON object in ASCII, short enough that a pipe takes it as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from math import isfinite
from typing import Final

LEVELS: Final = frozenset({"debug", "info", "warning", "error"})
MAX_LINE: Final = 4096  # bytes; PIPE_BUF of Linux: lines of several processes do not mix
MAX_TEXT: Final = 500  # characters of one field
MAX_NAME: Final = 64  # of an event, and of a field's name
MAX_WORKER: Final = 256  # pods may have long names; the line has room even if the name and the event are escaped
_TAIL: Final = 64  # bytes kept free for the end of the line
_DELETE: Final = ("\x7f", "\\u007f")  # the one control character that JSON in ASCII leaves as it is


def log_line(when: datetime, worker: str, event: str, fields: Mapping[str, str | float]) -> bytes:
    """The line with its end. The field `level` becomes the level of the line; without it, the level is `info`.

    Texts are cut, and fields for which there is no room are left out; `"cut": true` says so.

    >>> from datetime import UTC
    >>> log_line(datetime(2026, 1, 2, tzinfo=UTC), "reader-0", "started", {"level": "warning", "lines": 3})
    b'{"time":"2026-01-02T00:00:00.000Z","level":"warning","worker":"reader-0","event":"started","fields":{"lines":3}}\\n'
    """
    level = str(fields.get("level", "info"))
    time = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = f'{{"time":"{time}","level":{_json(level if level in LEVELS else "info")}'
    line = f'{head},"worker":{_json(worker[:MAX_WORKER])},"event":{_json(event[:MAX_NAME])},"fields":{{'
    comma, cut = "", len(event) > MAX_NAME
    for name, value in fields.items():
        if name == "level":
            continue
        text = f"{comma}{_json(name[:MAX_NAME])}:{_json(_bounded(value))}"
        if len(line) + len(text) > MAX_LINE - _TAIL:
            cut = True
            break
        cut = cut or (isinstance(value, str) and len(value) > MAX_TEXT)
        line, comma = line + text, ","
    return (line + ("}" if not cut else '},"cut":true') + "}\n").encode("ascii")


def _bounded(value: str | float) -> str | float:
    """The value as JSON can hold it: numbers that other programs could not read become texts."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else hex(value)[:MAX_TEXT]
    return value if isfinite(value) else str(value)


def _json(value: str | float) -> str:
    """The value in JSON. A lone surrogate, as in an undecodable file name, is written out: many readers refuse one."""
    if isinstance(value, str):
        value = value.encode("utf-8", "backslashreplace").decode()
    return json.dumps(value).replace(*_DELETE)
