"""Where in the configuration a value stands, so that a fault can name the place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from clientip.errors import Fault

Paths = str | Path | Iterable[str | Path]
"""One path, or several."""


def paths_of(named: Paths) -> tuple[Path, ...]:
    """The paths, in their order.

    >>> paths_of("clientip.toml"), len(paths_of(["a.toml", Path("b")]))
    ((PosixPath('clientip.toml'),), 2)
    """
    return (Path(named),) if isinstance(named, str | Path) else tuple(map(Path, named))


class ConfigPlace(NamedTuple):
    """A dotted key of one file; its faults go into the list all places of a load share."""

    file: str  # as given
    folder: Path  # relative paths in this file begin here
    key: str
    faults: list[Fault]

    def at(self, *names: str) -> ConfigPlace:
        """The place of a key below this one."""
        return self._replace(key=".".join(name for name in (self.key, *names) if name))

    def item(self, index: int) -> ConfigPlace:
        """The place of one item of the list that stands here."""
        return self._replace(key=f"{self.key}[{index}]")

    def wrong(self, text: str) -> None:
        """Note a fault of this place."""
        self.faults.append(Fault(self.file, self.key, text))

    def paths(self, names: Iterable[str]) -> tuple[str, ...]:
        """Names of files, or patterns of them, that stand here, as paths."""
        return tuple(str(self.folder / name) for name in names)

    def contents(self, name: str) -> bytes | None:
        """The bytes of a file named here; None, and a fault, if it cannot be read."""
        path = self.folder / name
        try:
            return path.read_bytes()
        except OSError as error:
            self.wrong(f"cannot read {path}: {error.strerror}; give the path of a file, relative to this one")
            return None
