"""`import clientip`: the same records as the command's, as values and as tables; a surface that stays small."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import clientip
import duckdb
import polars
import pytest
from clientip.config.load import load as settings_of
from clientip.edges.library.arrow import scan
from clientip.edges.library.records import load, replay, resolve
from clientip.edges.replay.plan import ReplayOptions, Request
from clientip.edges.replay.run import replay as replay_command
from clientip.errors import ConfigError, FormatError, SinkError
from clientip.formats import FORMATS
from clientip.model import Record, Rejected
from clientip.outputs import OUTPUTS, rejected_row
from clientip.outputs.columns import COLUMNS

from tests.edges.test_geo import BERN, database
from tests.worlds.lab_logs import NAMES, RECORDED, ROOT
from tests.worlds.replay_worlds import Shape, world, write

DEMO = ROOT / "deploy/demo/clientip.toml"
WEB = """
[systems.web]
format    = "nginx"
pattern   = "$remote_addr $status $body_bytes_sent"
inputs    = ["{instance}.log*"]
logs_peer = "socket"
peers     = ["outside", "internal"]
"""


def configured(folder: Path, text: str = WEB) -> Path:
    (folder / "c.toml").write_text(text)
    return folder / "c.toml"


def by_command(config: Path, out: Path) -> tuple[bytes, bytes]:
    """The rows of records and of rejected lines that `clientip replay` writes."""
    replay_command(Request((config,), options=ReplayOptions(output="record")), out, print)
    return (out / "record.ndjson").read_bytes(), (out / "rejected.ndjson").read_bytes()


def by_library(config: Path) -> tuple[bytes, bytes]:
    rules, rejected = settings_of([config]).rules, list[Rejected]()
    records = [OUTPUTS["record"](record, rules) for record in replay(config, on_rejected=rejected.append)]
    systems = {each.system.name for each in settings_of([config]).systems if each.setup is not None}
    system = min(systems)  # rejected rows name the system, which only the command knows: where there is one
    return rows(records), rows([rejected_row(each, system, rules) for each in rejected])


def rows(each: list[bytes]) -> bytes:
    return b"".join(row + b"\n" for row in each)


def test_the_records_are_those_of_the_command(tmp_path: Path) -> None:
    assert by_library(DEMO) == by_command(DEMO, tmp_path / "out")


@pytest.mark.parametrize("name", NAMES)
def test_the_records_are_those_of_the_command_where_lines_answer_for_each_other(name: str, tmp_path: Path) -> None:
    config = RECORDED / name / "clientip.toml"
    records, rejected = by_command(config, tmp_path / "out")
    found = by_library(config)
    assert found[0] == records
    assert found[1].count(b"\n") == rejected.count(b"\n")


def test_the_recordings_have_clients_that_only_another_log_knows() -> None:
    found = [each.resolution.verdict for each in replay(RECORDED / "chain" / "clientip.toml")]
    assert "joined" in found


@pytest.mark.edge
def test_a_key_that_an_attacker_filled_is_crowded_as_in_the_command(tmp_path: Path) -> None:
    files = world(Shape(flows=1, balancer=True, shows_port=False))
    app, (first, lb, *_, last) = files.logs["app/app.log"][0], files.logs["lb/lb.log"]
    write(files, tmp_path)
    (tmp_path / "app/app.log").write_bytes((app + b"\n") * 3_000)
    (tmp_path / "lb/lb.log").write_bytes(b"\n".join([first, *[lb] * 3_000, last, b""]))
    records, _ = by_command(tmp_path / "c.toml", tmp_path / "out")
    assert by_library(tmp_path / "c.toml")[0] == records
    assert {json.loads(row).get("reason") for row in records.splitlines()} >= {"crowded"}


def test_a_rejected_line_is_no_record_and_is_told(tmp_path: Path) -> None:
    lines = [b"203.0.113.7 200 5", b"no such line", b"x" * 2_000, b"198.51.100.9 404 0"]
    (tmp_path / "a.log").write_bytes(rows(lines))
    config, rejected = configured(tmp_path, WEB + "[limits]\nline_bytes = 1000\n"), list[Rejected]()
    records = list(replay(config, on_rejected=rejected.append))
    assert [each.line.raw for each in records] == [lines[0], lines[3]]
    assert [(each.line.raw, each.reason) for each in rejected] == [
        (lines[1], "no_match"),
        (lines[2][:1000], "too_long"),
    ]


def test_a_file_that_breaks_off_is_an_error_after_the_lines_before_it(tmp_path: Path) -> None:
    packed = gzip.compress(b"203.0.113.7 200 5\n" * 50_000)
    (tmp_path / "a.log.gz").write_bytes(packed[:-20])
    records = replay(configured(tmp_path))
    assert next(records).observation.instance == "a"
    with pytest.raises(SinkError, match=r"a\.log\.gz"):
        list(records)


@pytest.mark.parametrize("named", ["-", "kafka:raw.web", ["a.log", "-"]])
def test_only_files_are_read_here(named: str | list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name files"):
        replay(configured(tmp_path), named)


def test_what_an_operator_should_know_is_a_warning(tmp_path: Path) -> None:
    files = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for file in files:
        file.write_bytes(b"203.0.113.7 200 5\n")
    with pytest.warns(UserWarning, match="begins like"):
        assert len(list(replay(configured(tmp_path), files, system="web"))) == 2


def test_a_named_file_that_is_not_there_is_a_fault_before_the_first_record(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"203.0.113.7 200 5\n")
    with pytest.raises(ConfigError, match="nothing matches"):
        replay(configured(tmp_path), [tmp_path / "a.log", tmp_path / "b.log"])


def test_one_line_is_resolved_as_in_a_log_of_that_line_alone(tmp_path: Path) -> None:
    for name in NAMES:
        config = RECORDED / name / "clientip.toml"
        engine = load(config)
        for number, record in enumerate(replay(config)):
            system = record.observation.setup.system
            framed = FORMATS[record.observation.setup.format].framing != "lines"
            if number > 2 or framed or record.line.text is not record.line.raw:
                continue
            (tmp_path / "one.log").write_bytes(record.line.raw + b"\n")
            [alone] = replay(config, tmp_path / "one.log", system=system)
            assert resolve(engine, record.line.raw + b"\r\n", system) == alone.resolution


@pytest.mark.parametrize(
    ("line", "reason"),
    [("no such line", "no_match"), ("", "no_request"), (b"203.0.113.7 200 5" + b"0" * (1 << 20), "too_long")],
)
def test_a_line_that_is_no_request_is_a_format_error(line: str | bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=reason):
        resolve(load(configured(tmp_path)), line)


def test_a_system_must_be_named_where_several_write_a_log(tmp_path: Path) -> None:
    assert resolve(load(configured(tmp_path)), "203.0.113.7 200 5").verdict == "seen"
    two = load(configured(tmp_path, WEB + WEB.replace("systems.web", "systems.other")))
    with pytest.raises(ConfigError, match="name one; there are: other, web"):
        resolve(two, "203.0.113.7 200 5")
    with pytest.raises(ConfigError, match="'app' is no system with a format"):
        resolve(two, "203.0.113.7 200 5", "app")


# Tables.


def told(config: Path) -> list[dict[str, Any]]:
    return polars.DataFrame(scan((), config)).to_dicts()


def test_a_table_has_one_row_a_record_in_their_order() -> None:
    config = RECORDED / "chain" / "clientip.toml"
    records = list(replay(config))
    table = told(config)
    assert [row["record_id"] for row in table] == [each.record_id for each in records]
    for row, each in zip(table, records, strict=True):
        named = each.resolution.named
        assert row["client_address"] == (None if named is None else named.address.text)
        assert row["client_port"] == (None if named is None else named.port)
        assert row["line"] == each.line.raw
        assert [step["address"] for step in json.loads(row["path"])] == [step.address for step in each.resolution.path]


def test_an_internal_end_of_a_walk_is_no_client_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"10.9.9.9 200 5\n203.0.113.7 200 5\n")
    [inner, outer] = told(configured(tmp_path))
    assert (inner["verdict"], inner["client_address"]) == ("internal", None)
    assert (outer["verdict"], outer["client_address"]) == ("seen", "203.0.113.7")


def test_the_place_of_a_client_has_columns(tmp_path: Path) -> None:
    database(tmp_path / "city.mmdb", "GeoLite2-City", {"203.0.113.0/24": BERN})
    (tmp_path / "a.log").write_bytes(b"203.0.113.7 200 5\n10.9.9.9 200 5\n")
    placed, inner = told(configured(tmp_path, WEB + '[geo]\ncity = "city.mmdb"\n'))
    assert (placed["country"], placed["city"]) == ("CH", "Bern")
    assert (inner["country"], inner["city"]) == (None, None)


def test_numbers_that_no_column_holds_are_null_and_the_row_stays(tmp_path: Path) -> None:
    line = json.loads(FORMATS["traefik_json"].samples[0].line) | {"Duration": 10**30, "RequestPath": "/\0"}
    (tmp_path / "a.log").write_text(json.dumps(line) + "\n")
    text = WEB.replace('"nginx"', '"traefik_json"').replace('pattern   = "$remote_addr $status $body_bytes_sent"', "")
    [row] = told(configured(tmp_path, text))
    assert (row["duration_ns"], row["end"], row["http_target"]) == (None, None, "/\0")
    assert row["http_status"] == line["DownstreamStatus"]


def test_polars_and_duckdb_read_all_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clientip.edges.library.arrow.ROWS", 7)
    (tmp_path / "a.log").write_bytes(b"203.0.113.7 200 5\n" * 50)
    config = configured(tmp_path)
    assert polars.DataFrame(scan((), config))["response_bytes"].sum() == 250
    logs = scan((), config)
    assert duckdb.sql("SELECT count(*), any_value(verdict) FROM logs").fetchall() == [(50, "seen")]
    assert logs.schema.names == [column.name for column in COLUMNS]


def test_without_pyarrow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'clientip\[parquet\]'"):
        scan((), configured(tmp_path))


# The surface.


def test_the_public_names_are_few_and_are_there() -> None:
    assert len(clientip.__all__) <= 10
    assert {name: getattr(clientip, name).__name__ for name in clientip.__all__} == {n: n for n in clientip.__all__}
    assert clientip.Record is Record
    with pytest.raises(AttributeError, match="no attribute 'reply'"):
        _ = clientip.reply


def test_importing_the_package_imports_nothing_of_it() -> None:
    code = "import clientip, sys; print(sorted(name for name in sys.modules if name.startswith('clientip.')))"
    assert said(code) == "[]"


@pytest.mark.parametrize("name", ["clientip.asgi", "clientip.wsgi"])
def test_the_middleware_needs_no_package_that_only_logs_need(name: str) -> None:
    heavy = {"typer", "rich", "confluent_kafka", "maxminddb", "pyarrow", "uvicorn", "multiprocessing"}
    assert said(f"import {name}, sys; print(sorted({heavy!r} & set(sys.modules)))") == "[]"


def said(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "pipeline"
    )
    return done.stdout.strip()
