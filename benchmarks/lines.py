"""Log lines for the benchmarks: generated, the same for the same seed, no clock.

One network for all: client → CDN → balancer → the server that logs.  50,000 clients of which few
send most requests (a rank drawn as 50,000^u, close to Zipf), one in five over IPv6, each connection
with another port, 2,000 requests a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Final, NamedTuple

CLIENTS: Final = 50_000
PER_SECOND: Final = 2_000
BEGIN: Final = datetime(2026, 3, 2, 9, 0, 0, tzinfo=UTC).timestamp()

PATHS: Final = ("/", "/shop?page=2&sort=price", "/api/v1/items/48213?expand=prices,stock", "/static/app-4f2a9c.js")
AGENTS: Final = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:136.0) Gecko/20100101 Firefox/136.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "check/2.4 (+https://check.example/bot)",
)


class Request(NamedTuple):
    """One request, before any server has written it down."""

    client: str
    client_port: int
    cdn: str  # the CDN's end of its connection to the balancer
    peer: str  # the balancer's end of its connection to the server
    peer_port: int
    when: datetime
    path: str
    agent: str
    status: int
    size: int
    number: int  # 128 bits, for ids

    @property
    def forwarded_for(self) -> str:
        """What the server receives: one entry by the CDN, one by the balancer."""
        return f"{self.client}, {self.cdn}"


def requests(seed: int, count: int) -> Iterator[Request]:
    """`count` requests, ordered by time; the population of clients is the same for every seed."""
    random = Random(seed)
    for number in range(count):
        rank = int(CLIENTS ** random.random())
        spread = (rank * 2_654_435_761) & 0xFFFF_FFFF  # neighbours in rank are not neighbours in address
        at = BEGIN + seed * 3600 + number / PER_SECOND
        yield Request(
            client=f"2001:db8:{spread >> 16:x}::{spread & 0xFFFF:x}" if rank % 5 == 0 else _ipv4(spread),
            client_port=random.randrange(1024, 65536),
            cdn=f"198.51.100.{random.randrange(1, 255)}",
            peer=f"10.0.0.{random.randrange(1, 9)}",
            peer_port=random.randrange(1024, 65536),
            when=datetime.fromtimestamp(at, UTC),
            path=random.choice(PATHS),
            agent=random.choice(AGENTS),
            status=random.choice((200, 200, 200, 304, 404)),
            size=random.randrange(200, 90_000),
            number=random.getrandbits(128),
        )


def _ipv4(number: int) -> str:
    """An address of 20.0.0.0/6: nothing special, and no system's."""
    return f"{20 + (number >> 24) % 4}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _clf(when: datetime) -> str:
    return when.strftime("%d/%b/%Y:%H:%M:%S +0000")


def traefik_json(seen: Request) -> str:
    """Traefik v3 with all headers kept, about 1.1 kB."""
    peer, stamp = f"{seen.peer}:{seen.peer_port}", seen.when.strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"
    trace = f"{seen.number:032x}"
    return (
        f'{{"ClientAddr":"{peer}","ClientHost":"{seen.client}","ClientPort":"{seen.peer_port}","ClientUsername":"-",'
        f'"DownstreamContentSize":{seen.size},"DownstreamStatus":{seen.status},"Duration":{seen.size * 97},'
        f'"OriginContentSize":{seen.size},"OriginDuration":{seen.size * 90},"OriginStatus":{seen.status},'
        f'"Overhead":{seen.size * 7},"RequestAddr":"www.example.com","RequestContentSize":0,"RequestCount":1,'
        f'"RequestHost":"www.example.com","RequestMethod":"GET","RequestPath":"{seen.path}","RequestPort":"-",'
        '"RequestProtocol":"HTTP/1.1","RequestScheme":"https","RetryAttempts":0,"RouterName":"web@file",'
        '"ServiceAddr":"10.0.2.20:9000","ServiceName":"app@file","ServiceURL":"http://10.0.2.20:9000",'
        f'"StartLocal":"{stamp}","StartUTC":"{stamp}","TLSCipher":"TLS_AES_128_GCM_SHA256","TLSVersion":"1.3",'
        f'"entryPointName":"websecure","level":"info","msg":"","request_User-Agent":"{seen.agent}",'
        f'"request_Traceparent":"00-{trace}-{trace[:16]}-01","request_X-Forwarded-For":"{seen.forwarded_for}",'
        f'"request_X-Forwarded-Proto":"https","request_X-Real-Ip":"{seen.client}","time":"{seen.when:%Y-%m-%dT%H:%M:%SZ}"}}'
    )


