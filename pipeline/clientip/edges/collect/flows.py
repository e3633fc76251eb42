"""The collector's lines: messages of the kernel in, numbered lines out. No sockets and no clock here.

A flow has a line when it begins, and another one, with its start, its end and whether it was answered, when it ends: a
TCP flow when it enters TIME_WAIT or CLOSE, any other when the kernel forgets it. Flows that are alive when a list
begins (at the start, and after a loss) have a line LIST.

`at` of a line is a moment: everything up to then has this number or a lower one. It stays behind the stamps by
`GRACE_NS`, because the kernel stamps an event before it sends it, and two processors may send in another order. After a
loss it does not rise; the line with `gap` begins a new stretch, and a list follows it. If the clock was set back, a new
session begins.

A flow without a stamped start has `seen` in its place: it had begun by then.

Where the kernel stamps no events, the moment of reading is the stamp, and `since` is when all before it had been read:
the event happened in between. The start of an ended flow has `start_since`. `at` then rises to `since`, not to the
stamp. `read` is when a line was read whose own stamps do not say it.

The memory for living flows is bounded. The end of a flow that does not fit is written, with the kernel's stamps, when
the kernel forgets it, which for TCP is up to two minutes after its last packet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from clientip.edges.collect import netlink
from clientip.edges.collect.netlink import ConntrackEntry, TupleEnds
from clientip.syntax.transports import PROTOCOLS

MAX_REMEMBERED: Final = 100_000  # living flows; about 200 bytes each
# The same as the format's, which is not imported: all formats together take more memory than all flows.
GRACE_NS: Final = 100_000_000

_END_WRITTEN: Final = 0  # in the place of a start

Wanted = Callable[[ConntrackEntry, TupleEnds], bool]


class Flows:
    """One session: its running number, and the flows with a line whose end has not come."""

    def __init__(self, boot: str, wanted: Wanted, limit: int = MAX_REMEMBERED) -> None:
        self.lines: list[str] = []  # with their line ends; the writer takes them out
        self.malformed = 0
        self._boot = boot
        self._session = ""
        self._wanted = wanted
        self._limit = limit
        self._number = 0
        self._at = 0
        self._gap = ""
        self._lost = False
        self._begun: dict[bytes, int] = {}  # key → its start, or -(when it was seen), or _END_WRITTEN
        self._starts_since: dict[bytes, int] = {}  # key → since when it can have begun, if the kernel does not say
        self._since: int | None = None  # of the present event; None: the kernel stamped it
        self._before: dict[bytes, int] = {}  # the same, from before the present list
        self._catching_up = False
        self._crowded_since: int | None = None

    @property
    def lost(self) -> bool:
        """Whether events were lost and no list has begun since."""
        return self._lost

    def lose(self, malformed: int = 0) -> None:
        """Note that events were lost, or could not be read: `at` does not rise before the next list."""
        self.malformed += malformed
        self._lost = True

    def look_at(self, clock_ns: int) -> None:
        """Check the clock: if it was set back a new session has to begin, because `at` cannot fall."""
        if clock_ns < self._at:
            self._lost = True

    @property
    def crowded(self) -> bool:
        """Whether there were ever more living flows than MAX_REMEMBERED."""
        return self._crowded_since is not None

    def begin_list(self, at_ns: int) -> None:
        """Begin a list of all flows; events from `at_ns` on follow it."""
        if self._number and at_ns >= self._at:
            self._number += 1
            self._gap = ',"gap":true'
        else:
            self._session, self._number = f"{self._boot}-{at_ns:x}", 0
        self._lost = False
        self._at = at_ns
        self._before, self._begun = self._begun, {}
        self._catching_up = True

    def list(self, entry: ConntrackEntry, seen_ns: int) -> None:
        """One flow of the list, read at `seen_ns`."""
        both = self._ends(entry)
        if both is None or not self._wanted(entry, both[0]) or entry.key in self._begun:
            return
        before = self._before.pop(entry.key, _END_WRITTEN)
        begun = _start_of(entry, before or -seen_ns)
        since = _known_since(self._starts_since.get(entry.key), before, begun)
        self._remember(entry.key, begun, since)
        assured = '"assured":true,' if _assured(entry, both[0].protocol) else ""
        read = f'"read":{seen_ns},' if begun > 0 else ""
        self._tell(entry, "LIST", _begun(begun, since) + assured + read, both)

    def end_list(self) -> None:
        """End the list; events that happened meanwhile still wait in the socket."""
        self._before = {}
        self._starts_since = {key: since for key, since in self._starts_since.items() if key in self._begun}

    def caught_up(self) -> None:
        """The socket was empty: all events from before the end of the list have been read."""
        self._catching_up = False

    def event(self, entry: ConntrackEntry, received_ns: int, since_ns: int) -> None:
        """One event, read at `received_ns`, which is its time where the kernel gave none.

        `since_ns`: by the clock before all that had happened until then was read.
        """
        moment = entry.stamp or received_ns
        self._since = None if entry.stamp is not None else min(since_ns, received_ns)
        if entry.event == netlink.NEW:
            self._new(entry, moment)
        elif entry.event == netlink.DESTROY:
            self._destroyed(entry, moment)
        elif entry.state in (netlink.TIME_WAIT, netlink.CLOSE):
            self._closed(entry, moment)

    def heartbeat(self, clock_ns: int, read_ns: int, *, kernel_stamps: bool) -> None:
        """Write a heartbeat: everything up to `GRACE_NS` before `clock_ns` has a line; nothing after `read_ns` has."""
        self._rise(clock_ns)
        stamps = '"kernel"' if kernel_stamps else f'"user","read":{read_ns}'
        self.lines.append(f'{self._head()},"mark":true,"stamps":{stamps}}}\n')

    def _new(self, entry: ConntrackEntry, moment: int) -> None:
        if self._catching_up and entry.key in self._begun:
            return  # it began before the list came to it
        both = self._ends(entry)
        if both is None or not self._wanted(entry, both[0]):
            return
        self._remember(entry.key, moment, self._since)
        self._rise(self._told_until(moment))
        self._tell(entry, "NEW", f'"start":{moment},{_key("since", self._since)}', both)

    def _closed(self, entry: ConntrackEntry, moment: int) -> None:
        begun = self._begun.get(entry.key, _END_WRITTEN)
        if begun == _END_WRITTEN:
            return
        if self._catching_up or self._crowded_since is not None:
            self._begun[entry.key] = _END_WRITTEN  # so that its DESTROY does not seem to be of a flow without a line
        else:
            del self._begun[entry.key]
        self._end(entry, begun, self._starts_since.pop(entry.key, None), moment, moment)

    def _destroyed(self, entry: ConntrackEntry, moment: int) -> None:
        begun = self._begun.pop(entry.key, None)
        if begun == _END_WRITTEN or (begun is None and not self._may_be_new(entry)):
            return
        known = _start_of(entry, begun or 0)
        since = _known_since(self._starts_since.pop(entry.key, None), begun, known)
        self._end(entry, known, since, entry.stop or moment, moment)

    def _may_be_new(self, entry: ConntrackEntry) -> bool:
        """Whether the end of a flow that is not remembered may have no line yet."""
        if self._catching_up:
            return True
        since = self._crowded_since
        return since is not None and (entry.start is None or entry.start >= since)

    def _end(self, entry: ConntrackEntry, begun: int, begun_since: int | None, end: int, moment: int) -> None:
        both = self._ends(entry)
        if both is None or not self._wanted(entry, both[0]):
            return
        self._rise(self._told_until(moment))
        assured = "true" if _assured(entry, both[0].protocol) else "false"
        end = max(end, abs(begun))  # a clock may have been set back
        since = _key("since", None if self._since is None else min(self._since, end))
        read = f'"read":{moment},' if since and end != moment else ""
        told = f'{_begun(begun, begun_since)}"end":{end},{since}{read}"assured":{assured},'
        self._tell(entry, "DESTROY", told, both)

    def _told_until(self, moment: int) -> int:
        """Up to when everything had been read before the present event."""
        return moment if self._since is None else self._since

    def _remember(self, key: bytes, begun: int, since: int | None) -> None:
        if len(self._begun) < self._limit or key in self._begun:
            self._begun[key] = begun
            if since is not None:
                self._starts_since[key] = since
            else:
                self._starts_since.pop(key, None)
        else:
            since = max(begun, 0)
            self._crowded_since = since if self._crowded_since is None else min(since, self._crowded_since)

    def _ends(self, entry: ConntrackEntry) -> tuple[TupleEnds, TupleEnds] | None:
        original, reply = netlink.ends(entry.original), netlink.ends(entry.reply)
        if original is None or reply is None:
            self.lose(1)
            return None
        return original, reply

    def _rise(self, moment: int) -> None:
        """Let `at` rise: everything stamped up to `GRACE_NS` before `moment` has arrived."""
        if moment - GRACE_NS > self._at and not self._lost:
            self._at = moment - GRACE_NS

    def _head(self) -> str:
        self._number += 1
        gap, self._gap = self._gap, ""
        return f'{{"n":{self._number},"session":"{self._session}","at":{self._at}{gap}'

    def _tell(self, entry: ConntrackEntry, event: str, told: str, both: tuple[TupleEnds, TupleEnds]) -> None:
        protocol = both[0].protocol
        zone = f'"zone":{entry.zone},' if entry.zone else ""
        self.lines.append(
            f'{self._head()},"event":"{event}","proto":"{PROTOCOLS.get(protocol, protocol)}",'
            f'"id":{entry.number},{told}{zone}"orig":{_tuple(both[0])},"reply":{_tuple(both[1])}}}\n'
        )


def _start_of(entry: ConntrackEntry, begun: int) -> int:
    """The remembered start, or the kernel's if the remembered one is of an older flow, or is only `seen`."""
    return entry.start if entry.start is not None and begun < entry.start - GRACE_NS else begun


