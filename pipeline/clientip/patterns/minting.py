"""Which ids of a log are minted: those that the server made itself, in columns that show what went on.

What a client sent in a header that the server overwrites went no further, so such a column is no id of the request at
all: `kept_columns` takes it out, and `require_minted` refuses a system that has no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from clientip.errors import ConfigError, Fault
from clientip.model import Setup
from clientip.patterns.roles import Role, Roles
from clientip.syntax.headers import REQUEST_HEADERS, TRACE_HEADERS

_READ: Final = REQUEST_HEADERS | TRACE_HEADERS
_ELSEWHERE: Final = "let a hop mint it whose log shows what it sends on, such as nginx, HAProxy or Envoy"


class Advice(NamedTuple):
    """What to log instead of a header as it was received; "": this server's log cannot show it."""

    request: str = ""  # for headers of request ids
    trace: str = ""  # for headers of traces


def require_minted(setup: Setup, roles: Roles, advice: Advice) -> None:
    """Check that the log shows each minted id as it goes on. Raises ConfigError with what to log instead.

    >>> own = Role("request_id", name="nginx", sent=True)
    >>> require_minted(Setup(system="a", format="b", mints=("x-request-id",)), [own], Advice())
    """
    own = {role.word for role in roles if role is not None and role.sent}
    sent = {role.name for role in roles if role is not None and role.word == "header" and role.sent}
    received = {role.name for role in roles if role is not None and role.word == "header" and not role.sent}
    faults = [
        Fault("", "mints", fault_text(header, advice, received=header in received))
        for header in setup.mints
        if header not in _READ or (header not in sent and _own_word(header) not in own)
    ]
    shown = {role.name for role in roles if role is not None}
    faults += [
        Fault(
            "", "passes_ids", f"no column shows {header}, which goes on; log it, for an id that is not shown misleads"
        )
        for header in setup.passes_ids
        if header not in shown and _own_word(header) not in own
    ]
    if faults:
        raise ConfigError(faults)


def _own_word(header: str) -> str:
    """The word of the column in which a server writes an id of this kind that it made."""
    return "trace" if header in TRACE_HEADERS else "request_id"


def refuse_minted(setup: Setup, *, own_traces: bool = False) -> None:
    """The same for formats without a pattern, which show headers as they came.

    `own_traces`: the traces are the writer's own.
    """
    trace = Role("trace", sent=own_traces)
    headers = (Role("header", "all", header) for header in (*setup.mints, *setup.passes_ids))
    require_minted(setup, [trace, *headers], Advice())


def fault_text(header: str, advice: Advice, *, received: bool) -> str:
    """Why the ids in this header cannot count as minted, and what to log instead."""
    if header not in _READ:
        return f"no id is read from {header}; write one of {', '.join(sorted(_READ))}"
    instead = advice.trace if header in TRACE_HEADERS else advice.request
    mend = f"log {instead}" if instead else _ELSEWHERE
    if received:
        return f"the log shows {header} as it was received, so a client chooses what it says; {mend}"
    return f"no column shows {header} as it goes on, so the id that was made is not known; {mend}"


def kept_columns(setup: Setup, roles: Roles) -> list[Role | None]:
    """The roles without the columns of minted headers as they were received."""
    return [
        None if role is not None and role.word == "header" and role.name in setup.mints and not role.sent else role
        for role in roles
    ]


def carried_in(setup: Setup, roles: Roles) -> Sequence[str]:
    """Minted headers of request ids that carry the server's own id: those without a column of their own."""
    shown = {role.name for role in roles if role is not None and role.word == "header" and role.sent}
    return [header for header in setup.mints if header in REQUEST_HEADERS and header not in shown]
