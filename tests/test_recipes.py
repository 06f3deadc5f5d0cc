"""The README's recipes for parts of one's own, typed as they stand there."""

from __future__ import annotations

import re
import shlex
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
