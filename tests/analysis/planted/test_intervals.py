"""Stated intervals hold what was planted in 93 of 100 sweeps: medians, effects, lr's exponent."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from descent.analysis.confidence import effect, effect_apart, of_median, of_share
from descent.analysis.settings import Measure, Setting
from descent.analysis.trials import Trial, Value
from descent.analysis.tuning import exponent

sys.path.insert(0, str(Path(__file__).parent))
from test_best import EQUAL

Rng = np.random.Generator
VAL = Measure("best/val/loss", "best val loss", True)
LEAST = 0.93
MEDIANS = ("normal", "t2 tails", "a tenth of seeds three times as bad")
APART = ((2, 2), (3, 3), (3, 5), (5, 5), (10, 3), (10, 10))  # seeds of two sweeps
# batch sizes, lr a decade, seeds, scatter of the logarithm over seeds
EXPONENTS = {
    "5 sizes, 4 lr a decade": ((16, 32, 64, 128, 256), 4, 3, 0.02),
    "3 sizes, 2 lr a decade": ((16, 64, 256), 2, 3, 0.02),
    "4 sizes, 2 lr a decade, scatter 10%": ((16, 64, 256, 1024), 2, 3, 0.1),
    "8 sizes, one seed": ((4, 8, 16, 32, 64, 128, 256, 512), 2, 1, 0.05),
}


def setting(values: dict[str, Value], scores: np.ndarray) -> Setting:
    trials = tuple(
        Trial(s, values, f"seed={s}", "ok", "", 100, 3200, 1.0, {}, Path(str(s)), "")
        for s in range(len(scores))
    )
    return Setting(values, trials, {s: float(score) for s, score in enumerate(scores)})


def medians(truth: str, seeds: int, draws: int) -> float:
    """Return the share of draws whose interval of the median holds the median of all seeds."""
    rng = np.random.default_rng([seeds, len(truth)])
    true = float(np.median(EQUAL[truth](rng, 1, 400_001)))
    held = 0
    for _ in range(draws):
        found = of_median([float(v) for v in EQUAL[truth](rng, 1, seeds)[0]])
        assert found is not None
        held += found.low <= true <= found.high
    return held / draws


def effects(truth: str, rates: int, seeds: int, draws: int, apart: int = 0) -> float:
    """Return the share of sweeps whose effect between two optimizers' best settings is held.

    The settings of each are equal in truth, the hardest case for what was picked as its best; the
    second optimizer's are 10 % worse, and has `apart` seeds of its own where that is not 0.
    """
    rng = np.random.default_rng([rates, seeds, len(truth), *([apart] if apart else [])])
    held = 0
    for _ in range(draws):
        if apart:
            adam, sgd = (EQUAL[truth](rng, rates, count) for count in (seeds, apart))
        else:
            adam, sgd = np.split(EQUAL[truth](rng, 2 * rates, seeds), 2)
        own, other = (
            sorted(
                (
                    setting({"optimizer": name, "optimizer.lr": float(i)}, np.exp(row))
                    for i, row in enumerate(logs)
                ),
                key=lambda s: s.mean,
            )
            for name, logs in (("adam", adam), ("sgd", sgd + math.log(1.1)))
        )
        better, worse = (own, other) if own[0].mean <= other[0].mean else (other, own)
        found = (effect_apart if apart else effect)(better, worse, VAL)
        assert found is not None
        true = 0.1 if better is own else 1 / 1.1 - 1
        held += found.interval.low <= true <= found.interval.high
    return held / draws


def shares(right: float, rows: int, draws: int) -> float:
    """Return the share of draws whose interval of an accuracy holds it."""
    rng = np.random.default_rng(rows)
    found = [of_share(count / rows, rows) for count in rng.binomial(rows, right, draws)]
    return float(np.mean([one.low <= right <= one.high for one in found]))


def exponents(name: str, power: float, draws: int) -> tuple[float, float]:
    """Return the share of exponents told that hold the planted one, and the share told."""
    sizes, rates, seeds, scatter = EXPONENTS[name]
    rng = np.random.default_rng(len(name))
    told, held = 0, 0
    for _ in range(draws):
        lrs = 10 ** (np.arange(-4, 2, 1 / rates) + rng.uniform(0, 1 / rates))
        settings = []
        for batch in sizes:
            off = np.log10(lrs / (0.001 * batch**power))
            # falls slowly below the best lr and rises fast above it, as losses do
            means = np.log(1 + np.where(off < 0, 0.4, 0.8) * off**2)
            for lr, mean in zip(lrs, means, strict=True):
                values: dict[str, Value] = {"optimizer.lr": float(lr), "data.batch_size": batch}
                scores = np.exp(mean + rng.normal(0, scatter, seeds))
                settings.append(setting(values, scores))
        found = exponent(settings, "optimizer.lr", VAL)
        if found is not None:
            told += 1
            held += found.low <= power <= found.high
    return held / max(told, 1), told / draws


def allowed(draws: int) -> float:
    """Return the least share that is no evidence against 93 %: two standard errors below it."""
    return LEAST - 2 * math.sqrt(LEAST * (1 - LEAST) / draws)


@pytest.mark.slow
@pytest.mark.parametrize("truth", MEDIANS)
@pytest.mark.parametrize("seeds", [5, 6, 10])
def test_intervals_of_fresh_seeds_hold_the_median(truth: str, seeds: int) -> None:
    assert medians(truth, seeds, 1000) >= allowed(1000)


@pytest.mark.slow
@pytest.mark.parametrize("truth", ["normal", "seed effect common to all", "t2 tails"])
@pytest.mark.parametrize("rates", [1, 3, 12])
def test_effects_of_picked_settings_are_held(truth: str, rates: int) -> None:
    for seeds in (2, 3, 5, 10):
        assert effects(truth, rates, seeds, 100) >= allowed(100), seeds


@pytest.mark.slow
@pytest.mark.parametrize("truth", ["normal", "seed effect common to all", "t2 tails"])
@pytest.mark.parametrize("rates", [1, 3, 12])
def test_effects_between_sweeps_of_other_seeds_are_held(truth: str, rates: int) -> None:
    for seeds, others in APART:
        assert effects(truth, rates, seeds, 100, others) >= allowed(100), (seeds, others)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPONENTS)
@pytest.mark.parametrize("power", [0.5, 1.0])
def test_the_planted_exponent_of_lr_is_held(name: str, power: float) -> None:
    held, told = exponents(name, power, 100)
    assert held >= allowed(100)
    assert told > 0.5
