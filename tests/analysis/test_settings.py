"""Settings and grids against means and ranks worked out by hand from results.csv."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descent.analysis.grid import grids
from descent.analysis.settings import Measure, measures, settings
from descent.analysis.study import read_study
from descent.analysis.targets import Hit

VAL = Measure("best/val/loss", "best val loss", True)
LRS, BATCHES = (0.001, 0.01, 0.1, 1.0), (16, 64, 256)
PLANTED = {"sgd": (0.1, 64), "adam": (0.01, 16)}


def loss(name: str, lr: float, batch: int, seed: int) -> float:
    """Return a valley in log lr and log batch around the planted best; adam's lies lower."""
    best_lr, best_batch = PLANTED[name]
    away = math.log10(lr / best_lr) ** 2 + math.log(batch / best_batch, 4) ** 2
    return (0.1 if name == "adam" else 0.2) + 0.1 * away + 0.001 * seed


@pytest.fixture
def sweep(write_sweep: Callable[..., Path]) -> Path:
    jobs: list[dict[str, Any]] = []
    for name in PLANTED:
        for lr in LRS:
            for batch in BATCHES:
                for seed in (0, 1):
                    value = loss(name, lr, batch, seed)
                    job = {
                        "values": {
                            "optimizer": name, "data.batch_size": batch, "optimizer.lr": lr,
                            "seed": seed,
                        },
                        "metrics": {"best/val/loss": value, "train/full_loss": value / 2},
                    }  # fmt: skip
                    if name == "sgd" and lr == 1.0 and (batch < 256 or seed):
                        job |= {"status": "diverged", "metrics": {"train/full_loss": math.inf}}
                    jobs.append(job)
    return write_sweep(jobs)


def test_the_planted_best_comes_first_and_lost_settings_last(sweep: Path) -> None:
    study = read_study(sweep)
    found = settings(study, VAL)
    assert len(found) == 24
    assert found[0].values == {"optimizer": "adam", "optimizer.lr": 0.01, "data.batch_size": 16.0}
    standings = [setting.standing for setting in found]
    assert standings == ["complete"] * 21 + ["lost"] + ["empty"] * 2
    means = [setting.mean for setting in found[:21]]
    assert means == sorted(means)
    assert found[21].diverged == 0.5
    assert len(found[21].scores) == 1


def test_means_are_those_of_the_table(sweep: Path) -> None:
    rows: dict[tuple[str, float, float], list[float]] = {}
    with (sweep / "results.csv").open() as file:
        for row in csv.DictReader(file):
            if row["status"] == "ok":
                key = (row["optimizer"], float(row["optimizer.lr"]), float(row["data.batch_size"]))
                rows.setdefault(key, []).append(float(row["best/val/loss"]))
    scored = [setting for setting in settings(read_study(sweep), VAL) if setting.scores]
    assert len(scored) == len(rows)
    for setting in scored:
        values = setting.values
        own = rows[values["optimizer"], values["optimizer.lr"], values["data.batch_size"]]  # type: ignore[index]
        assert setting.mean == statistics.fmean(own)
        if len(own) > 1:
            assert setting.spread == statistics.stdev(own)
        else:
            assert math.isnan(setting.spread)


def test_trials_still_to_come_are_not_lost(write_sweep: Callable[..., Path]) -> None:
    jobs = [
        {"values": {"optimizer.lr": lr, "seed": s}, "metrics": {"best/val/loss": lr}}
        for lr in (0.1, 0.2, 0.3) for s in (0, 1)
    ]  # fmt: skip
    jobs[1] |= {"status": "running", "metrics": {}}
    jobs[3] |= {"status": "failed", "metrics": {}}
    found = settings(read_study(write_sweep(jobs)), VAL)
    assert [(s.values["optimizer.lr"], s.standing) for s in found] == [
        (0.3, "complete"), (0.1, "pending"), (0.2, "lost"),
    ]  # fmt: skip


