"""Observations of lines that wait, packed; the setup, which holds the operator's secrets, stays here."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from pipeline.engine import Engine
from pipeline.model import Line, Observation, Setup


class Shelf:
    """Observations of one system, put away packed and taken out again; what cannot be packed is read again.

    The setup stays here: it is the same for all, and holds the operator's secrets.
    """

    def __init__(self, engine: Engine, system: str) -> None:
        self._setup, self._system, self._again = engine.sources[system].setup, system, engine.again
        self._stand_in = Setup(system=system, format=self._setup.format)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Observation).decode

    def put(self, seen: Observation) -> bytes:
        """The observation packed; empty where that cannot be."""
        try:
            return self._encode(replace(seen, setup=self._stand_in))
        except OverflowError:  # an IPv6 address is a number of more than 64 bits
            return b""

    def take(self, packed: bytes, line: Line) -> Observation:
        """The observation of a line, packed or empty."""
        if not packed:
            return self._again(self._system, line)
        return replace(self._decode(packed), setup=self._setup)
