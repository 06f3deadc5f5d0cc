"""Metrics of single and stacked runs against scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from descent.data.arrays import Task
from descent.data.prepare import Description
from descent.data.scale import Scaler
from descent.engine.evaluating import Evaluator, Scores
from descent.engine.losses import loss_for

RUNS = 4
KINDS = [
    (Task.REGRESSION, 1),
    (Task.REGRESSION, 3),
    (Task.BINARY, 1),
    (Task.MULTICLASS, 2),
    (Task.MULTICLASS, 5),
]


def described(task: Task, outputs: int, rows: int, scale: float = 1.0) -> Description:
    """Return data of which only what metrics need is told; targets have scales of their own."""
    numbers = np.arange(1.0, outputs + 1)
    scaler = Scaler(np.zeros(1), np.ones(1))
    if task is Task.REGRESSION:
        scaler = Scaler(150 * numbers, scale * numbers)
    classes = tuple(map(str, range(outputs))) if task.is_classification else ()
    return Description(
        task, "y", classes, (), outputs, scaler, scaler,
        {"train": 1, "val": rows, "test": 0}, "none",
    )  # fmt: skip


def drawn(task: Task, rows: int, outputs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return outputs [R, n, C] and targets as `split_tensors` gives them."""
    random = torch.Generator().manual_seed(seed)
    made = torch.randn(RUNS, rows, outputs, generator=random, dtype=torch.float64)
    if task is Task.MULTICLASS:
        return made, torch.randint(0, outputs, (rows,), generator=random)
    if task is Task.BINARY:
        return made, torch.randint(0, 2, (rows, 1), generator=random).double()
    y = torch.randn(rows, outputs, generator=random, dtype=torch.float64)
    return y + made * torch.logspace(-1, 1, RUNS).view(-1, 1, 1).double(), y  # some runs fit well


def by_scikit_learn(data: Description, outputs: Tensor, y: Tensor) -> dict[str, float]:
    if data.task is Task.BINARY:
        return {"accuracy": sk.accuracy_score(y[:, 0] > 0.5, outputs[:, 0] > 0)}
    if data.task is Task.MULTICLASS:
        return {"accuracy": sk.accuracy_score(y, outputs.argmax(1))}
    wanted, got = (
        v.numpy() * data.target_scaler.scale + data.target_scaler.offset for v in (y, outputs)
    )
    found = {
        "rmse": math.sqrt(sk.mean_squared_error(wanted, got)),
        "mae": sk.mean_absolute_error(wanted, got),
    }
    return found | ({"r2": sk.r2_score(wanted, got)} if len(y) > 1 else {})


def single(data: Description, outputs: Tensor, y: Tensor) -> dict[str, float]:
    """Return the metrics of one run, gathered in pieces of 4 rows."""
    evaluator = Evaluator(data, data.rows, loss_for(data.task))
    for piece, wanted in zip(outputs.split(4), y.split(4), strict=True):
        evaluator.add(piece.unsqueeze(0), wanted)
    found = {name: float(values[0]) for name, values in evaluator.take("val").items()}
    assert list(found) == evaluator.names("val")
    assert found.pop("val/loss") == pytest.approx(float(loss_for(data.task)(outputs, y)))
    return {name.removeprefix("val/"): value for name, value in found.items()}


@pytest.mark.parametrize("rows", [1, 2, 31])
@pytest.mark.parametrize(("task", "outputs"), KINDS)
def test_metrics_of_single_and_stacked_runs_are_scikit_learns(task, outputs, rows):
    made, y = drawn(task, rows, outputs, seed=rows)
    data = described(task, outputs, rows, scale=70)
    found = Scores(data, y)(made)
    assert list(found) == Scores(data, y).names
    for run, own in enumerate(made):
        wanted = by_scikit_learn(data, own, y)
        assert {name: float(v[run]) for name, v in found.items()} == pytest.approx(wanted, rel=1e-9)
        assert single(data, own, y) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("scale", "away"), [(1e-3, 1.0), (1e-6, 1e-3), (1e6, 1e-4)], ids=["small", "tiny", "large"]
)
def test_r2_has_no_unit(scale, away):
    """R^2 of targets in any unit is the same; a small one is no sign of a perfect fit."""
    made, y = drawn(Task.REGRESSION, 9, 1)
    made = y + away * (made - y)
    data = described(Task.REGRESSION, 1, 9, scale)
    wanted = by_scikit_learn(data, made[2], y)["r2"]
    # rounding: the target's offset of 150 over its scale
    assert float(Scores(data, y)(made)["r2"][2]) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("away", [0.0, 1.0])
def test_r2_of_equal_targets_is_1_for_a_perfect_fit_and_else_0(away):
    y = torch.full((5, 1), 0.1)
    data = described(Task.REGRESSION, 1, 5)
    found = float(Scores(data, y)(y.unsqueeze(0) + away)["r2"][0])
    assert found == by_scikit_learn(data, y + away, y)["r2"] == (0.0 if away else 1.0)


def test_a_logit_of_zero_is_the_first_class_and_of_equal_logits_the_first_wins():
    y = torch.tensor([[0.0], [0.0], [0.0], [1.0]])
    assert Scores(described(Task.BINARY, 1, 4), y)(torch.zeros(2, 4, 1))["accuracy"].tolist() == [
        0.75, 0.75,
    ]  # fmt: skip
    classes = torch.tensor([0, 0, 1, 2])
    data = described(Task.MULTICLASS, 3, 4)
    assert Scores(data, classes)(torch.ones(2, 4, 3))["accuracy"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("task", "outputs"), KINDS)
def test_runs_that_are_lost_spoil_no_others(task, outputs, bad):
    made, y = drawn(task, 9, outputs)
    data = described(task, outputs, 9)
    whole = Scores(data, y)(made)
    made[1, 4, 0], made[3] = bad, bad
    for name, values in Scores(data, y)(made).items():
        assert values[[0, 2]].tolist() == whole[name][[0, 2]].tolist()
        if task is Task.REGRESSION:
            assert not values[[1, 3]].isfinite().any()


def test_a_landscape_has_no_metrics():
    scores = Scores(described(Task.LANDSCAPE, 1, 5), torch.zeros(5, 1))
    assert scores.names == []
    assert scores(torch.zeros(RUNS, 5, 1)) == {}
