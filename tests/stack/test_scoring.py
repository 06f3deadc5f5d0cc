"""Figures of a stack beside those of each of its runs: losses, penalties and paths."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path as Directory
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from descent.callbacks.path import Path
from descent.data.arrays import Task
from descent.losses import loss_for, penalty
from descent.recording.path import Trajectory, read_path
from descent.stack.history import Paths
from descent.stack.scoring import stacked_loss, stacked_penalty

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
    losses = stacked_loss(task, made, y)
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
    losses = stacked_loss(task, made, y)
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
    total = stacked_penalty(weights, l1, l2)
    gradients = torch.autograd.grad(total.sum(), weights)
    assert total.shape == (RUNS,)
    assert total.dtype == dtype
    rtol = {torch.float32: 1e-6, torch.float64: 1e-14}[dtype]
    for run in range(RUNS):
        own = [w[run].detach().requires_grad_() for w in weights]
        expected = penalty(own, float(l1[run]), float(l2[run]))
        torch.testing.assert_close(total[run], expected.to(dtype), rtol=rtol, atol=0)
        if expected.requires_grad:
            for mine, theirs in zip(gradients, torch.autograd.grad(expected, own), strict=True):
                torch.testing.assert_close(mine[run], theirs, rtol=rtol, atol=rtol)
        else:
            assert not any(gradient[run].any() for gradient in gradients)


def test_no_weights_cost_nothing() -> None:
    l1, l2 = torch.ones(RUNS), torch.ones(RUNS)
    assert stacked_penalty([], l1, l2).tolist() == [0.0] * RUNS


# ---- paths


class Walks:
    """R small models that walk at random, each watched by a `Path` as Lightning's trainer does it.

    Args:
        directory: for their files.
        options: of the callback.
    """

    def __init__(self, directory: Directory, runs: int, dtype: torch.dtype, **options: Any) -> None:
        self._random = torch.Generator().manual_seed(0)
        self.models = [nn.Linear(2, 2).to(dtype) for _ in range(runs)]
        self.shapes = {n: tuple(p.shape) for n, p in self.models[0].named_parameters()}
        self.item = dtype.itemsize
        self._trainer: Any = SimpleNamespace(is_global_zero=True)
        self._learners = [SimpleNamespace(model=m, global_step=0, watchers=[]) for m in self.models]
        self._callbacks = [Path(directory / str(run), **options) for run in range(runs)]
        for callback, learner in zip(self._callbacks, self._learners, strict=True):
            callback.dir.mkdir()
            callback.on_train_start(self._trainer, learner)

    def stacked(self) -> list[Tensor]:
        pairs = zip(*(m.parameters() for m in self.models), strict=True)
        return [torch.stack([p.detach() for p in each]) for each in pairs]

    @torch.no_grad()
    def step(self) -> None:
        for model, learner, callback in zip(
            self.models, self._learners, self._callbacks, strict=True
        ):
            for p in model.parameters():
                p += torch.randn(p.shape, generator=self._random).to(p)
            learner.global_step += 1
            for watch in learner.watchers:
                watch(learner.global_step)
            known = {"first": learner.global_step - 1, "losses": [0.0]}
            callback.on_train_batch_end(self._trainer, learner, known, None, 0)

    def finish(self, run: int) -> Trajectory | None:
        callback = self._callbacks[run]
        callback.on_train_end(self._trainer, self._learners[run])
        return read_path(callback.dir)

    def end(self, run: int) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.models[run].parameters()])


def hold_paths_against(single: Trajectory | None, stacked: Trajectory | None) -> None:
    assert (single is None) == (stacked is None)
    if single is None or stacked is None:
        return
    assert stacked.steps.tolist() == single.steps.tolist()
    assert stacked.theta.dtype == single.theta.dtype
    assert (stacked.theta == single.theta).all()
    assert dict(stacked.shapes) == dict(single.shapes)


def doublings(points: int, steps: int) -> Iterator[int]:
    """Yield the steps kept of 0, 1, ..., n, where every second goes whenever there are `points`."""
    kept, stride = [], 1
    for step in range(steps + 1):
        if step % stride == 0 and len(kept) == points:
            kept, stride = kept[::2], 2 * stride
        if step % stride == 0:
            kept.append(step)
    yield from kept if kept[-1] == steps else [*kept, steps]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("points", [32, 40, 41, 2000])
@pytest.mark.parametrize("steps", [0, 31, 40, 500])
def test_paths_of_a_stack_are_thinned_as_each_runs_own(
    points: int, steps: int, dtype: torch.dtype, tmp_path: Directory
) -> None:
    walks = Walks(tmp_path, 3, dtype, points=points)
    paths = Paths(walks.shapes, points, 4.0, walks.item)
    columns = {0: 0, 1: 1, 2: 2}
    paths.watch(0, columns, walks.stacked())
    for step in range(1, steps + 1):
        walks.step()
        paths.watch(step, columns, walks.stacked())
    for run in range(3):
        own, other = walks.finish(run), paths.of(run, steps, walks.end(run))
        hold_paths_against(own, other)
        assert other is not None
        assert other.steps.tolist() == list(doublings(points, steps))


def test_forty_places_of_five_hundred_steps_are_every_sixteenth(tmp_path: Directory) -> None:
    walks = Walks(tmp_path, 1, torch.float32, points=40)
    paths = Paths(walks.shapes, 40, 4.0, walks.item)
    for step in range(501):
        if step:
            walks.step()
        paths.watch(step, {0: 0}, walks.stacked())
    other = paths.of(0, 500, walks.end(0))
    hold_paths_against(walks.finish(0), other)
    assert other is not None
    assert other.steps.tolist() == [*range(0, 500, 16), 500]


def test_runs_that_end_early_take_their_part_of_the_path_along(tmp_path: Directory) -> None:
    walks = Walks(tmp_path, 4, torch.float64, points=40)
    paths = Paths(walks.shapes, 40, 4.0, walks.item)
    ends = {1: 30, 3: 137, 0: 260, 2: 500}
    slots = [0, 1, 2, 3]
    columns = {run: i for i, run in enumerate(slots)}
    for step in range(501):
        if step:
            walks.step()
        paths.watch(step, columns, [p[slots] for p in walks.stacked()])
        for run in [run for run in slots if ends[run] == step]:
            hold_paths_against(walks.finish(run), paths.of(run, step, walks.end(run)))
            slots = [other for other in slots if other != run]
            columns = {other: i for i, other in enumerate(slots)}
    assert slots == []


def test_a_path_whose_end_is_not_known_stops_where_the_run_was_lost() -> None:
    shapes = {"w": (2,)}
    paths = Paths(shapes, 40, 4.0, 8)
    for step in range(101):
        places = torch.arange(6.0, dtype=torch.float64).view(3, 2) + 10 * step
        paths.watch(step, {0: 0, 1: 1, 2: 2}, [places])
    path = paths.of(1, 57, None)
    assert path is not None
    assert path.steps.tolist() == list(range(0, 57, 4))
    assert path.theta.tolist() == [[2.0 + 10 * s, 3.0 + 10 * s] for s in range(0, 57, 4)]
    known = paths.of(1, 57, torch.tensor([-1.0, -2.0], dtype=torch.float64))
    assert known is not None
    assert known.steps.tolist() == [*range(0, 57, 4), 57]
    assert known.theta[-1].tolist() == [-1.0, -2.0]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_path_keeps_within_its_memory_or_is_not_kept(
    dtype: torch.dtype, tmp_path: Directory
) -> None:
    room = 6 * dtype.itemsize / 2**20  # of one place: a Linear(2, 2) has 6 numbers
    for places, kept in ((31, False), (32, True), (50, True)):
        (tmp_path / str(places)).mkdir()
        walks = Walks(tmp_path / str(places), 2, dtype, most_mib=places * room)
        paths = Paths(walks.shapes, 2000, places * room, walks.item)
        assert paths.kept == kept
        for step in range(121):
            if step:
                walks.step()
            paths.watch(step, {0: 0, 1: 1}, walks.stacked())
        for run in range(2):
            other = paths.of(run, 120, walks.end(run))
            hold_paths_against(walks.finish(run), other)
            assert (other is not None) == kept
            if other is not None:
                assert other.steps.tolist() == list(doublings(places, 120))
