"""What the workers of a stream make of the configuration: engines by drawing, waits, and how long facts are held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from clientip.engine import Engine, build
from clientip.joins.join import Joining
from clientip.settings import Feed, Settings
from clientip.stream.join_partition import KEEP_NS, STRATA, STRATUM_NS
from clientip.stream.resume import Walking
from clientip.stream.watermarks import View, Watermarks, longest_wait_ns


class Compiled(NamedTuple):
    """One configuration, compiled."""

    settings: Settings
    engine: Engine
    joining: Joining
    feeds: Mapping[str, Feed]
    walking: Walking


def compiled(settings: Settings) -> Compiled:
    """The configuration compiled."""
    engine = build(settings)
    joining = engine.joining
    assert joining is not None
    feeds = {each.system.name: each.feed for each in settings.systems if each.feed is not None}
    return Compiled(settings, engine, joining, feeds, Walking(engine, joining, settings.topology))


def keep_ns(settings: Settings) -> int:
    """How long after it came a fact can be of use to a question that comes within its own time."""
    feeds = [each.feed for each in settings.systems if each.feed is not None]
    last = longest_wait_ns(feeds) + max(STRATA.values()) * STRATUM_NS
    return last + max((feed.arrives_ns for feed in feeds), default=0) + KEEP_NS


class Views:
    """What was heard in one partition, as each known configuration understands it."""

    def __init__(self, known: Iterable[Compiled]) -> None:
        self._known = {each.settings.topology: each for each in known}
        self._held: dict[str, View] = {}

    def __call__(self, watermarks: Watermarks, topology: str) -> View:
        """The view under a configuration. Raises KeyError for one that is not known."""
        view = self._held.get(topology)
        if view is None:
            of = self._known[topology]
            view = self._held[topology] = View(watermarks, of.joining, of.feeds)
        return view
