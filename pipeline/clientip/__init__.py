"""clientip: recover the original client of every request, or say why it cannot be known.

    import clientip

    engine = clientip.load("clientip.toml")
    found = clientip.resolve(engine, line)                      # one log line
    for record in clientip.replay("clientip.toml", "web.log"):  # files, joins included
        ...
    table = polars.DataFrame(clientip.scan("web.log", "clientip.toml"))

The names of `__all__` are all that is public and under SemVer, with `clientip.asgi`, `clientip.wsgi`, the command
line and `schemas/`.  Each is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clientip.edges.library.arrow import scan
    from clientip.edges.library.records import load, replay, resolve
    from clientip.engine import Engine
    from clientip.errors import ConfigError, FormatError, SinkError
    from clientip.model import Record, Resolution

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "Engine",
    "FormatError",
    "Record",
    "Resolution",
    "SinkError",
    "load",
    "replay",
    "resolve",
    "scan",
]

_HOMES = {
    "ConfigError": "clientip.errors",
    "Engine": "clientip.engine",
    "FormatError": "clientip.errors",
    "Record": "clientip.model",
    "Resolution": "clientip.model",
    "SinkError": "clientip.errors",
    "load": "clientip.edges.library.records",
    "replay": "clientip.edges.library.records",
    "resolve": "clientip.edges.library.records",
    "scan": "clientip.edges.library.arrow",
}


def __getattr__(name: str) -> Any:
    """A public name, imported on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
