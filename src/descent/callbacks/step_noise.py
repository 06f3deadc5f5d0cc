"""The noise of the step loss around the full loss, at fixed weights."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from descent.callbacks.measurement import Measurement, StackView
from descent.data.tensors import Chunks
from descent.shapes import Float

NAME = "diagnostics/step_noise"


def step_loss_deviation(losses: Float[Tensor, " N"], batch_size: int, replacement: bool) -> float:
    """Return the standard deviation of a mini-batch's mean loss.

    Args:
        losses: of each row.
        batch_size: B.
        replacement: whether rows are drawn independently; else each batch has B different rows,
            and the deviation is smaller by sqrt((N - B) / (N - 1)).

    Source: sampling from a finite population; Cochran (1977), *Sampling techniques*, ch. 2.
    """
    rows = len(losses)
    variance = float(losses.double().var(correction=0)) / batch_size
    if not replacement and rows > 1:
        variance *= (rows - batch_size) / (rows - 1)
    return math.sqrt(max(variance, 0.0))


class StepNoise(Measurement):
    """Records the standard deviation of L_B(θ) - L(θ) over mini-batches.

    Costs one forward pass over the training rows.
    """

    metrics = (NAME,)

    @torch.no_grad()
    def measure_all(self, stack: StackView) -> dict[str, Float[np.ndarray, " a"]]:
        """Return the deviation of each run at its present weights."""
        loss = stack.learner.kernel.criterion
        each = vmap(lambda output, y: loss(output.unsqueeze(0), y.unsqueeze(0)))
        pieces = [
            vmap(each, in_dims=(0, None))(stack.outputs_at(stack.parameters, xb), yb)
            for xb, yb in Chunks(*stack.rows("train"))
        ]
        windows = stack.learner.windows
        replacement = windows.order == "with_replacement"
        found = [
            step_loss_deviation(losses, windows.batch_size, replacement)
            for losses in torch.cat(pieces, dim=1)
        ]
        return {NAME: np.array(found)}
