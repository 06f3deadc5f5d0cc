"""The part of a loss surface that a picture shows, and the part of a path that lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from descent.report.record import Record
from descent.shapes import Float, Int

RUNAWAY = 100.0  # a loss this many times its first is on its way out
PAD = 0.12
LEAST = 3  # places of a path that are drawn however it ended


@dataclass(frozen=True)
class Walk:
    """A run's path as far as it is worth drawing.

    Args:
        record: the run.
        steps: [n].
        theta: [n, P], finite.
        cut: whether its end is left out because the loss ran away.
    """

    record: Record
    steps: Int[np.ndarray, " n"]
    theta: Float[np.ndarray, "n P"]
    cut: bool


def walk_of(record: Record) -> Walk | None:
    """Return a run's walk up to where its loss runs away; None if it has no two places."""
    if record.path is None:
        return None
    steps, theta = record.path.steps, record.path.theta.astype(np.float64)
    with np.errstate(all="ignore"):
        fine = np.isfinite(theta).all(axis=1) & (np.abs(theta).max(axis=1, initial=0) < 1e100)
    end = len(theta) if fine.all() else int(np.argmin(fine))
    end = min(end, max(LEAST, int(np.searchsorted(steps, _runs_away(record), side="right"))))
    if end < 2:
        return None
    return Walk(record, steps[:end], theta[:end], end < len(steps))


def _runs_away(record: Record) -> float:
    """Return the step after which a diverged run's losses are far above the first."""
    curve = record.step_loss
    if record.diverged_at is None or not len(curve.value) or not curve.value[0] > 0:
        return np.inf
    far = np.flatnonzero(~(curve.value <= RUNAWAY * curve.value[0]))
    return float(curve.step[far[0]] - 1) if len(far) else np.inf


def window(
    walks: Sequence[Float[np.ndarray, "n d"]],
    anchors: Sequence[Float[np.ndarray, " d"]],
    cut: Sequence[bool],
    pad: float = PAD,
) -> Float[np.ndarray, "d 2"]:
    """Return (low, high) of each coordinate: the walks, as far as they stay near the anchors.

    Anchors are starts, minima and where runs ended well. A walk may leave their box by three times
    its size, one whose loss ran away by once its size; what goes further is cut off.

    Args:
        walks: places [n, d] of each run.
        anchors: places [d] that must be seen.
        cut: whether each walk's loss ran away.
        pad: share of the size left free on each side.
    """
    fixed = np.array(anchors)
    low, high = fixed.min(axis=0), fixed.max(axis=0)
    size = high - low
    size = np.where(size > 0.05 * size.max(), size, max(size.max(), 1e-9))
    reach = [size if lost else 3 * size for lost in cut]
    near = [np.clip(w, low - r, high + r) for w, r in zip(walks, reach, strict=True)]
    places = np.concatenate(near)
    low, high = np.minimum(low, places.min(axis=0)), np.maximum(high, places.max(axis=0))
    # a coordinate along which nothing moves still gets some width
    size = np.maximum(high - low, 0.05 * max((high - low).max(), 1e-9))
    middle = (high + low) / 2
    reach = size * (0.5 + pad)
    return np.stack([middle - reach, middle + reach], axis=1)
