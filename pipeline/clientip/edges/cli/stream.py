"""The commands of a stream: `clientip stream` and `clientip kafka topics`."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from clientip.config import load as config
from clientip.edges.telemetry.health import DEFAULT
from clientip.errors import ConfigError, Fault

Configs = Annotated[
    list[Path], typer.Option("-c", "--config", help="A TOML file, or a folder of them. May be repeated.")
]

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)
_MOST: Final = 256  # workers of one kind


def stream_command(
    configs: Configs,
    readers: Annotated[int, typer.Option(min=0, max=_MOST, help="Processes that read lines and ask.")] = 1,
    answerers: Annotated[int, typer.Option(min=0, max=_MOST, help="Processes that answer.")] = 1,
    name: Annotated[
        str | None, typer.Option(help="Of this instance, the same after every restart; default: the host's name.")
    ] = None,
    listen: Annotated[
        str,
        typer.Option(help="HOST:PORT of /metrics, /livez and /readyz, which anybody may read who gets there; or none."),
    ] = DEFAULT,
    previous: Annotated[
        list[Path] | None,
        typer.Option(help="The configuration before this one: questions asked under it are still answered."),
    ] = None,
    watchdog: Annotated[float, typer.Option(min=5, help="Seconds after which a worker that hangs is killed.")] = 60.0,
) -> None:
    """Read lines from Kafka topics and write records to others, for ever. SIGHUP reads the configuration anew."""
    from clientip.edges.stream.supervisor import StreamOptions, supervise  # noqa: PLC0415 - others start faster without

    if readers + answerers == 0:
        raise ConfigError([Fault("", "--readers, --answerers", "are both 0; start at least one worker")])
    options = StreamOptions(
        name=_instance(name),
        listen=None if listen == "none" else listen,
        previous=tuple(previous or ()),
        watchdog_s=watchdog,
    )
    raise typer.Exit(supervise(configs, readers, answerers, options))


def _instance(name: str | None) -> str:
    chosen = socket.gethostname() if name is None else name
    if not _NAME.fullmatch(chosen):
        raise ConfigError([Fault("", "--name", f"{chosen[:200]!r} is no name; use letters, digits, dots and dashes")])
    return chosen


def topics_command(
    configs: Configs,
    create: Annotated[
        bool, typer.Option("--create", help="Make the topics that are missing, and set those of ours as they must be.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="The topics of the systems, too; without it they must exist.")
    ] = False,
) -> None:
    """Are the topics of a stream there, and set as it needs them? Exits with 1 if not. Nothing is ever deleted."""
    from clientip.edges.kafka import topic_admin as topics  # noqa: PLC0415 - as above

    report = topics.look(config.load(configs), create=create, raw=raw)
    sys.stdout.write(topics.report_text(report))
    raise typer.Exit(report.code)
