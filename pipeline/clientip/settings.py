"""The content of a configuration once it is read: values only, made by `config.load`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from clientip.model import Setup, System


class Limits(Struct, frozen=True):
    """Bounds that keep hostile input cheap; `[limits]`."""

    line_bytes: int


class Joins(Struct, frozen=True):
    """How lines of different logs are joined; `[joins]`. Units: ns."""

    tolerance_ns: int
    horizon_ns: int
    holds_promises: bool = False  # a walk that a header led on is held to the log of the hop that wrote it


class Geo(Struct, frozen=True):
    """Paths of databases with the places of addresses; `[geo]`."""

    city: str | None = None
    country: str | None = None
    asn: str | None = None


class Kafka(Struct, frozen=True):
    """How to reach the cluster, and the names of our topics; `[kafka]`. Paths are absolute."""

    brokers: tuple[str, ...]
    prefix: str
    generation: int
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    sasl: str | None = None
    user: str | None = None
    password_file: str | None = None

    def topic(self, name: str) -> str:
        """The topic, or the consumer group, of ours that `name` stands for."""
        return f"{self.prefix}.{name}"

    def generational(self, name: str) -> str:
        """The topic of ours whose partitions belong to those of the join topic."""
        return f"{self.prefix}.{name}.{self.generation}"


class Stream(Struct, frozen=True):
    """How a stream works; `[stream]`. Units: ns, bytes. The path is absolute."""

    commit_ns: int
    batch_lines: int
    join_partitions: int
    replication: int | None
    memory: int
    spool: str | None
    output: str = "enriched"  # word of outputs.OUTPUTS


class Feed(Struct, frozen=True):
    """How the lines of one system come through Kafka. Units: ns."""

    topics: tuple[str, ...]
    messages: str  # word of framing.kafka_message.MESSAGES
    instance_by: Literal["key"] | None
    arrives_ns: int  # lines come at most so long after their event
    longest_ns: int  # no request or connection of it lasts longer
    bounded: bool = False  # whether the operator wrote `longest`; otherwise it is the horizon


class SystemSettings(Struct, frozen=True):
    """One system and, if it writes a log, how to find and read the log."""

    system: System
    setup: Setup | None = None  # None: it writes no log
    inputs: tuple[str, ...] = ()  # glob patterns, each below its configuration file's folder
    wrapper: tuple[str, ...] = ()  # outermost first
    feed: Feed | None = None  # None: no line of it comes through Kafka
    drops_underscores: bool = False  # its server drops headers whose names hold an underscore
    preset: str = ""  # the product and the setting that the operator named; "": none
    server_config: tuple[str, ...] = ()  # patterns of the server's own configuration; decide about no record


class Settings(Struct, frozen=True):
    """A whole configuration without faults."""

    systems: tuple[SystemSettings, ...]
    limits: Limits
    joins: Joins
    geo: Geo
    rules: str  # 16 hex: digest of everything that decides (systems, ranges, program version)
    kafka: Kafka | None  # None: no cluster is named
    stream: Stream
    topology: str  # 16 hex: the same without the program version; questions of a stream name it
    digest: str  # 64 hex: digest of everything, inputs and limits too; a run goes on only under the same one
    proof_key: bytes = b""  # key under which the values of proof headers are hashed; b"": nothing needs one
    translated: tuple[str, ...] = ()  # addresses that NAT translates to: canonical text, sorted, each once
