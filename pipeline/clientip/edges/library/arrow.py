"""Log files as an Arrow stream: the only home of `pyarrow`, which is imported only where it is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from clientip.config.place import Paths
from clientip.edges.library.records import OnRejected, plan_for, records_of
from clientip.errors import ConfigError, Fault
from clientip.model import Record
from clientip.outputs.columns import COLUMNS, Kind

if TYPE_CHECKING:
    import pyarrow as pa

ROWS: Final = 8192  # of one batch


def scan(
    paths: Paths, config: Paths, *, system: str | None = None, on_rejected: OnRejected | None = None
) -> pa.RecordBatchReader:
    """The records of log files as an Arrow stream, for Polars, DuckDB, Pandas, Parquet; as `replay` gives them.

    `paths`, `system`, `on_rejected` and what it costs: as in `replay`.  One row is one record; schemas/columns.md
    shows the columns.  The client is in `client_address` and `client_port`, which are null unless the verdict names
    one.  The reader can be read once.
    Errors: ConfigError, also without pyarrow; SinkError, of which other programs show only the text.

    >>> import pathlib, tempfile, duckdb, polars
    >>> temporary = tempfile.TemporaryDirectory()
    >>> folder = pathlib.Path(temporary.name)
    >>> _ = (folder / "web.log").write_text("203.0.113.7 200\\n198.51.100.9 404\\n203.0.113.7 404\\n")
    >>> _ = (folder / "clientip.toml").write_text('''
    ... [systems.web]
    ... format    = "nginx"
    ... pattern   = "$remote_addr $status"
    ... inputs    = ["web.log"]
    ... logs_peer = "socket"
    ... peers     = ["outside"]
    ... ''')
    >>> table = polars.DataFrame(scan(folder / "web.log", folder / "clientip.toml"))
    >>> table["client_address"].to_list()
    ['203.0.113.7', '198.51.100.9', '203.0.113.7']
    >>> logs = scan(folder / "web.log", folder / "clientip.toml")
    >>> duckdb.sql("SELECT client_address, count(*) FROM logs GROUP BY ALL ORDER BY ALL").fetchall()
    [('198.51.100.9', 1), ('203.0.113.7', 2)]
    """
    arrow = _arrow()
    settings, plan = plan_for(config, paths, system)
    schema = arrow.schema([(column.name, _type(arrow, column.kind)) for column in COLUMNS])
    records = records_of(settings, plan, on_rejected)
    return arrow.RecordBatchReader.from_batches(schema, _batches(arrow, schema, records, plan.rules))


def _batches(arrow: Any, schema: Any, records: Iterable[Record], rules: str) -> Iterator[Any]:
    left = iter(records)
    while some := list(islice(left, ROWS)):
        columns = ([column.take(record, rules) for record in some] for column in COLUMNS)
        arrays = [arrow.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
        yield arrow.record_batch(arrays, schema=schema)


def _type(arrow: Any, kind: Kind) -> Any:
    return {
        "text": arrow.string(),
        "json": arrow.string(),
        "texts": arrow.list_(arrow.string()),
        "bytes": arrow.binary(),
        "flag": arrow.bool_(),
        "integer": arrow.int64(),
        "port": arrow.int32(),
        "time": arrow.timestamp("ns", tz="UTC"),
    }[kind]


def _arrow() -> Any:
    try:
        import pyarrow  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError([Fault("", "scan", "needs pyarrow: pip install 'clientip[parquet]'")]) from None
    return pyarrow
