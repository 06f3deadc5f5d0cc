"""What R runs minimize: loss and penalties, with numbers of each run; and the clipping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from descent.engine.losses import Criterion, penalty
from descent.engine.stacked_model import StackedModel, repeated
from descent.engine.stacked_optim import Number, common, spread
from descent.shapes import Float, Int

EPSILON = 1e-6  # of torch.nn.utils.clip_grad_norm_


class Objective:
    """Loss, penalties and clipping of R runs.

    Args:
        criterion: the loss.
        model: whose weights are penalized.
        configs: of each run.
        like: a tensor of the type and device to compute with.
    """

    def __init__(
        self, criterion: Criterion, model: StackedModel, configs: Sequence[Mapping[str, Any]],
        like: Tensor,
    ) -> None:  # fmt: skip
        self.criterion, self._model = criterion, model
        self._l1 = like.new_tensor([config["penalty"]["l1"] for config in configs])
        self._l2 = like.new_tensor([config["penalty"]["l2"] for config in configs])
        self.penalizes = bool(model.penalized) and bool((self._l1 + self._l2 > 0).any())

        def limits(name: str) -> Tensor | None:
            values = [config["clip"][name] for config in configs]
            if all(value is None for value in values):
                return None
            return like.new_tensor([math.inf if value is None else value for value in values])

        self._norm, self._value = limits("norm"), limits("value")

    @property
    def clips(self) -> bool:
        """Whether any run clips its gradients."""
        return self._norm is not None or self._value is not None

    @cached_property
    def numbers(self) -> tuple[Number, Number]:
        """The weights of the L1 and L2 terms."""
        return common(self._l1), common(self._l2)

    def __call__(
        self, outputs: Float[Tensor, "A B C"], y: Float[Tensor, "S B ..."]
    ) -> Float[Tensor, " A"]:
        """Return each run's mini-batch loss, penalties included."""
        loss = self.loss(outputs, y)
        return loss + self.penalty() if self.penalizes else loss

    def loss(
        self, outputs: Float[Tensor, "A B C"], y: Float[Tensor, "S B ..."]
    ) -> Float[Tensor, " A"]:
        """Return each run's mean loss of some rows."""
        return self.criterion.each(outputs, repeated(y, len(outputs)))

    def penalty(self) -> Float[Tensor, " A"]:
        """Return each run's penalty."""
        if not self.penalizes:
            return torch.zeros_like(self._l1)
        weights = [self._model.parameters[name] for name in self._model.penalized]
        return penalty(weights, self._l1, self._l2)

    def clipped(
        self, gradients: Sequence[Float[Tensor, "A ..."]], measure: bool
    ) -> tuple[list[Tensor], Float[Tensor, " A"] | None]:
        """Clip gradients; return them, and their norms before if that is asked for."""
        made = [g.contiguous() for g in gradients]
        norm = _norms(made) if measure or self._norm is not None else None
        if self._norm is not None and norm is not None:
            shrink = (self._norm / (norm + EPSILON)).clamp(max=1.0)
            made = [g * spread(shrink, g) for g in made]
        if self._value is not None:
            made = [g.clamp(-(most := spread(self._value, g)), most) for g in made]
        return made, norm if measure else None

    def keep(self, runs: Int[Tensor, " r"]) -> None:
        """Go on with some of the runs only."""
        self._l1, self._l2 = self._l1[runs], self._l2[runs]
        self.__dict__.pop("numbers", None)
        self._norm = None if self._norm is None else self._norm[runs]
        self._value = None if self._value is None else self._value[runs]


def _norms(gradients: Sequence[Float[Tensor, "A ..."]]) -> Float[Tensor, " A"]:
    """Return each run's 2-norm of all gradients together."""
    return torch.stack([g.flatten(1).square().sum(dim=1) for g in gradients]).sum(dim=0).sqrt()
