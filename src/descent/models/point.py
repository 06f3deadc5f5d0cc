"""A point on a landscape: the parameters are a position, the output is the height there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from descent.models.landscapes import landscape_named
from descent.shapes import Float


class Point(nn.Module):
    """f(theta) + z theta for each row z: the mean of the rows' outputs is the loss.

    Rows with mean 0 leave the full loss at f(theta), and give a mini-batch of B rows the gradient
    noise that B examples have. Goes with `data=landscape`, which makes such rows.

    Args:
        landscape: a name in `descent.models.landscapes`.
        start: the position before training, [d].

    Raises:
        UserError: no such landscape, or a start outside its domain.
    """

    def __init__(self, landscape: str, start: Sequence[float | int]) -> None:
        super().__init__()
        self.landscape = landscape_named(landscape)
        self.landscape.check_start(tuple(start))
        self.position = nn.Parameter(torch.tensor(list(start), dtype=torch.float64))

    def forward(self, x: Float[Tensor, "B F"]) -> Float[Tensor, "B 1"]:
        """Return each row's loss."""
        height = self.landscape.function(*self.position)
        return (height + x @ self.position).unsqueeze(1)
