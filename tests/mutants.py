"""Mutation testing of the code that decides whom we believe: `python tests/mutants.py [module …]`.

Each mutant is one small change to one of MODULES.  The tests named there must fail on it; a
mutant they pass either shows a missing test or changes nothing, and then `mutants.toml` says why.

A mutant lives only in a forked process that imports it in place of the file, so nothing on disk
changes and starting one costs no more than its tests.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import math
import os
import resource
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import hypothesis
import pytest

ROOT: Final = Path(__file__).parent.parent
WALKS: Final = (
    "trust/test_trust.py",
    "trust/test_trust_edges.py",
    "trust/test_internal.py",
    "trust/test_proxy_source.py",
    "trust/test_attacks.py",
    "trust/test_header_twins.py",
    "trust/test_header_cursor_edges.py",
    "trust/test_answers_edges.py",
    "trust/test_held.py",
    "diagnose/test_sandbox.py",
    "joins/test_joins.py",
    "trust/test_laws.py",
)
TEXTS: Final = ("syntax/test_addresses.py", "syntax/test_entries.py", "syntax/test_addresses_edges.py")
JOINS: Final = ("joins/test_joins_edges.py", "joins/test_joins.py")
MODULES: Final = {  # module → the tests that answer for it, the quickest first
    "trust.walk": WALKS,
    "trust.graph": WALKS,
    "trust.statements": WALKS,
    "trust.header_cursor": WALKS,
    "trust.owners": WALKS,
    "syntax.addresses": TEXTS,
    "joins.flows": JOINS,
    "joins.alignment": JOINS,
    "joins.coverage": JOINS,
}
EXAMPLES: Final = 25  # of each hypothesis test: mutants are told apart by the cases, the laws confirm
SLOWER: Final = 4  # times the processor time of the unchanged file; an endless loop is a mutant found

SWAPPED: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.Break: ast.Continue,
    ast.Continue: ast.Break,
}
STATEMENTS: Final = (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise)


class Place(NamedTuple):
    """Where a node hangs: a field of its parent, or an item of a list there."""

    parent: ast.AST
    field: str
    index: int | None

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


class Mutant(NamedTuple):
    """One change.  `name` says it in words that outlive moved lines."""

    name: tuple[str, str, str, str]  # module, function, statement before, statement after
    source: bytes


def _file(module: str) -> Path:
    return ROOT / "pipeline" / "clientip" / f"{module.replace('.', '/')}.py"


def mutants(module: str) -> Iterator[Mutant]:
    """Every mutant of a module, each name once: equal lines of a function count as one place."""
    tree = ast.parse(_file(module).read_text())
    met: dict[tuple[str, str, str, str], int] = {}
    for function, statement, place, node, other in list(_changes(tree, "", tree)):
        before = _head(statement)
        place.put(other)
        whole = other if node is statement else statement
        after = _head(whole)
        text = ast.unparse(ast.fix_missing_locations(tree))
        place.put(node)
        name = (module, function, before, after)
        met[name] = met.get(name, 0) + 1
        if met[name] > 1:
            name = (module, function, before, f"{after}  # {met[name]}")
        yield Mutant(name, text.encode())


def unchanged(module: str) -> bytes:
    """A module's source, through the same hands as its mutants."""
    return ast.unparse(ast.parse(_file(module).read_text())).encode()


Change = tuple[str, ast.AST, Place, ast.AST, ast.AST]


def _changes(node: ast.AST, function: str, statement: ast.AST) -> Iterator[Change]:
    """Depth first: (function, statement, place, node there, node instead)."""
    for place, child in _children(node):
        inside = (
            f"{function}.{child.name}".lstrip(".") if isinstance(child, ast.FunctionDef | ast.ClassDef) else function
        )
        here = child if isinstance(child, ast.stmt) else statement
        for other in _instead(child, place):
            yield inside, here, place, child, other
        yield from _changes(child, inside, here)


