"""Sites under attack as log files: an adversary does what a client outside can do, victims go about their business.

    clients → balancer (HAProxy) → [NAT of a node] → two servers (nginx)

Connections of the balancer take turns on few source ports, so that the same four ends come again within
microseconds.  What the adversary may do to *his own* requests is in `Powers`; a site says what its logs show and what
its operator could truly promise.  Nothing here knows how the joins work: the lines are what the servers would write.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

from msgspec import Struct

from tests.worlds.replay_worlds import Files

US, MS, SECOND = 1_000, 1_000_000, 1_000_000_000
BEGIN = 1_796_119_200 * SECOND
CLOCK_ERROR = MS  # of every log, either way
BALANCER, NODE, SERVICE = "198.51.100.50", "198.51.100.11", "198.51.100.99"
SERVERS = ("10.244.2.5", "10.244.2.6")
PORT = 8080

ENDS = "%ci:%cp [%TIME] %fi:%fp %ft %b/%s %bi:%bp %si:%sp"
HTTP = ENDS.replace("%TIME", "%tr") + " %TR/%Tw/%Tc/%Tr/%Ta %ST %B %tsc%RC %{+Q}[var(txn.rid)] %{+Q}r"
TCP = ENDS.replace("%TIME", "%t") + " %Tw/%Tc/%Tt %B %ts"
NGINX = (
    '{"msec":"$msec","rt":"$request_time","peer":"$remote_addr","peer_port":"$remote_port",'
    '"local":"$server_addr:$server_port","xrid":"$http_x_request_id","conn":"$connection",'
    '"req":"$request","st":"$status"}'
)


class Powers(Struct, frozen=True):
    """What the adversary does, each with about a third of his requests."""

    pads: bool = False  # a header so long that the balancer's line is cut by syslog
    quotes: bool = False  # an id with quotes, which the balancer's line does not escape
    holds: bool = False  # reads slowly: his connection is not logged yet when the log ends
    retries: bool = False  # makes the first server fail after it has read: the balancer logs the second try only
    replays: bool = False  # sends another client's id
    doubles: bool = False  # has lines delivered twice
    floods: bool = False  # makes the node's collector lose events


class Site(Struct, frozen=True):
    """What stands there, and what its logs show."""

    seed: int = 1
    connections: int = 40  # of the balancer to its servers
    mode: str = "http"  # of the balancer; "tcp" passes one connection on
    nat: bool = False  # a node between translates, and its collector numbers its events
    ports: int = 2  # from which the balancer, or the node, connects
    ids: str = "none"  # x-request-id at the balancer: "minted", "kept" as the one header that goes on, "passed" unseen
    lossless: bool = True  # the operator's word for the balancer's log
    shows_retries: bool = True
    begins: bool = False  # in mode tcp: its lines are written when a connection begins
    rotated: bool = False  # what the balancer wrote before some moment is not there any more
    powers: Powers = Powers()


class _Request(Struct):
    """One request as it was, all moments in ns of true time."""

    target: str
    client: str
    hostile: bool
    rid: str  # as the client sent it
    began: int
    sent: int
    answered: int
    over: int  # the client has everything
    connecting: int = 0


class _Connection(Struct):
    near: tuple[str, int]
    server: int
    begin: int
    end: int
    requests: list[_Request]
    serial: int = 0


def site(shape: Site) -> Files:
    """The logs of one site."""
    return _Simulation(shape).files()


class _Simulation:
    def __init__(self, shape: Site) -> None:
        self.shape, self.dice = shape, random.Random(shape.seed)
        self.truth: dict[str, str] = {}
        self.balancer: list[tuple[int, bytes]] = []  # moment of writing, line
        self.app: list[tuple[int, bytes]] = []
        self.events: list[tuple[int, dict[str, object]]] = []
        self.seen_ids: list[str] = []
        self.fresh_port = 50_000
        self.end = BEGIN

    def files(self) -> Files:
        free = [BEGIN + SECOND] * self.shape.ports
        for serial in range(1, self.shape.connections + 1):
            slot = self.dice.randrange(self.shape.ports)
            begin = free[slot] + self.dice.choice([50 * US, MS, 10 * MS, 100 * MS])
            connection = _Connection((BALANCER, 30_000 + slot), self.dice.randrange(2), begin, begin, [], serial)
            self._live(connection)
            free[slot] = connection.end
            self.end = max(self.end, connection.end)
        self.end += self.dice.choice([0, 50 * MS, 30 * SECOND])
        return self._written()

    def _live(self, connection: _Connection) -> None:
        """Requests one after the other; in mode tcp all of them are one client's."""
        at, shared = connection.begin, self._client()
        length = self.dice.choice([1, 1, 1, 3])
        for number in range(length):
            client, hostile = shared if self.shape.mode == "tcp" else self._client()
            at += self.dice.choice([20 * US, MS, 20 * MS])
            one = self._request(f"/{connection.serial}/{number}", client, hostile, at, first=number == 0)
            connection.requests.append(one)
            at = one.answered
        connection.end = at + self.dice.choice([10 * US, MS, 50 * MS])
        if self.shape.mode == "tcp":
            self._tcp_line(connection)
        for one in connection.requests:
            self._request_lines(connection, one)
        self._translated(connection)

    def _client(self) -> tuple[str, bool]:
        number = self.dice.randrange(1, 7)
        return f"203.0.113.{number}:{self.dice.randrange(1024, 65535)}", number <= 2

    def _does(self, power: str, hostile: bool) -> bool:
        return hostile and getattr(self.shape.powers, power) and self.dice.random() < 1 / 3

    def _request(self, target: str, client: str, hostile: bool, sent: int, *, first: bool) -> _Request:
        connecting = self.dice.choice([0, MS]) if first else 0
        answered = sent + self.dice.choice([100 * US, MS, 20 * MS, 200 * MS])
        over = answered + self.dice.choice([0, MS, 30 * MS])
        if self._does("holds", hostile):
            over += self.dice.choice([SECOND, 20 * SECOND, 50 * SECOND])
        rid = f"id{target.replace('/', '-')}"
        if self.seen_ids and self._does("replays", hostile):
            rid = self.dice.choice(self.seen_ids[-3:])
        if self._does("quotes", hostile):
            rid += '" "GET / HTTP/1.1'
        self.seen_ids.append(rid)
        self.truth[target] = client
        began = sent - connecting - self.dice.choice([0, MS, 40 * MS])
        return _Request(target, client, hostile, rid, began, sent, answered, over, connecting)

    def _request_lines(self, connection: _Connection, one: _Request) -> None:
        rid = self._sent_on(one)
        tries = 0
        ends, server = connection.near, connection.server
        self._app_line(one, connection, rid)
        if self.shape.mode != "http":
            return
        if self._does("retries", one.hostile):
            tries, ends, server = 1, (BALANCER, self._fresh()), 1 - connection.server
            again = _Request(
                one.target + "/again", one.client, True, one.rid, one.began, one.answered + 100 * US,
                one.answered + 2 * MS, max(one.over, one.answered + 3 * MS),
            )  # fmt: skip
            self.truth[again.target] = one.client
            begin, end = again.sent - 50 * US, again.answered + MS
            second = _Connection(ends, server, begin, end, [again], 10_000 + self.fresh_port)
            self._app_line(again, second, rid)
            self._translated(second)
            one = _Request(one.target, one.client, True, one.rid, one.began, again.sent, again.answered, again.over)
        self._http_line(one, ends, server, tries, rid)

    def _fresh(self) -> int:
        self.fresh_port += 1
        return self.fresh_port

    def _sent_on(self, one: _Request) -> str:
        """The id that goes to the server."""
        return f"own{one.target.replace('/', '-')}" if self.shape.ids == "minted" else one.rid

    def _stamp(self, at: int) -> int:
        return at + self.dice.randint(-CLOCK_ERROR, CLOCK_ERROR)

    def _http_line(self, one: _Request, near: tuple[str, int], server: int, tries: int, rid: str) -> None:
        waited = one.sent - one.connecting - one.began
        timers = (waited, 0, one.connecting, one.answered - one.sent, one.over - one.began)
        shown = {"none": "-", "passed": "-"}.get(self.shape.ids, rid)
        retries = f" {tries}" if self.shape.shows_retries else ""
        text = (
            f"{one.client} [{_date(self._stamp(one.began))}] {BALANCER}:443 www app/s{server} {near[0]}:{near[1]} "
            f"{self._seen_server(server)} {'/'.join(str(each // MS) for each in timers)} 200 12 ----{retries} "
            f'"{shown}" "GET {one.target} HTTP/1.1"'
        )
        if self._does("pads", one.hostile):
            text = text[: self.dice.randrange(60, len(text))]
        self._write(self.balancer, one.over, text.encode(), one.hostile)

    def _seen_server(self, server: int) -> str:
        return f"{SERVICE}:80" if self.shape.nat else f"{SERVERS[server]}:{PORT}"

    def _tcp_line(self, connection: _Connection) -> None:
        first = connection.requests[0]
        over = max(one.over for one in connection.requests)
        if over > connection.end and first.hostile:  # he holds on to the whole of it
            connection.end = over
        over = connection.end
        accepted = connection.begin - first.connecting
        if self.shape.begins:
            over = connection.begin
        lasted, begun = (over - accepted) // MS, "+" if self.shape.begins else ""
        text = (
            f"{first.client} [{_date(self._stamp(accepted))}] {BALANCER}:443 www app/s{connection.server} "
            f"{connection.near[0]}:{connection.near[1]} {self._seen_server(connection.server)} "
            f"0/{first.connecting // MS}/{begun}{lasted} {begun}512 --"
        )
        self._write(self.balancer, over, text.encode(), first.hostile)

    def _app_line(self, one: _Request, connection: _Connection, rid: str) -> None:
        over = self._stamp(one.answered)
        near = self._seen_as(connection)
        row = {
            "msec": f"{over // MS / 1000:.3f}",
            "rt": f"{(one.answered - one.sent) // MS / 1000:.3f}",
            "peer": near[0],
            "peer_port": str(near[1]),
            "local": f"{SERVERS[connection.server]}:{PORT}",
            "xrid": "" if self.shape.ids == "none" or self.shape.mode == "tcp" else rid,
            "conn": str(connection.serial),
            "req": f"GET {one.target} HTTP/1.1",
            "st": "200",
        }
        self._write(self.app, one.answered, json.dumps(row, separators=(",", ":")).encode(), one.hostile)

    def _seen_as(self, connection: _Connection) -> tuple[str, int]:
        return (NODE, connection.near[1]) if self.shape.nat else connection.near

    def _translated(self, connection: _Connection) -> None:
        if not self.shape.nat:
            return
        ends = {
            "proto": "tcp",
            "id": connection.serial,
            "orig": [*connection.near, SERVICE, 80],
            "reply": [SERVERS[connection.server], PORT, *self._seen_as(connection)],
            "start": connection.begin,
        }
        self.events.append((connection.begin, {"event": "NEW", **ends}))
        over = {"event": "DESTROY", "end": connection.end, "assured": True}
        self.events.append((connection.end, {**over, **ends}))

    def _write(self, log: list[tuple[int, bytes]], at: int, line: bytes, hostile: bool) -> None:
        log.extend([(at, line)] * (2 if self._does("doubles", hostile) else 1))

    def _written(self) -> Files:
        """What stands in the files when they are read: nothing that is written later."""
        since = 1 + self.dice.choice(self.balancer)[0] if self.shape.rotated else BEGIN
        logs = {
            "lb/lb.log": [line for at, line in sorted(self.balancer, key=_moment) if since <= at <= self.end],
            "app/app.log": [line for at, line in sorted(self.app, key=_moment) if at <= self.end],
        }
        if self.shape.nat:
            logs["nat/node.jsonl"] = self._collected()
        return Files(_config(self.shape), logs, self.truth)

    def _collected(self) -> list[bytes]:
        told = sorted(((at, event) for at, event in self.events if at <= self.end), key=_moment)
        beat: dict[str, object] = {"mark": True, "stamps": "kernel"}
        told = [(BEGIN, beat), *told, (self.end + SECOND, beat)]
        rows = [{"n": n, "session": "0f0e-1", "at": at, **event} for n, (at, event) in enumerate(told, 1)]
        if self.shape.powers.floods:
            rows = [row for row in rows if self.dice.random() > 0.1]
        return [json.dumps(row, separators=(",", ":")).encode() for row in rows]