def test_more_is_better_for_accuracy(write_sweep: Callable[..., Path]) -> None:
    jobs = [
        {"values": {"optimizer.lr": lr}, "metrics": {"best/val/accuracy": lr}} for lr in (0.1, 0.9)
    ]
    study = read_study(write_sweep(jobs, config={"optimized_metric": "val/accuracy"}))
    (measure,) = measures(study)
    assert (measure.name, measure.lower) == ("best/val/accuracy", False)
    assert settings(study, measure)[0].values == {"optimizer.lr": 0.9}


def test_measures_are_those_that_were_taken(sweep: Path) -> None:
    study = read_study(sweep)
    assert [m.name for m in measures(study)] == ["best/val/loss", "train/full_loss"]
    names = [measure.name for measure in measures(study, target=0.25)]
    assert names[2:] == ["steps to target", "samples to target", "seconds to target"]
    assert measures(study, target=0.25)[2].target == 0.25


def test_a_missed_target_is_no_score(write_sweep: Callable[..., Path]) -> None:
    jobs = [{"values": {"optimizer.lr": lr, "seed": s}} for lr in (0.1, 0.2) for s in (0, 1)]
    study = read_study(write_sweep(jobs))
    hits = {0: Hit(5, 50, 0.5, 4, 5), 1: None, 2: Hit(9, 90, 0.9, 8, 9), 3: Hit(7, 70, 0.7, 6, 7)}
    measure = Measure("samples to target", "", True, 0.1)
    first, second = settings(study, measure, hits)
    assert (first.values["optimizer.lr"], first.mean) == (0.2, 80.0)
    assert (second.standing, second.scores) == ("lost", {0: 50.0})
    with pytest.raises(ValueError, match="needs hits"):
        settings(study, measure)


def test_the_best_of_each_problem_come_first(write_sweep: Callable[..., Path]) -> None:
    jobs = [
        {"values": {"data": data, "optimizer.lr": lr}, "metrics": {"best/val/loss": scale * lr}}
        for data, scale in (("easy", 1.0), ("hard", 1000.0)) for lr in (0.1, 0.2)
    ]  # fmt: skip
    study = read_study(write_sweep(jobs))
    assert study.swept == ("optimizer.lr", "data")
    assert [s.mean for s in settings(study, VAL)] == [0.1, 100.0, 0.2, 200.0]
    assert measures(study)[-1].target is None  # no target serves two problems


# ---- grids


def test_one_grid_an_optimizer_with_lr_upwards(sweep: Path) -> None:
    study = read_study(sweep)
    sgd, adam = grids(study, settings(study, VAL), VAL)
    assert (sgd.title, adam.title) == ("sgd", "adam")
    assert (sgd.x, sgd.y) == ("data.batch_size", "optimizer.lr")
    assert (sgd.xs, sgd.ys) == (BATCHES, LRS)
    assert (sgd.xs[sgd.best[0]], sgd.ys[sgd.best[1]]) == (64, 0.1)  # type: ignore[index]
    assert (adam.xs[adam.best[0]], adam.ys[adam.best[1]]) == (16, 0.01)  # type: ignore[index]
    for j, lr in enumerate(LRS):
        for i, batch in enumerate(BATCHES):
            pair = [loss("adam", lr, batch, seed) for seed in (0, 1)]
            assert adam.mean[j, i] == pytest.approx(np.mean(pair))
            assert adam.spread[j, i] == pytest.approx(np.std(pair, ddof=1))
    assert sgd.diverged[3].tolist() == [1.0, 1.0, 0.5]
    assert sgd.mean[3, 2] == pytest.approx(loss("sgd", 1.0, 256, 0))
    assert np.isnan(sgd.mean[3, :2]).all()
    assert sgd.diverged[:3].sum() == 0


