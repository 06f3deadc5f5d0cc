"""How near training comes to the edge of stability: lr over the largest stable one, as recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from descent.analysis.loss_records import recorded
from descent.analysis.settings import Setting
from descent.analysis.trials import OPTIMIZER, Study, label, text

STABILITY = (
    "diagnostics/stability"  # a column: sharpness (of adaptive ones, of P⁻¹H) over the bound
)
PRECONDITIONED = "diagnostics/preconditioned_sharpness"  # recorded for adaptive optimizers alone
MOST_LINES = 8
LEAST = 3  # records; fewer show no course


@dataclass(frozen=True)
class StabilityLine:
    """A setting's course.

    Args:
        label: of the setting.
        step: [n] at which all its trials have a record.
        ratio: [n] median over the trials of sharpness over the largest stable one.
        preconditioned: whether it is the sharpness of P⁻¹H.
        optimizer: which of those that were swept; empty if none was.
    """

    label: str
    step: np.ndarray
    ratio: np.ndarray
    preconditioned: bool = False
    optimizer: str = ""


def stability_lines(study: Study, settings: Sequence[Setting]) -> tuple[StabilityLine, ...]:
    """Return the courses of the best settings that recorded them, best first; 8 at most.

    Gradient descent is stable on a quadratic while sharpness is below 2 / lr, and with heavy-ball
    momentum b while it is below (2 + 2 b) / lr; full-batch training raises the sharpness up to that
    bound and then stays at it. For Adam and its kind it is the largest eigenvalue of P⁻¹H, P being
    what a step divides gradients by, that is below 38 / lr (at b = 0.9), and rises up to it.

    Args:
        study: the trials.
        settings: of `settings`, best first.

    Source: Cohen et al. (2021), *Gradient descent on neural networks typically occurs at the edge
    of stability*, section 2; Cohen et al. (2022), *Adaptive gradient methods at the edge of
    stability*.
    """
    if not any(STABILITY in trial.figures for trial in study.trials):
        return ()
    made = []
    for setting in settings:
        tracks = [recorded(trial.directory, STABILITY) for trial in setting.trials]
        common = set.intersection(*({*track.step.tolist()} for track in tracks))
        if len(common) < LEAST:
            continue
        steps = np.array(sorted(common))
        values = [track.loss[np.searchsorted(track.step, steps)] for track in tracks]
        middle = np.median(values, axis=0)
        divided = any(PRECONDITIONED in trial.figures for trial in setting.trials)
        who = text(setting.values.get(OPTIMIZER, ""))
        made.append(StabilityLine(label(setting.values) or "all", steps, middle, divided, who))
        if len(made) == MOST_LINES:
            break
    return tuple(made)
