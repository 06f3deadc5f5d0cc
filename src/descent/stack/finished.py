"""A run of a stack that has ended: all that its directory holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import Tensor

from descent.endings import Ending
from descent.recording.path import Trajectory
from descent.recording.points import StepBlock

TOGETHER = 32


@dataclass(frozen=True)
class Best:
    """A run's best epoch.

    Args:
        value: of the metric that decides.
        step, epoch: when.
        metrics: then.
        weights: then, as the model's `state_dict` has them.
    """

    value: float
    step: int
    epoch: int
    metrics: dict[str, float]
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Finished:
    """What is left of a run.

    Args:
        run: its number in the stack.
        ending: why it ended.
        step: the last that counts.
        epoch: whole ones.
        in_epoch: steps into an epoch that it did not finish; 0 at an epoch's end.
        blocks: its steps.
        epochs: its rows of epochs.csv, with their `time`.
        losses: of the epoch that it did not finish, with the rows of each batch, by window.
        norm: the last gradient norm.
        tested: test metrics.
        best: its best epoch.
        saved: its best epoch when the last checkpoint is from: before half an epoch.
        weights: as they are at the end.
        optimizer, schedule: their states.
        rng: of the noise stream.
        divergence, stopper: states of the callbacks; the stopper with its key, if there is one.
        path: as recorded.
    """

    run: int
    ending: Ending
    step: int
    epoch: int
    in_epoch: int
    blocks: list[StepBlock]
    epochs: list[dict[str, Any]]
    losses: list[tuple[Any, Any]]
    norm: float | None
    tested: Mapping[str, float]
    best: Best | None
    saved: Best | None
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    rng: Tensor
    divergence: dict[str, Any]
    stopper: tuple[str, dict[str, Any]] | None
    path: Trajectory | None

    @property
    def samples(self) -> int:
        """Rows consumed."""
        return int(self.blocks[-1].samples[-1]) if self.blocks else 0

    @property
    def seconds(self) -> float:
        """Its share of the stack's training time."""
        return float(self.blocks[-1].seconds[-1]) if self.blocks else 0.0


def some_at_a_time(ended: Iterator[Finished]) -> Iterator[list[Finished]]:
    """Yield runs in lists: long enough to be written together, short enough to be held."""
    while some := list(islice(ended, TOGETHER)):
        yield some
