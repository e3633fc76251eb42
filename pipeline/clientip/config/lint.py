"""Warnings: what a configuration trusts and a careful operator would not.

Nothing here is a fault: the topology can be used, but a wrong hop may be believed,
or lines will stay without a client for a reason that can be mended now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from clientip.config.evidence import hides_tries, shown_pattern
from clientip.config.keys import INTERNAL, OUTSIDE
from clientip.config.presets import others_of
from clientip.config.ranges import in_force_together
from clientip.formats import FORMATS
from clientip.model import Ownership, Setup, System
from clientip.settings import Settings, SystemSettings
from clientip.syntax.addresses import parse_range

_WORKLOADS: Final = tuple(
    parse_range(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)
_WIDE: Final = {4: 8, 6: 16}  # prefix lengths below these hold many operators' addresses


def warnings(settings: Settings) -> tuple[str, ...]:
    """What the configuration trusts and a careful operator would not; in the order of the systems."""
    systems = [each.system for each in settings.systems]
    found = [
        *_wide_ranges(systems),
        *_nested_ranges(systems),
        *_elsewhere(systems),
        *_unproved(systems),
        *_unlisted(systems),
        *_beside_carriers(systems),
        *_unbelieving(settings.systems),
        *_unheld(settings.systems),
        *_unlogged(settings.systems),
        *_unbounded(settings.systems),
        *_trailing(settings.systems),
        *_unconfirmed(settings.systems),
        *_retrying(settings.systems),
    ]
    return tuple(f"systems.{name}.{key}: {text}" for name, key, text in found)


_Warning = tuple[str, str, str]


def _wide_ranges(systems: Iterable[System]) -> Iterator[_Warning]:
    for system in systems:
        for own in system.owns:
            bits = _prefix_bits(own)
            if bits == 0:
                yield system.name, "addresses", f"{own.text} is everybody: any client can speak for this system"
            elif bits < _WIDE[own.version]:
                yield (
                    system.name,
                    "addresses",
                    f"{own.text} is wider than any one operator's network; list its real addresses",
                )
            elif not system.proof and any(_inside(block, own) for block in _WORKLOADS):
                yield (
                    system.name,
                    "addresses",
                    f"{own.text} is a whole private block: workloads in it could speak for this system",
                )


def _prefix_bits(own: Ownership) -> int:
    return (32 if own.version == 4 else 128) - (own.high - own.low).bit_length()


def _inside(block: tuple[int, int, int, str], own: Ownership) -> bool:
    low, high, version, _ = block
    return version == own.version and own.low <= low and high <= own.high


def _nested_ranges(systems: Iterable[System]) -> Iterator[_Warning]:
    """Ranges that hold addresses of another system, if the two would not vouch alike."""
    owned = [
        (own.network or system.network, own.version, own.low, -own.high, system, own)
        for system in systems
        for own in system.owns
    ]
    owned.sort(key=lambda row: row[:4])
    around: list[tuple[str, System, Ownership]] = []  # ranges are prefixes, so they nest and never cross
    said: set[tuple[str, str]] = set()
    for network, version, low, _, system, own in owned:
        while around and (around[-1][0], around[-1][2].version, low <= around[-1][2].high) != (network, version, True):
            around.pop()
        for _, outer, wider in around:
            if (outer.name, system.name) in said or not in_force_together(wider, own):
                continue
            if _promises(outer) != _promises(system):
                said.add((outer.name, system.name))
                yield (
                    outer.name,
                    "addresses",
                    f'{wider.text} holds {own.text} of "{system.name}": lines from there are `ambiguous`',
                )
        around.append((network, system, own))


def _elsewhere(systems: Sequence[System]) -> Iterator[_Warning]:
    networks = {system.network for system in systems}
    for system in systems:
        for name in sorted({own.network for own in system.owns if own.network is not None} - networks):
            yield system.name, "addresses", f'no system is in the network "{name}", so nothing is looked up there'


def _promises(system: System) -> tuple[object, ...]:
    return system.conveys, system.drops, system.carries, system.peers, system.shared, system.proof


def _unproved(systems: Iterable[System]) -> Iterator[_Warning]:
    for system in systems:
        if system.shared and not system.proof and (system.conveys or system.carries):
            text = "is missing: a shared range without one vouches for no client (`owner_unproved`)"
            yield system.name, "proof", text


def _unlisted(systems: Sequence[System]) -> Iterator[_Warning]:
    met = {name for system in systems for name in (*system.peers, *system.carries)}
    for system in systems:
        if system.owns and system.name not in met:
            yield system.name, "addresses", "lie on no path: no system lists this one in `peers`"


def _beside_carriers(systems: Sequence[System]) -> Iterator[_Warning]:
    carriers = {system.name for system in systems if system.carries}
    for system in systems:
        beside = sorted(system.peers & carriers)
        if beside and OUTSIDE in system.peers:
            text = f'has "{OUTSIDE}" beside "{beside[0]}", which hides clients: '
            yield system.name, "peers", text + "an address missing in its list would be taken for a client"


def _unbelieving(systems: Iterable[SystemSettings]) -> Iterator[_Warning]:
    for each in systems:
        system = each.system
        says = each.setup is not None or system.conveys
        if says and system.logs_peer in ("proxy", "realip") and not system.believes:
            yield (
                system.name,
                "believes",
                "is missing: where the socket is not logged, no line names a client (`not_believed`)",
            )


def _unheld(systems: Sequence[SystemSettings]) -> Iterator[_Warning]:
    """Statements that came through a hop whose own log knows each connection."""
    logging = {each.system.name for each in systems if each.setup is not None and each.system.tells}
    held = {each.system.name for each in systems if each.system.carries and each.system.connects} & logging
    for each in systems:
        hops = sorted(held.intersection(each.system.believes))
        if hops and not any(column in _columns(each) for column in _SOCKET_COLUMNS):
            text = f'has "{hops[0]}", which carries and has a log: where no line shows the socket, none names a client '
            yield each.system.name, "believes", text + "(`source_unproved`); log the socket's far end, too"


_SOCKET_COLUMNS: Final = ("realip_remote_addr", "{c}a", "fc_src", "downstream_direct_remote_address")


def _unlogged(systems: Sequence[SystemSettings]) -> Iterator[_Warning]:
    """Promised headers without a column in the log's own pattern, if the pattern is known."""
    by_name = {each.system.name: each.system for each in systems}
    for each in systems:
        columns = _columns(each)
        near = [by_name[name] for name in sorted(each.system.peers - {OUTSIDE, INTERNAL})]
        witnesses = [*near, *(by_name[name] for hop in near for name in hop.carries)]
        sources = {promise.source for hop in witnesses for promise in hop.conveys} - {"proxy"}
        for source in sorted(sources) if columns else ():
            if source.replace("-", "_") not in columns:
                yield each.system.name, "pattern", f"has no column for {source}, which a system before it conveys"


