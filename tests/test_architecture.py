"""The house rules that a reader would otherwise have to take on trust."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pipeline"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"pipeline", "model", "errors", "reasons", "transports"}),
    frozenset({"addresses", "times", "patterns", "jsonlines"}),
    frozenset({"forwarded", "proxyheader", "traceids", "slots", "roles", "answers"}),
    frozenset({"headers", "stamps", "evidence", "coverage"}),
    frozenset({"flows"}),
    frozenset({"ordering"}),
    frozenset({"joins"}),
    frozenset({"said", "owners", "wrappers", "columns", "shipped"}),
    frozenset({"formats.*"}),
    frozenset({"findings", "formats", "messages"}),
    frozenset({"trust", "outputs.rows"}),
    frozenset({"outputs.*"}),
    frozenset({"outputs"}),
    frozenset({"telling"}),
    frozenset({"asking"}),
    frozenset({"inquiry"}),
    frozenset({"joining", "joinchunk", "ledger"}),
    frozenset({"engine", "shapes", "heard", "heldfacts"}),
    frozenset({"shelf", "deciding"}),
    frozenset({"answering", "intake"}),
    frozenset({"resuming", "walking"}),
    frozenset({"keyshapes"}),
    frozenset({"streamkeys"}),
    frozenset({"configkeys", "settings", "places"}),
    frozenset({"ownership", "drawing", "streamconfig", "streaming"}),
    frozenset({"config"}),
    frozenset({"pursuing", "offsets", "mirror"}),
    frozenset({"explain", "whatif", "schemas", "dangers"}),
    frozenset({"edges.*", "edges"}),
)

HOMES = {  # third-party package → the only modules that may import it
    "maxminddb": {"edges.geo"},
    "typer": {"edges.cli", "edges.streamcli"},
    "simdjson": {"jsonlines"},
    "opentelemetry": {"formats.otlp", "formats.otlp_wire", "edges.telemetry", "edges.exporting"},
    "confluent_kafka": {
        "edges.kafka",
        "edges.backlog",
        "edges.member",
        "edges.transactions",
        "edges.topics",
        "edges.reader",
        "edges.rawlines",
        "edges.rawends",
        "edges.answerer",
        "edges.statelog",
        "edges.fromkafka",
        "edges.tokafka",
    },
    "zstandard": {"edges.compression"},
}

PURE = ("edges",)  # everything outside these folders has no clock, no I/O, no environment
IMPURE_MODULES = {"os", "socket", "subprocess", "time", "random", "threading", "multiprocessing", "asyncio", "sys"}
READS_FILES = {"config", "schemas"}  # TOML and schema files are their input

MAX_FILE, MAX_FUNCTION = 400, 40
HOT = {  # longer than 40 lines because a benchmark pays for it; each says so in a comment
    "trust.resolve",
    "columns.compile_columns",
    "formats.traefik.compile_fields",
    "formats.traefik.observe",
    "edges.cli.replay_command",  # not hot: its length is the declaration of its options
}
LAST_RESORT = {"edges.cli", "edges.pool"}  # may catch everything, to report a defect and end


def modules() -> dict[str, Path]:
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        names[".".join(parts) or "pipeline"] = path
    return names


def layer(module: str) -> int:
    for number, members in enumerate(LAYERS):
        if module in members:
            return number
    folder = module.partition(".")[0] + ".*"
    for number, members in enumerate(LAYERS):
        if "." in module and folder in members:
            return number
    raise AssertionError(f"{module} stands in no layer: add it to LAYERS")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "pipeline" or node.module.startswith("pipeline."):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_a_module_imports_only_from_lower_layers() -> None:
    known = modules()
    wrong = []
    for name, path in known.items():
        for target in imports(path):
            other = target.removeprefix("pipeline.") if target.startswith("pipeline.") else None
            if other is None or other not in known or other == name:
                continue
            if name.partition(".")[0] == other.partition(".")[0] in {"edges", "formats"}:
                continue  # edges are one layer; which formats see each other is the law below
            if layer(other) >= layer(name):
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_every_third_party_package_has_one_home() -> None:
    wrong = []
    for name, path in modules().items():
        for target in imports(path):
            package = target.partition(".")[0]
            if package in HOMES and name not in HOMES[package]:
                wrong.append(f"{name} imports {target}")
    assert wrong == []


def test_the_core_has_no_clock_and_no_io() -> None:
    wrong = []
    for name, path in modules().items():
        if name.startswith(PURE) or name in READS_FILES:
            continue
        wrong += [f"{name} imports {target}" for target in imports(path) if target.partition(".")[0] in IMPURE_MODULES]
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        wrong += [f"{name} calls {call}" for call in calls & {"open", "print", "input", "eval", "exec"}]
    assert wrong == []


def test_formats_do_not_see_each_other_only_the_table_does() -> None:
    shared = {"envoy_operators"}  # kernels shared by the formats of one family
    families = {("varnish", "apache"), ("varnish", "apache_pattern"), ("otlp", "traefik"), ("otlp_fields", "traefik")}
    wrong = []
    for name, path in modules().items():
        if not name.startswith("formats."):
            continue
        own = name.removeprefix("formats.")
        for target in imports(path):
            other = target.removeprefix("clientip.formats.").partition(".")[0]
            if not target.startswith("clientip.formats.") or other in shared or (own, other) in families:
                continue
            if other.partition("_")[0] != own.partition("_")[0]:
                wrong.append(f"{own} imports {other}")
    assert wrong == []


def test_files_and_functions_stay_small() -> None:
    wrong = []
    for name, path in modules().items():
        text = path.read_text()
        lines = text.count("\n")
        if lines > MAX_FILE:
            wrong.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > MAX_FUNCTION and f"{name}.{node.name}" not in HOT:
                    wrong.append(f"{name}.{node.name}: {length} lines")
    assert wrong == []


def test_there_is_no_eval_no_shell_and_no_silent_except() -> None:
    wrong = []
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                silent = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
                broad = node.type is None or (
                    isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
                )
                if silent or (broad and name not in LAST_RESORT):
                    wrong.append(f"{name}:{node.lineno} except")
            if isinstance(node, ast.keyword) and node.arg == "shell":
                wrong.append(f"{name}: shell=")
    assert wrong == []
