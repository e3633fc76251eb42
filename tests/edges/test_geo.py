"""Geo databases: looked up for clients only, replaced while running, damaged ones named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from clientip.edges.geo import GeoDatabases
from clientip.edges.replay.plan import Request
from clientip.edges.replay.run import replay
from clientip.errors import ConfigError
from clientip.model import Endpoint, Line, Observation, Record, Resolution, Setup
from clientip.syntax.addresses import parse_address
from mmdb_writer import MMDBWriter
from msgspec.structs import replace
from netaddr import IPSet

BERN = {
    "continent": {"code": "EU"},
    "country": {"iso_code": "CH"},
    "subdivisions": [{"iso_code": "BE"}],
    "city": {"names": {"en": "Bern", "de": "Bern"}},
    "location": {"latitude": 46.9, "longitude": 7.4},
}
ISP = {"autonomous_system_number": 64500, "autonomous_system_organization": "Example ISP"}


def database(path: Path, kind: str, entries: dict[str, object], version: int = 6) -> str:
    writer = MMDBWriter(version, kind, ipv4_compatible=version == 6, float_type="f64")
    for network, entry in entries.items():
        writer.insert_network(IPSet([network]), entry)
    draft = path.with_suffix(".new")
    writer.to_db_file(str(draft))
    draft.replace(path)
    return str(path)


def record(verdict: str, address: str | None = "203.0.113.7") -> Record:
    client = None if address is None else Endpoint(parse_address(address))
    resolution = Resolution(verdict, client, "socket", None, ())  # type: ignore[arg-type]
    seen = Observation(Setup(system="web", format="nginx"), "request", None, None, None, None)
    return Record(Line(b"", b""), seen, resolution, "0" * 32, True)


@pytest.fixture
def geo(tmp_path: Path) -> GeoDatabases:
    city = database(tmp_path / "city.mmdb", "GeoLite2-City", {"203.0.113.0/24": BERN, "2001:db8::/32": BERN})
    asn = database(tmp_path / "asn.mmdb", "GeoLite2-ASN", {"203.0.113.0/24": ISP}, version=4)
    return GeoDatabases({"city": city, "country": None, "asn": asn})


def test_fields_have_their_common_names(geo: GeoDatabases) -> None:
    assert dict(geo.lookup("203.0.113.7")) == {
        "geo.continent_code": "EU",
        "geo.country_iso_code": "CH",
        "geo.region_iso_code": "BE",
        "geo.city_name": "Bern",
        "geo.location.lat": 46.9,
        "geo.location.lon": 7.4,
        "as.number": 64500,
        "as.organization.name": "Example ISP",
    }


def test_an_ipv6_client_in_a_database_of_ipv4_is_no_error(geo: GeoDatabases) -> None:
    assert dict(geo.lookup("2001:db8::1"))["geo.city_name"] == "Bern"
    assert "as.number" not in dict(geo.lookup("2001:db8::1"))


def test_an_address_nobody_knows_adds_nothing(geo: GeoDatabases) -> None:
    assert geo.lookup("192.0.2.1") == ()
    assert geo.add_to(record("seen", "192.0.2.1")).geo == ()


@pytest.mark.parametrize("verdict", ["seen", "vouched", "joined"])
def test_a_named_client_is_placed(geo: GeoDatabases, verdict: str) -> None:
    assert ("as.number", 64500) in geo.add_to(record(verdict)).geo


@pytest.mark.parametrize("verdict", ["internal", "unknown"])
def test_nobody_else_is_placed(geo: GeoDatabases, verdict: str) -> None:
    assert geo.add_to(record(verdict)).geo == ()
    assert geo.add_to(record(verdict, None)).geo == ()


def test_a_replaced_database_is_noticed(geo: GeoDatabases, tmp_path: Path) -> None:
    assert "as.number" in dict(geo.lookup("203.0.113.7"))
    geo.reload_if_replaced()
    before = geo.identity()
    database(tmp_path / "asn.mmdb", "GeoLite2-ASN-2", {"203.0.113.0/24": ISP | {"autonomous_system_number": 64501}}, 4)
    os.utime(tmp_path / "asn.mmdb", ns=(1, 1))
    geo.reload_if_replaced()
    assert dict(geo.lookup("203.0.113.7"))["as.number"] == 64501
    assert geo.identity() != before


def test_no_database_is_no_geo() -> None:
    assert not GeoDatabases({"city": None})
    assert GeoDatabases({"city": None}).identity() == ()


def test_a_missing_or_damaged_database_is_the_operators_to_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"geo.city: .*no\.mmdb cannot be read: No such file"):
        GeoDatabases({"city": str(tmp_path / "no.mmdb")})
    for content in (b"", b"no database", b"\0" * 5000):
        (tmp_path / "bad.mmdb").write_bytes(content)
        with pytest.raises(ConfigError, match=r"bad\.mmdb is no MaxMind DB file"):
            GeoDatabases({"city": str(tmp_path / "bad.mmdb")})


def test_a_record_without_geo_keeps_its_identity(geo: GeoDatabases) -> None:
    plain = record("seen")
    assert replace(geo.add_to(plain), geo=()) == plain


def test_replay_places_the_clients(geo: GeoDatabases, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        """
        geo = { city = "city.mmdb", asn = "asn.mmdb" }
        [systems.web]
        format = "nginx"
        logs_peer = "socket"
        pattern = "$remote_addr $status"
        inputs = ["web.log"]
        peers = ["outside"]
        """
    )
    (tmp_path / "web.log").write_text("203.0.113.7 200\n192.168.0.1 200\n")
    replay(Request(config=(tmp_path / "c.toml",)), tmp_path / "out", print)
    placed, other = map(json.loads, (tmp_path / "out/enriched.ndjson").read_text().splitlines())
    assert placed["clientip"]["geo"]["city_name"] == "Bern"
    assert placed["clientip"]["as"]["number"] == 64500
    assert "geo" not in other["clientip"]