def _children(node: ast.AST) -> Iterator[tuple[Place, ast.AST]]:
    """What can be changed under a node: no annotations, decorators, docstrings, asserts or types."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
        return
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "ctx"):
            continue
        if isinstance(value, ast.AST):
            yield Place(node, field, None), value
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, ast.AST) and not isinstance(item, ast.Assert) and not _is_docstring(item):
                    yield Place(node, field, index), item


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _instead(node: ast.AST, place: Place) -> Iterator[ast.AST]:
    """The nodes that may stand in the place of this one."""
    if type(node) in SWAPPED:
        yield SWAPPED[type(node)]()
    if isinstance(node, STATEMENTS):
        yield ast.copy_location(ast.Pass(), node)
    if place.field in ("test", "ifs") and isinstance(node, ast.expr):
        yield ast.Constant(True)
        yield ast.Constant(False)
    if isinstance(node, ast.BoolOp):
        for index in range(len(node.values)):
            left = node.values[:index] + node.values[index + 1 :]
            yield left[0] if len(left) == 1 else ast.BoolOp(node.op, left)
    if isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):
        yield node.operand
    if isinstance(node, ast.Constant):
        yield from _other_constants(node.value)


def _other_constants(value: object) -> Iterator[ast.Constant]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
        yield ast.Constant(value - 1)
    elif isinstance(value, str):
        yield ast.Constant(f"{value}~")


def _head(statement: ast.AST) -> str:
    """A statement in one line; of a compound one the part before its body."""
    return ast.unparse(ast.fix_missing_locations(statement)).partition("\n")[0]


class _Loader(importlib.machinery.SourceFileLoader):
    """Gives one module other source than its file has."""

    def __init__(self, module: str, source: bytes) -> None:
        super().__init__(f"clientip.{module}", str(_file(module)))
        self._source = source

    def get_code(self, fullname: str) -> object:
        return compile(self._source, self.path, "exec", dont_inherit=True)


class _Finder:
    def __init__(self, module: str, source: bytes) -> None:
        self._name, self._loader = f"clientip.{module}", _Loader(module, source)

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> object:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._loader.path, loader=self._loader)


def passes(module: str, source: bytes) -> bool:
    """Whether the tests pass with this source of a module; to be called in a process of its own."""
    sys.meta_path.insert(0, _Finder(module, source))  # type: ignore[arg-type]
    import tests.worlds.sizes  # noqa: PLC0415  # after the fork, so that no pipeline module is loaded before

    tests.worlds.sizes.EXAMPLES = EXAMPLES
    files = [str(ROOT / "tests" / name) for name in MODULES[module]]
    chosen = [str(_file(module)), *(name for name in files if Path(name).exists())]
    options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-m", "not prove and not edge"]
    # Plain: pytest's own importer would otherwise come before ours.
    return pytest.main([*options, *chosen]) == 0


def _fork(module: str, source: bytes, seconds: int | None = None) -> int:
    """A process that runs the tests; with a limit of processor time it is quiet.

    A limit by the clock would take every mutant on a busy machine for one that was found.
    """
    child = os.fork()
    if child:
        return child
    if seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
    survived = 1
    try:
        survived = passes(module, source)
    finally:  # whatever a mutant does to pytest itself, it is found and this copy of us ends here
        os._exit(0 if survived is True else 1)


def run(every: Sequence[Mutant], workers: int, seconds: int) -> list[Mutant]:
    """The mutants that the tests do not notice; `seconds` of processor time for each."""
    waiting, running, left = list(reversed(every)), dict[int, Mutant](), list[Mutant]()
    while waiting or running:
        while waiting and len(running) < workers:
            mutant = waiting.pop()
            running[_fork(mutant.name[0], mutant.source, seconds)] = mutant
        time.sleep(0.01)
        for child, mutant in list(running.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                del running[child]
                if status == 0:
                    left.append(mutant)
    return left


def explained() -> set[tuple[str, str, str, str]]:
    """Mutants that change nothing: the rows of `mutants.toml`, each with its reason under `why`."""
    rows = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())["equivalent"]
    assert all(row["why"] for row in rows)
    return {(row["module"], row["function"], row["was"], now) for row in rows for now in row["now"]}


def main(modules: Sequence[str]) -> int:
    """Exit code 0 if every mutant is killed or explained, and every explanation is needed."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, deadline=None, phases=phases)
    hypothesis.settings.load_profile("mutants")
    reasons, failed = explained(), False
    for module in modules or MODULES:
        _, status, used = os.wait4(_fork(module, unchanged(module)), 0)
        if status != 0:
            print(f"{module}: the tests fail on the unchanged file")
            return 1
        seconds = SLOWER * math.ceil(used.ru_utime + used.ru_stime)
        every = list(mutants(module))
        survivors = {mutant.name for mutant in run(every, len(os.sched_getaffinity(0)), seconds)}
        known = {name for name in reasons if name[0] == module}
        print(
            f"{module}: {len(every)} mutants, {len(every) - len(survivors)} killed, {len(survivors & known)} explained"
        )
        for name in sorted(survivors - known):
            print(f"  survived in {name[1] or 'the module'}:\n    - {name[2]}\n    + {name[3]}")
        for name in sorted(known - survivors):
            print(
                f"  explained but not there or killed, in {name[1] or 'the module'}:\n    - {name[2]}\n    + {name[3]}"
            )
        failed = failed or survivors != known
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
