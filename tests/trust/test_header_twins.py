"""Law: a header with underscores, which no proxy strips, never speaks for the one with dashes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from clientip.engine import Engine, LogSource
from clientip.model import Line, Promise, Proof, Record, Resolution, Setup, System
from clientip.syntax.headers import proof_hash

from tests.worlds.walks import XFF, system

REAL_IP = Promise("x-real-ip", "overwrite")
KEY = b"0123456789abcdef"


def walked(line: str, lb: System, **setup: Any) -> Resolution:
    """The end of the walk of one line of `app`, behind `lb`."""
    written = Setup(system="app", **{"logs_peer": "socket", "proof_key": KEY} | setup)
    conveyed = frozenset(promise.source for promise in lb.conveys)
    written = Setup(**{name: getattr(written, name) for name in Setup.__struct_fields__} | {"claim_headers": conveyed})
    raw = line.encode()
    [became] = (
        Engine([system("app", peers="lb"), lb], [LogSource(written)], line_bytes=1 << 20)
        .reading("app")
        .feed(Line(raw, raw))
    )
    assert isinstance(became, Record), became
    return became.resolution


def ends(found: Resolution) -> tuple[str | None, str | None]:
    return found.client and found.client.address.text, found.reason


NGINX = '10.0.0.9 [30/Nov/2026:22:38:15 +0000] 200 "{}" "{}"'
PATTERN = '$remote_addr [$time_local] $status "${}" "$request"'


def lb(*promises: Promise, **more: Any) -> System:
    return system("lb", "10.0.0.0/24", peers="outside", conveys=promises, **more)


@pytest.mark.parametrize("options", [(), (("headers", "all"),)])
@pytest.mark.parametrize(
    ("said", "expected"),
    [(None, ("203.0.113.9", None)), (True, ("203.0.113.9", None)), (False, (None, "header_twin"))],
)
def test_nginx_drops_underscores_unless_its_system_says_otherwise(
    said: bool | None, expected: tuple[str | None, str | None], options: tuple[tuple[str, str], ...]
) -> None:
    line, fields = NGINX.format("203.0.113.9", "GET /"), {"drops_underscores": said, "options": options}
    found = walked(line, lb(REAL_IP), format="nginx", pattern=PATTERN.format("http_x_real_ip"), **fields)
    assert ends(found) == expected


@pytest.mark.parametrize("variable", ["http_x_forwarded_for", "proxy_add_x_forwarded_for"])
def test_x_forwarded_for_has_a_variable_of_its_own_in_nginx(variable: str) -> None:
    line = NGINX.format("203.0.113.9, 10.0.0.9" if "add" in variable else "203.0.113.9", "GET /")
    found = walked(line, lb(XFF), format="nginx", pattern=PATTERN.format(variable), drops_underscores=False)
    assert ends(found) == ("203.0.113.9", None)


def test_a_name_without_a_dash_has_no_twin() -> None:
    line = NGINX.format("for=203.0.113.9", "GET /")
    found = walked(
        line,
        lb(Promise("forwarded")),
        format="nginx",
        pattern=PATTERN.format("http_forwarded"),
        drops_underscores=False,
        options=(("headers", "all"),),
    )
    assert ends(found) == ("203.0.113.9", None)


def test_an_empty_twin_does_not_say_that_there_was_no_header() -> None:
    found = walked(
        NGINX.format("-", "GET /"),
        lb(REAL_IP),
        format="nginx",
        pattern=PATTERN.format("http_x_real_ip"),
        drops_underscores=False,
    )
    assert ends(found) == (None, "header_twin")


@pytest.mark.parametrize(("said", "proved"), [(None, True), (False, False)])
def test_a_twin_proves_nothing(said: bool | None, proved: bool) -> None:
    pattern = '$remote_addr [$time_local] $status "$http_x_forwarded_for" "$http_x_origin_secret"'
    cdn = lb(XFF, shared=True, proof=(Proof("x-origin-secret", proof_hash(KEY, "s3cret")),))
    found = walked(
        NGINX.format("203.0.113.9", "s3cret"),
        cdn,
        format="nginx",
        pattern=pattern,
        drops_underscores=said,
        proof_headers=frozenset({"x-origin-secret"}),
    )
    assert ends(found) == (("203.0.113.9", None) if proved else (None, "owner_unproved"))


def span(name: str, value: object, *, language: str = "python", scope: str = "wsgi") -> str:
    shown = {"arrayValue": {"values": [{"stringValue": value}]}} if isinstance(value, str) else value
    attributes = [
        {"key": "network.peer.address", "value": {"stringValue": "10.0.0.9"}},
        {"key": f"http.request.header.{name}", "value": shown},
    ]
    times = {"startTimeUnixNano": "1772443230000000000", "endTimeUnixNano": "1772443230100000000"}
    resource = {"attributes": [{"key": "telemetry.sdk.language", "value": {"stringValue": language}}]}
    spans = [{"kind": 2, **times, "attributes": attributes}]
    scopes = [{"scope": {"name": scope}, "spans": spans}]
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]})


UNDERSCORES = (("headers", "underscores"),)
JOINED = "198.51.100.66,203.0.113.9"


@pytest.mark.parametrize(
    ("name", "language", "scope", "options", "drops", "vouches"),
    [
        ("x_forwarded_for", "python", "wsgi", UNDERSCORES, None, False),
        ("x_forwarded_for", "python", "wsgi", UNDERSCORES, False, False),
        ("x_forwarded_for", "python", "wsgi", UNDERSCORES, True, True),
        ("x_forwarded_for", "cpp", "nginx", UNDERSCORES, None, True),  # nginx itself, which drops them
        ("x_forwarded_for", "cpp", "nginx", UNDERSCORES, False, False),
        ("x-forwarded-for", "java", "http", (), None, True),  # the name as it came
        ("x-forwarded-for", "java", "http", (), False, True),
        ("x-forwarded-for", "ruby", "rack", (), None, False),  # dashes put back into a name of CGI
        ("x-forwarded-for", "php", "psr15", (), None, False),
        ("x-forwarded-for", "php", "psr15", (), True, True),
    ],
)
def test_spans_whose_names_lost_their_dashes_vouch_only_by_the_systems_word(
    name: str, language: str, scope: str, options: tuple[tuple[str, str], ...], drops: bool | None, vouches: bool
) -> None:
    line = span(name, JOINED, language=language, scope=scope)
    found = walked(line, lb(XFF), format="otlp_traces", options=options, drops_underscores=drops)
    assert ends(found) == (("203.0.113.9", None) if vouches else (None, "header_twin"))


def test_forwarded_keeps_its_word_in_spans_with_underscores() -> None:
    line = span("forwarded", "for=203.0.113.9")
    found = walked(line, lb(Promise("forwarded")), format="otlp_traces", options=UNDERSCORES)
    assert ends(found) == ("203.0.113.9", None)
