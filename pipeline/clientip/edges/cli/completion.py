"""Completion of commands and options by the shell: show the script, or put it where the shell looks for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from clientip.edges.cli.exits import one_form
from clientip.errors import SinkError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

SHELLS: Final = ("bash", "zsh", "fish")
_FOLDERS: Final = {  # below the home; bash and fish look there by themselves
    "bash": ".local/share/bash-completion/completions/clientip",
    "zsh": ".zfunc/_clientip",
    "fish": ".config/fish/completions/clientip.fish",
}


def script(command: click.Command, shell: str) -> str:
    """What the shell has to read."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - no other call needs it

    maker = get_completion_class(shell)
    assert maker is not None
    return maker(command, {}, "clientip", "_CLIENTIP_COMPLETE").source()


def _shell(given: str | None) -> str:
    name = Path(os.environ.get("SHELL", "")).name if given == "" else given
    if name not in SHELLS:
        raise click.UsageError(f"which shell? Write one of {', '.join(SHELLS)} behind the option")
    return name


def _show(context: click.Context, _option: click.Parameter, given: str | None) -> None:
    if given is not None:
        click.echo(script(context.command, _shell(given)))
        context.exit()


def _install(context: click.Context, _option: click.Parameter, given: str | None) -> None:
    if given is None:
        return
    shell = _shell(given)
    path = Path.home() / _FOLDERS[shell]
    with one_form():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(script(context.command, shell) + "\n")
        except OSError as error:
            raise SinkError(f"cannot write {path}: {error.strerror}", retry=False) from error
    click.echo(f"{path} is written; the next shell reads it")
    if shell == "zsh":
        click.echo("zsh looks there if this line stands in ~/.zshrc before compinit: fpath+=~/.zfunc")
    context.exit()


def _option(name: str, callback: Callable[[click.Context, click.Parameter, str | None], None], text: str) -> Decorator:
    """An option with or without a value, which ends the program."""
    return click.option(
        name,
        is_flag=False,
        flag_value="",
        metavar="[SHELL]",
        expose_value=False,
        is_eager=True,
        callback=callback,
        help=f"{text} SHELL is {', '.join(SHELLS)}; default: that of $SHELL.",
    )


show_completion: Final = _option("--show-completion", _show, "Print the completion script.")
install_completion: Final = _option("--install-completion", _install, "Put it where the shell looks for it.")
