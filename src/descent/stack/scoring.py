"""Losses and penalties of R runs at once; the same figures as `losses.py`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from descent.data.arrays import Task
from descent.shapes import Float
from descent.stack.stacking import repeated


def stacked_loss(
    task: Task, outputs: Float[Tensor, "R B C"], y: Float[Tensor, "S B ..."]
) -> Float[Tensor, " R"]:
    """Return each run's mean loss of a batch.

    Args:
        task: which loss.
        outputs: of each run.
        y: targets of each of S equally many neighbouring runs.
    """
    if task is Task.LANDSCAPE:
        return outputs.mean(dim=(1, 2))
    wanted = repeated(y, len(outputs))
    if task is Task.MULTICLASS:
        losses = functional.cross_entropy(outputs.transpose(1, 2), wanted, reduction="none")
        return losses.mean(dim=1)
    if task is Task.BINARY:
        losses = functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="none")
    else:
        losses = (outputs - wanted).square()
    return losses.mean(dim=(1, 2))


def stacked_penalty(
    weights: list[Float[Tensor, "R H F"]], l1: Float[Tensor, " R"], l2: Float[Tensor, " R"]
) -> Float[Tensor, " R"]:
    """Return each run's l1 * sum |w| + l2 / 2 * sum w^2."""
    total = torch.zeros_like(l1)
    for w in weights:
        flat = w.flatten(1)
        total = total + l1 * flat.abs().sum(dim=1) + 0.5 * l2 * flat.square().sum(dim=1)
    return total
