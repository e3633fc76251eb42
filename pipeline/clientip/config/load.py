"""TOML files → `Settings`, or every fault they hold at once.

Nothing is guessed: an unknown key, a name that is not drawn or a promise that
cannot be kept is a fault, with the sentence that says what to write instead.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import available_timezones

import msgspec
from msgspec import Struct

from clientip import __version__
from clientip.config.evidence import connects, writes_begins
from clientip.config.kafka import duration_ns, feed_of, kafka_of, shared_topics, stream_of
from clientip.config.keys import NAME_PATTERN, RESERVED, TABLES, default, keys_of
from clientip.config.place import ConfigPlace
from clientip.config.presets import with_preset
from clientip.config.promises import passed
from clientip.config.ranges import doubly_owned, ownerships, translated_of
from clientip.config.schema_check import instead, nearest
from clientip.config.suggest import bare, key_faults
from clientip.config.topology import topology_faults
from clientip.config.value_shapes import Table
from clientip.errors import ConfigError, Fault, FormatError
from clientip.formats import FORMATS
from clientip.framing.wrappers import is_relayed, names_of
from clientip.model import Endpoint, Proof, Setup, System
from clientip.settings import Geo, Joins, Limits, Settings, SystemSettings
from clientip.syntax.addresses import read_endpoint
from clientip.syntax.headers import proof_hash

_KEY_BYTES: Final = range(16, 65)  # shorter can be guessed; BLAKE2 takes no more
_BOUNDS: Final = ("tolerance", "horizon")
_PLACEHOLDER: Final = re.compile(r"\{[^}]*\}?")


class _Draft(Struct):
    """A table whose well-shaped keys are known; `broken` keys have faults already."""

    name: str
    place: ConfigPlace
    keys: dict[str, Any]
    broken: set[str]


class _Spread(NamedTuple):
    """The sound keys of a table that is no system's, and where each stands."""

    values: dict[str, Any]
    places: dict[str, ConfigPlace]
    broken: set[str]


def load(paths: Sequence[Path]) -> Settings:
    """Read files, and folders whose `*.toml` are read in the order of their names.

    Keys may be spread over files, but each stands in one of them.
    Errors: ConfigError with every fault found.
    """
    faults: list[Fault] = []
    documents = [document for path in paths for document in _documents(path, faults)]
    drafts = _systems(documents)
    if not drafts and not faults:
        faults.append(Fault(str(paths[0]) if paths else "", "systems", "no system is drawn; write [systems.NAME]"))
    limits, joins = _spread("limits", documents), _spread("joins", documents)
    geo, secrets = _spread("geo", documents), _spread("secrets", documents)
    kafka, stream = _spread("kafka", documents), _spread("stream", documents)
    key = _proof_key(secrets, drafts)
    systems = [_system(draft, key) for draft in drafts]
    tolerance, horizon = (duration_ns(joins.values.get(name, default("joins", name))) for name in _BOUNDS)
    joining = Joins(tolerance, horizon, bool(joins.values.get("holds_promises", False)))
    translated = translated_of(joins.values.get("translated"), joins.places.get("translated"))
    setups = _setups(drafts, systems, key)
    settings = [_with_log(*each, joining) for each in zip(drafts, systems, setups, strict=True)]
    _check(drafts, systems, faults)
    shared_topics((draft.name, draft.keys.get("topics", ()), draft.place.at("topics")) for draft in drafts)
    places = {name: _geo_file(geo, name) for name in keys_of("geo")}
    cluster = kafka_of(kafka.values, kafka.places, kafka.broken)
    if faults:
        raise ConfigError(faults)
    bounds = {name: limits.values.get(name, default("limits", name)) for name in keys_of("limits")}
    deciding = [_deciding(each) for each in sorted(settings, key=lambda each: each.system.name)]
    rules = _hash([__version__, deciding, joining, *translated])
    written = [(draft.name, draft.keys.get("inputs")) for draft in drafts]
    digest = _hash([rules, written, bounds, geo.values])
    place, topology = Geo(**places), _hash([deciding, joining, *translated])[:16]
    flow, each, held = stream_of(stream.values, stream.places), tuple(settings), Limits(**bounds)
    decided = Settings(each, held, joining, place, rules[:16], cluster, flow, topology, digest, key)
    return msgspec.structs.replace(decided, translated=translated)


