"""Losses, penalties and metrics against formulas written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from descent.data.arrays import Task
from descent.losses import loss_for, penalized, penalty

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
