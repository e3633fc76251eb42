"""`explain` leads a line as far as a replay would, shows the lines it stands on, and answers the mirror question."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from clientip.diagnose import multi_pass as pursuing
from clientip.diagnose.multi_pass import Pursuit
from clientip.diagnose.prose import Shown, explain
from clientip.diagnose.reverse_lookup import ReverseLookup, asked_in, concluded, mirrored, moment
from clientip.joins.join import Joining
from clientip.model import Candidate, Outcome, Record
from clientip.syntax.addresses import read_endpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.worlds.lab_logs import NAMES, RECORDED, app_lines, clientip, logs
from tests.worlds.nat_worlds import client, joining_of, nat_world
from tests.worlds.nat_worlds import settled as settled_world


def pursued(joining: Joining, subjects: Iterable[Record], outcomes: Iterable[Outcome]) -> tuple[list[Record], int]:
    """The lines as far as they came, and in how many passes."""
    pursuit, passes, read = Pursuit(joining, subjects), 0, list(outcomes)
    while pursuit.asks:
        passes += 1
        for outcome in read:
            pursuit.listen(outcome)
        pursuit.conclude(None)
    return list(pursuit.results()), passes


# The law: pass by pass is the same as all at once.


@pytest.mark.parametrize("name", NAMES)
def test_recorded_lines_pursued_together_or_alone_end_as_a_replay_ends_them(name: str) -> None:
    of = logs(name)
    together, _ = pursued(of.joining, of.records, of.outcomes)
    assert {each.record_id: each for each in together} == of.ended
    for record in of.records:
        [alone], _ = pursued(of.joining, [record], of.outcomes)
        assert alone == of.ended[record.record_id]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_a_line_pursued_alone_is_led_where_all_of_them_lead_it(seed: int) -> None:
    world = nat_world(seed, flows=20)
    every = settled_world(world)
    for name in sorted(every)[:5]:
        [subject] = [each for each in world.outcomes if isinstance(each, Record) and each.record_id == name]
        [alone], _ = pursued(joining_of(world.graph), [subject], world.outcomes)
        assert client(alone) == client(every[name])


@pytest.mark.parametrize("name", NAMES)
def test_every_line_that_a_joined_step_stands_on_can_be_shown(name: str) -> None:
    of = logs(name)
    pursuit = Pursuit(of.joining, of.records)
    while pursuit.asks:
        for outcome in of.outcomes:
            pursuit.listen(outcome)
        pursuit.conclude(None)
    by_id = {each.record_id: each for each in of.records}
    for record in pursuit.results():
        for name_of_line in filter(None, (step.record for step in record.resolution.path)):
            exhibit = pursuit.exhibit(name_of_line)
            assert exhibit is not None
            assert name_of_line not in by_id or by_id[name_of_line].line.raw.startswith(exhibit.line.raw)


def test_every_hop_takes_one_pass() -> None:
    for name, hops in (("b1", 1), ("b7", 2)):
        of = logs(name)
        [first] = [each for each in of.records if each.observation.setup.system == "app"][:1]
        assert pursued(of.joining, [first], of.outcomes)[1] == hops


def test_a_line_that_asks_nobody_needs_no_pass() -> None:
    of = logs("b1")
    ended = [each for each in of.ended.values() if each.resolution.stop is None]
    assert not Pursuit(of.joining, ended).asks


def test_a_line_that_awaits_one_that_is_gone_ends_with_a_reason() -> None:
    of = logs("chain")
    subject = next(each for each in of.records if each.observation.setup.system == "app")
    pursuit = Pursuit(of.joining, [subject])
    for outcome in of.outcomes:
        pursuit.listen(outcome)
    pursuit.conclude(None)
    while pursuit.asks:
        pursuit.conclude(None)
    [found] = pursuit.results()
    assert found.resolution.client is None
    assert found.resolution.reason is not None


def test_more_facts_under_one_key_than_are_kept_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pursuing, "MAX_KEPT", 1)
    of = logs("b1")
    found, _ = pursued(of.joining, of.records, [*of.outcomes, *of.outcomes])
    reasons = {each.resolution.reason for each in found if each.observation.setup.system == "app"}
    assert reasons == {"crowded"}


# The mirror question.


def reflected(name: str) -> Iterator[tuple[Record, Record]]:
    """Every joined line with a peer's port, and the answer to the mirror question about it."""
    of = logs(name)
    systems = [each.system for each in of.settings.systems]
    for record in of.ended.values():
        seen = record.observation
        if record.resolution.verdict != "joined" or seen.peer is None or seen.peer.port is None:
            continue
        assert seen.start_ns is not None
        assert seen.start_latest_ns is not None
        mirror = ReverseLookup(
            seen.peer, seen.start_ns, seen.start_latest_ns, seen.local, seen.transport or "tcp", http1=True
        )
        for network in asked_in(systems, mirror):
            graph, asked = mirrored(systems, tuple(of.engine.sources), mirror, network)
            [answer], _ = pursued(Joining(graph, of.settings.joins), [asked], of.outcomes)
            yield record, concluded(answer)


