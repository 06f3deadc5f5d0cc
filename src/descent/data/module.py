"""The only LightningDataModule: prepared rows as tensors on the training device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import lightning as L
import torch
from torch import Tensor

from descent.data.augment import Augment
from descent.data.prepare import Prepared
from descent.data.tensors import DTYPES, Chunks, split_tensors
from descent.data.windows import SeedWindows, Windows


class DataModule(L.LightningDataModule):
    """Splits as tensors: `tensors["train"]` is (features [N, F], targets [N, ...]).

    Args:
        prepared: checked and split rows; its arrays are let go once the tensors are made.
        order: `shuffle`, `sequential` or `with_replacement`.
        drop_last: leave out a short last batch.
        window: K, or `auto`.
        seeds: of each run, for the order streams; runs of one seed are neighbours.
        cut: no window crosses a multiple of this many steps; None for no such cuts.
        augment: `shift` and `rotate` of training images; None or zeros for neither.
        single: batches (x, y), one by one, in place of windows.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        order: str = "shuffle",
        drop_last: bool = False,
        window: int | str = "auto",
        seeds: Sequence[int] = (0,),
        cut: int | None = None,
        augment: Mapping[str, float | int] | None = None,
        single: bool = False,
    ) -> None:
        super().__init__()
        self.prepared = prepared
        self.batch_size = prepared.batch_size
        self.rows = {name: len(rows) for name, rows in prepared.rows.items()}
        self._options = {
            "order": order, "drop_last": drop_last, "steps": window, "cut": cut,
            "augment": _augment(prepared, augment or {}), "single": single,
        }  # fmt: skip
        self._seeds = list(seeds)
        self.tensors: dict[str, tuple[Tensor, Tensor]] = {}
        self.windows: SeedWindows

    def setup(self, stage: str | None = None) -> None:
        """Make the tensors, once, where the trainer will train."""
        if self.tensors:
            return
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        dtype = DTYPES.get(str(self.trainer.precision), torch.float32)
        # train comes last: it may take the place of the rows that the others are copied from
        for name in ("val", "test", "train"):
            self.tensors[name] = split_tensors(self.prepared, name, device, dtype)
        self.prepared.arrays = None  # type: ignore[assignment]  # held once, by the tensors
        x, y = self.tensors["train"]

        def make(seed: int) -> Windows:
            return Windows(x, y, batch_size=self.batch_size, seed=seed, **self._options)  # type: ignore[arg-type]

        order, change = self._options["order"], self._options["augment"]
        whole = order == "shuffle" and self.batch_size >= len(x)
        self.windows = SeedWindows(
            make, self._seeds, shared=change is None and (whole or order == "sequential")
        )

    def train_dataloader(self) -> SeedWindows:
        return self.windows

    def val_dataloader(self) -> Chunks | list[Chunks]:
        """Return the validation rows, or nothing where none are kept."""
        return self._chunks("val")

    def test_dataloader(self) -> Chunks | list[Chunks]:
        """Return the test rows, or nothing where none are kept."""
        return self._chunks("test")

    def _chunks(self, name: str) -> Chunks | list[Chunks]:
        return Chunks(*self.tensors[name]) if self.rows[name] else []

    def transfer_batch_to_device(
        self, batch: object, device: object, dataloader_idx: int
    ) -> object:
        """Return the batch: its tensors are on the device already."""
        return batch


def _augment(prepared: Prepared, options: Mapping[str, float | int]) -> Augment | None:
    image = prepared.arrays.image
    if image is None or not any(options.values()):
        return None
    return Augment(image, prepared.scaler, options["shift"], options["rotate"])
