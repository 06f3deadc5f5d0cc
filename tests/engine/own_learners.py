"""LightningModules as users write them, for `test_own_learner.py`."""

from __future__ import annotations

import lightning as L
import torch
from torch import nn


class Plain(L.LightningModule):
    """Cross-entropy of a linear layer: what Descent does without a learner."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.net = nn.Linear(in_features, out_features)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        self.log_dict({"own/number": float(batch_idx), "own/epoch": float(self.current_epoch)})
        return loss


class Whole(Plain):
    """With its own optimizer and schedule, and what has its place in Descent already."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]

    def validation_step(self, batch, batch_idx):
        raise AssertionError("it is told not to be called")


class Manual(Plain):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.automatic_optimization = False


class Hooked(Plain):
    def on_after_backward(self):
        """Would be left out in silence."""


class Number(Plain):
    def training_step(self, batch, batch_idx):
        return float(super().training_step(batch, batch_idx))


class Each(Plain):
    def training_step(self, batch):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y, reduction="none")


class Detached(Plain):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx).detach()


class Two(Plain):
    def configure_optimizers(self):
        return [torch.optim.SGD(self.parameters(), 0.1), torch.optim.SGD(self.parameters(), 0.1)]


class Raises(Plain):
    def training_step(self, batch, batch_idx):
        raise ValueError("of its own")


class Stepless(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1)
