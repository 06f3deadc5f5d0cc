"""One run whose steps minimize what a LightningModule of the user's returns."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor

from descent.engine.foreign import STEP_HOOKS
from descent.engine.logged import Logged
from descent.engine.losses import penalty
from descent.engine.module_kernel import ModuleKernel
from descent.engine.observer import Observer, Phase
from descent.engine.own_learner import (
    STAGES,
    call,
    has_own_optimizer,
    loss_of,
    optimizer_of,
    overridden,
    step_result,
)
from descent.engine.rates import Rates, Track
from descent.errors import ForeignError, UserError, first_line
from descent.metrics import LOGGED
from descent.shapes import Float, Int

log = logging.getLogger(__name__)

Rows = tuple[Tensor, Tensor]  # features and targets


@dataclass(frozen=True)
class Length:
    """How long a run is, which Lightning cannot tell of windows.

    Args:
        steps: at most; None for without an end.
        per_epoch: steps.
    """

    steps: int | None = None
    per_epoch: int = 1


class TrainerView:
    """A trainer as the user's learner sees it: one that knows how long the run is.

    Args:
        trainer: of the run.
        length: of it.
        tries: whether this is a try, of which no logger is told.
    """

    _own = ("_trainer", "estimated_stepping_batches", "num_training_batches", "logger", "loggers")

    def __init__(self, trainer: L.Trainer, length: Length, tries: bool = False) -> None:
        self._trainer = trainer
        self.estimated_stepping_batches = math.inf if length.steps is None else length.steps
        self.num_training_batches = length.per_epoch
        self.loggers = [DummyLogger()] if tries else trainer.loggers
        self.logger = self.loggers[0] if self.loggers else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Hand on what a learner sets, such as `should_stop`."""
        if name in self._own:
            super().__setattr__(name, value)
        else:
            setattr(self._trainer, name, value)


