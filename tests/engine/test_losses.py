"""Losses, penalties and metrics against formulas written out in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_pinball_loss
from torch import Tensor, nn

from descent.data.arrays import Task, numeric
from descent.data.prepare import Description
from descent.data.scale import Scaler
from descent.engine.losses import Criterion, RowLoss, criterion, loss_for, penalized, penalty
from descent.errors import UserError

RANDOM = np.random.default_rng(0)


def test_regression_loss_is_the_mean_squared_error_over_rows_and_targets():
    outputs, wanted = RANDOM.normal(size=(2, 7, 3))
    loss = loss_for(Task.REGRESSION)(torch.tensor(outputs), torch.tensor(wanted))
    assert float(loss) == pytest.approx(np.mean((outputs - wanted) ** 2), rel=1e-14)


def test_binary_loss_is_the_mean_of_minus_log_likelihood_of_one_logit():
    logits, wanted = 3 * RANDOM.normal(size=(9, 1)), RANDOM.integers(0, 2, (9, 1)).astype(float)
    p = 1 / (1 + np.exp(-logits))
    likelihood = wanted * np.log(p) + (1 - wanted) * np.log(1 - p)
    loss = loss_for(Task.BINARY)(torch.tensor(logits), torch.tensor(wanted))
    assert float(loss) == pytest.approx(-likelihood.mean(), rel=1e-13)


def test_multiclass_loss_is_the_mean_of_minus_log_softmax_of_the_true_class():
    logits, classes = 3 * RANDOM.normal(size=(9, 4)), RANDOM.integers(0, 4, 9)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = loss_for(Task.MULTICLASS)(torch.tensor(logits), torch.tensor(classes))
    assert float(loss) == pytest.approx(-np.log(shares[np.arange(9), classes]).mean(), rel=1e-13)


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS])
def test_losses_stay_finite_for_logits_far_out(task):
    logits = torch.tensor([[1e4], [-1e4]]) if task is Task.BINARY else torch.tensor([[1e4, -1e4]])
    wrong = torch.tensor([[0.0], [1.0]]) if task is Task.BINARY else torch.tensor([1])
    assert float(loss_for(task)(logits, wrong)) == (1e4 if task is Task.BINARY else 2e4)


def test_a_penalty_sums_absolute_and_half_squared_weights():
    weights = [torch.tensor([[1.0, -2.0], [0.0, 3.0]]), torch.tensor([[-4.0]])]
    assert float(penalty(weights, l1=0.5, l2=0.0)) == 0.5 * 10
    assert float(penalty(weights, l1=0.0, l2=0.2)) == pytest.approx(0.1 * 30)
    assert float(penalty(weights, l1=0.5, l2=0.2)) == pytest.approx(0.5 * 10 + 0.1 * 30)
    assert float(penalty(weights, l1=0.0, l2=0.0)) == 0


def test_a_penalty_in_float64_keeps_float64():
    weights = [torch.full((1, 1), 1 / 3, dtype=torch.float64)]
    assert float(penalty(weights, l1=0.1, l2=0.1)) == 0.1 * (1 / 3) + 0.05 * (1 / 3) ** 2


def test_penalties_leave_biases_norms_and_frozen_weights_alone():
    frozen = nn.Linear(3, 3).requires_grad_(False)
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), frozen, nn.Conv1d(1, 1, 3))
    assert [id(p) for p in penalized(model)] == [id(model[0].weight), id(model[3].weight)]


# ---- the losses of conf/loss

OURS = "descent.engine.losses."


def described(task: Task, outputs: int = 1, weight: str | None = None) -> Description:
    classes = {Task.BINARY: 2, Task.MULTICLASS: outputs}.get(task, 0)
    one = Scaler(np.zeros(1), np.ones(1))
    return Description(
        task, "y", tuple(f"c{i}" for i in range(classes)), numeric(["x"]), outputs, one, one,
        {"train": 9, "val": 0, "test": 0}, "", weight=weight,
    )  # fmt: skip


def chosen(target: str, task: Task, outputs: int = 1, **options: Any) -> Criterion:
    return criterion({"loss": {"_target_": target, **options}}, described(task, outputs))


def focal(logits: np.ndarray, classes: np.ndarray, gamma: float) -> float:
    """By the definition: minus (1 - p)^gamma log p."""
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    p = shares[np.arange(len(classes)), classes]
    return float((-((1 - p) ** gamma) * np.log(p)).mean())


NUMBERS = [
    ("MSE", {}, lambda o, y: np.mean((o - y) ** 2)),
    ("HalfMSE", {}, lambda o, y: np.mean((o - y) ** 2) / 2),
    ("MAE", {}, mean_absolute_error),
    ("Huber", {"delta": 0.7}, lambda o, y: nn.HuberLoss(delta=0.7)(*map(torch.tensor, (o, y)))),
    ("Quantile", {"quantile": 0.9}, lambda o, y: mean_pinball_loss(y, o, alpha=0.9)),
]


@pytest.mark.parametrize(("name", "options", "wanted"), NUMBERS)
def test_a_loss_of_numbers_is_that_of_its_formula(name, options, wanted):
    outputs, y = 2 * RANDOM.normal(size=(2, 11, 3))
    loss = chosen(OURS + name, Task.REGRESSION, 3, **options)
    found = float(loss(torch.tensor(outputs), torch.tensor(y)))
    assert found == pytest.approx(float(wanted(outputs, y)), rel=1e-13)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_smoothed_cross_entropy_is_torchs_for_one_logit_and_for_several(smoothing):
    logits, y = torch.tensor(3 * RANDOM.normal(size=(9, 4))), torch.arange(9) % 4
    theirs = nn.CrossEntropyLoss(label_smoothing=smoothing)
    name, own = OURS + "CrossEntropy", {"label_smoothing": smoothing}
    assert float(chosen(name, Task.MULTICLASS, 4, **own)(logits, y)) == float(theirs(logits, y))
    pair = torch.cat([torch.zeros(9, 1), logits[:, :1]], dim=1)
    found = chosen(name, Task.BINARY, **own)(logits[:, :1], (y % 2).double()[:, None])
    assert float(found) == pytest.approx(float(theirs(pair, y % 2)), rel=1e-13)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_that_of_its_definition_and_has_a_slope_everywhere(gamma):
    logits, y = 3 * RANDOM.normal(size=(9, 2)), np.arange(9) % 2
    loss = chosen(OURS + "Focal", Task.MULTICLASS, 2, gamma=gamma)
    found = float(loss(torch.tensor(logits), torch.tensor(y)))
    assert found == pytest.approx(focal(logits, y, gamma), rel=1e-12)
    one = torch.tensor(logits[:, 1:] - logits[:, :1])
    binary = chosen(OURS + "Focal", Task.BINARY, gamma=gamma)
    assert float(binary(one, torch.tensor(y[:, None] * 1.0))) == pytest.approx(found, rel=1e-12)
    far = torch.tensor([[800.0]], requires_grad=True)  # a probability of 1, to rounding
    binary(far, torch.ones(1, 1)).backward()
    assert float(far.grad) == 0


EVERY = [
    *((OURS + name, Task.REGRESSION, 2, options) for name, options, _ in NUMBERS),
    (OURS + "CrossEntropy", Task.MULTICLASS, 3, {"label_smoothing": 0.1}),
    (OURS + "Focal", Task.MULTICLASS, 3, {}),
    (OURS + "Focal", Task.BINARY, 1, {}),
    ("torch.nn.SmoothL1Loss", Task.REGRESSION, 2, {"beta": 0.5}),
    ("torch.nn.MultiMarginLoss", Task.MULTICLASS, 3, {}),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("target", "task", "outputs", "options"), EVERY)
def test_losses_and_slopes_of_runs_at_once_are_those_of_each(
    target, task, outputs, options, weighted
):
    data = described(task, outputs, "w" if weighted else None)
    loss = criterion({"loss": {"_target_": target, **options}}, data)
    made = torch.tensor(RANDOM.normal(size=(4, 8, outputs)), requires_grad=True)
    y = torch.tensor(RANDOM.normal(size=(4, 8, outputs)))
    if task is Task.MULTICLASS:
        y = torch.arange(32).reshape(4, 8) % outputs
    elif task is Task.BINARY:
        y = (y > 0).double()
    if weighted:
        w = torch.tensor(RANDOM.uniform(size=(4, 8, 1)))
        y = torch.cat([y.reshape(4, 8, -1), w], dim=2)
    losses = loss.each(made, y)
    (slopes,) = torch.autograd.grad(losses.sum(), made)
    for run in range(4):
        own = made[run].detach().requires_grad_()
        alone = loss(own, y[run])
        (slope,) = torch.autograd.grad(alone, own)
        torch.testing.assert_close(losses[run], alone, rtol=1e-13, atol=0)
        torch.testing.assert_close(slopes[run], slope, rtol=1e-12, atol=1e-15)


def test_a_weighted_loss_is_the_weighted_mean_of_the_rows_losses():
    outputs, y = RANDOM.normal(size=(2, 6, 2))
    w = RANDOM.uniform(size=6)
    wanted = np.average(np.square(outputs - y).mean(axis=1), weights=w)
    packed = np.column_stack([y, w / w.mean()])
    loss = criterion({}, described(Task.REGRESSION, 2, "w"))
    found = float(loss(torch.tensor(outputs), torch.tensor(packed)))
    assert found == pytest.approx(wanted, rel=1e-13)


class Remembers(nn.Module):
    """A loss of a user's: the mean over a batch, and nothing for a row."""

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs - y).square().mean().sqrt()


