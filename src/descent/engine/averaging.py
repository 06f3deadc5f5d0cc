"""The weights that a run is judged by, where its steps are taken at others.

Schedule-free optimizers take gradients at one point and answer with another (`train()`, `eval()`);
averaging callbacks keep a mean beside the model and put it in for validation. What is measured,
kept as best, saved, drawn and tested is of the weights that answer; the weights that train are put
back bit by bit, so that measuring more often changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from descent.engine.blueprint import switches
from descent.engine.foreign import VALIDATION_HOOKS, answers, may_change_weights

State = dict[str, Tensor]


class Averaging:
    """Puts the weights that answer into the model, and takes them out again.

    Args:
        trainer: of a fit that has its optimizers.
        module: the LightningModule it fits.
        model: whose weights are meant.
    """

    def __init__(self, trainer: Trainer, module: LightningModule, model: nn.Module) -> None:
        self._trainer, self._module, self._model = trainer, module, model
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        self._optimizers: list[Any] = [o for o in trainer.optimizers if switches(o)]
        self._averages = [c for c in callbacks if isinstance(c, WeightAveraging)]
        self._keeps_validated = any(answers(c, *VALIDATION_HOOKS) for c in callbacks)
        self._keeps_measured = any(may_change_weights(c) for c in callbacks)
        # step, and the weights that were in the model: at validation, and at any measurement
        self._validated: tuple[int, State] = (-1, {})
        self._measured: tuple[int, State] = (-1, {})
        self._validated_at = -1
        self._ended = False
        self._training: State | None = None  # the weights to go on from, while others are in
        self._judging = False
        if self._optimizers:
            self._switch_for(trainer.save_checkpoint)

    def __deepcopy__(self, memo: dict[int, Any]) -> Averaging:
        """Return itself: who copies a learner means its weights, not the whole trainer."""
        return self

    @property
    def by(self) -> str | None:
        """The optimizer or callback that the weights to judge by come from; None for the steps."""
        makers = [*self._optimizers, *self._averages]
        return type(makers[0]).__name__ if makers else None

    @property
    def may_differ(self) -> bool:
        """Whether other weights may be judged than trained: a user's callback may do so, too."""
        return bool(self._optimizers or self._averages or self._keeps_validated)

    @property
    def ends_with_average(self) -> bool:
        """Whether an average will take the place of the weights that train, at the end."""
        return bool(self._averages)

    def _switch_for(self, save: Callable[..., None]) -> None:
        """Let every checkpoint, whoever saves it, hold the weights that answer."""

        def save_switched(*given: Any, **named: Any) -> None:
            with self.switched():
                save(*given, **named)

        self._trainer.save_checkpoint = save_switched  # type: ignore[method-assign]

    # ---- optimizers

    def begin(self, training: State | None) -> None:
        """Tell optimizers that training begins.

        Args:
            training: weights that a checkpoint was saved with beside those that answer.
        """
        for optimizer in self._optimizers:
            optimizer.train()
        if training:
            _copy(training, _state(self._model))

    def switch(self) -> None:
        """Put the optimizer's answer into the model, until `switch_back`."""
        if self._optimizers and self._training is None:
            self._training = _clone(_state(self._model))
            for optimizer in self._optimizers:
                optimizer.eval()

    def switch_back(self) -> None:
        """Go on from where the steps are taken."""
        if self._training is not None:
            for optimizer in self._optimizers:
                optimizer.train()
            _copy(self._training, _state(self._model))
            self._training = None

    @contextmanager
    def switched(self) -> Iterator[None]:
        """Put the optimizer's answer into the model for a while."""
        outermost = self._training is None
        self.switch()
        try:
            yield
        finally:
            if outermost:
                self.switch_back()

    def training_weights(self) -> State | None:
        """Return the weights to go on from, where others are in the model just now."""
        return self._training

    # ---- callbacks

    def note_validated(self) -> None:
        """Keep the weights that validation runs with: a callback may have put in its own."""
        if self._keeps_validated:
            self._validated = (self._trainer.global_step, _clone(_state(self._model)))
        if self._keeps_measured:
            self._measured = (self._trainer.global_step, _clone(_state(self._model)))
            self._validated_at = self._trainer.global_step

    def note_measured(self) -> None:
        """Keep the weights that are being measured, where callbacks may change them afterwards."""
        # those of a validation stand: a callback may change weights before what is measured next
        if self._keeps_measured and self._validated_at != self._trainer.global_step:
            self._measured = (self._trainer.global_step, _clone(_state(self._model)))

    def end(self) -> bool:
        """Judge by the weights that training has left from now on.

        Returns:
            Whether they are others than those last measured, with no step in between.
        """
        self._ended = True
        step, measured = self._measured
        if step != self._trainer.global_step:
            return False
        with self.switched():
            now = _state(self._model)
            return now.keys() != measured.keys() or not all(
                torch.equal(now[name], value) for name, value in measured.items()
            )

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Put the weights to judge by into the model for a while: those last validated with."""
        if self._judging or self._trainer.validating:
            yield
            return
        self._judging = True
        try:
            with self.switched(), nullcontext() if self._ended else self._averaged():
                yield
        finally:
            self._judging = False

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        step, validated = self._validated
        if step == self._trainer.global_step:
            training = _clone(_state(self._model))
            _copy(validated, _state(self._model))
            yield
            _copy(training, _state(self._model))
            return
        for callback in self._averages:
            callback.on_validation_epoch_start(self._trainer, self._module)
        yield
        for callback in self._averages:
            callback.on_validation_epoch_end(self._trainer, self._module)


def _state(model: nn.Module) -> State:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _clone(state: State) -> State:
    return {name: value.detach().clone() for name, value in state.items()}


@torch.no_grad()
def _copy(source: State, target: State) -> None:
    for name, value in source.items():
        if name in target:
            target[name].copy_(value)
