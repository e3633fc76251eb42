"""The client at request time: what the walk of a log line says, and never an address that is only claimed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from clientip.asgi import AsgiClientIP
from clientip.edges.library.records import load, resolve
from clientip.errors import ConfigError
from clientip.syntax.addresses import parse_address
from clientip.wsgi import WsgiClientIP
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trust.test_laws import CLIENTS, FORGED, FORGED_FORWARDED, HOPS, VALUE, Wire, chains, travel
from tests.worlds.requests import (
    chain,
    environ_of,
    lines_of,
    logged_by_caddy,
    scope_of,
    through_asgi,
    through_wsgi,
)
from tests.worlds.sizes import EXAMPLES

LOGGED = 'format = "caddy"\nlogs_peer = "socket"\ndrops_underscores = true'
DROPS = "drops_underscores = true"
FEWER = settings(max_examples=EXAMPLES // 2, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
PEERS = st.one_of(CLIENTS, st.sampled_from([*HOPS.values(), "127.0.0.1", "0.0.0.0", "::1", "fe80::1", "192.168.7.7"]))
ANY_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["X-Forwarded-For", "Forwarded", "CF-Connecting-IP", "X-Real-IP", "X_Forwarded_For", "Cookie"]),
        st.one_of(VALUE, FORGED_FORWARDED),
    ),
    max_size=6,
)
UNDERSCORED = st.lists(
    st.tuples(st.sampled_from(["x_forwarded_for", "X_Forwarded-For", "cf_connecting_ip", "Forwarded_"]), VALUE),
    max_size=4,
)


def configured(folder: Path, text: str) -> Path:
    (folder / "c.toml").write_text(text)
    return folder / "c.toml"


def client(scope: dict[str, Any]) -> tuple[str, int] | None:
    found: tuple[str, int] | None = scope["client"]
    return found


# Laws.


@FEWER
@given(chains(), PEERS, ANY_HEADERS)
def test_the_answer_is_that_of_the_log_line_of_the_request(
    tmp_path: Path, names: list[str], peer: str, headers: list[tuple[str, str]]
) -> None:
    config = configured(tmp_path, chain(names, LOGGED))
    of_line = resolve(load(config), logged_by_caddy(peer, headers))
    of_request = through_asgi(AsgiClientIP, config, scope_of(peer, headers))["clientip"]
    assert of_request == of_line


@FEWER
@given(chains(), CLIENTS, FORGED, UNDERSCORED)
def test_whatever_a_client_sends_asgi_sees_the_client(
    tmp_path: Path, names: list[str], who: str, forged: dict[str, list[str]], underscored: list[tuple[str, str]]
) -> None:
    wire = travel(names, who, Wire({name: list(lines) for name, lines in forged.items()}))
    scope = scope_of(HOPS[1], [*underscored, *lines_of(wire.headers), *underscored])
    seen = through_asgi(AsgiClientIP, configured(tmp_path, chain(names)), scope)
    assert (client(seen)[0], seen["clientip"].verdict) == (canonical(who), "vouched")  # type: ignore[index]


@FEWER
@given(chains(), CLIENTS, FORGED)
def test_whatever_a_client_sends_wsgi_sees_the_client_or_the_peer(
    tmp_path: Path, names: list[str], who: str, forged: dict[str, list[str]]
) -> None:
    wire = travel(names, who, Wire({name: list(lines) for name, lines in forged.items()}))
    seen = through_wsgi(configured(tmp_path, chain(names, DROPS)), environ_of(HOPS[1], lines_of(wire.headers)))
    verdict = seen["clientip.resolution"].verdict
    assert (seen["REMOTE_ADDR"], verdict) in [(canonical(who), "vouched"), (HOPS[1], "unknown")]
    if not any('"' in line or "\\" in line for lines in forged.values() for line in lines):
        assert (
            verdict == "vouched"
        )  # a forged quote, which Forwarded knows, can only hide what stands in one line with it


def canonical(address: str) -> str:
    return parse_address(address).text


# What the application sees.

LB = """
[systems.lb]
addresses = ["10.0.0.10", "fd00::10"]
peers     = ["outside", "internal"]
conveys   = [{ header = "x-forwarded-for", mode = "append" }]
[systems.app]
peers     = ["lb", "outside"]
drops_underscores = true
"""
CASES: dict[str, tuple[str | None, list[tuple[str, str]], str, str]] = {  # peer, headers, client, verdict
    "through the balancer": ("10.0.0.10", [("x-forwarded-for", "203.0.113.7")], "203.0.113.7", "vouched"),
    "a mapped peer": ("::ffff:10.0.0.10", [("x-forwarded-for", "::ffff:203.0.113.7")], "203.0.113.7", "vouched"),
    "over IPv6": ("fd00:0::10", [("x-forwarded-for", "[2001:DB8::7]:443")], "2001:db8::7", "vouched"),
    "lines before": (
        "10.0.0.10",
        [("x-forwarded-for", each) for each in ("6.6.6.6", "203.0.113.7")],
        "203.0.113.7",
        "vouched",
    ),
    "empty members": ("10.0.0.10", [("x-forwarded-for", "6.6.6.6,, 203.0.113.7 , ")], "203.0.113.7", "vouched"),
    "nothing but empty members": ("10.0.0.10", [("x-forwarded-for", " , ,")], "10.0.0.10", "unknown"),
    "an octal octet": ("10.0.0.10", [("x-forwarded-for", "203.0.113.07")], "10.0.0.10", "unknown"),
    "an address that no host has": ("10.0.0.10", [("x-forwarded-for", "0.0.0.0")], "10.0.0.10", "unknown"),
    "an entry too long to read": ("10.0.0.10", [("x-forwarded-for", "1" * 5_000)], "10.0.0.10", "unknown"),
    "an empty line last": (
        "10.0.0.10",
        [("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "")],
        "203.0.113.7",
        "vouched",
    ),
    "past the balancer": ("198.51.100.9", [("x-forwarded-for", "6.6.6.6")], "198.51.100.9", "seen"),
    "a header the balancer does not write": ("10.0.0.10", [("x-real-ip", "6.6.6.6")], "10.0.0.10", "unknown"),
    "no header": ("10.0.0.10", [], "10.0.0.10", "unknown"),
    "no address": ("10.0.0.10", [("x-forwarded-for", "6.6.6.6, unknown")], "10.0.0.10", "unknown"),
    "a stranger inside": ("10.9.9.9", [("x-forwarded-for", "6.6.6.6")], "10.9.9.9", "unknown"),
    "a workload through the balancer": ("10.0.0.10", [("x-forwarded-for", "10.9.9.9")], "10.0.0.10", "internal"),
    "the balancer itself": ("10.0.0.10", [("x-forwarded-for", "10.0.0.10")], "10.0.0.10", "unknown"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_asgi_replaces_the_client_only_where_one_is_named(case: str, kind: str, tmp_path: Path) -> None:
    peer, headers, expected, verdict = CASES[case]
    scope = scope_of(peer, headers, kind)
    seen = through_asgi(AsgiClientIP, configured(tmp_path, LB), scope)
    assert (seen["client"][0], seen["clientip"].verdict) == (expected, verdict)
    assert seen["client"][1] == (0 if verdict == "vouched" and headers[0][1][0] != "[" else seen["client"][1])
    assert seen["state"]["clientip"] is seen["clientip"]


@pytest.mark.parametrize("case", CASES)
def test_wsgi_replaces_the_client_only_where_one_is_named(case: str, tmp_path: Path) -> None:
    peer, headers, expected, verdict = CASES[case]
    seen = through_wsgi(configured(tmp_path, LB), environ_of(peer, headers))
    assert (seen["REMOTE_ADDR"], seen["clientip.resolution"].verdict) == (expected, verdict)
    assert ("REMOTE_HOST" in seen) == (verdict in ("unknown", "internal"))


@pytest.mark.parametrize(("said", "port"), [("203.0.113.7:4711", 4711), ("203.0.113.7", None), ("203.0.113.7:0", None)])
def test_the_port_is_the_clients_or_none(said: str, port: int | None, tmp_path: Path) -> None:
    config, headers = configured(tmp_path, LB), [("x-forwarded-for", said)]
    assert through_asgi(AsgiClientIP, config, scope_of("10.0.0.10", headers))["client"] == ("203.0.113.7", port or 0)
    environ = through_wsgi(config, environ_of("10.0.0.10", headers))
    assert environ.get("REMOTE_PORT") == (None if port is None else str(port))


def test_what_the_server_handed_over_stays_as_it_is(tmp_path: Path) -> None:
    config, headers = configured(tmp_path, LB), [("x-forwarded-for", "203.0.113.7")]
    scope, environ = scope_of("10.0.0.10", headers), environ_of("10.0.0.10", headers)
    scope["state"]["pool"] = "the application's"
    before = {**scope, "state": dict(scope["state"])}, dict(environ)
    seen = through_asgi(AsgiClientIP, config, scope)
    through_wsgi(config, environ)
    assert (scope, environ) == before
    assert seen["state"]["pool"] == "the application's"


@pytest.mark.parametrize("host", [None, "", "/run/app.sock", "unix:", "testclient", "10.0.0.10:80"])
def test_a_peer_that_is_no_address_names_no_client(host: str | None, tmp_path: Path) -> None:
    config, headers = configured(tmp_path, LB), [("x-forwarded-for", "203.0.113.7")]
    scope = through_asgi(AsgiClientIP, config, scope_of(host, headers))
    assert scope["client"] == (None if host is None else (host, 5555))
    environ = through_wsgi(config, environ_of(host or "", headers))
    assert environ["REMOTE_ADDR"] == (host or "")
    for found in (scope["clientip"], environ["clientip.resolution"]):
        assert (found.verdict, found.reason) == ("unknown", "peer_not_logged")


@pytest.mark.parametrize("kind", ["lifespan", "a kind to come"])
def test_what_has_no_client_passes_as_it_is(kind: str, tmp_path: Path) -> None:
    scope = {"type": kind}
    assert through_asgi(AsgiClientIP, configured(tmp_path, LB), scope) is scope


def test_what_proxy_put_in_the_place_of_the_peer_is_a_statement(tmp_path: Path) -> None:
    stated = """
