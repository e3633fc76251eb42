"""Where the client is, from MaxMind DB files: the only home of `maxminddb`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from clientip.errors import ConfigError, Fault
from clientip.model import Record
from clientip.settings import Settings

if TYPE_CHECKING:
    from maxminddb import Reader

Facts = tuple[tuple[str, str | int | float], ...]


# Output field → where a database holds it. The names are those of the Elastic Common Schema.
FIELDS: Final = MappingProxyType(
    {
        "geo.continent_code": ("continent", "code"),
        "geo.country_iso_code": ("country", "iso_code"),
        "geo.region_iso_code": ("subdivisions", 0, "iso_code"),
        "geo.city_name": ("city", "names", "en"),
        "geo.location.lat": ("location", "latitude"),
        "geo.location.lon": ("location", "longitude"),
        "as.number": ("autonomous_system_number",),
        "as.organization.name": ("autonomous_system_organization",),
    }
)


class GeoDatabases:
    """The configured databases, mapped into memory. ConfigError where one cannot be used."""

    def __init__(self, paths: Mapping[str, str | None]) -> None:
        self._paths = {key: path for key, path in paths.items() if path is not None}
        self._stamps = {key: _stamp(key, path) for key, path in self._paths.items()}
        self._readers = {key: _opened(key, path) for key, path in self._paths.items()}
        # Clients come again and again; the tree walk and the decoding are the costly part.
        self._remembered = lru_cache(maxsize=65536)(self._lookup)

    def __bool__(self) -> bool:
        return bool(self._readers)

    def identity(self) -> tuple[str, ...]:
        """Type and build time of each database: what decides the fields that are written."""
        metadata = (reader.metadata() for reader in self._readers.values())
        return tuple(f"{each.database_type} {each.build_epoch}" for each in metadata)

    def lookup(self, address: str) -> Facts:
        """What the databases say of an address; the more detailed database first, each field once."""
        return self._remembered(address)

    def reload_if_replaced(self) -> None:
        """Open again what was replaced on disk."""
        for key, path in self._paths.items():
            stamp = _stamp(key, path)
            if stamp != self._stamps[key]:
                replacement = _opened(key, path)
                self._readers[key].close()
                self._readers[key], self._stamps[key] = replacement, stamp
                self._remembered.cache_clear()

    def add_to(self, record: Record) -> Record:
        """The record with what is known of its client, if it has one."""
        client = record.resolution.named  # a claim is never looked up
        if client is None:
            return record
        found = self.lookup(client.address.text)
        return replace(record, geo=found) if found else record

    def _lookup(self, address: str) -> Facts:
        from maxminddb import InvalidDatabaseError  # noqa: PLC0415 - most runs have no database

        found: dict[str, str | int | float] = {}
        for key, reader in self._readers.items():
            try:
                entry = reader.get(address)
            except InvalidDatabaseError as error:
                raise _fault(key, self._paths[key], f"is damaged: {error}") from error
            except ValueError:  # an IPv6 address in a database that holds only IPv4
                continue
            for field, place in FIELDS.items():
                value = _at(entry, place)
                if isinstance(value, str | int | float) and not isinstance(value, bool):
                    found.setdefault(field, value)
        return tuple(found.items())


def _at(entry: object, place: tuple[str | int, ...]) -> object:
    for step in place:
        if isinstance(entry, dict):
            entry = entry.get(str(step))
        elif isinstance(entry, list) and isinstance(step, int) and step < len(entry):
            entry = entry[step]
        else:
            return None
    return entry


def open_geo(settings: Settings) -> GeoDatabases:
    """The databases of the configuration, the more detailed one first."""
    geo = settings.geo
    return GeoDatabases({"city": geo.city, "country": geo.country, "asn": geo.asn})


def _stamp(key: str, path: str) -> tuple[int, int]:
    try:
        status = Path(path).stat()
    except OSError as error:
        raise _fault(key, path, f"cannot be read: {error.strerror}") from error
    return status.st_mtime_ns, status.st_ino


def _opened(key: str, path: str) -> Reader:
    from maxminddb import MODE_MMAP, InvalidDatabaseError, open_database  # noqa: PLC0415 - as above

    try:
        return open_database(path, MODE_MMAP)
    except (InvalidDatabaseError, ValueError) as error:
        raise _fault(key, path, f"is no MaxMind DB file: {error}") from error
    except OSError as error:
        raise _fault(key, path, f"cannot be read: {error.strerror}") from error


def _fault(key: str, path: str, text: str) -> ConfigError:
    return ConfigError([Fault("", f"geo.{key}", f"{path} {text}")])
