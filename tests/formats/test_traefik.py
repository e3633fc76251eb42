"""Laws of Traefik's logs: ClientHost is never the peer, and nobody moves a column."""

from __future__ import annotations

import contextlib
import json

import pytest
from clientip.errors import ConfigError, FormatError
from clientip.formats.traefik.access import TRAEFIK_JSON
from clientip.formats.traefik.clf import TRAEFIK_CLF
from clientip.model import Format, Line, Observation, Skipped
from hypothesis import example, given
from hypothesis import strategies as st

from tests.worlds.samples_check import check_sample, line_of, reader_of, value_at

START = "2024-05-01T10:00:00.5Z"
START_NS = 1714557600_500000000
TEXTS = st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=30)
HOSTS = TEXTS | st.sampled_from(
    ["unknown", "10.1.0.4", "203.0.113.7,10.0.0.1", '1.2.3.4 - - [01/May/2024:10:00:00 +0000] "GET']
)


def fields_of(**extra: object) -> dict[str, object]:
    return {"ClientAddr": "10.1.0.4:51111", "ClientHost": "10.1.0.4", "StartUTC": START, "Duration": 10, **extra}


def seen_in(fields: dict[str, object], **setup: object) -> Observation:
    seen = reader_of(TRAEFIK_JSON, **setup)(line_of(json.dumps(fields).encode()))
    assert isinstance(seen, Observation)
    return seen


@pytest.mark.parametrize("chosen", [TRAEFIK_JSON, TRAEFIK_CLF], ids=lambda chosen: chosen.name)
def test_samples(chosen: Format) -> None:
    for sample in chosen.samples:
        check_sample(chosen, sample)


@pytest.mark.parametrize("logs_peer", [None, "realip"])
def test_what_client_addr_is_must_be_said(logs_peer: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        reader_of(TRAEFIK_JSON, logs_peer=logs_peer)
    assert [fault.key for fault in caught.value.faults] == ["logs_peer"]


@given(HOSTS)
def test_client_host_never_is_the_peer(host: str) -> None:
    seen = seen_in(fields_of(ClientHost=host))
    assert value_at(seen, "peer") == "10.1.0.4:51111"
    stands_in = host not in ("", "-", "10.1.0.4")
    assert [claim.values for claim in seen.claims] == ([(host,)] if stands_in else [])
    assert all(claim.coverage == "first" for claim in seen.claims)


@pytest.mark.parametrize(
    ("addr", "host"),
    [
        ("[2001:db8::7]:1", "2001:db8::7"),
        ("[fe80::7%eth0]:1", "fe80::7%eth0"),
        ("[fe80::7%eth0]:1", "fe80::7"),
        ("10.0.0.1:1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("@", "@"),
        ("-", "-"),
    ],
)
def test_a_client_host_that_only_repeats_the_peer_is_no_header(addr: str, host: str) -> None:
    assert seen_in(fields_of(ClientAddr=addr, ClientHost=host)).claims == ()


@pytest.mark.parametrize(("value", "claimed"), [("10.1.0.4", ""), ("203.0.113.7", "203.0.113.7")])
def test_an_x_real_ip_that_repeats_the_peer_was_written_by_traefik(value: str, claimed: str) -> None:
    assert value_at(seen_in(fields_of(**{"request_X-Real-Ip": value})), "claims.x-real-ip") == claimed


def test_a_header_with_underscores_is_another_header() -> None:
    seen = seen_in(fields_of(**{"request_X_forwarded_for": "203.0.113.7", "request_X_Real_Ip": "203.0.113.7"}))
    assert seen.claims == ()


def test_a_header_under_two_keys_has_two_readings() -> None:
    with pytest.raises(FormatError, match="two_readings"):
        seen_in(fields_of(**{"request_X-Forwarded-For": "203.0.113.7", "request_x-forwarded-for": "203.0.113.8"}))


def test_lines_of_a_header_come_joined_and_stay_one_value() -> None:
    seen = seen_in(fields_of(**{"request_Forwarded": "for=203.0.113.7,for=10.0.0.1"}))
    assert value_at(seen, "claims.forwarded") == "for=203.0.113.7,for=10.0.0.1"


def test_a_listed_header_becomes_a_claim_and_a_proof_header_a_hash() -> None:
    extra = {"request_X-Edge-Client": "203.0.113.7", "request_X-Secret": "s3cret", "request_X-Real-Ip": "203.0.113.7"}
    seen = seen_in(
        fields_of(**extra),
        claim_headers=frozenset({"x-edge-client", "x-secret"}),
        proof_headers=frozenset({"x-secret", "x-real-ip"}),
        proof_key=b"k",
    )
    assert [claim.name for claim in seen.claims] == ["x-edge-client"]
    assert [name for name, _ in seen.proofs] == ["x-secret", "x-real-ip"]
    assert "s3cret" not in repr(seen)


@pytest.mark.parametrize(
    ("fields", "start", "latest", "end", "time_by"),
    [
        ({"StartUTC": START, "Duration": 10}, START_NS, START_NS, START_NS + 10, "own"),
        ({"StartUTC": START}, START_NS, START_NS, None, "own"),
        ({"StartLocal": "2024-05-01T12:00:00.5+02:00"}, START_NS, START_NS, None, "own"),
        (
            {"time": "2024-05-01T10:00:00Z", "Duration": 10},
            START_NS - 500000010,
            START_NS + 499999989,
            START_NS - 500000000,
            "own",
        ),
        ({"Duration": 10}, 90, 90, 100, "wrapper"),
        ({}, None, 100, 100, "wrapper"),
    ],
)
def test_the_start_is_the_best_the_line_has(
    fields: dict[str, object], start: int | None, latest: int, end: int | None, time_by: str
) -> None:
    text = json.dumps({"ClientAddr": "10.1.0.4:51111", **fields}).encode()
    seen = reader_of(TRAEFIK_JSON)(Line(text, text, stamp_ns=100))
    assert isinstance(seen, Observation)
    assert (seen.start_ns, seen.start_latest_ns, seen.end_ns, seen.time_by) == (start, latest, end, time_by)


def test_skew_widens_the_start_both_ways() -> None:
    seen = seen_in(fields_of(), max_skew_ns=7)
    assert (seen.start_ns, seen.start_latest_ns) == (START_NS - 7, START_NS + 7)


@pytest.mark.parametrize("key", ["TraceId", "trace_id", "my_trace"])
def test_the_trace_id_is_read_under_each_of_its_names(key: str) -> None:
    seen = seen_in(fields_of(**{key: "4BF92F3577B34DA6A3CE929D0E0E4736"}), trace_fields=("my_trace",))
    assert value_at(seen, "ids.trace") == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_line_with_a_key_clientip_is_not_extended() -> None:
    assert not seen_in(fields_of(clientip=1)).extendable


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *(
                    "ClientAddr",
                    "ClientHost",
                    "StartUTC",
                    "Duration",
                    "DownstreamStatus",
                    "RequestMethod",
                    "ServiceAddr",
                ),
                *("request_X-Forwarded-For", "request_X-Real-Ip", "request_Traceparent", "TraceId", "SpanId", "time"),
                *("RequestPath", "request_User-Agent", "RequestCount", "StartLocal", "BackendAddr"),
            ]
        ),
        st.none()
        | st.booleans()
        | st.integers(-(2**65), 2**65)
        | st.floats(allow_nan=False, allow_infinity=False)
        | TEXTS
        | st.sampled_from([START, "10.0.0.1:80", "[::1]:80", "-", "@", [], {}, ["a"], {"Host": "a"}]),
    )
)
def test_any_values_under_the_known_keys_read_or_raise_format_error(fields: dict[str, object]) -> None:
    with contextlib.suppress(FormatError):
        reader_of(TRAEFIK_JSON)(line_of(json.dumps(fields).encode()))


