"""The figures of the workers: the page shows what was counted, and the table is what everybody reads from."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

import pytest
from clientip.edges.telemetry.figures import MAX_SERIES, SILENT_S, Histogram, Snapshot, alive, read, ready
from clientip.edges.telemetry.metrics import METRICS, metrics_help
from clientip.edges.telemetry.prometheus_page import prometheus_page
from clientip.edges.telemetry.telemetry import Telemetry
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.worlds.sizes import EXAMPLES

ROOT = Path(__file__).parents[3]
Series = tuple[str, frozenset[tuple[str, str]]]

COUNTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("lines"),
            st.integers(0, 10**6),
            st.tuples(st.sampled_from(["a", "b.c"]), st.sampled_from(["record", "dead"])),
        ),
        st.tuples(st.just("rebuild.items"), st.integers(0, 10**6), st.just(())),
    )
)


def samples(page: str) -> dict[Series, float]:
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def page_of(*workers: Telemetry) -> str:
    return prometheus_page({f"w{number}": read(worker.snapshot()) for number, worker in enumerate(workers)})


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(COUNTS, min_size=1, max_size=3))
def test_counters_on_the_page_are_what_each_worker_counted(per_worker: list[Any]) -> None:
    workers, expected = [], Counter[Series]()
    for number, counts in enumerate(per_worker):
        worker = Telemetry("any")
        workers.append(worker)
        expected[("clientip_rebuild_items_total", frozenset({("worker", f"w{number}")}))] = 0
        for name, amount, labels in counts:
            worker.add(name, amount, *labels)
            named = zip([label.name for label in METRICS[name].labels], labels, strict=True)
            expected[(METRICS[name].exposed, frozenset({*named, ("worker", f"w{number}")}))] += amount
    found = samples(page_of(*workers))
    assert {key: value for key, value in found.items() if key in expected} == expected
    assert {key[0] for key in found} & {"clientip_lines_total"} == {key[0] for key in expected} - {
        "clientip_rebuild_items_total"
    }


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.floats(-1, 1000), min_size=1))
def test_buckets_rise_to_the_count_and_hold_every_value_up_to_their_bound(values: list[float]) -> None:
    worker = Telemetry("any")
    for value in values:
        worker.took("transactions.time", value)
    found, name = samples(page_of(worker)), "clientip_transactions_time_seconds"
    taken = [max(0.0, value) for value in values]
    for bound in (*METRICS["transactions.time"].bounds, inf):
        le = "+Inf" if bound == inf else repr(bound).removesuffix(".0")
        assert found[(f"{name}_bucket", frozenset({("worker", "w0"), ("le", le)}))] == sum(v <= bound for v in taken)
    assert found[(f"{name}_count", frozenset({("worker", "w0")}))] == len(values)
    assert found[(f"{name}_sum", frozenset({("worker", "w0")}))] == pytest.approx(sum(taken))


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.dictionaries(st.text(), st.lists(st.tuples(st.text(), st.text()), unique=True, max_size=4), min_size=1),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_no_label_value_breaks_the_page(hostile: Mapping[str, list[tuple[str, str]]], value: float) -> None:
    page = prometheus_page(
        {
            worker: Snapshot(True, 0.0, {"lines": [(labels, value) for labels in pairs]}, {}, {})
            for worker, pairs in hostile.items()
        }
    )
    expected = {
        ("clientip_lines_total", frozenset({("worker", worker), ("system", system), ("outcome", outcome)})): value
        for worker, pairs in hostile.items()
        for system, outcome in pairs
    }
    assert samples(page) == expected


def test_a_page_has_help_and_type_once_before_all_samples_of_a_metric() -> None:
    workers = [Telemetry("a"), Telemetry("b")]
    for worker in workers:
        worker.add("lines", 1, "s", "record")
        worker.took("batch.messages", 7)
        worker.beat(ready=True)
    lines = page_of(*workers).splitlines()
    announced = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert announced == [line.split()[2] for line in lines if line.startswith("# HELP")]
    seen = [re.sub(r"(_bucket|_sum|_count)?\{.*", "", line) for line in lines if not line.startswith("#")]
    assert list(dict.fromkeys(seen)) == announced
    assert sorted(seen, key=announced.index) == seen


def test_every_metric_is_on_the_page_under_its_name_with_its_meaning_and_kind() -> None:
    everything: dict[str, dict[str, list[Any]]] = {"counter": {}, "gauge": {}, "histogram": {}}
    for metric in METRICS.values():
        value = Histogram([1] * (len(metric.bounds) + 1), 2.0) if metric.kind == "histogram" else 3.0
        everything[metric.kind][metric.name] = [(("x",) * len(metric.labels), value)]
    page = prometheus_page({"w": Snapshot(True, 0.0, *everything.values())})
    heads = [line for line in page.splitlines() if line.startswith("#")]
    assert heads == [
        line
        for metric in METRICS.values()
        for line in (f"# HELP {metric.exposed} {metric.meaning}", f"# TYPE {metric.exposed} {metric.kind}")
    ]
    labels = {name: {label for label, _ in pairs} for name, pairs in samples(page)}
    for metric in METRICS.values():
        names = {"worker", *(label.name for label in metric.labels)}
        if metric.kind == "histogram":
            assert labels[f"{metric.exposed}_bucket"] == names | {"le"}
        else:
            assert labels[metric.exposed] == names


@pytest.mark.parametrize(
    "text", ['"} 1\nclientip_forged{a="b', "\\", '\\"', "\r\n# TYPE x counter", "\ud800", "\u2028\x85", "\x00"]
)
def test_a_label_value_stays_inside_its_quotes(text: str) -> None:
    page = prometheus_page({text: Snapshot(True, 0.0, {"lines": [((text, text), 1.0)]}, {}, {})})
    assert page.encode().count(b"\n") == 3  # help, type, one sample
    shown = text.encode("utf-8", "backslashreplace").decode()
    labels = frozenset({("worker", shown), ("system", shown), ("outcome", shown)})
    assert samples(page) == {("clientip_lines_total", labels): 1}


def test_names_are_those_prometheus_and_opentelemetry_ask_for() -> None:
    for metric in METRICS.values():
        assert re.fullmatch(r"[a-z]+(\.[a-z]+)*", metric.name)
        assert re.fullmatch(r"clientip(_[a-z]+)+", metric.exposed)
        assert metric.exposed.endswith("_total") == (metric.kind == "counter")
        assert ("_seconds" in metric.exposed, "_bytes" in metric.exposed) == (metric.unit == "s", metric.unit == "By")
        assert list(metric.bounds) == sorted(set(metric.bounds))
        assert bool(metric.bounds) == (metric.kind == "histogram")
        assert not {"worker", "le"} & {label.name for label in metric.labels}
    assert len({metric.exposed for metric in METRICS.values()}) == len(METRICS)


@pytest.mark.parametrize(
    "defect",
    [
        lambda t: t.add("lines.red", 1, "s"),
        lambda t: t.add("lines", 1),
        lambda t: t.add("lines", 1, "s", "record", "more"),
        lambda t: t.add("lines", 1, "s", "gone"),
        lambda t: t.add("lines", -1, "s", "record"),
        lambda t: t.add("lines", inf, "s", "record"),
        lambda t: t.add("questions.open", 1, "0"),
        lambda t: t.set("lines", 1, "s", "record"),
        lambda t: t.set("questions.open", float("nan"), "0"),
        lambda t: t.set("questions.open", 1, "all"),
        lambda t: t.set("transactions.time", 1),
        lambda t: t.took("questions.open", 1, "0"),
        lambda t: t.took("transactions.time", inf),
        lambda t: t.forget("lines", "s", "record"),
    ],
)
def test_what_is_not_in_the_table_is_a_defect_and_counts_nowhere(defect: Any) -> None:
    worker = Telemetry("any")
    before = worker.snapshot()
    with pytest.raises(ValueError, match=r".+"):
        defect(worker)
    assert worker.snapshot() == before


@pytest.mark.parametrize("text", ["2001:db8::1", "GET / HTTP/1.1", "a b", "", "x" * 64, "s\n", "1e\x00"])
def test_no_text_of_a_line_becomes_a_label(text: str) -> None:
    for name in ("lines", "lines.rejected", "records", "records.unknown", "findings"):
        with pytest.raises(ValueError, match=r" is no (system|outcome|reason|verdict|kind)"):
            Telemetry("any").add(name, 1, text, text)


def test_series_are_bounded_and_the_sum_stays_right() -> None:
    worker = Telemetry("any")
    for number in range(MAX_SERIES + 500):
        worker.add("lines", 2, f"system-{number}", "record")
    found = [value for (name, _), value in samples(page_of(worker)).items() if name == "clientip_lines_total"]
    assert len(found) == MAX_SERIES + 1
    assert sum(found) == 2 * (MAX_SERIES + 500)


def test_a_gauge_that_was_forgotten_is_gone() -> None:
    worker = Telemetry("any")
    for partition in ("0", "1"):
        worker.set("questions.open", 5, partition)
    worker.forget("questions.open", "0")
    worker.forget("questions.open", "7")
    labels = [dict(labels) for (name, labels) in samples(page_of(worker)) if name == "clientip_questions_open"]
    assert labels == [{"worker": "w0", "partition": "1"}]


def test_a_worker_is_ready_when_it_said_so_and_alive_while_it_beats() -> None:
    worker = Telemetry("any")
    fresh = read(worker.snapshot())
    assert not fresh.ready
    assert alive({"a": fresh}, time.monotonic())
    assert not alive({"a": fresh}, time.monotonic() + SILENT_S + 1)
    worker.beat(ready=True)
    beaten = read(worker.snapshot())
    assert beaten.beat >= fresh.beat
    assert ready({"a": beaten}, ["a"])
    assert not ready({"a": beaten}, ["a", "b"])
    assert not ready({"a": beaten, "b": fresh}, ["a", "b"])
    assert samples(page_of(worker))[("clientip_worker_ready", frozenset({("worker", "w0")}))] == 1


def test_a_snapshot_is_one_line_and_reads_back_whole() -> None:
    worker = Telemetry("any")
    worker.add("lines", 3, "s", "record")
    worker.set("memory.held", 1 << 40, "12")
    worker.took("batch.messages", 11)
    assert b"\n" not in worker.snapshot()
    snapshot = read(worker.snapshot())
    assert snapshot.counters["lines"] == [(("s", "record"), 3)]
    assert snapshot.gauges["memory.held"] == [(("12",), 1 << 40)]
    assert snapshot.histograms["batch.messages"][0][1] == Histogram([0, 0, 0, 0, 1, *[0] * 9], 11.0)


# What people read


def test_the_help_names_every_metric_with_its_meaning_and_labels() -> None:
    text = metrics_help()
    for metric in METRICS.values():
        head = next(line for line in text.splitlines() if line.startswith(f"{metric.exposed}:"))
        assert head.endswith(", by " + ", ".join(label.name for label in metric.labels)) or not metric.labels
        assert f"    {metric.meaning}\n    OpenTelemetry: clientip.{metric.name}\n" in text


EXPOSED = {
    metric.exposed + suffix
    for metric in METRICS.values()
    for suffix in (["_bucket", "_sum", "_count"] if metric.kind == "histogram" else [""])
}


@pytest.mark.parametrize("name", ["clientip.json", "alerts.yaml"])
def test_every_metric_of_the_dashboard_and_the_alerts_is_in_the_table(name: str) -> None:
    text = (ROOT / "deploy" / "dashboards" / name).read_text()
    asked = set(re.findall(r"\bclientip_[a-z_]+\b", text))
    assert asked
    assert asked <= EXPOSED


@pytest.mark.parametrize("name", ["clientip.json", "alerts.yaml"])
def test_queries_of_the_dashboard_and_the_alerts_use_labels_and_values_that_exist(name: str) -> None:
    text = (ROOT / "deploy" / "dashboards" / name).read_text().replace('\\"', '"')
    labels = {label.name for metric in METRICS.values() for label in metric.labels}
    grouped = {label for found in re.findall(r"\bby \(([^)]*)\)", text) for label in found.split(", ")}
    assert grouped
    assert grouped <= {*labels, "worker", "instance", "le"}
    matched = set(re.findall(r'[{,]([a-z]+)=~?"([^"]*)"', text)) - {("worker", "$worker")}
    known = [(label.name, label.shape) for metric in METRICS.values() for label in metric.labels]
    words = [(label, word) for label, value in matched for word in value.split("|")]
    assert [
        each for each in words if not any(each[0] == name and shape.fullmatch(each[1]) for name, shape in known)
    ] == []


def test_the_dashboard_asks_for_every_metric_that_matters() -> None:
    board = json.loads((ROOT / "deploy" / "dashboards" / "clientip.json").read_text())
    queries = " ".join(target["expr"] for panel in board["panels"] for target in panel.get("targets", []))
    for name in (
        "lag.processed.time",
        "lag.resume.time",
        "lines",
        "lines.rejected",
        "records",
        "records.unknown",
        "questions.open",
        "facts.held",
        "evicted",
    ):
        assert METRICS[name].exposed in queries
    assert f"{METRICS['transactions.time'].exposed}_bucket" in queries
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
