"""From recorded blocks to table columns and to the series that loggers get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from descent.recording import axes
from descent.recording.axes import Series, stride

PLACES = ("epoch", "step", "samples", "time")


@dataclass(frozen=True)
class StepBlock:
    """The figures of a window's k steps.

    Args:
        step, epoch, samples, seconds, loss, lr: [k] each.
        time: wall times [k].
        norms: gradient norm by step, where it was measured.
        full_loss: measured after the last of these steps, if it was.
    """

    step: np.ndarray
    epoch: np.ndarray
    samples: np.ndarray
    seconds: np.ndarray
    loss: np.ndarray
    lr: np.ndarray
    time: np.ndarray
    norms: dict[int, float]
    full_loss: float | None


@dataclass(frozen=True)
class Thinning:
    """Which points reach the loggers: every n-th step, epoch and measured gradient norm."""

    steps: int = 1
    epochs: int = 1
    grad_norms: int = 1
    lr_per_step: bool = False


def thinning(
    steps: int, per_epoch: int, points: int, norm_every: int, lr_per_step: bool
) -> Thinning:
    """Return what to keep of a run.

    Args:
        steps: it will take.
        per_epoch: steps an epoch.
        points: at most about this many of a series.
        norm_every: the gradient's norm is measured at every n-th step.
        lr_per_step: whether lr changes by step.
    """
    thin, every = stride(steps, points), max(norm_every, 1)
    return Thinning(
        steps=thin,
        epochs=stride(-(-steps // per_epoch), points),
        grad_norms=every * stride(thin, every),
        lr_per_step=lr_per_step,
    )


def step_columns(blocks: Sequence[StepBlock]) -> dict[str, np.ndarray]:
    """Join blocks; what was not measured at a step is NaN."""
    names = ("step", "epoch", "samples", "seconds", "loss", "lr", "time")
    columns = {name: np.concatenate([getattr(b, name) for b in blocks]) for name in names}
    first, count = columns["step"][0], len(columns["step"])
    columns["grad_norm"] = np.full(count, np.nan)
    columns["full_loss"] = np.full(count, np.nan)
    for block in blocks:
        for step, norm in block.norms.items():
            columns["grad_norm"][step - first] = norm
        if block.full_loss is not None:
            columns["full_loss"][block.step[-1] - first] = block.full_loss
    return columns


def step_series(columns: dict[str, np.ndarray], thin: Thinning) -> list[Series]:
    """Return step loss, gradient norm and, where it changes by step, lr: by step and by samples."""
    step = columns["step"]
    keep = (step % thin.steps == 0) | (step == 1)
    series = [_by_step(columns, "loss", axes.STEP_LOSS, keep)]
    if thin.lr_per_step:
        series.append(_by_step(columns, "lr", axes.LR, keep))
    measured = ~np.isnan(columns["grad_norm"]) & (step % thin.grad_norms == 0)
    return [*series, _by_step(columns, "grad_norm", axes.GRAD_NORM, measured)]


def full_loss_within(columns: dict[str, np.ndarray], thin: Thinning) -> Series:
    """Return the full losses measured after steps."""
    keep = ~np.isnan(columns["full_loss"]) & (columns["step"] % thin.steps == 0)
    return _by_step(columns, "full_loss", axes.FULL_LOSS, keep)


def _by_step(columns: dict[str, np.ndarray], column: str, name: str, keep: np.ndarray) -> Series:
    x = {"by_step": columns["step"][keep], "by_samples": columns["samples"][keep]}
    return Series(name, columns["time"][keep], columns[column][keep], x)


def epoch_series(
    rows: Sequence[dict[str, Any]], thin: Thinning, within: Series | None, written: int = -1
) -> list[Series]:
    """Return every figure of some epochs on all three axes.

    Args:
        rows: one an epoch: figures by name, and the place of the epoch on each axis.
        thin: lr by step stands in `step_series` already.
        within: full losses between these epochs, merged in so that steps rise in the file.
        written: the last step whose full loss is in the file already.
    """
    on_steps = {axes.GRAD_NORM, *([axes.LR] if thin.lr_per_step else [])}
    names = {name for row in rows for name in row} - set(PLACES)
    if within is not None and len(within.values):
        names.add(axes.FULL_LOSS)
    made = []
    for name in sorted(names):
        points = [row for row in rows if name in row]
        place = {key: np.array([row[key] for row in points]) for key in PLACES}
        values = np.array([row[name] for row in points], dtype=np.float64)
        by_epoch = Series(name, place["time"], values, {"by_epoch": place["epoch"].astype(int)})
        made.append(by_epoch)
        if name in on_steps:
            continue
        x = {"by_step": place["step"].astype(int), "by_samples": place["samples"].astype(int)}
        by_step = Series(name, place["time"], values, x)
        if name == axes.FULL_LOSS:
            by_step = _merged(by_step, within) if within is not None else by_step
            by_step = by_step.kept(by_step.x["by_step"] > written)
        made.append(by_step)
    return made


def _merged(a: Series, b: Series) -> Series:
    """Join two series of one metric; a step that stands in both is kept once, steps rise."""
    x = {axis: np.concatenate([a.x[axis], b.x[axis]]) for axis in a.x}
    joined = Series(
        a.name, np.concatenate([a.times, b.times]), np.concatenate([a.values, b.values]), x
    )
    return joined.kept(np.unique(x["by_step"], return_index=True)[1])
