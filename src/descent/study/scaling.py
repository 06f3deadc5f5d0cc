"""Steps to a target against batch size, and the critical batch size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scaling:
    """Of one optimizer.

    Args:
        label: the optimizer or what else the points have in common.
        batch: [n] sizes, rising.
        steps: [n] steps to the target with the lr tuned for each size, mean over seeds; NaN where
            no lr reached it.
        lr: [n] the tuned lr.
        dots: for each size, every seed's steps at that lr.
        at_edge: [n] whether that lr lies on the edge of what was tried.
        least: S_min of S(B) = S_min (1 + B_crit / B); NaN if it cannot be fitted.
        critical: B_crit; NaN if it cannot be fitted.
        interval: of B_crit, 95 %; (NaN, NaN) if unknown; its end may be infinite.
        noise_scale: measured gradient noise scale, median of the runs that measured it; or NaN.
        target: the full loss to be reached.
        budget: a sentence, where only an epoch budget was probed and no curve can be fitted.
    """

    label: str
    batch: np.ndarray
    steps: np.ndarray
    lr: np.ndarray
    dots: tuple[np.ndarray, ...]
    at_edge: np.ndarray
    least: float
    critical: float
    interval: tuple[float, float]
    noise_scale: float
    target: float
    budget: str
