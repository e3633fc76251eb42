"""`make demo-stream`: recorded logs, moved to the present and fed for ever, give the clients that sent them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from io import StringIO
from itertools import islice
from pathlib import Path

import pytest
from clientip.config import load as config
from rich.console import Console

from deploy.demo.stream.counts import Counts, Page
from deploy.demo.stream.feed import recorded
from deploy.demo.stream.present import later, stamps
from deploy.demo.stream.screen import View, line, screen, summary
from deploy.demo.stream.start import CONFIGS
from deploy.demo.stream.timetable import DELAY_NS, timetable
from deploy.demo.stream.truth import Truth, Truths, judged
from tests.worlds.patience import LIMIT_S, until

ROOT = Path(__file__).parents[3]
NOW_NS = 1_800_000_000_000_000_000
KNOWN = Truths({"a-1": Truth("203.0.113.7", 4711, None)}, frozenset(["203.0.113.7", "203.0.113.8"]))


def named(address: str, target: str, **more: object) -> dict[str, object]:
    row = {"system": "web", "verdict": "seen", "method": "socket", "client": {"ip": address}}
    return row | {"http": {"target": target}, "path": [{"address": address}]} | more


@pytest.mark.parametrize(
    ("record", "worth"),
    [
        (named("203.0.113.7", "/t/a-1"), "right"),
        (named("203.0.113.8", "/t/a-1"), "wrong"),
        (named("203.0.113.7", "/t/a-1", client={"ip": "203.0.113.7", "port": 4712}), "wrong"),
        (named("203.0.113.8", "no label"), "right"),
        (named("203.0.113.9", "no label"), "wrong"),
        (named("203.0.113.8", "/truth=203.0.113.8~20001~b1~1~plain"), "right"),
        (named("10.1.2.3", "/truth=in-10.1.2.3~20001~a6~1~plain"), "wrong"),
        (named("10.1.2.3", "/truth=in-10.1.2.3~20001~a6~1~plain", verdict="internal", client=None), "right"),
        (named("10.1.2.4", "/truth=in-10.1.2.3~20001~a6~1~plain", verdict="internal", client=None), "wrong"),
        (named("203.0.113.8", "/truth=203.0.113.8~20001~b1~1~plain", verdict="internal", client=None), "wrong"),
        (named("203.0.113.8", "/t/a-1", verdict="unknown", client=None), "open"),
    ],
)
def test_a_record_is_compared_with_who_sent_the_request(record: dict[str, object], worth: str) -> None:
    assert judged(record, KNOWN) == worth
    counts = Counts(KNOWN)
    counts.add(record)
    assert len(counts.wrong) == (worth == "wrong")


def test_every_stamp_of_the_recorded_logs_moves_and_keeps_its_digits() -> None:
    settings = config.load([ROOT / path for path in CONFIGS])
    singles, scenarios = recorded(settings)
    hour_ns = 3_600_000_000_000
    for each in [*singles, *(one for lines in scenarios.values() for one in lines)]:
        times = list(stamps(each.text))
        assert times, each
        moved = later(each.text, hour_ns)
        assert list(stamps(moved)) == [time_ns + hour_ns for time_ns in times]
        assert len(moved) == len(each.text)


def test_the_feed_is_steady_in_order_and_tells_no_name_twice() -> None:
    singles, scenarios = recorded(config.load([ROOT / path for path in CONFIGS]))
    dues = list(islice(timetable(singles, scenarios, 300, NOW_NS), 300 * 20))
    assert [due.at_ns for due in dues] == sorted(due.at_ns for due in dues)
    assert 18 < (dues[-1].at_ns - NOW_NS) / 1e9 < 22
    assert all(max(stamps(due.value)) <= due.at_ns - DELAY_NS + 1_000_000_000 for due in dues)
    numbers = [
        (due.topic, due.key, int(found[1]))
        for due in dues
        if (found := re.match(rb'\{"n":(\d+)', due.value)) and b"lost" not in due.topic.encode()
    ]
    for file in {each[:2] for each in numbers}:
        told = [number for *which, number in numbers if tuple(which) == file]
        assert told == list(range(1, len(told) + 1)), file
    traces = [
        found[1] for due in dues if due.topic == "raw.chain-app" if (found := re.search(rb"00-(\w{32})", due.value))
    ]
    assert len(traces) == len(set(traces)) > 30


def test_the_page_of_figures_is_read() -> None:
    page = Page(
        'clientip_lag_processed_messages{worker="r",topic="raw.a",partition="0"} 3\n'
        'clientip_lag_processed_messages{worker="r",topic="raw.b",partition="0"} 4\n'
        'clientip_records_delay_seconds_bucket{worker="r",le="0.5"} 99\n'
        'clientip_records_delay_seconds_bucket{worker="r",le="+Inf"} 100\n'
    )
    assert page.total("lag_processed_messages") == 7
    assert page.most("lag_processed_messages", topic="raw.a") == 3
    assert page.by("lag_processed_messages", "topic") == {"raw.a": 3, "raw.b": 4}
    assert page.within("records_delay_seconds", 0.5) == 0.5
    assert page.within("lag_resume_seconds", 0.5) is None


def test_the_screen_is_of_100_by_40_characters_and_shows_a_wrong_client() -> None:
    counts = Counts(KNOWN)
    for number in range(20):
        counts.add(named("203.0.113.7", "/t/a-1", method=f"method-{number}"))
    counts.add(named("203.0.113.9", "/t/a-1"))
    view = View(counts, Page(""), 12.0, 300.0, "http://127.0.0.1:9464/metrics")
    console = Console(width=100, height=40, record=True, file=StringIO(), force_terminal=True)
    console.print(screen(view))
    shown = console.export_text()
    assert len(shown.splitlines()) <= 40
    assert "WRONG CLIENT" in shown
    assert "web: 203.0.113.9 (socket)" in shown
    assert "wrong 1" in line(view)
    assert "WRONG: web seen 203.0.113.9 (socket)" in summary(view)


def started(folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["sh", "deploy/demo/stream/run.sh", sys.executable],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "DEMO_FOLDER": str(folder), **environment},
    )  # fmt: skip


def left(folder: Path) -> list[str]:
    """Processes that name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if str(folder).encode() in command:
            found.append(command.decode(errors="replace"))
    return found


