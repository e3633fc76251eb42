"""What an attacker keeps out of a log: he is retried, he holds on, his line is cut, his header has no column."""

from __future__ import annotations

import time
from functools import partial

from tests.lab import drawing, patterns
from tests.lab.driver import FRAME, Driver
from tests.lab.network import CLIENTS4
from tests.lab.scenario import Refusal, Scenario
from tests.lab.scenarios.sending import LB, traceparent

ATTACKER, OTHERS = CLIENTS4[-1], CLIENTS4[:-1]
APART_S = 0.05  # further apart than the clocks' tolerance


def _retried(port: int, driver: Driver) -> None:
    """On one upstream connection after the other; a request of the attacker comes at once after another client's."""
    for number in range(driver.count(40)):
        victim = OTHERS[number % len(OTHERS)]
        driver.send((LB, port), victim)
        time.sleep(APART_S)
        driver.send((LB, port), victim, group="close")
        driver.send((LB, port), ATTACKER, path=("/silent", "/busy")[number % 2], group="retried")
        time.sleep(APART_S)


def _shared(lb: drawing.Keys) -> dict[str, drawing.Keys]:
    return {
        "lb": lb,
        "nodes": drawing.nodes("lb"),
        "app": drawing.app("nodes"),
    }


def _held(port: int, driver: Driver) -> None:
    """The attacker takes port after port and holds it, byte by byte, each just when somebody else has left it."""
    driver.send((LB, port), group=FRAME)
    time.sleep(APART_S)
    for number in range(driver.count(40)):
        source = OTHERS[number % len(OTHERS)]
        driver.send((LB, port), source, group="at-once", requests=2, pause=APART_S, then="later")
        driver.drip()
        if number % 4 == 0 and number < 12:
            time.sleep(APART_S)
            for each in OTHERS[:6]:
                driver.send((LB, port), each, group="at-once")
            driver.hold_on((LB, port), ATTACKER)
    time.sleep(APART_S)
    driver.send((LB, port), group=FRAME)


def _padded(port: int, driver: Driver) -> None:
    """A captured header, or the path, reaches beyond what a line of the log may hold."""
    padding = "a" * 1500
    for number in range(driver.count(20)):
        victim = OTHERS[number % len(OTHERS)]
        driver.send((LB, port), victim)
        time.sleep(APART_S)
        driver.send((LB, port), victim, group="close")
        if number % 2:
            driver.send((LB, port), ATTACKER, headers=((patterns.CAPTURED, padding),), group="padded")
        else:
            driver.send((LB, port), ATTACKER, path=f"/{padding}", group="padded")
        time.sleep(APART_S)


def _written_otherwise(trace: str) -> tuple[tuple[tuple[str, str], ...], ...]:
    """The same trace in headers for which the balancer's log has no column."""
    low, tags = str(int(trace[16:], 16)), f"_dd.p.tid={trace[:16]}"
    datadog = (("x-datadog-trace-id", low), ("x-datadog-parent-id", "1"), ("x-datadog-tags", tags))
    return (("b3", f"{trace}-{'1' * 16}-1"),), datadog


def _other_header(port: int, driver: Driver) -> None:
    """Beside each request that brings its trace comes one of the attacker, with that trace in another header."""
    for number in range(driver.count(24)):
        own, other = traceparent(number + 1, "e"), traceparent(number + 1, "f")
        driver.send((LB, port), OTHERS[number % len(OTHERS)], headers=(own,))
        stolen = _written_otherwise(own[1].split("-")[1])[number % 2]
        driver.send((LB, port), ATTACKER, headers=stolen, group="stolen")
        driver.send((LB, port), ATTACKER, headers=(other, *stolen), group="stolen-beside")


def _tracing(**more: object) -> drawing.Keys:
    return drawing.balancer("lb-traced", options={"var.txn.rid": "traceparent"}, **more)


