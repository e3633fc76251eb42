"""What is sent to each set-up: ordinary, forged, hostile and broken requests.

The forged addresses are from 192.0.2.0/24 and 2001:db8:bad::/48, ranges no test
client uses, so a test can tell at a glance that a pipeline believed a lie.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass

import wire
from setups import Setup

BALANCER_ADDRESS = "10.0.0.10"
TENANT = "10.9.0.5"
V4_CLIENTS = tuple([f"203.0.113.{n}" for n in (7, 21, 88, 130, 201)] + ["198.51.100.23", "198.51.100.77"])
V6_CLIENTS = ("2001:db8:7::7", "2001:db8:beef::1:23", "2001:db8::a1")

FEW, CORE, FULL, ASKED = 1, 2, 3, 4  # how many set-ups get a case; ASKED: only where `extra` names it
LEVELS = {"few": FEW, "core": CORE, "full": FULL}


@dataclass(frozen=True)
class Case:
    """One connection. `{label}` in raw text is replaced by the request's label."""

    slug: str
    note: str
    headers: tuple[tuple[str, str], ...] = ()
    route: str = "normal"  # normal: as clients come; bypass: straight to the server
    source: str | None = None
    ipv6: bool = False
    repeat: int = 1
    path: str = ""
    prefix: bytes = b""
    raw: str | None = None
    tls: bool = False
    level: int = FULL

    @property
    def forged(self) -> bool:
        """Whether the client itself sent something that names a client address."""
        names = {name.lower() for name, _ in self.headers}
        return bool(names & {"x-forwarded-for", "forwarded", "x-real-ip"}) or (
            self.slug.startswith(("inject", "bypass-pp"))
        )

    def messages(self, labels: list[str]) -> list[bytes]:
        """The bytes to send, one message per label."""
        if self.tls:
            return [wire.tls_hello(labels[0] + ".example.com")]
        if self.raw is not None:
            return [self.prefix + self.raw.replace("{label}", labels[0]).encode("latin-1")]
        last = len(labels)
        messages = [
            wire.request(f"/t/{label}{self.path}", list(self.headers), number == last)
            for number, label in enumerate(labels, 1)
        ]
        messages[0] = self.prefix + messages[0]
        return messages


def _plain(setup: Setup) -> Iterator[Case]:
    yield Case("v4", "plain", level=FEW)
    if setup.ipv6 or setup.via:
        yield Case("v6", "plain, IPv6", ipv6=True, level=FEW)
    yield Case("keepalive", "two on one connection", repeat=2, level=FEW)
    yield Case("tenant", "a tenant with a private address", source=TENANT)
    yield Case(
        "ids",
        "trace and request ids",
        level=CORE,
        headers=(
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("X-Request-ID", "7f3c2a10-5d1e-4c55-9a51-0242ac120002"),
        ),
    )


def _forged_chain() -> Iterator[Case]:
    xff = "X-Forwarded-For"
    yield Case("xff-one", "forged X-Forwarded-For", ((xff, "192.0.2.66"),), level=FEW)
    yield Case(
        "xff-trusted",
        "forged list ends in the balancer",
        ((xff, "192.0.2.66, 10.0.0.10"),),
        level=CORE,
    )
    yield Case(
        "xff-lines",
        "three X-Forwarded-For lines",
        ((xff, "192.0.2.1"), ("x-forwarded-for", "192.0.2.2,192.0.2.3"), (xff, "192.0.2.4")),
        level=FEW,
    )
    yield Case("xff-unknown", "XFF with unknown", ((xff, "unknown, 192.0.2.66, unknown"),))
    yield Case(
        "xff-port",
        "XFF with IPv6 and ports",
        ((xff, "[2001:db8:bad::66]:4711, 192.0.2.66:8080, 2001:db8:bad::67"),),
        level=CORE,
    )
    yield Case("xff-empty", "XFF with empty members only", ((xff, " , ,"),))
    yield Case("xff-ipv6", "XFF with one IPv6 address", ((xff, "2001:db8:bad::66"),), level=ASKED)
    yield Case(
        "xff-clf",
        "XFF like a log line",
        ((xff, '192.0.2.66 - - [01/Jan/2030:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-"'),),
        level=CORE,
    )
    yield Case("xff-dash", "XFF that is a dash", ((xff, "-"),))


