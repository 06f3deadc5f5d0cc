"""Options by themselves, and what last epochs say, held against the figures they come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from descent.analysis.isolation import isolated
from descent.analysis.last_epochs import IMPROVING, OVERFITS, at_the_end, last_epoch_words
from descent.analysis.settings import Measure, settings
from descent.analysis.study import read_study
from descent.report.sweep.isolation_plots import isolation

VAL = Measure("best/val/loss", "best val loss", True)
Write = Callable[..., Path]


def job(best: float, last: float, status: str = "ok", **values: Any) -> Any:
    named = {key.replace("__", "."): value for key, value in values.items()}
    figures = {"best/val/loss": best, "val/loss": last} if status == "ok" else {}
    return {"values": named, "metrics": figures, "status": status}


def test_each_value_stands_with_the_best_that_the_other_options_allow(write_sweep: Write) -> None:
    loss = {(0.01, "a"): 3.0, (0.01, "b"): 1.0, (0.1, "a"): 2.0, (0.1, "b"): 4.0}
    jobs = [
        job(loss[lr, name] + seed / 10, 9.0, optimizer__lr=lr, model__activation=name, seed=seed)
        for lr, name in loss for seed in (0, 1)
    ]  # fmt: skip
    jobs += [job(0, 0, "diverged", optimizer__lr=1.0, model__activation=n, seed=s)
             for n in "ab" for s in (0, 1)]  # fmt: skip
    sweep = write_sweep(jobs)
    study = read_study(sweep)
    found = {one.key: one for one in isolated(study, settings(study, VAL))}
    table = pl.read_csv(sweep / "results.csv").filter(pl.col("status") == "ok")
    means = table.group_by("optimizer.lr", "model.activation").agg(pl.col("best/val/loss").mean())
    for key, one in found.items():
        best = dict(means.group_by(key).agg(pl.col("best/val/loss").min()).iter_rows())
        assert {value: s.mean for value, s in one.best.items()} == pytest.approx(best)
    assert found["optimizer.lr"].values == (0.01, 0.1, 1.0)
    assert found["optimizer.lr"].top == 0.01
    picture = isolation([*found.values()], VAL)
    assert picture is not None
    assert "lr 0.01 (1.05), the worst value 0.1 (2.05)" in picture.caption
    assert "activation b (1.05), the worst value a (2.05)" in picture.caption
    assert "No setting with lr=1 ended well with all its trials." in picture.caption


def test_values_that_reach_the_same_are_all_alike(write_sweep: Write) -> None:
    loss = {(0.01, "a"): 1.0, (0.01, "b"): 20.0, (0.1, "a"): 1.0, (0.1, "b"): 2.0}
    jobs = [job(loss[lr, n], 9.0, optimizer__lr=lr, model__activation=n) for lr, n in loss]
    study = read_study(write_sweep(jobs))
    picture = isolation(isolated(study, settings(study, VAL)), VAL)
    assert picture is not None
    assert "lr all alike (1)" in picture.caption
    assert "activation a (1), the worst value b (2)" in picture.caption
    assert picture.figure.axes[0].get_yscale() == "log"  # 1 and 20 on one line would be flat


def test_one_option_and_several_problems_have_nothing_to_isolate(write_sweep: Write) -> None:
    one = read_study(write_sweep([job(1, 1, optimizer__lr=lr) for lr in (0.1, 1.0)], name="one"))
    assert isolated(one, settings(one, VAL)) == ()
    two = [job(1, 1, data=name, optimizer__lr=lr) for name in ("a", "b") for lr in (0.1, 1.0)]
    both = read_study(write_sweep(two, shared=(), name="two"))
    assert isolated(both, settings(both, VAL)) == ()


def test_last_epochs_tell_who_was_still_improving_and_who_overfits(write_sweep: Write) -> None:
    """Mean rises over two seeds: 0; 0 and 4% (2%); 1% and 11% (6%); the best improves."""
    jobs = [
        job(best, best * (1 + rise), optimizer__lr=lr, seed=seed)
        for lr, best, rises in ((0.1, 1.0, (0, 0)), (0.2, 2.0, (0, 0.04)), (0.3, 3.0, (0.01, 0.11)))
        for seed, rise in enumerate(rises)
    ]  # fmt: skip
    study = read_study(write_sweep(jobs))
    own = settings(study, VAL)
    assert [at_the_end(s, VAL) for s in own] == [IMPROVING, "", OVERFITS]
    assert at_the_end(own[0], Measure("train/full_loss", "", True)) == ""
    assert last_epoch_words(own, VAL) == [
        "Of the best 3 settings 1 had their best epoch last with every seed, the best among them: "
        "longer training may change the order.",
        "Of the best 3 settings 1 ended more than 5% above their best epoch's loss: they overfit, "
        "or their steps are too large at the end.",
    ]
