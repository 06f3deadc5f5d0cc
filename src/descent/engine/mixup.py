"""Mixup: each step learns from rows half way between others, a LightningModule of a screen.

Source: Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: beyond empirical risk minimization", ICLR 2018.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from descent.engine.losses import Criterion
from descent.errors import UserError


class Mixup(L.LightningModule):
    """Mixes the rows of a batch in pairs, by a share drawn anew for each batch.

    Args:
        model: what `model=...` chooses.
        criterion: what `loss=...` chooses.
        alpha: of the Beta distribution of the share; near 0 hardly anything is mixed.
    """

    def __init__(self, model: nn.Module, criterion: Criterion, alpha: float = 0.2) -> None:
        super().__init__()
        if not isinstance(alpha, (int, float)) or not 0 < alpha <= 100:
            raise UserError(f"learner.alpha={alpha} must be a number above 0 and at most 100.")
        self.model, self.criterion = model, criterion
        self.beta = torch.distributions.Beta(float(alpha), float(alpha))

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's outputs [B, C]."""
        outputs: Tensor = self.model(x)
        return outputs

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of mixed rows: the mixed loss of both targets."""
        x, y = batch
        share, other = self.beta.sample().to(x), torch.randperm(len(x))
        outputs: Any = self(share * x + (1 - share) * x[other])
        loss: Tensor = share * self.criterion(outputs, y) + (1 - share) * self.criterion(
            outputs, y[other]
        )
        self.log("share", share)
        return loss
