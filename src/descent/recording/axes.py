"""Names, axes and charts of the recorded series; the one place that owns them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Step losses come per step; everything else per epoch (and at chosen steps).
STEP_LOSS, GRAD_NORM, LR = "train/step_loss", "grad_norm", "lr"
RUNNING_LOSS, FULL_LOSS, VAL_LOSS = "train/loss", "train/full_loss", "val/loss"

STEP_COLUMNS = ("step", "epoch", "samples", "seconds", "loss", "lr", "grad_norm", "full_loss")

# Step and epoch losses over each other, in the Custom Scalars tab.
LAYOUT = {
    "loss": {
        f"step and epoch loss, {axis.replace('_', ' ')}": [
            "Multiline",
            [f"{axis}/{name}" for name in (STEP_LOSS, RUNNING_LOSS, FULL_LOSS, VAL_LOSS)],
        ]
        for axis in ("by_step", "by_samples")
    }
}


@dataclass(frozen=True)
class Series:
    """Points of one metric with their place on every axis it has.

    Args:
        name: such as `val/loss`.
        times: wall times [n].
        values: [n], or [a, n] of several runs.
        x: by axis, whole numbers [n].
    """

    name: str
    times: np.ndarray
    values: np.ndarray
    x: dict[str, np.ndarray]

    def kept(self, keep: np.ndarray) -> Series:
        """Return the points where `keep` holds."""
        x = {axis: values[keep] for axis, values in self.x.items()}
        return Series(self.name, self.times[keep], self.values[..., keep], x)

    def of(self, runs: slice) -> Series:
        """Return the points of some of the runs."""
        return Series(self.name, self.times, self.values[runs], self.x)


def stride(total: int, points: int) -> int:
    """Return n such that every n-th of `total` points gives at most `points`."""
    return max(1, -(-total // points))
