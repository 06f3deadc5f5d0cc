"""Performance profiles by hand, and studies of several problems."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descent.analysis.performance import Profile, algoperf, problems_of, profile, profile_of
from descent.analysis.study import read_study

Write = Callable[..., Path]


def test_shares_within_a_factor_of_the_best_by_hand() -> None:
    """Ratios: (1, 2, inf) and (3, 1, 1): shares at 1, 2, 3 are 1/3, 2/3, 2/3 and 2/3, 2/3, 1."""
    cost = np.array([[10.0, 40.0, math.inf], [30.0, 20.0, 7.0]])
    tau, share = profile_of(cost)
    assert tau == pytest.approx([1, 2, 3, 3.3])
    assert share == pytest.approx(np.array([[1, 2, 2, 2], [2, 2, 3, 3]]) / 3)


def test_what_nobody_solves_counts_against_all_and_zero_steps_are_the_best() -> None:
    tau, share = profile_of(np.array([[math.inf, 0.0], [math.inf, 5.0]]))
    assert tau == pytest.approx([1, 1.1])
    assert share.tolist() == [[0.5, 0.5], [0.0, 0.0]]


def test_the_algoperf_score_is_the_mean_of_the_profile_up_to_a_factor_of_4() -> None:
    """Shares of a: 1 up to any factor; of b: 0 up to 3, then 1/2, so 1/2 (4 - 3) / 3 of it."""
    tau, share = profile_of(np.array([[1.0, 1.0], [3.0, 5.0]]))
    found = algoperf(Profile(("a", "b"), ("p", "q"), np.zeros((2, 2)), tau, share, "steps"))
    assert found == pytest.approx([1.0, 1 / 6])


def job(data: str, name: str, lr: float, seed: int, steps: int, start: float = 2.0) -> Any:
    """Return a trial that is at half its start from the record at `steps` on."""
    rows = [(s, start if s < steps else start / 2) for s in range(0, 101, 10)]
    return {
        "values": {"data": data, "optimizer": name, "optimizer.lr": lr, "seed": seed},
        "epochs": rows, "metrics": {"train/full_loss": rows[-1][1]},
    }  # fmt: skip


STEPS = {  # of each lr
    ("wine", "sgd"): (50, 30), ("wine", "adam"): (20, 10),
    ("iris", "sgd"): (40, 60), ("iris", "adam"): (80, 999),
}  # fmt: skip


@pytest.fixture
def sweep(write_sweep: Write) -> Path:
    jobs = [
        job(data, name, lr, seed, steps[i] + 10 * seed, 2.0 if data == "wine" else 20.0)
        for (data, name), steps in STEPS.items() for i, lr in enumerate((0.1, 1.0))
        for seed in (0, 1)
    ]  # fmt: skip
    return write_sweep(jobs)


def test_each_optimizer_has_its_own_best_lr_on_each_problem(sweep: Path) -> None:
    """Means over two seeds, ten steps apart: sgd 35 and 45, adam 15 and 85."""
    found = profile(read_study(sweep))
    assert found is not None
    assert (found.labels, found.problems) == (("sgd", "adam"), ("wine", "iris"))
    assert found.targets == (1.0, 10.0)
    assert found.cost.tolist() == [[35.0, 45.0], [15.0, 85.0]]
    assert found.tau == pytest.approx([1, 85 / 45, 35 / 15, 1.1 * 35 / 15])
    assert found.share.tolist() == [[0.5, 0.5, 1.0, 1.0], [0.5, 1.0, 1.0, 1.0]]


def test_a_problem_is_a_study_of_its_own(sweep: Path) -> None:
    study = read_study(sweep)
    (wine, first), (iris, second) = problems_of(study)
    assert (wine, iris) == ("wine", "iris")
    assert len(first.trials) == len(second.trials) == 8
    assert "data" not in first.swept
    assert first.shared[-1] == "data=wine"
    assert {trial.values["optimizer"] for trial in second.trials} == {"sgd", "adam"}
    assert problems_of(first) == (("", first),)


def test_one_problem_or_one_optimizer_has_no_profile(write_sweep: Write) -> None:
    one = [job("wine", name, 0.1, 0, 20) for name in ("sgd", "adam")]
    assert profile(read_study(write_sweep(one, name="one"))) is None
    same = [job(data, "sgd", 0.1, seed, 20) for data in ("wine", "iris") for seed in (0, 1)]
    assert profile(read_study(write_sweep(same, name="same"))) is None


def test_a_target_that_a_seed_missed_was_missed(write_sweep: Write) -> None:
    jobs = [
        job(data, name, 0.1, seed, 20)
        for data in ("wine", "iris") for name in ("sgd", "adam") for seed in (0, 1)
    ]  # fmt: skip
    jobs[2] |= {"status": "diverged"}  # adam on wine
    found = profile(read_study(write_sweep(jobs)))
    assert found is not None
    assert found.cost.tolist() == [[20, 20], [math.inf, 20]]
