"""What every field of our rows means: for `schemas/`, and so for the readers of the rows.

Rule for editors: a field of a row is one line here (`tests/test_schemas.py`). A field may be absent unless the schema
requires it; absent means that nothing said it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_LINE: Final = {
    "schema": "The version of the contract: `clientip/1`.",
    "system": "Whose log the line stands in.",
    "rules": "16 hex digits: a digest of the configuration and of the program version that decided.",
    "raw": "The line or message as text.",
    "raw_base64": "The line or message in base64, in place of `raw` where it is not UTF-8.",
    "offset": "Bytes before the line in the uncompressed input; of a line from Kafka, the offset of its message.",
    "index": "Which one, counted from 0, where one line or message holds several.",
}

_ADDED: Final = {
    "schema": _LINE["schema"],
    "record_id": "32 hex digits from the system, the place and the bytes of the line: writing twice is writing once.",
    "verdict": "How the client is known.",
    "entry": "True if no system nearer to the client has a log here: count these to count a request once.",
    "rules": _LINE["rules"],
    "path": "The addresses walked, from the peer to the client.",
    "client": "The client; only with `seen`, `vouched` and `joined`.",
    "method": "What gave the client: `socket`, `proxy_v2`, a header, `conntrack`, `connection_log` …",
    "reason": "Why no client is named; only with `unknown`.",
    "peer": "The far end of the system's own socket, where the log shows it.",
    "claims": "Headers, or parts of them, that no system on the path vouched for: anyone can have written them.",
    "findings": "Contradictions and attacks noticed; they explain, and change no verdict.",
    "geo": "City, country and position of the client, from the configured databases.",
    "as": "Autonomous system of the client, from the configured database.",
    "candidates": "Clients that fit and are not proved: for people to look at, never for a ban.",
}

MEANINGS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "Enrichment": _ADDED,
        "RecordRow": {
            **_ADDED,
            "system": _LINE["system"],
            "format": "How that log is written.",
            "kind": "`request` or `span`; with `--facts` also `connection` and `translation`.",
            "network": "The space in which the addresses of the line are unique.",
            "origin": "Where the line stands.",
            "instance": "Which process of the system wrote the line.",
            "times": "When the request was.",
            "local": "The near end of the system's own socket.",
            "stated": "The address that the server logged in the place of its peer, as PROXY or realip said.",
            "upstream_local": "The near end of the connection to the next hop.",
            "upstream_peer": "The far end of the connection to the next hop.",
            "ids": "Ids of the request; the sender may have chosen them.",
            "http": "What the line says of the request itself.",
        },
        "RejectedRow": {
            **_LINE,
            "reason": "Why no record came of the line.",
            "file": "Fingerprint of the input.",
            "at": "The byte of the line's text at which it stopped fitting.",
            "detail": "Which field, or which check, where one word says more.",
        },
        "DeadRow": {
            **{name: text for name, text in _LINE.items() if name not in ("rules", "index")},
            "reason": "Why the message could not be cut into lines.",
            "topic": "The raw topic.",
            "partition": "Its partition.",
        },
        "FindingRow": {
            "schema": _LINE["schema"],
            "id": "The same for the same finding of the same record: a consumer may keep one of each.",
            "kind": "The finding.",
            "system": "Whose line it was noticed on.",
            "record_id": "The record it was noticed on; absent where `count` is given.",
            "count": "So many more of this kind in the batch, which have no message of their own.",
        },
        "CountsRow": {
            "schema": _LINE["schema"],
            "upto_ms": "When the youngest raw line among them was appended, in ms since the Unix epoch.",
            "clients": "Pairs of a client's address and its new records with `entry`: add them up.",
        },
        "Socket": {"ip": "The address, canonical (RFC 5952).", "port": "The port; absent where nothing said it."},
        "Step": {
            "system": "The system that owns the address; null if none does.",
            "address": "The address; null if the socket was not logged.",
            "port": "The port; null if nothing said it.",
            "by": "What named the address: `socket`, `proxy_v1`, `proxy_v2`, `realip`, `config`, or a header.",
            "evidence": "`seen` on a socket, `vouched` by a system, `stated` by the server, `config`, or `joined`.",
            "record": "Joined steps: the record id of the line that told it.",
        },
        "Unbelieved": {"header": "The header's name, in lower case.", "value": "What it said."},
        "CandidateRow": {
            "ip": "The address.",
            "port": "The port; null if nothing said it.",
            "method": "What names it: `trace`, `request_id`, `connection_log` …",
            "record": "The record id of the line that names it.",
        },
        "Origin": {
            "file": "Fingerprint of the input, or Kafka topic id and partition.",
            "offset": _LINE["offset"],
            "index": _LINE["index"],
        },
        "Times": {
            "by": "Whose stamp it is: the line's `own`, its `wrapper`'s, or of its `arrival`.",
            "start_earliest": "The request began then or later: ns since the Unix epoch, as text.",
            "start_latest": "The request began then or earlier: ns since the Unix epoch, as text.",
            "end": "The request ended then: ns since the Unix epoch, as text.",
        },
        "IdsRow": {
            "trace": "Trace id, 32 hex digits.",
            "span": "Span id, 16 hex digits.",
            "parent": "Id of the span that called, 16 hex digits.",
            "scheme": "The propagation format of the trace id.",
            "requests": "Request ids.",
        },
        "RequestId": {"scheme": "The header or field that held the id.", "value": "The id."},
        "Http": {
            "method": "The method.",
            "target": "Path and query, as logged.",
            "host": "The host asked for.",
            "protocol": "The protocol, such as `HTTP/1.1`.",
            "status": "The status code of the answer.",
            "user_agent": "User-Agent, as logged.",
            "referer": "Referer, as logged.",
            "request_bytes": "Bytes of the request.",
            "response_bytes": "Bytes of the answer.",
            "duration_ns": "From begin to end, in ns.",
        },
    }
)
