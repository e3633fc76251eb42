"""Where a shipper read a line, out of its envelope: the origin that stays when the line is sent again.

A shipper sends a line twice rather than lose it, and the second message has another offset in the topic.  The place
in the file is the same both times.  Fluent Bit names no such place, so its lines keep that of the message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import replace

from clientip.errors import FormatError
from clientip.model import Line
from clientip.syntax.jsonlines import read_object

# Who (host, agent), which file (what kind of name it is, the name), and where its line starts.
Place = tuple[tuple[str, ...], tuple[str, ...], int]

MAX_NAME: Final = 4096  # characters of a host, path or fingerprint
MAX_OFFSET: Final = 1 << 62

_OFFSET: Final = b'"offset"'


def shipped(line: Line, wrapper: tuple[str, ...]) -> Line:
    """The line with the shipper's file and offset in place of the message's, if its envelope names all of them.

    `wrapper` is the system's, outermost first: only the outermost is the shipper's.  The file becomes a hash of host,
    agent and file; the index 0, since how lines were batched is no part of where they were read.  An envelope that
    lacks something, names it twice or beyond all bounds, or is none, leaves the line as it is: the engine says what
    is wrong with it.

    >>> text = b'{"message":"x","file":"/var/log/a","host":"edge-1","offset":70}'
    >>> shipped(Line(text, text, "topic", 9), ("vector",)).offset
    70
    """
    place_in = PLACES.get(wrapper[0]) if wrapper else None
    if place_in is None or _OFFSET not in line.text:
        return line
    try:
        place = place_in(read_object(line.text))
    except FormatError:
        return line
    if place is None:
        return line
    who, file, offset = place
    named = "\0".join((wrapper[0], *who, *file))
    return replace(line, file=sha256(named.encode(), usedforsecurity=False).hexdigest()[:32], offset=offset, index=0)


def _filebeat(fields: dict[str, Any]) -> Place | None:
    """Host and agent both, where both are there: hosts called `localhost` are many.

    A fingerprint or an inode names a file through its rotation, a path only until then.
    """
    log = _inner(fields, "log")
    file = _inner(log, "file")
    who = (_name(_inner(fields, "host"), "name"), _name(_inner(fields, "agent"), "id"))
    offset = _offset(log)
    if not any(who) or offset is None:
        return None
    for keys in (("fingerprint",), ("device_id", "inode"), ("path",)):
        names = [_name(file, key) for key in keys]
        if all(names):
            return who, (keys[-1], *names), offset
    return None


def _vector(fields: dict[str, Any]) -> Place | None:
    """Its file source, where `offset_key` is set to "offset"."""
    host, path, offset = _name(fields, "host"), _name(fields, "file"), _offset(fields)
    return ((host,), ("path", path), offset) if host and path and offset is not None else None


def _inner(fields: dict[str, Any], key: str) -> dict[str, Any]:
    value = fields.get(key)
    return value if type(value) is dict else {}


def _name(fields: dict[str, Any], key: str) -> str:
    """The name under a key; "" for none, and for what can be none."""
    value = fields.get(key)
    return value if type(value) is str and len(value) <= MAX_NAME and "\0" not in value else ""


def _offset(fields: dict[str, Any]) -> int | None:
    value = fields.get("offset")
    return value if type(value) is int and 0 <= value < MAX_OFFSET else None


PLACES: Final[Mapping[str, Callable[[dict[str, Any]], Place | None]]] = MappingProxyType(
    {"filebeat": _filebeat, "vector": _vector}
)
