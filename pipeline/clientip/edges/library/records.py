"""What `import clientip` offers for logs: a line to its client, files to records, all in this process.

The same engine as that of the command line, and the same records; for logs larger than a process should hold, and
for all cores, there is `clientip replay`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence

from clientip.config import load as config_files
from clientip.config.place import Paths, paths_of
from clientip.edges.disk.inputs import PIPE
from clientip.edges.geo import GeoDatabases, open_geo
from clientip.edges.replay.join_slices import Desk, answered
from clientip.edges.replay.kafka_ends import NAMED
from clientip.edges.replay.outcomes import outcomes_of
from clientip.edges.replay.plan import Plan, Request
from clientip.edges.replay.run import plan_of
from clientip.edges.replay.translated import met_in
from clientip.engine import Engine, build
from clientip.errors import ConfigError, Fault, FormatError
from clientip.joins.coverage import Coverage
from clientip.joins.facts import JoinFact, JoinQuestion
from clientip.joins.holes import LogOrders
from clientip.joins.join import Answers, Joining, settle
from clientip.model import Line, Outcome, Record, Rejected, Resolution
from clientip.settings import Settings

OnRejected = Callable[[Rejected], object]


def load(config: Paths) -> Engine:
    """The engine that TOML files describe: one file, a folder of them, or several.

    Errors: ConfigError with every fault they hold.
    """
    return build(config_files.load(paths_of(config)))


def resolve(engine: Engine, line: bytes | str, system: str | None = None) -> Resolution:
    """The client of one log line's request and how it is known, or why it is not.

    `system` wrote the line; it may be left out if only one writes a log.  If the walk needs another log, as after NAT,
    the client stays `unknown`, as in a log of this line alone; `replay` reads all logs.  The client is `named`; that
    of an `internal` request is None, and its `client` is where the walk ended.
    Errors: FormatError if the line cannot be read or is not one request; ConfigError if there is no such system.

    >>> import tempfile
    >>> config = tempfile.NamedTemporaryFile("w+", suffix=".toml")
    >>> _ = config.write('''
    ... [systems.lb]
    ... addresses = ["10.0.0.10"]
    ... peers     = ["outside"]
    ... conveys   = [{ header = "x-forwarded-for", mode = "append" }]
    ... [systems.web]
    ... format    = "nginx"
    ... pattern   = '$remote_addr [$time_iso8601] "$request" $status "$http_x_forwarded_for"'
    ... logs_peer = "socket"
    ... peers     = ["lb"]
    ... '''), config.flush()
    >>> line = '10.0.0.10 [2025-01-01T00:00:00+00:00] "GET / HTTP/1.1" 200 "6.6.6.6, 203.0.113.7"'
    >>> found = resolve(load(config.name), line)
    >>> found.verdict, found.named.address.text, found.claims[0].value
    ('vouched', '203.0.113.7', '6.6.6.6')
    """
    chosen = _chosen(engine, system)
    raw = line if isinstance(line, bytes) else line.encode()
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    if len(raw) > engine.line_bytes:
        raise FormatError("too_long")
    reading = engine.reading(chosen)
    outcomes = [*reading.feed(Line(raw, raw)), *reading.end()]
    joining = engine.joining
    found = outcomes if joining is None or not engine.joins else settle(joining, outcomes)
    if len(found) == 1 and isinstance(found[0], Record):
        return found[0].resolution
    reasons = [each.reason for each in found if isinstance(each, Rejected)]
    raise FormatError(reasons[0] if reasons else "no_request")


def replay(
    config: Paths, inputs: Paths = (), *, system: str | None = None, on_rejected: OnRejected | None = None
) -> Iterator[Record]:
    """The records of log files, in the order of the files and lines: those of `clientip replay`.

    `inputs`: files, folders and globs; none: the configured ones.  `system` wrote them; it must be named where the
    `inputs` of the configuration do not tell.  Lines that cannot be read are no records:
    `on_rejected` gets each of them.  What an operator should know, as two files that begin alike, is a Python warning.

    Where lines answer for each other (`clientip help config`, `tells`) all files are read before the first record
    comes, and every line is held: about 3 kB of memory a line.  Otherwise memory is flat.
    Errors: ConfigError before the first record; SinkError where a file cannot be read to its end.

    >>> import tempfile, pathlib
    >>> temporary = tempfile.TemporaryDirectory()
    >>> folder = pathlib.Path(temporary.name)
    >>> _ = (folder / "web.log").write_text("203.0.113.7 200\\n")
    >>> _ = (folder / "clientip.toml").write_text('''
    ... [systems.web]
    ... format    = "nginx"
    ... pattern   = "$remote_addr $status"
    ... inputs    = ["web.log"]
    ... logs_peer = "socket"
    ... peers     = ["outside"]
    ... ''')
    >>> for record in replay(folder / "clientip.toml"):
    ...     print(record.resolution.named.address.text, record.observation.http.status)
    203.0.113.7 200
    """
    settings, plan = plan_for(config, inputs, system)
    return records_of(settings, plan, on_rejected)


def plan_for(config: Paths, inputs: Paths, system: str | None) -> tuple[Settings, Plan]:
    """What is to be read, and how."""
    paths, named = paths_of(config), tuple(map(str, paths_of(inputs)))
    if any(name == PIPE or name.startswith(NAMED) for name in named):
        raise ConfigError([Fault("", "inputs", "name files; standard input and topics are for `clientip replay`")])
    settings = config_files.load(paths)
    request = Request(paths, named, system)
    return settings, plan_of(request, settings, lambda text: warnings.warn(text, stacklevel=4))


def records_of(settings: Settings, plan: Plan, on_rejected: OnRejected | None) -> Iterator[Record]:
    """The records of a plan."""
    engine, geo = build(settings, met_in(settings, plan)), open_geo(settings)
    if engine.joining is None or not engine.joins:
        return _records(outcomes_of(engine, plan, walks_facts=False), geo, on_rejected)
    return _records(_settled(_Bounded(engine.joining, settings), engine, plan), geo, on_rejected)


def _settled(joining: Joining, engine: Engine, plan: Plan) -> Iterator[Outcome]:
    orders = LogOrders()
    yield from settle(joining, outcomes_of(engine, plan, walks_facts=False, orders=orders), orders, plan.unread)


def _records(outcomes: Iterable[Outcome], geo: GeoDatabases, on_rejected: OnRejected | None) -> Iterator[Record]:
    for outcome in outcomes:
        if isinstance(outcome, Record):
            yield geo.add_to(outcome) if geo else outcome
        elif isinstance(outcome, Rejected) and on_rejected is not None:
            on_rejected(outcome)


class _Bounded(Joining):
    """Answers as a replay gives them: `crowded` where comparing everything under a key would be too much work."""

    def __init__(self, plain: Joining, settings: Settings) -> None:
        super().__init__(plain.graph, settings.joins)
        self._plain = plain

    def answer(
        self, key: str, facts: Sequence[JoinFact], questions: Sequence[JoinQuestion], coverage: Coverage
    ) -> Answers:
        """Answers to the questions under one key, in their order."""
        return answered(Desk(self._plain, coverage), key, facts, questions)


def _chosen(engine: Engine, system: str | None) -> str:
    names = sorted(engine.sources)
    if system is None and len(names) == 1:
        return names[0]
    if system is None or system not in engine.sources:
        what = "name one" if system is None else f"{system!r} is no system with a format"
        raise ConfigError([Fault("", "system", f"{what}; there are: {', '.join(names)}")])
    return system
