"""What a line has to ask of others: one question at a time, the strongest key first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clientip.joins.facts import JoinQuestion, conn_key, request_key, trace_key
from clientip.joins.witnesses import Witnesses, header_of
from clientip.model import Endpoint, Observation, Resolution, Stop
from clientip.trust.answers import Refused, site
from clientip.trust.graph import Graph

MAX_REQUEST_IDS: Final = 4  # of one line; more are an attack


class Questions:
    """Who could answer whom; compiled once from the drawing."""

    def __init__(self, graph: Graph, witnesses: Witnesses) -> None:
        self._graph = graph
        self._witnesses = witnesses
        self._gates: dict[tuple[tuple[str, ...], str], bool] = {}

    def questions(self, seen: Observation, found: Resolution) -> list[JoinQuestion] | Refused | None:
        """The questions of a walk that stopped, strongest first; why it cannot ask; None: no system could answer.

        `number` and `chunk` are the caller's to fill in.
        """
        stop = found.stop
        if stop is None:
            return None
        conn, refused = self._connection(seen, stop)
        asked = [*conn, *self._ids(seen, stop)]
        if not asked:
            return refused
        if seen.start_latest_ns is None or seen.time_by in (None, "arrival"):
            return Refused("no_time")
        return asked

    def _connection(self, seen: Observation, stop: Stop) -> tuple[list[JoinQuestion], Refused | None]:
        witnesses = tuple(name for name in stop.systems if self._witnesses.connects(name))
        source = stop.source
        if not witnesses or source is None:
            return [], None
        if source.port is None:
            return [], Refused("port_not_logged")
        protocol = seen.http.protocol if seen.http is not None else None
        over_udp = protocol is not None and protocol.startswith("HTTP/3")
        transport = seen.transport or ("udp" if over_udp else "tcp")
        network = self._graph.systems[stop.passed[-1] if stop.passed else seen.setup.system].network
        asked = self._asked(
            conn_key(network, transport, (source.address.text, source.port)),
            seen,
            witnesses,
            source=source.address.text,
            target=self._near(seen, stop.target, source) if not stop.passed else stop.target,
            fronts=() if stop.passed else self._graph.systems[seen.setup.system].fronts,
            nat=transport == "tcp" and len(stop.systems) <= 2 and self._is_one_translator(witnesses, source),
            http1=protocol is not None and protocol.removeprefix("HTTP/").startswith(("1", "0")),
        )
        return [asked], None

    def _is_one_translator(self, witnesses: tuple[str, ...], source: Endpoint) -> bool:
        """Whether the drawing says whose NAT log holds all that was translated to this address.

        Without `instances` it is not known which log that is; from a shared range strangers speak, too.
        """
        systems = [self._graph.systems[name] for name in witnesses]
        if len(systems) != 1 or not systems[0].translates or systems[0].shared:
            return False
        return any(each.address == source.address for _, own in systems[0].instances for each in own)

    def _near(self, seen: Observation, target: Endpoint | None, source: Endpoint) -> Endpoint | None:
        """The near end of the observer's own socket; what the line does not show, the drawing may."""
        if target is not None and target.port is not None:
            return target
        own = dict(self._graph.systems[seen.setup.system].instances).get(seen.instance or "", ())
        alike = [each for each in own if each.address.version == source.address.version]
        listening = [each for each in alike if target is None or each.address == target.address]
        return listening[0] if len(listening) == 1 else target

    def _ids(self, seen: Observation, stop: Stop) -> Iterator[JoinQuestion]:
        ids = seen.ids
        if ids is None:
            return
        witnesses = self._knowing(seen, stop)
        if not witnesses:
            return
        for scheme, value in ids.requests[:MAX_REQUEST_IDS]:
            words = self._words(witnesses, header_of(scheme), seen, stop)
            yield self._asked(request_key(scheme, value), seen, witnesses, words=words)
        if ids.trace is not None:
            words = self._words(witnesses, ids.header, seen, stop)
            yield self._asked(trace_key(ids.trace), seen, witnesses, parent=ids.parent, words=words)

    def _asked(
        self,
        key: str,
        seen: Observation,
        witnesses: tuple[str, ...],
        *,
        source: str = "",
        target: Endpoint | None = None,
        http1: bool = True,
        parent: str | None = None,
        nat: bool = False,
        fronts: tuple[Endpoint, ...] = (),
        words: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    ) -> JoinQuestion:
        serial = seen.connection_serial or ""
        return JoinQuestion(
            key,
            0,
            0,
            witnesses,
            seen.setup.system,
            seen.instance or "",
            int(serial) if serial.isdecimal() and len(serial) < 19 else None,
            seen.start_ns,
            seen.start_latest_ns or 0,
            seen.end_ns,
            source,
            site(target),
            http1,
            parent,
            nat,
            tuple((each.address.text, each.port) for each in fronts),
            *words,
        )

    def _knowing(self, seen: Observation, stop: Stop) -> tuple[str, ...]:
        """Systems that served this very request if they served one with its id: it cannot have come round them."""
        systems = self._graph.systems
        start = stop.systems or tuple(sorted(systems[seen.setup.system].peers))
        if any(name in systems and systems[name].shared for name in start):
            return ()
        near = [name for name in stop.passed if self._witnesses.tells(name)]
        beyond = [name for name in self._outward(start) if self._witnesses.tells(name) and self._is_gate(start, name)]
        return tuple(dict.fromkeys([*near, *beyond]))

    def _words(
        self, witnesses: tuple[str, ...], header: str | None, seen: Observation, stop: Stop
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The witnesses whose word says that nobody else sent what the asker read: by `passes_ids`, and by `mints`.

        `header`: where he read it; None and "": in any. A minted header is overwritten, but others pass beside it: it
        counts only where he read that very one, and where no hop between may have written it out of another.
        """
        systems = self._graph.systems
        passing = [name for name in witnesses if _passes(systems[name].passes_ids, header)]
        near = (*stop.passed, *(stop.systems or sorted(systems[seen.setup.system].peers)))
        minting = [name for name in witnesses if header in systems[name].mints and not self._is_rewritten(near, name)]
        return tuple(passing), tuple(minting)

    def _is_rewritten(self, near: tuple[str, ...], gate: str) -> bool:
        """Whether a hop stands nearer than `gate` that may read headers and write others."""
        systems, met, waiting = self._graph.systems, set[str](), [name for name in near if name != gate]
        while waiting:
            name = waiting.pop()
            if name in met or name not in systems:
                continue
            met.add(name)
            hop = systems[name]
            if any(promise.source != "proxy" for promise in hop.conveys) or hop.mints or hop.passes_ids:
                return True
            if name in self._graph.logging and not hop.translates:
                return True
            waiting += [other for other in (*hop.peers, *hop.carries) if other != gate]
        return False

    def _outward(self, start: tuple[str, ...]) -> list[str]:
        """Every system that can be met from these on, nearest first."""
        systems, met, waiting = self._graph.systems, dict[str, None](), list(start)
        while waiting:
            name = waiting.pop(0)
            if name in systems and name not in met:
                met[name] = None
                waiting += [*sorted(systems[name].peers), *systems[name].carries]
        return list(met)

    def _is_gate(self, start: tuple[str, ...], gate: str) -> bool:
        """Whether `start` is reached from outside, or from a workload, only through `gate`."""
        known = self._gates.get((start, gate))
        if known is None:
            known = self._gates[start, gate] = self._is_closed(start, gate)
        return known

    def _is_closed(self, start: tuple[str, ...], gate: str) -> bool:
        systems, met, waiting = self._graph.systems, set[str](), [name for name in start if name != gate]
        if systems[gate].shared:
            return False  # strangers connect from its range, past it
        while waiting:
            name = waiting.pop()
            if name in met:
                continue
            met.add(name)
            if name not in systems or not systems[name].peers or systems[name].shared:
                return False  # outside, a workload, strangers, or a system of which nothing is drawn
            waiting += [other for other in (*systems[name].peers, *systems[name].carries) if other != gate]
        return True


def _passes(promised: tuple[str, ...], header: str | None) -> bool:
    """Whether the promise covers whatever the asker may have read."""
    return header in promised if header else bool(promised)
