"""`clientip kafka …`: what a stream needs of its cluster."""

from __future__ import annotations

import click

from clientip.edges.cli.options import WIDE
from clientip.edges.cli.stream import topics


@click.group("kafka", context_settings=WIDE)
def command() -> None:
    """What a stream needs of its Kafka cluster."""


command.add_command(topics)
