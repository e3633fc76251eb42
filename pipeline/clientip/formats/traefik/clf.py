"""Traefik access logs in the Common Log Format, which is Traefik's default, v1 to v3.

https://doc.traefik.io/traefik/observe/logs-and-access-logs/

The first column is ClientHost: the X-Forwarded-For header or the peer's host.  Nothing tells which of the two it is,
and there is no peer: it becomes a claim under a name of its own, which no system can promise.

The host, the user and (before 3.7.3 and 3.6.19) quotes inside the quoted fields are written as they
came; backslashes always.  A line is read only if it holds one time stamp, and beside the quotes its columns need only
ones behind a backslash, in referer and user agent: status and service stand outside of these, whatever they hold.
"""

from __future__ import annotations

import re
from typing import Final

from clientip.errors import FormatError
from clientip.formats.traefik.access import OWN_LOG, service_endpoint
from clientip.formats.traefik.samples import CLF_SAMPLES
from clientip.model import Claim, Format, Http, Line, Observation, Reader, Setup, Skipped
from clientip.patterns.columns import refuse_part
from clientip.patterns.matcher import decode_text
from clientip.syntax.times import MILLISECOND_NS, SECOND_NS, clf_ns, spread

_CLIENT_HOST: Final = "traefik-clienthost"

_STAMP: Final = re.compile(r" \[([0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9:]{8} [+-][0-9]{4})\] ")
# "request" status size "referer" "user agent", and unless it is `genericCLF`: count "router" "service" <n>ms.
_COLUMNS: Final = (
    r'"([^"]*+)" ([0-9]{1,3}|-) ([0-9]{1,19}|-) (?:"(HEADER)"|-) (?:"(HEADER)"|-)'
    r'(?: (?:([0-9]{1,18})|-) (?:"[^"]*+"|-) (?:"([^"]*+)"|-) ([0-9]{1,15})ms)?'
)
_CLF: Final = re.compile(_COLUMNS.replace("HEADER", r'[^"]*+'))
_CLF_ESCAPED: Final = re.compile(_COLUMNS.replace("HEADER", r'(?:[^"\\]|\\.)*+'))
_CLF_QUOTES: Final = 10


def _compile_clf(setup: Setup) -> Reader:
    def read(line: Line) -> Observation | Skipped:
        text = decode_text(line.text)
        if OWN_LOG.match(line.text) and _STAMP.search(text) is None:  # a client chooses how access lines begin
            return Skipped(line, "no_request")
        refuse_part(line, closed=True)
        stamp, *more = _stamps(text)
        if more:
            raise FormatError("two_readings", more[0].start())
        match = _CLF.fullmatch(text, stamp.end()) or _CLF_ESCAPED.fullmatch(text, stamp.end())
        if match is None:
            has_more = text.count('"', stamp.end()) > _CLF_QUOTES
            raise FormatError("two_readings" if has_more else "no_match", stamp.end())
        start = clf_ns(stamp[1])
        earliest, latest = spread(start, SECOND_NS, setup.max_skew_ns)
        duration = None if match[8] is None else int(match[8]) * MILLISECOND_NS
        return Observation(
            setup,
            "request",
            earliest,
            latest,
            None if duration is None else start + duration,
            "own",
            claims=_client_host(text[: stamp.start()]),
            upstream_peer=None
            if match[7] is None
            else service_endpoint(match[7].partition("://")[2].partition("/")[0]),
            http=_clf_http(match, duration),
            instance=line.instance,
            request_serial=None if match[6] is None else int(match[6]),
        )

    return read


def _stamps(text: str) -> list[re.Match[str]]:
    found: list[re.Match[str]] = []
    for match in _STAMP.finditer(text):
        found.append(match)
        if len(found) == 2:
            break
    if not found:
        raise FormatError("no_match", 0)
    return found


def _client_host(text: str) -> tuple[Claim, ...]:
    """`<ClientHost> - <user>`: the header or the peer, nobody can say which."""
    host, dash, user = text.partition(" - ")
    if not dash:
        raise FormatError("no_match", 0)
    if " - " in user:
        raise FormatError("two_readings", len(host))
    return () if host in ("", "-") else (Claim(_CLIENT_HOST, (host,), "first"),)


def _clf_http(match: re.Match[str], duration: int | None) -> Http:
    method, _, rest = match[1].partition(" ")
    target, _, protocol = rest.rpartition(" ")
    status, sent = (None if text == "-" else int(text) for text in (match[2], match[3]))
    escaped = match.re is _CLF_ESCAPED
    referer, agent = (
        None if text in (None, "-", "") else text.replace('\\"', '"') if escaped else text for text in match.group(4, 5)
    )
    return Http(
        method or None,
        target or None,
        protocol=protocol or None,
        status=status,
        user_agent=agent,
        referer=referer,
        response_bytes=sent,
        duration_ns=duration,
    )


TRAEFIK_CLF: Final = Format(
    name="traefik_clf",
    title="Traefik access log, Common Log Format (shows no peer)",
    compile=_compile_clf,
    samples=CLF_SAMPLES,
    ask_for="accesslog.format=json: this format shows neither the peer nor any forwarding header",
)
