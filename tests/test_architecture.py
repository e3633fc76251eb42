"""The house rules that a reader would otherwise have to take on trust."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pipeline" / "clientip"

GROUND = ("model", "errors", "reasons", "settings")  # every room may import these; `settings` itself only `model`

ROOMS: dict[str, frozenset[str]] = {  # room → what it may import besides the ground and itself
    "model": frozenset(),
    "errors": frozenset(),
    "reasons": frozenset(),
    "settings": frozenset(),
    "syntax": frozenset(),
    "patterns": frozenset({"syntax"}),
    "framing": frozenset({"syntax"}),
    "trust": frozenset({"syntax"}),
    "outputs": frozenset(),
    "formats": frozenset({"syntax", "patterns"}),
    "joins": frozenset({"syntax", "trust"}),
    "engine": frozenset({"framing", "formats", "trust", "joins"}),
    "pending": frozenset({"engine", "joins", "trust"}),
    "config": frozenset({"syntax", "formats", "framing"}),
    "stream": frozenset({"engine", "pending", "joins", "trust", "syntax"}),
    "diagnose": frozenset({"config", "joins", "trust", "syntax"}),
    "schemas": frozenset({"config", "outputs"}),
    "request_walk": frozenset({"config", "trust", "syntax"}),
    "asgi": frozenset({"config", "request_walk"}),
    "wsgi": frozenset({"config", "request_walk"}),
    "edges.telemetry": frozenset({"config"}),
    "edges.disk": frozenset(),
    "edges.geo": frozenset(),
    "edges.collect": frozenset({"syntax"}),
    "edges.kafka": frozenset({"engine", "framing", "edges.telemetry"}),
    "edges.replay": frozenset(
        {"config", "engine", "pending", "framing", "formats", "joins", "trust", "outputs", "syntax"}
        | {"edges.disk", "edges.geo", "edges.kafka"}
    ),
    "edges.library": frozenset(
        {"config", "engine", "joins", "outputs", "edges.disk", "edges.geo", "edges.replay"},
    ),
    "edges.stream": frozenset(
        {"config", "pending", "stream", "joins", "trust", "outputs"} | {"edges.geo", "edges.kafka", "edges.telemetry"}
    ),
    "edges.cli": frozenset(
        {"config", "engine", "framing", "formats", "joins", "outputs", "diagnose", "syntax"}
        | {"edges.disk", "edges.collect", "edges.kafka", "edges.replay", "edges.stream", "edges.telemetry"}
    ),
    "__main__": frozenset({"edges.cli"}),
}

HOMES = {  # third-party package → the only rooms or modules that may import it
    "maxminddb": {"edges.geo"},
    "click": {"edges.cli"},
    "simdjson": {"syntax.jsonlines"},
    "opentelemetry": {
        "syntax.otlp",
        "formats.otlp.records",
        "edges.telemetry.telemetry",
        "edges.telemetry.otlp_export",
    },
    "prometheus_client": {"edges.telemetry.prometheus_page"},
    "confluent_kafka": {"edges.kafka", "edges.stream", "edges.replay.kafka_fetch", "edges.replay.kafka_send"},
    "pyarrow": {"edges.library.arrow"},
    "zstandard": {"edges.disk.compression"},
}

IMPURE_MODULES = {"os", "socket", "subprocess", "time", "random", "threading", "multiprocessing", "asyncio", "sys"}
READS_FILES = {"config.load", "schemas"}  # TOML and schema files are their input
MIDDLEWARE = {"asgi", "wsgi"}  # edges too, under names that people import

MAX_FILE, MAX_FUNCTION, MAX_HOT, MAX_MEDIAN = 400, 40, 70, 8  # lines
HOT = {  # longer than MAX_FUNCTION because a benchmark pays for it; each names the benchmark in a comment
    "trust.walk.resolve",
    "patterns.columns.compile_columns",
    "formats.traefik.access.observe",
}
READS_CLIENT = {  # modules that mean where a walk ended, whatever its verdict; all others mean `Resolution.named`
    "model",
    "trust.walk",  # makes it
    "trust.answers",  # takes it along to the line that awaits it
    "joins.holders",  # of the answers, which carry their verdict
    "joins.identities",
    "diagnose.sandbox",  # `resolve` answers with the end of an `internal` request, too
    "diagnose.prose",  # says "Began at"
}
LAST_RESORT = {  # may catch everything, to report a defect; and end, but for what answers probes
    "edges.cli.main",
    "edges.telemetry.http_server",
}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name without `clientip.`; the package itself is ""."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        names[".".join(parts)] = path
    return names


def room(module: str) -> str:
    """The room a module stands in; the rooms of the edges have two words."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "edges" else parts[0]


def allowed(name: str) -> frozenset[str]:
    ground = {"settings": {"model"}, "model": set(), "errors": set(), "reasons": set()}.get(name, set(GROUND))
    return ROOMS[name] | ground | {name, ""}  # "": the package itself, for its version


