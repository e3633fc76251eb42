"""Every key of the configuration: its shape, default, meaning and an example.

Unknown keys, faults of type, `clientip help config` and the JSON Schema are all
made from `KEYS`, so they cannot tell different stories.

Rule for editors: a key is one row here and is read in one place in `config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from clientip.config.join_keys import OF_JOINS
from clientip.config.presets import PRESETS
from clientip.config.stream_keys import OF_STREAM, OF_SYSTEMS
from clientip.config.value_shapes import (
    ADDRESSES,
    CONVEYS,
    DURATION,
    FLAG,
    HEADER,
    INSTANCES,
    NAMES,
    PROOF,
    TEXT,
    TEXTS,
    WRAPPER,
    Key,
    Table,
    promised,
    proved,
)

OUTSIDE: Final = "outside"
INTERNAL: Final = "internal"
RESERVED: Final = frozenset({OUTSIDE, INTERNAL})  # words of `peers`, so no system may be called so


KEYS: Final = (
    Key(
        "systems",
        "format",
        TEXT,
        "How the system writes its log; `clientip help formats` lists them. Left out: it writes none.",
        '"traefik_json"',
    ),
    Key(
        "systems",
        "pattern",
        TEXT,
        "The server's own log format string, for formats that are compiled from it.",
        "'$remote_addr - $remote_user [$time_local] \"$request\" $status'",
        of_log=True,
    ),
    Key(
        "systems",
        "escape",
        {"type": "string", "enum": ["default", "json", "none"]},
        "The `escape=` of an nginx log_format.",
        '"json"',
        of_log=True,
    ),
    Key(
        "systems",
        "inputs",
        TEXTS,
        "Files of its log, as patterns relative to this file; `{instance}` stands for the name of a process.",
        '["traefik/{instance}/*.log.gz"]',
        of_log=True,
    ),
    Key(
        "systems",
        "wrapper",
        {"anyOf": [WRAPPER, {"type": "array", "items": WRAPPER}]},
        "What a shipper or runtime wrapped round each line, outermost first.",
        '["docker"]',
        of_log=True,
    ),
    Key(
        "systems",
        "addresses",
        ADDRESSES,
        "The ends of its connections to the next hop. No other system may send from there, or it is `shared`.",
        '["10.0.0.10", { range = "10.1.0.0/24", from = 2025-01-01T00:00:00Z }, { file = "cdn.txt" }]',
    ),
    Key(
        "systems",
        "network",
        TEXT,
        "The space in which its addresses are unique: a VPC, a cluster's pod network, the world.",
        '"default"',
        default="default",
    ),
    Key(
        "systems",
        "peers",
        NAMES,
        'Who may connect to it: systems, "outside", "internal". No default: silence is never "outside".',
        '["nlb", "internal"]',
    ),
    Key(
        "systems",
        "conveys",
        CONVEYS,
        "What it promises to tell the next hop of its own peer, for every request. Mode `keep`: a header that passes "
        "as it came, which tells nothing of its peer; `drops`: one that never passes. `clientip help presets` has the "
        "rows of common products.",
        '["proxy", { header = "x-forwarded-for", mode = "append" }]',
        meant=promised,
    ),
    Key(
        "systems",
        "preset",
        {"type": "string", "enum": [each.name for each in PRESETS]},
        "The product that it is, under one of its settings: stands for the keys that `clientip help presets` shows "
        "for this word; what the system writes itself counts more.",
        '"traefik"',
    ),
    Key(
        "systems",
        "carries",
        NAMES,
        "Systems whose bytes it passes through while it hides their addresses (NAT, layer 4).",
        '["nlb"]',
    ),
    Key(
        "systems",
        "shared",
        FLAG,
        "Strangers send from its addresses, too (CDN, pod network): its word for its peer counts only with a `proof`.",
        "true",
    ),
    Key(
        "systems",
        "proof",
        PROOF,
        "Headers that only the real owner of a shared range can have written; secrets stand in files.",
        '[{ header = "x-origin-secret", value_file = "origin.secret" }]',
        meant=proved,
    ),
    Key(
        "systems",
        "drops_underscores",
        FLAG,
        "Its server drops headers whose names hold an underscore. Default: true for nginx, whose "
        "`underscores_in_headers` is off; false for what cannot tell `_` from `-` (OTLP with underscores, "
        "`clientip.wsgi`): then no header there vouches or proves.",
        "true",
    ),
    Key(
        "systems",
        "logs_peer",
        {"type": "string", "enum": ["socket", "proxy", "realip"]},
        "What the address it logs and passes on is: its socket's far end, or what PROXY or realip put in its place.",
        '"socket"',
    ),
    Key(
        "systems",
        "believes",
        NAMES,
        "From which systems it accepts the PROXY header or realip's header; must all be in `peers`.",
        '["nlb"]',
    ),
    Key(
        "systems",
        "probes",
        {"type": "array", "items": {"type": "string", "pattern": "^/", "description": 'a path like "/healthz"'}},
        "Paths of health checks; they count where the header that the sender promises has a column and is empty.",
        '["/healthz"]',
        of_log=True,
    ),
    Key(
        "systems",
        "timezone",
        TEXT,
        "IANA name of the zone of stamps that do not say theirs.",
        '"Europe/Berlin"',
        of_log=True,
    ),
    Key(
        "systems",
        "max_skew",
        DURATION,
        "How far its clock may be off, either way.",
        '"50ms"',
        default="0ms",
        of_log=True,
    ),
    Key(
        "systems",
        "stamped_within",
        DURATION,
        "How long after an event its line is stamped at most, where stamps are those of receipt (`conntrack -E`, "
        "ulogd). No default: without it such a line only says that a flow had begun.",
        '"200ms"',
        of_log=True,
    ),
    Key(
        "systems",
        "retries",
        FLAG,
        "It may send a request again after a server may have read it: `retry-on` beyond connection failures, hedging, "
        "mirroring. While true, a log of requests that does not show tries is no evidence of connections.",
        "false",
        default=True,
        of_log=True,
    ),
    Key(
        "systems",
        "captures",
        TEXTS,
        "Names of the headers HAProxy captures, in the order of the configuration.",
        '["x-forwarded-for"]',
        of_log=True,
    ),
    Key(
        "systems",
        "appends_before_log",
        FLAG,
        "It logs X-Forwarded-For after adding its own peer to it.",
        "true",
        of_log=True,
    ),
    Key(
        "systems",
        "trace_fields",
        TEXTS,
        "Further fields of its log that hold a trace id.",
        '["correlation_id"]',
        of_log=True,
    ),
    Key(
        "systems",
        "mints",
        {"type": "array", "items": HEADER},
        "Id headers that it always overwrites with an id of its own, whatever came from outside. Its log must show the "
        "id as it goes on; `clientip help formats` says which columns do.",
        '["x-request-id"]',
        of_log=True,
    ),
    Key(
        "systems",
        "passes_ids",
        {"type": "array", "items": HEADER},
        "Your word for the ids that it sends on: of each of these headers exactly one line, with the id that its log "
        "shows, and of all other headers in which ids travel (b3, X-Request-ID, X-Amzn-Trace-Id …) none.",
        '["traceparent"]',
        of_log=True,
    ),
    Key(
        "systems",
        "tells",
        FLAG,
        "Its log may answer for the records of other systems. Default: true, but false for spans and logs over OTLP.",
        "true",
        of_log=True,
    ),
    Key(
        "systems",
        "lossless",
        FLAG,
        "Your word that no line of its log goes missing: then what it does not tell did not happen. "
        "`clientip help lossless` says what breaks it.",
        "true",
        of_log=True,
    ),
    Key(
        "systems",
        "server_config",
        TEXTS,
        "Files of its server's own configuration, as patterns relative to this file. Only `check` reads them, for what "
        "breaks `lossless`; what they include is read if it is listed. HAProxy, nginx, Apache, Envoy, Traefik, Caddy.",
        '["/etc/haproxy/haproxy.cfg"]',
        of_log=True,
    ),
    Key(
        "systems",
        "instances",
        INSTANCES,
        "Its processes by name and their own addresses, with the port where they listen; see `{instance}` in `inputs`.",
        '{ pod-1 = ["10.244.1.5:8080"], pod-2 = ["10.244.2.5:8080"] }',
    ),
    Key(
        "systems",
        "fronts",
        TEXTS,
        "Addresses that a translator leads to where it listens, such as its NodePort on every node; "
        "a connection that another log shows to any other address is not one of its own.",
        '["10.1.0.11:30080", "10.1.0.12:30080"]',
        of_log=True,
    ),
    Key(
        "systems",
        "options",
        {"type": "object", "additionalProperties": {"type": "string"}, "description": "a table of strings"},
        "What only this format knows; `clientip help formats` lists it.",
        "{}",
        of_log=True,
    ),
    *OF_SYSTEMS,
    Key(
        "limits",
        "line_bytes",
        {"type": "integer", "minimum": 256},
        "Bytes of the longest line; a longer one is rejected, not cut.",
        "1048576",
        default=1_048_576,
    ),
    *OF_JOINS,
    Key(
        "geo",
        "city",
        TEXT,
        "A MaxMind city database, for the client's place.",
        '"GeoLite2-City.mmdb"',
    ),
    Key(
        "geo",
        "country",
        TEXT,
        "A MaxMind country database, where there is no city database.",
        '"GeoLite2-Country.mmdb"',
    ),
    Key(
        "geo",
        "asn",
        TEXT,
        "A MaxMind ASN database, for the client's network operator.",
        '"GeoLite2-ASN.mmdb"',
    ),
    Key(
        "secrets",
        "key_file",
        TEXT,
        "A file of 16 to 64 bytes: the key under which secret headers are hashed when they are read.",
        '"clientip.key"',
    ),
    *OF_STREAM,
)

TABLES: Final[Mapping[Table, str]] = MappingProxyType(
    {
        "systems": "One deployed thing: a balancer, the nodes, an ingress, an application.",
        "limits": "Bounds that keep hostile input cheap.",
        "joins": "How lines of different logs are held together.",
        "geo": "Databases that place the client.",
        "secrets": "Secrets, never written here but in files.",
        "kafka": "The cluster of a stream.",
        "stream": "How a stream works; nothing here changes an answer.",
    }
)
_BY_TABLE: Final[Mapping[str, Mapping[str, Key]]] = MappingProxyType(
    {table: {key.name: key for key in KEYS if key.table == table} for table in TABLES}
)


def keys_of(table: Table) -> Mapping[str, Key]:
    """The keys of a table by name, in the order they are explained."""
    return _BY_TABLE[table]


def default(table: Table, name: str) -> Any:
    """The value of a key that is left out."""
    return _BY_TABLE[table][name].default


def config_schema() -> dict[str, object]:
    """The JSON Schema of a configuration file, for editors and other checks."""
    tables = {table: _table_schema(table) for table in TABLES}
    systems = {
        "type": "object",
        "description": "Systems by name.",
        "propertyNames": {"pattern": NAME_PATTERN, "not": {"enum": sorted(RESERVED)}},
        "additionalProperties": tables["systems"],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "clientip configuration",
        "type": "object",
        "properties": {**tables, "systems": systems},
        "additionalProperties": False,
    }


NAME_PATTERN: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$"


def _table_schema(table: Table) -> dict[str, object]:
    properties = {}
    for key in keys_of(table).values():
        default = {} if key.default is None else {"default": key.default}
        properties[key.name] = {**key.shape, "description": key.meaning, **default}
    return {"type": "object", "description": TABLES[table], "properties": properties, "additionalProperties": False}
