"""A line that says that lines were lost takes the log's word away where it stands, whoever wrote it, in any wrapper."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from clientip.engine import Engine, LogSource
from clientip.formats import FORMATS
from clientip.framing.wrappers import WRAPPERS
from clientip.joins.coverage import Coverage
from clientip.joins.holes import LogOrders, holes_of, written_at
from clientip.model import Format, Line, Sample, Setup, System
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worlds.sizes import EXAMPLES

LOSSES = (
    "imuxsock lost {n} messages from pid 13249 due to rate-limiting",
    "imuxsock begins to drop messages from pid {n} due to rate-limiting",
    "imuxsock[pid: {n}, name: /usr/sbin/haproxy] from <lb:haproxy>: begin to drop messages due to rate-limiting",
    "imuxsock[pid: 7, name: /usr/sbin/haproxy]: {n} messages lost due to rate-limiting (5 allowed within 2 seconds)",
    "imjournal: {n} messages lost due to rate-limiting (20000 allowed within 600 seconds)",
    "message repeated {n} times: [{good}]",
    "message repeated {n} times: [ {good}]",
    "last message repeated {n} times",
    "Last message '{good}' repeated {n} times, suppressed by syslog-ng on lb",
    "Suppressed {n} messages from haproxy.service",
    "Suppressed {n} messages from /system.slice/nginx.service",
    "Missed {n} kernel messages",
    "Forwarding to syslog missed {n} messages.",
    "printk: {n} messages suppressed.",
    "net_ratelimit: {n} callbacks suppressed",
    "nf_conntrack: nf_conntrack: table full, dropping packet",
    "WARNING: We have hit ENOBUFS! We are losing events.",
    '[origin software="rsyslogd" swVersion="8.2302.0" x-pid="{n}" x-info="https://www.rsyslog.com"] start',
    "Log overrun",
    "Failed to write to log: write /var/log/access.log: no space left on device",
)
STAMP = "2026-03-02T10:20:30.5Z"
BINARY = ("otlp_traces_proto", "otlp_logs_proto")  # no line of text can stand between their messages


def wrapped(name: str, text: str) -> bytes:
    envelopes = {
        "docker": {"log": f"{text}\n", "stream": "stdout", "time": STAMP},
        "filebeat": {"message": text, "@timestamp": STAMP},
        "fluent": {"log": text, "time": STAMP},
        "vector": {"message": text, "timestamp": STAMP},
    }
    heads = {
        "cri": f"{STAMP} stdout F ",
        "syslog3164": "Mar  2 10:20:30 lb rsyslogd-2177: ",
        "syslog5424": f"<46>1 {STAMP} lb rsyslogd-2177 - - - ",
        "compose": "lb-1 | ",
        "": "",
    }
    return json.dumps(envelopes[name]).encode() if name in envelopes else (heads[name] + text).encode()


def engine_of(each: Format, sample: Sample, wrapper: Sequence[str]) -> Engine:
    fields: dict[str, object] = {"logs_peer": "socket"} if each.logs_peer else {}
    fields |= {"timezone": "UTC", "stamped_within_ns": 0, **dict(sample.setup)}
    setup = Setup(system="lb", format=each.name, **fields)  # type: ignore[arg-type]
    drawn = System(name="lb", lossless=True, peers=frozenset({"outside"}), tells=True)
    return Engine([drawn], [LogSource(setup, tuple(wrapper))], line_bytes=1 << 20)


def read(engine: Engine, lines: Sequence[bytes]) -> tuple[LogOrders, list[int]]:
    """The order of these lines, and when those that were understood were written."""
    orders, reading, moments = LogOrders(), engine.reading("lb"), list[int]()
    for raw in lines:
        for outcome in reading.feed(Line(raw, raw)):
            orders.see("lb", "", "a.log", outcome)
            if (written := written_at(outcome)) is not None:
                moments.append(written.moment)
    return orders, moments


def samples_of(each: Format) -> list[tuple[Sample, str]]:
    """The samples that show when they were written, as text."""
    found = []
    for sample in each.samples:
        if sample.rejected is None and sample.skipped is None and sample.line.isascii():
            good = sample.line.decode()
            if len(read(engine_of(each, sample, ()), [sample.line])[1]) == 1:
                found.append((sample, good))
    return found


TIMED = {name: found for name, each in FORMATS.items() if name not in BINARY and (found := samples_of(each))}


def test_every_format_of_text_has_such_samples() -> None:
    assert TIMED.keys() == FORMATS.keys() - set(BINARY)


@pytest.mark.parametrize("name", TIMED)
@settings(max_examples=max(40, EXAMPLES // 4), deadline=None)
@given(data=st.data())
def test_a_line_of_loss_between_two_good_ones_takes_the_word_away(name: str, data: st.DataObject) -> None:
    sample, good = data.draw(st.sampled_from(TIMED[name]))
    wrapper = data.draw(st.sampled_from(["", *WRAPPERS]))
    text = (
        data.draw(st.sampled_from(LOSSES)).replace("{n}", str(data.draw(st.integers(1, 10**6)))).replace("{good}", good)
    )
    engine = engine_of(FORMATS[name], sample, (wrapper,) if wrapper else ())
    whole, moments = read(engine, [wrapped(wrapper, good)] * 2)
    broken, same = read(engine, [wrapped(wrapper, each) for each in (good, text, good)])
    assert moments == same  # the line of loss is no request
    for orders, said in ((whole, "word"), (broken, "lost")):
        holes = {(system, instance): holes_of(part, 0) for system, instance, part in orders.logs()}
        assert Coverage(engine.graph.systems, {}, holes).of("lb", None, moments[0], moments[0]) == said
