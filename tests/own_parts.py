"""Parts as users write them, for tests of what Descent does with them."""

from __future__ import annotations

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset


class Circles(L.LightningDataModule):
    """Points in and out of a circle; shuffled anew by its loader in each epoch."""

    def __init__(self, count: int = 60, test: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(count, 2, generator=generator)
        self.y = (self.x.norm(dim=1) > 1).long()
        self.count = count

    def setup(self, stage: str | None = None) -> None:
        cut = self.count // 3
        self.train = TensorDataset(self.x[cut:], self.y[cut:])
        self.val = TensorDataset(self.x[:cut], self.y[:cut])

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=7, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val, batch_size=7)