def _known_since(since: int | None, remembered: int | None, begun: int) -> int | None:
    """`since` of the start that is told, if it is the remembered one: the kernel's own is exact."""
    return since if begun > 0 and begun == remembered else None


def _begun(begun: int, since: int | None) -> str:
    if begun > 0:
        return f'"start":{begun},{_key("start_since", since)}'
    return f'"seen":{-begun},' if begun else ""


def _key(name: str, moment: int | None) -> str:
    return "" if moment is None else f'"{name}":{moment},'


def _tuple(ends: TupleEnds) -> str:
    _, source, sport, destination, dport = ends
    if sport is None or dport is None:
        return f'["{source}",null,"{destination}",null]'
    return f'["{source}",{sport},"{destination}",{dport}]'


def _assured(entry: ConntrackEntry, protocol: int) -> bool:
    """Whether both sides have sent packets; for TCP, whether the handshake was completed, be it with a FIN.

    A client may send its first bytes and its FIN with the last packet of the handshake, and reset at once.  Then the
    kernel does not call the flow assured, and the server may answer the request.
    """
    if entry.status & netlink.ASSURED or entry.finished:
        return True
    if not entry.status & netlink.SEEN_REPLY:
        return False
    return protocol != netlink.TCP or netlink.ESTABLISHED <= (entry.state or 0) <= netlink.TIME_WAIT
