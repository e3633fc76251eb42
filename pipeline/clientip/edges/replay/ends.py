"""The two ends that a replay may have in Kafka, as the call asks for them.

What works with the cluster is imported only where it is needed: replays of files start faster without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from clientip.edges.disk.inputs import PIPE, Input
from clientip.edges.replay.kafka_ends import NAMED
from clientip.edges.replay.plan import Plan, ReplayOptions, Request
from clientip.edges.replay.read_pass import Done
from clientip.errors import ConfigError, Fault
from clientip.settings import Settings


class TopicSource(Protocol):
    """Topics as inputs (`kafka_fetch.Topics`)."""

    def inputs(self, options: ReplayOptions, out: Path, parts: Path, warn: Callable[[str], None]) -> tuple[Input, ...]:
        """The inputs, once their messages are in `parts`."""


class TopicSink(Protocol):
    """Topics that get the rows (`kafka_send.Target`)."""

    @property
    def records(self) -> str: ...
    @property
    def rejected(self) -> str | None: ...

    def look(self) -> object:
        """Whether they are there; said before the work, and not after it."""

    def send(self, plan: Plan, done: Sequence[Done], out: Path, parts: Path, warn: Callable[[str], None]) -> None:
        """Send what is not sent yet."""


def source_of(settings: Settings, request: Request) -> TopicSource | None:
    """The topics that the call reads; None: it reads files.  Errors: ConfigError."""
    if not request.from_kafka and not any(name.startswith(NAMED) for name in request.inputs):
        return None
    if request.options.facts:
        text = "is for files: of topics, translations and connections are evidence only"
        raise ConfigError([Fault("", "--facts", text)])
    from clientip.edges.replay.kafka_fetch import topics_of  # noqa: PLC0415 - as said above

    return topics_of(settings, request.inputs, request.system)


def sink_of(settings: Settings, request: Request) -> TopicSink | None:
    """The topics that get the rows; None: they stay in the folder.  Errors: ConfigError."""
    faults = []
    if request.topic is not None and not request.to_kafka:
        faults.append(Fault("", "--topic", "is for --to kafka"))
    if request.to_kafka and request.options.compress != "none":
        faults.append(Fault("", "--compress", "is for folders; messages are packed on their way anyway"))
    if request.to_kafka and PIPE in request.inputs:
        text = "cannot be read again, and so not be sent exactly once; write it to a file before"
        faults.append(Fault("", "--to", f"kafka: standard input {text}"))
    if faults:
        raise ConfigError(faults)
    if not request.to_kafka:
        return None
    from clientip.edges.replay.kafka_send import target  # noqa: PLC0415 - as said above

    return target(settings, request.topic)
