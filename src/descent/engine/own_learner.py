"""A LightningModule of the user's: its own steps and hooks, under our data, records and loop.

Its `forward` answers for our metrics, evaluation and predictions. What it logs in training and
evaluation becomes columns of the epochs. Hooks that are not called here are refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from descent.config.check import build
from descent.config.located import locate
from descent.data.prepare import Description
from descent.engine.foreign import STEP_HOOKS
from descent.engine.losses import criterion
from descent.engine.schedules import Schedule
from descent.errors import UserError, first_line, joined

# the splits that it may evaluate itself, and Lightning's words for it
STAGES = {"val": "validation", "test": "test"}
CALLED = (
    *("forward", "training_step", "configure_optimizers", "configure_model", "setup"),
    *("on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_batch_start"),
    *("on_train_batch_end", "on_train_epoch_end", "on_train_end", "on_fit_end", *STEP_HOOKS),
    *(f"{stage}_step" for stage in STAGES.values()),
    *(
        f"on_{stage}_{moment}"
        for stage in STAGES.values()
        for moment in ("start", "epoch_start", "batch_start", "batch_end", "epoch_end", "end")
    ),
)
# what has its place here already: not called, and told
IN_PLACE = ("predict_step", "train_dataloader", "val_dataloader", "test_dataloader",
            "predict_dataloader")  # fmt: skip
PLAIN = ("extra_repr", "state_dict", "load_state_dict", "example_input_array")


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
    strange = sorted(set(overridden(made)) - {*CALLED, *IN_PLACE, *PLAIN})
    if strange:
        raise UserError(
            f"learner: {name}.{strange[0]} would never be called; leave it out, or do it in "
            "training_step or in a callback (callbacks=...)."
        )
    for hook, given in (("configure_model", ()), ("setup", ("fit",))):
        try:
            call(made, hook, *given)
        except Exception as error:
            raise UserError(f"learner: {name}.{hook} fails: {first_line(error)}.") from error
    return made


def call(module: L.LightningModule, hook: str, *given: Any) -> Any:
    """Call a hook where the user's class has one."""
    return getattr(module, hook)(*given) if hook in overridden(module) else None


def takes_model(config: Mapping[str, Any]) -> bool:
    """Whether the learner is built around the model that `model=...` chooses."""
    target = locate(config["learner"]["_target_"], "learner._target_")
    return "model" in inspect.signature(target).parameters


def has_own_optimizer(module: nn.Module) -> bool:
    """Whether the learner brings its optimizer along."""
    return isinstance(module, L.LightningModule) and is_overridden("configure_optimizers", module)


def overridden(module: L.LightningModule) -> frozenset[str]:
    """Return what of LightningModule the user's classes define anew."""
    own: Any = type(module)
    return _overridden(own)


@cache
def _overridden(own: Any) -> frozenset[str]:
    above = L.LightningModule.__mro__
    names = {name for kind in own.__mro__ if kind not in above for name in vars(kind)}
    return frozenset(n for n in names if not n.startswith("_") and hasattr(L.LightningModule, n))


def describe(module: L.LightningModule, config: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know of a run's learner."""
    own = [f"{what}_step" for what in ("training", *STAGES.values())
           if f"{what}_step" in overridden(module)]  # fmt: skip
    own += ["optimizer"] if has_own_optimizer(module) else []
    lines = [f"{type(module).__name__}, its own {joined(own)}"]
    if not takes_model(config):
        lines.append("model=... has no effect: it takes no argument 'model'")
    unused = sorted(overridden(module) & {*IN_PLACE})
    if unused:
        lines.append(
            f"not called: {', '.join(unused)} (rows are of data=..., predictions of forward)"
        )
    return lines


def step_result(module: L.LightningModule, step: str, batch: Any, number: int) -> Any:
    """Return what a step of the user's does of a batch; it may leave the batch's number out.

    It may write into the batch, which is a copy: the data are what they were.
    """
    function, batch = getattr(module, step), tuple(t.clone() for t in batch)
    takes_number = len(inspect.signature(function).parameters) > 1
    return function(batch, number) if takes_number else function(batch)


def loss_of(module: L.LightningModule, found: Any) -> Tensor:
    """Return the loss in what a `training_step` returned; UserError if there is none."""
    loss = found.get("loss") if isinstance(found, Mapping) else found
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = "nothing" if loss is None else type(loss).__name__
        if isinstance(loss, Tensor):
            what = f"a tensor of shape {tuple(loss.shape)}"
        raise UserError(
            f"learner: {type(module).__name__}.training_step returns {what}; it must return the "
            "loss of the batch."
        )
    return loss.reshape(())


def optimizer_of(module: L.LightningModule) -> tuple[torch.optim.Optimizer, Schedule]:
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
    if told.get("frequency", 1) != 1:
        raise UserError(f"learner: {name} gives frequency={told['frequency']}; 1 alone is offered.")
    schedule = Schedule(
        lambda _: scheduler, str(told.get("interval", "epoch")), told.get("monitor")
    )
    return optimizers[0], schedule
