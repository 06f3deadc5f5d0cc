"""`make new` and `make drop`: this tree under another name, and without some of its parts."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SMALL = ("data=iris", "model=linear", "stop.epochs=2")


@pytest.fixture(scope="module")
def template() -> ModuleType:
    spec = importlib.util.spec_from_file_location("template", ROOT / "tools" / "template.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("import descent", "import acme"),
        (
            "from descent.engine import x  # Descent's own",
            "from acme.engine import x  # Acme's own",
        ),
        ("class DescentError", "class AcmeError"),
        ("hydra_plugins.descent_stack", "hydra_plugins.acme_stack"),
        ("${descent.run_dir:x}", "${acme.run_dir:x}"),
        ("mini-batch gradient descent, gradient_descent", None),
        ("Gradient descent; plain descent is stable; batch_descent", None),
    ],
)
def test_the_package_is_renamed_and_the_method_is_not(
    template: Any, text: str, other: str | None
) -> None:
    assert template.renamed(text, "acme") == (other or text)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["new", "name=Acme!"], "name=Acme! cannot be a package's name; "),
        (["new", "name=torch"], "name=torch is another package's; "),
        (["new", "name=class"], "name=class cannot be a package's name; "),
        (["new", "name=acme", "to=/"], "/ is there already; "),
        (["drop", "part=engine"], "There is no part 'engine' to drop; choose from dashboard, "),
        (["new"], "Type make new name=acme, "),
    ],
)
def test_what_cannot_be_done_is_one_sentence(words: list[str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "template.py"), *words], capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {sentence}")
    assert done.stderr.count("\n") == 1


Typed = Callable[..., str]


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Typed:
    """Return what runs Python in a tree, in an environment in which Descent is not installed."""
    place = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (own,) = (place / "lib").glob("python3*/site-packages")
    others = [p for p in sys.path if p.endswith("site-packages")]
    (own / "others.pth").write_text("\n".join(others) + "\n")
    return partial(_typed, str(place / "bin" / "python"))


def _typed(python: str, tree: Path, *words: str, beside: Path | None = None) -> str:
    """Type a command in a tree; beside is what else Python finds."""
    places = [tree / "src", *([beside] if beside else [])]
    done = subprocess.run(
        [python, *words], cwd=tree, capture_output=True, text=True, timeout=400,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "COLUMNS": "100"},
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
def test_a_renamed_tree_is_green(template: Any, typed: Typed, tmp_path: Path) -> None:
    tree = template.new("acme", str(tmp_path / "acme"))
    subprocess.run(["git", "init", "-q", "."], cwd=tree, check=True)
    left = [
        str(path)
        for path in template.files(tree)
        if (tree / path).suffix in (".py", ".yaml", ".toml", ".md", ".ipynb")
        and template.SMALL.search((tree / path).read_text())
    ]
    assert left == []
    assert "No module" not in typed(tree, "-m", "ruff", "check", ".")
    typed(tree, "-m", "ruff", "format", "--check", ".")
    told = typed(tree, "src/train.py", "-m", *SMALL, "optimizer.lr=0.1,0.2", beside=ROOT / "src")
    assert "2 runs: 2 ok" in told
    (config,) = (tree / "outputs" / "multiruns").glob("*/0/config.yaml")
    assert "_target_: acme." in config.read_text()
    assert "acme train" in typed(tree, "-m", "acme", "--help")
    narrow = ("tests/test_architecture.py", "tests/test_console.py", "tests/models", "tests/config")
    some = "floor or walls or root or release or lock or linear or console or help or sentences"
    typed(tree, "-m", "pytest", "-q", "-x", *narrow, "-k", some)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [["dashboard", "report"], ["stacks"]], ids="-".join)
def test_a_tree_without_a_part_trains_sweeps_and_evaluates(
    template: Any, typed: Typed, tmp_path: Path, parts: list[str]
) -> None:
    for path in template.files(ROOT):
        if path.parts[0] in ("src", "conf") or path.name == "pyproject.toml":
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, tmp_path / path)
    for part in parts:
        assert template.drop(part, tmp_path)
        assert template.drop(part, tmp_path) == []  # typed again
    code = (
        "import importlib, pkgutil, descent\n"
        "names = [m.name for m in pkgutil.walk_packages(descent.__path__, 'descent.')]\n"
        "[importlib.import_module(n) for n in names if not n.endswith(('__main__', 'preload'))]\n"
        f"run = descent.train(*{SMALL!r}, quiet=True); run.plot(); print(run.status)\n"
    )
    assert typed(tmp_path, "-c", code) == "ok\n"
    told = typed(tmp_path, "src/train.py", "-m", *SMALL, "optimizer.lr=0.1,0.2", "seed=0,1")
    assert "4 runs: 4 ok" in told
    assert ("src/report.py" in told) == ("report" not in parts)
    (sweep,) = (tmp_path / "outputs" / "multiruns").iterdir()
    assert "as recorded" in typed(tmp_path, "src/eval.py", f"run={sweep}")
    assert "descent train" in typed(tmp_path, "-m", "descent", "--help")
