"""Settings on two axes: what stands where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from descent.analysis.grid import grids
from descent.analysis.settings import Measure, settings
from descent.analysis.study import read_study


def test_words_stand_in_the_order_in_which_they_were_typed(
    write_sweep: Callable[..., Path],
) -> None:
    jobs = [
        {"values": {"model.hidden": hidden, "optimizer.lr": lr},
         "metrics": {"best/val/loss": loss + lr}}
        for hidden, loss in (("[8]", 3.0), ("[64]", 1.0), ("[32,32]", 2.0)) for lr in (0.1, 0.01)
    ]  # fmt: skip
    study = read_study(write_sweep(jobs))
    measure = Measure("best/val/loss", "best val loss", True)
    (grid,) = grids(study, settings(study, measure), measure)
    assert grid.xs == ("[8]", "[64]", "[32,32]")
    assert grid.ys == (0.01, 0.1)
