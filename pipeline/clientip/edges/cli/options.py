"""Options that several commands take, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from clientip.errors import ConfigError, Fault, FormatError
from clientip.syntax.times import moment_ns

WIDE: Final = {"max_content_width": 110}

configs = click.option(
    "-c",
    "--config",
    "configs",
    metavar="PATH",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    envvar="CLIENTIP_CONFIG",
    show_envvar=True,
    help="A TOML file, or a folder of them. May be repeated; in the variable, colons separate the paths.",
)
inputs = click.argument("inputs", nargs=-1, type=click.Path(allow_dash=True))
one_system = click.option("--system", metavar="NAME", help="The system that wrote the inputs, whatever their paths.")
INPUTS: Final = (
    "INPUTS are files, folders, globs, or - for standard input; without any, the configured `inputs` are read."
)


def one_of(key: str, given: str, known: tuple[str, ...]) -> str:
    """The word itself.  Errors: ConfigError if it is none of those known."""
    if given not in known:
        from clientip.config.schema_check import instead  # noqa: PLC0415 - only a wrong call needs it

        raise ConfigError([Fault("", key, f"unknown {given!r}; {instead(given, known)}")])
    return given


def moment(text: str | None, key: str) -> int | None:
    """A moment in ns; a date is its first one in UTC.  Errors: ConfigError."""
    try:
        return None if text is None else moment_ns(text)
    except FormatError as error:
        mend = "write a date like 2024-05-01, or a time with its zone like 2024-05-01T10:00:00Z"
        raise ConfigError([Fault("", key, f"{text!r} is no moment; {mend}")]) from error
