"""The floor: decode and encode, and nothing between."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson
from msgspec import Struct

from benchmarks.setting import Setting, Work


class Traefik(Struct):
    """The columns without which Traefik's log says nothing of the client."""

    ClientAddr: str
    StartUTC: str
    forwarded_for: str = msgspec.field(name="request_X-Forwarded-For")


def prepare(setting: Setting, raw: Sequence[bytes]) -> Work:
    """orjson: a JSON line decoded whole and encoded again, a text line decoded and encoded as a JSON string."""
    decode, encode, is_json = orjson.loads, orjson.dumps, setting.case.is_json

    def work() -> None:
        for text in raw:
            encode(decode(text) if is_json else {"message": text.decode()})

    return work


def prepare_typed(_setting: Setting, raw: Sequence[bytes]) -> Work:
    """msgspec: three columns of a Traefik line, the rest skipped without making objects of it."""
    decode, encode = msgspec.json.Decoder(Traefik).decode, msgspec.json.Encoder().encode

    def work() -> None:
        for text in raw:
            encode(decode(text))

    return work
