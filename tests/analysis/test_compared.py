"""Sweeps beside each other: intervals of closed form, options that differ, luck of many."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from descent.analysis.compared import (
    Contender,
    compare,
    compared_words,
    contender,
    differences,
    own_part,
)
from descent.analysis.settings import Measure, settings
from descent.analysis.study import read_study

VAL = Measure("best/val/loss", "best val loss", True)
Write = Callable[..., Path]


def made(
    write_sweep: Write, name: str, losses: dict[Any, list[float]], first: int = 0, **given: Any
) -> Contender:
    """Return a sweep of the best validation losses of each lr, by seeds from `first` on."""
    jobs = [
        {"values": {"optimizer.lr": lr, "seed": first + i}, "metrics": {VAL.name: float(loss)}}
        for lr, own in losses.items() for i, loss in enumerate(own)
    ]  # fmt: skip
    study = own_part(read_study(write_sweep(jobs, name=name, **given)))
    return contender(name, study, settings(study, VAL), VAL, study.config)


@pytest.mark.parametrize("common", [True, False])
def test_two_single_settings_are_compared_by_student_s_test(
    common: bool, write_sweep: Write
) -> None:
    """Nothing was picked: paired over common seeds, else over each one's own spread."""
    rng = np.random.default_rng(0)
    drawn = {"a": rng.normal(1.0, 0.1, 6), "b": rng.normal(2.0, 0.1, 6)}
    found = []
    for i, (name, own) in enumerate(drawn.items()):
        found.append(made(write_sweep, name, {0.1: list(own)}, 0 if common else 10 * i))
    result = compare(found, VAL)
    (effect,) = result.effects
    assert effect is not None
    logs = {name: np.log(own) for name, own in drawn.items()}
    gap = logs["b"].mean() - logs["a"].mean()
    if common:
        error = (logs["b"] - logs["a"]).std(ddof=1) / np.sqrt(6)
    else:
        error = np.sqrt(sum(own.var(ddof=1) for own in logs.values()) / 6)
    half = stats.t.ppf(1 - 0.04 / 2, 5) * error  # at the level of the house, 4 %
    assert effect.interval.low == pytest.approx(np.expm1(gap - half), rel=2e-3)
    assert effect.interval.high == pytest.approx(np.expm1(gap + half), rel=2e-3)


def test_the_options_that_differ_are_told_and_no_others(write_sweep: Write) -> None:
    one = made(write_sweep, "a", {0.1: [1.0, 1.1], 0.2: [2.0, 2.1]})
    cosine = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 5}
    config = {"scheduler": cosine, "trainer": {"precision": "64-true"}, "seed": 7}
    other = made(write_sweep, "b", {0.3: [3.0, 3.1]}, config=config)
    assert dict(differences([one, other])) == {
        "optimizer.lr": ["0.1, 0.2 (best: 0.1)", "0.1"],  # of the config, which the test wrote
        "scheduler": ["ConstantLR", "CosineAnnealingLR"],
        "trainer.precision": ["32-true", "64-true"],
    }


def test_a_sweep_that_tried_more_is_told_what_fewer_would_have_found(write_sweep: Write) -> None:
    """By brute force: the mean of the best over all pairs of its four settings."""
    means = [1.0, 2.0, 4.0, 8.0]
    many = made(write_sweep, "many", {i / 10: [m, m * 1.1] for i, m in enumerate(means, 1)})
    few = made(write_sweep, "few", {0.1: [1.5, 1.6], 0.2: [2.5, 2.6]})
    lead, told = compared_words(compare([few, many], VAL))
    assert lead[0].startswith("The best of the 2 sweeps by best val loss is many: 1.050 ± 0.071")
    pairs = [1.05 * min(pair) for pair in itertools.combinations(means, 2)]
    assert any(f"is expected at {np.mean(pairs):.4g}" in sentence for sentence in told)
    assert any("they differ, though each was picked" in sentence for sentence in told)


def test_one_seed_each_tells_nothing_of_the_difference(write_sweep: Write) -> None:
    found = compare([made(write_sweep, n, {0.1: [v]}) for n, v in (("a", 1.0), ("b", 2.0))], VAL)
    assert found.effects == (None,)
    assert "one seed cannot tell" in compared_words(found)[1][0]
