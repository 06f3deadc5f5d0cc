"""What tuning takes, against brute force and planted laws."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descent.analysis.settings import Measure, settings
from descent.analysis.study import read_study
from descent.analysis.tuning import expected_best, exponent, tuning_words

VAL = Measure("best/val/loss", "best val loss", True)


def test_the_expected_best_is_the_mean_over_all_subsets() -> None:
    scores = [0.7, 0.1, 0.4, 0.4, 2.0]
    for lower, pick in ((True, min), (False, max)):
        wanted = [
            np.mean([pick(part) for part in itertools.combinations(scores, n)]) for n in range(1, 6)
        ]
        assert expected_best(scores, lower) == pytest.approx(wanted)


def planted(power: float) -> list[dict[str, Any]]:
    return [
        {
            "values": {"optimizer.lr": lr, "data.batch_size": batch, "seed": s},
            "metrics": {"best/val/loss": 1 + math.log(lr / (0.001 * batch**power)) ** 2 + s / 1e6},
        }
        for batch in (16, 32, 64, 128, 256) for lr in np.geomspace(1e-4, 30, 20).round(7)
        for s in (0, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("power", "words"),
    [(1.0, "linear (1) fits, square root (1/2) does not"), (0.5, "square root (1/2) fits")],
)
def test_the_planted_growth_of_lr_is_found(
    write_sweep: Callable[..., Path], power: float, words: str
) -> None:
    study = read_study(write_sweep(planted(power)))
    found = exponent(settings(study, VAL), "optimizer.lr", VAL)
    assert found is not None
    assert found.value == pytest.approx(power, abs=1e-3)
    told = " ".join(tuning_words(study, settings(study, VAL), VAL))
    assert "cannot tell whether" not in told
    assert words in told or found.low == found.high
    assert "Sobol' total effect): lr" in told


def test_a_growth_whose_interval_holds_none_is_not_claimed(
    write_sweep: Callable[..., Path],
) -> None:
    """The best lr of three batch sizes goes up and down: it may not grow at all."""
    best = {16: 0.01, 64: 0.1, 256: 0.02}
    jobs = [
        {
            "values": {"optimizer.lr": lr, "data.batch_size": batch, "seed": s},
            "metrics": {"best/val/loss": 1 + math.log(lr / at) ** 2 + s / 1e6},
        }
        for batch, at in best.items() for lr in (0.001, 0.01, 0.1, 1.0) for s in (0, 1)
    ]  # fmt: skip
    study = read_study(write_sweep(jobs))
    found = exponent(settings(study, VAL), "optimizer.lr", VAL)
    assert found is not None
    assert found.low < 0 < found.high
    told = tuning_words(study, settings(study, VAL), VAL)[-1]
    assert told.endswith("over 3 sizes): cannot tell whether it grows at all.")
