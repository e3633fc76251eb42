"""Which inputs are read, again and again, for a question whose answer decides what to look for next."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from clientip.edges.disk.inputs import PIPE
from clientip.edges.replay.plan import Plan, Request
from clientip.edges.replay.run import plan_of
from clientip.errors import ConfigError
from clientip.settings import Settings


def whole_plan(settings: Settings, request: Request, named: Plan | None, warn: Callable[[str], None]) -> Plan | None:
    """All inputs that can answer: the configured ones, and beside them what the call names; None: there are none."""
    try:
        plan = plan_of(Request(request.config), settings, lambda _: None)
    except ConfigError as error:
        warn(f"no other log can be asked: {error.faults[0].text}")
        if named is None:
            return None
        plan = replace(named, inputs=())
    known = {each.path for each in plan.inputs} | {PIPE}
    added = () if named is None else tuple(each for each in named.inputs if each.path not in known)
    plan = replace(plan, inputs=(*plan.inputs, *added))
    return plan if plan.inputs else None
