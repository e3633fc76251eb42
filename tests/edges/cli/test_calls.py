"""The commands as one finds them: what is listed, how a wrong call is told, and that each loads for itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from clientip.edges.cli.help import SUBJECTS
from clientip.edges.cli.main import COMMANDS, app
from clientip.edges.cli.words import words_in
from clientip.formats import FORMATS
from clientip.outputs import OUTPUTS, PURPOSES

from tests.worlds.patience import LIMIT_S

PACKAGE = Path(__file__).parents[3] / "pipeline"
DEPLOY = PACKAGE.parent / "deploy"
CONTEXT = click.Context(app, info_name="clientip")


def command(name: str) -> click.Command:
    found = app.get_command(CONTEXT, name)
    assert found is not None
    return found


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with what is typed before it, groups among them."""
    for name in app.list_commands(CONTEXT):
        yield name, command(name)
        if isinstance(command(name), click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in command(name).commands.items())


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            *([] if code == "-m" else ["-c"]),
            *([code] if code != "-m" else ["-m", "clientip"]),
            *arguments,
        ],
        env=os.environ | {"PYTHONPATH": str(PACKAGE)} | environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_its_own_help_begins_with(name: str) -> None:
    assert " ".join((command(name).help or "").split()).startswith(COMMANDS[name])
    assert command(name).name == name


@pytest.mark.parametrize(("name", "each"), [*commands()])
def test_every_option_says_what_it_is_for(name: str, each: click.Command) -> None:
    silent = [option.opts for option in each.params if isinstance(option, click.Option) and not option.help]
    assert silent == []


