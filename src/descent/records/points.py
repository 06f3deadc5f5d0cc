"""What is recorded of A runs side by side, and the series that loggers get of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from descent.records import tables as axes
from descent.records.tables import Series, stride
from descent.shapes import Bool, Float, Int


@dataclass(frozen=True)
class StepBlock:
    """The figures of a window's k steps, taken by A runs.

    Args:
        step, epoch, samples, seconds, time: [k] each; times are wall times.
        loss, lr: [k, A].
        norms: gradient norms [A] by step, where they were measured.
        full_loss: [A], measured after the last of these steps, if it was.
    """

    step: Int[np.ndarray, " k"]
    epoch: Int[np.ndarray, " k"]
    samples: Int[np.ndarray, " k"]
    seconds: Float[np.ndarray, " k"]
    time: Float[np.ndarray, " k"]
    loss: Float[np.ndarray, "k A"]
    lr: Float[np.ndarray, "k A"]
    norms: Mapping[int, np.ndarray]
    full_loss: np.ndarray | None

    def kept(self, columns: np.ndarray) -> StepBlock:
        """Return the figures of some of the runs."""
        return replace(
            self,
            loss=self.loss[:, columns],
            lr=self.lr[:, columns],
            norms={step: values[columns] for step, values in self.norms.items()},
            full_loss=None if self.full_loss is None else self.full_loss[columns],
        )


@dataclass(frozen=True)
class EpochRow:
    """The figures of an epoch, or of a part of one, of A runs.

    Args:
        place: `epoch`, `step`, `samples`, `seconds` and the wall `time`, the same for all.
        values: [A] by name.
        absent: which runs lack a value that others have, by name.
        whose: for which runs it is; None for all.
    """

    place: Mapping[str, float | int]
    values: Mapping[str, np.ndarray]
    absent: Mapping[str, Bool[np.ndarray, " A"]]
    whose: Bool[np.ndarray, " A"] | None = None

    def kept(self, columns: np.ndarray) -> EpochRow:
        """Return the figures of some of the runs."""
        return replace(
            self,
            values={name: values[columns] for name, values in self.values.items()},
            absent={name: mask[columns] for name, mask in self.absent.items()},
            whose=None if self.whose is None else self.whose[columns],
        )


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


Columns = dict[str, np.ndarray]  # of steps.csv: [n], or [n, A] where runs differ


def step_columns(blocks: Sequence[StepBlock]) -> Columns:
    """Join blocks; what was not measured at a step is NaN."""
    names = ("step", "epoch", "samples", "seconds", "loss", "lr", "time")
    columns = {name: np.concatenate([getattr(b, name) for b in blocks]) for name in names}
    first, shape = columns["step"][0], columns["loss"].shape
    columns["grad_norm"], columns["full_loss"] = np.full(shape, np.nan), np.full(shape, np.nan)
    for block in blocks:
        for step, norms in block.norms.items():
            columns["grad_norm"][step - first] = norms
        if block.full_loss is not None:
            columns["full_loss"][block.step[-1] - first] = block.full_loss
    return columns


def step_series(columns: Columns, thin: Thinning) -> list[Series]:
    """Return step loss, gradient norm and, where it changes by step, lr: by step and by samples."""
    step = columns["step"]
    keep = (step % thin.steps == 0) | (step == 1)
    series = [_by_step(columns, "loss", axes.STEP_LOSS, keep)]
    if thin.lr_per_step:
        series.append(_by_step(columns, "lr", axes.LR, keep))
    measured = ~np.isnan(columns["grad_norm"]).all(axis=1) & (step % thin.grad_norms == 0)
    return [*series, _by_step(columns, "grad_norm", axes.GRAD_NORM, measured)]


def full_loss_within(columns: Columns, thin: Thinning) -> Series:
    """Return the full losses measured after steps."""
    keep = ~np.isnan(columns["full_loss"]).all(axis=1) & (columns["step"] % thin.steps == 0)
    return _by_step(columns, "full_loss", axes.FULL_LOSS, keep)


def _by_step(columns: Columns, column: str, name: str, keep: np.ndarray) -> Series:
    x = {"by_step": columns["step"][keep], "by_samples": columns["samples"][keep]}
    return Series(name, columns["time"][keep], columns[column][keep].T, x)


def epoch_series(
    rows: Sequence[EpochRow], thin: Thinning, within: Series | None, written: int = -1
) -> list[Series]:
    """Return every figure of some epochs on all three axes.

    Args:
        rows: one an epoch.
        thin: lr by step stands in `step_series` already.
        within: full losses between these epochs, merged in so that steps rise in the file.
        written: the last step whose full loss is in the file already.
    """
    on_steps = {axes.GRAD_NORM, *([axes.LR] if thin.lr_per_step else [])}
    names = {name for row in rows for name in row.values} | ({"seconds"} if rows else set())
    if within is not None and within.values.size:
        names.add(axes.FULL_LOSS)
    made = []
    for name in sorted(names):
        points = [row for row in rows if name in row.values or name == "seconds"]
        place = {k: np.array([row.place[k] for row in points]) for k in
                 ("epoch", "step", "samples", "time")}  # fmt: skip
        values = _values(points, name, within)
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


def _values(rows: Sequence[EpochRow], name: str, within: Series | None) -> np.ndarray:
    """Return [A, n]."""
    if not rows:
        return np.empty((0 if within is None else len(within.values), 0))
    if name == "seconds":
        runs = len(next(iter(rows[0].values.values())))
        return np.tile([row.place[name] for row in rows], (runs, 1))
    return np.stack([row.values[name] for row in rows], axis=1).astype(np.float64)


def _merged(a: Series, b: Series) -> Series:
    """Join two series of one metric; a step that stands in both is kept once, steps rise."""
    x = {axis: np.concatenate([a.x[axis], b.x[axis]]) for axis in a.x}
    joined = Series(
        a.name,
        np.concatenate([a.times, b.times]),
        np.concatenate([a.values, b.values], axis=1),
        x,
    )
    return joined.kept(np.unique(x["by_step"], return_index=True)[1])
