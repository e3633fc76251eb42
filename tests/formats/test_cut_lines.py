"""Law: a line that lost its end, or its beginning, names nobody else and vouches for nothing else.

Syslog daemons and HAProxy cut long lines, and a client chooses how long his are; a file may end in the middle of a
line; container runtimes rotate in the middle of a long one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from clientip.engine import Engine, LogSource
from clientip.errors import ConfigError, FormatError
from clientip.formats import FORMATS
from clientip.model import Format, Line, LogsPeer, Observation, Outcome, Record, Rejected, Sample, Setup
from clientip.syntax.headers import is_whole_id
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.worlds.samples_check import CHECKED, line_of, reader_of
from tests.worlds.walks import XFF, system

PATTERNED = ("nginx", "haproxy", "apache", "varnish")
TEXT = (*PATTERNED, "envoy_text", "aws_alb", "vpc_flow", "conntrack", "traefik_clf")
CLOSED = "nothing closes `{}` at the end of the line"
TIME = "[02/Mar/2026:09:20:30 +0000]"
NGINX = f"10.0.0.9 {TIME} 200"


def samples(*names: str) -> list[tuple[Format, Sample]]:
    rows = [(FORMATS[name], sample) for name in names for sample in FORMATS[name].samples]
    read = [(row, sample) for row, sample in rows if not (sample.rejected or sample.skipped)]
    return [(row, sample) for row, sample in read if not sample.line.startswith(b"{") and b"/pp: " not in sample.line]


def less(cut: Observation, whole: Observation) -> bool:
    """Whether the cut line says nothing that the whole one did not."""
    pairs = zip(believed(cut), believed(whole), strict=True)
    return all(some is None or some == all_ for some, all_ in pairs) and said(cut) <= said(whole)


def believed(seen: Observation) -> tuple[Any, ...]:
    """What of a line is believed, or proves something to others."""
    http = seen.http
    return (
        *(seen.peer, seen.stated, seen.local, seen.proxied, seen.upstream_local, seen.upstream_peer),
        *(seen.start_ns, seen.start_latest_ns, seen.end_ns, seen.proofs),
        *(seen.connection_serial, seen.request_serial, http and http.status),
    )


def said(seen: Observation) -> set[object]:
    """The headers that may vouch and the ids that may be compared; what shows that its end may be missing does not."""
    claims = {(claim.name, claim.values) for claim in seen.claims if claim.coverage != "cut"}
    requests = () if seen.ids is None else seen.ids.requests
    return claims | {each for each in requests if not is_whole_id(each[1])}


@pytest.mark.parametrize(("row", "sample"), samples(*PATTERNED))
def test_a_line_cut_anywhere_is_refused_or_read_as_it_was(row: Format, sample: Sample) -> None:
    read = reader_of(row, **dict(sample.setup))
    whole = read(line_of(sample.line))
    assert isinstance(whole, Observation)
    for length in range(len(sample.line)):
        with suppress(FormatError):
            seen = read(line_of(sample.line[:length]))
            if isinstance(seen, Observation):
                assert less(seen, whole), sample.line[:length]


@pytest.mark.parametrize(("row", "sample"), samples(*TEXT))
def test_a_last_line_without_its_line_end_is_refused_or_read_as_it_was(row: Format, sample: Sample) -> None:
    read = reader_of(row, **dict(sample.setup))
    whole = read(line_of(sample.line))
    assert isinstance(whole, Observation)
    for length in range(len(sample.line) + 1):
        with suppress(FormatError):
            seen = read(Line(sample.line, sample.line[:length], unended=True))
            if isinstance(seen, Observation):
                assert less(seen, whole), sample.line[:length]


@pytest.mark.parametrize(("row", "sample"), samples(*TEXT))
def test_the_last_part_of_a_line_is_no_line_of_text(row: Format, sample: Sample) -> None:
    with pytest.raises(FormatError) as caught:
        reader_of(row, **dict(sample.setup))(Line(sample.line, sample.line, headless=True))
    assert caught.value.reason == "truncated"


HOSTILE = st.text(st.sampled_from('a6.:, "\\[]{}|-0'), max_size=30)
FORMATS_OF_OURS = {
    "nginx": ('$remote_addr:$remote_port [$time_local] $status "$http_x_real_ip" "$request"', "default"),
    "apache": ('%a [%{sec}t] %>s "%{X-Real-IP}i" "%r"', None),
    "haproxy": ("%ci:%cp [%tr] %ST %hr %{+Q}r", None),
}


def written(server: str, value: str) -> str:
    """A client's text as the server writes it."""
    if server == "apache":
        return value.replace("\\", "\\\\").replace('"', '\\"')
    kept = '"\\' if server == "nginx" else '"#{|}'
    sign = "\\x" if server == "nginx" else "#"
    return "".join(f"{sign}{ord(each):02X}" if each in kept else each for each in value)