def test_the_most_influential_options_are_axes_where_lr_and_batch_were_not_both_swept(
    write_sweep: Callable[..., Path],
) -> None:
    jobs = [
        {"values": {"m.a": a, "m.b": b, "m.c": c}, "metrics": {"best/val/loss": 9 * c + 3 * a + b}}
        for a in (0, 1) for b in (0, 1, 2) for c in (0, 1)
    ]  # fmt: skip
    study = read_study(write_sweep(jobs, name="abc"))
    found = grids(study, settings(study, VAL), VAL)
    assert [(g.x, g.y, g.title) for g in found] == [
        ("m.c", "m.a", "b=0"), ("m.c", "m.a", "b=1"), ("m.c", "m.a", "b=2"),
    ]  # fmt: skip
    jobs = [
        {"values": {"optimizer": o, "optimizer.lr": lr}, "metrics": {"best/val/loss": lr}}
        for o in ("sgd", "adam") for lr in (1, 2, 3)
    ]  # fmt: skip
    study = read_study(write_sweep(jobs, name="lr"))
    (grid,) = grids(study, settings(study, VAL), VAL)
    assert (grid.x, grid.y, grid.xs) == ("optimizer", "optimizer.lr", ("sgd", "adam"))


def test_one_option_makes_one_row_and_none_makes_no_grid(write_sweep: Callable[..., Path]) -> None:
    jobs = [{"values": {"optimizer.lr": lr}, "metrics": {"best/val/loss": lr}} for lr in (3, 1, 2)]
    study = read_study(write_sweep(jobs, name="lr"))
    (grid,) = grids(study, settings(study, VAL), VAL)
    assert (grid.x, grid.y, grid.xs, grid.ys) == ("optimizer.lr", None, (1.0, 2.0, 3.0), ())
    assert grid.mean.tolist() == [[1.0, 2.0, 3.0]]
    assert grid.best == (0, 0)
    study = read_study(write_sweep([{"values": {"seed": s}} for s in (0, 1)], name="seeds"))
    assert grids(study, settings(study, VAL), VAL) == ()


def test_cells_hold_the_best_over_options_that_have_too_many_values(
    write_sweep: Callable[..., Path],
) -> None:
    jobs = [
        {
            "values": {"optimizer.lr": lr, "data.batch_size": b, "model.width": w},
            "metrics": {"best/val/loss": abs(w - 7) + lr},
        }
        for lr in (1, 2) for b in (16, 32) for w in range(20)
    ]  # fmt: skip
    study = read_study(write_sweep(jobs))
    (grid,) = grids(study, settings(study, VAL), VAL)
    assert grid.title == "best over width"
    assert grid.mean.tolist() == [[1.0, 1.0], [2.0, 2.0]]
    assert {cell.values["model.width"] for cell in grid.cells.values()} == {7.0}


def test_a_random_search_is_put_into_ranges(write_sweep: Callable[..., Path]) -> None:
    lrs = np.geomspace(1e-4, 1, 100)
    jobs = [
        {
            "values": {"optimizer.lr": float(lr), "data.batch_size": 16 * (1 + i % 2)},
            "metrics": {"best/val/loss": abs(math.log10(lr) + 2.02)},
        }
        for i, lr in enumerate(lrs)
    ]
    study = read_study(write_sweep(jobs))
    (grid,) = grids(study, settings(study, VAL), VAL)
    assert grid.mean.shape == (20, 2)
    assert grid.title == "best over lr"
    assert not np.isnan(grid.mean).any()
    assert math.isclose(float(grid.ys[grid.best[1]]), 10**-2.1, rel_tol=0.01)  # type: ignore[index]
    assert list(grid.ys) == sorted(grid.ys)


def test_a_word_among_batch_sizes_stands_behind_the_numbers(
    write_sweep: Callable[..., Path],
) -> None:
    jobs = [
        {"values": {"optimizer.lr": lr, "data.batch_size": b}, "metrics": {"best/val/loss": lr}}
        for lr in (1, 2) for b in ("full", 128, 16)
    ]  # fmt: skip
    study = read_study(write_sweep(jobs))
    (grid,) = grids(study, settings(study, VAL), VAL)
    assert grid.xs == ("16", "128", "full")
