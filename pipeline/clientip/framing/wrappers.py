"""What shippers put round a line: taken off, outermost first, and lines cut in parts put together again.

A wrapper gives the line its text, and what it knows of time, instance and stream.  Where several know the same,
the innermost counts: it stands nearest to the writer.  `raw` is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from clientip.errors import FormatError
from clientip.model import Line, Part, Rejected
from clientip.syntax.jsonlines import read_object
from clientip.syntax.times import epoch_ns, rfc3339_ns

Wrapper = Callable[[Line], Line]

IN_PARTS: Final = frozenset({"cri", "docker"})  # how container runtimes write files, which they rotate
PARTS_LIMIT: Final = 1024  # parts of one line, however small: runtimes cut at 8 or 16 kB
OPEN_LIMIT: Final = 4096  # lines that have begun at one time
OPEN_BYTES: Final = 64 * 1024 * 1024  # of all that is held of them
_NAMES_LONGEST: Final = 512  # characters of an instance and a stream; of longer ones a hash is held

# `P` or `F` may be followed by further tags behind colons; an empty line may lack its last blank.
_CRI: Final = re.compile(rb"([^ ]{20,40}) (stdout|stderr) ([FP])(?::[^ ]*+)?(?: (.*+)|)", re.DOTALL)

# RFC 3164, and what rsyslog writes to files: no PRI, or an RFC 3339 stamp.  HAProxy and nginx may leave the host out.
# A host may be an IPv6 address, so a colon alone ends no tag.
_SYSLOG_3164: Final = re.compile(
    rb"(?:<[0-9]{1,3}>)?"
    rb"(?:[A-Z][a-z]{2} [ 0-3][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}|([0-9]{4}-[^ ]{15,31})) "
    rb"(?:([^ \[\]]{1,255}) )??"
    rb"[^ :\[\]]{1,255}(?:\[[^\] ]{1,128}\]: ?|:(?: |\Z))(.*+)",
    re.DOTALL,
)
# RFC 5424 section 6: HEADER, STRUCTURED-DATA, MSG.  Lengths are the standard's, app-name excepted (writers exceed it).
_SYSLOG_5424: Final = re.compile(
    rb"<[0-9]{1,3}>1 ([^ ]{1,40}) ([^ ]{1,255}) [^ ]{1,255} [^ ]{1,128} [^ ]{1,32} "
    rb'(?:-|(?:\[[^ =\]"]{1,64}+(?: [^ =\]"]{1,64}+="(?:[^"\\]|\\.)*+")*+\])++)'
    rb"(?: (?:\xef\xbb\xbf)?(.*+)|)",
    re.DOTALL,
)
# `docker compose logs`: the service padded with blanks; coloured where it believes in a terminal.
_COMPOSE: Final = re.compile(
    rb"(?:\x1b\[[0-9;]{0,16}m)?([A-Za-z0-9][A-Za-z0-9_.-]{0,127}) *\|(?: (?:\x1b\[0m)?(.*+)|)", re.DOTALL
)


def peel(line: Line, names: Sequence[str]) -> Line:
    """The line without the wrappers `names`, which are keys of WRAPPERS, outermost first.

    Raises FormatError: `wrapper` (with the offset where it is known) if a wrapper is not there, `empty_message`
    if an envelope has no message, and what `read_object` raises of two readings and depth.  A message that is
    there and blank is a blank line, no error.

    >>> line = Line(b"", b"2024-05-01T10:00:00.5Z stdout F hello")
    >>> peel(line, ["cri"]).text, peel(line, ["cri"]).stamp_ns
    (b'hello', 1714557600500000000)
    """
    for name in names:
        line = WRAPPERS[name](line)
    return line


def _cri(line: Line) -> Line:
    """Kubernetes container log: `<RFC 3339> <stream> <P|F> <text>`."""
    match = _match(_CRI, line)
    return replace(
        line,
        text=match[4] or b"",
        stamp_ns=_stamp(match[1]),
        stream=match[2].decode("ascii"),
        partial=match[3] == b"P",
    )


def _docker(line: Line) -> Line:
    """Docker json-file: `{"log":"text\\n","stream":"stdout","time":"…"}`; a part has no line end."""
    fields = _envelope(line)
    message = _message(fields, "log")
    return _unwrapped(line, fields, message, stamp=_stamp_of(fields, "time"), partial=not message.endswith("\n"))


def _syslog_3164(line: Line) -> Line:
    """BSD syslog (RFC 3164). Its stamp has neither year nor zone, so it names no instant and is not read."""
    match = _match(_SYSLOG_3164, line)
    stamp = _stamp(match[1]) if match[1] is not None else line.stamp_ns
    return replace(line, text=match[3], stamp_ns=stamp, instance=_name(match[2]) or line.instance)


def _syslog_5424(line: Line) -> Line:
    """Syslog (RFC 5424); octet counting (RFC 6587) is framing and already gone."""
    match = _match(_SYSLOG_5424, line)
    stamp = line.stamp_ns if match[1] == b"-" else _stamp(match[1])
    return replace(line, text=match[3] or b"", stamp_ns=stamp, instance=_name(match[2]) or line.instance)


def _compose(line: Line) -> Line:
    match = _match(_COMPOSE, line)
    return replace(line, text=match[2] or b"", instance=_name(match[1]))


def _filebeat(line: Line) -> Line:
    fields = _envelope(line)
    instance = _path(fields, "kubernetes", "pod", "name") or _path(fields, "host", "name")
    stamp = _stamp_of(fields, "@timestamp")
    return _unwrapped(line, fields, _message(fields, "message"), stamp=stamp, instance=instance)


def _fluent(line: Line) -> Line:
    """Fluentd and Fluent Bit. `log` before `message`: the latter may come out of the parsed log itself."""
    fields = _envelope(line)
    message = _message(fields, "log" if "log" in fields else "message")
    stamp = next((ns for key in ("time", "@timestamp", "date") if (ns := _stamp_of(fields, key)) is not None), None)
    # `logtag` is CRI's; `partial_message` comes from Docker's fluentd driver, which also marks the last part.
    partial = fields.get("logtag") == "P" or (
        fields.get("partial_message") == "true" and fields.get("partial_last") != "true"
    )
    instance = _path(fields, "kubernetes", "pod_name") or _path(fields, "container_name")
    return _unwrapped(line, fields, message, stamp=stamp, instance=instance, partial=partial)


def _vector(line: Line) -> Line:
    fields = _envelope(line)
    instance = _path(fields, "kubernetes", "pod_name") or _path(fields, "host")
    stamp = _stamp_of(fields, "timestamp")
    partial = fields.get("_partial") is True
    return _unwrapped(line, fields, _message(fields, "message"), stamp=stamp, instance=instance, partial=partial)


WRAPPERS: Final[Mapping[str, Wrapper]] = MappingProxyType(
    {
        "cri": _cri,
        "docker": _docker,
        "syslog3164": _syslog_3164,
        "syslog5424": _syslog_5424,
        "filebeat": _filebeat,
        "fluent": _fluent,
        "vector": _vector,
        "compose": _compose,
    }
)


def names_of(written: str | Sequence[str]) -> tuple[str, ...]:
    """The wrappers of a system, the outermost first, of which one alone is written as a word.

    >>> names_of("cri"), names_of([])
    (('cri',), ())
    """
    return (written,) if isinstance(written, str) else tuple(written)


def is_relayed(names: Collection[str]) -> bool:
    """Whether lines in these wrappers came through syslog, which cuts long ones.

    >>> is_relayed(["syslog3164"]), is_relayed(["cri"])
    (True, False)
    """
    return any(name.startswith("syslog") for name in names)


class Unfinished(Struct, frozen=True):
    """The parts of one line so far. `refused`: it grew too long, and its rest is refused part by part."""

    parts: tuple[Line, ...] = ()
    size: int = 0  # bytes of text
    refused: bool = False


class OpenLines(Struct, frozen=True):
    """Lines of which not all parts have come, by (file, instance, stream).

    Those three are named by the container runtime and not by clients, so there are few of them; should there be
    many, the memory is bounded all the same.
    """

    unfinished: Mapping[tuple[str, str | None, str], Unfinished] = MappingProxyType({})
    bytes_held: int = 0  # of raw lines

    def lines(self) -> tuple[Line, ...]:
        """What is held, joined as far as it came: when an input ends, lines that never did."""
        return tuple(_joined(one.parts) for one in self.unfinished.values() if one.parts)

    def beginnings(self) -> tuple[Line, ...]:
        """The first part of each."""
        return tuple(one.parts[0] for one in self.unfinished.values() if one.parts)


EMPTY: Final = OpenLines()


def join(held: OpenLines, line: Line, limit: int) -> tuple[OpenLines, Line | Part | Rejected]:
    """Put the parts of a line together; give back what is held from now on, and what became of this one.

    The joined line has the offset and index of its last part, the stamp of its first, the texts end to end and
    the raw lines with a line end between them.  Past `limit` bytes of text (or PARTS_LIMIT parts) all of it so far
    is refused as `too_many_parts`, and so is every part up to the last: a tail must never pass for a line,
    because whoever makes the line long enough would choose where it begins.

    >>> first = Line(b"1", b"ab", partial=True)
    >>> held, part = join(EMPTY, first, 10)
    >>> join(held, Line(b"2", b"c"), 10)[1].text
    b'abc'
    """
    if not line.partial and not held.unfinished:
        return held, line
    key = _key(line)
    before = held.unfinished.get(key)
    if before is None:
        if not line.partial:
            return held, line
        before = Unfinished()
    if before.refused:
        return _with(held, key, before if line.partial else None), Rejected(line, "too_many_parts")
    parts, size = (*before.parts, line), before.size + len(line.text)
    if size > limit or len(parts) > PARTS_LIMIT or not _has_room(held, key, line):
        rest = Unfinished(refused=True) if line.partial else None
        return _with(held, key, rest), Rejected(_joined(parts), "too_many_parts")
    if line.partial:
        return _with(held, key, Unfinished(parts, size)), Part(line)
    return _with(held, key, None), _joined(parts)


_Key = tuple[str, str | None, str]


def _key(line: Line) -> _Key:
    names = f"{line.instance}\0{line.stream}"
    if len(names) <= _NAMES_LONGEST:
        return line.file, line.instance, line.stream
    return line.file, sha256(names.encode("utf-8", "surrogateescape")).hexdigest(), ""


def _has_room(held: OpenLines, key: _Key, line: Line) -> bool:
    if not line.partial:
        return True
    return held.bytes_held + len(line.raw) <= OPEN_BYTES and (
        key in held.unfinished or len(held.unfinished) < OPEN_LIMIT
    )


def _with(held: OpenLines, key: _Key, one: Unfinished | None) -> OpenLines:
    """With this in the place of what was held under the key; of keys that are refused the oldest are forgotten."""
    others = {name: value for name, value in held.unfinished.items() if name != key}
    size = held.bytes_held - _bytes_of(held.unfinished.get(key)) + _bytes_of(one)
    if one is not None:
        others[key] = one
    refused = [name for name, value in others.items() if value.refused] if len(others) > OPEN_LIMIT else []
    for name in refused[: max(0, len(refused) - OPEN_LIMIT)]:
        del others[name]
    return OpenLines(others, size)


def _bytes_of(one: Unfinished | None) -> int:
    return 0 if one is None else sum(len(part.raw) for part in one.parts)


def _joined(parts: Sequence[Line]) -> Line:
    return replace(
        parts[-1],
        raw=b"\n".join(part.raw for part in parts),
        text=b"".join(part.text for part in parts),
        stamp_ns=parts[0].stamp_ns,
        partial=False,
        headless=parts[0].headless,
    )


def _match(pattern: re.Pattern[bytes], line: Line) -> re.Match[bytes]:
    match = pattern.fullmatch(line.text)
    if match is None:
        raise FormatError("wrapper", 0)
    return match


def _stamp(text: bytes) -> int:
    try:
        return rfc3339_ns(text.decode("ascii"))
    except (FormatError, UnicodeDecodeError):
        raise FormatError("wrapper") from None


def _name(text: bytes | None) -> str | None:
    return None if text is None or text == b"-" else text.decode(errors="backslashreplace")


def _envelope(line: Line) -> dict[str, Any]:
    try:
        return read_object(line.text)
    except FormatError as error:
        reason = "wrapper" if error.reason in ("json", "json_not_object") else error.reason
        raise FormatError(reason, error.at) from None


def _message(fields: dict[str, Any], key: str) -> str:
    message = fields.get(key)
    if type(message) is not str:
        raise FormatError("empty_message")
    return message


def _stamp_of(fields: dict[str, Any], key: str) -> int | None:
    """RFC 3339, or seconds since the epoch as a number; None where there is none or it is written otherwise.

    A time that shippers let operators write as they like is no reason to refuse the line.
    """
    value = fields.get(key)
    try:
        if type(value) is str:
            return rfc3339_ns(value)
        if type(value) in (int, float):
            return epoch_ns(repr(value))
    except FormatError:
        return None
    return None


def _path(fields: dict[str, Any], *keys: str) -> str | None:
    value: Any = fields
    for key in keys:
        value = value.get(key) if type(value) is dict else None
    return value if type(value) is str and value else None


def _unwrapped(
    line: Line,
    fields: dict[str, Any],
    message: str,
    *,
    stamp: int | None,
    instance: str | None = None,
    partial: bool = False,
) -> Line:
    """The line with the content of a JSON envelope."""
    return replace(
        line,
        text=message.removesuffix("\n").encode(),
        stamp_ns=line.stamp_ns if stamp is None else stamp,
        instance=instance or line.instance,
        stream=_path(fields, "stream") or line.stream,
        partial=partial or line.partial,
        unended=False,  # the envelope is whole, so what it holds is
    )
