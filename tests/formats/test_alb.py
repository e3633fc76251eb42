"""Laws of AWS ALB lines: the socket and the start, whatever clients wrote between."""

from __future__ import annotations

import contextlib

import pytest
from clientip.errors import FormatError
from clientip.formats.alb import ALB, SAMPLES
from clientip.model import Observation, Sample
from hypothesis import given
from hypothesis import strategies as st

from tests.worlds.samples_check import check_sample, line_of, reader_of, value_at

HEAD = "h2 2024-05-01T10:00:02.500000Z app/x/1 {client} 10.0.0.7:80 0.001 0.050 0.000 200 200 1 2"
TRACE = '"Root=1-66320a10-0123456789abcdef01234567"'
BEFORE_LISTS = '"shop.example" "-" 1 2024-05-01T10:00:02.449000Z "forward" "-" "-"'
QUOTED = st.text(st.characters(exclude_characters='"\n', codec="utf-8"), max_size=30)


def line(
    client: str = "203.0.113.7:51111",
    request: str = "GET http://a:80/ HTTP/1.1",
    agent: str = "x",
    tail: str = BEFORE_LISTS,
) -> str:
    return f'{HEAD.format(client=client)} "{request}" "{agent}" - - arn {TRACE} {tail}'.rstrip()


def seen_in(text: str, **setup: object) -> Observation:
    seen = reader_of(ALB, **setup)(line_of(text.encode()))
    assert isinstance(seen, Observation)
    return seen


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples(sample: Sample) -> None:
    check_sample(ALB, sample)


@given(QUOTED, QUOTED)
def test_nothing_a_client_writes_moves_a_column(request: str, agent: str) -> None:
    seen = seen_in(line(request=request, agent=agent))
    assert value_at(seen, "peer") == "203.0.113.7:51111"
    assert seen.start_ns == 1714557602449000000
    assert seen.ids is not None
    assert seen.ids.trace == "66320a100123456789abcdef01234567"


@pytest.mark.parametrize(
    "agent",
    ['x" "y', 'x" - - arn "Root=1-1-1" "', '"', f'x" - - arn {TRACE} {BEFORE_LISTS} "-" "', f'x" - - arn {TRACE} a '],
)
def test_a_quote_that_is_left_over_has_no_single_reading(agent: str) -> None:
    with pytest.raises(FormatError, match=r"no_match|two_readings"):
        seen_in(line(agent=agent))


@pytest.mark.parametrize(
    "tail",
    [
        BEFORE_LISTS + ' "10.0.0.7:80" "200" "-" "-"',
        BEFORE_LISTS + ' 10.0.0.7:80 200 "-" "-"',
        BEFORE_LISTS + ' "10.0.0.7:80 10.0.0.8:80" "502 200" "-" "-" TID_00ff "a" "b" "c" "d" 9 -',
        BEFORE_LISTS,
    ],
)
def test_any_tail_is_read(tail: str) -> None:
    seen = seen_in(line(tail=tail))
    assert seen.start_ns == 1714557602449000000
    assert seen.connection_serial == ("TID_00ff" if "TID_00ff" in tail else None)


def test_a_connection_id_in_quotes_is_not_the_balancers() -> None:
    assert seen_in(line(tail=BEFORE_LISTS + ' "-" "-" "-" "-" "TID_00ff" "TID_00ff"')).connection_serial is None


@pytest.mark.parametrize("tail", ["", "- -", '"shop.example" "-"'])
def test_lines_of_old_begin_their_durations_before_the_end(tail: str) -> None:
    seen = seen_in(line(tail=tail))
    assert seen.start_ns is not None
    assert seen.start_latest_ns is not None
    assert seen.start_ns <= 1714557602449000000 <= seen.start_latest_ns


def test_a_session_without_a_creation_time_began_any_time_before() -> None:
    seen = seen_in(line(tail="").replace("h2 ", "wss ", 1))
    assert (seen.start_ns, seen.start_latest_ns) == (None, 1714557602500000000)


@pytest.mark.parametrize(
    ("client", "peer"),
    [
        ("2001:db8::7:51111", "[2001:db8::7]:51111"),
        ("[2001:db8::7]:51111", "[2001:db8::7]:51111"),
        ("2001:db8:1:2:3:4:5:6:80", "[2001:db8:1:2:3:4:5:6]:80"),
    ],
)
def test_the_port_stands_behind_the_last_colon(client: str, peer: str) -> None:
    assert value_at(seen_in(line(client=client)), "peer") == peer


def test_the_start_is_printed_to_the_millisecond_and_skew_widens_it() -> None:
    seen = seen_in(line(), max_skew_ns=10)
    assert (seen.start_ns, seen.start_latest_ns) == (1714557602449000000 - 10, 1714557602449999999 + 10)


@pytest.mark.parametrize(
    ("request_line", "method", "host", "target"),
    [
        ("GET http://a.example:80/x y HTTP/1.1", "GET", "a.example:80", "/x y"),
        ("- http://a.example:80- ", None, "a.example:80", None),
        ("- http://a.example:80-/ ", None, "a.example:80", "/"),
        ("-", None, None, None),
        (r"GET https://a:443/\x22q\x22 HTTP/2.0", "GET", "a:443", '/"q"'),
    ],
)
def test_requests_are_read_as_the_balancer_writes_them(
    request_line: str, method: str | None, host: str | None, target: str | None
) -> None:
    http = seen_in(line(request=request_line)).http
    assert http is not None
    assert (http.method, http.host, http.target) == (method, host, target)


@given(st.binary(max_size=300) | st.text('h2-: "/.0129TZ_', max_size=200).map(str.encode))
def test_every_byte_string_reads_or_raises_format_error(text: bytes) -> None:
    with contextlib.suppress(FormatError):
        reader_of(ALB)(line_of(text))


@given(st.lists(st.sampled_from(line().split(" ")) | st.text('-"0:.Z', max_size=4), min_size=10, max_size=30))
def test_any_order_of_columns_reads_or_raises_format_error(columns: list[str]) -> None:
    with contextlib.suppress(FormatError):
        reader_of(ALB)(line_of(" ".join(columns).encode()))
