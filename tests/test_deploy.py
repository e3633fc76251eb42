"""What `deploy/` starts and shows exists: commands, options and keys."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest
from clientip.config.load import load
from clientip.edges.cli.main import app
from clientip.edges.telemetry.health import DEFAULT

DEPLOY = Path(__file__).parent.parent / "deploy"


def shown(file: str, pattern: str) -> str:
    """What stands in the one line that looks so."""
    [found] = re.findall(pattern, (DEPLOY / file).read_text(), re.MULTILINE)
    return str(found)


def pod(role: str) -> list[str]:
    """The arguments of the container that has this role."""
    found = shown("kubernetes/stream.yaml", rf"^ +args: \[(stream, --role, {role}, .*)\]$")
    return [word.strip('"') for word in found.split(", ")]


COMMANDS = {  # calls of ours that a service manager, a container or an operator starts
    "stream": shlex.split(shown("clientip.service", r"^ExecStart=/usr/local/bin/clientip (.*)$")),
    "stream in a container": json.loads(shown("Containerfile", r"^CMD (.*)$")),
    "one worker": shlex.split(shown("clientip-reader@.service", r"^ExecStart=/usr/local/bin/clientip (.*)$")),
    "a reader's pod": pod("reader"),
    "an answerer's pod": pod("answerer"),
    "topics": shlex.split(shown("clientip.service", r"^#   clientip (.*) && systemctl")),
    "collector": shlex.split(
        shown("collector/clientip-collector.service", r"^ExecStart=/usr/local/bin/clientip (.*)$")
    ),
    "collector in a container": shown("collector/daemonset.yaml", r"command: \[clientip, (.*)\]$").split(", "),
}


@pytest.mark.parametrize("call", COMMANDS.values(), ids=COMMANDS)
def test_what_is_started_is_a_command_with_options_that_exist(call: list[str]) -> None:
    command: click.Command | None = app
    arguments = [word.replace("%j", "answerer").replace("%i", "9464") for word in call]
    while isinstance(command, click.Group):
        [name, *arguments] = arguments
        command = command.get_command(click.Context(command), name)
    assert command is not None
    assert command.make_context(name, arguments).params  # which fails for an option that it does not know


def listening() -> list[str]:
    """The figures on the usual port, and the probes on the next one, where nothing done to the first holds them up."""
    port = int(DEFAULT.rpartition(":")[2])
    return ["--listen", f"0.0.0.0:{port}", "--probes", f"0.0.0.0:{port + 1}"]


def test_the_container_is_asked_for_its_health_where_it_listens() -> None:
    _, figures, _, probes = (each.rpartition(":")[2] for each in listening())
    assert shown("Containerfile", r"^EXPOSE (.*)$") == f"{figures} {probes}"
    assert shown("Containerfile", r"'http://127.0.0.1:([^']*)'") == f"{probes}/livez"
    assert COMMANDS["stream in a container"][-4:] == listening()


def test_pods_are_asked_for_their_health_where_they_listen() -> None:
    text = (DEPLOY / "kubernetes" / "stream.yaml").read_text()
    _, figures, _, probes = (each.rpartition(":")[2] for each in listening())
    assert [COMMANDS[name][-4:] for name in ("a reader's pod", "an answerer's pod")] == [listening()] * 2
    assert text.count(f"name: metrics, containerPort: {figures}") == 2
    assert text.count(f"name: probes, containerPort: {probes}") == 2
    assert text.count("path: /livez, port: probes") == text.count("path: /readyz, port: probes") == 2


def test_the_systems_that_the_shippers_ask_for_can_be_configured(tmp_path: Path) -> None:
    written = (DEPLOY / "shippers" / "README.md").read_text().partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "shown.toml").write_text(written)
    read = {each.system.name: each.feed for each in load([tmp_path / "shown.toml"]).systems}
    assert {name: feed and feed.topics for name, feed in read.items()} == {
        "ingress": ("raw.ingress",),
        "node": ("raw.nat",),
    }


@pytest.mark.parametrize("file", ["vector.toml", "fluent-bit.yaml", "otel-collector.yaml"])
def test_every_shipper_ships_into_the_topics_that_are_read(file: str) -> None:
    assert set(re.findall(r"\braw\.[a-z]+\b", (DEPLOY / "shippers" / file).read_text())) >= {"raw.ingress", "raw.nat"}