def _columns(each: SystemSettings) -> str:
    """The text that names the log's columns; "" if the format does not show it."""
    pattern = "" if each.setup is None else _pattern(each.setup)
    captures = () if each.setup is None else each.setup.captures
    return "\n".join((pattern, *captures)).lower().replace("-", "_") if pattern else ""


def _pattern(setup: Setup) -> str:
    """The server's format string; "" if the format has none."""
    if FORMATS[setup.format].pattern == "none":
        return ""
    shipped = dict(FORMATS[setup.format].known_patterns)
    pattern = setup.pattern or next(iter(shipped.values()), "")
    return shipped.get(pattern, pattern)  # a known one goes by its name


def _unconfirmed(systems: Iterable[SystemSettings]) -> Iterator[_Warning]:
    """Promises that hold under one setting of the product only, which is not named."""
    for each in systems:
        family = "" if each.setup is None else _BY_SETTING.get(each.setup.format, "")
        for promise in each.system.conveys if family and not each.preset else ():
            same, different = others_of(family, promise.source, promise.mode)
            if different:
                named = " or ".join(f'"{name}"' for name in same)
                fits = f"write preset = {named}" if same else "mend the row, which fits none of its settings"
                yield (
                    each.system.name,
                    "conveys",
                    f"{promise.source} so only under one setting, and not under that of {', '.join(different)}: "
                    f"look it up (`clientip help presets`), then {fits}",
                )


_BY_SETTING: Final = {
    "traefik_json": "traefik",
    "traefik_clf": "traefik",
    "aws_alb": "alb",
}  # first word of its presets


def _unbounded(systems: Iterable[SystemSettings]) -> Iterator[_Warning]:
    """Logs that are written when a request or connection is over, without a bound of how long that takes."""
    for each in systems:
        if each.system.lossless and not each.system.writes_begins and each.system.longest_ns is None:
            text = (
                "proves nothing without `longest`: a line is written when its request is over, and a client that "
                "holds on has none yet; `clientip help longest` says which setting of the server ends it by force"
            )
            yield each.system.name, "lossless", text


def _trailing(systems: Iterable[SystemSettings]) -> Iterator[_Warning]:
    """Logs whose stamps are made when an event is received, however late."""
    for each in systems:
        setup = each.setup
        if (
            setup is not None
            and "receipts" in FORMATS[setup.format].writes
            and each.system.tells
            and setup.stamped_within_ns is None
        ):
            text = (
                "is not written, so no stamp of this log says when a connection began or ended, and a port that is "
                'used twice is not answered; write the longest delay, as in stamped_within = "200ms", or '
                "collect with `clientip collect conntrack`"
            )
            yield each.system.name, "stamped_within", text


def _retrying(systems: Iterable[SystemSettings]) -> Iterator[_Warning]:
    """Logs of requests that show the connection of the last try only."""
    for each in systems:
        setup = each.setup
        if setup is None or not setup.retries or not each.system.tells:
            continue
        row = FORMATS[setup.format]
        shown = shown_pattern(row, setup.pattern)
        if row.connections and row.connections in shown and hides_tries(row, shown):
            text = (
                "may be true, and the log does not show tries, so it answers for no connection: "
                "log them (HAProxy %rc, Envoy %UPSTREAM_REQUEST_ATTEMPT_COUNT%), or write retries = false"
            )
            yield each.system.name, "retries", text
