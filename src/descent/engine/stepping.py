"""One optimizer step from a loss: directly where nothing else needs to know, else by Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from descent.engine.foreign import STEP_HOOKS, answers
from descent.shapes import Float

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


@dataclass(frozen=True)
class Clip:
    """Gradient clipping: to a 2-norm, by value, both (norm first) or neither."""

    norm: float | int | None = None
    value: float | int | None = None

    def apply(self, parameters: Iterable[Tensor]) -> None:
        """Clip the gradients in place."""
        if self.norm is not None:
            clip_grad_norm_(parameters, self.norm)
        if self.value is not None:
            clip_grad_value_(parameters, self.value)


class DirectStepper:
    """Steps the optimizer itself: Lightning's wrapper would cost more than a small model's step."""

    counts_steps = False  # the learner advances Lightning's step counter, once a window

    def __init__(self, optimizer: torch.optim.Optimizer, clip: Clip) -> None:
        self.optimizer = optimizer
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._clip = clip if clip != Clip() else None
        # Optimizer.zero_grad wraps this loop in a profiler range that takes longer than the loop
        plain = type(optimizer).zero_grad is torch.optim.Optimizer.zero_grad
        self.clear = self._clear if plain else optimizer.zero_grad
        # the first step is torch's own: its schedules look whether that was called
        self._update: Callable[[], object] = optimizer.step
        self._later_updates = bare_step(optimizer)

    def _clear(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def step(self, loss: Float[Tensor, ""], measure: bool) -> Float[Tensor, ""] | None:
        """Backpropagate and update; return the gradient's norm before clipping if measured."""
        loss.backward()
        norm = grad_norm(self.parameters) if measure else None
        if self._clip is not None:
            self._clip.apply(self.parameters)
        self._update()
        self._update = self._later_updates
        return norm


def bare_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """Return the optimizer's step without the profiler range that torch wraps it in.

    The range takes a fifth of a small linear model's whole step. Optimizers that are not wrapped
    in torch's way, or have step hooks, keep their own `step`.
    """
    wrapped = type(optimizer).step
    bare = getattr(wrapped, "__wrapped__", None)
    patched = vars(optimizer).get("step")  # learning-rate schedules patch it, to see it called
    hooks = (
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        _global_optimizer_pre_hooks,
        _global_optimizer_post_hooks,
    )
    if (
        bare is None
        or not getattr(wrapped, "hooked", False)
        or (patched is not None and not getattr(patched, "_wrapped_by_lr_sched", False))
        or any(hooks)
    ):
        return optimizer.step
    return partial(bare, optimizer)


class LightningStepper:
    """Steps through Lightning: gradient scaling, distributed strategies, other callbacks' hooks."""

    counts_steps = True

    def __init__(self, module: LightningModule, clip: Clip) -> None:
        self._module, self._clip = module, clip
        self._wrapped = module.optimizers()
        self.optimizer: torch.optim.Optimizer = self._wrapped.optimizer  # type: ignore[union-attr]
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._scaler = getattr(module.trainer.precision_plugin, "scaler", None)

    def clear(self) -> None:
        """Wait: Lightning's own loop drops gradients between the two passes."""

    def _clear(self) -> None:
        """Drop the gradients of the step before; nobody else calls the hook for this."""
        trainer = self._module.trainer
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            callback.on_before_zero_grad(trainer, self._module, self.optimizer)
        self._module.on_before_zero_grad(self.optimizer)
        self.optimizer.zero_grad()

    def step(self, loss: Float[Tensor, ""], measure: bool) -> Float[Tensor, ""] | None:
        """Backpropagate and update; return the gradient's norm before clipping if measured."""
        self._clear()
        self._module.manual_backward(loss)
        if self._scaler is not None and (measure or self._clip != Clip()):
            self._scaler.unscale_(self.optimizer)
        norm = grad_norm(self.parameters) if measure else None
        self._clip.apply(self.parameters)
        self._wrapped.step()  # type: ignore[union-attr]
        return norm


def grad_norm(parameters: Iterable[Tensor]) -> Float[Tensor, ""]:
    """Return the 2-norm of all gradients together."""
    # torch.nn.utils.get_total_norm sorts tensors by device first, which takes longer than this
    norms = [torch.linalg.vector_norm(p.grad) for p in parameters if p.grad is not None]
    return torch.linalg.vector_norm(torch.stack(norms))


def make_stepper(
    trainer: Trainer, module: LightningModule, clip: Clip
) -> DirectStepper | LightningStepper:
    """Choose the direct way unless the strategy, the precision or a callback needs Lightning's."""
    from lightning.pytorch.core.hooks import ModelHooks
    from lightning.pytorch.strategies import SingleDeviceStrategy

    needs_lightning = (
        type(trainer.strategy) is not SingleDeviceStrategy
        or getattr(trainer.precision_plugin, "scaler", None) is not None
        or any(
            getattr(getattr(module, h), "__func__", None) is not getattr(ModelHooks, h)
            for h in STEP_HOOKS
        )
        or any(answers(callback, *STEP_HOOKS) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    )
    if needs_lightning:
        return LightningStepper(module, clip)
    return DirectStepper(trainer.optimizers[0], clip)
