"""Loss over training of the best setting of each optimizer, of the worst and of the lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from descent.study.settings import Setting
from descent.study.trials import Trial


@dataclass(frozen=True)
class Band:
    """Full loss (else running loss) over steps of a setting's trials.

    Args:
        label: such as `adam, lr=0.01`.
        setting: whose it is.
        step: [n] common to all its trials.
        low, median, high: [n] quartiles over the seeds.
        each: [trials, n] every trial's values.
    """

    label: str
    setting: Setting
    step: np.ndarray
    low: np.ndarray
    median: np.ndarray
    high: np.ndarray
    each: np.ndarray


@dataclass(frozen=True)
class Lost:
    """A trial that diverged: what, when and its loss up to there."""

    trial: Trial
    step: np.ndarray
    loss: np.ndarray


@dataclass(frozen=True)
class Bands:
    """Args: name of the loss, the best setting of each optimizer, the worst one, the lost."""

    loss: str
    best: tuple[Band, ...]
    worst: Band | None
    lost: tuple[Lost, ...]
