"""What the log of a system can prove to others, as its format string shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from clientip.formats import FORMATS
from clientip.model import Format

AS_SOON_AS_POSSIBLE: Final = "logasap"  # HAProxy's option: a line is written when a connection begins
_TOTAL_TIME: Final = re.compile(r"%(?:\(\w*\))?(?:\{[^}]*\})?(?:\(\w*\))?Tt(?!\w)")  # says when such a line was written


def connects(keys: Mapping[str, Any]) -> bool:
    """Whether its log shows the near end of all its connections; without it the log is no evidence of them.

    `keys`: those of a system, as the configuration has them.
    """
    row = FORMATS.get(keys.get("format", ""))
    if row is None or row.connections is None:
        return False
    shown = shown_pattern(row, keys.get("pattern"))
    return row.connections in shown and (not keys.get("retries", True) or not hides_tries(row, shown))


def shown_pattern(row: Format, written: str | None) -> str:
    """The format string that a system's log has: a known one goes by its name, and the first is the default."""
    known = dict(row.known_patterns)
    chosen = written or next(iter(known), "")
    return known.get(chosen, chosen)


def hides_tries(row: Format, pattern: str) -> bool:
    """Whether a log of requests shows only the last connection that each was sent on, and not that there were others.

    >>> http = "%ci:%cp [%tr] %bi:%bp %si:%sp %ST %{+Q}r"
    >>> [hides_tries(FORMATS["haproxy"], each) for each in (http, f"{http} %rc", "%ci:%cp [%t] %bi:%bp %Tt")]
    [True, False, False]
    """
    return is_of_requests(row, pattern) and not re.search(row.tries[1], pattern)


def is_of_requests(row: Format, pattern: str) -> bool:
    """Whether a log of this pattern has a line for each request, and requests can be sent on again."""
    return bool(row.tries[0]) and re.search(row.tries[0], pattern) is not None


def writes_begins(keys: Mapping[str, Any]) -> bool:
    """Whether its log has a line of every connection when it begins."""
    row = FORMATS.get(keys.get("format", ""))
    if row is None or not connects(keys):
        return False
    if "begins" in row.writes:
        return True
    shown = shown_pattern(row, keys.get("pattern"))
    is_asked = keys.get("options", {}).get(AS_SOON_AS_POSSIBLE) == "true"
    return is_asked and not is_of_requests(row, shown) and _TOTAL_TIME.search(shown) is not None
