"""How long questions wait, and how long facts are kept for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from clientip.joins.facts import JoinQuestion, kind_of
from clientip.settings import Settings
from clientip.stream.watermarks import SILENCE_NS, View, longest_wait_ns

SECOND: Final = 1_000_000_000
STRATA: Final[Mapping[str, int]] = {"conn": 0, "request": 1, "trace": 2, "line": 3}
STRATUM_NS: Final = 10 * SECOND  # each kind of key waits so much longer than the one before
KEEP_NS: Final = 30 * SECOND  # facts are kept so much longer than the longest wait


def wait_ns(view: View, asked: JoinQuestion) -> int:
    """How long a question waits from its first message on, if its witnesses' lines are not read with a delay."""
    kind = kind_of(asked.key)
    if kind == "line":  # the line it asks may itself have waited as long as any
        longest = view.longest_wait_ns
    else:
        longest = max((view.wait_ns(witness) for witness in asked.witnesses), default=0)
        longest = max(longest, SILENCE_NS) if asked.nat else longest
    return longest + STRATA[kind] * STRATUM_NS


def keep_ns(settings: Settings) -> int:
    """How long after its message a fact can be of use to a question that comes within its own time."""
    feeds = [each.feed for each in settings.systems if each.feed is not None]
    last = longest_wait_ns(feeds) + max(STRATA.values()) * STRATUM_NS
    return last + max((feed.arrives_ns for feed in feeds), default=0) + KEEP_NS
