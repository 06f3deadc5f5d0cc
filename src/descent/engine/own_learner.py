"""A LightningModule of the user's: its own `training_step`, under our data, records and loop.

Its `forward` answers for metrics, evaluation and predictions. What it logs becomes columns of the
epochs. Hooks that would change a step, and are not called here, are refused.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from descent.config.check import build, locate
from descent.data.prepare import Description
from descent.engine.losses import criterion, penalty
from descent.engine.module_kernel import ModuleKernel
from descent.engine.observer import Observer, Phase
from descent.engine.rates import Rates, Track
from descent.engine.schedules import Schedule
from descent.errors import ForeignError, UserError, first_line
from descent.shapes import Float, Int

log = logging.getLogger(__name__)

CALLED = ("forward", "training_step", "configure_optimizers")
# what has its place here already: not called, and told
IN_PLACE = ("validation_step", "test_step", "predict_step", "train_dataloader", "val_dataloader",
            "test_dataloader", "predict_dataloader")  # fmt: skip
PLAIN = ("extra_repr", "state_dict", "load_state_dict", "example_input_array")
PREFIX = "learner/"  # of what it logs under a name without a place


def is_own(config: Mapping[str, Any]) -> bool:
    """Whether a run has a learner of the user's."""
    return config.get("learner") is not None


def build_own(
    config: Mapping[str, Any], description: Description, model: nn.Module, sizes: Mapping[str, int]
) -> L.LightningModule:
    """Build the learner; `model`, `criterion`, `in_features`, `out_features` are offered by name.

    Raises:
        UserError: it is no LightningModule, or asks for what is not done here.
    """
    offer = {"model": model, "criterion": criterion(config, description), **sizes}
    made = build(config["learner"], "learner", offer=offer)
    name = type(made).__name__
    if not isinstance(made, L.LightningModule):
        raise UserError(f"learner._target_ makes a {name}, not a LightningModule.")
    if not is_overridden("training_step", made):
        raise UserError(f"learner: {name} has no training_step; give it one, or leave it out.")
    if not made.automatic_optimization:
        raise UserError(
            f"learner: {name} steps its optimizers itself (automatic_optimization=False), which is "
            "not offered; let training_step return the loss."
        )
    strange = sorted(set(_overridden(made)) - {*CALLED, *IN_PLACE, *PLAIN})
    if strange:
        raise UserError(
            f"learner: {name}.{strange[0]} would never be called; leave it out, or do it in "
            "training_step or in a callback (callbacks=...)."
        )
    return made


def takes_model(config: Mapping[str, Any]) -> bool:
    """Whether the learner is built around the model that `model=...` chooses."""
    target = locate(config["learner"]["_target_"], "learner._target_")
    return "model" in inspect.signature(target).parameters


def has_own_optimizer(module: nn.Module) -> bool:
    """Whether the learner brings its optimizer along."""
    return isinstance(module, L.LightningModule) and is_overridden("configure_optimizers", module)


def _overridden(module: L.LightningModule) -> list[str]:
    """Return what of LightningModule the user's classes define anew."""
    above = L.LightningModule.__mro__
    own = {name for kind in type(module).__mro__ if kind not in above for name in vars(kind)}
    return [name for name in own if not name.startswith("_") and hasattr(L.LightningModule, name)]


def describe(module: L.LightningModule, config: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know of a run's learner."""
    own = (
        "its own training_step and optimizer"
        if has_own_optimizer(module)
        else ("its own training_step")
    )
    lines = [f"{type(module).__name__}, {own}"]
    if not takes_model(config):
        lines.append("model=... has no effect: it takes no argument 'model'")
    unused = sorted(set(_overridden(module)) & {*IN_PLACE})
    if unused:
        lines.append(f"not called: {', '.join(unused)} (metrics and predictions are of forward)")
    return lines


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
                loss = _loss_of(trial, (x, y), 0)
        except UserError:
            raise
        except Exception as error:
            raise ForeignError(
                f"learner: {type(trial).__name__}.training_step fails: {first_line(error)}."
            ) from error
        if has_own_optimizer(trial):
            _optimizer_of(trial)
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
        optimizer, schedule = _optimizer_of(self.module)
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
        loss = _loss_of(self.module, (x, y), self._batches)
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


def _loss_of(module: L.LightningModule, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
    step, name = module.training_step, f"{type(module).__name__}.training_step"
    takes_number = len(inspect.signature(step).parameters) > 1
    found = step(batch, number) if takes_number else step(batch)
    loss = found.get("loss") if isinstance(found, Mapping) else found
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = "nothing" if loss is None else type(loss).__name__
        if isinstance(loss, Tensor):
            what = f"a tensor of shape {tuple(loss.shape)}"
        raise UserError(f"learner: {name} returns {what}; it must return the loss of the batch.")
    return loss.reshape(())


def _optimizer_of(module: L.LightningModule) -> tuple[torch.optim.Optimizer, Schedule]:
    """Return the one optimizer and schedule that its `configure_optimizers` makes."""
    name = f"{type(module).__name__}.configure_optimizers"
    try:
        made = module.configure_optimizers()
    except Exception as error:
        raise UserError(f"learner: {name} fails: {first_line(error)}.") from error
    schedulers: Any = []
    if isinstance(made, Mapping):
        schedulers, made = made.get("lr_scheduler") or [], made.get("optimizer")
    elif isinstance(made, (list, tuple)) and len(made) == 2 and isinstance(made[0], (list, tuple)):
        made, schedulers = made
    optimizers = made if isinstance(made, (list, tuple)) else [made]
    schedulers = schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]
    if len(optimizers) != 1 or not isinstance(optimizers[0], torch.optim.Optimizer):
        raise UserError(f"learner: {name} must return one optimizer, with one schedule at most.")
    if len(schedulers) > 1:
        raise UserError(f"learner: {name} returns {len(schedulers)} schedules; one is offered.")
    if not schedulers:
        return optimizers[0], Schedule(lambda optimizer: LambdaLR(optimizer, lambda _: 1.0))
    told = schedulers[0] if isinstance(schedulers[0], Mapping) else {"scheduler": schedulers[0]}
    scheduler = told["scheduler"]
    schedule = Schedule(
        lambda _: scheduler, str(told.get("interval", "epoch")), told.get("monitor")
    )
    return optimizers[0], schedule
