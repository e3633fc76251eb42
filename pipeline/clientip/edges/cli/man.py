"""The manual page, made from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from clientip import __version__
from clientip.edges.cli.exits import EXIT_CODES, GOES_ON
from clientip.edges.cli.main import PROGRAM, app
from clientip.edges.cli.words import WORDS

_MORE = f"{PROGRAM} help SUBJECT prints the references of configuration, formats, outputs, reasons and metrics."


def man_page() -> str:
    """The page in roff, man(7). It holds no date: the same commands give the same bytes."""
    context = click.Context(app, info_name=PROGRAM)
    about = inspect.cleandoc(app.help or "")
    lines = [
        f'.TH {PROGRAM.upper()} 1 "" "{PROGRAM} {__version__}" "User Commands"',
        ".SH NAME",
        f"{PROGRAM} {_text('-')} {_text(about.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {PROGRAM}",
        _text(" ".join(app.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        _text(about),
        ".PP",
        _text("Data goes to standard output, everything said about it to standard error."),
        ".SH OPTIONS",
        *_options(app, context),
        ".SH COMMANDS",
        *(line for name in app.list_commands(context) for line in _command(name, app, context)),
        ".SH WORDS",
        *(line for word, meaning in WORDS.items() for line in _item(word, meaning)),
        ".SH EXIT STATUS",
        *(line for code, meaning in EXIT_CODES.items() for line in _item(str(code), meaning)),
        ".PP",
        _text(GOES_ON),
        ".SH ENVIRONMENT",
        *_item("CLIENTIP_CONFIG", "The configuration, if -c is not given; colons separate several paths."),
        ".SH SEE ALSO",
        _text(_MORE),
    ]
    return "\n".join(lines) + "\n"


def _command(name: str, group: click.Group, above: click.Context) -> Iterator[str]:
    command = group.get_command(above, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=above)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _command(inner, command, context)
        return
    yield f'.SS "{_text(context.command_path)} {_text(" ".join(command.collect_usage_pieces(context)))}"'
    yield from _paragraphs(command.help or "")
    yield from _options(command, context)
    if command.epilog:
        yield ".PP"
        yield from _paragraphs(command.epilog)


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if number:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for option in command.get_params(context):
        row = option.get_help_record(context) if isinstance(option, click.Option) else None
        if row is not None:  # arguments are explained in the text
            yield from _item(*row)


def _item(head: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_text(head)}"
    yield _text(" ".join(text.split()))


def _text(text: str) -> str:
    """Plain text as roff: nothing in it is a request or an escape.

    >>> print(_text("-c PATH"), _text(".x"), _text("a … b"))
    \\-c PATH \\&.x a \\[u2026] b
    """
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    coded = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in escaped)
    return f"\\&{coded}" if coded.startswith((".", "'")) else coded
