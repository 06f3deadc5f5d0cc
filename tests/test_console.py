"""`descent train ...`: the program that the wheel installs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from descent import __main__ as console
from descent.config import spelling

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def typed(where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-m", "descent", *words], cwd=where, env=environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_help_and_mistakes_are_answered_at_once(tmp_path: Path) -> None:
    for words in ([], ["--help"]):
        shown = typed(tmp_path, *words)
        assert shown.returncode == 0
        assert all(f"descent {name}" in shown.stdout for name in spelling.SCRIPTS)
    for words, hint in (
        (["trian"], "did you mean 'train'?"),
        (["optimizer=sgd"], "did you mean 'descent train optimizer=sgd'?"),
        (["--cfg"], "did you mean 'descent train --cfg'?"),
    ):
        refused = typed(tmp_path, *words)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith(f"error: There is no command '{words[0]}'; {hint}")
        assert refused.stderr.count("\n") == 1


def test_sentences_name_the_command_that_was_typed(tmp_path: Path) -> None:
    refused = typed(tmp_path, "train", "resume=nowhere")
    assert refused.returncode == 2
    assert "that descent train made" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_choices_of_the_users_own_conf_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert console._own_conf(["optimizer=mine"]) == []
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    own = tmp_path / "conf" / "optimizer" / "mine.yaml"
    own.write_text("_target_: torch.optim.NAdam\n_partial_: true\nlr: 0.002\n")
    assert console._own_conf(["optimizer=mine"]) == ["--config-dir", "conf"]
    assert console._own_conf(["--config-dir=other"]) == []
    shown = typed(tmp_path, "train", "optimizer=mine", "--cfg", "job")
    assert "torch.optim.NAdam" in shown.stdout
    assert shown.stderr == ""
    assert capsys.readouterr().err == ""
    (tmp_path / "conf" / "train.yaml").write_text("something: else\n")
    assert console._own_conf([]) == []
    assert capsys.readouterr().err.startswith("note: conf/ has a train.yaml of its own")


def test_the_console_script_leads_to_the_program() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"descent": f"{console.__name__}:main"}
    carried = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert sorted(carried) == sorted(f"src/{name}.py" for name in spelling.SCRIPTS)
    assert set(console.ABOUT) >= set(spelling.SCRIPTS)
    scripts = {path.stem for path in (ROOT / "src").glob("*.py")}
    assert scripts == set(spelling.SCRIPTS)


def test_make_finds_each_python_and_says_which_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "python3.77").write_text("#!/bin/sh\n")
    (tmp_path / "python3.78").write_text("#!/bin/sh\nexit 127\n")  # as pyenv's own do
    for script in tmp_path.iterdir():
        script.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    shown = subprocess.run(
        ["make", "--no-print-directory", "test-pythons", "PYTHONS=3.77 3.78", "MAKE=echo make"],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "PYENV_ROOT": "/nowhere"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert shown.returncode == 0
    python = f"{tmp_path}/python3.77"
    assert shown.stdout.splitlines() == [
        f"Python 3.77: {python}",
        f"make --no-print-directory test VENV=.venv-3.77 PYTHON={python}",
        "Python 3.78 is not installed, so not tested",
    ]


# ---- the wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, install it in an environment of its own; return its `bin`.

    What Descent needs is found in this environment, whose own link to the sources is not.
    """
    pytest.importorskip("hatchling", reason="hatchling builds the wheel: make test-slow has it")
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(place), str(ROOT)]
    subprocess.run(built, check=True, timeout=120)
    (wheel,) = place.glob("descent-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "v")], check=True)
    (own,) = (place / "v" / "lib").glob("python3*/site-packages")
    others = [p for p in sys.path if p.endswith("site-packages")]
    (own / "others.pth").write_text("\n".join(others) + "\n")
    python = str(place / "v" / "bin" / "python")
    into = [*pip, "--python", python, "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(into, check=True, timeout=120)
    return place / "v" / "bin"


@pytest.mark.slow
def test_the_wheel_trains_sweeps_and_reports_in_an_empty_directory(
    installed: Path, tmp_path: Path
) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def type_(*words: str) -> str:
        done = subprocess.run(
            [str(installed / "descent"), *words], cwd=tmp_path, env=environment,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [str(installed / "python"), "-c", "import descent; print(descent.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert where.startswith(str(installed.parent)), "the sources are imported, not the wheel"
    type_("train", "optimizer=momentum")
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert (run / "result.json").is_file()
    assert "as recorded" in type_("eval", f"run={run}")
    told = type_("train", "-m", "data=iris", "model=linear", "optimizer.lr=0.1,0.2", "seed=0,1")
    (sweep,) = (tmp_path / "outputs" / "multiruns").iterdir()
    assert (sweep / "report" / "index.html").is_file()
    assert "src/train.py" not in told
    assert "repeat it: descent train -m " in told
    type_("report", f"run={run}")
    assert (run / "report" / "index.html").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}


@pytest.mark.slow
def test_the_readmes_notebook_runs_from_the_wheel_in_an_empty_directory(
    installed: Path, tmp_path: Path
) -> None:
    (code,) = re.findall(r"^```python\n(import polars.*?)^```", README.read_text(), re.M | re.S)
    assert code.count("\n") <= 15
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    # the last line shows a picture, as a notebook shows it
    last = 'assert best.plot()._repr_png_()[:4] == b"\\x89PNG"'
    done = subprocess.run(
        [str(installed / "python"), "-c", f"{code}\n{last}\nprint(descent.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *_, told, where = done.stdout.splitlines()
    assert where.startswith(str(installed.parent)), "the sources are imported, not the wheel"
    assert told.startswith("The best run of outputs/multiruns/")
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {
        "runs", "multiruns", "tables",
    }  # fmt: skip
