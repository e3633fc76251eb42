"""Every word a record, a rejected line or a skipped line may carry, and what would help.

Closed lists: a word that is not here is a defect (`tests/test_reasons.py`).
`clientip help reasons` prints these tables.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, NamedTuple


class Reason(NamedTuple):
    """What a word means and the one change that would help most."""

    meaning: str
    remedy: str


VERDICTS: Final = MappingProxyType(
    {
        "seen": Reason("the system's own socket met an outside address: the client", ""),
        "vouched": Reason("every system on the path said who its own peer was, one by one", ""),
        "joined": Reason("at least one step came from another log by an exact fact, whose record the step names", ""),
        "internal": Reason(
            "the walk ended at a workload or a health check: no client from outside, and none named", ""
        ),
        "unknown": Reason("no client is named; the record's `reason` says why", ""),
    }
)

UNKNOWN: Final = MappingProxyType(
    {
        "peer_unlisted": Reason(
            "the walk met an address that no system owns and that may not be a client here",
            "list the address in the `addresses` of its system, "
            'or add "outside" or "internal" to `peers` of the system before it',
        ),
        "translated_address": Reason(
            "the walk ended at an address that no system owns and that a NAT log translates to: a node, never a client",
            "list it in the `addresses` of the system that translates to it; `clientip check` names it",
        ),
        "unexpected_neighbour": Reason(
            "the address belongs to a system that is not in `peers` of the system before it",
            "add that system to `peers` if the connection is meant; otherwise a client goes round a hop",
        ),
        "owner_unproved": Reason(
            "the address lies in a range shared with strangers, and nothing proves that the system itself sent it",
            "log a header only the real owner can write and name it in `proof`",
        ),
        "header_missing": Reason(
            "the hop promises a header for every request, and the log shows none (left) for it",
            "name paths of health checks in `probes`; "
            "check that the hop always writes the header, and that the log keeps it",
        ),
        "header_not_logged": Reason(
            "the hop promises a header that this log has no column for",
            "add the header to the log format; `clientip help formats` shows how",
        ),
        "header_incomplete": Reason(
            "the log shows only a part of the header; its trustworthy right end may be missing",
            "log all lines of the header at full length, and not as the last column unless in quotes",
        ),
        "header_twin": Reason(
            "the log cannot tell the header from one with underscores in its name, which any client can send",
            "let the server drop such names, and then write drops_underscores = true",
        ),
        "header_unreadable": Reason(
            "the entry written by the trusted hop is no usable address",
            "see the claim; a hop anonymises or writes a broken header",
        ),
        "proxy_missing": Reason(
            "the hop promises a PROXY header, and the log shows none",
            "log the PROXY source address, or set `logs_peer` if the logged peer already is it",
        ),
        "contradiction": Reason(
            "two pieces of evidence that must agree name different clients",
            "see the findings: one hop is set up otherwise than configured, or a header is forged",
        ),
        "ambiguous": Reason(
            "the address belongs to several systems that would not vouch alike, or several clients fit",
            "give the systems distinct addresses, dates or networks; log ports, connection numbers and finer times",
        ),
        "peer_not_logged": Reason(
            "the line shows neither the socket's far end nor a statement of it",
            "add the peer address to the log format",
        ),
        "not_believed": Reason(
            "the logged address was replaced before logging, by a header accepted from more than the configured peers",
            "narrow the system's own trusted list, or name in `believes` only systems that are in `peers`",
        ),
        "source_unproved": Reason(
            "the server replaced its peer by what a header says that came through a hop whose log knows each "
            "connection, and the line does not show which one it was: a client who goes round the balancer writes it",
            "log the socket's far end with its port, too; where the server cannot, let the balancer connect to it "
            "directly, or leave out the `inputs` of the hop that carries, if only the balancer can reach its ports",
        ),
        "snat_no_witness": Reason(
            "the hop hides its peer and conveys nothing; only another log could tell",
            "let the hop send a PROXY header or an HTTP header, or collect its NAT events or connection log",
        ),
        "evidence_missing": Reason(
            "the hop's own log is complete for this moment and shows no such connection or id",
            "find out what else sends from the hop's address, and whether its log shows both ports; if a translator "
            "stands before this server, list in `fronts` the addresses that lead to it",
        ),
        "evidence_incomplete": Reason(
            "what another log shows is not enough to exclude every other client",
            "collect numbered events (`clientip collect conntrack`), or write lossless = true if no line of it is lost",
        ),
        "events_lost": Reason(
            "lines of the log that would know are missing around this moment",
            "see the collector's losses: it needs a larger receive buffer, or a shipper that drops nothing; "
            "see the rejected lines: each leaves such a gap, so mend `pattern` or raise a limit",
        ),
        "id_unproved": Reason(
            "another log shows a request with this id, but a client can have sent the id himself",
            "let that hop overwrite the header that this log shows and name it in `mints`, or pass one line of it and "
            "no other id header, and name it in `passes_ids`",
        ),
        "crowded": Reason(
            "too many lines share the id or the connection at this moment to hold them apart",
            "a client repeats an id: let the first hop always overwrite it, and name it in `mints`",
        ),
        "multiplexed": Reason(
            "the hop's connection carried several clients at once (HTTP/2 or HTTP/3 between hops)",
            "let the hop always write its own request id (`mints`) or a forwarding header",
        ),
        "no_time": Reason(
            "the line does not say when the request was, so it cannot be compared with another log",
            "log the start of the request, or its end and its duration",
        ),
        "port_not_logged": Reason(
            "another log knows the connection, but this one shows no port of the peer",
            "add the peer's port to the log format; `clientip help formats` shows how",
        ),
        "too_many_steps": Reason(
            "the walk passed the bound of steps without an end",
            "look for a loop in `peers` and `carries` of the systems",
        ),
        "too_late": Reason(
            "the line came so late that what could answer it was already forgotten",
            "raise `arrives_within` of its system, or find what delays its log",
        ),
        "source_silent": Reason(
            "a system whose log could tell has sent nothing while the line waited",
            "check that its lines still come; raise its `arrives_within` if they come later than that",
        ),
        "overload": Reason(
            "too much waited at once, and the line that had waited longest was given up",
            "raise `stream.memory`, or start more answerers",
        ),
        "time_implausible": Reason(
            "the line's time lies far ahead of the time it arrived",
            "set the clock of the machine that writes the log, or its `timezone`",
        ),
    }
)

# What a stream may give where a replay, which waits for everything, knows the client.
WAITING: Final = frozenset(
    {
        "too_late",
        "source_silent",
        "overload",
        "time_implausible",
        "crowded",
        "evidence_missing",
        "evidence_incomplete",
        "events_lost",
        "id_unproved",
    }
)

# What says that the configuration does not fit its logs: a replay ends with 1, and a stream raises an alarm.
BROKEN: Final = frozenset(
    {
        "bound_broken",
        "longest_broken",
        "names_looked_up",
        "promise_broken",
        "stamps_unbounded",
        "translated_undrawn",
    }
)

REJECTED: Final = MappingProxyType(
    {
        "too_long": Reason(
            "the line is longer than `limits.line_bytes`, or the message or batch than any may be",
            "raise the limit, or find what writes such lines",
        ),
        "too_many_lines": Reason(
            "one message holds more lines than any may hold", "let the shipper send smaller batches"
        ),
        "empty_message": Reason("a wrapper holds no message", "check the shipper"),
        "wrapper": Reason("the wrapper (CRI, syslog, envelope) is not as configured", "check `wrapper`"),
        "no_match": Reason(
            "the line does not have the shape of the format",
            "check `format` and `pattern`, and `wrapper` if something wrapped it; `at` shows where it stops fitting",
        ),
        "two_readings": Reason(
            "the line can be read in more than one way, as after log injection",
            "log JSON, or escape the client's fields; if every line does it, check `pattern`",
        ),
        "json": Reason("the line is no JSON", "check `format`, and `wrapper` if something wrapped it"),
        "json_not_object": Reason("the line is JSON but no object", "check `format`"),
        "json_repeated_key": Reason(
            "a key stands twice, so the line has two readings", "look for injection in hand-made JSON log formats"
        ),
        "json_too_deep": Reason("JSON nested deeper than the limit", "find what writes such lines"),
        "protobuf": Reason("the bytes are no OTLP message", "check `format`"),
        "field_missing": Reason(
            "a field the format always writes is absent", "check `format`; `detail` names the field"
        ),
        "address": Reason("an address column holds no address", "check `format` and `pattern`"),
        "port": Reason("a port column holds no port", "check `format` and `pattern`"),
        "time": Reason("the time stamp cannot be read", "check `format` and `pattern`"),
        "stamps_unbounded": Reason(
            "an older collector's stamps are those of reading, and nothing bounds how far they trail",
            "update the collector, or write `stamped_within` for its system",
        ),
        "number": Reason("a numeric field is no number", "check `format` and `pattern`"),
        "truncated": Reason(
            "the line or message may be only a part: it ends before its format does, lacks its line end, or was cut",
            "raise the writer's line length; end the pattern with a constant, or log JSON",
        ),
        "lines_lost": Reason(
            "the server's own line that says that lines are missing: it could not write them, or a process died",
            "mend what it names, such as a full disk; around this line `lossless` proves nothing",
        ),
        "too_many_parts": Reason("a line in parts grew past `limits.line_bytes`", "raise the limit"),
    }
)

SKIPPED: Final = MappingProxyType(
    {
        "blank": Reason("nothing but white space", ""),
        "inner_span": Reason("a span that is not of kind SERVER", ""),
        "no_request": Reason("a log line of the same stream that is not about a request", ""),
        "out_of_range": Reason("outside the time range asked for", ""),
    }
)

FINDINGS: Final = MappingProxyType(
    {
        "header_from_outside": Reason(
            "a forwarding header came from an address no system owns", "forged, or an unlisted proxy of the client"
        ),
        "forwarded_disagrees": Reason(
            "Forwarded and X-Forwarded-For name different addresses for the same hop",
            "a hop writes one of them and passes the other through",
        ),
        "proxy_disagrees": Reason(
            "the PROXY source and the header of the same hop differ", "a hop is set up otherwise than configured"
        ),
        "header_disagrees": Reason(
            "a single-address header differs from the client found", "forged, or set by a hop that is not configured"
        ),
        "promised_header_missing": Reason(
            "a hop that always writes a header did not",
            "the header was stripped (Connection: X-Forwarded-For), or the client went round the hop",
        ),
        "unexpected_neighbour": Reason(
            "a system connected to another that does not list it in `peers`", "a client goes round a hop"
        ),
        "proof_missing": Reason(
            "a shared range without the proving header", "a stranger in the same range, or the proof is not logged"
        ),
        "proxy_injection": Reason("the request line starts with `PROXY `", "a client tries to inject a PROXY header"),
        "reached_around": Reason(
            "a connection through a hop that should only pass on others came from elsewhere",
            "a client goes round the balancer: close the ports to all others",
        ),
        "hop_listed_twice": Reason("the same address stands twice on the path", "look for a loop between the hops"),
        "trace_ids_disagree": Reason("two propagation headers name different traces", "the client sent one of them"),
        "several_values": Reason("a header that must be single came several times", "the client sent one of them"),
        "time_implausible": Reason(
            "the line's time lies far ahead of the time it arrived",
            "a clock or `timezone` is wrong, or the sender made the time up",
        ),
        "bound_broken": Reason(
            "a request came just before the connection that must have carried it: two stamps of one event lie further "
            "apart than `max_skew`, `stamped_within` and `tolerance` say",
            "measure with `clientip check --skew`, write the bound that it shows, and replay again",
        ),
        "longest_broken": Reason(
            "a request or connection lasted longer than `longest` says, so a log was taken for complete too early",
            "write the bound that the server enforces (`clientip help longest`), and replay again",
        ),
        "names_looked_up": Reason(
            "the server looks up names for its log; who owns a reverse zone can be called like another's address there",
            "write `HostnameLookups Off`, or log `%a` in the place of `%h`, and leave older lines out",
        ),
        "promise_broken": Reason(
            "the log of the hop before names another client than the header which that hop promises to write",
            "draw what the hop really does with the header (`clientip help presets`), and replay again",
        ),
        "translated_undrawn": Reason(
            "a NAT log translates to an address that is in no system and not in the file of `[joins] translated`",
            "list it in the `addresses` of the system that translates to it; `clientip check` names it",
        ),
        "statement_differs": Reason(
            "the address the server derived differs from the one the walk finds",
            "the server's own trusted list differs from the configuration",
        ),
    }
)
