"""`clientip init` guesses how a file is written, believes nobody, and what it prints can be loaded."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner
from clientip.config.load import load
from clientip.edges.cli.guess import guess
from clientip.edges.cli.init import init
from clientip.edges.cli.main import app
from clientip.edges.disk.inputs import find_inputs
from clientip.errors import ConfigError, SinkError
from clientip.formats import FORMATS
from clientip.model import Format
from clientip.settings import SystemSettings

BALANCED = '10.0.3.7 - - [01/May/2024:10:00:{:02} +0000] "GET /a HTTP/1.1" 200 5 "-" "curl/8" "203.0.113.{}"'
DIRECT = '192.168.7.{} - - [01/May/2024:10:00:00 +0000] "GET /b HTTP/1.1" 200 5 "-" "curl/8" "-"'
LINES = [BALANCED.format(number % 60, number) for number in range(60)] + [DIRECT.format(n) for n in range(40)]


def log(folder: Path, lines: list[str] = LINES, name: str = "web.log") -> str:
    (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return str(folder / name)


def systems_of(folder: Path, text: str) -> tuple[SystemSettings, ...]:
    (folder / "clientip.toml").write_text(text)
    return load([folder / "clientip.toml"]).systems


def test_what_is_printed_can_be_loaded_and_finds_its_file(tmp_path: Path) -> None:
    path = log(tmp_path)
    [web] = systems_of(tmp_path, init([path], tmp_path))
    assert web.system.name == "web"
    assert web.inputs == (path,)
    assert web.setup is not None
    assert web.setup.format == "nginx"


def test_nobody_is_believed_until_the_operator_says_so(tmp_path: Path) -> None:
    [web] = systems_of(tmp_path, init([log(tmp_path)], tmp_path))
    assert web.system.peers == {"internal"}
    assert (web.system.believes, web.system.conveys, web.system.logs_peer) == ((), (), "socket")


def test_a_frequent_sender_of_a_header_becomes_a_question_with_its_answer_in_comments(tmp_path: Path) -> None:
    text = init([log(tmp_path)], tmp_path)
    assert "# Question: 10.0.3.7: 60 % of the lines, always with x-forwarded-for: a balancer?" in text
    answer = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#     ")]
    systems = systems_of(tmp_path, text + "\n".join(answer) + "\n")
    assert [each.system.name for each in systems] == ["web", "web-hop-1"]


def test_a_word_that_only_the_operator_can_give_is_a_question_and_its_answer_a_comment(tmp_path: Path) -> None:
    ends = "inbound|80|| 127.0.0.6:40001 10.1.0.8:80 10.0.3.7:50112 - default"
    head = '[2026-03-02T09:20:30.250Z] "GET /a HTTP/1.1" 200 - via_upstream - "-" 0 3 9 8'
    path = log(
        tmp_path, [f'{head} "-" "x" "r-{number}" "www.example.com" "10.1.0.8:80" {ends}' for number in range(20)]
    )
    text = init([path], tmp_path)
    answer = '# options = { server_name = "checked" }'
    assert answer in text.splitlines()
    with pytest.raises(ConfigError, match="server_name"):
        systems_of(tmp_path, text)
    [web] = systems_of(tmp_path, text.replace(answer, answer.removeprefix("# ")))
    assert web.setup is not None
    assert web.setup.format == "envoy_text"


def test_addresses_of_clients_do_not_get_into_the_configuration(tmp_path: Path) -> None:
    lines = [DIRECT.replace("192.168.7.", "203.0.113.").format(number) for number in range(100)]
    text = init([log(tmp_path, lines)], tmp_path)
    assert "203.0.113." not in text
    assert '100 % of the lines come from public addresses: if these are clients and no CDN, add "outside".' in text


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, bz2.compress, zstandard.compress], ids=["plain", "gzip", "bzip2", "zstd"]
)
def test_compressed_files_are_guessed_alike(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    plain = Path(log(tmp_path)).read_bytes()
    (tmp_path / "packed").write_bytes(pack(plain))
    packed = guess(str(tmp_path / "packed"))
    assert packed.best == guess(str(tmp_path / "web.log")).best
    assert (packed.read, packed.lines) == (100, 100)


def test_a_wrapper_is_found(tmp_path: Path) -> None:
    lines = [json.dumps({"log": line + "\n", "stream": "stdout", "time": "2024-05-01T10:00:00Z"}) for line in LINES]
    best = guess(log(tmp_path, lines)).best
    assert best is not None
    assert (best.format, best.wrapper) == ("nginx", ("docker",))


def test_files_that_lie_together_and_read_alike_are_one_system(tmp_path: Path) -> None:
    paths = [log(tmp_path, name=f"web.{number}.log") for number in range(3)]
    [web] = systems_of(tmp_path, init(paths, tmp_path))
    assert list(web.inputs) == paths


def test_two_systems_get_two_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    paths = [log(tmp_path / "a", name="access.log"), log(tmp_path / "b", name="access.log")]
    assert [each.system.name for each in systems_of(tmp_path, init(paths, tmp_path))] == ["nginx", "nginx-2"]


def test_a_folder_is_called_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="is a folder; name the log files in it"):
        init([str(tmp_path)], tmp_path)


def test_a_file_nobody_can_read_is_a_question(tmp_path: Path) -> None:
    text = init([log(tmp_path), log(tmp_path, ["what is this?"] * 5, "odd\n.log")], tmp_path)
    assert 'odd\\n.log" written? No format reads any of its 5 lines.' in text
    assert len(systems_of(tmp_path, text)) == 1


@pytest.mark.parametrize("name", ['we"b[1] ü.log', "we\udcffb.log", "web\t'1.log"])
def test_a_file_with_an_odd_name_is_still_found(tmp_path: Path, name: str) -> None:
    path = log(tmp_path, name=name)
    text = init([path], tmp_path)
    (tmp_path / "clientip.toml").write_text(text)
    assert [each.path for each in find_inputs(load([tmp_path / "clientip.toml"]), (), None).files] == [path]


def test_lines_that_do_not_fit_are_a_question(tmp_path: Path) -> None:
    text = init([log(tmp_path, LINES[:10] + ["what is this?"] * 5)], tmp_path)
    assert "# 10 of 15 sampled lines read as nginx" in text
    assert "# Question: who writes the other lines?" in text


def test_equals_are_told(tmp_path: Path) -> None:
    lines = [line.rpartition(' "')[0] for line in LINES]  # "combined" is what nginx and Apache both call it
    text = init([log(tmp_path, lines)], tmp_path)
    assert "# Question: which server wrote it? These read just as much: apache" in text


def test_a_format_that_shows_no_peer_is_proposed_only_where_no_other_shows_one(tmp_path: Path) -> None:
    lines = [line.rpartition(' "')[0] for line in LINES] + [DIRECT.format(1).replace(" - -", ", 10.0.0.1 - -")] * 9
    found = guess(log(tmp_path, [line.removesuffix(' "-"') for line in lines]))
    assert found.best is not None
    assert found.best.format == "nginx"
    assert "traefik_clf" in {one.format for one in found.equals}  # its short form looks just like it


def test_a_log_of_several_formats_side_by_side_needs_no_pattern(tmp_path: Path) -> None:
    head = "203.0.113.7:5 [02/Mar/2026:10:20:30.250] w b/s "
    request = head + '0/0/1/8/9 200 5 - - ---- 1/1/0/0/0 0/0 "GET / HTTP/1.1"'
    [web] = systems_of(tmp_path, init([log(tmp_path, [request, head + "1/0/8 14 -- 2/1/0/0/0 0/0"])], tmp_path))
    assert web.setup is not None
    assert (web.setup.format, web.setup.pattern) == ("haproxy", None)


def test_every_other_format_is_told_once(tmp_path: Path) -> None:
    combined = [line.rpartition(' "')[0] for line in LINES]
    wrapped = [f"Mar  2 10:20:30 a nginx[7]: {line}" for line in combined]
    for lines in (combined, wrapped):
        [told] = [line for line in init([log(tmp_path, lines)], tmp_path).splitlines() if "just as much" in line]
        formats = told.partition("just as much: ")[2].rstrip(".").split("; ")
        assert len(formats) == len(set(formats)) > 1
        assert {"apache", "varnish"} <= set(formats)


def test_nodes_that_behave_alike_are_proposed_as_one_system(tmp_path: Path) -> None:
    nodes = [line.replace("10.0.3.7", f"10.0.3.{number % 8 + 1}") for number, line in enumerate(LINES[:60])]
    other = LINES[0].replace("10.0.3.7", "10.0.9.9").replace('"203.0.113.0"', '"-"')
    text = init([log(tmp_path, [*nodes, *[other] * 5])], tmp_path)
    assert text.count("a balancer?") == 1
    answer = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#     ")]
    [_, hop] = systems_of(tmp_path, text + "\n".join(answer) + "\n")
    assert sorted(own.text for own in hop.system.owns) == [f"10.0.3.{number}" for number in range(1, 9)]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (
            "ingress-nginx-controller-5d88495688-x7vbn_ingress-nginx_controller-0a1b2c3d.log",
            "ingress-nginx-controller",
        ),
        ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.log", "e3b0c44298fc1c149afbf4c8"),
        ("web.example.org.access.log", "web"),
    ],
)
def test_a_long_file_name_gives_a_short_system_name(tmp_path: Path, file: str, name: str) -> None:
    [system] = systems_of(tmp_path, init([log(tmp_path, name=file)], tmp_path))
    assert system.system.name == name


def test_what_goes_to_a_file_finds_its_logs_from_there_and_replaces_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "etc").mkdir()
    path = log(tmp_path / "logs")
    monkeypatch.chdir(tmp_path / "logs")
    written = tmp_path / "etc" / "first.toml"
    call = ["init", "web.log", "-o", "../etc/first.toml"]
    assert CliRunner().invoke(app, call, standalone_mode=False).return_value is None
    assert 'inputs = ["../logs/web.log"]' in written.read_text()
    assert [str(Path(each.path).resolve()) for each in find_inputs(load([written]), (), None).files] == [path]
    again = CliRunner().invoke(app, call, standalone_mode=False)
    assert (again.return_value, "is there already" in again.stderr) == (2, True)
    printed = CliRunner().invoke(app, ["init", "web.log"], standalone_mode=False).stdout
    (tmp_path / "etc" / "printed.toml").write_text(printed)
    assert [each.path for each in find_inputs(load([tmp_path / "etc" / "printed.toml"]), (), None).files] == [path]


def _plain(row: Format) -> list[bytes]:
    """The samples that need no setup of their own."""
    return [sample.line for sample in row.samples if not sample.setup and sample.rejected is None]


def _can_be_guessed(row: Format) -> bool:
    return any(not sample.setup and not sample.rejected and not sample.skipped for sample in row.samples)


@pytest.mark.parametrize("row", [row for row in FORMATS.values() if _can_be_guessed(row)], ids=lambda row: row.name)
def test_the_samples_of_a_format_are_guessed_and_the_result_loads(tmp_path: Path, row: Format) -> None:
    plain = _plain(row)
    framed = [len(line).to_bytes(4, "big") + line if row.framing == "length32" else line + b"\n" for line in plain]
    path = tmp_path / "some.log"
    path.write_bytes(b"".join(framed))
    found = guess(str(path))
    assert found.best is not None
    assert row.name in {found.best.format, *(one.format for one in found.equals)}
    [system] = systems_of(tmp_path, init([str(path)], tmp_path))
    assert system.setup is not None
    assert system.setup.format == found.best.format
