"""Critical batch sizes from losses recorded once an epoch: intervals hold them, or none is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from descent.analysis.critical_batch import Scaling, scalings
from descent.analysis.loss_records import LossCurve
from descent.analysis.targets import hit_of
from descent.analysis.trials import Study, Trial

SIZES = (8, 16, 32, 64, 128, 256, 512)
TRUE, LEAST = 100.0, 30.0  # B_crit, S_min


def power(part: float) -> float:
    """Return a loss that falls fast first: 1 at the start, 0.5 at a fortieth of the time to 0.1."""
    return (1 + 99 * part) ** -0.5


def exponential(part: float) -> float:
    return math.exp(-2.302585 * part)


def at(loss: Callable[[float], float], target: float) -> float:
    """Return the part of the time to 0.1 after which a loss is at the target, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if loss(middle) > target else (low, middle)
    return high


def found(
    loss: Callable[[float], float], target: float, rows: int, epochs: int, seeds: int,
    scatter: float, sizes: tuple[int, ...], rng: np.random.Generator, every: int = 0,
    law: Callable[[float], float] = lambda b: 1 + TRUE / b,
) -> Scaling:  # fmt: skip
    """Return what is said of runs that reach the target in LEAST * law(B) steps."""
    trials, hits = [], {}
    for batch in sizes:
        for seed in range(seeds):
            needed = LEAST * law(batch) * math.exp(rng.normal(0, scatter)) / at(loss, target)
            epoch = -(-rows // batch)
            step = np.unique([*range(0, epochs * epoch + 1, every or epoch), epochs * epoch])
            losses = np.array([loss(s / needed) for s in step])
            track = LossCurve(step.astype(float), step * batch, step * 1e-3, losses)
            number = len(trials)
            hits[number] = hit_of(track, target)
            values = {"data.batch_size": float(batch)}
            trials.append(
                Trial(number, values, f"seed={seed}", "ok", "reached stop.epochs", int(step[-1]),
                      int(step[-1]) * batch, 1.0, {}, Path(str(number)), "")
            )  # fmt: skip
    study = Study(Path("sweep"), tuple(trials), ("data.batch_size",), "val/loss", {}, ())
    return scalings(study, target, hits)[0]


# loss, target, rows, epochs, seeds, scatter, sizes
DESIGNS = {
    "exponential, many epochs": (exponential, 0.1, 1024, 60, 2, 0.1, SIZES),
    "power law, many epochs": (power, 0.1, 1024, 60, 2, 0.1, SIZES),
    "power law, 1,024 rows, half way": (power, 0.2, 1024, 40, 2, 0.1, SIZES),
    "power law, 8,192 rows, first epoch": (power, 0.5, 8192, 20, 2, 0.1, SIZES),
    "power law, 8,192 rows, first epochs": (power, 0.2, 8192, 20, 3, 0.1, SIZES),
    "exponential, 8,192 rows, first epoch": (exponential, 0.5, 8192, 20, 2, 0.1, SIZES),
    "three sizes": (exponential, 0.1, 1024, 60, 3, 0.1, (16, 64, 256)),
    "one seed": (exponential, 0.1, 1024, 60, 1, 0.1, SIZES),
    "great scatter": (exponential, 0.1, 1024, 60, 2, 0.3, SIZES),
    "all sizes below": (exponential, 0.1, 1024, 60, 2, 0.1, (2, 4, 8, 16)),
    "all sizes above": (exponential, 0.1, 4096, 300, 2, 0.1, (1024, 2048, 4096)),
}


def verdicts(name: str, draws: int) -> tuple[int, int, int]:
    """Return in how many draws a number was told, the interval held, and it was closed."""
    rng = np.random.default_rng(len(name))
    told, held, closed = 0, 0, 0
    for _ in range(draws):
        one = found(*DESIGNS[name], rng)
        low, high = one.interval
        told += math.isfinite(one.critical)
        held += low <= TRUE <= high
        closed += low > 0 and math.isfinite(high)
        if math.isfinite(one.critical):
            assert high <= 10 * low
    return told, held, closed


@pytest.mark.slow
@pytest.mark.parametrize("name", DESIGNS)
def test_the_interval_holds_the_planted_value_or_abstains(name: str) -> None:
    """Of 40 draws 2 may miss at 95 %; 7 come less than once in a thousand such tests."""
    told, held, closed = verdicts(name, 40)
    print(f"{name}: a number in {told} of 40, closed in {closed}, held in {held}")
    assert held >= 34
    if "many epochs" in name:
        assert told >= 34  # and it does not abstain where the data know


@pytest.mark.slow
def test_full_losses_within_the_first_epoch_give_the_number_back() -> None:
    rng = np.random.default_rng(0)
    held, told = 0, 0
    for _ in range(30):
        one = found(power, 0.5, 8192, 2, 2, 0.1, SIZES, rng, every=2)
        told += math.isfinite(one.critical)
        held += one.interval[0] <= TRUE <= one.interval[1]
    assert told >= 25
    assert held >= 26


@pytest.mark.slow
def test_another_law_is_told_as_a_misfit() -> None:
    """Steps as B^-1/2, and a knee that is sharp: S = 30 max(1, 100 / B)."""
    laws: dict[str, Callable[[float], float]] = {
        "root": lambda b: 20 / math.sqrt(b), "knee": lambda b: max(1.0, TRUE / b),
    }  # fmt: skip
    for name, law in laws.items():
        rng = np.random.default_rng(1)
        notes = [
            found(exponential, 0.1, 1024, 80, 5, 0.05, SIZES, rng, every=1, law=law).note
            for _ in range(20)
        ]
        assert sum(note.startswith("The steps do not follow") for note in notes) >= 18, name