def test_a_users_loss_of_a_whole_batch_is_taken_and_has_no_rows_to_weigh():
    name = f"{__name__}.Remembers"
    outputs, y = torch.tensor(RANDOM.normal(size=(2, 3, 5, 1)))
    loss = chosen(name, Task.REGRESSION)
    wanted = [float((o - t).square().mean().sqrt()) for o, t in zip(outputs, y, strict=True)]
    assert loss.each(outputs, y).tolist() == pytest.approx(wanted, rel=1e-13)
    with pytest.raises(UserError, match=r"no value for each row that data\.weight"):
        criterion({"loss": {"_target_": name}}, described(Task.REGRESSION, 1, "w"))


@pytest.mark.parametrize(
    ("target", "task", "outputs", "says"),
    [
        (OURS + "MAE", Task.BINARY, 1, "loss=mae is for numbers, but 'y' holds classes"),
        (OURS + "Focal", Task.REGRESSION, 1, "loss=focal is for classes, but 'y' holds numbers"),
        ("torch.nn.CrossEntropyLoss", Task.BINARY, 1, "is 0 whatever the model gives"),
        ("torch.nn.HuberLoss", Task.MULTICLASS, 3, "cannot be computed from outputs"),
        ("torch.nn.TripletMarginLoss", Task.REGRESSION, 1, "cannot be computed from outputs"),
        ("torch.nn.Linear", Task.REGRESSION, 1, "lacks 'in_features'"),
        (OURS + "MSE", Task.LANDSCAPE, 1, "On a landscape the heights are the losses"),
    ],
)
def test_a_loss_that_does_not_suit_is_refused_in_one_sentence(target, task, outputs, says):
    with pytest.raises(UserError, match=says):
        chosen(target, task, outputs)


def test_every_choice_of_a_loss_is_covered_here():
    covered = {target.removeprefix(OURS) for target, *_ in EVERY if target.startswith(OURS)}
    ours = {kind.__name__ for kind in RowLoss.__subclasses__() if hasattr(kind, "choice")}
    assert ours == covered
