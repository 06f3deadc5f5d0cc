"""Searches that follow `next:` to their end: does it come, and does it lie near the optimum?"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from worlds import Values, follow

LRS = (0.001, 0.01, 0.1)
ROUNDS, NEAR = 5, 1.1  # rounds with the confirming one; factor above the least loss


def valley(best: float, depth: float = 0.53) -> Callable[[Values], float]:
    """Return a loss that rises with the square of log lr's distance."""

    def loss(values: Values) -> float:
        return 1 + depth * math.log10(values["optimizer.lr"] / best) ** 2

    return loss


def falling(values: Values) -> float | None:
    """Return a loss that falls with lr up to the limit of stability, 0.1."""
    lr = values["optimizer.lr"]
    return None if lr > 0.1 else 1 + 0.3 * math.log10(0.1 / lr)


def ridge(values: Values) -> float:
    """Return a loss whose best lr grows with the batch; the smallest batch tried is the best."""
    lr, batch = values["optimizer.lr"], values["data.batch_size"]
    return 1 + 0.5 * math.log10(lr / (0.1 * batch / 16)) ** 2 + 0.3 * abs(math.log2(batch / 16))


def batches(values: Values) -> float:
    lr, batch = values["optimizer.lr"], values["data.batch_size"]
    return 1 + 0.5 * math.log10(lr / 0.3) ** 2 + 0.08 * math.log2(batch / 8) ** 2


# name: loss, first grid, factor above the optimum that is allowed
KINDS: dict[str, tuple[Callable[[Values], float | None], Mapping[str, Sequence[Any]], float]] = {
    "inside": (valley(0.03), {"optimizer.lr": (*LRS, 1)}, NEAR),
    "the edge value": (valley(0.1), {"optimizer.lr": LRS}, NEAR),
    "just beyond": (valley(0.2), {"optimizer.lr": LRS}, NEAR),
    "just inside": (valley(0.07), {"optimizer.lr": LRS}, NEAR),
    "far beyond": (valley(10), {"optimizer.lr": LRS}, NEAR),
    "limit of stability": (falling, {"optimizer.lr": LRS}, NEAR),
    "lr with batch": (
        ridge, {"optimizer.lr": (0.01, 0.03, 0.1, 0.3), "data.batch_size": (16, 64, 256)}, NEAR,
    ),
    "no difference": (lambda _: 1.0, {"optimizer.lr": (*LRS, 1)}, NEAR),
    "steep, beyond": (valley(0.2, depth=4), {"optimizer.lr": LRS}, 1.2),
    "lr and batch": (batches, {"optimizer.lr": LRS, "data.batch_size": (16, 64, 256)}, NEAR),
    "momentum": (
        lambda v: 1 + 0.5 * math.log10((1 - v["optimizer.momentum"]) / 0.03) ** 2,
        {"optimizer.momentum": (0, 0.5, 0.9)}, NEAR,
    ),
    "dropout": (lambda v: 1 + 2 * (v["model.dropout"] - 0.35) ** 2, {"model.dropout": (0, 0.2)},
                NEAR),
    "no decay is best": (lambda v: 1 + 10 * v["optimizer.weight_decay"],
                         {"optimizer.weight_decay": (0, 0.001, 0.01, 0.1)}, NEAR),
}  # fmt: skip


# of random searches: loss, intervals, settings drawn, seeds, factor above the optimum
DRAWN: dict[str, tuple[Callable[[Values], float | None], Mapping[str, str], int, int, float]] = {
    "inside": (valley(0.03), {"optimizer.lr": "interval(1e-4,1)"}, 16, 3, NEAR),
    "beyond": (valley(3), {"optimizer.lr": "interval(1e-4,1)"}, 16, 3, NEAR),
    "one seed": (valley(0.03), {"optimizer.lr": "interval(1e-4,1)"}, 32, 1, NEAR),
    "two options": (
        lambda v: valley(0.03)(v) + 2 * (v["model.dropout"] - 0.2) ** 2,
        {"optimizer.lr": "interval(1e-4,1)", "model.dropout": "interval(0,0.9)"}, 32, 3, NEAR,
    ),
    "with a choice": (
        lambda v: valley(0.03)(v) + 0.1 * abs(math.log2(v["data.batch_size"] / 32)),
        {"optimizer.lr": "interval(1e-4,1)", "data.batch_size": "choice(16,32,64,128)"}, 32, 3,
        NEAR,
    ),
}  # fmt: skip


def drawn(kind: str, where: Path, seeds: int, noise: float) -> tuple[int, int, float]:
    """Return of random searches what `searched` does of grids."""
    loss, spans, trials, repeats, near = DRAWN[kind]
    good, rounds, worst = 0, 0, 0.0
    for seed in range(seeds):
        ended = follow(where / str(seed), loss, spans, seed, noise, repeats, trials=trials)
        reached = loss({k: float(v) for k, v in ended.choice.items()})
        assert reached is not None
        good += ended.done and ended.rounds <= ROUNDS and reached <= near
        rounds, worst = max(rounds, ended.rounds), max(worst, reached)
    return good, rounds, worst


def searched(kind: str, where: Path, seeds: int, noise: float) -> tuple[int, int, float]:
    """Return how many searches ended and were near, the most rounds, and the worst factor."""
    loss, grid, near = KINDS[kind]
    good, rounds, worst = 0, 0, 0.0
    for seed in range(seeds):
        ended = follow(where / str(seed), loss, grid, seed, noise)
        reached = loss({k: float(v) for k, v in ended.choice.items()})
        assert reached is not None
        good += ended.done and ended.rounds <= ROUNDS and reached <= near
        rounds, worst = max(rounds, ended.rounds), max(worst, reached)
    return good, rounds, worst


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_search_ends_near_the_optimum(kind: str, tmp_path: Path) -> None:
    good, rounds, worst = searched(kind, tmp_path, 20, 0.02)
    print(f"{kind}: {good} of 20 ended near, in {rounds} rounds at most, worst {worst:.3f}")
    assert good == 20, (rounds, worst)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DRAWN)
def test_every_random_search_ends_near_the_optimum(kind: str, tmp_path: Path) -> None:
    good, rounds, worst = drawn(kind, tmp_path, 20, 0.02)
    print(f"{kind}: {good} of 20 ended near, in {rounds} rounds at most, worst {worst:.3f}")
    assert good == 20, (rounds, worst)
