"""A stream holds a promise to the log of who gave it as a replay does, and believes it if that log stays away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clientip.config.load import load
from clientip.model import Record
from clientip.stream.join_messages import Watermark

from tests.worlds.stream_worlds import SECOND, Raw, Stream

CLIENT, FORGED, BEGIN = "198.51.100.66", "203.0.113.9", 1_772_442_000
PATTERN = '{"msec":"$msec","rt":"$request_time","peer":"$remote_addr","xff":"$http_x_forwarded_for","id":"$ID"}'
CONFIG = f"""
[joins]
holds_promises = true

[systems.edge]
format = "nginx"
escape = "json"
pattern = '{PATTERN.replace("ID", "request_id")}'
topics = ["raw.edge"]
arrives_within = "5s"
longest = "1s"
logs_peer = "socket"
addresses = ["10.0.0.5"]
peers = ["outside"]
conveys = [{{ header = "x-forwarded-for", mode = "append" }}]
mints = ["x-request-id"]

[systems.app]
format = "nginx"
escape = "json"
pattern = '{PATTERN.replace("ID", "http_x_request_id")}'
topics = ["raw.app"]
arrives_within = "5s"
logs_peer = "socket"
peers = ["edge"]
"""


def raw(system: str, peer: str, forwarded: str) -> Raw:
    text = json.dumps({"msec": f"{BEGIN}.500", "rt": "0.010", "peer": peer, "xff": forwarded, "id": "4711" * 8})
    return Raw(system, None, text.encode(), (BEGIN + 1) * SECOND, 0)


def ended(folder: Path, *raws: Raw) -> Record:
    """The record of the application's line after all waits."""
    config = folder / "clientip.toml"
    config.write_text(CONFIG)
    stream = Stream(load([config]))
    waiting = list(raws)
    for second in range(1, 60):
        stream.now_ns = (BEGIN + second) * SECOND
        marks = [Watermark(name, f"raw.{name}", 0, 1, stream.now_ns, True) for name in ("edge", "app")]
        stream.read(waiting, marks)
        waiting.clear()
        for number in range(stream.partitions.count):
            stream.answer(number)
    [record] = [each for each in stream.records if each.observation.setup.system == "app"]
    return record


@pytest.mark.parametrize("forwarded", [FORGED, f"{FORGED}, {CLIENT}"])
def test_a_line_whose_hop_broke_its_promise_names_nobody(tmp_path: Path, forwarded: str) -> None:
    found = ended(tmp_path, raw("app", "10.0.0.5", forwarded), raw("edge", CLIENT, FORGED)).resolution
    if forwarded == FORGED:
        assert (found.named, found.reason, "promise_broken" in found.findings) == (None, "contradiction", True)
    else:
        assert (found.verdict, found.client and found.client.address.text) == ("vouched", CLIENT)


def test_a_line_of_which_the_hop_logged_nothing_is_named_after_its_wait(tmp_path: Path) -> None:
    found = ended(tmp_path, raw("app", "10.0.0.5", f"{FORGED}, {CLIENT}")).resolution
    assert (found.verdict, found.reason, found.findings) == ("vouched", None, ())
