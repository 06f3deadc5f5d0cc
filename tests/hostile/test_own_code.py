"""README's section on own code, typed as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from hostile.warm import ROOT, Case, Warm

SECTION = (ROOT / "README.md").read_text().partition("## Add your own")[2].partition("\n## ")[0]
IMPORTS = """import numpy as np
from torch import Tensor, nn

from descent.data.arrays import Arrays, Task, numeric

"""
SMALL = ["stop.epochs=1", "picture=false"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)


def files() -> dict[str, str]:
    """The code and the choices that the section shows, as a package of the user's own."""
    made = {"my_package.py": IMPORTS + "\n\n".join(blocks("python"))}
    for group, text in zip(("model", "data", "optimizer"), blocks("yaml"), strict=True):
        outside = re.sub(r"descent\.(models|data)\.mine\.", "my_package.", text)
        made[f"my_conf/{group}/mine.yaml"] = outside
    return made


def commands() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    lines += re.findall(r"`src/(train.py --config-dir [^`]*)`", SECTION)
    typed = [line.removeprefix("python src/").replace(".py ", " ", 1) for line in lines]
    # own learners and data modules are typed by tests/test_recipes.py
    others = ("learner", "datamodule")
    return [t for t in typed if t.startswith("train ") and not any(word in t for word in others)]


def test_the_section_shows_every_way_to_use_own_code() -> None:
    text = " ".join(commands())
    for words in (
        "model._target_=",
        "'~model'",
        "optimizer._target_=",
        "--config-dir",
        "callbacks",
    ):
        assert words in text


@pytest.mark.slow
def test_the_readmes_own_code_trains_and_is_read_back(warm: Warm, tmp_path: Path) -> None:
    wrong = []
    for i, command in enumerate(commands()):
        case = Case(command, f"{command} {' '.join(SMALL)}", files=files(),
                    environment={"PYTHONPATH": "."})  # fmt: skip
        wrong += warm.problems(case, tmp_path / str(i))
    assert wrong == []
    run = next((tmp_path / "1" / "outputs" / "runs").iterdir())
    back = Case(
        "read back", f"eval run={run} trust=[my_package]", shows=[r"test/\w+ .*as recorded"],
        environment={"PYTHONPATH": "."},
    )  # fmt: skip
    assert warm.problems(back, tmp_path / "1") == []


@pytest.mark.skipif(sys.platform != "linux", reason="tried in a fork, there")
def test_a_multirun_with_a_module_that_ends_its_process_is_refused(warm: Warm) -> None:
    case = Case(
        "a deadly module", says="In job 0 .*cannot be used: importing it ends .* by SIGABRT",
        command="train -m data=iris model=linear,mlp model._target_=deadly.Mine",
        files={"deadly.py": "import os; os.abort()"}, environment={"PYTHONPATH": "."},
    )  # fmt: skip
    assert warm.problems(case) == []
