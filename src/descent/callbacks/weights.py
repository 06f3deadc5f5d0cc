"""The size of the weights, and how many of them are near zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from descent.callbacks.measurement import Measurement, RunView
from descent.engine.losses import penalized

L1, L2, NEAR_ZERO = "diagnostics/weights_l1", "diagnostics/weights_l2", "diagnostics/near_zero"


def weight_sizes(weights: Sequence[Tensor], threshold: float) -> dict[str, float]:
    """Return sum |w|, sqrt(sum w²) and the share of |w| < threshold over all weights together."""
    flat = torch.cat([w.detach().reshape(-1).double() for w in weights])
    return {
        L1: float(flat.abs().sum()),
        L2: float(flat.norm()),
        NEAR_ZERO: float((flat.abs() < threshold).double().mean()),
    }


class Weights(Measurement):
    """Records the norms of the weight matrices (what penalties act on) and their zeros.

    Costs one pass over the weights.

    Args:
        every_n_epochs: measure after each n-th epoch.
        threshold: weights smaller than this count as zero.
    """

    metrics = (L1, L2, NEAR_ZERO)

    def __init__(self, every_n_epochs: int = 1, threshold: float = 0.01) -> None:
        super().__init__(every_n_epochs)
        self.threshold = threshold

    def measure(self, run: RunView) -> dict[str, float]:
        """Return the sizes; nothing for a model without weight matrices."""
        weights = penalized(run.model)
        return weight_sizes(weights, self.threshold) if weights else {}
