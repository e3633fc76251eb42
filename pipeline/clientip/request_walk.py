"""A request that is being served, by the walk of the log: a peer and headers to a resolution. No clock, no I/O.

What `clientip.asgi` and `clientip.wsgi` share.  Nothing is joined here: no other log is at hand, so where a line
of a log would ask one, the request stays `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from clientip.config.schema_check import instead
from clientip.errors import ConfigError, Fault, FormatError
from clientip.model import Coverage, Endpoint, Http, Observation, Resolution, Setup, System
from clientip.settings import Settings
from clientip.syntax.addresses import parse_address
from clientip.syntax.headers import FORWARDING, sort_headers
from clientip.trust.graph import draw
from clientip.trust.walk import resolve

Shown = tuple[str, tuple[str, ...], Coverage]

_MERGED = (
    "is missing, and this server merges headers: X_Forwarded_For, which no proxy strips, reads like X-Forwarded-For. "
    "If the server drops names with an underscore, write drops_underscores = true"
)


class RequestWalk:
    """The walk of the requests that reach one drawn system, which need not write any log.

    The system's `logs_peer` says what the server shows as the peer: the socket (also where it is left out), or what
    PROXY or realip put in its place.  With `merged`, the server joins headers whose names differ in `-` and `_` only.
    Errors: ConfigError if the system is not drawn, lacks `peers`, or must not believe merged headers that it needs.
    """

    def __init__(self, settings: Settings, system: str, *, merged: bool = False) -> None:
        drawn = {each.system.name: each for each in settings.systems}
        if system not in drawn:
            raise _fault("systems", f'"{system}" is not drawn; {instead(system, drawn)}')
        self._here = drawn[system].system
        if not self._here.peers:
            raise _fault(f"systems.{system}.peers", 'is missing; write "outside", or the systems that connect to it')
        systems = [each.system for each in settings.systems]
        read = _read_on_the_way({each.name: each for each in systems}, self._here)
        if merged and read and not drawn[system].drops_underscores:
            raise _fault(f"systems.{system}.drops_underscores", _MERGED)
        logging = (name for name, each in drawn.items() if each.setup is not None)
        self._graph = draw(systems, logging, settings.translated)
        conveyed = frozenset(promise.source for each in systems for promise in each.conveys) - {"proxy"}
        proving = frozenset(proof.header for each in systems for proof in each.proof)
        self._setup = Setup(
            system=system,
            format="request",
            network=self._here.network,
            claim_headers=conveyed,
            proof_headers=proving,
            proof_key=settings.proof_key,
        )
        self._unsent: list[Shown] = [(name, (), "all") for name in sorted(conveyed)]  # the server shows all headers
        #: Headers that are looked at, in lower case; the others need not be handed over.
        self.wanted = FORWARDING | conveyed | proving

    def resolve(
        self, peer: Endpoint | None, headers: Iterable[tuple[str, str]], now_ns: int, path: str | None = None
    ) -> Resolution:
        """The client of the request that arrives at `now_ns`, or why it cannot be named.

        `peer` None: the server does not show it; then the client is unknown.  `headers`: (name in lower case, value),
        line by line in wire order.  `path` is of use where the system has `probes`.
        """
        lines: dict[str, list[str]] = {}
        for name, value in headers:
            lines.setdefault(name, []).append(value)
        sent: list[Shown] = [(name, tuple(values), "all") for name, values in lines.items()]
        shown = sort_headers(self._setup, sent + self._unsent)
        socket = self._here.logs_peer in (None, "socket")
        seen = Observation(
            self._setup,
            "request",
            now_ns,
            now_ns,
            None,
            "own",
            peer=peer if socket else None,
            stated=None if socket else peer,
            claims=shown.claims,
            http=None if path is None else Http(target=path),
            proofs=shown.proofs,
            source_column="sure" if self._here.logs_peer == "proxy" else None,
        )
        return resolve(self._graph, seen)


def peer_of(host: object, port: object) -> Endpoint | None:
    """The peer as a server names it; None if it is no address, as of a UNIX socket.

    >>> peer_of("::ffff:192.0.2.7", "5555"), peer_of("/run/app.sock", None)
    (Endpoint(address=Address(text='192.0.2.7', number=3221225991, version=4, scope='global'), port=5555), None)
    """
    try:
        address = parse_address(str(host).partition("%")[0])  # without the zone of a link-local address
    except FormatError:
        return None
    digits = str(port)
    return Endpoint(address, int(digits) or None if digits.isascii() and digits.isdecimal() else None)


def text_of(value: bytes) -> str:
    """A header's value as the formats of logs read it.

    >>> text_of(b"203.0.113.7"), text_of(b"caf\\xe9")
    ('203.0.113.7', 'caf\\\\xe9')
    """
    return value.decode("utf-8", "backslashreplace")


def _read_on_the_way(systems: Mapping[str, System], here: System) -> frozenset[str]:
    """Headers that a walk from here may read: what is promised or proved by a system that can be met."""
    met: dict[str, System] = {}
    waiting = [here]
    while waiting:
        for name in _next(waiting.pop()):
            if name in systems and name not in met:
                met[name] = systems[name]
                waiting.append(systems[name])
    sources = {promise.source for each in met.values() for promise in each.conveys} - {"proxy"}
    return frozenset(sources | {proof.header for each in met.values() for proof in each.proof})


def _next(system: System) -> Iterator[str]:
    yield from system.peers
    yield from system.carries


def _fault(key: str, text: str) -> ConfigError:
    return ConfigError([Fault("", key, text)])
