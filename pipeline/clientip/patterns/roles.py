"""What the columns of a text log tell: the words in which every text format says it.

`peer` `logged` `stated` `local` `proxied` `upstream_local` `upstream_peer`
    an address and its port; `.ip` and `.port` behind the word where they are two columns.  `logged` is the
    address that PROXY or realip may have replaced: `Setup.logs_peer` says whether it is the socket.
`start` `end`            a stamp; `how` names its layout.  `fraction`: its digits below the second.
`duration`               `how`: s, ms, us
`header`                 `name`, and `how` much of it the log shows (model.Coverage)
`request`                the request line; `method` `target` `protocol` `host` `status` `user_agent` `referer`
                         `request_bytes` `response_bytes` its parts
`request_id`             `name` is its scheme; `how` = cut: its end may be missing
`trace` `span` `parent`  the writer's own
`connection_serial` `request_serial` `instance`
`tries`                  how often it was sent on; `how` is the number of a request that was sent on once
`timer`                  ms of a stage from the start on, in the order of the stages; `how` is its place
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from clientip.model import Coverage, Endpoint, Kind
from clientip.patterns.matcher import Values
from clientip.syntax.addresses import read_endpoint


class Role(NamedTuple):
    """What one column tells; see the head of this module."""

    word: str
    how: str = ""
    name: str = ""
    limit: int = 0  # bytes at which the writer cuts a header; 0: it does not
    sent: bool = False  # an id as it goes on to the next hop; otherwise as it came, or nobody knows


HeaderColumn = tuple[str, tuple[str, ...], Coverage]
Roles = Sequence["Role | None"]


class Manner(NamedTuple):
    """How one format differs from the others."""

    kind: Kind = "request"
    unescape: Callable[[str], str] = str
    endpoint: Callable[[str], Endpoint] = read_endpoint
    absent: frozenset[str] = frozenset({"-", ""})
    names_allowed: bool = False  # the logged peer may be a host name: then it tells no peer
    stated_port: bool = True  # whether a replaced address brings its own port
    port_zero_said: bool = False  # a logged peer with port 0 was taken from a header
    peer_void: Callable[[Values], bool] | None = None  # lines whose logged address may be either
    late: bool = False  # requests are logged that failed before PROXY or realip replaced the logged address
    is_json: bool = False  # part of a line is none, so only whole ones are read
    closed: bool = False  # a line that fits has its end (`matcher.line_end`)
    forgeable: bool = False  # a long line that fits may have been cut behind an end that a client wrote
    more_headers: Callable[[Values], tuple[HeaderColumn, ...]] | None = None


def loosened(roles: Roles, loose: int) -> list[Role | None]:
    """The roles where the last `loose` fields may have been cut: a header vouches no longer, an id may be another.

    >>> loosened([None, Role("header", "all", "x-real-ip")], 1)
    [None, Role(word='header', how='cut', name='x-real-ip', limit=0, sent=False)]
    """
    first = len(roles) - loose
    return [
        role._replace(how="cut") if place >= first and role is not None and role.word in _CUTTABLE else role
        for place, role in enumerate(roles)
    ]


_CUTTABLE: Final = ("header", "request_id")


def index_of(roles: Roles, word: str) -> int | None:
    """The first column with this role."""
    return next((index for index, role in enumerate(roles) if role is not None and role.word == word), None)
