"""A run whose checkpoint Lightning wrote, before checkpoints were a format of ours.

`format_1` is the directory of such a run as the code of that time left it:
python src/train.py data=iris model.hidden=[3] optimizer=adam trainer=float64 stop.epochs=2
  logger=none callbacks.path=null picture=false
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from descent.errors import UserError
from descent.records.run import Run
from descent.training import train

OLD = Path(__file__).parent / "format_1"
GIVEN = ("data=iris", "model.hidden=[3]", "optimizer=adam", "trainer=float64", "logger=none",
         "callbacks.path=null")  # fmt: skip


@pytest.fixture
def old(tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(OLD, tmp_path / "old")))


def test_an_old_run_goes_on_as_a_new_one_that_never_stopped(
    old: Run, make_job: Callable[..., Any], train_run: Callable[..., Run]
) -> None:
    assert "pytorch-lightning_version" in old.checkpoint("last")
    train(make_job(f"resume={old.path}", "stop.epochs=4"))
    whole = train_run(*GIVEN, "stop.epochs=4")
    for name in ("steps.csv", "epochs.csv"):
        a, b = (pl.read_csv(run.path / name) for run in (whole, old))
        assert a.columns == b.columns
        for column in set(a.columns) - {"seconds"}:
            x, y = (t[column].cast(pl.Float64).to_numpy() for t in (a, b))
            np.testing.assert_allclose(y, x, rtol=1e-9, err_msg=column)
    first, second = whole.checkpoint("last"), old.checkpoint("last")
    assert second["format"] == first["format"] == 2
    for key, value in first["state_dict"].items():
        torch.testing.assert_close(second["state_dict"][key], value, rtol=1e-9, atol=1e-12)
    a, b = whole.result(), old.result()
    assert [b[key] for key in ("status", "reason", "step")] == ["ok", a["reason"], a["step"]]
    assert b["metrics"] == pytest.approx(a["metrics"], rel=1e-9)
    assert b["best"]["step"] == a["best"]["step"]


def test_an_old_checkpoint_of_another_model_is_refused_in_one_sentence(
    old: Run, make_job: Callable[..., Any]
) -> None:
    state = old.checkpoint("last")
    del state["state_dict"]["model.layers.0.bias"]
    torch.save(state, old.checkpoint_path("last"))
    with pytest.raises(
        UserError, match=r"^[^\n]*it has no weights 'model\.layers\.0\.bias'[^\n]*$"
    ):
        train(make_job(f"resume={old.path}", "stop.epochs=4"))
