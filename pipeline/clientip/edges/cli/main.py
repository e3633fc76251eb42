"""The command line `clientip`. Data goes to standard output, everything said about it to standard error.

A command's module is imported when the command is called, so `clientip --help` starts without any of them.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Final, NoReturn

import click

from clientip import __version__
from clientip.edges.cli.completion import install_completion, show_completion
from clientip.edges.cli.exits import EXIT_CODES, GOES_ON, end, one_form, usage_fault, warn
from clientip.edges.cli.options import WIDE

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROGRAM: Final = "clientip"
COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "init": "Guess the formats of log files and print a configuration to start from.",
        "check": "Read a sample of every configured log: does the configuration fit?",
        "replay": "Enrich historical logs; a killed run goes on where it stopped when the same command is given again.",
        "stream": "Read lines from Kafka topics and write records to others, for ever.",
        "explain": "Show how a record came about: the path, who vouched, what other logs told, what was not believed.",
        "read": "Print what a format sees in a log, one JSON row per line, without any trust.",
        "resolve": "Try a trust setting without logs: questions as JSON rows in, answers as JSON rows out.",
        "collect": "Collect evidence that no log holds.",
        "kafka": "What a stream needs of its Kafka cluster.",
        "help": "Print a reference table; without a subject, list the subjects.",
    }
)
"""Name → first sentence of its help; the module in this folder that is called like a command holds it as `command`."""


class Root(click.Group):
    """The group of all commands, each made when it is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order in which one meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"clientip.edges.cli.{cmd_name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in any group, but a wrong name is told with the nearest right one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            from clientip.config.schema_check import instead  # noqa: PLC0415 - only a wrong call needs it

            ctx.fail(f"no command {name!r}; {instead(name, COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """All commands without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])
            formatter.write_paragraph()
            formatter.write_text(GOES_ON)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands and options that begin so, without loading any command."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only a shell asks

        found = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; its errors end it in one form."""
        with one_form():
            return super().invoke(ctx)


def _terminated(_signal: int, _frame: object) -> NoReturn:
    end(143)


@click.group(cls=Root, context_settings=WIDE)
@click.version_option(__version__, message="%(prog)s %(version)s", help="Print the version.")
@show_completion
@install_completion
def app() -> None:
    """Recover the original client of every request from logs, or say why it cannot be known."""
    signal.signal(signal.SIGTERM, _terminated)


def _defect(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, at)
    warn("this is a defect of clientip")
    raise SystemExit(4)


def main() -> None:
    """Entry point of the `clientip` command."""
    sys.excepthook = _defect
    try:
        code = app.main(prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        warn(usage_fault(error))
        code = error.exit_code
    raise SystemExit(code)
