"""The laws of trust, over drawn networks and hostile clients.

A small simulation is the oracle: honest hops do what they promise, the client
writes whatever it likes. The walk sees only what the last server would log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

import pytest
from clientip.model import Claim, Endpoint, Promise, Resolution, System, Verdict
from clientip.syntax.addresses import parse_address
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.sizes import EXAMPLES
from tests.worlds.walks import FORWARDED, PROXY, XFF, endpoint, request, system, walk

CLIENTS = st.one_of(
    st.integers(1, 254).map(lambda n: f"203.0.113.{n}"),
    st.integers(1, 0xFFFF).map(lambda n: f"2001:db8::{n:x}"),
)
HOPS = {number: f"10.{number}.0.1" for number in range(1, 5)}

TEMPTING = st.sampled_from(
    [
        *HOPS.values(),
        "8.8.8.8",
        "203.0.113.7",
        "127.0.0.1",
        "10.0.0.0",
        "unknown",
        "_x",
        "",
        ",",
        "::1",
        '"',
        "for=10.1.0.1",
    ]
)
ENTRY = st.one_of(TEMPTING, CLIENTS, st.text(max_size=12))
VALUE = st.lists(ENTRY, max_size=6).map(", ".join)
FORGED_FORWARDED = st.one_of(
    VALUE,
    st.lists(TEMPTING.map(lambda text: f"for={text}"), max_size=4).map(",".join),
    st.text('for=";,\\10. ', max_size=30),
)


@dataclass
class Wire:
    """What travels between two hops."""

    headers: dict[str, list[str]] = field(default_factory=dict)
    proxied: str | None = None


def append_xff(wire: Wire, peer: str) -> None:
    wire.headers.setdefault("x-forwarded-for", []).append(peer)


def append_xff_in_place(wire: Wire, peer: str) -> None:
    lines = wire.headers.setdefault("x-forwarded-for", [])
    if lines:
        lines[-1] += f", {peer}"
    else:
        lines.append(peer)


def append_two(wire: Wire, peer: str) -> None:
    append_xff(wire, f"{peer}, 198.51.100.99")


def append_forwarded(wire: Wire, peer: str) -> None:
    node = f'"[{peer}]:443"' if ":" in peer else peer
    wire.headers.setdefault("forwarded", []).append(f"proto=https;for={node}")


def overwrite(wire: Wire, peer: str) -> None:
    wire.headers["cf-connecting-ip"] = [peer]


BEHAVIOURS: dict[str, tuple[tuple[Promise, ...], Callable[[Wire, str], None]]] = {
    "append a line": ((XFF,), append_xff),
    "append in place": ((XFF,), append_xff_in_place),
    "append two": ((Promise("x-forwarded-for", "append2"),), append_two),
    "forwarded": ((FORWARDED,), append_forwarded),
    "overwrite": ((Promise("cf-connecting-ip", "overwrite"),), overwrite),
}


@st.composite
def chains(draw: st.DrawFn) -> list[str]:
    """Behaviours of the hops, nearest first. One overwriter at most: a second would erase the first one's word."""
    names = draw(st.lists(st.sampled_from(sorted(BEHAVIOURS)), min_size=1, max_size=4))
    return [name for number, name in enumerate(names) if name != "overwrite" or "overwrite" not in names[:number]]


FORGED = st.dictionaries(
    st.sampled_from(["x-forwarded-for", "cf-connecting-ip", "x-real-ip", "client-ip", "true-client-ip"]),
    st.lists(VALUE, min_size=1, max_size=3),
    max_size=5,
).flatmap(
    lambda headers: st.lists(FORGED_FORWARDED, max_size=3).map(
        lambda lines: headers | ({"forwarded": lines} if lines else {})
    )
)


def network(names: list[str]) -> list[System]:
    """app ← hop 1 ← hop 2 ← … ← outside."""
    systems = [system("app", peers="hop1")]
    for number, name in enumerate(names, 1):
        after = "outside" if number == len(names) else f"hop{number + 1}"
        systems.append(system(f"hop{number}", f"10.{number}.0.0/16", peers=after, conveys=BEHAVIOURS[name][0]))
    return systems


