"""Callbacks of Lightning and of users: what they may count on here, and which cannot work.

Descent's own callbacks get a window of K steps at a time. Everybody else's were written for
Lightning's loop: one batch, one `batch_idx`, one `global_step`, one loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import lightning.pytorch.callbacks as lightning_callbacks
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BasePredictionWriter,
    EarlyStopping,
    ModelCheckpoint,
)
from torch import nn

from descent.config.spelling import program
from descent.errors import UserError

# Whose callbacks take windows; one that is written into this package is as foreign as any other,
# and sees single batches, until its module is named here.
OWN = {
    f"descent.callbacks.{name}"
    for name in (
        *("checkpoint", "divergence", "early_stopping", "full_loss", "listing", "measurement"),
        *("noise_scale", "optimum", "path", "progress", "recorder", "sharpness", "step_noise"),
        "weights",
    )
}
# Hooks around the backward pass and the update; whoever answers one expects Lightning to call it.
STEP_HOOKS = (
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
BATCH_HOOKS = ("on_train_batch_start", "on_train_batch_end", *STEP_HOOKS)
VALIDATION_HOOKS = (
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
)
AFTERWARDS = (
    "on_validation_epoch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_train_end",
)

# Whole classes whose work there is no place for: what each would need, and what does it instead.
REFUSED: dict[type[Callback], str] = {
    lightning_callbacks.GradientAccumulationScheduler: (
        "adds up gradients of several batches; a larger data.batch_size takes the same steps"
    ),
    lightning_callbacks.LearningRateFinder: (
        "trains in between and puts the weights back; compare learning rates side by side instead: "
        "-m optimizer.lr=1e-4,1e-3,1e-2,1e-1"
    ),
    lightning_callbacks.BatchSizeFinder: (
        "looks for the batch that fills the memory, where batch size here is a choice of the "
        "method; give data.batch_size, or compare: -m data.batch_size=32,128,full"
    ),
    BasePredictionWriter: (
        "writes predictions, which training makes none of; "
        f"use {program('eval')} run=... predict=predictions.csv"
    ),
}
LOGGING = (
    lightning_callbacks.LearningRateMonitor,
    lightning_callbacks.DeviceStatsMonitor,
    lightning_callbacks.ThroughputMonitor,
)
OWN_FILES = ("last", "best")  # in a run's checkpoints/


def answers(callback: object, *hooks: str) -> bool:
    """Return whether code that is not Descent's runs in one of these hooks of a callback."""
    for hook in hooks:
        method = getattr(callback, hook)
        function = getattr(method, "__func__", method)  # a hook may be set on the instance
        if getattr(Callback, hook, None) is function:
            continue
        if getattr(function, "__module__", "") not in OWN:
            return True
    return False


def may_change_weights(callback: Callback) -> bool:
    """Return whether a callback that is not Descent's acts after an epoch, or after training."""
    watching = (lightning_callbacks.Checkpoint, lightning_callbacks.ProgressBar, EarlyStopping)
    return not isinstance(callback, watching) and answers(callback, *AFTERWARDS)


def watching_batches(callbacks: Mapping[str, Callback]) -> list[str]:
    """Return the names, as the config has them, of callbacks that need single batches."""
    return [
        f"callbacks.{name} ({type(callback).__name__})"
        for name, callback in callbacks.items()
        if answers(callback, *BATCH_HOOKS)
    ]


def refuse_unfit(callbacks: Mapping[str, Callback], model: nn.Module, logs: bool) -> None:
    """Refuse callbacks that would fail, or do something else than they promise.

    Args:
        callbacks: by their names in the config.
        model: that is trained.
        logs: whether there is a logger.

    Raises:
        UserError: the first of them.
    """
    for name, callback in callbacks.items():
        if not logs and isinstance(callback, LOGGING):
            raise UserError(
                f"callbacks.{name}: {type(callback).__name__} writes to a logger, and there is "
                "none; use logger=tensorboard or logger=csv."
            )
        if isinstance(callback, BackboneFinetuning) and not hasattr(model, "backbone"):
            raise UserError(
                f"callbacks.{name}: BackboneFinetuning unfreezes model.backbone, and "
                f"{type(model).__name__} has no backbone; a subclass of BaseFinetuning can name "
                "layers of pl_module.model."
            )
        for kind, sentence in REFUSED.items():
            if isinstance(callback, kind):
                raise UserError(f"callbacks.{name}: {type(callback).__name__} {sentence}.")
        batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
        if batch_norm and isinstance(callback, lightning_callbacks.StochasticWeightAveraging):
            raise UserError(
                f"callbacks.{name}: StochasticWeightAveraging passes over the data once more for "
                "the statistics of batch normalization, which is not done here; use "
                "EMAWeightAveraging, which averages them too, or a model without BatchNorm."
            )
        if isinstance(callback, ModelCheckpoint):
            _refuse_own_files(name, callback)


def _refuse_own_files(name: str, callback: ModelCheckpoint) -> None:
    """Refuse to save under the names that this run itself writes and continues from."""
    if callback.save_last:
        raise UserError(
            f"callbacks.{name}.save_last would write over the run's own last.ckpt, which every run "
            "keeps anyway; leave it out."
        )
    if callback.filename in OWN_FILES:
        raise UserError(
            f"callbacks.{name}.filename={callback.filename} would write over the run's own "
            f"{callback.filename}.ckpt; choose another name."
        )


class _AsAutomatic:
    """A learner as it looks to a callback that asks who takes the optimizer steps."""

    automatic_optimization = True

    def __init__(self, learner: Any) -> None:
        self._learner = learner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._learner, name)


def tell_batches(trainer: Any, steps: int) -> None:
    """Let callbacks read how many batches an epoch has: windows have no length to tell it by."""
    trainer.fit_loop.setup_data()
    trainer.fit_loop.max_batches = steps


def fit_in(callbacks: Iterable[Callback]) -> None:
    """Let Lightning's checkpoints save when they would in Lightning's own loop.

    Where steps are taken by hand, `ModelCheckpoint` ignores `train_time_interval`, does not wait
    for the validation of an epoch's last step, and warns of weights that are those after the step:
    which is what it saves in Lightning's own loop.
    """
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint):
            plain = callback.on_train_batch_end

            def as_automatic(
                trainer: Any, module: Any, *rest: Any, plain: Any = plain, **named: Any
            ) -> None:
                plain(trainer, _AsAutomatic(module), *rest, **named)

            callback.on_train_batch_end = as_automatic  # type: ignore[assignment,method-assign]
