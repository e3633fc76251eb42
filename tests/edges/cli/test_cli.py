"""The command line: exit codes, one line per fault, pipes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.worlds.patience import LIMIT_S

pytestmark = pytest.mark.edge  # each test starts the program

MAIN = [sys.executable, "-c", "from clientip.edges.cli.main import main; main()"]

CONFIG = """
[systems.lb]
addresses = ["10.0.0.10"]
peers = ["outside"]
conveys = [{ header = "x-forwarded-for", mode = "append" }]

[systems.web]
format = "nginx"
logs_peer = "socket"
pattern = '$remote_addr:$remote_port [$time_local] "$http_x_forwarded_for" $http_traceparent "$request" $status'
inputs = ["web.log*"]
peers = ["lb", "outside"]
"""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
LINE = (
    f'10.0.0.10:4711 [02/Mar/2026:10:20:30 +0100] "6.6.6.6, 203.0.113.7" 00-{TRACE}-00f067aa0ba902b7-01 '
    '"GET /shop HTTP/1.1" 200'
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "c.toml").write_text(CONFIG)
    (tmp_path / "web.log").write_text(LINE + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3] / "pipeline"))
    return tmp_path


def clientip(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MAIN, *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False, **options)


def replayed(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return clientip("replay", "-c", "c.toml", "-o", "-", *arguments, **options)


def test_records_go_to_standard_output_and_the_summary_to_the_other(home: Path) -> None:
    done = replayed()
    assert done.returncode == 0
    [row] = done.stdout.splitlines()
    assert json.loads(row)["clientip"]["client"]["ip"] == "203.0.113.7"
    assert "vouched" in done.stderr


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input_is_read(home: Path, packed: bool) -> None:
    text = f"{LINE}\n{LINE}".encode()
    done = subprocess.run(
        [*MAIN, "replay", "-", "-c", "c.toml", "-o", "-"],
        input=gzip.compress(text) if packed else text,
        capture_output=True,
        timeout=LIMIT_S,
        check=True,
    )
    ids = [json.loads(row)["clientip"]["record_id"] for row in done.stdout.splitlines()]
    assert len(set(ids)) == 2


def test_standard_input_may_go_to_a_folder_but_not_be_resumed(home: Path) -> None:
    for extra, code in ((), 0), ((), 2), (("--restart",), 0):
        done = clientip("replay", "-", "-c", "c.toml", "-o", "out", *extra, input=LINE)
        assert done.returncode == code, done.stderr
    assert len((home / "out/enriched.ndjson").read_text().splitlines()) == 1


def test_a_line_in_a_pipe_comes_out_at_once(home: Path) -> None:
    process = subprocess.Popen(
        [*MAIN, "replay", "-", "-c", "c.toml", "-o", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin
    assert process.stdout
    for _ in range(20):  # each is read before the next one is written
        process.stdin.write(LINE.encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.readline()
    process.stdin.close()
    assert process.wait(timeout=LIMIT_S) == 0


def test_a_closed_pipe_ends_the_run_quietly(home: Path) -> None:
    (home / "web.log").write_text(f"{LINE}\n" * 20_000)
    process = subprocess.Popen(
        [*MAIN, "replay", "-c", "c.toml", "-o", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=LIMIT_S) == 141
    assert process.stderr
    assert process.stderr.read() == b""


def test_rejected_lines_go_where_they_are_asked_to(home: Path) -> None:
    (home / "web.log").write_text(f"{LINE}\nnonsense\n")
    assert replayed("--rejected", "bad.ndjson").returncode == 0
    assert json.loads((home / "bad.ndjson").read_text())["raw"] == "nonsense"
    done = replayed("--max-rejected", "0.4")
    assert done.returncode == 1
    assert "1 of 2 lines are rejected" in done.stderr
    assert replayed("--max-rejected", "0.5").returncode == 0


OTHER = """
[systems.other]
format = "nginx"
logs_peer = "socket"
pattern = '$remote_addr [$time_iso8601] $status'
inputs = ["other.log", "other.*.log"]
peers = ["outside"]
"""


@pytest.mark.parametrize("out", ["out", "-"])
def test_a_system_of_which_no_line_is_read_ends_the_run_with_1_and_its_first_complaint(home: Path, out: str) -> None:
    (home / "c.toml").write_text(CONFIG + OTHER)
    (home / "other.log").write_text("\n203.0.113.7 nonsense\n")
    call = ("replay", "-c", "c.toml", "-o", out)
    done = clientip(*call)
    assert done.returncode == 1
    [said] = [line for line in done.stderr.splitlines() if line.startswith("clientip: other: no line could be read")]
    assert f"the first is in {home}/other.log at byte 1 and stops fitting after" in said
    assert "check `format` and `pattern`" in said
    assert ("clientip: rejected lines: out/rejected.ndjson" in done.stderr.splitlines()) == (out == "out")
    again = clientip(*call)  # the run is complete: the same answer without reading anything
    assert (again.returncode, "other: no line could be read" in again.stderr) == (1, True)
    assert clientip(*call, "--max-rejected", "1").returncode == 0
    (home / "other.log").write_text("203.0.113.7 [2024-05-01T10:00:00Z] 200\nnonsense\n")
    assert clientip(*call, *(["--restart"] if out == "out" else [])).returncode == 0


def test_after_a_run_it_is_said_where_the_results_are(home: Path) -> None:
    done = clientip("replay", "-c", "c.toml", "-o", "out", "--compress", "zstd", "--output", "record")
    assert done.stderr.splitlines()[-1] == "clientip: records: out/record.ndjson.zst"
    assert (home / "out/record.ndjson.zst").exists()


def test_a_share_is_rounded_once(home: Path) -> None:
    strange = LINE.replace("10.0.0.10", "198.51.100.9").replace("lb", "")
    (home / "c.toml").write_text(CONFIG.replace('["lb", "outside"]', '["lb"]'))
    (home / "web.log").write_text(f"{LINE}\n" * 24_961 + f"{strange}\n" * 999)
    shares = [line.split()[-1] for line in replayed().stderr.splitlines() if " 999 " in line and line.endswith("%")]
    assert shares == ["3.8%", "3.8%"]  # 3.8482 %; 3.85 % would be shown as 3.9 %


def test_inputs_that_match_nothing_are_an_error_of_the_call_or_the_configuration(home: Path) -> None:
    (home / "c.toml").write_text(CONFIG + OTHER)
    one_line(replayed(), 2, "systems.other.inputs: nothing matches", "other.*.log")
    one_line(clientip("replay", "-c", "c.toml", "-o", "out"), 2, "systems.other.inputs: nothing matches")
    one_line(replayed("web.log", "nowhere*"), 2, "nothing matches nowhere*")
    assert replayed("web.log").returncode == 0
    assert replayed("--system", "web").returncode == 0
    (home / "other.log").write_text("")
    assert replayed().returncode == 0  # an empty log is no mistake, and one of two patterns may find nothing


def one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_what_the_operator_must_mend_is_exit_2(home: Path) -> None:
    one_line(clientip("replay", "-c", "no.toml", "-o", "-"), 2, "no.toml: cannot be read")
    one_line(replayed("--from", "yesterday"), 2, "--from", "write a date like 2024-05-01")
    one_line(replayed("--output", "yaml"), 2, "--output", "enriched")
    one_line(replayed("--compress", "gzip"), 2, "--compress")
    one_line(replayed("--system", "nginx"), 2, "--system", "web")
    one_line(replayed("nowhere"), 2, "nothing matches nowhere")
    one_line(clientip("replay", "-c", "c.toml", "-o", "out", "--rejected", "x"), 2, "--rejected")
    one_line(replayed("--workers", "0"), 2, "--workers")
    (home / "c.toml").write_text(CONFIG + '[geo]\ncity = "no.mmdb"\n')
    one_line(replayed(), 2, "geo.city", "no.mmdb")


def test_what_the_world_did_is_exit_3(home: Path) -> None:
    (home / "file").write_text("")
    one_line(clientip("replay", "-c", "c.toml", "-o", "file/out"), 3, "cannot write file/out")
    one_line(replayed("--rejected", "file/bad"), 3, "cannot write file/bad")
    (home / "run/plan.json").mkdir(parents=True)
    one_line(clientip("replay", "-c", "c.toml", "-o", "run"), 3, "cannot read run/plan.json: Is a directory")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*MAIN, "replay", "-c", "c.toml", "-o", "-"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    one_line(done, 3, "standard output", "No space left")


def test_progress_and_summary_name_no_client(home: Path) -> None:
    assert "203.0.113.7" not in replayed().stderr


def test_explain_shows_the_path_of_a_line(home: Path) -> None:
    done = clientip("explain", "-c", "c.toml", "--system", "web", "--line", LINE)
    assert done.returncode == 0, done.stderr
    assert "203.0.113.7" in done.stdout
    assert "x-forwarded-for" in done.stdout
    assert "rejected: no_match" in clientip("explain", "-c", "c.toml", "--system", "web", "--line", "x").stdout
    assert "skipped: blank" in clientip("explain", "-c", "c.toml", "--system", "web", "--line", " ").stdout


def test_explain_finds_records_among_the_inputs(home: Path) -> None:
    row = json.loads(replayed().stdout)["clientip"]
    by_id = clientip("explain", "-c", "c.toml", "--id", row["record_id"], "--json")
    by_trace = clientip("explain", "-c", "c.toml", "--trace", TRACE, "web.log", "--json")
    assert json.loads(by_id.stdout)["record_id"] == json.loads(by_trace.stdout)["record_id"] == row["record_id"]
    one_line(clientip("explain", "-c", "c.toml", "--id", "0" * 32), 1, "no such record")
    one_line(clientip("explain", "-c", "c.toml"), 2, "--line, --id and --trace")
    one_line(clientip("explain", "-c", "c.toml", "--line", "x"), 2, "--system")


def test_read_shows_what_a_format_sees_without_trust(home: Path) -> None:
    pattern = CONFIG.partition("pattern = '")[2].partition("'")[0]
    (home / "web.log").write_text(f"{LINE}\n\nnonsense\n")
    arguments = ["read", "--format", "nginx", "--pattern", pattern, "--logs-peer", "socket", "web.log"]
    done = clientip(*arguments)
    seen, skipped, rejected = map(json.loads, done.stdout.splitlines())
    assert seen["peer"] == "10.0.0.10:4711"
    assert seen["claims"][0]["values"] == ["6.6.6.6, 203.0.113.7"]
    assert seen["ids"]["trace"] == TRACE
    assert (skipped["skipped"], rejected["rejected"]) == ("blank", "no_match")
    assert clientip(*arguments[:-1], "-", input=f"{LINE}\n").stdout.splitlines() == done.stdout.splitlines()[:1]
    one_line(clientip("read", "--format", "nix", "web.log"), 2, "--format")
    one_line(clientip("read", "--format", "nginx", "--pattern", "$status", "--option", "x", "web.log"), 2, "KEY=VALUE")
    one_line(clientip("read", "--format", "nginx", "--pattern", "nothing", "web.log"), 2, "holds no $variable")


def test_read_takes_what_is_not_said_from_the_look_of_the_file_and_says_so(home: Path) -> None:
    line = "Mar  2 10:20:30 a haproxy[7]: 203.0.113.7:5 [02/Mar/2026:10:20:30.250] w b/s 0/0/1/8/9 200 5 - - ---- "
    line += '1/1/0/0/0 0/0 {198.51.100.4} "GET / HTTP/1.1"'
    (home / "web.log").write_text(f"{line}\n")
    done = clientip("read", "--format", "haproxy", "--capture", "X-Forwarded-For", "web.log")
    seen = json.loads(done.stdout)
    assert (seen["peer"], seen["claims"][0]["values"]) == ("203.0.113.7:5", ["198.51.100.4"])
    assert done.stderr.endswith("look of it: --logs-peer socket --timezone UTC --wrapper syslog3164\n")
    said = ("--logs-peer", "realip", "--timezone", "UTC", "--wrapper", "syslog3164", "--pattern", "httplog")
    done = clientip("read", "--format", "haproxy", *said, "web.log")
    assert (json.loads(done.stdout)["stated"], done.stderr) == ("203.0.113.7", "")


@pytest.mark.parametrize("topic", ["config", "formats", "metrics", "outputs", "presets", "reasons"])
def test_help_prints_its_tables(home: Path, topic: str) -> None:
    done = clientip("help", topic)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 50


def test_check_init_and_resolve_answer(home: Path) -> None:
    (home / "web.log").write_text(f"{LINE}\n" * 20)
    assert clientip("check", "-c", "c.toml").returncode == 0
    (home / "web.log").write_text("nonsense\n" * 20)
    assert clientip("check", "-c", "c.toml").returncode == 1
    assert "[systems." in clientip("init", "web.log").stdout or "web.log" in clientip("init", "web.log").stdout
    question = json.dumps({"id": 1, "peer": "203.0.113.7:5"}) + "\n"
    assert json.loads(clientip("resolve", input=question).stdout)["verdict"] == "seen"


def test_the_version_and_the_exit_codes_are_told() -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3] / "pipeline")}
    assert clientip("--version", env=environment).stdout.startswith("clientip ")
    assert "Exit codes:\n  0    Done." in clientip("--help", env=environment).stdout
    assert clientip("unknown", env=environment).returncode == 2


def test_a_file_name_that_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.log")).write_bytes(b"203.0.113.7 200\n")
    config = tmp_path / "c.toml"
    config.write_text(
        '[systems.web]\nformat = "nginx"\npattern = "$remote_addr $status"\nlogs_peer = "socket"\npeers = ["outside"]\n'
    )
    program = [sys.executable, "-c", "from clientip.edges.cli.main import main; main()"]
    call = [*program, "replay", "-c", str(config), "-o", str(tmp_path / "out"), "--system", "web", str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "rename the file" in done.stderr