[systems.nlb]
addresses = ["10.0.0.10"]
peers     = ["outside"]
conveys   = ["proxy"]
[systems.app]
peers     = ["nlb"]
logs_peer = "proxy"
"""
    for believes, verdict in (('believes = ["nlb"]', "vouched"), ("", "unknown")):
        config = configured(tmp_path, stated + believes)
        seen = through_asgi(AsgiClientIP, config, scope_of("203.0.113.7", [("x-forwarded-for", "6.6.6.6")]))
        assert (seen["client"], seen["clientip"].verdict) == (("203.0.113.7", 5555), verdict)


def test_a_shared_address_is_believed_with_its_secret_only(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 32)
    (tmp_path / "secret").write_text("caf\u00e9")
    cdn = """
[secrets]
key_file  = "key"
[systems.cdn]
addresses = ["192.0.2.0/24"]
peers     = ["outside"]
shared    = true
proof     = [{ header = "x-origin-secret", value_file = "secret" }]
conveys   = [{ header = "cf-connecting-ip", mode = "overwrite" }]
[systems.app]
peers     = ["cdn"]
drops_underscores = true
"""
    config, headers = configured(tmp_path, cdn), [("CF-Connecting-IP", "203.0.113.7")]
    for secret, verdict in (("caf\u00e9", "vouched"), ("cafe", "unknown"), ("", "unknown")):
        shown = [*headers, ("X-Origin-Secret", secret)]
        found = through_asgi(AsgiClientIP, config, scope_of("192.0.2.9", shown))["clientip"]
        assert (found.verdict, found.reason) == (verdict, None if verdict == "vouched" else "owner_unproved")
        assert through_wsgi(config, environ_of("192.0.2.9", shown))["clientip.resolution"] == found
        assert secret == "" or secret not in str(found)


def test_a_hop_whose_connections_only_its_log_knows_stays_unknown(tmp_path: Path) -> None:
    nodes = """
