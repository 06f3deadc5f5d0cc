"""What a multirun says to type next can be typed as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from hostile.warm import Case, Warm

NET = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, in_features, out_features, width=3, seed=0):
        super().__init__(nn.Linear(in_features, width), nn.Linear(width, out_features))
"""
SMALL = "data=iris stop.epochs=1 report=false"
SWEEPS = {
    "options taken out": f"train -m {SMALL} model=linear ~model.bias ~scheduler.interval "
    "optimizer.lr=0.1,0.01 seed=0,1",
    "a model of the user's": f"train -m {SMALL} ~model +model._target_=net.Net +model.width=2,4 "
    "'+model.seed=0,1' ++optimizer.lr=0.1",
    "quotes and lists": f"train -m {SMALL} model=mlp 'model.hidden=[2, 3],[4]' 'name=\"a b\"' "
    "'data.split_seed=range(0,2)'",
}


def commands(printed: str) -> list[str]:
    """Return the commands of `src/train.py` that an output holds."""
    return re.findall(r"python src/(train\.py .*)", printed)


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_every_command_that_a_multirun_prints_runs_as_typed(
    name: str, warm: Warm, tmp_path: Path
) -> None:
    files, found = {"net.py": NET}, {"PYTHONPATH": "."}
    first = warm.run(Case(name, SWEEPS[name], files=files, environment=found, cpu=40), tmp_path)
    assert first.code == 0, first.stderr
    assert "repeat it: " in first.stdout
    told = commands(first.stdout)
    assert len(told) >= 2
    for command in told:
        case = Case(command, ["train", *shlex.split(command)[1:]], environment=found, cpu=40)
        done = warm.run(case, tmp_path)
        assert done.code == 0, f"{command}\n{done.stderr}"