@given(st.sampled_from(sorted(FORMATS_OF_OURS)), HOSTILE, HOSTILE, st.integers(0, 140))
def test_what_clients_write_into_a_cut_line_vouches_for_nothing(server: str, real: str, path: str, cut: int) -> None:
    pattern, escape = FORMATS_OF_OURS[server]
    column, request = written(server, real), written(server, path)
    line = {
        "nginx": f'10.0.0.9:5 {TIME} 200 "{column}" "{request}"',
        "apache": f'10.0.0.9 [1772443230] 200 "{column}" "{request}"',
        "haproxy": f'10.0.0.9:5 [02/Mar/2026:10:20:30.250] 200 {{{column}}} "{request}"',
    }[server].encode()
    captures: dict[str, Any] = {"captures": ("x-real-ip",)} if server == "haproxy" else {}
    read = reader_of(FORMATS[server], pattern=pattern, escape=escape, **captures)
    with suppress(FormatError):
        whole = read(line_of(line))
        assert isinstance(whole, Observation)
        with suppress(FormatError):
            seen = read(line_of(line[:cut]))
            assert isinstance(seen, Observation)
            assert less(seen, whole)


@pytest.mark.parametrize(
    ("name", "pattern", "column"),
    [
        ("nginx", '[$time_local] "$request" $status $remote_addr', "$remote_addr"),
        ("nginx", '[$time_local] "$request" $status $realip_remote_addr:$realip_remote_port', "$realip_remote_addr"),
        ("nginx", '$remote_addr [$time_local] "$request" $upstream_addr', "$upstream_addr"),
        ("nginx", "$http_user_agent [$time_local] $remote_addr $body_bytes_sent", "$time_local"),
        ("apache", '%h %l %u %t "%r" %>s %D', "%D"),
        ("apache", '%t "%r" %{c}a', "%{c}a"),
        ("varnish", '%t "%r" %{VSL:ReqStart[1]}x', "%{VSL:ReqStart[1]}x"),
        ("haproxy", "[%t] %ft %b/%s %ts %bi:%bp %si:%sp", "%sp"),
        ("haproxy", "%ci:%cp [%tr] %TR/%Tw/%Tc/%Tr/%Ta", "%Ta"),
        ("envoy_text", "[%START_TIME%] %RESPONSE_CODE% %DOWNSTREAM_REMOTE_ADDRESS%", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ],
)
def test_a_trusted_column_that_nothing_closes_is_refused_and_named(name: str, pattern: str, column: str) -> None:
    with pytest.raises(ConfigError) as caught:
        reader_of(FORMATS[name], pattern=pattern)
    assert CLOSED.format(column) in str(caught.value)
    assert '" end"' in str(caught.value)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("nginx", '[$time_local] "$request" $status "$remote_addr"'),
        ("nginx", '[$time_local] "$request" $remote_addr $status'),  # three digits: two are no status
        ("nginx", '$remote_addr "$request" [$time_local]'),
        ("nginx", '$remote_addr "$request" $request_time'),
        ("nginx", '$remote_addr "$request" $request_id'),
        ("haproxy", "[%t] %ft %b/%s %bi:%bp %si:%sp %ts end"),
        ("envoy_text", "[%START_TIME%] %DOWNSTREAM_REMOTE_ADDRESS% end"),
    ],
)
def test_a_constant_quotes_or_a_fixed_form_close_the_last_column(name: str, pattern: str) -> None:
    reader_of(FORMATS[name], pattern=pattern)


@pytest.mark.parametrize("row", FORMATS.values(), ids=list(FORMATS))
def test_every_shipped_pattern_is_still_read(row: Format) -> None:
    for _, pattern in row.known_patterns:
        peers: tuple[LogsPeer | None, ...] = row.logs_peer or (None,)
        for logs_peer in peers:
            given_ = Setup(system="s", format=row.name, pattern=pattern, logs_peer=logs_peer, timezone="UTC")
            row.compile(replace(given_, options=(("line_breaks", "escaped"), *CHECKED)))


LB = system("lb", "10.0.0.0/24", peers="outside", conveys=(XFF,))


def outcome(line: str, wrapper: tuple[str, ...] = (), **setup: Any) -> Outcome:
    given_ = Setup(system="app", **{"logs_peer": "socket", "timezone": "UTC", "format": "nginx"} | setup)
    drawn = [system("app", peers="lb"), LB]
    [became] = Engine(drawn, [LogSource(given_, wrapper)], line_bytes=65536).reading("app").feed(line_of(line.encode()))
    return became


def reason(became: Outcome) -> tuple[str | None, str | None]:
    assert isinstance(became, Record)
    client = became.resolution.client
    return client and client.address.text, became.resolution.reason


def test_a_header_in_an_open_last_column_vouches_for_nobody() -> None:
    open_, quoted = "$remote_addr [$time_local] $status $http_x_forwarded_for", '"$http_x_forwarded_for"'
    for value in ("8.8.8.8, 203.0.113.77", "8.8.8.8", "-", ""):
        assert reason(outcome(f"{NGINX} {value}", pattern=open_)) == (None, "header_incomplete")
    whole = outcome(f'{NGINX} "8.8.8.8, 203.0.113.77"', pattern=f"$remote_addr [$time_local] $status {quoted}")
    assert reason(whole) == ("203.0.113.77", None)


