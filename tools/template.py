"""This tree as the beginning of your own: under another name, and without what you do not need.

    make new name=acme                      # a copy in ../acme, in which descent is called acme
    make new name=acme to=.                 # this tree itself
    make drop part=dashboard                # without a part: dashboard, report or stacks

Only Python's own library is needed.
"""

from __future__ import annotations

import ast
import keyword
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "descent"
# what is no name of ours: the method
METHOD = "".join(f"(?<!{word}{gap})" for word in ("[Gg]radient", "batch", "plain") for gap in " _")
SMALL, LARGE = re.compile(f"{METHOD}descent"), re.compile(f"{METHOD}Descent")

REPORT, ANALYSIS = Path("src/descent/report"), Path("src/descent/analysis")
# what a run needs of its report: its curves and its table
OF_A_RUN = ("__init__", "curves", "record", "style", "terminal")
# what sweeps need of the statistics: the summary and which run is the best
OF_A_SWEEP = ("__init__", "summary", "trials", "best")


@dataclass(frozen=True)
class Part:
    """What can be taken out.

    Attributes:
        paths: files and directories, as patterns.
        cuts: texts that are cut out of files; a line that is empty then goes as well.
        kept: modules of a package that stay, with what they import of it; the others go.
    """

    paths: tuple[str, ...]
    cuts: dict[str, tuple[str, ...]]
    kept: dict[Path, tuple[str, ...]] = field(default_factory=dict)


def _carried(script: str) -> str:
    return f'"src/{script}.py" = "descent/scripts/{script}.py"'


PARTS = {
    "dashboard": Part(
        ("src/dashboard.py", "conf/dashboard.yaml", "src/descent/dashboard", "tests/dashboard",
         "tests/browser/test_dashboard.py"),
        {"pyproject.toml": (_carried("dashboard"),)},
    ),
    "report": Part(
        ("src/report.py", "conf/report.yaml", "src/descent/report/sweep",
         "src/descent/report/*.html", "src/descent/report/*.css", "tests/report", "tests/browser",
         "tests/analysis"),
        {"pyproject.toml": (_carried("report"),)},
        {REPORT: OF_A_RUN, ANALYSIS: OF_A_SWEEP},
    ),
    "stacks": Part(
        ("src/hydra_plugins", "tests/sweep", "conf/sweep/random.yaml"),
        {
            "pyproject.toml": (
                '"src/hydra_plugins", ',
                'descent_launcher = "hydra_plugins.descent_stack.launcher:StackLauncher"',
                'descent_sweeper = "hydra_plugins.descent_stack.sweeper:GridSweeper"',
            ),
            "conf/hydra/default.yaml": ("- override launcher: stack", "- override sweeper: grid"),
        },
        {Path("src/descent/sweep"): ("__init__", "after")},
    ),
}  # fmt: skip


class RefusedError(Exception):
    """What cannot be done, in one sentence."""


def files(root: Path) -> list[Path]:
    """Return the files of a tree that git knows or would take, relative to it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root,
        capture_output=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        raise RefusedError(f"{root} is no clone, and only git tells which files are its own.")
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return [Path(name) for name in names if (root / name).is_file()]


def check_name(name: str) -> None:
    """Refuse what cannot be a package's name, or is another's already."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,39}", name) or keyword.iskeyword(name):
        raise RefusedError(
            f"name={name} cannot be a package's name; give small letters, digits and underscores, "
            "such as name=acme."
        )
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), re.M)
    taken = {*sys.stdlib_module_names, *(pin.lower().replace("-", "_") for pin in pinned)}
    if name in {*taken, "sklearn", "yaml", "hydra", "hydra_plugins", "tests", "conf", NAME}:
        raise RefusedError(f"name={name} is another package's; choose one of your own.")


def renamed(text: str, name: str) -> str:
    """Return a text in which Descent has another name, and gradient descent its own."""
    title = "".join(part.capitalize() for part in name.split("_"))
    text = LARGE.sub(title, SMALL.sub(name, text))
    return text.replace(f"{NAME.upper()}_", f"{name.upper()}_")


