"""The pages are true: their commands run in a fresh clone, what they name exists, and they keep their size."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from clientip.config.load import load

from tests.worlds.pages import ROOT, Page, clone, environment, pages, read_on

PAGES = {page.path: page for page in pages()}
WITH_COMMANDS = [path for path, page in PAGES.items() if any(block.kind == "sh" for block in page.blocks)]
WITH_EDGES = [path for path in WITH_COMMANDS if any(block.needs for block in PAGES[path].blocks)]

LONGEST = 110  # characters of a line, unless it is of a table
LENGTHS = {"README.md": 150}  # lines of a page; 300 of any other
MADE = {"schemas/columns.md", "schemas/fields.md", "schemas/words.md"}  # by `make schemas`, out of tables

PRIVATE = ("question", "fact", "witness", "watermark", "vouch", "claim", "statement")
FOR_OPERATORS = ("README.md", "schemas/README.md", *(path for path in PAGES if path.startswith("deploy/")))


@pytest.mark.parametrize("path", WITH_COMMANDS)
def test_the_commands_of_a_page_run_in_a_fresh_clone_and_print_what_it_shows(path: str, tmp_path: Path) -> None:
    read_on(PAGES[path].blocks, clone(tmp_path), edges=False)


@pytest.mark.edge
@pytest.mark.parametrize("path", WITH_EDGES)
def test_commands_that_need_root_brokers_or_the_network_run_too(path: str, tmp_path: Path) -> None:
    read_on(PAGES[path].blocks, clone(tmp_path), edges=True)


def test_every_command_is_shown_where_it_is_run() -> None:
    shown = "\n".join(block.text for page in PAGES.values() for block in page.blocks if block.kind == "sh")
    commands = {"init", "check", "replay", "explain", "resolve", "read", "stream", "kafka topics", "collect conntrack"}
    assert {word for word in commands if f"clientip {word}" in shown} == commands


@pytest.mark.parametrize("path", PAGES)
def test_a_fence_says_what_it_holds(path: str) -> None:
    assert {block.kind for block in PAGES[path].blocks} <= {"sh", "toml", "json", "text", "python"}
    assert PAGES[path].text.count("```") == 2 * len(PAGES[path].blocks)


@pytest.mark.parametrize("path", PAGES)
def test_every_configuration_that_a_page_shows_loads(path: str, tmp_path: Path) -> None:
    for number, block in enumerate(block for block in PAGES[path].blocks if block.kind == "toml"):
        (tmp_path / f"{number}.toml").write_text(block.text)
        assert load([tmp_path / f"{number}.toml"]).systems


@cache
def help_of(*words: str) -> str:
    """What a command says of itself; "" if there is no such command."""
    done = subprocess.run(
        ["clientip", *words, "--help"], env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    return "" if done.returncode else done.stdout


def commands_of(page: Page) -> list[list[str]]:
    """Every command that a page names, in a fence or between backticks, as words."""
    fenced = [block.text.replace("\\\n", " ") for block in page.blocks if block.kind in ("sh", "text")]
    texts = [*page.inline, *(line.strip() for text in fenced for line in text.splitlines())]
    return [re.split(r"\s+[|&;><]", text)[0].split() for text in texts]


def wrong_in(words: list[str]) -> str:
    """What does not exist of a command; "" if all of it does."""
    options = [word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z0-9-]*(=.*)?", word)]
    match words:
        case ["clientip", command, *rest]:
            inner = [rest[0]] if command in ("kafka", "collect") and rest else []
            text = help_of(command, *inner) if not command.startswith("-") else help_of()
            missing = [each for each in options if not re.search(rf"(?<![\w-]){each}(?![\w-])", text)]
            return "" if text and not missing else f"clientip {command}: {missing}"
        case ["make", *targets]:
            makefile = (ROOT / "Makefile").read_text()
            missing = [each for each in targets if not re.search(rf"^{re.escape(each)}:", makefile, re.MULTILINE)]
            return "" if not missing else f"make {missing}"
        case ["python", "-m", module, *_]:
            found = find_spec(module)
            folder = ROOT / module.split(".")[0]
            source = "\n".join(path.read_text() for path in folder.rglob("*.py"))
            missing = [each for each in options if f'"{each}"' not in source and each != "-m"]
            return "" if found and not missing else f"python -m {module}: {missing}"
        case ["sh", script, *_] if not (ROOT / script).exists():
            return f"sh {script}"
    return ""


@pytest.mark.parametrize("path", PAGES)
def test_every_command_target_and_option_that_a_page_names_exists(path: str) -> None:
    assert [wrong for words in commands_of(PAGES[path]) if (wrong := wrong_in(words))] == []


def test_what_does_not_exist_is_noticed() -> None:
    for text in (
        "clientip replays",
        "clientip replay --forever",
        "make cake",
        "python -m benchmarks --none",
        "sh no.sh",
    ):
        assert wrong_in(text.split()), text
    for text in ("clientip replay --restart", "make bench", "python -m benchmarks --size 100", "clientip --version"):
        assert not wrong_in(text.split()), text


def leads(path: str, link: str) -> bool:
    """Whether a link of a page leads to a file, and to a heading in it; those to other places are not tried."""
    place, _, anchor = link.partition("#")
    target = (ROOT / path).parent / place if place else ROOT / path
    if "://" in place or not target.exists():
        return "://" in place
    return not anchor or anchor in PAGES[str(target.resolve().relative_to(ROOT))].anchors


@pytest.mark.parametrize("path", PAGES)
def test_every_file_that_a_page_names_exists(path: str) -> None:
    named = r"(benchmarks|deploy|pipeline|schemas|tests)/[\w./-]*"
    missing = [text for text in PAGES[path].inline if re.fullmatch(named, text) and not (ROOT / text).exists()]
    missing += [link for link in PAGES[path].links if not leads(path, link)]
    assert missing == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_keeps_its_length_and_its_width(path: str) -> None:
    lines = PAGES[path].text.splitlines()
    assert len(lines) <= LENGTHS.get(path, 300)
    assert [line for line in lines if len(line) > LONGEST and not line.lstrip().startswith("|")] == []


@pytest.mark.parametrize("path", FOR_OPERATORS)
def test_a_private_word_is_explained_where_an_operator_first_meets_it(path: str) -> None:
    """In bold, in the sentence that explains it."""
    if path in MADE:
        return
    unexplained = []
    for word in PRIVATE:
        first = re.search(rf"(\*\*)?\b{word}(e?s|ed|es)?\b(\*\*)?", PAGES[path].words, re.IGNORECASE)
        if first and not (first[1] and first[3]):
            unexplained.append(PAGES[path].words[max(0, first.start() - 40) : first.end() + 20])
    assert unexplained == []


def test_the_readme_lists_every_network_there_is() -> None:
    listed = {Path(link).name for link in PAGES["README.md"].links if link.startswith("deploy/networks/")}
    assert listed - {"README.md"} >= {path.name for path in (ROOT / "deploy/networks").glob("*.toml")}


def test_every_page_is_reached_from_the_readme() -> None:
    reached, todo = {"README.md"}, ["README.md"]
    while todo:
        page = todo.pop()
        for link in PAGES[page].links:
            target = ((ROOT / page).parent / link.partition("#")[0]).resolve()
            name = str(target.relative_to(ROOT)) if target.is_relative_to(ROOT) else ""
            if name in PAGES and name not in reached:
                reached.add(name)
                todo.append(name)
    assert PAGES.keys() - reached == set()
