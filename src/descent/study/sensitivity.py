"""How much a result depends on the learning rate, or on another number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from descent.study.settings import Measure


@dataclass(frozen=True)
class Line:
    """A measure over the values of one option, for one optimizer or batch size.

    Args:
        label: whose line it is, such as `adam`.
        x: [n] values, rising.
        scores: the score of each seed at each value; diverged and failed trials are not in it.
        lost: [n] how many trials at each value did not end well.
        median, low, high: [n] quartiles over the seeds (NaN where none is left).
        sensitivity: mean over x of min(loss(x), loss at start) - best loss; NaN where it is not
            known. Source: see `sensitivity`.
    """

    label: str
    x: np.ndarray
    scores: Sequence[np.ndarray]
    lost: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sensitivity: float


@dataclass(frozen=True)
class Lines:
    """All lines of one picture, over the option `x`."""

    x: str
    measure: Measure
    lines: tuple[Line, ...]