[systems.nodes]
addresses = ["10.1.0.5"]
peers     = ["outside"]
FORMAT
[systems.app]
peers     = ["nodes"]
"""
    config = configured(tmp_path, nodes.replace("FORMAT", 'format = "conntrack_json"'))
    seen = through_asgi(AsgiClientIP, config, scope_of("10.1.0.5", []))
    assert (seen["clientip"].verdict, seen["clientip"].reason) == ("unknown", "snat_no_witness")


def test_an_ownership_that_is_over_is_not_believed(tmp_path: Path) -> None:
    for until, verdict in (("2001-01-01", "seen"), ("2101-01-01", "vouched")):
        text = LB.replace('"10.0.0.10"', f'{{ range = "192.0.2.1", until = {until}T00:00:00Z }}')
        scope = scope_of("192.0.2.1", [("x-forwarded-for", "203.0.113.7")])
        assert through_asgi(AsgiClientIP, configured(tmp_path, text), scope)["clientip"].verdict == verdict


# What is refused.


def faults(folder: Path, text: str, system: str = "app") -> str:
    with pytest.raises(ConfigError) as caught:
        WsgiClientIP(lambda *_: [], configured(folder, text), system)
    return str(caught.value)


def test_a_system_that_is_not_drawn_is_refused(tmp_path: Path) -> None:
    assert faults(tmp_path, LB, "ap") == 'systems: "ap" is not drawn; did you mean "app"?'
    assert "is no TOML" in faults(tmp_path, "[")


def test_a_system_without_peers_is_refused(tmp_path: Path) -> None:
    text = "[systems.app]\ndrops_underscores = true\n"
    assert faults(tmp_path, text).startswith("systems.app.peers: is missing")


@pytest.mark.parametrize(
    "conveys", ['{ header = "x-real-ip", mode = "overwrite" }', '{ header = "forwarded", mode = "append" }']
)
@pytest.mark.parametrize("drops", ["", "drops_underscores = false"])
def test_wsgi_believes_no_header_that_a_twin_can_be(conveys: str, drops: str, tmp_path: Path) -> None:
    text = f"""
[systems.cdn]
addresses = ["192.0.2.9"]
peers     = ["outside"]
conveys   = [{conveys}]
[systems.nodes]
addresses = ["10.1.0.5"]
peers     = ["cdn"]
carries   = ["cdn"]
[systems.app]
peers     = ["nodes"]
"""
    assert faults(tmp_path, text + drops).startswith("systems.app.drops_underscores: is missing")
    AsgiClientIP(None, configured(tmp_path, text), "app")  # type: ignore[arg-type]


def test_wsgi_needs_no_word_about_names_where_no_header_is_believed(tmp_path: Path) -> None:
    text = LB.replace("drops_underscores = true", "").replace('["lb", "outside"]', '["outside"]')
    seen = through_wsgi(configured(tmp_path, text), environ_of("203.0.113.7", [("X_Forwarded_For", "6.6.6.6")]))
    assert (seen["REMOTE_ADDR"], seen["clientip.resolution"].verdict) == ("203.0.113.7", "seen")