def nginx(seen: Request) -> str:
    """nginx `main`: combined and X-Forwarded-For."""
    return (
        f'{seen.peer} - - [{_clf(seen.when)}] "GET {seen.path} HTTP/1.1" {seen.status} {seen.size} '
        f'"https://www.example.com/" "{seen.agent}" "{seen.forwarded_for}"'
    )


def haproxy(seen: Request) -> str:
    """HAProxy `option httplog`, which captures X-Forwarded-For and User-Agent."""
    stamp = seen.when.strftime("%d/%b/%Y:%H:%M:%S.%f")[:-3]
    return (
        f"{seen.peer}:{seen.peer_port} [{stamp}] www~ app/app1 0/0/1/8/9 {seen.status} {seen.size} - - ---- "
        f'3/3/0/0/0 0/0 {{{seen.forwarded_for}|{seen.agent}}} "GET {seen.path} HTTP/1.1"'
    )


def envoy_text(seen: Request) -> str:
    """Envoy's default format with the socket's far end behind it: without that no one can say who sent."""
    stamp, ident = seen.when.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z", f"{seen.number:032x}"
    request_id = "-".join((ident[:8], ident[8:12], ident[12:16], ident[16:20], ident[20:]))
    return (
        f'[{stamp}] "GET {seen.path} HTTP/1.1" {seen.status} - 0 {seen.size} 9 8 "{seen.forwarded_for}" '
        f'"{seen.agent}" "{request_id}" "www.example.com" "10.0.2.20:9000" "{seen.peer}:{seen.peer_port}"'
    )


def caddy(seen: Request) -> str:
    """Caddy v2."""
    return (
        f'{{"level":"info","ts":{seen.when.timestamp():.6f},"logger":"http.log.access.log1","msg":"handled request",'
        f'"request":{{"remote_ip":"{seen.peer}","remote_port":"{seen.peer_port}","client_ip":"{seen.client}",'
        f'"proto":"HTTP/1.1","method":"GET","host":"www.example.com","uri":"{seen.path}","headers":{{'
        f'"User-Agent":["{seen.agent}"],"Accept":["*/*"],"X-Forwarded-For":["{seen.forwarded_for}"]}}}},"bytes_read":0,'
        f'"user_id":"","duration":0.000897928,"size":{seen.size},"status":{seen.status},"resp_headers":{{"Content-Length":'
        f'["{seen.size}"],"Server":["app/1.22.1"],"Via":["1.1 Caddy"],"Content-Type":["text/plain"]}}}}'
    )


def alb(seen: Request) -> str:
    """AWS Application Load Balancer, which meets the client itself; as before 2024: VRL knows no `TID_` column."""
    stamp, ident = seen.when.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), f"{seen.number:032x}"
    return (
        f"https {stamp} app/web/50dc6c495c0c9188 {seen.client}:{seen.client_port} 10.0.2.20:9000 0.000 0.001 0.000 "
        f'{seen.status} {seen.status} 34 {seen.size} "GET https://www.example.com:443{seen.path} HTTP/1.1" '
        f'"{seen.agent}" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 '
        "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/app/73e2d6bc24d8a067 "
        f'"Root=1-{ident[:8]}-{ident[8:]}" "www.example.com" "session-reused" 0 {stamp} "forward" "-" "-" '
        f'"10.0.2.20:9000" "{seen.status}" "-" "-"'
    )


Writer = Callable[[Request], str]


def lines(write: Writer, seed: int, count: int) -> list[bytes]:
    """`count` lines without line ends."""
    return [write(request).encode() for request in requests(seed, count)]
