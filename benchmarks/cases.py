"""What is measured: for each format its lines, the drawing, the same work in VRL, and the bar."""

from __future__ import annotations

from typing import Final, NamedTuple

from benchmarks import lines

BEHIND_TWO: Final = """
[systems.cdn]
addresses = ["198.51.100.0/24"]
peers = ["outside"]
conveys = [{ header = "x-forwarded-for", mode = "append" }]

[systems.lb]
addresses = ["10.0.0.0/24"]
peers = ["cdn"]
conveys = [{ header = "x-forwarded-for", mode = "append" }]

[systems.web]
peers = ["lb"]
"""
AT_THE_EDGE: Final = """
[systems.web]
peers = ["outside"]
"""

# VRL has no way out of a loop: going over the list from the left and keeping the last address that
# is not ours is its shortest way to find the first one from the right.  It also writes no id of the
# record, keeps no path, checks no repeated keys and reads no time: the comparison is in its favour.
_WALK: Final = """
client = null
for_each(push(split(xff, ","), peer)) -> |_index, hop| {
  hop = strip_whitespace(hop)
  inside = (ip_cidr_contains("10.0.0.0/24", hop) ?? false) || (ip_cidr_contains("198.51.100.0/24", hop) ?? false)
  if !inside { client = hop }
}
answer = {"verdict": "vouched", "method": "x-forwarded-for", "client": {"ip": client}, "peer": {"ip": peer}}
"""
_IN_PLACE: Final = ".clientip = answer\nencode_json(.)\n"
_AROUND: Final = 'encode_json({"message": .message, "clientip": answer})\n'
_HOST: Final = "peer = replace(peer, r':[0-9]+$', \"\")\n"


class Case(NamedTuple):
    """One format under measurement."""

    name: str
    write: lines.Writer
    config: str  # the log's own keys of [systems.web] stand at its end
    vrl: str  # from {"message": line} to the JSON that Vector would write
    bar: int | None = None  # lines per second and core of the whole replay
    is_json: bool = False


def _text(pattern: str) -> str:
    return f"found = parse_regex!(.message, r'{pattern}')\npeer = found.peer\nxff = found.xff\n"


CASES: Final = (
    Case(
        "Traefik JSON",
        lines.traefik_json,
        BEHIND_TWO + 'format = "traefik_json"\nlogs_peer = "socket"\n',
        ". = object!(parse_json!(string!(.message)))\npeer = string!(.ClientAddr)\n"
        + _HOST
        + 'xff = string!(."request_X-Forwarded-For")\n'
        + _WALK
        + _IN_PLACE,
        bar=100_000,
        is_json=True,
    ),
    Case(
        "nginx main",
        lines.nginx,
        BEHIND_TWO + 'format = "nginx"\npattern = "main"\nlogs_peer = "socket"\n',
        _text(
            r'^(?P<peer>\S+) - (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d+) '
            r'(?P<size>\d+) "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)" "(?P<xff>(?:[^"\\]|\\.)*)"$'
        )
        + _WALK
        + _AROUND,
        bar=60_000,
    ),
    Case(
        "HAProxy httplog",
        lines.haproxy,
        BEHIND_TWO + 'format = "haproxy"\ntimezone = "UTC"\nlogs_peer = "socket"\n'
        'captures = ["X-Forwarded-For", "User-Agent"]\noptions = { "capture_length.x-forwarded-for" = "512" }\n',
        _text(
            r"^(?P<peer>\S+) \[(?P<time>[^\]]+)\] (?P<front>\S+) (?P<back>\S+) (?P<times>\S+) (?P<status>\d+) "
            r"(?P<size>\d+) \S+ \S+ \S+ (?P<counts>\S+) (?P<queues>\S+) \{(?P<xff>[^|]*)\|(?P<agent>[^}]*)\} "
            r'"(?P<request>[^"]*)"$'
        )
        + _HOST
        + _WALK
        + _AROUND,
        bar=60_000,
    ),
    Case(
        "Envoy text",
        lines.envoy_text,
        BEHIND_TWO
        + """format = "envoy_text"
pattern = '''[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% \
%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" \
"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"'''
""",
        _text(
            r'^\[(?P<time>[^\]]+)\] "(?P<request>[^"]*)" (?P<status>\d+) (?P<flags>\S+) (?P<read>\d+) (?P<sent>\d+) '
            r'(?P<took>\d+) (?P<upstream>\S+) "(?P<xff>[^"]*)" "(?P<agent>[^"]*)" "(?P<id>[^"]*)" "(?P<host>[^"]*)" '
            r'"(?P<to>[^"]*)" "(?P<peer>[^"]*)"$'
        )
        + _HOST
        + _WALK
        + _AROUND,
        bar=60_000,
    ),
    Case(
        "Caddy JSON",
        lines.caddy,
        BEHIND_TWO + 'format = "caddy"\nlogs_peer = "socket"\n',
        ". = object!(parse_json!(string!(.message)))\npeer = string!(.request.remote_ip)\n"
        'xff = string!(.request.headers."X-Forwarded-For"[0])\n' + _WALK + _IN_PLACE,
        is_json=True,
    ),
    Case(
        "ALB",
        lines.alb,
        AT_THE_EDGE + 'format = "aws_alb"\n',
        "found = parse_aws_alb_log!(.message)\npeer = found.client_host\n"
        + _HOST
        + 'answer = {"verdict": "seen", "method": "socket", "client": {"ip": peer}, "peer": {"ip": peer}}\n'
        + _AROUND,
        bar=60_000,
    ),
)
