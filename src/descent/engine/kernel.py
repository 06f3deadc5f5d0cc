"""What takes the steps of R runs: the protocol that three kernels keep, and a window's figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from descent.engine.losses import Criterion
from descent.engine.rates import Rates
from descent.shapes import Float, Int

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule


@dataclass
class Figures:
    """A window's K steps, taken by A runs side by side.

    Args:
        first: steps taken before.
        epoch: from 1.
        losses, lrs: [K, A].
        rows: of each batch, [K].
        norms: gradient norms [A], by step, where they were measured.
        began: each run's share of the training seconds before them.
        seconds: its share of those that they took.
        elapsed: what they took for all runs together.
        time: wall time after the last of them.
        full_loss: [A], where it was measured after the last of these steps.
    """

    first: int
    epoch: int
    losses: np.ndarray
    lrs: np.ndarray
    rows: np.ndarray
    norms: dict[int, np.ndarray]
    began: float
    seconds: float
    elapsed: float
    time: float
    full_loss: np.ndarray | None = None

    @property
    def last(self) -> int:
        """Steps taken after them."""
        return self.first + len(self.losses)


def seed_batches(
    x: Float[Tensor, "S KB F"], y: Tensor, size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut a window into the batches [S, B, ...] of its seeds."""
    return zip(x.split(size, dim=1), y.split(size, dim=1), strict=True)


class Kernel(Protocol):
    """A runs in lockstep; each has a column, and columns go when their runs have ended."""

    rates: Rates  # made by `configure`
    criterion: Criterion  # the loss of all

    def configure(self) -> Any:
        """Make optimizers and schedules; return what `configure_optimizers` returns."""

    def bind(self, module: LightningModule, step: int) -> None:
        """Get ready for the steps after this one: everything is on its device now."""

    def batches(self, x: Float[Tensor, "S KB F"], y: Tensor, size: int) -> Iterator[Any]:
        """Cut a window into its batches, as `step` takes them."""

    def step(
        self, x: Tensor, y: Tensor, lr: Float[np.ndarray, " A"], measure: bool
    ) -> tuple[Float[Tensor, "*A"], Float[Tensor, "*A"] | None]:
        """Take a step; return the losses before it and, if asked for, the gradients' norms.

        A is left out by a kernel of one run.
        """

    def judged(self) -> AbstractContextManager[None]:
        """Hold the weights that runs are judged by in the models."""

    def evaluating(self) -> AbstractContextManager[None]:
        """Hold models in evaluation mode, at the weights to judge by."""

    def piece(self, x: Float[Tensor, "n F"]) -> int:
        """Return how many rows to evaluate at a time."""

    def outputs(
        self, x: Float[Tensor, "n F"], weights: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "A n C"]:
        """Return the outputs, at other weights [r, ...] than the runs' own if they are given."""

    def penalties(self) -> Float[Tensor, " A"]:
        """Return each run's penalty at its weights."""

    def place(self) -> Float[Tensor, "A P"]:
        """Return the trained parameters of each run as one row, copied."""

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and buffers, [A, ...], by their name in the model's `state_dict`."""

    def model(self, column: int) -> nn.Module:
        """Return one run's model, to be looked at and not to be changed."""

    def options(self, column: int) -> tuple[type[torch.optim.Optimizer], Mapping[str, Any]]:
        """Return one run's optimizer and its options."""

    def keep(self, columns: Int[Tensor, " a"]) -> None:
        """Go on with some of the runs only."""

    def state(self, column: int) -> dict[str, Any]:
        """Return `weights`, `optimizer` and the streams `rng` and `cuda_rng` of one run.

        `training_weights` come with them where they are not those to judge by.
        """

    def load(self, column: int, state: Mapping[str, Any]) -> None:
        """Take `weights` and `optimizer` back."""

    def load_streams(self, column: int, state: Mapping[str, Any]) -> None:
        """Take the streams back."""