class OwnKernel(ModuleKernel):
    """A single run whose steps minimize what the user's `training_step` returns.

    Attributes:
        batch_size: of training; its evaluations take as many rows at a time.
        names: of what it logs, by split.
    """

    module: L.LightningModule

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.batch_size = 1
        self.logged = Logged()
        self.names: dict[str, tuple[str, ...]] = {"train": (), "val": (), "test": ()}
        self._hooks = frozenset(overridden(self.module))
        self._outputs: dict[str, Any] = {}
        self._length = Length()
        self._monitor: str | None = None  # what the learner's own schedule watches

    def try_out(self, rows: Mapping[str, Rows], trainer: L.Trainer, length: Length) -> None:
        """Train and evaluate a copy on some rows; learn the names of what is logged.

        Args:
            rows: some of each split that there is.
            trainer: that will train.
            length: of the run.

        Raises:
            UserError: its loss is no scalar to be minimized, or it logs what is not offered.
        """
        trial = copy.deepcopy(self.module)
        trial._trainer = cast(L.Trainer, TrainerView(trainer, length, tries=True))
        self._length = length
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            if has_own_optimizer(trial):
                self._monitor = optimizer_of(trial)[1].monitor
            try:
                self._try_steps(trial, rows)
            except UserError:
                raise
            except Exception as error:
                where = self._blamed(error)
                raise ForeignError(
                    f"learner: {type(trial).__name__}{where} fails: {first_line(error)}."
                ) from error

    def _blamed(self, error: BaseException) -> str:
        """Return which of the learner's methods an error came through."""
        there, found = error.__traceback__, ""
        while there is not None and not found:
            name = there.tb_frame.f_code.co_name
            found = f".{name}" if name in self._hooks else ""
            there = there.tb_next
        return found

    def _try_steps(self, trial: L.LightningModule, rows: Mapping[str, Rows]) -> None:
        logged = Logged()
        logged.attach(trial)
        for hook in ("on_fit_start", "on_train_start", "on_train_epoch_start"):
            call(trial, hook)
        self._start_batch(trial, rows["train"], 0)
        found = step_result(trial, "training_step", rows["train"], 0)
        loss = loss_of(trial, found)
        if not loss.requires_grad:
            raise UserError(
                f"learner: {type(trial).__name__}.training_step returns a loss without a gradient; "
                "return the loss itself, not its number."
            )
        call(trial, "on_train_batch_end", _as_outputs(found, loss), rows["train"], 0)
        evaluated = {
            split: tuple(_evaluated(trial, split, rows[split], 2))
            for split in STAGES if split in rows
        }  # fmt: skip
        logged.attach(trial)
        call(trial, "on_train_epoch_end")
        self.names |= {**evaluated, "train": tuple(logged.take())}
        for split, names in evaluated.items():
            twice = sorted(set(names) & set(self.names["train"]))
            if twice:
                raise UserError(
                    f"learner: {type(trial).__name__} logs '{twice[0].removeprefix(LOGGED)}' in "
                    f"training and in {STAGES[split]}; give the two names of their own."
                )

    def check_watched(self, watched: Mapping[str, str], recorded: Collection[str]) -> None:
        """Refuse to watch a figure of the learner's that it does not log.

        Args:
            watched: metrics by the option that names them.
            recorded: what else its own schedule may watch.

        Raises:
            UserError: of the first.
        """
        name, there = type(self.module).__name__, [*self.names["train"], *self.names["val"]]
        own = self._monitor
        if own is not None and own not in recorded and f"{LOGGED}{own}" not in there:
            raise UserError(
                f"learner: {name}.configure_optimizers watches {own}, which is not recorded; watch "
                "what is logged in every epoch."
            )
        for where, metric in watched.items():
            known = there + [*self.names["test"]] * (where == "optimized_metric")
            if metric.startswith(LOGGED) and metric not in known:
                logs = f"it logs {', '.join(known)}" if known else "it logs nothing"
                raise UserError(f"{where}={metric} is not recorded: {logs} ({name}).")

    def configure(self) -> Any:
        """Build the optimizer: the learner's own, else the one that was chosen."""
        if not has_own_optimizer(self.module):
            return super().configure()
        self._see(self.module.trainer)
        optimizer, schedule = optimizer_of(self.module)
        self.optimizer = optimizer
        track = Track(optimizer, schedule)
        logged = f"{LOGGED}{track.monitor}"
        if any(logged in names for names in self.names.values()):
            track.monitor = logged
        self.rates = Rates([track], [0])
        told = {
            "scheduler": track.scheduler, "interval": track.interval, "monitor": track.monitor,
        }  # fmt: skip
        return {"optimizer": optimizer, "lr_scheduler": told}

    def bind(self, module: L.LightningModule, step: int) -> None:
        """Let it see the trainer, as a LightningModule does."""
        if module.trainer.world_size > 1:
            raise UserError("A learner of your own trains on one device; set trainer.devices=1.")
        for hook in self._hooks & {*STEP_HOOKS}:  # which Lightning calls of what it trains
            setattr(module, hook, getattr(self.module, hook))
        super().bind(module, step)
        self._see(module.trainer)
        self.logged.attach(self.module)
        call(self.module, "on_fit_start")
        call(self.module, "on_train_start")

    def _see(self, trainer: L.Trainer) -> None:
        self.module._trainer = cast(L.Trainer, TrainerView(trainer, self._length))

    # ---- steps

    def step(
        self, x: Float[Tensor, "B F"], y: Tensor, lr: np.ndarray, measure: bool
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""] | None]:
        """Take a step, and call its hooks around it."""
        number = self._learner.steps_in_epoch
        if number == 0:
            call(self.module, "on_train_epoch_start")
        self.logged.rows = len(x)
        self._start_batch(self.module, (x, y), number)
        loss, norm = super().step(x, y, lr, measure)
        call(self.module, "on_train_batch_end", self._outputs, (x, y), number)
        return loss, norm

    def _start_batch(self, module: L.LightningModule, batch: Rows, number: int) -> None:
        if call(module, "on_train_batch_start", batch, number) == -1:
            raise UserError(
                f"learner: {type(module).__name__}.on_train_batch_start returns -1, which is not "
                "offered; end a run by stop.* or callbacks=early_stopping."
            )

    def objective(self, x: Float[Tensor, "B F"], y: Tensor) -> Float[Tensor, ""]:
        """Return what its `training_step` does, penalties added."""
        found = step_result(self.module, "training_step", (x, y), self._learner.steps_in_epoch)
        loss = loss_of(self.module, found)
        self._outputs = _as_outputs(found, loss)
        if self._penalized:
            loss = loss + penalty(self._penalized, self.penalty.l1, self.penalty.l2)
        return loss

    # ---- evaluation

    def figures(
        self, split: str, x: Float[Tensor, "n F"], y: Tensor,
        weights: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Float[np.ndarray, " A"]]:  # fmt: skip
        """Return what its `validation_step` or `test_step` logs of a split.

        Args:
            split: `val` or `test`.
            x: all rows of it.
            y: their targets.
            weights: [1, ...] to evaluate at, if not the run's own.
        """
        devices = [x.device] if x.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.no_grad(), self._at(weights):
            found = _evaluated(self.module, split, (x, y), self.batch_size)
        self.logged.attach(self.module)
        return {name: np.array([value]) for name, value in found.items()}

    @contextmanager
    def _at(self, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
        """Hold other weights in the module."""
        if weights is None:
            yield
            return
        own = {name: t.clone() for name, t in self.module.state_dict().items()}
        self.module.load_state_dict({name: t[0] for name, t in weights.items()})
        try:
            yield
        finally:
            self.module.load_state_dict(own)


def _as_outputs(found: Any, loss: Tensor) -> dict[str, Any]:
    """Return what a step returned as `on_train_batch_end` gets it."""
    return {**(found if isinstance(found, Mapping) else {}), "loss": loss.detach()}


def _evaluated(
    module: L.LightningModule, split: str, rows: Rows, batch_size: int
) -> dict[str, float]:
    """Go through a split as Lightning's loop does; return what is logged."""
    stage, logged = STAGES[split], Logged()
    if f"{stage}_step" not in overridden(module):
        return {}
    training = module.training
    module.eval()
    logged.attach(module)
    with torch.no_grad():
        call(module, f"on_{stage}_start")
        call(module, f"on_{stage}_epoch_start")
        pieces = (part.split(batch_size) for part in rows)
        for number, batch in enumerate(zip(*pieces, strict=True)):
            logged.rows = len(batch[0])
            call(module, f"on_{stage}_batch_start", batch, number)
            made = step_result(module, f"{stage}_step", batch, number)
            call(module, f"on_{stage}_batch_end", made, batch, number)
        call(module, f"on_{stage}_epoch_end")
        call(module, f"on_{stage}_end")
    module.train(training)
    return logged.take()


class OwnFigures(Observer):
    """Hands what a learner logged while it trained to the records, once an epoch.

    Args:
        kernel: its own.
    """

    phase = Phase.MEASURE

    def __init__(self, kernel: OwnKernel) -> None:
        self._kernel = kernel
        self.metrics = kernel.names["train"]
        self._told: set[str] = set()

    def epoch(self, learner: Any, columns: Int[np.ndarray, " a"]) -> None:
        """Take them."""
        call(self._kernel.module, "on_train_epoch_end")
        found = self._kernel.logged.take()
        learner.measured |= {name: np.array([value]) for name, value in found.items()}
        known = {*self.metrics, *self._kernel.names["val"]}
        self._tell_late([name for name in learner.measured if name.startswith(LOGGED)], known)
        for name in [n for n in learner.measured if n.startswith(LOGGED) and n not in known]:
            del learner.measured[name]

    def _tell_late(self, names: Sequence[str], known: set[str]) -> None:
        """Say of what is logged for the first time after the first step that it has no column."""
        for name in names:
            if name not in known and name not in self._told:
                self._told.add(name)
                log.info(
                    "note      '%s' is not recorded: log it from the first batch on, so that it "
                    "has a column", name.removeprefix(LOGGED),
                )  # fmt: skip

    def ended(self, learner: Any, runs: Sequence[int]) -> None:
        """Tell the learner that training is over."""
        call(self._kernel.module, "on_train_end")
        call(self._kernel.module, "on_fit_end")
