"""What the workers of a stream make of a configuration: an engine, its joins, and the view of the watermarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from clientip.engine import Engine, build
from clientip.joins.join import Joining
from clientip.settings import Feed, Settings
from clientip.stream.resume import Walking
from clientip.stream.watermarks import View, Watermarks


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


class Views:
    """The watermarks of one partition as each known configuration understands them."""

    def __init__(self, known: Iterable[Compiled]) -> None:
        self._known = {each.settings.topology: each for each in known}
        self._views: dict[str, View] = {}

    def __call__(self, watermarks: Watermarks, topology: str) -> View:
        """The view under a configuration, named by its topology. Raises KeyError for one that is not known."""
        view = self._views.get(topology)
        if view is None:
            of = self._known[topology]
            view = self._views[topology] = View(watermarks, of.joining, of.feeds)
        return view
