"""Importance among the best, by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from descent.analysis.among_best import among_best
from descent.analysis.settings import Measure, settings
from descent.analysis.study import read_study
from descent.report.sweep.option_importance import importance_bars

VAL = Measure("best/val/loss", "best val loss", True)


def test_an_option_counts_by_how_far_the_best_tenth_is_from_all(
    write_sweep: Callable[..., Path],
) -> None:
    """Of 20 settings, lr 1 to 5 and batch 1 to 4, the two best have lr 1 and batch 1 and 2.

    lr: (1 - 1/5)^2 / (1/5) + 4 (1/5)^2 / (1/5) = 3.2 + 0.8 = 4, by chance 4/2 18/19;
    batch: 2 (1/4)^2 / (1/4) + 2 (1/4)^2 / (1/4) = 1, by chance 3/2 18/19 = 1.42, so nothing.
    """
    jobs = [
        {"values": {"optimizer.lr": lr, "data.batch_size": batch},
         "metrics": {"best/val/loss": 10 * lr + batch}}
        for lr in range(1, 6) for batch in range(1, 5)
    ]  # fmt: skip
    study = read_study(write_sweep(jobs))
    own = settings(study, VAL)
    assert among_best(study, own) == {"optimizer.lr": 1.0, "data.batch_size": 0.0}
    assert among_best(study, own[:19]) == {}  # a tenth is one setting
    picture = importance_bars(study.influence, among_best(study, own))
    assert picture is not None
    widths = [bar.get_width() for bar in picture.figure.axes[0].patches]
    # losses differ by lr 10 times as much as by batch: ranks are 4 (lr - 1) + batch
    assert widths[:2] == pytest.approx([100 * v for v in sorted(study.influence.values())[::-1]])
    assert widths[2:] == [100.0, 0.0]
    assert "beyond chance: lr 100%." in picture.caption


def test_one_option_alone_has_no_picture_of_importance() -> None:
    assert importance_bars({"optimizer.lr": 1.0}, {}) is None
    assert importance_bars({"optimizer.lr": 0.0, "model.l2": 0.0}, {}) is None