def test_the_list_of_commands_loads_none_of_them() -> None:
    code = "import sys\nfrom clientip.edges.cli.main import app\napp(standalone_mode=False)\nprint(*sys.modules)"
    loaded = python(code, "--help").stdout.splitlines()[-1].split()
    assert "clientip.edges.cli.main" in loaded
    heavy = {
        "rich",
        "msgspec",
        "confluent_kafka",
        "opentelemetry",
        "multiprocessing",
        "clientip.engine",
        "clientip.model",
    }
    assert heavy.isdisjoint(loaded)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["replya"], "clientip: no command 'replya'; did you mean \"replay\"?; see `clientip --help`"),
        (["kafka", "topcs"], "clientip: no such command 'topcs'"),
        (
            ["replay", "--worker", "1"],
            "clientip: no such option '--worker'. Did you mean '--workers'?; see `clientip replay --help`",
        ),
        (["replay", "-c", "c.toml"], "clientip: missing option '-o' / '--out'; see `clientip replay --help`"),
        (["replay", "-o", "-"], "clientip: missing option '-c' / '--config' (env var: 'CLIENTIP_CONFIG')"),
        (
            ["replay", "-c", "c.toml", "-o", "-", "--workers", "0"],
            "clientip: invalid value for '--workers': 0 is not in",
        ),
        (
            ["replay", "-c", "c.toml", "-o", "-", "--compress", "lz4"],
            "clientip: invalid value for '--compress': 'lz4' is not",
        ),
        (["read", "web.log"], "clientip: missing option '--format'"),
        (["check", "-c", "c.toml", "more"], "clientip: got unexpected extra argument"),
        (["help", "configuration"], "clientip: help: unknown 'configuration'; did you mean \"config\"?"),
        (["replay", "-c", "no.toml", "-o", "-"], "clientip: no.toml: cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_call_is_told_in_one_line_like_every_other_fault(call: list[str], said: str) -> None:
    done = python("-m", *call)
    [line] = done.stderr.splitlines()
    assert line.startswith(said)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("call", [[], ["collect"], ["kafka"]])
def test_a_group_without_a_command_shows_its_help(call: list[str]) -> None:
    done = python("-m", *call)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(" ".join(["Usage: clientip", *call]))
    assert "Commands:" in done.stderr


def test_the_configuration_may_stand_in_the_environment(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/web.toml").write_text('[systems.web]\nformat = "aws_alb"\npeers = ["lb"]\n')
    (tmp_path / "lb.toml").write_text('[systems.lb]\naddresses = ["10.0.0.1"]\npeers = ["outside"]\n')
    variable = f"{tmp_path / 'a'}:{tmp_path / 'lb.toml'}"
    done = CliRunner().invoke(app, ["check"], env={"CLIENTIP_CONFIG": variable}, standalone_mode=False)
    assert (done.return_value, done.stderr) == (0, "")
    assert "web: aws_alb" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(shell: str, tmp_path: Path) -> None:
    shown = python("-m", "--show-completion", SHELL=f"/usr/bin/{shell}")
    assert "_CLIENTIP_COMPLETE" in shown.stdout
    assert shown.stdout == python("-m", "--show-completion", shell).stdout
    assert python("-m", "--install-completion", shell, HOME=str(tmp_path)).returncode == 0
    [written] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written.read_text() == shown.stdout
    asked = {"COMP_WORDS": "clientip rep", "COMP_CWORD": "rep" if shell == "fish" else "1"}
    assert "replay" in python("-m", _CLIENTIP_COMPLETE=f"{shell}_complete", **asked).stdout
    asked = {"COMP_WORDS": "clientip replay --max-", "COMP_CWORD": "--max-" if shell == "fish" else "2"}
    assert "--max-rejected" in python("-m", _CLIENTIP_COMPLETE=f"{shell}_complete", **asked).stdout


def test_an_unknown_shell_is_told(tmp_path: Path) -> None:
    done = python("-m", "--show-completion", SHELL="/bin/tcsh")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("clientip: which shell? Write one of bash, zsh, fish")
    (tmp_path / ".config").write_text("")
    done = python("-m", "--install-completion", "fish", HOME=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "cannot write" in done.stderr


def test_help_without_a_subject_lists_the_subjects() -> None:
    done = python("-m", "help")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == list(SUBJECTS)


@pytest.mark.parametrize("subject", [name for name in SUBJECTS if name not in ("man", "words")])
def test_a_word_of_our_own_is_explained_before_it_is_used(subject: str) -> None:
    head, _, text = CliRunner().invoke(app, ["help", subject]).stdout.partition("\n\n")
    explained = {line[2:].split("  ")[0] for line in head.splitlines()[1:] if not line.startswith("   ")}
    assert head.startswith("Words:\n")
    assert explained == set(words_in(text))
    assert {"config": {"promise", "peer"}, "metrics": {"question", "fact", "reader"}}.get(subject, set()) <= explained


def test_the_outputs_are_told_by_what_they_are_for() -> None:
    assert PURPOSES.keys() == OUTPUTS.keys()
    text = CliRunner().invoke(app, ["help", "outputs"]).stdout
    assert all(f"{name}:\n    For " in text for name in OUTPUTS)
    assert not any((render.__doc__ or "-").splitlines()[0] in text for render in OUTPUTS.values())


def test_what_breaks_lossless_is_told_of_every_product_that_is_read() -> None:
    text = CliRunner().invoke(app, ["help", "lossless"]).stdout
    products = (
        "HAProxy",
        "nginx",
        "Apache httpd",
        "Envoy",
        "Traefik",
        "Caddy",
        "Varnish",
        "AWS",
        "OpenTelemetry",
        "NAT",
    )
    assert all(f"\n{name}" in text for name in products)
    titles = {each.title.replace("NGINX", "nginx") for each in FORMATS.values()}
    apart = {title for title in titles if not any(name in title for name in products)}
    assert all(any(word in title for word in ("conntrack", "ulogd2", "Flow records")) for title in apart)
    assert all(f"{head}:" in text for head in ("rsyslog", "syslog-ng", "journald", "Flow records, VPC flow logs"))


def test_the_manual_page_is_in_step_with_the_commands() -> None:
    page = CliRunner().invoke(app, ["help", "man"]).stdout
    assert (DEPLOY / "clientip.1").read_text() == page, "run `make man`"
    for name, each in commands():
        if not isinstance(each, click.Group):
            assert f"clientip {name} ".replace("-", "\\-") in page
            longest = [max(option.opts, key=len) for option in each.params if isinstance(option, click.Option)]
            assert all(option.replace("-", "\\-") in page for option in longest)


@pytest.mark.edge
def test_the_manual_page_renders_without_a_warning() -> None:
    call = ["groff", "-man", "-Tutf8", "-ww", "-z", str(DEPLOY / "clientip.1")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
