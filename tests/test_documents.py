"""Documents and recipes say what is so: commands, links, choices, modules; no import cycles."""

from __future__ import annotations

import ast
import graphlib
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from composed import composed, current
from descent.config.check import check

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"


def fenced(text: str) -> list[str]:
    """The lines of all ``` blocks."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.M | re.S)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def documents() -> dict[str, list[str]]:
    """Lines that may hold commands: code blocks of the documents, comments of the configs."""
    found = {name: fenced((ROOT / name).read_text()) for name in ("README.md", "CONTRIBUTING.md")}
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
        found[str(path.relative_to(ROOT))] = comments
    return found


def commands() -> list[tuple[str, str, bool]]:
    """(where it stands, the command, whether it is shown to fail) for every runnable command."""
    found = []
    for name, lines in documents().items():
        for line, after in zip(lines, [*lines[1:], ""], strict=False):
            typed = re.search(r"python (src/(?:train|eval|report|export)\.py .*)", line)
            command = re.split(r"\s{2,}| #", typed.group(1))[0] if typed else "<"
            if "sweep=optuna" in command and find_spec("optuna") is None:
                continue  # an extra, which `make test-slow` installs
            if "<" not in command:
                found.append((name, command, after.startswith("error: ")))
    return found


def composes(command: str) -> None:
    """Compose and check what the command would run; of a sweep, its first job."""
    script, *words = shlex.split(command)
    words = [w for w in words if w not in ("-m", "--multirun", "--help", "--resolve", "--json")]
    if "--cfg" in words:
        del words[words.index("--cfg") : words.index("--cfg") + 2]
    overrides = []
    for word, parsed in zip(words, OverridesParser.create().parse_overrides(words), strict=True):
        if parsed.is_sweep_override():
            span = parsed.value()
            interval = isinstance(span, IntervalSweep)
            first = span.start if interval else next(iter(parsed.sweep_string_iterator()))
            word = f"{word.split('=')[0]}={first}"
        overrides.append(word)
    check(current(composed(Path(script).stem, *overrides)))


@pytest.mark.parametrize(("where", "command", "fails"), commands())
def test_every_command_of_documents_and_recipes_can_be_typed(
    where: str, command: str, fails: bool
) -> None:
    if fails:
        with pytest.raises((HydraException, OmegaConfBaseException)):
            composes(command)
    else:
        composes(command)


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        links = re.findall(r"\]\(([^)#\s]+)\)", (ROOT / name).read_text())
        local = [link for link in links if "://" not in link]
        assert [link for link in local if not (ROOT / link).exists()] == [], name


def test_the_readme_lists_the_choices_there_are() -> None:
    """Rows of a table such as | `data` | digits, wine (small), table |."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", (ROOT / "README.md").read_text(), re.M)
    for group, cells in [row for row in rows if (ROOT / "conf" / row[0]).is_dir()]:
        listed = {cell.strip() for cell in re.sub(r"\([^)]*\)", "", cells).split(",")}
        there = {p.stem for p in (ROOT / "conf" / group).glob("*.yaml")} - {"base"}
        assert listed == there, group


def test_the_readmes_tree_names_the_modules_there_are() -> None:
    blocks = re.findall(r"^```text\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    for tree in [b for b in blocks if "src/" in b and "descent/" in b]:
        named = set(re.findall(r"\b(\w+\.py)\b", tree))
        top = {p.name for place in (SRC, SRC / "descent") for p in place.glob("[a-z]*.py")}
        assert named <= {p.name for p in SRC.rglob("*.py")}, "names what is gone"
        assert top <= named, f"not in the tree: {sorted(top - named)}"


def test_the_files_that_documents_name_are_there() -> None:
    roots = (ROOT, SRC, SRC / "descent", ROOT / "tests")
    for name in ("README.md", "CONTRIBUTING.md"):
        text = re.sub(r"^```.*?^```", "", (ROOT / name).read_text(), flags=re.M | re.S)
        named = set(re.findall(r"`([\w/]+/[\w.]+\.(?:py|yaml|json))`", text))
        gone = [n for n in named if not any((root / n).exists() for root in roots)]
        assert [n for n in gone if not n.endswith("mine.yaml")] == [], name  # the reader's own


def test_no_module_imports_itself_by_a_detour() -> None:
    paths = {".".join(p.relative_to(SRC).with_suffix("").parts): p for p in SRC.rglob("[a-z]*.py")}
    graph: dict[str, set[str]] = {name: set() for name in paths}
    for name, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                found = {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
                graph[name] |= found & paths.keys()
            elif isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names} & paths.keys()
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("cycle: " + " -> ".join(error.args[1]))


def test_what_answers_quickly_loads_no_heavy_library_by_a_detour() -> None:
    script = (
        "import sys, descent.cli, descent.job, descent.evaluation, descent.report.curves\n"
        "import descent.data.bundled, descent.data.line, descent.data.table\n"
        "heavy = {'torch', 'lightning', 'matplotlib', 'sklearn', 'polars', 'tensorboard'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
