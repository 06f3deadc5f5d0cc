"""What a random search tells of each option."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from descent.analysis.scatter import Scatter, scatter
from descent.analysis.settings import measures, settings
from descent.analysis.study import read_study
from descent.report.style import look
from descent.report.sweep.search_panels import scatter_picture

Write = Callable[..., Path]


def searched(write_sweep: Write, count: int = 24, **more: Any) -> Scatter | None:
    """A search of lr, which matters, and momentum, which does not: two seeds each."""
    generator = np.random.default_rng(0)
    jobs = []
    for i in range(count):
        lr, momentum = 10 ** generator.uniform(-4, 0), generator.uniform(0, 0.9)
        values = {"optimizer.lr": f"{lr:.4g}", "optimizer.momentum": f"{momentum:.4g}", **more}
        for seed in (0, 1):
            loss = 1 + math.log10(lr / 0.01) ** 2 + 0.01 * seed
            lost = {"status": "diverged", "reason": "diverged", "metrics": {}} if i == 3 else {}
            made = {"values": {**values, "data.batch_size": 8 * (1 + i % 2), "seed": seed}}
            jobs.append({**made, "metrics": {"best/val/loss": loss}, **lost})
    study = read_study(write_sweep(jobs))
    measure = measures(study)[0]
    return scatter(study, settings(study, measure), measure)


def test_the_option_that_matters_comes_first_and_its_good_values_are_near_the_optimum(
    write_sweep: Write,
) -> None:
    found = searched(write_sweep)
    assert found is not None
    first, second = found.options
    assert (first.key, second.key) == ("optimizer.lr", "optimizer.momentum")
    assert first.influence > 0.6 > 0.3 > second.influence  # with seeds too
    assert 0.003 < first.good[0] <= first.good[1] < 0.03
    assert len(found.scores) == 23  # the setting that diverged has none
    assert len(found.lost["optimizer.lr"]) == 1
    assert np.all(np.diff(found.scores) >= 0)
    assert found.grouped_by == "data.batch_size"


def test_its_picture_has_a_panel_for_each_option_and_a_caption_of_its_figures(
    write_sweep: Write,
) -> None:
    found = searched(write_sweep)
    assert found is not None
    with look():
        picture = scatter_picture(found)
    shown = [axes for axes in picture.figure.axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in shown] == ["optimizer.lr", "optimizer.momentum"]
    assert [axes.get_xscale() for axes in shown] == ["log", "linear"]
    points = sum(len(line.get_xdata()) for line in shown[0].lines if line.get_marker() in "osx")
    assert points == 24
    assert picture.caption.startswith("23 settings with a score")
    assert f"lr={found.options[0].x[0]:.4g}" in picture.caption
    assert "1 setting had no run that ended well" in picture.caption


def test_a_grid_and_a_small_search_are_none(write_sweep: Write) -> None:
    grid = [
        {"values": {"optimizer.lr": lr, "optimizer.momentum": m}, "metrics": {"best/val/loss": lr}}
        for lr in (0.1, 0.2, 0.3, 0.4)
        for m in (0.1, 0.2, 0.3, 0.4)
    ]
    study = read_study(write_sweep(grid, name="grid"))
    measure = measures(study)[0]
    assert scatter(study, settings(study, measure), measure) is None
    assert searched(write_sweep, count=5) is None
