"""`clientip help lossless`: what passes on a request or connection without a line, product by product."""

from __future__ import annotations

import textwrap
from typing import Final, NamedTuple

_WIDTH: Final = 110


class _Product(NamedTuple):
    name: str
    unwritten: str  # what leaves no line
    shown: str  # what shows the loss; "": nothing does


_PRODUCTS: Final = (
    _Product(
        "HAProxy",
        "option dontlog-normal; option dontlognull (in mode tcp such a connection reaches the server); the actions "
        "set-log-level silent of http-request, http-response, tcp-request and tcp-response; no log, or no `log` at "
        "all; log … sample; a `log` with a level above info, such as notice; a syslog server that is away or slow, "
        "because HAProxy drops the line and goes on",
        "DroppedLogs of `show info` counts what HAProxy itself dropped. On standard error it writes `failed in logger` "
        "and `exited with code`, which are holes where the log goes there, too. %rt with %pid numbers all requests of "
        "a process, those without a line too, over all its frontends. %lc counts written lines of one frontend only, "
        "and with several threads it gives one number to two lines (seen in 2.6.12), so it proves nothing",
    ),
    _Product(
        "nginx",
        "access_log off; access_log … if=; a `mirror`, whose request reaches a server and has no line; access_log … "
        "buffer= or gzip, if a worker is killed; access_log syslog:, which is UDP or a socket; a full disk",
        "the error log: `write() to … failed` (not for each line), `send() to syslog failed`, `worker process … "
        "exited on signal`. Only where it shares a file or output with the access log is that a hole",
    ),
    _Product(
        "Apache httpd",
        "CustomLog … env= or expr=; BufferedLogs On, if a process is killed; a full disk",
        "the error log: AH00646 (error writing), AH00052 (exit signal), AH00106 (piped log program failed). Only where "
        "it shares a file or output with the access log is that a hole",
    ),
    _Product(
        "Envoy",
        "`filter` of an access log (status_code_filter, runtime_filter for samples …); "
        "request_mirror_policies, whose request reaches a server and has no line; a killed process: a file gets its "
        "lines every 10 s (--file-flush-interval-msec)",
        "",
    ),
    _Product(
        "Traefik",
        "accessLog.filters (statusCodes, retryAttempts, minDuration); observability.accessLogs: false of a router or "
        "an entry point; the mirrors of a mirroring service; accessLog.bufferingSize, if the process is killed; TCP "
        "and UDP routers, which have no access log",
        "RequestCount numbers the requests of a process from 1 on. A number is missing where a filter left a line "
        "out; a router without access logs does not count (seen in 3.7). Lines stand in the order of their ends, not "
        "of their numbers",
    ),
    _Product(
        "Caddy",
        "log_skip (skip_log before 2.8); sampling of a log; level above INFO; no `log` for a site",
        "",
    ),
    _Product(
        "Varnish",
        "varnishncsa reads a ring in memory: what it is too slow for is overwritten; varnishncsa -q, -R; the backend's "
        "requests without -b; what was served while varnishncsa did not run",
        "varnishncsa writes `Log overrun` on its standard error, not into the log",
    ),
    _Product(
        "AWS ALB and NLB",
        "by AWS' own word these logs are best effort and no complete account; an NLB logs TLS listeners only",
        "",
    ),
    _Product(
        "rsyslog",
        "rateLimit.interval of imuxsock (off by default) and of imjournal (20,000 messages in 600 s by default); "
        "$RepeatedMsgReduction; UDP (imudp); a full queue; maxMessageSize, which cuts",
        "lines like `N messages lost due to rate-limiting`. Since version 8 they may go to the journal instead of "
        'the log: write global(processInternalMessages="on"). Nothing shows what UDP lost',
    ),
    _Product(
        "syslog-ng",
        "suppress() of a destination; a full queue without flags(flow-control); UDP",
        "`Last message … repeated N times, suppressed by syslog-ng`; the figure `dropped` of syslog-ng-ctl stats",
    ),
    _Product(
        "journald",
        "RateLimitIntervalSec and RateLimitBurst, for each service; SystemMaxUse and the like, which delete; "
        "ForwardToSyslog to a slow daemon",
        "`Suppressed N messages from UNIT`, `Missed N kernel messages`, `Forwarding to syslog missed N messages`: in "
        "the journal, not in the log of the service",
    ),
    _Product(
        "RFC 5424 sequenceId",
        "",
        "the program that writes the header counts it: a line that was lost before has no number. HAProxy and "
        "rsyslog's own templates write none",
    ),
    _Product(
        "Files, containers, Kubernetes",
        "logrotate's copytruncate: what is written between copy and cut; files that rotation deletes before they are "
        "read (kubelet: containerLogMaxSize, containerLogMaxFiles); a full disk; a shipper that notes a line as read "
        "before it is delivered (deploy/shippers/README.md)",
        "",
    ),
    _Product(
        "OpenTelemetry",
        "sampling; a full queue of an exporter, which then drops",
        "",
    ),
    _Product(
        "Flow records, VPC flow logs",
        "sampling; a full table of an exporter; records that AWS skipped",
        "log-status SKIPDATA of VPC flow logs",
    ),
    _Product(
        "NAT events",
        "conntrack -E, if the kernel's buffer is full, or with -e NEW, which leaves the ends out; a collector that "
        "starts late; nf_conntrack_events other than 1",
        "conntrack -E says ENOBUFS on its standard error, not in the log. `clientip collect conntrack` numbers its "
        "lines and marks what the kernel lost, so it needs no `lossless`",
    ),
)

_HEAD: Final = (
    "`lossless = true` is your word that every request or connection that the system passed on left a line in the "
    "files or topics that you give. Then what the log does not tell did not happen, and an answer may rest on "
    "that. Where it is wrong, a record may name the wrong client. Nothing in a log shows that a line was never "
    "written, so look up each of these before you write it."
)
_FOOT: Final = (
    "A line that cannot be read is a hole in the word, and so is every line of loss that a daemon writes among the "
    "requests. A word that holds for some requests only (paths, status codes, samples) does not hold."
)


def lossless_help() -> str:
    """The reference."""
    lines = textwrap.wrap(_HEAD, _WIDTH)
    for each in _PRODUCTS:
        lines += ["", f"{each.name}:"]
        if each.unwritten:
            lines += _item("leaves no line", each.unwritten)
        lines += _item("shows it", each.shown or "nothing")
    return "\n".join([*lines, "", *textwrap.wrap(_FOOT, _WIDTH)]) + "\n"


def _item(head: str, text: str) -> list[str]:
    shape = textwrap.TextWrapper(_WIDTH, "    ", "        ", break_on_hyphens=False)
    return shape.wrap(f"{head}: {text}")
