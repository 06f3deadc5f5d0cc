"""Scaling: fitted on training rows only, kept with the run, undone for predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from descent.shapes import Float, Int, Shaped

# Rows handled at a time, so that no second copy of a large table is ever made.
CHUNK = 65536
MOST_SQUARED = 1e140  # what can be squared and summed


@dataclass(frozen=True)
class Scaler:
    """x -> (x - offset) / scale, feature by feature; of log x where `log` is set.

    Args:
        offset: [F] float64.
        scale: [F] float64, never 0.
        log: whether the natural logarithm is scaled.
    """

    offset: Float[np.ndarray, " F"]
    scale: Float[np.ndarray, " F"]
    log: bool = False

    def apply(self, values: Shaped[np.ndarray, "N F"]) -> Float[np.ndarray, "N F"]:
        """Return scaled values, float64 [N, F]."""
        return ((np.log(values) if self.log else values) - self.offset) / self.scale

    def undo(self, values: Shaped[np.ndarray, "N F"]) -> Float[np.ndarray, "N F"]:
        """Return values in the units they had before `apply`."""
        linear = values * self.scale + self.offset
        return np.exp(linear) if self.log else linear

    @property
    def is_identity(self) -> bool:
        """Whether `apply` changes nothing."""
        return not self.log and not self.offset.any() and bool((self.scale == 1).all())

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, which JSON keeps to the last bit."""
        plain = {"offset": self.offset.tolist(), "scale": self.scale.tolist()}
        return {**plain, "log": True} if self.log else plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Scaler:
        """Read `to_dict` back."""
        offset, scale = (np.array(data[key], dtype=float) for key in ("offset", "scale"))
        return cls(offset, scale, bool(data.get("log", False)))


def fit_scaler(
    kind: str,
    values: Shaped[np.ndarray, "N F"],
    rows: Int[np.ndarray, " n"],
    log: bool = False,
) -> Scaler:
    """Fit a scaler on some rows.

    Args:
        kind: `standardize` (mean 0, unbiased standard deviation 1, feature by feature), `together`
            (the same with one mean and one deviation for all features, which keeps images what
            they are), `minmax` (to [0, 1]) or `none`.
        values: all rows, [N, F].
        rows: the training rows.
        log: fit on the logarithms of the values.

    Features constant over `rows` are shifted but not stretched.
    """
    if log:
        made = fit_scaler(kind, np.log(values), rows)
        return Scaler(made.offset, made.scale, log=True)
    width = values.shape[1]
    if kind == "none":
        return Scaler(np.zeros(width), np.ones(width))
    ends = (values.max(axis=0, initial=0), values.min(axis=0, initial=0))
    largest = np.max(np.abs(np.array(ends, dtype=float)), axis=0)
    if kind == "together":
        largest = np.full(width, largest.max(initial=0))
    if (largest > MOST_SQUARED).any():  # squares would overflow; of a small neighbour, vanish
        unit = 2.0 ** np.where(largest > MOST_SQUARED, np.floor(np.log2(largest + 1)), 0)
        made = fit_scaler(kind, values / unit, rows)
        return Scaler(made.offset * unit, made.scale * unit)
    chunks = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
    low = np.min([values[c].min(axis=0) for c in chunks], axis=0).astype(float)
    high = np.max([values[c].max(axis=0) for c in chunks], axis=0).astype(float)
    if kind == "minmax":
        return Scaler(low, np.where(high > low, high - low, 1.0))
    mean = sum(values[c].sum(axis=0, dtype=float) for c in chunks) / len(rows)
    if kind == "together":
        mean = np.full(width, np.mean(mean))
    squares = sum(np.square(values[c] - mean).sum(axis=0) for c in chunks)
    if kind == "together":
        std = np.full(width, np.sqrt(np.sum(squares) / max(len(rows) * width - 1, 1)))
        return Scaler(mean, std if std.all() else np.ones(width))
    std = np.sqrt(squares / max(len(rows) - 1, 1))
    return Scaler(np.asarray(mean, dtype=float), np.where(high > low, std, 1.0))
