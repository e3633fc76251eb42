"""Observations of lines that wait, packed; the setup, which holds the operator's secrets, stays here."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from clientip.engine import Engine
from clientip.model import Line, Observation, Setup


class Shelf:
    """Observations of one system, put away packed and taken out again; an empty one is read again from its line.

    The setup stays here: it is the same for all, and holds the operator's secrets.
    """

    def __init__(self, engine: Engine, system: str) -> None:
        self._setup, self._system, self._again = engine.sources[system].setup, system, engine.again
        self._stand_in = Setup(system=system, format=self._setup.format)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Observation).decode
        self._decode_json = msgspec.json.Decoder(Observation).decode

    def put(self, seen: Observation) -> bytes:
        """The observation packed."""
        bare = replace(seen, setup=self._stand_in)
        try:
            return self._encode(bare)
        except OverflowError:  # an IPv6 address is a number of more than 64 bits, which JSON takes
            return msgspec.json.encode(bare)

    def take(self, packed: bytes, line: Line) -> Observation:
        """The observation of a line, packed or empty."""
        if not packed:
            return self._again(self._system, line)
        decode = self._decode_json if packed.startswith(b"{") else self._decode
        return replace(decode(packed), setup=self._setup)
