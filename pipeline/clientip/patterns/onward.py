"""What a line says of its way onward: a connection that goes on, and tries on connections that it does not show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from clientip.model import Line, Observation, Setup
from clientip.patterns.matcher import Values
from clientip.patterns.request_time import number, stages_of
from clientip.patterns.roles import Manner, Roles, index_of
from clientip.syntax.times import MILLISECOND_NS

Observe = Callable[[Line, Values], Observation]
FOREVER_NS: Final = 2**63 - 1


def with_onward(setup: Setup, roles: Roles, manner: Manner, observe: Observe) -> Observe:
    """The reader of a line, which also reads the columns of tries and of a duration that goes on."""
    return _with_begin(roles, manner, _with_tries(setup, roles, manner, observe))


def _with_begin(roles: Roles, manner: Manner, observe: Observe) -> Observe:
    """The same, and when the connection onward had begun, of a line whose duration says that it still goes on."""
    lasted = index_of(roles, "duration")
    if lasted is None or manner.kind != "connection":
        return observe

    def with_begin(line: Line, values: Values) -> Observation:
        seen, text = observe(line, values), values[lasted] or ""
        if not text.startswith("+") or seen.start_latest_ns is None:
            return seen
        return replace(seen, connected_ns=seen.start_latest_ns + (number(text[1:]) + 1) * MILLISECOND_NS)

    return with_begin


def _with_tries(setup: Setup, roles: Roles, manner: Manner, observe: Observe) -> Observe:
    """The same, and until when an earlier try may have been on a connection that the line does not show."""
    tried = index_of(roles, "tries")
    if tried is None or manner.kind != "request" or not setup.retries:
        return observe
    role = roles[tried]
    assert role is not None
    once, stages = int(role.how), stages_of(roles)

    def with_tries(line: Line, values: Values) -> Observation:
        seen, text = observe(line, values), (values[tried] or "").removeprefix("+")
        if text in manner.absent or number(text) <= once:
            return seen
        passed = None if stages is None or seen.start_latest_ns is None else stages(values)
        until = seen.end_ns if passed is None else (seen.start_latest_ns or 0) + passed
        return replace(seen, retried_until_ns=FOREVER_NS if until is None else until)

    return with_tries
