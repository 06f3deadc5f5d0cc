"""The predicted boundary against closed forms, and against where real runs diverged."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from descent.analysis.boundary import Configs, Sharpnesses, boundaries
from descent.analysis.grid import Grid, grids
from descent.analysis.settings import Measure, settings
from descent.analysis.study import read_study

LOSS = Measure("train/full_loss", "final full loss", True)

X = np.linspace(100, 300, 200)
Z = np.column_stack([(X - X.mean()) / X.std(ddof=1), np.ones(200)])
CURVATURE = float(np.linalg.eigvalsh(2 / 200 * Z.T @ Z)[-1])  # of the mean squared error


def bounded(sweep: Path, **options: Any) -> tuple[Grid, ...]:
    study = read_study(sweep)
    found = grids(study, settings(study, LOSS), LOSS)
    return boundaries(study, found, Sharpnesses(**options))


def test_the_boundary_of_least_squares_is_the_closed_form_and_real_runs_keep_to_it(
    real_sweep: Path,
) -> None:
    sgd, adam = bounded(real_sweep)
    assert sgd.xs == ("20", "full")
    assert sgd.boundary is not None
    assert sgd.boundary == pytest.approx([2 / CURVATURE] * 2, rel=1e-4)
    assert (
        sgd.note == f"The sharpness before training is {CURVATURE:.4g}, measured for this report."
    )
    full = sgd.diverged[:, 1]
    assert [lr > sgd.boundary[1] for lr in sgd.ys] == [share == 1 for share in full]
    assert full.tolist() == [0, 0, 0, 1]
    assert adam.boundary is None
    assert adam.note == ""


def column_sweep(write_sweep: Callable[..., Path], key: str, values: tuple[Any, ...], **more: Any):  # type: ignore[no-untyped-def]
    jobs = [
        {
            "values": {"optimizer.lr": lr, key: value},
            "metrics": {"train/full_loss": lr, **more.get("metrics", {})},
        }
        for value in values for lr in (0.1, 1.0)
    ]  # fmt: skip
    return write_sweep(jobs, config=more.get("config"))


def whole_config(real_sweep: Path, **sections: Any) -> dict[str, Any]:
    made = yaml.safe_load((real_sweep / "0" / "config.yaml").read_text())
    for name, options in sections.items():
        made[name] = {**made[name], **options}
    return made


def test_momentum_and_penalties_of_each_column_move_its_limit(
    write_sweep: Callable[..., Path], real_sweep: Path
) -> None:
    """Heavy ball: 2 (1 + β) / λ."""
    config = whole_config(real_sweep, optimizer={"momentum": 0.0})
    sweep = column_sweep(write_sweep, "optimizer.momentum", (0.0, 0.5, 0.9), config=config)
    (grid,) = bounded(sweep)
    assert grid.boundary == pytest.approx([2 * (1 + b) / CURVATURE for b in (0, 0.5, 0.9)], 1e-4)


def test_an_l2_penalty_adds_to_the_curvature(
    write_sweep: Callable[..., Path], real_sweep: Path
) -> None:
    """It acts on the weight, whose curvature is 1.99, and not on the bias, whose is 2."""
    sweep = column_sweep(write_sweep, "penalty.l2", (0.0, 1.0), config=whole_config(real_sweep))
    (grid,) = bounded(sweep)
    assert grid.boundary == pytest.approx([2 / 2.0, 2 / 2.99], rel=1e-4)


def test_a_scaled_lr_is_bounded_on_the_scale_of_its_axis(
    write_sweep: Callable[..., Path], real_sweep: Path
) -> None:
    """lr = base_lr sqrt(B / 25): at B = 100 the base may be half the limit."""
    config = whole_config(real_sweep)
    config |= {"base_lr": 0.1, "lr_scaling": "sqrt", "reference_batch": 25}
    jobs = [
        {"values": {"base_lr": lr, "data.batch_size": b}, "metrics": {"train/full_loss": lr}}
        for b in (25, 100) for lr in (0.1, 1.0)
    ]  # fmt: skip
    (grid,) = bounded(write_sweep(jobs, config=config))
    assert grid.y == "base_lr"
    assert grid.boundary == pytest.approx([2 / CURVATURE, 1 / CURVATURE], rel=1e-4)


def test_a_recorded_sharpness_is_taken_from_before_training(
    write_sweep: Callable[..., Path],
) -> None:
    sweep = column_sweep(
        write_sweep, "data.batch_size", (16, 64), metrics={"diagnostics/sharpness": 99.0}
    )
    for number, start in enumerate((4.0, 5.0, 8.0, 10.0)):
        with (sweep / str(number) / "epochs.csv").open("w") as file:
            table = csv.writer(file)
            table.writerow(["epoch", "step", "samples", "seconds", "diagnostics/sharpness"])
            table.writerows([[0, 0, 0, 0.0, start], [1, 10, 100, 0.1, 99.0]])
    (grid,) = bounded(sweep)
    assert grid.boundary == pytest.approx([2 / 4.5, 2 / 9.0])
    assert grid.note == "The sharpness before training is 4.5 to 9, as recorded."


def test_what_cannot_be_measured_says_why(
    write_sweep: Callable[..., Path], real_sweep: Path
) -> None:
    (grid, _) = bounded(real_sweep, work=399)
    assert grid.boundary is None
    assert "2 parameters times 200 rows would take long" in grid.note
    assert "diagnostics=[sharpness]" in grid.note
    config = whole_config(real_sweep, model={"_target_": "os.system"})
    (grid,) = bounded(column_sweep(write_sweep, "data.batch_size", (8, 9), config=config))
    assert grid.boundary is None
    assert "asks to run 'os.system'" in grid.note


def test_clipped_gradients_have_no_limit(
    write_sweep: Callable[..., Path], real_sweep: Path
) -> None:
    config = whole_config(real_sweep, clip={"norm": 1.0})
    (grid,) = bounded(column_sweep(write_sweep, "data.batch_size", (8, 9), config=config))
    assert grid.boundary is None
    assert grid.note == ""


def test_equal_starts_are_measured_once(real_sweep: Path) -> None:
    study = read_study(real_sweep)
    sharpnesses = Sharpnesses(work=2 * 200 * 2)  # two seeds, not one more
    configs = Configs(study)
    values = [sharpnesses.of(configs.of(t), t.directory) for t in study.trials]
    assert sharpnesses.left == 0
    assert values == pytest.approx([CURVATURE] * len(values), rel=1e-4)


def test_configs_are_those_on_disk(real_sweep: Path) -> None:
    study = read_study(real_sweep)
    configs = Configs(study)
    for trial in study.trials:
        made = configs.of(trial)
        there = yaml.safe_load((trial.directory / "config.yaml").read_text())
        assert made == there


def test_lr_alone_has_its_limit_too(write_sweep: Callable[..., Path], real_sweep: Path) -> None:
    config = whole_config(real_sweep)
    jobs = [{"values": {"optimizer.lr": lr}, "metrics": {"train/full_loss": lr}} for lr in (0.1, 2)]
    (grid,) = bounded(write_sweep(jobs, config=config))
    assert grid.y is None
    assert grid.boundary == pytest.approx([2 / CURVATURE], rel=1e-4)


def test_a_config_that_is_cut_short_is_a_note(write_sweep: Callable[..., Path]) -> None:
    jobs = [{"values": {"optimizer.lr": lr}, "metrics": {"train/full_loss": lr}} for lr in (1, 2)]
    (grid,) = bounded(write_sweep(jobs))
    assert grid.boundary is None
    assert "config.yaml lacks 'val_fraction'" in grid.note
    assert not math.isnan(grid.mean[0, 0])