def _moment(each: tuple[int, object]) -> int:
    return each[0]


def _date(at: int) -> str:
    return datetime.fromtimestamp(at // MS / 1000, UTC).strftime("%d/%b/%Y:%H:%M:%S.%f")[:-3]


def _config(shape: Site) -> str:
    pattern = TCP if shape.mode == "tcp" else HTTP.replace("%RC", " %rc" if shape.shows_retries else "")
    behind = "lb"
    node = ""
    if shape.nat:
        behind = "nodes"
        node = f"""
[systems.nodes]
format = "conntrack_json"
inputs = ["nat/{{instance}}.jsonl"]
addresses = ["{NODE}"]
instances = {{ node = ["{NODE}"] }}
peers = ["lb"]
"""
    ids = 'options = { logasap = "true" }\n' if shape.mode == "tcp" and shape.begins else ""
    if shape.mode == "http":
        ids = 'options = { "var.txn.rid" = "x-request-id" }\n'
        ids += {"minted": 'mints = ["x-request-id"]\n'}.get(shape.ids, "")
    return f"""
[joins]
tolerance = "5ms"
horizon = "1m"
{node}
[systems.lb]
format = "haproxy"
pattern = '{pattern}'
timezone = "UTC"
inputs = ["lb/lb.log"]
logs_peer = "socket"
max_skew = "1ms"
addresses = ["{BALANCER}"]
peers = ["outside"]
longest = "1m"
lossless = {"true" if shape.lossless else "false"}
{ids}
[systems.app]
format = "nginx"
escape = "json"
pattern = '{NGINX}'
inputs = ["app/app.log"]
logs_peer = "socket"
max_skew = "1ms"
peers = ["{behind}"]
"""
