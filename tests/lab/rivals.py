"""What others would say of the same lines: realip, the first public address, the leftmost, ClientHost, a NAT table.

Each is given the best it could know: all our own addresses are in its trusted list.  A line of which one names
somebody who did not send it counts as wrong; the node's address is somebody who did not.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.driver import Truth, read_label
from tests.lab.scenario import Scenario

RIVALS = ("realip", "first-public", "leftmost", "ClientHost", "latest")
_TCP = re.compile(r"(\S+):([0-9]+) \[")
_END = re.compile(r"\[?([0-9a-f:.]+?)\]?(?::([0-9]+))?$")


@dataclass(frozen=True)
class Seen:
    """What a line shows to everybody."""

    peer: str
    port: int | None
    forwarded: tuple[str, ...]  # entries of X-Forwarded-For, left to right
    client_host: str | None  # Traefik only
    truth: Truth


def wrong_by(scenario: Scenario, folder: Path) -> Counter[str]:
    """How many wrong clients each of them names on the lines of a recording."""
    trusted = {address for keys in scenario.systems.values() for address in keys.get("addresses", ())}
    table = _table(folder)
    wrong: Counter[str] = Counter()
    for seen in _lines(scenario, folder):
        said = {
            "realip": _realip(seen, trusted),
            "first-public": _first_public(seen),
            "leftmost": seen.forwarded[0] if seen.forwarded else seen.peer,
            "ClientHost": seen.client_host,
            "latest": _latest(seen, table),
        }
        for name, client in said.items():
            if client is not None and _plain(client) != seen.truth.client:
                wrong[name] += 1
    return wrong


def _plain(text: str) -> str:
    """An address without port, brackets and the IPv4-mapped prefix.

    >>> [_plain(text) for text in ("203.0.113.7:80", "[2001:db8::1]:4711", "::ffff:203.0.113.7", "unknown")]
    ['203.0.113.7', '2001:db8::1', '203.0.113.7', 'unknown']
    """
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return text.removeprefix("::ffff:")


def _realip(seen: Seen, trusted: set[str]) -> str:
    """nginx: set_real_ip_from for every address of ours, real_ip_recursive on."""
    client = seen.peer
    for entry in reversed(seen.forwarded):
        if client not in trusted:
            break
        client = _plain(entry)
    return client


def _first_public(seen: Seen) -> str:
    for entry in seen.forwarded:
        try:
            address = ipaddress.ip_address(_plain(entry))
        except ValueError:
            continue
        documentation = address in ipaddress.ip_network("203.0.113.0/24") or str(address).startswith(
            ("192.0.2.", "2001:db8:")
        )
        if address.is_global or documentation:
            return str(address)
    return seen.peer


def _latest(seen: Seen, table: dict[tuple[str, int], tuple[str, int]]) -> str:
    """The last translation that used this address and port, and the balancer's connection behind it."""
    at = (seen.peer, seen.port or 0)
    for _ in range(4):
        if at not in table:
            break
        at = table[at]
    return at[0]


def _table(folder: Path) -> dict[tuple[str, int], tuple[str, int]]:
    """Translated source → source, the last line wins; the balancer's upstream sockets likewise."""
    table: dict[tuple[str, int], tuple[str, int]] = {}
    for path in sorted((folder / "nat").glob("node-?.jsonl")):
        for line in path.read_bytes().splitlines():
            row = json.loads(line)
            if "orig" in row:
                table[row["reply"][2], row["reply"][3]] = (row["orig"][0], row["orig"][1])
    for path in sorted((folder / "lb").glob("*.log")):
        for text in path.read_text(errors="replace").splitlines():
            words = text.split(" ")
            ends = [_END.match(words[at]) for at in (0, 5)] if len(words) > 5 else []
            if len(ends) == 2 and all(end is not None and end[2] for end in ends):
                near, far = ends[1], ends[0]
                assert near is not None and far is not None
                table[near[1], int(near[2])] = (_plain(far[1]), int(far[2]))
    return table


def _lines(scenario: Scenario, folder: Path) -> Iterator[Seen]:
    for keys in scenario.systems.values():
        if keys.get("format") not in ("nginx", "traefik_json", "envoy_json", "caddy", "haproxy"):
            continue
        for pattern in keys["inputs"]:
            for path in sorted(folder.glob(pattern.replace("{instance}", "*"))):
                for line in path.read_text(errors="replace").splitlines():
                    seen = _seen(keys["format"], line)
                    if seen is not None:
                        yield seen


def _seen(kind: str, line: str) -> Seen | None:
    truth = read_label(line)
    if truth is None:
        return None
    if kind == "haproxy":
        found = _TCP.match(line)
        return None if found is None else Seen(_plain(found[1]), int(found[2]), (), None, truth)
    try:
        row = json.loads(line)
    except ValueError:
        return None
    host = None
    if kind == "nginx":
        peer, port, header = row["peer"], row["peer_port"], row["xff"]
    elif kind == "traefik_json":
        peer, _, port = row["ClientAddr"].rpartition(":")
        header, host = row.get("request_X-Forwarded-For", ""), row["ClientHost"]
    elif kind == "envoy_json":
        peer, _, port = row["downstream_direct_remote_address"].rpartition(":")
        header = row.get("x_forwarded_for") or ""
    else:
        peer, port = row["request"]["remote_ip"], row["request"]["remote_port"]
        header = ",".join(row["request"]["headers"].get("X-Forwarded-For", []))
    entries = tuple(entry.strip() for entry in header.split(",") if entry.strip())
    return Seen(_plain(peer), int(port) if str(port).isdecimal() else None, entries, host, truth)
