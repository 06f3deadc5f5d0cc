"""Callbacks of Lightning and of users beside plain Lightning, fed with the same batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L
import numpy as np
import polars as pl
import pytest
import torch
from lightning.pytorch import callbacks as of_lightning
from torch import Tensor, nn

from descent.blueprint import build_model, build_optimizer
from descent.data.prepare import Description
from descent.data.tensors import Chunks, split_tensors
from descent.job import Job
from descent.losses import loss_for
from descent.runs import Run
from descent.seeds import ORDER, stream_seed
from descent.training import train

# 442 patients, 354 of them train: 4 batches an epoch, the last of 54
COMMON = ("data=diabetes", "data.batch_size=100", "model.hidden=[4]", "stop.epochs=4",
          "optimizer=momentum", "optimizer.lr=0.05", "trainer=float64", "test=false")  # fmt: skip
LIGHTNING = "lightning.pytorch.callbacks"


class Batches:
    """The batches of a run, drawn anew for each epoch."""

    def __init__(self, x: Tensor, y: Tensor, size: int) -> None:
        self.x, self.y, self.size, self.epoch = x, y, size, 0

    def __len__(self) -> int:
        return -(-len(self.x) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(stream_seed(0, ORDER, self.epoch))
        self.epoch += 1
        for rows in torch.randperm(len(self.x), generator=generator).split(self.size):
            yield self.x[rows], self.y[rows]


class Plain(L.LightningModule):
    """What every Lightning tutorial writes."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        data = Description.from_dict(job.prepared.describe())
        self.model: nn.Module = build_model(job.config, data)
        self.loss = loss_for(job.prepared.arrays.task)
        self.make_optimizer = build_optimizer(job.config)
        self.val_losses: list[float] = []

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.model.parameters())

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.loss(self.model(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        value = self.loss(self.model(batch[0]), batch[1])
        self.val_losses.append(float(value))
        self.log("val/loss", value, batch_size=len(batch[0]))


def train_plainly(job: Job, callbacks: list[L.Callback], **options: Any) -> Plain:
    module, cpu = Plain(job), torch.device("cpu")
    rows = {s: split_tensors(job.prepared, s, cpu, torch.float64) for s in ("val", "train")}
    given = {"max_epochs": job.config["stop"]["epochs"], "logger": False, **options}
    saves = any(isinstance(c, of_lightning.Checkpoint) for c in callbacks)
    draws = any(isinstance(c, of_lightning.ProgressBar) for c in callbacks)
    trainer = L.Trainer(
        accelerator="cpu", precision="64-true", callbacks=callbacks, num_sanity_val_steps=0,
        enable_progress_bar=draws, enable_model_summary=False, enable_checkpointing=saves, **given,
    )  # fmt: skip
    trainer.fit(module, Batches(*rows["train"], job.prepared.batch_size), Chunks(*rows["val"]))
    return module


def hold_against_plain(run: Run, plain: Plain, tolerance: float = 1e-12) -> None:
    """Assert that weights at the end and validation losses are those of plain Lightning."""
    state = run.checkpoint("last")["state_dict"]
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=tolerance, atol=tolerance)
    measured = pl.read_csv(run.path / "epochs.csv")["val/loss"].drop_nulls().to_numpy()
    np.testing.assert_allclose(measured, plain.val_losses, rtol=max(tolerance, 1e-12))


class Watcher(L.Callback):
    """Notes whatever Lightning tells a callback of the batches."""

    seen: list[tuple[Any, ...]] = []  # noqa: RUF012 - of the last one made

    def __init__(self) -> None:
        type(self).seen = []

    def note(self, *what: Any) -> None:
        self.seen.append(what)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        x, y = batch
        self.note("start", trainer.global_step, batch_idx, float(x.sum()), tuple(y.shape))

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        grads = [p.grad for p in pl_module.model.parameters() if p.grad is not None]
        self.note("zero", trainer.global_step, float(sum(g.abs().sum() for g in grads)))

    def on_before_backward(self, trainer, pl_module, loss):
        self.note("backward", trainer.global_step, float(loss.detach()))

    def on_after_backward(self, trainer, pl_module):
        self.note("after", trainer.global_step)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        norm = sum(float(p.grad.square().sum()) for p in pl_module.model.parameters())
        self.note("step", trainer.global_step, type(optimizer).__name__, norm)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        assert isinstance(outputs["loss"], Tensor)
        assert not outputs["loss"].requires_grad
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        self.note("end", trainer.global_step, batch_idx, float(outputs["loss"]), last)


@pytest.mark.parametrize("window", ["auto", 3])
def test_a_callback_sees_every_batch_as_plain_lightning_shows_it(window, make_job):
    where = f"{Watcher.__module__}.{Watcher.__name__}"
    job = make_job(*COMMON, f"data.window={window}", f"+callbacks.mine._target_={where}")
    plain = train_plainly(job, [Watcher()])
    theirs = Watcher.seen
    train(job)
    ours = Watcher.seen
    assert ours is not theirs
    assert [s[:2] for s in ours] == [s[:2] for s in theirs]
    for one, other in zip(ours, theirs, strict=True):
        numbers = [s for s in one[1:] if isinstance(s, float)]
        assert numbers == pytest.approx([s for s in other[1:] if isinstance(s, float)], rel=1e-12)
        assert [s for s in one if not isinstance(s, float)] == [
            s for s in other if not isinstance(s, float)
        ]
    hold_against_plain(job.run, plain)
