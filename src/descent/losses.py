"""Loss by task, and the penalties added to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from descent.data.arrays import Task
from descent.shapes import Float

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Penalty:
    """Weights of the L1 and L2 terms in the training loss."""

    l1: float | int = 0.0
    l2: float | int = 0.0


def loss_for(task: Task) -> Loss:
    """Return the mean loss of a batch: (outputs [B, C], targets) -> scalar.

    Mean squared error for regression, binary cross-entropy on one logit for two classes,
    cross-entropy on C logits for more; on a landscape the outputs are the losses.
    """
    losses: dict[Task, Loss] = {
        Task.REGRESSION: functional.mse_loss,
        Task.BINARY: functional.binary_cross_entropy_with_logits,
        Task.MULTICLASS: functional.cross_entropy,
        Task.LANDSCAPE: _mean_output,
    }
    return losses[task]


def _mean_output(outputs: Tensor, _: Tensor) -> Tensor:
    return outputs.mean()


def penalized(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that penalties act on: weight matrices, not biases or other vectors."""
    return [p for p in model.parameters() if p.ndim > 1 and p.requires_grad]


def penalty(weights: Iterable[Tensor], l1: float | int, l2: float | int) -> Float[Tensor, ""]:
    """Return l1 * sum |w| + l2 / 2 * sum w^2 as a scalar."""
    total = torch.zeros(())
    for w in weights:
        if l1:
            total = total.to(w.device) + l1 * w.abs().sum()
        if l2:
            total = total.to(w.device) + 0.5 * l2 * w.square().sum()
    return total
