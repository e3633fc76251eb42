"""The tables of the configuration about Kafka and the stream → settings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from clientip.config.keys import default
from clientip.config.place import ConfigPlace
from clientip.settings import Feed, Kafka, Stream

_UNITS: Final = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_FILES: Final = ("ca_file", "cert_file", "key_file", "password_file")
_OF_TLS: Final = ("ca_file", "cert_file", "key_file")
_TOGETHER: Final = (("cert_file", "key_file"), ("sasl", "user"), ("sasl", "password_file"))


def duration_ns(text: str) -> int:
    """A duration of the configuration in ns.

    >>> duration_ns("50ms")
    50000000
    """
    digits = text.rstrip("numsh")
    return int(digits) * _UNITS[text[len(digits) :]]


def kafka_of(values: Mapping[str, Any], places: Mapping[str, ConfigPlace], broken: Collection[str]) -> Kafka | None:
    """`[kafka]`; None if it is not written. Faults: a file that cannot be read, a key without its other half."""
    if not values:
        return None
    if not values.get("brokers") and "brokers" not in broken:
        place = next(iter(places.values()))
        place._replace(key="kafka.brokers").wrong('is missing; write it like brokers = ["kafka-1:9092"]')
    for one, other in (*_TOGETHER, *((b, a) for a, b in _TOGETHER)):
        if one in values and other not in values and other not in broken:
            places[one].wrong(f"needs `{other}` beside it; write both, or neither")
    for name in _OF_TLS if values.get("tls") is False else ():
        if name in values:
            places[name].wrong("is for TLS, and `tls` is false; take one of them out")
    paths = {}
    for name in _FILES:
        if name in values:
            path = places[name].folder / values[name]
            if not path.is_file():
                places[name].wrong(f"cannot read {path}; give the path of a file, relative to this one")
            paths[name] = str(path.absolute())
    tls = values.get("tls", bool(paths) or "sasl" in values)
    return Kafka(
        tuple(values.get("brokers", ())),
        values.get("prefix", default("kafka", "prefix")),
        values.get("generation", default("kafka", "generation")),
        tls,
        sasl=values.get("sasl"),
        user=values.get("user"),
        **paths,
    )


def stream_of(values: Mapping[str, Any], places: Mapping[str, ConfigPlace]) -> Stream:
    """`[stream]`."""

    def of(name: str) -> Any:
        return values.get(name, default("stream", name))

    spool = str((places["spool"].folder / values["spool"]).absolute()) if "spool" in values else None
    commit, lines, partitions = duration_ns(of("commit")), of("batch_lines"), of("join_partitions")
    return Stream(commit, lines, partitions, of("replication"), of("memory"), spool, of("output"))


def feed_of(keys: Mapping[str, Any], horizon_ns: int) -> Feed | None:
    """How a system's lines come through Kafka; None: they do not."""
    if not keys.get("topics"):
        return None
    return Feed(
        tuple(keys["topics"]),
        keys.get("messages", default("systems", "messages")),
        keys.get("instance_by"),
        duration_ns(keys.get("arrives_within", default("systems", "arrives_within"))),
        duration_ns(keys["longest"]) if "longest" in keys else horizon_ns,
        "longest" in keys,
    )


def shared_topics(feeds: Iterable[tuple[str, tuple[str, ...], ConfigPlace]]) -> None:
    """Note a fault at each topic that is named a second time."""
    owner: dict[str, str] = {}
    for system, topics, place in feeds:
        for index, topic in enumerate(topics):
            if owner.get(topic, system) != system:
                place.item(index).wrong(f'"{topic}" is "{owner[topic]}"\'s; a topic holds the log of one system')
            elif topic in owner:
                place.item(index).wrong(f'"{topic}" stands here twice; write it once')
            owner.setdefault(topic, system)
