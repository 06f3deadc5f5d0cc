"""One run whose steps minimize what a LightningModule of the user's returns."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from descent.engine.losses import penalty
from descent.engine.module_kernel import ModuleKernel
from descent.engine.observer import Observer, Phase
from descent.engine.own_learner import has_own_optimizer, loss_of, optimizer_of
from descent.engine.rates import Rates, Track
from descent.errors import ForeignError, UserError, first_line
from descent.shapes import Float, Int

PREFIX = "learner/"  # of what it logs under a name without a place


class Logged:
    """The means of what a learner logs, since they were last taken.

    Args:
        taken: names that are recorded already.
    """

    def __init__(self, taken: Sequence[str] = ()) -> None:
        self._taken = taken
        self._sums: dict[str, tuple[Tensor | float, int]] = {}

    def log(self, name: str, value: Any, *_: Any, **__: Any) -> None:
        """Take a value, in the place of Lightning's `self.log`."""
        key = name if "/" in name else f"{PREFIX}{name}"
        if key in self._taken:
            return
        value = value.detach() if isinstance(value, Tensor) else float(value)
        total, count = self._sums.get(key, (0.0, 0))
        self._sums[key] = total + value, count + 1

    def log_dict(self, values: Mapping[str, Any], *_: Any, **__: Any) -> None:
        """Take several."""
        for name, value in values.items():
            self.log(name, value)

    def take(self) -> dict[str, float]:
        """Return the means, and begin anew."""
        sums, self._sums = self._sums, {}
        return {name: float(total) / count for name, (total, count) in sums.items()}

    def attach(self, module: L.LightningModule) -> None:
        """Answer the module's own `self.log` and `self.log_dict`."""
        module.log = self.log  # type: ignore[method-assign]
        module.log_dict = self.log_dict  # type: ignore[assignment, method-assign]


class OwnKernel(ModuleKernel):
    """A single run whose steps minimize what the user's `training_step` returns."""

    module: L.LightningModule

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.logged = Logged()
        self.names: tuple[str, ...] = ()  # of what it logs in a step
        self._batches = 0

    def try_step(self, x: Float[Tensor, "B F"], y: Tensor, taken: Sequence[str]) -> None:
        """Take the loss of some rows on a copy; learn the names of what is logged.

        Args:
            x: some rows.
            y: their targets.
            taken: names of figures that are recorded already.

        Raises:
            UserError: it is no scalar to be minimized.
        """
        self.logged = Logged(taken)
        trial, logged = copy.deepcopy(self.module), Logged(taken)
        logged.attach(trial)
        try:
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                loss = loss_of(trial, (x, y), 0)
        except UserError:
            raise
        except Exception as error:
            raise ForeignError(
                f"learner: {type(trial).__name__}.training_step fails: {first_line(error)}."
            ) from error
        if has_own_optimizer(trial):
            optimizer_of(trial)
        if not loss.requires_grad:
            raise UserError(
                f"learner: {type(trial).__name__}.training_step returns a loss without a gradient; "
                "return the loss itself, not its number."
            )
        self.names = tuple(logged.take())

    def configure(self) -> Any:
        """Build the optimizer: the learner's own, else the one that was chosen."""
        if not has_own_optimizer(self.module):
            return super().configure()
        optimizer, schedule = optimizer_of(self.module)
        self.optimizer = optimizer
        track = Track(optimizer, schedule)
        self.rates = Rates([track], [0])
        told = {
            "scheduler": track.scheduler, "interval": track.interval, "monitor": track.monitor,
        }  # fmt: skip
        return {"optimizer": optimizer, "lr_scheduler": told}

    def bind(self, module: L.LightningModule, step: int) -> None:
        """Let it see the trainer, as a LightningModule does."""
        if module.trainer.world_size > 1:
            raise UserError("A learner of your own trains on one device; set trainer.devices=1.")
        super().bind(module, step)
        self._batches = step
        self.module._trainer = module.trainer
        self.logged.attach(self.module)

    def objective(self, x: Float[Tensor, "B F"], y: Tensor) -> Float[Tensor, ""]:
        """Return what its `training_step` does, penalties added."""
        loss = loss_of(self.module, (x, y), self._batches)
        self._batches += 1
        if self._penalized:
            loss = loss + penalty(self._penalized, self.penalty.l1, self.penalty.l2)
        return loss


class OwnFigures(Observer):
    """Hands what a learner logged to the records: means over the steps of an epoch.

    Args:
        kernel: its own.
    """

    phase = Phase.MEASURE

    def __init__(self, kernel: OwnKernel) -> None:
        self._kernel = kernel
        self.metrics = kernel.names

    def epoch(self, learner: Any, columns: Int[np.ndarray, " a"]) -> None:
        """Take the means."""
        found = self._kernel.logged.take()
        learner.measured |= {n: np.array([v]) for n, v in found.items() if n in self.metrics}
