"""The same training three ways: by hand, in plain Lightning as users write it, and here."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import descent.cli  # noqa: F401 - registers the resolvers
from descent.assembly import assemble, build_model
from descent.config.check import plain
from descent.data.prepare import Description, prepare
from descent.data.tensors import split_tensors
from descent.engine.losses import loss_for
from descent.job import Job
from descent.records.run import Run

CONF = Path(__file__).parents[2] / "conf"


@dataclass(frozen=True)
class Work:
    """What every contender does: these overrides of the default config, for so many epochs."""

    name: str
    overrides: tuple[str, ...]
    epochs: int
    device: str = "cpu"

    def config(self, *more: str) -> dict:
        """Return the resolved config."""
        fixed = [
            f"stop.epochs={self.epochs}", f"trainer.accelerator={self.device}",
            "trainer.threads=1", "trainer.limit_val_batches=0", "paths.run=unused",
        ]  # fmt: skip
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("train", overrides=[*self.overrides, *fixed, *more])
        return plain(OmegaConf.create(OmegaConf.to_container(cfg, resolve=True)))

    def rows(self, split: str) -> tuple[Tensor, Tensor]:
        """Return features and targets of a split."""
        prepared = prepare(self.config()["data"])
        return split_tensors(prepared, split, torch.device(self.device), torch.float32)

    def parts(self) -> tuple[Tensor, Tensor, nn.Module, Callable, Callable, int]:
        """Return training features and targets, a fresh model, optimizer maker, loss, B."""
        config = self.config()
        prepared = prepare(config["data"])
        description = Description.from_dict(prepared.describe())
        model = build_model(config, description).to(self.device)
        x, y = self.rows("train")
        options = {k: v for k, v in config["optimizer"].items() if not k.startswith("_")}
        return (
            x, y, model, lambda p: torch.optim.SGD(p, **options),
            loss_for(description.task), prepared.batch_size,
        )  # fmt: skip

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        x, *_, batch_size = self.parts()
        return self.epochs * -(-len(x) // batch_size)


def by_hand(work: Work, measures: bool = False) -> Callable[[], object]:
    """Return the loop a careful user writes: data in memory, one index per batch, no framework.

    Args:
        work: what is trained.
        measures: whether it measures the losses of all training and validation rows every epoch.
    """
    x, y, model, make, loss_of, batch_size = work.parts()
    optimizer = make(model.parameters())
    whole = [(x, y), work.rows("val")] if measures else []

    def measured() -> list[float]:
        model.eval()
        with torch.no_grad():
            found = [loss_of(model(x), y).item() for x, y in whole]
        model.train()
        return found

    def fit() -> list[float]:
        losses, full = [], []
        for _ in range(work.epochs):
            order = torch.randperm(len(x), device=x.device)
            for at in range(0, len(x), batch_size):
                rows = order[at : at + batch_size]
                optimizer.zero_grad()
                loss = loss_of(model(x[rows]), y[rows])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            full.append(measured())
        return losses

    return fit


class PlainModule(L.LightningModule):
    """A LightningModule as tutorials show it."""

    def __init__(self, model: nn.Module, make: Callable, loss_of: Callable) -> None:
        super().__init__()
        self.model, self.make, self.loss_of = model, make, loss_of

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make(self.model.parameters())

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x, y = batch
        loss = self.loss_of(self.model(x), y)
        self.log("train/loss", loss)
        return loss


def plain_lightning(work: Work) -> Callable[[], object]:
    """Return Lightning's own loop with a DataLoader and TensorBoard, logging every step."""
    warnings.filterwarnings("ignore")
    x, y, model, make, loss_of, batch_size = work.parts()
    loader = DataLoader(TensorDataset(x.cpu(), y.cpu()), batch_size, shuffle=True)
    trainer = L.Trainer(
        accelerator=work.device, devices=1, max_epochs=work.epochs, log_every_n_steps=1,
        logger=TensorBoardLogger(tempfile.mkdtemp()), enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    module = PlainModule(model, make, loss_of)
    return lambda: trainer.fit(module, loader)


class WholeModule(PlainModule):
    """A `PlainModule` that validates and tests."""

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        x, y = batch
        self.log("val/loss", self.loss_of(self.model(x), y))

    def test_step(self, batch: tuple[Tensor, Tensor], i: int) -> None:
        x, y = batch
        self.log("test/loss", self.loss_of(self.model(x), y))


def lightning_job(work: Work) -> Callable[[], object]:
    """Return a whole job in plain Lightning: validation, best and last checkpoint, test."""
    warnings.filterwarnings("ignore")
    _, _, model, make, loss_of, batch_size = work.parts()
    train, val, test = (
        DataLoader(TensorDataset(*work.rows(split)), batch_size, shuffle=split == "train")
        for split in ("train", "val", "test")
    )
    where = tempfile.mkdtemp()
    trainer = L.Trainer(
        accelerator=work.device, devices=1, max_epochs=work.epochs, log_every_n_steps=1,
        logger=TensorBoardLogger(where), enable_progress_bar=False, enable_model_summary=False,
        callbacks=[ModelCheckpoint(where, monitor="val/loss", save_last=True)],
    )  # fmt: skip
    module = WholeModule(model, make, loss_of)

    def fit() -> None:
        trainer.fit(module, train, val)
        trainer.test(ckpt_path="best", dataloaders=test, verbose=False)

    return fit


def ours(work: Work, *more: str) -> Callable[[], object]:
    """Return Descent's fit: every step loss to the event file and to steps.csv."""
    config = work.config(*more)
    job = Job(config, prepare(config["data"]), Run(tempfile.mkdtemp()))
    learner, data, trainer = assemble(job)
    return lambda: trainer.fit(learner, datamodule=data)
