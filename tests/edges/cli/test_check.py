"""`clientip check` says which systems read their files, where the others stop, and who is met unlisted."""

from __future__ import annotations

from pathlib import Path

from clientip.config.load import load
from clientip.edges.cli.check import CheckReport, check, report_text

CONFIG = """
[systems.web]
format = "nginx"
logs_peer = "socket"
inputs = ["web/*.log"]
peers = ["lb", "outside"]
pattern = '$remote_addr [$time_local] "$request" $status "$http_x_forwarded_for"'
[systems.lb]
addresses = ["10.0.0.10"]
peers = ["outside"]
conveys = [{ header = "x-forwarded-for", mode = "append" }]
"""
GOOD = '10.0.0.10 [01/May/2024:10:00:00 +0000] "GET / HTTP/1.1" 200 "203.0.113.7"\n'
STRANGE = GOOD.replace("10.0.0.10", "10.9.9.9")
BAD = GOOD.replace(" 200 ", " 2OO ")


def checked(folder: Path, log: str | None, config: str = CONFIG) -> CheckReport:
    (folder / "web").mkdir(exist_ok=True)
    if log is not None:
        (folder / "web" / "a.log").write_text(log)
    (folder / "clientip.toml").write_text(config)
    return check(load([folder / "clientip.toml"]))


def test_a_fitting_configuration_is_sound(tmp_path: Path) -> None:
    report = checked(tmp_path, GOOD * 20)
    [web] = report.systems
    assert report.code == 0
    assert (web.read, web.rejected, web.share, web.verdicts) == (20, 0, 1.0, (("vouched", 20),))
    assert "100.0% of the sample read" in report_text(report)


def test_a_tenth_may_be_rejected_and_no_more(tmp_path: Path) -> None:
    assert checked(tmp_path, GOOD * 18 + BAD * 2).code == 0
    assert checked(tmp_path, GOOD * 17 + BAD * 3).code == 1


def test_reading_nothing_is_unsound(tmp_path: Path) -> None:
    report = checked(tmp_path, None)
    assert report.code == 1
    assert "no file matches its `inputs`" in report_text(report)
    assert checked(tmp_path, "").code == 1


def test_a_system_without_inputs_has_nothing_to_read(tmp_path: Path) -> None:
    report = checked(tmp_path, None, CONFIG.replace('inputs = ["web/*.log"]\n', ""))
    assert report.code == 0
    assert "read only when named" in report_text(report)


def test_a_caret_stands_under_the_place_where_a_line_stops_fitting(tmp_path: Path) -> None:
    report = checked(tmp_path, GOOD + BAD)
    [unread] = report.systems[0].unread
    assert unread.caret is not None
    assert unread.text[unread.caret :].lstrip("2").startswith("OO ")
    lines = report_text(report).splitlines()
    place = next(number for number, line in enumerate(lines) if line.strip() == "^")
    assert lines[place - 1][lines[place].index("^") :].lstrip("2").startswith("OO ")


def test_only_the_part_round_the_place_of_a_long_line_is_shown(tmp_path: Path) -> None:
    [unread] = checked(tmp_path, BAD.replace("GET /", "GET /" + "a" * 5000)).systems[0].unread
    assert unread.text.startswith("…")
    assert len(unread.text) < 200


def test_a_rejected_line_cannot_drive_the_terminal(tmp_path: Path) -> None:
    text = report_text(checked(tmp_path, "\x1b[31mred\x07\n"))
    assert all(char.isprintable() or char == "\n" for char in text)


def test_peers_on_nobodys_list_are_shown(tmp_path: Path) -> None:
    report = checked(tmp_path, GOOD * 5 + STRANGE * 2)
    assert report.systems[0].unlisted == (("10.9.9.9", 2),)
    assert "in no system: 10.9.9.9 (2 lines)" in report_text(report)


def test_warnings_are_part_of_the_report(tmp_path: Path) -> None:
    report = checked(tmp_path, GOOD, CONFIG.replace("10.0.0.10", "0.0.0.0/0"))
    assert "warning: systems.lb.addresses: 0.0.0.0/0 is everybody" in report_text(report)


def test_a_line_past_the_limit_counts_as_rejected(tmp_path: Path) -> None:
    report = checked(tmp_path, GOOD + "a" * 400 + "\n" + GOOD, CONFIG + "[limits]\nline_bytes = 256\n")
    assert (report.systems[0].read, report.systems[0].rejected) == (2, 1)
    assert report.systems[0].unread[0].reason == "too_long"


NAMES = """
[systems.web]
format = "apache"
pattern = "common"
inputs = ["web/*.log"]
logs_peer = "socket"
peers = ["outside"]
"""
SEEN = '203.0.113.7 - - [02/Mar/2026:10:20:30 +0100] "GET / HTTP/1.1" 200 4\n'
NAMED = SEEN.replace("203.0.113.7", "host7.example.net")


def test_a_log_for_which_names_are_looked_up_fails_because_a_client_may_be_called_like_an_address(
    tmp_path: Path,
) -> None:
    assert checked(tmp_path, SEEN * 20, NAMES).code == 0
    report = checked(tmp_path, SEEN * 20 + NAMED, NAMES)
    assert (report.code, report.systems[0].broken) == (1, (("names_looked_up", 1),))
    assert "names_looked_up, 1 line: the server looks up names for its log" in report_text(report)


def test_a_line_that_lasted_longer_than_longest_fails(tmp_path: Path) -> None:
    begun = '{"msec":"1772442000.500","rt":"RT","peer":"203.0.113.7","near":"10.0.0.1:4711"}\n'
    config = (
        NAMES.replace("apache", "nginx").replace('pattern = "common"', PATTERN)
        + 'lossless = true\nretries = false\nlongest = "1s"\n'
    )
    assert checked(tmp_path, begun.replace("RT", "0.900"), config).code == 0
    report = checked(tmp_path, begun.replace("RT", "1.100"), config)
    assert (report.code, report.systems[0].broken) == (1, (("longest_broken", 1),))


PATTERN = (
    'escape = "json"\npattern = \'{"msec":"$msec","rt":"$request_time","peer":"$remote_addr","near":"$upstream_addr"}\''
)
