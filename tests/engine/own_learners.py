"""LightningModules as users write them, for `test_own_learner.py`."""

from __future__ import annotations

import lightning as L
import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy


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
        self.log_dict({"number": float(batch_idx), "epoch": float(self.current_epoch)})
        return loss


class Shifts(Plain):
    def training_step(self, batch, batch_idx):
        x, y = batch
        return super().training_step((x + 0.5, y), batch_idx)


class WritesIntoItsBatch(Plain):
    def training_step(self, batch, batch_idx):
        batch[0].add_(0.5)
        return super().training_step(batch, batch_idx)


class Whole(Plain):
    """With its own optimizer and schedule, and what has its place in Descent already."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


class Evaluates(Plain):
    """With steps of its own for validation and test, torchmetrics, every reduction, every hook."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.accuracy = MulticlassAccuracy(num_classes=out_features, average="micro")
        self.called: list[str] = []
        self.mode: list[bool] = []

    def setup(self, stage):
        self.called.append("setup")

    def _evaluate(self, batch, split):
        x, y = batch
        logits = self(x)
        self.accuracy.update(logits, y)
        losses = nn.functional.cross_entropy(logits, y, reduction="none")
        self.log(f"{split}_loss", losses.mean())
        self.log(f"{split}_most_error", losses.max(), reduce_fx="max")
        self.log(f"{split}_rows", float(len(x)), reduce_fx=torch.sum)
        self.log(f"{split}_acc", self.accuracy)
        self.mode.append(self.training or torch.is_grad_enabled())

    def validation_step(self, batch, batch_idx):
        self._evaluate(batch, "val")

    def test_step(self, batch):
        self._evaluate(batch, "test")

    def on_validation_epoch_end(self):
        self.log("val_noise", torch.rand(()))  # which no training step may notice

    def predict_step(self, batch):
        raise AssertionError("it is told not to be called")


HOOKS = (
    *("on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_batch_start"),
    *("on_before_zero_grad", "on_before_backward", "on_after_backward"),
    *("on_before_optimizer_step", "on_train_batch_end", "on_validation_start"),
    *("on_validation_epoch_start", "on_validation_batch_start", "on_validation_batch_end"),
    *("on_validation_end", "on_train_epoch_end", "on_train_end", "on_fit_end"),
)


def _noting(name):
    def hook(self, *given):
        self.called.append(name)

    return hook


Noting = type("Noting", (Evaluates,), {name: _noting(name) for name in HOOKS})


class Watching(Evaluates):
    """Its schedule watches what it logs, and needs to know how many steps there will be."""

    def configure_optimizers(self):
        trainer = self.trainer
        assert (trainer.estimated_stepping_batches, trainer.num_training_batches) == (16, 8)
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", 0.5, patience=0)
        told = {"scheduler": schedule, "monitor": "val_falling_score"}
        return {"optimizer": optimizer, "lr_scheduler": told}

    def validation_step(self, batch, batch_idx):
        self.log("val_falling_score", -float(self.current_epoch))


class Unlogged(Watching):
    def validation_step(self, batch, batch_idx):
        """Logs nothing that could be watched."""


class Twice(Plain):
    def validation_step(self, batch, batch_idx):
        self.log("train_loss", 0.0)


class Rows(Plain):
    def validation_step(self, batch, batch_idx):
        self.log("rows", batch[1])


class Reduces(Plain):
    def validation_step(self, batch, batch_idx):
        self.log("own", 1.0, reduce_fx="median")


class Fails(Plain):
    def on_validation_epoch_end(self):
        raise ValueError("at the end")

    def validation_step(self, batch, batch_idx):
        """Would do."""


class Late(Plain):
    def on_train_epoch_end(self):
        if self.current_epoch:
            self.log("late", 1.0)


class Manual(Plain):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.automatic_optimization = False


class Hooked(Plain):
    def optimizer_step(self, *given):
        """Would be left out in silence."""


class Skips(Plain):
    def on_train_batch_start(self, batch, batch_idx):
        return -1


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
