"""The README's recipes for parts of one's own, typed as they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# a recipe: a python block whose first line is the name of its file, then a block of commands
RECIPES = re.findall(r"```python\n# (\w+\.py)\n(.*?)```\n.*?```sh\n(.*?)```", README, re.DOTALL)


def test_there_are_recipes() -> None:
    assert {name for name, _, _ in RECIPES} >= {"denoising.py", "rings.py"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code", "commands"), RECIPES, ids=[r[0] for r in RECIPES])
def test_a_recipe_of_the_readme_works_as_it_is_written(
    name: str, code: str, commands: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(code)
    lines = [line for line in commands.splitlines() if line.startswith("python src/")]
    assert lines
    for line in lines:
        _, script, *words = shlex.split(line)
        done = subprocess.run(
            [sys.executable, str(ROOT / script), *words, "stop.epochs=2", "picture=false",
             *(["report=false"] if "-m" in words else [])],
            cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
            env={"PYTHONPATH": ".", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        alone = "alone, one by one: a learner takes the steps of one run"
        assert "learner" not in line or "-m" not in words or alone in done.stdout


# what the README's short ones stand on
HEADS = {
    "model": "from torch import Tensor, nn\n\n\n",
    "data": "import numpy as np\n\nfrom descent.data.arrays import Arrays, Task, numeric\n\n\n",
}


@pytest.mark.slow
def test_a_model_data_and_an_optimizer_of_ones_own_are_the_files_that_the_readme_shows(
    tmp_path: Path,
) -> None:
    for part in ("src", "conf"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    chapter = README.partition("## Add your own")[2].partition("**A training step**")[0]
    model, data = re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)
    of_model, of_data, of_optimizer = re.findall(r"```yaml\n(.*?)```", chapter, re.DOTALL)
    (command,) = re.findall(r"```sh\n(python src/train\.py .*?)\n```", chapter)
    sources = tmp_path / "src" / "descent"
    (sources / "models" / "mine.py").write_text(HEADS["model"] + model)
    (sources / "data" / "mine.py").write_text(HEADS["data"] + data)
    for group, text in (("model", of_model), ("data", of_data), ("optimizer", of_optimizer)):
        (tmp_path / "conf" / group / "mine.yaml").write_text(text)
    _, script, *words = shlex.split(command)
    own = ["model=mine", "data=mine", "optimizer=mine", "stop.epochs=2", "picture=false"]
    done = subprocess.run(
        [sys.executable, script, *words, *own], cwd=tmp_path, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "model     Mine, " in done.stdout
    assert "mine: " in done.stdout
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert "torch.optim.NAdam" in (run / "config.yaml").read_text()