def _cutting(**more: object) -> drawing.Keys:
    return drawing.balancer("lb-cutting", wrapper=["syslog5424"], captures=[patterns.CAPTURED], **more)


def _holding(**more: object) -> dict[str, drawing.Keys]:
    return {
        "lb": drawing.endless(drawing.balancer("lb-few", **more)),
        "nodes": drawing.nodes("lb"),
        "app": drawing.app("nodes"),
    }


RETRIED = (
    Refusal("app", "close", ("ambiguous", "events_lost"), optional=True),
    Refusal("app", "retried", ("ambiguous", "events_lost"), optional=True),
)
BEFORE = ("ambiguous", "evidence_incomplete")

ALL = (
    Scenario(
        name="retries",
        rows="G11",
        note="a balancer sends an attacker's requests on twice and logs the last connection, with `%rc`",
        systems=_shared(drawing.balancer("lb-retries")),
        servers=("app-a", "app-b", "lb-retries"),
        send=partial(_retried, 94),
        refusals=RETRIED,
        attack=True,
    ),
    Scenario(
        name="retries-minted",
        rows="G11",
        note="the same with a request id of the balancer's own",
        systems=_shared(drawing.endless(drawing.balancer("lb-retries", mints=["x-request-id"]))),
        servers=("app-a", "app-b", "lb-retries"),
        send=partial(_retried, 95),
        attack=True,
    ),
    Scenario(
        name="held",
        rows="B7 G9",
        note="an attacker holds connections through a balancer that logs their end, and that has six ports",
        systems=_holding(),
        servers=("app-b", "lb-few"),
        send=partial(_held, 96),
        refusals=(Refusal("app", "*", ("evidence_incomplete",)),),  # his line may be missing at any time
        attack=True,
    ),
    Scenario(
        name="held-begins",
        rows="B7 G9",
        note="the same, and the balancer logs when a connection begins (`option logasap`)",
        systems=_holding(options={"logasap": "true"}),
        servers=("app-b", "lb-few"),
        send=partial(_held, 97),
        # No line says when the one before left the port, so what comes with the connection may still be of that one.
        refusals=(Refusal("app", "at-once", BEFORE, optional=True), Refusal("app", "held", BEFORE, optional=True)),
        attack=True,
    ),
    Scenario(
        name="padded",
        rows="G11",
        note="an attacker pads a header or the path until HAProxy cuts his line of syslog",
        systems=_shared(_cutting()),
        servers=("app-b", "lb-cutting"),
        send=partial(_padded, 98),
        refusals=(Refusal("app", "*", ("events_lost",), optional=True),),  # each such hole reaches back by `longest`
        attack=True,
    ),
    Scenario(
        name="padded-minted",
        rows="G11",
        note="the same with a request id of the balancer's own",
        systems=_shared(drawing.endless(_cutting(mints=["x-request-id"]))),
        servers=("app-b", "lb-cutting"),
        send=partial(_padded, 99),
        refusals=(Refusal("app", "padded", ("events_lost",), optional=True),),
        attack=True,
    ),
    Scenario(
        name="other-header",
        rows="G11",
        note="another client's trace in a header that the balancer passes and does not log",
        systems={"lb": drawing.endless(_tracing()), "shop": drawing.shop("lb")},
        servers=("shop-b", "lb-traced"),
        send=partial(_other_header, 106),
        refusals=(
            Refusal("shop", "plain", ("id_unproved",)),
            Refusal("shop", "*", ("id_unproved", "evidence_missing")),  # on a busy machine he comes too late for it
        ),
        attack=True,
    ),
    Scenario(
        name="other-header-dropped",
        rows="G11",
        note="the same through a balancer that passes one traceparent and no other id (`passes_ids`)",
        systems={"lb": _tracing(passes_ids=["traceparent"]), "shop": drawing.shop("lb")},
        servers=("shop-b", "lb-traced"),
        send=partial(_other_header, 107),
        refusals=(Refusal("shop", "stolen", ("evidence_missing",)),),
        attack=True,
    ),
)