def travel(names: list[str], client: str, wire: Wire) -> Wire:
    """The request through the hops, farthest first, each meeting the one before."""
    peer = client
    for number in range(len(names), 0, -1):
        BEHAVIOURS[names[number - 1]][1](wire, peer)
        peer = HOPS[number]
    return wire


def logged(wire: Wire) -> list[Claim]:
    shown = {"x-forwarded-for", "forwarded", "cf-connecting-ip"} | wire.headers.keys()
    return [Claim(name, tuple(wire.headers.get(name, ()))) for name in sorted(shown)]


@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_a_resolution_names_its_end_only_if_the_verdict_says_how_the_client_is_known(verdict: Verdict) -> None:
    """Whatever stands in `client`: of `internal` it is where the walk ended, which nobody may take for a client."""
    end = Endpoint(parse_address("203.0.113.7"), 5)
    named = Resolution(verdict, end, None, None, ()).named
    assert named == (end if verdict in {"seen", "vouched", "joined"} else None)
    assert Resolution(verdict, None, None, None, ()).named is None


@settings(max_examples=EXAMPLES)
@given(chains(), CLIENTS, FORGED)
def test_whatever_an_outside_client_writes_the_client_does_not_move(
    names: list[str], client: str, forged: dict[str, list[str]]
) -> None:
    wire = travel(names, client, Wire({name: list(lines) for name, lines in forged.items()}))
    resolution = walk(network(names), request(f"{HOPS[1]}:9", *logged(wire)))
    assert resolution.client is not None, resolution
    assert resolution.client.address == endpoint(client).address  # type: ignore[union-attr]
    assert resolution.verdict == "vouched"


@settings(max_examples=EXAMPLES)
@given(CLIENTS, FORGED)
def test_behind_a_proxy_protocol_balancer_no_header_moves_the_client(client: str, forged: dict[str, list[str]]) -> None:
    nlb = system("hop1", "10.1.0.0/16", peers="outside", conveys=(PROXY,))
    told = f"[{client}]:7" if ":" in client else f"{client}:7"
    seen = request("10.1.0.1:9", *logged(Wire(forged)), proxied=told)
    resolution = walk([system("app", peers="hop1"), nlb], seen)
    assert resolution.client == endpoint(told)


@settings(max_examples=EXAMPLES)
@given(st.one_of(CLIENTS, st.ip_addresses(v=4).map(str)), FORGED, st.booleans())
def test_whatever_address_it_comes_from_a_system_that_did_not_promise_is_not_believed(
    peer: str, forged: dict[str, list[str]], listed: bool
) -> None:
    mute = system("hop1", *([peer] if listed else []), peers="outside")
    systems = [system("app", peers="hop1 outside internal"), mute]
    resolution = walk(systems, request(f"[{peer}]:9" if ":" in peer else f"{peer}:9", *logged(Wire(forged))))
    named = resolution.client.address if resolution.client else None
    if listed:
        assert (resolution.verdict, named) == ("unknown", None)
    else:
        assert named in (None, endpoint(peer).address)  # type: ignore[union-attr]


@settings(max_examples=EXAMPLES)
@given(chains(), CLIENTS, FORGED, st.sampled_from(["x-forwarded-for", "forwarded", "cf-connecting-ip"]))
def test_a_header_that_goes_missing_never_names_somebody_else(
    names: list[str], client: str, forged: dict[str, list[str]], lost: str
) -> None:
    wire = travel(names, client, Wire({name: list(lines) for name, lines in forged.items()}))
    claims = [claim if claim.name != lost else Claim(lost, ()) for claim in logged(wire)]
    for shown in (claims, [claim for claim in claims if claim.name != lost]):
        resolution = walk(network(names), request(f"{HOPS[1]}:9", *shown))
        if resolution.client is not None:
            assert resolution.client.address == endpoint(client).address  # type: ignore[union-attr]
