"""`clientip collect conntrack`: the call of the collector, which is a program of its own."""

from __future__ import annotations

import click

from clientip.edges.cli.options import WIDE
from clientip.edges.collect import main as collect

_SHORT = "Write the NAT events of this network namespace as numbered lines. Needs root."


@click.group("collect", context_settings=WIDE)
def command() -> None:
    """Collect evidence that no log holds."""


@command.command("conntrack", short_help=_SHORT)
@click.option("-o", "--out", metavar="FILE", default="-", help="A file to append to (SIGHUP reopens it), or -.")
@click.option("--all", "all_flows", is_flag=True, help="Flows without source NAT, too.")
@click.option("--to", metavar="RANGE", multiple=True, help="Only flows sent to this address or range; may be repeated.")
@click.option("--zone", metavar="N", type=click.IntRange(0, 65535), help="Only flows of this conntrack zone.")
@click.option(
    "--receive-buffer",
    metavar="BYTES",
    type=click.IntRange(2048, 2**30),
    default=collect.RECEIVE_BUFFER,
    show_default=True,
    help="Bytes the kernel holds for this process before events get lost.",
)
@click.option("--once", is_flag=True, help="List the flows that are there, and end.")
@click.option("--duration", metavar="SECONDS", type=click.FloatRange(min=0), help="End after so many seconds.")
def conntrack(
    out: str,
    all_flows: bool,
    to: tuple[str, ...],
    zone: int | None,
    receive_buffer: int,
    once: bool,
    duration: float | None,
) -> None:
    """Write the NAT events of this network namespace as numbered lines (format conntrack_json). Needs root."""
    collect.start(collect.CollectOptions(out, not all_flows, to, zone, receive_buffer, once, duration))
