"""Losses and penalties of R runs at once beside those of each."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from descent.data.arrays import Task
from descent.engine.losses import loss_for, penalty
from descent.engine.stacked_model import repeated

RUNS = 6
SHARES = (1, 2, 3, RUNS)  # batches S of which R runs take one each, equally many neighbours
KINDS = [
    (Task.REGRESSION, 1),
    (Task.REGRESSION, 3),
    (Task.BINARY, 1),
    (Task.MULTICLASS, 2),
    (Task.MULTICLASS, 5),
]
FLOATS = [torch.float32, torch.float64]


def targets(
    task: Task, shape: tuple[int, ...], outputs: int, dtype: torch.dtype, random: torch.Generator
) -> Tensor:
    """Return targets as `split_tensors` gives them, [..., C] numbers or [...] classes."""
    if task is Task.MULTICLASS:
        return torch.randint(0, outputs, shape, generator=random)
    if task is Task.BINARY:
        return torch.randint(0, 2, (*shape, 1), generator=random).to(dtype)
    return torch.randn(*shape, outputs, generator=random, dtype=dtype)


# ---- losses and penalties


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("batches", SHARES)
@pytest.mark.parametrize(("task", "outputs"), [*KINDS, (Task.LANDSCAPE, 1)])
def test_losses_and_gradients_of_a_stack_are_those_of_each_run(
    task: Task, outputs: int, batches: int, dtype: torch.dtype
) -> None:
    random = torch.Generator().manual_seed(batches)
    y = targets(task, (batches, 8), outputs, dtype, random)
    made = 3 * torch.randn(RUNS, 8, outputs, generator=random, dtype=dtype)
    made.requires_grad_()
    losses = loss_for(task).each(made, repeated(y, RUNS))
    (gradient,) = torch.autograd.grad(losses.sum(), made)
    assert losses.dtype == dtype
    rtol = {torch.float32: 1e-6, torch.float64: 1e-14}[dtype]
    for run in range(RUNS):
        own = made[run].detach().requires_grad_()
        loss = loss_for(task)(own, y[run // (RUNS // batches)])
        (expected,) = torch.autograd.grad(loss, own)
        torch.testing.assert_close(losses[run], loss, rtol=rtol, atol=0)
        torch.testing.assert_close(gradient[run], expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(("task", "outputs"), KINDS)
def test_a_loss_that_is_lost_is_its_runs_own(task: Task, outputs: int, bad: float) -> None:
    random = torch.Generator().manual_seed(3)
    y = targets(task, (1, 8), outputs, torch.float64, random)
    made = torch.randn(RUNS, 8, outputs, generator=random, dtype=torch.float64)
    made[2, 5] = bad
    losses = loss_for(task).each(made, repeated(y, RUNS))
    for run in range(RUNS):
        expected = float(loss_for(task)(made[run], y[0]))
        assert float(losses[run]) == pytest.approx(expected, rel=1e-14, nan_ok=True)
    assert losses.isfinite().tolist() == [run != 2 for run in range(RUNS)]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_penalties_and_their_gradients_are_those_of_each_run(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(4)
    weights = [
        torch.randn(RUNS, *shape, generator=random, dtype=dtype).requires_grad_()
        for shape in ((5, 3), (2, 5), (4, 1, 3))
    ]
    l1 = torch.tensor([0.0, 0.1, 0.0, 0.3, 2.0, 0.0], dtype=dtype)
    l2 = torch.tensor([0.0, 0.0, 0.5, 0.2, 0.0, 10.0], dtype=dtype)
    total = penalty(weights, l1, l2)
    gradients = torch.autograd.grad(total.sum(), weights)
    assert total.shape == (RUNS,)
    assert total.dtype == dtype
    rtol = {torch.float32: 1e-6, torch.float64: 1e-14}[dtype]
    for run in range(RUNS):
        own = [w[run].detach().requires_grad_() for w in weights]
        expected = torch.zeros((), dtype=dtype)
        for w in own:
            expected = expected + l1[run] * w.abs().sum() + l2[run] / 2 * (w * w).sum()
        alone = penalty(own, float(l1[run]), float(l2[run]))
        torch.testing.assert_close(alone.to(dtype), expected, rtol=rtol, atol=0)
        torch.testing.assert_close(total[run], expected.to(dtype), rtol=rtol, atol=0)
        for mine, theirs in zip(gradients, torch.autograd.grad(expected, own), strict=True):
            torch.testing.assert_close(mine[run], theirs, rtol=rtol, atol=rtol)


def test_no_weights_cost_nothing() -> None:
    l1, l2 = torch.ones(RUNS), torch.ones(RUNS)
    assert penalty([], l1, l2).tolist() == [0.0] * RUNS