@pytest.mark.parametrize("name", NAMES)
def test_the_mirror_names_the_client_of_the_line_or_nobody(name: str) -> None:
    for record, answer in reflected(name):
        named = record.resolution.named
        assert named is not None
        found = answer.resolution.named
        assert found is None or (found.address, named.port or found.port) == (named.address, found.port)
        assert answer.resolution.stop is None


@pytest.mark.parametrize("name", ["b1", "b7"])
def test_the_mirror_names_the_client_where_events_alone_decide(name: str) -> None:
    answers = [client(answer) for _, answer in reflected(name)]
    assert answers
    assert None not in answers


def test_the_digits_of_a_time_say_how_exact_it_is() -> None:
    assert moment("1970-01-01T00:00:01Z") == (10**9, 2 * 10**9 - 1)
    assert moment("1970-01-01T01:00:00.250+01:00") == (250_000_000, 250_999_999)
    assert moment("1970-01-01T00:00:00.123456789Z") == (123456789, 123456789)


def test_an_address_is_asked_for_in_every_network_that_owns_it() -> None:
    systems = [each.system for each in logs("b1").settings.systems]
    peer = read_endpoint("198.51.100.11:5")
    other = replace(systems[0], name="other", network="vpc")
    assert asked_in(systems, ReverseLookup(peer, 0, 1)) == ("default",)
    assert asked_in([*systems, other], ReverseLookup(peer, 0, 1)) == ("default", "vpc")
    assert asked_in(systems, ReverseLookup(read_endpoint("203.0.113.1:5"), 0, 1)) == ("default",)


# What is shown.


def test_lines_shown_cannot_drive_the_terminal_and_are_cut() -> None:
    of = logs("b1")
    record = next(each for each in of.ended.values() if each.resolution.verdict == "joined")
    hostile = Shown("nodes", "nat/\x1b[31m.log, byte 0", "\x1b]0;title\x07" + "a" * 5000)
    text = explain(record, lambda _: hostile, hostile)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "\\x1b]0;title" in text
    assert max(map(len, text.splitlines())) < 1000


def test_candidates_are_shown_as_not_proved() -> None:
    record = next(iter(logs("b1").ended.values()))
    found = replace(record.resolution, candidates=(Candidate("203.0.113.9", 7, "conntrack", "nat-1"),))
    text = explain(replace(record, resolution=found))
    assert "Fits, and is not proved:\n  203.0.113.9 port 7 (conntrack, record nat-1)" in text


# The command.


def middle(name: str) -> int:
    """Number of a line in the middle: what can be known of the first ones and of the last is less."""
    return len(app_lines(name)) // 2


def middle_line(name: str) -> str:
    [path] = (RECORDED / name / "app").glob("*.log")
    return path.read_text().splitlines()[middle(name)]


def test_explain_shows_both_lines_of_every_joined_step() -> None:
    line = middle_line("b7")
    done = clientip(RECORDED / "b7", "explain", "-c", "clientip.toml", "--system", "app", "--line", line)
    assert done.returncode == 0, done.stderr
    heads = [text for text in done.stdout.splitlines() if text.startswith(("Step", "  app,", "  nodes,", "  lb,"))]
    words = [text.split(", byte")[0].strip() for text in heads]
    assert words == [
        "Step 2 stands on these lines:",
        "app, the line that was given:",
        "nodes, nat/node-a.jsonl",
        "Step 3 stands on these lines:",
        "nodes, nat/node-a.jsonl",
        "lb, lb/lb-tcp.log",
    ]
    assert f"    {line}" in done.stdout.splitlines()
    truth = line.partition("truth=")[2].split("~")
    assert f"Client: {truth[0]}, port {truth[1]}" in done.stdout


