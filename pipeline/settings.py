"""What a configuration says once it is read: values only, made by `config.load`."""

from __future__ import annotations

from msgspec import Struct

from pipeline.model import Setup, System


class Limits(Struct, frozen=True):
    """Bounds that keep hostile input cheap; `[limits]`."""

    line_bytes: int


class Joins(Struct, frozen=True):
    """How lines of different logs are held together; `[joins]`. Units: ns."""

    tolerance_ns: int
    horizon_ns: int


class Geo(Struct, frozen=True):
    """Paths of databases that place the client; `[geo]`."""

    city: str | None = None
    country: str | None = None
    asn: str | None = None


class SystemSettings(Struct, frozen=True):
    """One drawn system and, where it writes a log, how to find and read it."""

    system: System
    setup: Setup | None = None  # None: it writes no log
    inputs: tuple[str, ...] = ()  # glob patterns, each below its configuration file's folder
    wrapper: tuple[str, ...] = ()  # outermost first


class Settings(Struct, frozen=True):
    """A whole configuration without faults."""

    systems: tuple[SystemSettings, ...]
    limits: Limits
    joins: Joins
    geo: Geo
    rules: str  # 16 hex: what decides (systems, ranges, program version); same drawing, same rules
    digest: str  # 64 hex: everything, inputs and limits too; a run goes on only under the same one
