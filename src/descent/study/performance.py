"""Performance profiles: who is how often within how much of the best, over several problems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Profile:
    """Over several problems (datasets, landscapes).

    Args:
        labels: the contenders (optimizers).
        problems: their names.
        cost: [contenders, problems] steps to the target at the best lr; infinite where missed.
        tau: [n] factors, rising from 1.
        share: [contenders, n] share of problems on which the cost is within tau times the least.
        unit: of the cost, such as `steps`.
    """

    labels: tuple[str, ...]
    problems: tuple[str, ...]
    cost: np.ndarray
    tau: np.ndarray
    share: np.ndarray
    unit: str
