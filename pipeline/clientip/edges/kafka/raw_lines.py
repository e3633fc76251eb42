"""One partition of a raw topic: messages to the outcomes of their lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from operator import methodcaller
from typing import Final, NamedTuple, cast

from confluent_kafka import Message
from msgspec.structs import replace

from clientip.edges.kafka.client import TopicPlace, Upto
from clientip.edges.kafka.topic_watch import made_again
from clientip.engine import BLOCK_LINES, Engine, Reading
from clientip.errors import FormatError, SinkError
from clientip.framing.kafka_message import MAX_MESSAGE, cut, ids_of
from clientip.framing.shipper_origin import PLACES, shipped
from clientip.model import Ids, Line, Outcome, Record, Rejected
from clientip.settings import Feed, Settings

MAX_INSTANCE: Final = 253  # characters of the key that names an instance, as of a host name
MAX_READINGS: Final = 10_000  # instances of a partition; above it those without a part of a line are dropped
MAX_REST_MESSAGES: Final = 10_000  # within which the rest of a line comes that was refused for its length
MAX_PARTS_MESSAGES: Final = 100_000  # after which the rest of a line is not expected any longer
_MS: Final = 1_000_000
_HEADERS: Final = methodcaller("headers")  # unlike a plain call it raises the pending error
_ENDED: Final = methodcaller("endswith", b"\n")


class Taken(NamedTuple):
    """The outcomes of a few lines."""

    outcomes: Sequence[Outcome]
    appended_ns: int  # when the first of them came; 0: not known
    were_parts: bool = False  # whether their last part never came; their other parts were counted before


class Dead(NamedTuple):
    """A message that holds no lines."""

    offset: int
    message: bytes
    reason: str


class _Key(NamedTuple):
    """The properties that all lines of a block share."""

    instance: str | None
    ids: Ids | None
    is_old: bool  # read once more, for the parts of lines that began there


class RawLines:
    """The lines of one partition, in order."""

    def __init__(self, settings: Settings, engine: Engine, system: str, place: TopicPlace, topic_id: str) -> None:
        own = next(each for each in settings.systems if each.system.name == system)
        assert own.feed is not None
        self._feed: Feed = own.feed
        self._engine, self._system, self._wrapper = engine, system, own.wrapper
        # A shipper that names the place of a line has put its parts together, too.
        self._names_places = bool(own.wrapper) and own.wrapper[0] in PLACES
        self._one_line = self._feed.messages == "line" and not self._names_places
        self._place, self._topic_id = place, topic_id
        self._file = f"{topic_id}/{place.partition}"
        self._readings: dict[str | None, Reading] = {}
        self._refused: deque[tuple[int, int]] = deque()  # lines refused as too long: (offset of beginning, of refusal)
        self._silent_upto = 0
        self._offset = 0

    def go_on(self, upto: Upto) -> int:
        """From which offset to read: earlier than committed if a line had begun that was not whole.

        Errors: SinkError if the topic that was read so far was another one.
        """
        topic_id, _, begun = upto.metadata.partition(" ")
        if topic_id not in ("", self._topic_id):
            raise SinkError(
                made_again(self._place.topic, f"up to offset {upto.offset} another one was read"), retry=False
            )
        self._silent_upto = upto.offset
        return min(int(begun), upto.offset) if begun.isdecimal() else upto.offset

    def metadata(self) -> str:
        """The metadata of the offset: the topic's id, and where the oldest line begins that is not whole."""
        begun = self._begun()
        return self._topic_id if begun is None else f"{self._topic_id} {begun}"

    def _begun(self) -> int | None:
        if self._names_places or not self._wrapper:
            return None
        begun = [each for each in (reading.begun() for reading in self._readings.values()) if each is not None]
        # A successor that has not seen the beginning of a refused line would take its tail for a line.
        return min([*begun, *(first for first, _ in self._refused)], default=None)

    def read(self, messages: Sequence[Message]) -> Iterator[Taken | Dead]:
        """Blocks of outcomes, in order."""
        for first in range(0, len(messages), BLOCK_LINES):
            few = messages[first : first + BLOCK_LINES]
            lines = self._plain(few)
            if lines is None:
                yield from self._mixed(few)
            else:
                yield Taken(self._outcomes(lines[0].instance, lines), max(0, few[0].timestamp()[1]) * _MS)
        if messages:
            self._offset = messages[-1].offset() or 0
            while self._refused and self._refused[0][1] < self._offset - MAX_REST_MESSAGES:
                self._refused.popleft()
            yield from self._overdue()

    def _plain(self, few: Sequence[Message]) -> list[Line] | None:
        """The lines, if each message is one line and all have the same instance: the usual case, and fast."""
        if not self._one_line or (few[0].offset() or 0) < self._silent_upto:
            return None
        keys = {message.key() for message in few} if self._feed.instance_by is not None else None
        if (keys is not None and len(keys) > 1) or any(map(headers_of, few)):
            return None
        file, instance = self._file, self._instance(few[0])
        values = [message.value() or b"" for message in few]
        if not all(values) or max(map(len, values)) > MAX_MESSAGE or any(map(_ENDED, values)):
            return None
        return [
            Line(value, value, file, message.offset() or 0, 0, None, instance)
            for value, message in zip(values, few, strict=True)
        ]

    def _mixed(self, messages: Sequence[Message]) -> Iterator[Taken | Dead]:
        block: list[Line] = []
        key, first_ms = _Key(None, None, is_old=False), 0
        for message in messages:
            value, offset = message.value() or b"", message.offset() or 0
            own = _Key(self._instance(message), headers_ids(message), offset < self._silent_upto)
            try:
                texts = self._cut(value)
            except FormatError as error:
                yield from self._fed(block, key, first_ms)
                block = []
                if not own.is_old:
                    yield Dead(offset, value, error.reason)
                continue
            if block and own != key:
                yield from self._fed(block, key, first_ms)
                block = []
            if not block:
                key, first_ms = own, message.timestamp()[1]
            block += self._framed(texts, offset, own.instance)
        yield from self._fed(block, key, first_ms)

    def _cut(self, value: bytes) -> Sequence[bytes]:
        if len(value) > MAX_MESSAGE:
            raise FormatError("too_long")
        return cut(self._feed.messages, value)

    def _framed(self, texts: Sequence[bytes], offset: int, instance: str | None) -> list[Line]:
        file = self._file
        lines = [Line(text, text, file, offset, index, None, instance) for index, text in enumerate(texts)]
        return [shipped(line, self._wrapper) for line in lines] if self._names_places else lines

    def _fed(self, block: list[Line], key: _Key, first_ms: int) -> Iterator[Taken]:
        """The outcomes of a block, in parts of BLOCK lines: a message may hold many."""
        for first in range(0, len(block), BLOCK_LINES):
            outcomes: Sequence[Outcome] = self._outcomes(key.instance, block[first : first + BLOCK_LINES])
            if key.ids is not None:
                outcomes = [_with_ids(each, key.ids) for each in outcomes]
            if not key.is_old:
                yield Taken(outcomes, max(0, first_ms) * _MS)

    def _outcomes(self, instance: str | None, lines: Sequence[Line]) -> list[Outcome]:
        reading = self._reading(instance)
        begun = reading.begun() if self._wrapper else None
        outcomes = reading.feed_all(lines)
        if self._wrapper and any(type(each) is Rejected and each.reason == "too_many_parts" for each in outcomes):
            self._refused.append((lines[0].offset if begun is None else begun, lines[-1].offset))
        return outcomes

    def _reading(self, instance: str | None) -> Reading:
        reading = self._readings.get(instance)
        if reading is None:
            if len(self._readings) >= MAX_READINGS:
                self._make_room()
            reading = self._engine.reading(self._system, instance, walks_facts=False)
            self._readings[instance] = reading
        return reading

    def _make_room(self) -> None:
        """Drop instances without a part of a line; all of them, if most of them hold one."""
        begun = {name: reading for name, reading in self._readings.items() if reading.begun() is not None}
        self._readings = begun if len(begun) < MAX_READINGS // 2 else {}

    def _overdue(self) -> Iterator[Taken]:
        """Lines whose last part is not expected any longer; lines that began later keep their beginning."""
        begun = self._begun()
        if begun is not None and self._offset - begun > MAX_PARTS_MESSAGES:
            for reading in self._readings.values():
                first = reading.begun()
                if first is not None and self._offset - first > MAX_PARTS_MESSAGES:
                    yield Taken(reading.end(), 0, were_parts=True)

    def end(self) -> Iterator[Taken]:
        """The lines whose last part never came."""
        for reading in self._readings.values():
            yield Taken(reading.end(), 0, were_parts=True)

    def _instance(self, message: Message) -> str | None:
        if self._feed.instance_by is None:
            return None
        key = message.key()
        if not key or len(key) > MAX_INSTANCE:
            return None
        return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else key


def headers_of(message: Message) -> list[tuple[str, bytes | None]] | None:
    """The headers of a message; None if there are none, or if a name is no UTF-8.

    The client library takes all names for UTF-8. If one is not, it leaves a list with holes, on which the process would
    die, and a pending error, which a plain call does not notice at once.
    """
    try:
        found = _HEADERS(message)
    except (SystemError, UnicodeDecodeError):
        message.set_headers([])
        return None
    return cast("list[tuple[str, bytes | None]] | None", found)


def headers_ids(message: Message) -> Ids | None:
    """The ids that the headers of a message name."""
    headers = headers_of(message)
    return ids_of(headers) if headers else None


def _with_ids(outcome: Outcome, ids: Ids) -> Outcome:
    """The outcome with the ids of its message's headers, if the line names none itself."""
    if not isinstance(outcome, Record) or outcome.observation.ids is not None:
        return outcome
    return replace(outcome, observation=replace(outcome.observation, ids=ids))