def shows_enough(line: str) -> bool:
    """Whether records of all verdicts have come, and many, of which some were joined."""
    found = re.findall(r"(seen|vouched|joined|internal|unknown) (\d+)", line)
    counts = {verdict: int(count) for verdict, count in found}
    named = sum(counts.get(verdict, 0) for verdict in ("seen", "vouched", "joined"))
    return len(counts) == 5 and all(counts.values()) and named > 1200 and counts["joined"] > 0.05 * named


@pytest.mark.edge
def test_the_demo_shows_every_verdict_and_no_wrong_client_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "broker" / "data").mkdir(parents=True)  # as of a demo that was killed
    demo, said = started(tmp_path), ""
    assert demo.stdout is not None
    while "compared" not in said and (line := demo.stdout.readline()):
        said += line
        if shows_enough(line):
            demo.send_signal(signal.SIGINT)
    demo.wait(LIMIT_S)
    assert demo.returncode == 0, said
    assert "figures: http://127.0.0.1:" in said
    seen = {
        word: int(times.replace(",", "")) for word, times in re.findall(r"^  (\w+) +([\d,]+) +[\d.]+ %$", said, re.M)
    }
    assert all(seen[verdict] > 0 for verdict in ("seen", "vouched", "joined", "internal", "unknown")), said
    [(right, wrong)] = re.findall(r"([\d]+) right, (\d+) wrong", said)
    assert int(right) > 1000
    assert wrong == "0", said
    assert left(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []


@pytest.mark.edge
@pytest.mark.parametrize("at", ["deploy.kafka.broker", "kafka topics", "clientip stream"])
def test_the_demo_ends_cleanly_when_it_is_interrupted_while_it_starts(tmp_path: Path, at: str) -> None:
    demo, line = started(tmp_path), ""
    assert demo.stdout is not None
    while at not in line:
        line = demo.stdout.readline()
        assert line, f"it has ended before {at}"
    until(lambda: left(tmp_path))
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=LIMIT_S)
    assert demo.returncode == 0
    until(
        lambda: not left(tmp_path), lambda: left(tmp_path)
    )  # what had just begun sees a moment later that it is alone
