"""The commands of a stream: `clientip stream` and `clientip kafka topics`."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource

from clientip.edges.cli.exits import end
from clientip.edges.cli.options import WIDE, configs
from clientip.edges.telemetry.health import DEFAULT
from clientip.errors import ConfigError, Fault

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)
_WORKERS: Final = click.IntRange(0, 256)  # of one kind
_ROLE: Final = "Be one worker in the foreground, for Kubernetes and systemd. Without it, keep several at work."
_OF: Final = "Of this instance (with --role: of the worker), the same after every restart; default: the host's name."
_LISTEN: Final = "HOST:PORT of /metrics, and without --probes of /livez and /readyz; open to all who reach it; or none."
_PROBES: Final = "HOST:PORT of /livez and /readyz alone, so that nothing done to --listen holds them up."
_PREVIOUS: Final = "The configuration before this one: questions asked under it are still answered."
_WATCHDOG: Final = "Seconds after which a worker that hangs is killed."
_OF_SUPERVISOR: Final = ("readers", "answerers", "watchdog")


@click.command("stream", context_settings=WIDE)
@configs
@click.option("--role", type=click.Choice(["reader", "answerer"]), help=_ROLE)
@click.option("--readers", type=_WORKERS, default=1, show_default=True, help="Processes that read lines and ask.")
@click.option("--answerers", type=_WORKERS, default=1, show_default=True, help="Processes that answer.")
@click.option("--name", metavar="NAME", help=_OF)
@click.option("--listen", metavar="HOST:PORT", default=DEFAULT, show_default=True, help=_LISTEN)
@click.option("--probes", metavar="HOST:PORT", help=_PROBES)
@click.option("--previous", metavar="PATH", multiple=True, type=click.Path(path_type=Path), help=_PREVIOUS)
@click.option("--watchdog", metavar="SECONDS", type=click.FloatRange(min=5), default=60.0, help=_WATCHDOG)
def command(
    configs: tuple[Path, ...],
    role: str | None,
    readers: int,
    answerers: int,
    name: str | None,
    listen: str,
    probes: str | None,
    previous: tuple[Path, ...],
    watchdog: float,
) -> None:
    """Read lines from Kafka topics and write records to others, for ever. SIGHUP reads the configuration anew."""
    page = None if listen == "none" else listen
    if role is not None:
        from clientip.edges.stream.foreground import AloneOptions, run_alone  # noqa: PLC0415 - others start faster without

        _check_alone()
        end(run_alone(role, configs, AloneOptions(_instance(name), page, previous, probes)))
    from clientip.edges.stream.supervisor import StreamOptions, supervise  # noqa: PLC0415 - as above

    if readers + answerers == 0:
        raise ConfigError([Fault("", "--readers, --answerers", "are both 0; start at least one worker")])
    options = StreamOptions(_instance(name), page, previous, watchdog, probes=probes)
    end(supervise(configs, readers, answerers, options))


def _check_alone() -> None:
    """Options of the supervisor mean nothing to a worker that runs alone."""
    context = click.get_current_context()
    given = [each for each in _OF_SUPERVISOR if context.get_parameter_source(each) is not ParameterSource.DEFAULT]
    if given:
        text = "does not go with --role, which is one worker that nothing supervises; leave one of them out"
        raise ConfigError([Fault("", f"--{each}", text) for each in given])


def _instance(name: str | None) -> str:
    chosen = socket.gethostname() if name is None else name
    if not _NAME.fullmatch(chosen):
        raise ConfigError([Fault("", "--name", f"{chosen[:200]!r} is no name; use letters, digits, dots and dashes")])
    return chosen


@click.command("topics", short_help="Check the topics of a stream, and make them.", context_settings=WIDE)
@configs
@click.option("--create", is_flag=True, help="Make the topics that are missing, and set those of ours as they must be.")
@click.option("--raw", is_flag=True, help="The topics of the systems, too; without it they must exist.")
def topics(configs: tuple[Path, ...], create: bool, raw: bool) -> None:
    """Are the topics of a stream there, and set as it needs them? Exits with 1 if not. Nothing is ever deleted."""
    from clientip.config import load as config  # noqa: PLC0415 - as above
    from clientip.edges.kafka import topic_admin  # noqa: PLC0415 - as above

    report = topic_admin.look(config.load(configs), create=create, raw=raw)
    sys.stdout.write(topic_admin.report_text(report))
    end(report.code)
