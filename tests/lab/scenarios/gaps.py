"""What an attacker keeps out of a log: he is retried, he holds on, his line is cut, his header has no column."""

from __future__ import annotations

import time
from functools import partial

from tests.lab import drawing
from tests.lab.driver import Driver
from tests.lab.network import CLIENTS4
from tests.lab.scenario import Refusal, Scenario
from tests.lab.scenarios.sending import LB

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


def _retrying(lb: drawing.Keys) -> dict[str, drawing.Keys]:
    return {
        "lb": lb,
        "nodes": drawing.nodes("lb"),
        "app": drawing.app("nodes"),
    }


def _endless(drawn: drawing.Keys) -> drawing.Keys:
    """No server ends a request or connection of it by force."""
    return {key: value for key, value in drawn.items() if key != "longest"}


RETRIED = (
    Refusal("app", "close", ("ambiguous", "events_lost"), optional=True),
    Refusal("app", "retried", ("ambiguous", "events_lost"), optional=True),
)

ALL = (
    Scenario(
        name="retries",
        rows="G11",
        note="a balancer sends an attacker's requests on twice and logs the last connection, with `%rc`",
        systems=_retrying(drawing.balancer("lb-retries")),
        servers=("app-a", "app-b", "lb-retries"),
        send=partial(_retried, 94),
        refusals=RETRIED,
        attack=True,
    ),
    Scenario(
        name="retries-minted",
        rows="G11",
        note="the same with a request id of the balancer's own",
        systems=_retrying(_endless(drawing.balancer("lb-retries", mints=["x-request-id"]))),
        servers=("app-a", "app-b", "lb-retries"),
        send=partial(_retried, 95),
        attack=True,
    ),
)
