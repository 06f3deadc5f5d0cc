"""The run that a multirun's directory stands for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from descent.analysis.best import best_run, run_meant
from descent.errors import UserError

Write = Callable[..., Path]


def job(loss: float | None, **options: Any) -> dict[str, Any]:
    values = {key.replace("__", "."): value for key, value in options.items()}
    if loss is None:
        return {"values": values, "status": "diverged", "reason": "diverged", "metrics": {}}
    return {"values": values, "metrics": {"best/val/loss": loss, "train/full_loss": 1 - loss}}


def test_it_is_the_best_seed_of_the_setting_with_the_best_mean(write_sweep: Write) -> None:
    sweep = write_sweep([
        job(0.10, optimizer__lr=0.1, seed=0),  # the best run of all, of an unlucky setting
        job(0.90, optimizer__lr=0.1, seed=1),
        job(0.30, optimizer__lr=0.01, seed=0),
        job(0.20, optimizer__lr=0.01, seed=1),
    ])  # fmt: skip
    best = best_run(sweep)
    assert best.directory == sweep / "3"
    assert (best.setting, best.measure, best.score) == ("lr=0.01", "best/val/loss", 0.20)
    assert best.sentence == (
        f"The best run of {sweep} is lr=0.01, seed=1: best val loss 0.2, the best of the 2 seeds "
        "of the best setting."
    )
    assert run_meant(sweep) == (sweep / "3", best.sentence)


def test_another_measure_has_another_best_run(write_sweep: Write) -> None:
    sweep = write_sweep([job(0.1, optimizer__lr=0.1), job(0.3, optimizer__lr=0.01)])
    assert best_run(sweep).directory == sweep / "0"
    assert best_run(sweep, "train/full_loss").directory == sweep / "1"
    with pytest.raises(UserError, match=r"has ended with a 'val/accuracy', so none of them"):
        best_run(sweep, "val/accuracy")


def test_a_setting_that_lost_a_run_is_taken_only_where_all_did_and_it_is_told(
    write_sweep: Write,
) -> None:
    lost = [job(0.1, optimizer__lr=1.0, seed=0), job(None, optimizer__lr=1.0, seed=1)]
    whole = [job(0.4, optimizer__lr=0.1, seed=0), job(0.5, optimizer__lr=0.1, seed=1)]
    assert best_run(write_sweep([*lost, *whole])).setting == "lr=0.1"
    also = [job(0.4, optimizer__lr=0.1, seed=0), job(None, optimizer__lr=0.1, seed=1)]
    best = best_run(write_sweep([*lost, *also], name="all"))
    assert best.setting == "lr=1"
    assert best.sentence.endswith(
        "no setting has ended well with every seed, and 1 run of this one left no score."
    )


def test_what_has_no_best_run_says_why(write_sweep: Write, tmp_path: Path) -> None:
    several = write_sweep([job(0.1, data="iris"), job(0.3, data="wine")], name="several")
    with pytest.raises(UserError, match=r"holds 2 problems \(iris, wine\), whose scores cannot be"):
        best_run(several)
    nothing = write_sweep([job(None, optimizer__lr=1.0), job(None, optimizer__lr=2.0)])
    with pytest.raises(UserError, match="none of them is the best"):
        best_run(nothing)


def test_a_run_stands_for_itself_and_anything_else_is_left_to_its_reader(
    write_sweep: Write, tmp_path: Path
) -> None:
    sweep = write_sweep([job(0.1, optimizer__lr=0.1), job(0.2, optimizer__lr=0.2)])
    assert run_meant(sweep / "1") == (sweep / "1", None)
    assert run_meant(tmp_path / "nowhere") == (tmp_path / "nowhere", None)
    assert run_meant(tmp_path) == (tmp_path, None)