def _documents(path: Path, faults: list[Fault]) -> Iterator[tuple[ConfigPlace, dict[str, Any]]]:
    """Each file with its parsed content, as far as it can be parsed."""
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    if not files:
        faults.append(Fault(str(path), "", "the folder holds no *.toml; give a configuration file"))
    for file in files:
        place = ConfigPlace(str(file), file.parent, "", faults)
        try:
            yield place, tomllib.loads(file.read_bytes().decode())
        except OSError as error:
            place.wrong(f"cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            place.wrong(f"is no TOML: byte {error.start} is not UTF-8")
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            place.wrong(f"is no TOML: {error}")


def _systems(documents: Iterable[tuple[ConfigPlace, dict[str, Any]]]) -> list[_Draft]:
    """Every `[systems.NAME]`, and the faults of unknown tables."""
    drafts: dict[str, _Draft] = {}
    for place, document in documents:
        for table in document:
            if table not in TABLES:
                _stray_table(table, document[table], place, drafts)
        for name, value in _as_table(document.get("systems", {}), place.at("systems")).items():
            at = place.at("systems", name)
            if name in drafts:
                at.wrong(f"is drawn in {drafts[name].place.file} too; draw a system in one place")
                continue
            if name in RESERVED or not re.fullmatch(NAME_PATTERN, name):
                at.wrong(f"cannot be a name: use letters, digits, dots and dashes, but not {_listed(RESERVED)}")
            drafts[name] = _sift(name, at, "systems", _as_table(value, at))
    return list(drafts.values())


def _stray_table(name: str, value: object, place: ConfigPlace, drafts: dict[str, _Draft]) -> None:
    """Note the fault of an unknown table at the top; if it is a system, only its name is wrong."""
    of_system = isinstance(value, dict) and not keys_of("systems").keys().isdisjoint(value)
    if not of_system or nearest(name, TABLES) is not None:
        place.at(name).wrong(f"unknown key; {instead(name, TABLES)}")
        return
    place.at(name).wrong(f"unknown key; if it is a system, write [systems.{bare(name)}]")
    drafts.setdefault(name, _sift(name, place.at(name), "systems", _as_table(value, place.at(name))))


def _spread(table: Table, documents: Iterable[tuple[ConfigPlace, dict[str, Any]]]) -> _Spread:
    """A table that may be spread over files, each key in one of them."""
    whole = _Spread({}, {}, set())
    for place, document in documents:
        if table not in document:
            continue
        at = place.at(table)
        part = _sift(table, at, table, _as_table(document[table], at))
        for name, value in part.keys.items():
            if name in whole.values:
                at.at(name).wrong(f"stands in {whole.places[name].file} too; write it once")
            whole.values[name], whole.places[name] = value, at.at(name)
        whole.broken.update(part.broken)
    return whole


def _as_table(value: object, place: ConfigPlace) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    name = "systems.NAME] for each system, with one pair of brackets" if place.key == "systems" else f"{place.key}]"
    place.wrong(f"must be a table; write [{name}")
    return {}


def _sift(name: str, place: ConfigPlace, table: Table, values: Mapping[str, object]) -> _Draft:
    """The keys that are known and have their shape; the others become faults."""
    draft = _Draft(name, place, {}, set())
    known = keys_of(table)
    for key, value in (with_preset(values) if "preset" in known else values).items():
        at = place.at(key)
        if key not in known:
            at.wrong(f"unknown key; {instead(key, known)}")
            draft.broken.add(nearest(key, known) or key)  # no second fault that says that this key is missing
            continue
        found = [Fault(place.file, *fault) for fault in key_faults(known[key], value, at.key)]
        place.faults.extend(found)
        if found:
            draft.broken.add(key)
        else:
            draft.keys[key] = value
    return draft


def _proof_key(secrets: _Spread, drafts: Iterable[_Draft]) -> bytes:
    """The key under which secrets are hashed; b"" if there is nothing to hash."""
    if "key_file" not in secrets.values:
        needing = [draft for draft in drafts if any("value_file" in row for row in draft.keys.get("proof", ()))]
        if needing and not secrets.broken:
            needing[0].place.at("proof").wrong('a secret is kept as a keyed hash; write [secrets] key_file = "…" too')
        return b""
    place = secrets.places["key_file"]
    held = place.contents(secrets.values["key_file"])
    if held is None:
        return b""
    key = held.rstrip(b"\r\n")
    if len(key) not in _KEY_BYTES:
        place.wrong(f"holds {len(key)} bytes; write 16 to 64 random ones, as from `openssl rand -base64 32`")
        return b""
    return key


def _system(draft: _Draft, key: bytes) -> System:
    """The system, as far as its keys are sound."""
    keys = draft.keys
    so_far = len(draft.place.faults)
    owns = ownerships(keys.get("addresses", ()), draft.place.at("addresses"))
    if len(draft.place.faults) > so_far:
        draft.broken.add("addresses")
    told = passed(keys.get("conveys", ()))
    return System(
        name=draft.name,
        network=keys.get("network", default("systems", "network")),
        owns=owns,
        peers=frozenset(keys.get("peers", ())),
        conveys=told.conveys,
        keeps=told.keeps,
        drops=told.drops,
        carries=tuple(keys.get("carries", ())),
        shared=keys.get("shared", False),
        proof=tuple(_proofs(keys.get("proof", ()), draft.place.at("proof"), key)),
        logs_peer=keys.get("logs_peer"),
        believes=tuple(keys.get("believes", ())),
        probes=tuple(keys.get("probes", ())),
        mints=tuple(name.lower() for name in keys.get("mints", ())),
        passes_ids=tuple(name.lower() for name in keys.get("passes_ids", ())),
        connects=connects(keys),
        translates=connects(keys) and FORMATS[keys["format"]].connections == "",
        writes_begins=writes_begins(keys),
        tells=keys.get("tells", "format" in keys and not keys["format"].startswith("otlp_")),
        lossless=keys.get("lossless", False),
        longest_ns=duration_ns(keys["longest"]) if "longest" in keys else None,
        instances=tuple(_instances(keys.get("instances", {}), draft.place.at("instances"))),
        fronts=tuple(_endpoints(keys.get("fronts", ()), draft.place.at("fronts"))),
    )


def _instances(table: Mapping[str, Sequence[str]], place: ConfigPlace) -> Iterator[tuple[str, tuple[Endpoint, ...]]]:
    for name, texts in sorted(table.items()):
        yield name, tuple(_endpoints(texts, place.at(name)))


def _endpoints(texts: Sequence[str], place: ConfigPlace) -> Iterator[Endpoint]:
    for index, text in enumerate(texts):
        try:
            yield read_endpoint(text)
        except FormatError:
            place.item(index).wrong(f'"{text}" is no address; write one like "10.244.1.5" or "10.244.1.5:8080"')


def _proofs(entries: Iterable[Mapping[str, str]], place: ConfigPlace, key: bytes) -> Iterator[Proof]:
    for index, entry in enumerate(entries):
        header = entry["header"].lower()
        if "value" in entry:
            yield Proof(header, proof_hash(key, entry["value"]))
            continue
        at = place.item(index).at("value_file")
        secret = at.contents(entry["value_file"])
        if secret is not None and not secret.strip():
            at.wrong("the file is empty; write the header's value into it")
        elif secret is not None:
            yield Proof(header, proof_hash(key, secret.decode("utf-8", "backslashreplace").rstrip("\r\n")))


def _setups(drafts: Sequence[_Draft], systems: Sequence[System], key: bytes) -> Iterator[Setup | None]:
    """How each system writes its log. All readers keep the headers that any system conveys or proves."""
    conveyed = frozenset(promise.source for system in systems for promise in system.conveys) - {"proxy"}
    proving = frozenset(proof.header for system in systems for proof in system.proof)
    for draft in drafts:
        setup = _setup(draft, conveyed, proving, key)
        if setup is not None:
            _unfit(setup, draft)
            _compile(setup, draft)
        yield setup


def _setup(draft: _Draft, conveyed: frozenset[str], proving: frozenset[str], key: bytes) -> Setup | None:
    keys, place = draft.keys, draft.place
    if "format" not in keys:
        idle = [row.name for row in keys_of("systems").values() if row.of_log and row.name in keys]
        for name in idle if "format" not in draft.broken else ():
            place.at(name).wrong("says how a log is read, but the system has none; write its `format`")
        return None
    if keys["format"] not in FORMATS:
        place.at("format").wrong(f'unknown format "{keys["format"]}"; {instead(keys["format"], FORMATS)}')
        return None
    return Setup(
        system=draft.name,
        format=keys["format"],
        network=keys.get("network", default("systems", "network")),
        pattern=keys.get("pattern"),
        escape=keys.get("escape"),
        logs_peer=keys.get("logs_peer"),
        timezone=_timezone(draft),
        max_skew_ns=duration_ns(keys.get("max_skew", default("systems", "max_skew"))),
        stamped_within_ns=duration_ns(keys["stamped_within"]) if "stamped_within" in keys else None,
        retries=keys.get("retries", default("systems", "retries")),
        captures=tuple(keys.get("captures", ())),
        trace_fields=tuple(keys.get("trace_fields", ())),
        mints=tuple(name.lower() for name in keys.get("mints", ())),
        passes_ids=tuple(name.lower() for name in keys.get("passes_ids", ())),
        appends_before_log=keys.get("appends_before_log", False),
        relayed=is_relayed(names_of(keys.get("wrapper", ()))),
        drops_underscores=keys.get("drops_underscores"),
        claim_headers=conveyed,
        proof_headers=proving,
        proof_key=key,
        options=tuple(sorted(keys.get("options", {}).items())),
    )


def _timezone(draft: _Draft) -> str | None:
    zone: str | None = draft.keys.get("timezone")
    if zone is not None and zone not in available_timezones():
        near = instead(zone, available_timezones())
        mend = near if near.startswith("did") else 'write a name like "Europe/Berlin"'
        draft.place.at("timezone").wrong(f'"{zone}" is no IANA time zone; {mend}')
        draft.broken.add("timezone")
    return zone


def _unfit(setup: Setup, draft: _Draft) -> None:
    """Keys that this format has no use for, or other words for."""
    row = FORMATS[setup.format]
    if row.pattern == "none" and setup.pattern is not None:
        draft.place.at("pattern").wrong(f"{row.name} is always written alike; take it out")
        draft.broken.add("pattern")
    possible = row.logs_peer or ("socket",)
    if setup.logs_peer is not None and setup.logs_peer not in possible:
        words = " or ".join(f'"{word}"' for word in possible)
        draft.place.at("logs_peer").wrong(f"{row.name} cannot log that; write {words}")
        draft.broken.add("logs_peer")


def _compile(setup: Setup, draft: _Draft) -> None:
    """The format's own faults: a missing zone, a pattern it cannot read."""
    try:
        FORMATS[setup.format].compile(setup)
    except ConfigError as error:
        for fault in error.faults:
            if fault.key.partition(".")[0] not in draft.broken:
                draft.place.at(fault.key).wrong(fault.text)


def _with_log(draft: _Draft, system: System, setup: Setup | None, joins: Joins) -> SystemSettings:
    written = draft.keys.get("inputs", ())
    for index, pattern in enumerate(written):
        names = _PLACEHOLDER.findall(pattern)
        if names not in ([], ["{instance}"]):
            draft.place.at("inputs").item(index).wrong("may hold one {instance} and no other braces")
    inputs, server = (draft.place.paths(draft.keys.get(key, ())) for key in ("inputs", "server_config"))
    feed, drops = feed_of(draft.keys, joins.horizon_ns), draft.keys.get("drops_underscores", False)
    wrappers, preset = names_of(draft.keys.get("wrapper", ())), draft.keys.get("preset", "")
    return SystemSettings(system, setup, inputs, wrappers, feed, drops, preset, server)


def _check(drafts: Sequence[_Draft], systems: Sequence[System], faults: list[Fault]) -> None:
    """Note faults of the topology as a whole, but none that only follow from others."""
    by_name = {draft.name: draft for draft in drafts}
    logging = {draft.name for draft in drafts if "format" in draft.keys or "format" in draft.broken}
    for name, keys, text in topology_faults(systems, logging):
        draft = by_name[name]
        if draft.broken.isdisjoint(keys):
            draft.place.at(keys[0]).wrong(text)
    # A proxy on a node's own network has the node's address too: the node's NAT log tells whose connection it was.
    owners = ((each.name, each.network, own) for each in systems if not each.translates for own in each.owns)
    for name, other, own in doubly_owned(owners):
        by_name[name].place.at("addresses").wrong(
            f'{own.text} is "{other}"\'s at the same time; give it to one of them, or to each in its own `network`'
        )


def _geo_file(geo: _Spread, name: str) -> str | None:
    if name not in geo.values:
        return None
    path = geo.places[name].folder / geo.values[name]
    if not path.is_file():
        geo.places[name].wrong(f"cannot read {path}; give the path of a MaxMind database")
    return str(path)


def _deciding(each: SystemSettings) -> list[object]:
    """The parts of a system that decide about its records: neither the places of files nor the key itself."""
    setup = None if each.setup is None else msgspec.structs.replace(each.setup, proof_key=b"")
    system = msgspec.structs.replace(each.system, owns=tuple(sorted(each.system.owns, key=msgspec.json.encode)))
    return [system, setup, each.wrapper, bool(each.inputs)]


def _hash(content: object) -> str:
    return sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def _listed(words: Iterable[str]) -> str:
    return " or ".join(f'"{word}"' for word in sorted(words))
