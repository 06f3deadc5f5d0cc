"""The x axis of a picture: steps, epochs, samples or seconds."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from descent.report.tables import Table, column

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Axis(StrEnum):
    """What training is measured in."""

    STEP = "step"
    EPOCH = "epoch"
    SAMPLES = "samples"
    SECONDS = "seconds"

    @property
    def label(self) -> str:
        """With its unit, for the axis."""
        return {
            Axis.STEP: "step (optimizer updates)",
            Axis.EPOCH: "epoch (passes over the training rows)",
            Axis.SAMPLES: "samples (training rows consumed)",
            Axis.SECONDS: "training time (seconds)",
        }[self]


def show(axes: Axes, x: Axis) -> None:
    """Label the horizontal axis; steps, epochs and samples get ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(x.label)
    if x is not Axis.SECONDS and axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True, steps=[1, 2, 5, 10]))


def place(x: Axis, at: np.ndarray, steps: Table, epochs: Table, per_epoch: float) -> np.ndarray:
    """Return where steps lie on an axis.

    Args:
        x: the axis.
        at: step numbers [n].
        steps: steps.csv, whose rows say how many samples and seconds a step had taken.
        epochs: epochs.csv, asked where there is no steps.csv.
        per_epoch: steps an epoch.
    """
    at = np.asarray(at, dtype=np.float64)
    if x is Axis.STEP:
        return at
    if x is Axis.EPOCH:
        return at / per_epoch
    known = steps if len(steps.get("step", ())) else epochs
    if not len(known.get("step", ())):
        return np.zeros_like(at)
    step, value = (np.concatenate([[0.0], column(known, name)]) for name in ("step", x))
    return np.interp(at, step, value)
