"""The keys of `[joins]`; see `keys`."""

from __future__ import annotations

from typing import Final

from clientip.config.value_shapes import DURATION, FLAG, TEXT, Key

OF_JOINS: Final = (
    Key(
        "joins",
        "tolerance",
        DURATION,
        "How far the stamps of two logs of one event may lie apart beyond what `max_skew` says; too small is unsafe.",
        '"20ms"',
        default="20ms",
    ),
    Key(
        "joins",
        "horizon",
        DURATION,
        "How long a request can have lasted whose log does not say when it began.",
        '"10m"',
        default="10m",
    ),
    Key(
        "joins",
        "translated",
        TEXT,
        "A file of addresses that NAT translates to, one a line: where no system lists one, it is no client.",
        '"translated.txt"',
    ),
    Key(
        "joins",
        "holds_promises",
        FLAG,
        "Whether a header that led to a client is held to the log of the hop that wrote it, for which lines then wait.",
        "true",
    ),
)