def _forged_other() -> Iterator[Case]:
    yield Case("fwd-one", "forged Forwarded", (("Forwarded", "for=192.0.2.66;by=10.0.0.10"),))
    yield Case("fwd-quote", "Forwarded with an open quote", (("Forwarded", 'for="x'),), level=FULL)
    yield Case(
        "fwd-ipv6",
        "Forwarded with IPv6, port and a comma inside quotes",
        (("Forwarded", 'For="[2001:db8:bad::66]:4711", for="_a,b";proto=http'),),
    )
    yield Case("real-ip", "forged X-Real-IP", (("X-Real-IP", "192.0.2.66"),), level=FULL)
    yield Case(
        "all-three",
        "X-Forwarded-For, Forwarded and X-Real-IP disagree",
        (("X-Forwarded-For", "192.0.2.66"), ("Forwarded", "for=192.0.2.67"), ("X-Real-IP", "192.0.2.68")),
    )


def _hostile_text() -> Iterator[Case]:
    ua = "User-Agent"
    yield Case("ua-quotes", "quotes in User-Agent", ((ua, 'x" "a" "192.0.2.66'),), level=FEW)
    yield Case("ua-backslash", "backslash at the end", ((ua, "foo\\"),), level=FEW)
    yield Case("ua-backquote", "backslash before a quote", ((ua, 'a\\" \\\\" b'),))
    yield Case(
        "ua-json",
        "JSON injection in User-Agent",
        ((ua, 'x"} {"ClientAddr":"192.0.2.66:1","request_X-Forwarded-For":"192.0.2.66'),),
        level=FULL,
    )
    yield Case("ua-bytes", "UTF-8, latin-1, tab and # { | }", ((ua, "\xc3\xa9 \xe9\t#{|} <&>"),))
    yield Case("ua-brackets", "looks like capture blocks", ((ua, '} {192.0.2.66|} "GET /'),), level=ASKED)
    yield Case("referer", "quote and blanks in Referer", (("Referer", 'http://a/ "192.0.2.66" b'),), level=ASKED)
    yield Case("path-quote", "quote and percent in the path", path="?q=\"%22<'|{}")
    user = base64.b64encode(b'eve" [192.0.2.66] x:pw').decode()
    yield Case("user", "quotes in the Basic user", (("Authorization", f"Basic {user}"),), level=ASKED)
    yield Case("long-ua", "User-Agent of 1200 characters", ((ua, "L" * 1200),), level=ASKED)
    chain = ", ".join(f"192.0.2.{n}" for n in range(1, 26))
    yield Case("long-xff", "X-Forwarded-For of 25 entries", (("X-Forwarded-For", chain),), level=ASKED)


def _bypass(setup: Setup) -> Iterator[Case]:
    """Clients that reach a balanced server without the balancer."""
    if setup.via == "lb-xff":
        xff = (("X-Forwarded-For", "192.0.2.66"),)
        yield Case("bypass", "past the balancer", route="bypass", level=CORE)
        yield Case("bypass-xff", "past the balancer, forged", xff, "bypass", level=FEW)
        if setup.ipv6:
            yield Case("bypass-v6", "past the balancer, IPv6", xff, "bypass", ipv6=True)
    checks_sender = {"nginx-realip-proxy", "nginx-hop-proxy", "traefik-json-proxy", "caddy-proxy"}
    if setup.name in checks_sender:
        yield Case(
            "bypass-pp",
            "past the balancer with a forged PROXY header",
            route="bypass",
            prefix=b"PROXY TCP4 192.0.2.66 10.0.1.1 4711 80\r\n",
            level=CORE,
        )