def test_of_several_columns_of_a_header_one_that_is_closed_counts() -> None:
    pattern = '$remote_addr "$http_x_forwarded_for" [$time_local] $status $http_x_forwarded_for'
    assert reason(outcome(f'10.0.0.9 "203.0.113.7" {TIME} 200 203.0.1', pattern=pattern)) == ("203.0.113.7", None)


def test_an_id_in_an_open_last_column_counts_only_in_a_form_of_fixed_length() -> None:
    read = reader_of(FORMATS["nginx"], pattern="$remote_addr [$time_local] $http_x_request_id")
    uuid = "7f3c2a10-5d1e-4c55-9a51-0242ac120002"
    for value, ids in (("order-77", None), (uuid, (("x-request-id", uuid),)), (uuid[:-1], None)):
        seen = read(line_of(f"10.0.0.9 {TIME} {value}".encode()))
        assert isinstance(seen, Observation)
        assert (seen.ids and seen.ids.requests) == ids


@pytest.mark.parametrize("name", ["envoy_text", "nginx", "haproxy"])
def test_behind_raw_text_a_line_as_long_as_cut_ones_is_refused_where_something_cuts(name: str) -> None:
    envoy = '[%START_TIME%] "%REQ(USER-AGENT)%" %DOWNSTREAM_REMOTE_ADDRESS% end'
    patterns = {
        "envoy_text": (envoy, '[2026-03-02T09:20:30.250Z] "{}" 6.6.6.6:5 end'),
        "nginx": ('[$time_local] "$http_user_agent" $remote_addr end', f'{TIME} "{{}}" 6.6.6.6 end'),
        "haproxy": ("[%tr] %{+Q}[req.hdr(user-agent)] %ci end", '[02/Mar/2026:10:20:30.250] "{}" 6.6.6.6 end'),
    }
    pattern, line = patterns[name]
    setup: dict[str, Any] = {"format": name, "pattern": pattern, "escape": "none" if name == "nginx" else None}
    for long, relayed in ((True, True), (True, False), (False, True)):
        became = outcome(line.format("u" * (900 if long else 10)), relayed=relayed, **setup)
        refused = isinstance(became, Rejected) and became.reason == "truncated"
        assert refused == (long and (relayed or name == "haproxy"))  # HAProxy cuts its lines itself


@pytest.mark.parametrize(("length", "expected"), [(1023, "truncated"), (8094, "truncated"), (1000, "no_match")])
def test_a_line_that_is_as_long_as_daemons_cut_is_told_from_one_of_another_format(length: int, expected: str) -> None:
    became = outcome(f'{NGINX} "'.ljust(length, "u"), pattern='$remote_addr [$time_local] $status "$http_user_agent"')
    assert isinstance(became, Rejected)
    assert became.reason == expected
    assert (became.detail is not None) == (expected == "truncated")


CRI = "2026-03-02T09:20:30.250000000Z {} {} {}"
LINE = f'10.0.0.9 {TIME} "8.8.8.8, 203.0.113.77"'


def rotated(*lines: str, wrapper: str = "cri", format_: str = "nginx", **setup: Any) -> list[tuple[str, str | None]]:
    """What becomes of the lines of a file that may continue another one."""
    given_ = Setup(system="app", format=format_, logs_peer="socket", **setup)
    engine = Engine([system("app", peers="lb"), LB], [LogSource(given_, (wrapper,))], line_bytes=65536)
    reading = engine.reading("app", rotated=True)
    outcomes = [each for line in lines for each in reading.feed(line_of(line.encode()))]
    return [(type(each).__name__, each.reason if isinstance(each, Rejected) else None) for each in outcomes]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_the_first_line_of_a_rotated_file_may_be_a_tail_and_is_no_line(stream: str) -> None:
    pattern = '$remote_addr [$time_local] "$http_x_forwarded_for"'
    first, other = CRI.format(stream, "F", LINE), CRI.format("stdout" if stream == "stderr" else "stderr", "F", LINE)
    assert rotated(first, first, pattern=pattern) == [("Rejected", "truncated"), ("Record", None)]
    assert rotated(first, other, pattern=pattern) == [("Rejected", "truncated")] * 2
    part, rest = CRI.format(stream, "P", LINE[:20]), CRI.format(stream, "F", LINE[20:])
    assert rotated(part, rest, first, pattern=pattern)[1:] == [("Rejected", "truncated"), ("Record", None)]


def test_in_docker_files_too_and_json_needs_no_such_care() -> None:
    docker = '{{"log":"{}\\n","stream":"stdout","time":"2026-03-02T09:20:30.250Z"}}'
    text = docker.format(LINE.replace('"', '\\"'))
    pattern = '$remote_addr [$time_local] "$http_x_forwarded_for"'
    assert rotated(text, text, wrapper="docker", pattern=pattern) == [("Rejected", "truncated"), ("Record", None)]
    as_json = CRI.format("stdout", "F", '{"peer":"10.0.0.9","t":"1772443230.500"}')
    setup = {"pattern": '{"peer":"$remote_addr","t":"$msec"}', "escape": "json"}
    assert rotated(as_json, as_json, **setup) == [("Record", None)] * 2
