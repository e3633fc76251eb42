"""How a command ends: every fault in one form on standard error, and an exit code that says who must act."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final, NoReturn

import click

from clientip.errors import ConfigError, SinkError
from clientip.syntax.terminals import printable

STDOUT: Final = 1

EXIT_CODES: Final[Mapping[int, str]] = MappingProxyType(
    {
        0: "Done.",
        1: "Done, but something asked for is not there: a system of which no line could be read, more rejected lines "
        "than --max-rejected allows, a configuration that does not fit its logs (check, replay), no such record, or "
        "no client behind a --peer (explain), topics that are missing or set otherwise (kafka topics).",
        2: "The call or the configuration is wrong, or nothing matches the inputs.",
        3: "The world failed (a file, a disk, the network), or an input could not be read to its end.",
        4: "A defect of clientip.",
        130: "Interrupted (Ctrl-C).",
        141: "The output is not read any more.",
        143: "Terminated.",
    }
)
GOES_ON: Final = "After 3, 130 and 143 the same replay command goes on where it stopped."


def warn(text: str) -> None:
    """One line for the operator; names in it may be a stranger's."""
    sys.stderr.write(f"clientip: {printable(text)}\n")


def fail(code: int, *lines: str) -> NoReturn:
    """Say why, and end the command."""
    for line in lines:
        warn(line)
    raise click.exceptions.Exit(code)


def end(code: int) -> NoReturn:
    """End the command."""
    raise click.exceptions.Exit(code)


@contextmanager
def one_form() -> Iterator[None]:
    """The three errors, and what ends a program from outside, as lines and an exit code."""
    try:
        yield
        sys.stdout.flush()
    except ConfigError as error:
        fail(2, *map(str, error.faults))
    except SinkError as error:
        fail(3, str(error))
    except BrokenPipeError:
        # Python would write once more when it flushes at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
        end(141)
    except KeyboardInterrupt:
        end(130)


def usage_fault(error: click.ClickException) -> str:
    """What is wrong with a call, in the form of all other faults."""
    text = " ".join(error.format_message().split()).rstrip(".")
    text = text[:1].lower() + text[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    return text if context is None else f"{text}; see `{context.command_path} --help`"