def clf(host: str = "10.0.0.1", path: str = "/", referer: str = "-", agent: str = "x", user: str = "-") -> str:
    return (
        f'{host} - {user} [01/May/2024:10:00:00 +0000] "GET {path} HTTP/1.1" 200 5 "{referer}" "{agent}" '
        '7 "r@docker" "http://10.0.0.9:80" 2ms'
    )


@given(host=HOSTS, path=TEXTS, referer=TEXTS, agent=TEXTS, user=TEXTS)
@example(host="1.2.3.4, 5.6.7.8", path="/", referer="-", agent="foo\\", user="-")
@example(host="a", path="/", referer='" "x" 1 "r" "http://6.6.6.6:6" 1ms', agent="", user="-")
@example(host="a", path='/ HTTP/1.1" 404 9 "-" "-" 1 "-" "-" 1ms', referer="", agent="", user="-")
@example(host="a", path="/", referer="", agent="", user='- [01/May/2024:10:00:00 +0000] "')
def test_a_clf_line_is_read_as_written_or_refused(host: str, path: str, referer: str, agent: str, user: str) -> None:
    try:
        seen = reader_of(TRAEFIK_CLF)(line_of(clf(host, path, referer, agent, user).encode()))
    except FormatError as error:
        assert error.reason in ("two_readings", "no_match")
        return
    assert isinstance(seen, Observation)
    assert seen.peer is None
    assert seen.start_ns == START_NS - 500000000
    assert value_at(seen, "http.status") == 200
    assert value_at(seen, "upstream_peer") == "10.0.0.9:80"
    assert value_at(seen, "claims.traefik-clienthost") in (host, None)


@pytest.mark.parametrize(
    "line",
    [
        clf().replace('"-" "x"', '- "x"'),
        clf().replace('"http://10.0.0.9:80"', "-").replace('"r@docker"', '"router with space"'),
        clf().replace(" 7 ", " - "),
        clf(agent="back\\"),
    ],
)
def test_columns_without_quotes_and_backslashes_are_read(line: str) -> None:
    assert isinstance(reader_of(TRAEFIK_CLF)(line_of(line.encode())), Observation)


@pytest.mark.parametrize("chosen", [TRAEFIK_JSON, TRAEFIK_CLF], ids=lambda chosen: chosen.name)
@given(text=st.binary(max_size=200) | st.text('{}[]":,- /0129amsGET', max_size=150).map(str.encode))
def test_every_byte_string_reads_or_raises_format_error(chosen: Format, text: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert isinstance(reader_of(chosen)(line_of(text)), Observation | Skipped)