def ours(path: Path) -> set[str]:
    """The modules of the package that a file imports, named as `modules` names them."""
    known = modules()
    found = set()
    for target in imports(path):
        if target == "clientip" or target.startswith("clientip."):
            name = target.removeprefix("clientip").removeprefix(".")
            found.add(name if name in known else name.rpartition(".")[0])
    return found


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "clientip" or node.module.startswith("clientip."):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups that reach themselves: strongly connected components of more than one (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in arrows.get(name, ()):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in arrows:
        if name not in index:
            visit(name)
    return found


def test_a_module_imports_only_what_its_room_may() -> None:
    wrong = []
    for name, path in modules().items():
        if name == "" or room(name) == "edges":
            continue
        wrong += [f"{name} imports {other}" for other in ours(path) if room(other) not in allowed(room(name))]
    assert wrong == []


def test_no_module_and_no_room_reaches_itself() -> None:
    within = {name: {each for each in ours(path) if each not in ("", name)} for name, path in modules().items()}
    between: dict[str, set[str]] = {}
    for name, others in within.items():
        between.setdefault(room(name), set()).update({room(each) for each in others} - {room(name)})
    assert circles(within) == []
    assert circles(between) == []
    assert circles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}) == [["a", "b", "c"]]


def test_the_table_of_rooms_is_the_one_in_the_architecture_page() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| \d \| (`[^|]+`) \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE)
    written = {}
    for names, others in rows:
        for name in re.findall(r"`([\w./]+)`", names):
            written[name.strip("/").replace("/", ".")] = {
                each.strip("/").replace("/", ".") for each in re.findall(r"`([\w./]+)`", others)
            }
    assert written == {name: set(others) for name, others in ROOMS.items()}


def test_every_room_says_in_its_first_line_what_it_is() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    wrong = []
    for name, path in modules().items():
        if path.name == "__init__.py" and name not in ("", "edges"):
            first = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
            if name in ROOMS and first not in page:
                wrong.append(f"{name}: {first!r} is not its row in ARCHITECTURE.md")
            if not first:
                wrong.append(f"{name} says nothing")
    assert wrong == []


def test_a_public_class_name_stands_once_in_the_package() -> None:
    places: dict[str, list[str]] = {}
    for name, path in modules().items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_every_third_party_package_has_one_home() -> None:
    wrong = []
    for name, path in modules().items():
        for target in imports(path):
            package = target.partition(".")[0]
            if package in HOMES and not {name, room(name)} & HOMES[package]:
                wrong.append(f"{name} imports {target}")
    assert wrong == []


def test_the_core_has_no_clock_and_no_io() -> None:
    wrong = []
    for name, path in modules().items():
        if name.startswith("edges") or name in READS_FILES | MIDDLEWARE:
            continue
        wrong += [f"{name} imports {target}" for target in imports(path) if target.partition(".")[0] in IMPURE_MODULES]
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        wrong += [f"{name} calls {call}" for call in calls & {"open", "print", "input", "eval", "exec"}]
    assert wrong == []


def test_families_of_formats_do_not_see_each_other_only_the_table_does() -> None:
    shared = {("otlp", "traefik")}  # Traefik writes its access log over OTLP, too
    wrong = []
    for name, path in modules().items():
        parts = name.split(".")
        if parts[0] != "formats" or len(parts) < 2:
            continue
        for other in ours(path):
            to = other.split(".")
            if to[0] == "formats" and len(to) > 1 and to[1] != parts[1] and (parts[1], to[1]) not in shared:
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Every function of the package: its module and name, its node, the text of its file."""
    for name, path in modules().items():
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}.{node.name}", node, text


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


def test_files_and_functions_stay_small() -> None:
    counts = {name: path.read_text().count("\n") for name, path in modules().items()}
    wrong = [f"{name}: {count} lines" for name, count in counts.items() if count > MAX_FILE]
    lengths = [(name, length(node)) for name, node, _ in functions()]
    wrong += [f"{name}: {lines} lines" for name, lines in lengths if lines > (MAX_HOT if name in HOT else MAX_FUNCTION)]
    assert wrong == []
    assert median(lines for _, lines in lengths) <= MAX_MEDIAN


def test_a_function_may_be_long_only_if_it_names_the_benchmark_that_pays_for_it() -> None:
    stages = (ROOT / "benchmarks" / "__main__.py").read_text()
    named = {}
    for name, node, text in functions():
        if name in HOT:
            own = "\n".join(text.splitlines()[node.lineno - 3 : node.end_lineno])
            found = re.search(r"# Hot: the stage `(\w+)` of `python -m benchmarks`", own)
            named[name] = length(node) > MAX_FUNCTION and found is not None and f'"{found[1]}": bench_' in stages
    assert named == dict.fromkeys(HOT, True)


def test_outside_the_walk_and_the_joins_a_client_is_read_where_the_verdict_names_one() -> None:
    wrong = []
    for name, path in modules().items():
        reads = [each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Attribute)]
        if name not in READS_CLIENT:
            wrong += [f"{name}:{node.lineno} reads .client" for node in reads if node.attr == "client"]
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