def new(name: str, to: str | None) -> Path:
    """Write the tree under another name; return where.

    Args:
        name: of the package, the program and the distribution.
        to: the directory, which must not be there yet; `.` for this tree itself.
    """
    check_name(name)
    here = to is not None and Path(to).resolve() == ROOT
    target = ROOT if here else Path(to or ROOT.parent / name).resolve()
    if here:
        state = subprocess.run(
            ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        if state.stdout:
            raise RefusedError("This tree has changes that git does not hold; commit them first.")
    elif target.exists():
        raise RefusedError(f"{target} is there already; give another one with to=...")
    listed = files(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as scratch:
        tree = Path(scratch) / name
        for path in listed:
            goal = tree / renamed(str(path), name)
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copymode(ROOT / path, _copied(ROOT / path, goal, name))
        _format(tree)
        if here:
            for path in listed:
                (ROOT / path).unlink()
            shutil.copytree(tree, ROOT, dirs_exist_ok=True)
            _remove_empty(ROOT / "src")
        else:
            tree.rename(target)
    return target


def _copied(source: Path, goal: Path, name: str) -> Path:
    content = source.read_bytes()
    with suppress(UnicodeDecodeError):  # a picture
        content = renamed(content.decode(), name).encode()
    goal.write_bytes(content)
    return goal


def _format(tree: Path) -> None:
    """Let ruff, if it is there, put imports and long lines in order again."""
    ruff = ROOT / ".venv" / "bin" / "ruff"
    command = [str(ruff)] if ruff.exists() else [sys.executable, "-m", "ruff"]
    for words in (["check", "--quiet", "--fix-only", "--select", "I"], ["format", "--quiet"]):
        subprocess.run([*command, *words, "."], cwd=tree, capture_output=True, check=False)


def _remove_empty(directory: Path) -> None:
    for inner in sorted(directory.rglob("*"), reverse=True):
        if inner.name == "__pycache__":
            shutil.rmtree(inner)
        elif inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()


def drop(part: str, root: Path = ROOT) -> list[str]:
    """Take a part out of a tree; return the paths that went."""
    if part not in PARTS:
        raise RefusedError(f"There is no part '{part}' to drop; choose from {', '.join(PARTS)}.")
    chosen = PARTS[part]
    gone = [path for pattern in chosen.paths for path in sorted(root.glob(pattern))]
    for package, kept in chosen.kept.items():
        stay = _with_imports(root / package, kept)
        gone += [p for p in sorted((root / package).glob("*.py")) if p.stem not in stay]
    for path in gone:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, texts in chosen.cuts.items():
        lines = []
        for line in (root / name).read_text().splitlines(keepends=True):
            rest = line
            for text in texts:
                rest = rest.replace(text, "")
            if rest == line or rest.strip():
                lines.append(rest)
        (root / name).write_text("".join(lines))
    return [str(path.relative_to(root)) for path in gone]


def _with_imports(package: Path, names: Iterable[str]) -> set[str]:
    """Return modules of a package with all that they import of it."""
    found: set[str] = set()
    waiting = list(names)
    dotted = ".".join(package.parts[package.parts.index("src") + 1 :])
    while waiting:
        name = waiting.pop()
        file = package / f"{name}.py"
        if name in found or not file.is_file():
            continue
        found.add(name)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == dotted:
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{dotted}."):
                waiting.append(str(node.module).split(".")[2])
    return found


def main(words: list[str]) -> None:
    """Do what was typed: `new name=... [to=...]` or `drop part=...`."""
    command, given = words[0] if words else "", dict(w.split("=", 1) for w in words[1:] if "=" in w)
    if command == "new" and given.get("name"):
        where = new(given["name"], given.get("to") or None)
        print(f"{where} is {given['name']}: cd {where} && git init && make test")
    elif command == "drop" and given.get("part"):
        gone = drop(given["part"])
        print(f"{given['part']}: {', '.join(gone) or 'was out already'}")
    else:
        raise RefusedError("Type make new name=acme, or make drop part=dashboard.")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except RefusedError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        raise SystemExit(2) from None
