"""The edge of stability, from runs whose sharpness is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from descent.analysis.settings import Measure, settings
from descent.analysis.stability import stability_lines
from descent.analysis.study import read_study
from descent.report.sweep.stability_plot import edge_of_stability

FULL = Measure("train/full_loss", "final full loss", True)


def test_the_course_is_the_median_over_seeds_of_lr_times_sharpness_over_two(
    write_sweep: Callable[..., Path],
) -> None:
    """Sharpness 8, 10, 12 and 20 (seed 0), twice that (1) and thrice (2): the median is twice."""
    sharpness = np.array([8.0, 10.0, 12.0, 20.0])
    jobs = [
        {"values": {"optimizer.lr": lr, "seed": seed},
         "metrics": {"train/full_loss": lr, "diagnostics/stability": 1.0}}
        for lr in (0.01, 0.05) for seed in range(3)
    ]  # fmt: skip
    sweep = write_sweep(jobs)
    for number, job in enumerate(jobs):
        ratio = job["values"]["optimizer.lr"] * sharpness * (1 + job["values"]["seed"]) / 2
        lines = ["epoch,step,samples,seconds,diagnostics/stability"]
        lines += [f"{i},{10 * i},{10 * i},0.1,{value}" for i, value in enumerate(ratio)]
        (sweep / str(number) / "epochs.csv").write_text("\n".join(lines) + "\n")
    study = read_study(sweep)
    found = stability_lines(study, settings(study, FULL))
    assert [line.label for line in found] == ["lr=0.01", "lr=0.05"]
    for line, lr in zip(found, (0.01, 0.05), strict=True):
        assert line.step.tolist() == [0, 10, 20, 30]
        assert line.ratio == pytest.approx(lr * sharpness)
    picture = edge_of_stability(found)
    assert picture is not None
    assert "1 end below the edge, 1 within 10% of it and 0 above; at the edge: lr=0.05" in (
        picture.caption
    )


def test_without_a_recorded_sharpness_there_is_no_picture(
    write_sweep: Callable[..., Path],
) -> None:
    jobs = [{"values": {"optimizer.lr": lr}, "metrics": {"train/full_loss": lr}} for lr in (1, 2)]
    study = read_study(write_sweep(jobs))
    assert stability_lines(study, settings(study, FULL)) == ()
    assert edge_of_stability(()) is None
