"""`clientip resolve`: NDJSON questions on one stream, answers on the other, in the same order."""

from __future__ import annotations

import sys
from typing import BinaryIO

import click

from clientip.diagnose.sandbox import answer
from clientip.edges.cli.options import WIDE

MAX_ROW = 1 << 20  # bytes; a longer row is answered with an error, so memory stays flat


def resolve_lines(questions: BinaryIO, answers: BinaryIO) -> None:
    """One answer line per row, flushed at once so that it can sit in a pipe; blank lines are passed over.

    A row too long or unreadable gets an error line, and the next one is read all the same.
    """
    while row := questions.readline(MAX_ROW + 1):
        if len(row) > MAX_ROW and not row.endswith(b"\n"):
            while (rest := questions.readline(MAX_ROW)) and not rest.endswith(b"\n"):
                continue
            answers.write(b'{"id":null,"error":"row: longer than %d bytes"}\n' % MAX_ROW)
        elif not row.isspace():
            answers.write(answer(row) + b"\n")
        answers.flush()


@click.command("resolve", context_settings=WIDE)
def command() -> None:
    """Try a trust setting without logs: questions as JSON rows in, answers as JSON rows out.

    A question, on one line:
    {"id": 1, "peer": "10.0.0.1", "headers": [["X-Forwarded-For", "8.8.8.8, 203.0.113.7"]],
    "trust": [{"addresses": ["10.0.0.0/8"], "conveys": [{"header": "X-Forwarded-For", "mode": "append"}]}]}

    Each entry of `trust` is one system, nearest first. `peer` may be null; `proxy_hex` holds the first bytes of the
    connection.
    """
    resolve_lines(sys.stdin.buffer, sys.stdout.buffer)
