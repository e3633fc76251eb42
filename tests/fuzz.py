"""Coverage-guided fuzzing of everything that reads what strangers write: `python tests/fuzz.py --seconds N`.

A target takes bytes.  Only a FormatError with a documented word may leave it, within TIME_LIMIT; what a
format reads must also be walked and written without an error, as one line of JSON.  Atheris runs one
process per target; `tests/test_fuzz.py` runs the same targets with hypothesis where there is no atheris.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
INSTRUMENTED: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
if __name__ == "__main__" and "--target" in sys.argv:
    import atheris

    INSTRUMENTED = atheris.instrument_imports(include=["clientip"])

with INSTRUMENTED:
    import orjson
    from clientip.diagnose import sandbox as whatif
    from clientip.engine import Engine, LogSource
    from clientip.errors import FormatError
    from clientip.formats import FORMATS
    from clientip.framing.wrappers import WRAPPERS, peel
    from clientip.model import Fact, Format, Line, Promise, Rejected, Sample, Setup, System
    from clientip.outputs import OUTPUTS, rejected_row
    from clientip.reasons import REJECTED
    from clientip.syntax import addresses, forwarded, headers, proxyheader, times, traceids
    from clientip.syntax.jsonlines import read_object

    from tests.worlds.walks import owns

TIME_LIMIT: Final = 2.0  # seconds of processor time for an input of up to MAX_INPUT bytes
MAX_INPUT: Final = 65_536
SLUG: Final = re.compile(r"[a-z][a-z0-9_]*")
PROMISES: Final = (
    Promise("proxy"),
    Promise("x-forwarded-for"),
    Promise("forwarded"),
    Promise("x-forwarded-for", "append2"),
    Promise("x-real-ip", "overwrite"),
    Promise("cloudfront-viewer-address", "overwrite"),
)


class Target(NamedTuple):
    """What is fuzzed, from which inputs on."""

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def check(target: Target, data: bytes) -> None:
    """Run one input; raises unless the target keeps its promise."""
    began = time.process_time()
    try:
        target.run(data[:MAX_INPUT])
    except FormatError as error:
        assert SLUG.fullmatch(error.reason), error.reason
        assert error.at is None or 0 <= error.at <= 6 * len(data), (error.at, len(data))
    spent = time.process_time() - began
    assert spent < TIME_LIMIT, f"{spent:.1f} s for {len(data)} bytes"


def _text(data: bytes) -> str:
    # Formats decode with escapes, JSON and protobuf bring any character: lone surrogates are met too.
    return data.decode("utf-8", "surrogatepass" if data[:1] == b"\xed" else "backslashreplace")


def _each(functions: Iterable[Callable[[str], object]]) -> Callable[[bytes], None]:
    """All of them on the same text; one that refuses it does not spare the next."""
    every = tuple(functions)

    def run(data: bytes) -> None:
        try:
            text = _text(data)
        except UnicodeDecodeError:
            return
        for function in every:
            try:
                function(text)
            except FormatError as error:
                assert SLUG.fullmatch(error.reason), error.reason

    return run


def _setup(each: Format, sample: Sample) -> Setup:
    fields: dict[str, object] = {"timezone": "UTC", **dict(sample.setup)}
    if each.logs_peer:
        fields.setdefault("logs_peer", "socket")
    fields.setdefault("proof_headers", frozenset({"x-proof"}))
    return Setup(system="s", format=each.name, **fields)  # type: ignore[arg-type]


def _drawing(promise: Promise) -> list[System]:
    """A graph in which most addresses belong to a system that promises, so that walks go far."""
    lb = System(
        name="lb",
        owns=owns("0.0.0.0/1", "2000::/4"),
        peers=frozenset({"lb", "outside", "internal"}),
        conveys=(promise,),
    )
    return [System(name="s", peers=frozenset({"lb", "outside"}), believes=("lb",), probes=("/",)), lb]


def _format(each: Format) -> Target:
    """The first byte of an input chooses the setup and the promise, the rest is the message."""
    setups: list[Setup] = []
    for sample in each.samples:
        setup = _setup(each, sample)
        if setup not in setups:
            setups.append(setup)
    engines = [
        Engine(_drawing(promise), [LogSource(setup)], line_bytes=MAX_INPUT) for setup in setups for promise in PROMISES
    ]
    seeds = []
    for sample in each.samples:
        first = setups.index(_setup(each, sample)) * len(PROMISES)
        seeds += [bytes([(first + number) % 256]) + sample.line for number in range(len(PROMISES))]

    def run(data: bytes) -> None:
        reading = engines[data[0] % len(engines)].reading("s") if data else engines[0].reading("s")
        for outcome in (*reading.feed(Line(data[1:], data[1:])), *reading.end()):
            if isinstance(outcome, Rejected):
                assert outcome.reason in REJECTED
                assert outcome.detail is None or SLUG.fullmatch(outcome.detail), outcome.detail
                rows = [rejected_row(outcome, "s", "r")]
            else:
                record = outcome.record if isinstance(outcome, Fact) else outcome
                rows = [output(record, "r") for output in OUTPUTS.values()] if hasattr(record, "resolution") else []
            for row in rows:
                assert b"\n" not in row or b"\n" in data  # an object kept byte for byte may hold its own line ends
                orjson.loads(row.decode("utf-8", "backslashreplace") if isinstance(outcome, Rejected) else row)

    return Target(run, tuple(seeds))


def _wrapped(name: str) -> Target:
    def run(data: bytes) -> None:
        try:
            peel(Line(data, data), [name])
        except FormatError as error:
            assert error.reason in REJECTED, error.reason

    return Target(run, WRAPPED)


def _json(data: bytes) -> None:
    try:
        read_object(data)
    except FormatError as error:
        assert error.reason in REJECTED, error.reason


def _proxy(data: bytes) -> None:
    proxyheader.tlv_view(proxyheader.parse_proxy(data))


def _headers(data: bytes) -> None:
    """Lines `name: value` as the headers of one request."""
    setup = Setup(system="s", format="x", proof_headers=frozenset({"x-proof"}))
    pairs = [line.partition(":") for line in data.decode("utf-8", "backslashreplace").split("\n")]
    headers.sort_headers(setup, [(name, (value.strip(),), "all") for name, _, value in pairs])
    for name, _, value in pairs:
        headers.claim_nodes(name.lower(), (value, value))


def _sealed(text: str) -> None:
    forwarded.seal_secrets(text, lambda secret: f"{len(secret):x}")


ADDRESSES: Final = (
    addresses.parse_address,
    addresses.parse_range,
    addresses.parse_node,
    addresses.read_port,
    addresses.read_endpoint,
    addresses.read_endpoint_last_colon,
    lambda text: addresses.split_list(text.split("\n")),
)
FORWARDED: Final = (
    forwarded.parse_node_value,
    forwarded.check_forwarded,
    lambda text: forwarded.parse_forwarded(text.split("\n")),
    lambda text: forwarded.for_nodes(text.split("\n")),
    _sealed,
)
IDS: Final = (
    traceids.w3c,
    traceids.b3_single,
    traceids.b3_multi,
    traceids.xray,
    traceids.gcp,
    traceids.jaeger,
    traceids.datadog,
    lambda text: traceids.datadog(*text.split("\n")[:3]),
    traceids.trace_id,
    traceids.span_id,
    traceids.datadog_trace_id,
    traceids.datadog_span_id,
    traceids.haproxy_unique_id,
    traceids.request_key,
    lambda text: traceids.trace_bytes(text.encode("utf-8", "replace")),
)
TIMES: Final = (
    times.rfc3339_ns,
    times.clf_ns,
    times.epoch_ns,
    times.seconds_ns,
    times.resolution_of,
    lambda text: times.local_ns(text, "haproxy", "Europe/Berlin"),
    lambda text: times.local_ns(text, "nginx_error", "America/New_York"),
)
WRAPPED: Final = (
    b"2024-05-01T10:00:00.5Z stdout F hello",
    b"2024-05-01T10:00:00.123456789+02:00 stderr P:x part",
    b'{"log":"text\\n","stream":"stdout","time":"2024-05-01T10:00:00.5Z"}',
    b"<134>May  1 10:00:00 host app[12]: text",
    b"2024-05-01T10:00:00+00:00 host app: text",
    b'<134>1 2024-05-01T10:00:00.5Z host app 12 id [a b="c\\"d"][e] \xef\xbb\xbftext',
    b'{"@timestamp":"2024-05-01T10:00:00Z","message":"text","kubernetes":{"pod":{"name":"p"}},"host":{"name":"h"}}',
    b'{"date":1714557600.5,"log":"text","logtag":"P","kubernetes":{"pod_name":"p"},"partial_message":"true"}',
    b'{"timestamp":"2024-05-01T10:00:00Z","message":"text","host":"h","_partial":true}',
    b"\x1b[36mweb-1  |\x1b[0m text",
)
PROXY_SEEDS: Final = (
    b"PROXY TCP4 203.0.113.7 10.0.0.1 5555 443\r\n",
    b"PROXY TCP6 2001:db8::7 ::1 5555 443\r\n",
    b"PROXY UNKNOWN\r\n",
    bytes.fromhex("0d0a0d0a000d0a515549540a2111000ccb0071070a00000115b301bb"),
    bytes.fromhex("0d0a0d0a000d0a515549540a2111001acb0071070a00000115b301bb04000103000412345678ea000101"),
    bytes.fromhex("0d0a0d0a000d0a515549540a21210030" + "20010db8" + "00" * 28 + "15b301bb20000901000000002100015a"),
    bytes.fromhex("0d0a0d0a000d0a515549540a20000000"),
)
ADDRESS_SEEDS: Final = (
    b"203.0.113.7:80",
    b"[2001:db8::7%eth0]:5555",
    b"::ffff:10.0.0.1/104",
    b"_x, unknown,,\t10.0.0.1",
)
FORWARDED_SEEDS: Final = (b'for="[2001:db8::7]:80";by=_x;secret="a,\\"b", for=192.0.2.1\nfor=unknown;proto=https',)
ID_SEEDS: Final = (
    b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    b"80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90",
    b"Root=1-5759e988-bd862e3fe1be46a994272793;Self=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
    b"105445aa7843bc8bf206b12000100000/1;o=1",
    b"5b8aa5a2d2c872e8321cf37308d69df2:5fb9a8b1e3c9d3b1:0:1",
    b"1234567890123456789\n987654321\n_dd.p.tid=640cfd8d00000000",
    b"7F000001:8296_7F00001E:1F90_4F7B0A69_0003:790A",
)
TIME_SEEDS: Final = (
    b"2024-05-01T10:00:00.123456789+02:00",
    b"02/Mar/2026:10:20:30 +0100",
    b"1714557600.5",
    b"1.5e3",
    b"06/Feb/2009:12:14:14.655",
    b"2021/04/01 13:02:31",
)
HEADER_SEEDS: Final = (
    b"X-Forwarded-For: 203.0.113.7, 10.0.0.1\nForwarded: for=_x;secret=y\nX-Real-Ip: ::1\nX-Proof: s",
    b"cloudfront-viewer-address: 2001:db8::7:80\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    b"x-b3-traceid: a\nx-b3-traceid: 80f198ee56343ba864fe8b2a57d3eff7\ncf-ray: 761fde4e984e5ab2-AMS\nX-Amzn-Trace-Id: "
    b"Self=1-5759e988-bd862e3fe1be46a994272793;Root=1-5759e988-bd862e3fe1be46a994272793",
)
JSON_SEEDS: Final = (b'{"a":[1,{"b":"\\u0000"}],"c":1e400,"d":123456789012345678901234567890}', b'{"a":1,"\\u0061":{}}')
QUESTIONS: Final = (
    b'{"id":1,"peer":"10.0.0.1:5","headers":[["X-Forwarded-For","203.0.113.7"]],"trust":[{"addresses":["10.0.0.0/8"],'
    b'"conveys":[{"header":"X-Forwarded-For","mode":"append"}]}]}',
    b'{"peer":null,"proxy_hex":"50524f5859","trust":[{"conveys":["proxy"],"hops":2}]}',
)


def targets() -> dict[str, Target]:
    """Every target by name."""
    return {
        **{name: _format(each) for name, each in FORMATS.items()},
        **{f"wrapper-{name}": _wrapped(name) for name in WRAPPERS},
        "addresses": Target(_each(ADDRESSES), ADDRESS_SEEDS),
        "forwarded": Target(_each(FORWARDED), FORWARDED_SEEDS),
        "trace-ids": Target(_each(IDS), ID_SEEDS),
        "times": Target(_each(TIMES), TIME_SEEDS),
        "headers": Target(_headers, HEADER_SEEDS),
        "json": Target(_json, JSON_SEEDS),
        "proxy": Target(_proxy, PROXY_SEEDS),
        "resolve": Target(whatif.answer, QUESTIONS),
    }


def _fuzz(name: str, seconds: int, corpus: Path) -> None:
    """In this process, which libFuzzer then ends."""
    target = targets()[name]
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_INPUT}", "-timeout=20", "-rss_limit_mb=4096"]
    options += ["-verbosity=0", "-print_final_stats=1", "-close_fd_mask=0", f"-artifact_prefix={corpus}/found-"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: check(target, data))
    atheris.Fuzz()


def _rounds(names: Sequence[str], seconds: int) -> Iterator[tuple[str, int, str, list[bytes]]]:
    """(target, exit code, what it said, inputs found), as many at once as there are cores."""
    with tempfile.TemporaryDirectory() as folder:
        waiting, running = list(names), dict[str, tuple[subprocess.Popen[bytes], Path]]()
        while waiting or running:
            while waiting and len(running) < len(os.sched_getaffinity(0)):
                name = waiting.pop(0)
                corpus = Path(folder, name)
                corpus.mkdir()
                call = [sys.executable, __file__, "--target", name, "--seconds", str(seconds), "--corpus", str(corpus)]
                with (corpus.with_suffix(".said")).open("wb") as said:
                    running[name] = subprocess.Popen(call, stdout=said, stderr=said), corpus
            time.sleep(0.1)
            for name, (process, corpus) in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    found = [path.read_bytes() for path in sorted(corpus.glob("found-*"))]
                    text = corpus.with_suffix(".said").read_text(errors="backslashreplace")
                    yield name, process.returncode, text, found


def main() -> int:
    """Fuzz every target (or one) for its share of the time; exit code 1 if any broke its promise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--seconds", type=int, default=60, help="in all; with --target, for that one")
    parser.add_argument("--only", action="append", help="a target; may be repeated")
    parser.add_argument("--target", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.target:
        _fuzz(given.target, given.seconds, given.corpus)
    names = given.only or list(targets())
    share = max(1, given.seconds * len(os.sched_getaffinity(0)) // len(names))
    failed = False
    for name, code, said, found in _rounds(names, share):
        runs = re.findall(r"stat::number_of_executed_units: (\d+)", said)
        print(f"{name}: {runs[0] if runs else '?'} inputs in {share} s" + ("" if code == 0 else f", FAILED ({code})"))
        if code != 0:
            failed = True
            print(said[-4000:], *(f"input: {data!r}" for data in found), sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