def _balancer_itself(setup: Setup) -> Iterator[Case]:
    """Health checks: the balancer's own connections, not a client's."""
    if setup.via != "lb-proxy":
        return
    yield Case(
        "pp-local",
        "health check, PROXY v2 LOCAL",
        route="bypass",
        source=BALANCER_ADDRESS,
        prefix=wire.proxy_v2_local(),
        level=FEW,
    )
    yield Case(
        "pp-unknown",
        "health check, PROXY v1 UNKNOWN",
        route="bypass",
        source=BALANCER_ADDRESS,
        prefix=b"PROXY UNKNOWN\r\n",
        level=CORE,
    )


def _broken(setup: Setup) -> Iterator[Case]:
    """Requests without a usable request line. They go last (see record.py)."""
    route = "bypass" if setup.via == "lb-xff" else "normal"
    yield Case(
        "bad-line",
        "malformed request line",
        route=route,
        level=FEW,
        raw="GET /t/{label} with blanks HTTP/9.9\r\nHost: x\r\n\r\n",
    )
    yield Case(
        "bad-header",
        "blank in a header name",
        route=route,
        level=FULL,
        raw="GET /t/{label} HTTP/1.1\r\nHost: x\r\nBad Name : y\r\nConnection: close\r\n\r\n",
    )
    yield Case("http10", "HTTP/1.0 without Host", route=route, raw="GET /t/{label} HTTP/1.0\r\n\r\n")
    yield Case("tls", "TLS ClientHello to the plain port", route=route, tls=True, level=CORE)
    yield Case("hangup", "connects, sends one CRLF, waits", route=route, raw="\r\n", level=ASKED)
    inject = "PROXY TCP4 192.0.2.66 10.0.1.1 4711 80\r\n"
    yield Case(
        "inject-v1",
        "PROXY v1 line instead of a request",
        route=route,
        level=FEW,
        raw=inject + "GET /t/{label} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    header = wire.proxy_v2_tcp4("192.0.2.66", "10.0.1.1", 4711, 80).decode("latin-1")
    yield Case(
        "inject-v2",
        "a PROXY v2 header as (or before) the request",
        route=route,
        raw=header + "GET /t/{label} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )


def _refused_proxy_headers() -> Iterator[Case]:
    """What the error log set-up gets: the sender is the balancer's address."""
    texts = {
        "none": "GET /t/{label} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "bad-v1": "PROXY TCP4 192.0.2.300 10.0.1.12\r\nGET /t/{label} HTTP/1.1\r\n\r\n",
        "bad-proto": "PROXY TCP9 192.0.2.1 10.0.1.12 1 2\r\nGET /t/{label} HTTP/1.1\r\n\r\n",
        "bad-v2": wire.PROXY_V2_SIGNATURE.decode("latin-1") + "\x2f\xff\x00\x00GET /t/{label}",
        "short": "PROXY TCP4 192",
        "silent": "",
    }
    for slug, raw in texts.items():
        yield Case(
            f"refused-{slug}",
            f"PROXY header refused: {slug}",
            route="bypass",
            source=BALANCER_ADDRESS if slug != "none" else None,
            raw=raw,
        )


def _ingress() -> Iterator[Case]:
    for number in (1, 2, 3):
        yield Case("v4-again", f"more upstream lists ({number})")
    yield Case("down-1", "all upstreams dead, first time", path="/down")
    yield Case("down-2", "all upstreams marked down", path="/down")
    yield Case("none", "answered without an upstream", path="/none")
    yield Case("rid", "hostile X-Request-ID", (("X-Request-ID", "a b - 10.0.0.1:80 x"),))


def cases_for(setup: Setup) -> list[Case]:
    """All cases of a set-up, those without a label in the line last."""
    if setup.name == "haproxy-errors":
        return [next(_plain(setup)), *_refused_proxy_headers(), *_broken(setup)]
    cases = [*_plain(setup), *_forged_chain(), *_forged_other(), *_hostile_text(), *_bypass(setup)]
    cases += [*_balancer_itself(setup), *_broken(setup)]
    cases = [case for case in cases if case.level <= LEVELS[setup.cases] or case.slug in setup.extra]
    if setup.name == "nginx-ingress":
        cases = [*_ingress(), *cases]
    return cases
