"""A callback over R runs: what it may do, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from lightning.pytorch import Callback

from descent.engine.kernel import Figures
from descent.shapes import Int

# `learner` is the one in `engine/learner.py`, which imports this file.


class Phase(IntEnum):
    """What a callback does; the learner calls them in this order, however they were listed."""

    MEASURE = 0
    RECORD = 1
    SHOW = 2
    END = 3
    KEEP = 4


class Observer(Callback):
    """Watches R runs; state is kept by run, figures come by column (`learner.live[column]`).

    Whatever else a Lightning callback may do stays open to subclasses.
    """

    phase = Phase.SHOW

    def accept(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """Take the options of each run, where they may differ between the runs of a stack."""

    def begin(self, learner: Any) -> None:
        """Get ready: before the first step of runs that are new, or continued."""

    def window(self, learner: Any, figures: Figures) -> None:
        """Look at a window's steps."""

    def epoch(self, learner: Any, columns: Int[np.ndarray, " a"]) -> None:
        """Look at an epoch, or a part of one, that is over for some of the runs."""

    def halfway(self, learner: Any, runs: Sequence[int]) -> None:
        """Note that some runs end within an epoch: before what `epoch` will say of that half."""

    def changed(self, learner: Any) -> None:
        """Take what was measured again, since callbacks of others changed the last weights."""

    def ended(self, learner: Any, runs: Sequence[int]) -> None:
        """Let go of runs that have ended; their columns are still there."""

    def keep(self, columns: Int[np.ndarray, " a"]) -> None:
        """Go on with some columns only."""

    def rest(self, learner: Any) -> None:
        """Do what may be done between two windows, when all runs there are go on."""

    def state_of(self, learner: Any, run: int) -> dict[str, Any]:
        """Return what a checkpoint of a run keeps: tensors and plain values."""
        return {}

    def load_of(self, run: int, state: Mapping[str, Any]) -> None:
        """Take it back."""