def test_a_record_found_by_its_id_is_led_on_too() -> None:
    of = logs("chain")
    record_id = next(each.record_id for each in of.ended.values() if each.resolution.verdict == "joined")
    done = clientip(RECORDED / "chain", "explain", "-c", "clientip.toml", "--id", record_id, "--json")
    row = json.loads(done.stdout)
    assert (row["record_id"], row["verdict"]) == (record_id, "joined")
    assert any("record" in step for step in row["path"])


def test_without_other_logs_a_line_is_explained_alone(tmp_path: Path) -> None:
    shutil.copy(RECORDED / "b1/clientip.toml", tmp_path)
    done = clientip(tmp_path, "explain", "-c", "clientip.toml", "--system", "app", "--line", middle_line("b1"))
    assert done.returncode == 0
    assert "Client: unknown (snat_no_witness)" in done.stdout
    [said] = done.stderr.splitlines()
    assert "no other log can be asked: no input files" in said


def mirror_of(name: str, *arguments: str, later: float = 0.0) -> tuple[int, str, str]:
    line = app_lines(name)[middle(name)]
    at = datetime.fromtimestamp(float(line["msec"]) + later, UTC).isoformat(timespec="milliseconds")
    peer = f"{line['peer']}:{line['peer_port']}"
    told = ("--peer", peer, "--at", at, *arguments)
    done = clientip(RECORDED / name, "explain", "-c", "clientip.toml", *told)
    return done.returncode, done.stdout, done.stderr


def test_the_mirror_goes_through_nat_and_balancer_to_the_client() -> None:
    line = app_lines("b7")[middle("b7")]
    code, text, _ = mirror_of("b7", "--local", line["local"])
    truth = line["req"].partition("truth=")[2].split("~")
    assert code == 0
    assert text.startswith(f"who connected from {line['peer']}:{line['peer_port']} to {line['local']} (tcp) between")
    assert f"Client: {truth[0]}, port {truth[1]}" in text
    assert text.count("stands on these lines:") == 2


def test_the_mirror_says_why_it_does_not_know_and_exits_with_1() -> None:
    code, text, _ = mirror_of("b7", later=86400.0)
    assert code == 1
    assert "Client: unknown (evidence_incomplete)" in text
    assert "What would help" in text
    code, text, _ = mirror_of("b7", "--peer", "198.51.100.99:5")
    assert code == 1
    assert "unknown (peer_unlisted)" in text


def test_the_answer_of_the_mirror_is_a_record_too() -> None:
    line = app_lines("b7")[middle("b7")]
    code, text, _ = mirror_of("b7", "--local", line["local"], "--json")
    row = json.loads(text)
    assert (code, row["verdict"], row["peer"]["port"]) == (0, "joined", int(line["peer_port"]))


def test_the_transport_is_part_of_the_question() -> None:
    _, text, _ = mirror_of("b7", "--transport", "udp")
    assert "(udp)" in text
    assert "Verdict: joined" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--peer", "10.0.0.1:5"), "--at: say when"),
        (("--at", "2026-01-01T00:00:00Z", "--line", "x"), "--at, --local: say more of a --peer"),
        (("--peer", "10.0.0.1:5", "--at", "2026-01-01T00:00:00"), "no time with a zone"),
        (("--peer", "10.0.0.1", "--at", "2026-01-01T00:00:00Z"), "has no port"),
        (("--peer", "x:5", "--at", "2026-01-01T00:00:00Z"), "is no ADDRESS:PORT"),
        (("--peer", "10.0.0.1:5", "--at", "2026-01-01T00:00:00Z", "--transport", "sctp"), 'write one of "tcp", "udp"'),
        (("--peer", "10.0.0.1:5", "--at", "2026-01-01T00:00:00Z", "--id", "0"), "give one of"),
    ],
)
def test_a_question_that_cannot_be_meant_is_refused_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = clientip(RECORDED / "b1", "explain", "-c", "clientip.toml", *arguments)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert said in line
