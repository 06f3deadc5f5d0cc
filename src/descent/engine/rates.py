"""The learning rate of every run, from torch's own schedules.

A schedule is a function of the step and of numbers in the config, so runs that agree in those
share one; only schedules that watch a metric are each run's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from descent.engine.schedules import Schedule
from descent.shapes import Float, Int


class Track:
    """An optimizer and its schedule.

    Args:
        optimizer: whose first group's lr counts; of a run, or of a parameter that nobody needs.
        schedule: of it.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule) -> None:
        self.optimizer = optimizer
        self.interval, self.monitor = schedule.interval, schedule.monitor
        self.scheduler = schedule.make(optimizer)
        self.watches = isinstance(self.scheduler, ReduceLROnPlateau)

    @property
    def lr(self) -> float:
        """The present lr."""
        return float(self.optimizer.param_groups[0]["lr"])

    def load(self, schedule: Mapping[str, Any], group: Mapping[str, Any]) -> None:
        """Take back the schedule's state, and the numbers of the optimizer that it changes."""
        self.scheduler.load_state_dict(dict(schedule))
        for name in ("lr", "initial_lr", "momentum", "betas"):
            if name in group:
                self.optimizer.param_groups[0][name] = group[name]


class Rates:
    """The tracks of A runs.

    Args:
        tracks: all there are.
        of: the track of each run.
    """

    def __init__(self, tracks: Sequence[Track], of: Sequence[int]) -> None:
        self._tracks = tracks
        self._of: Int[np.ndarray, " A"] = np.asarray(of)
        self._refresh()

    def _refresh(self) -> None:
        self._used = [self._tracks[i] for i in dict.fromkeys(self._of.tolist())]
        self.per_step = any(track.interval == "step" for track in self._used)
        self._values: np.ndarray | None = None

    @property
    def values(self) -> Float[np.ndarray, " A"]:
        """Each run's present lr."""
        if self._values is None:
            lrs = np.array([track.lr for track in self._tracks])
            self._values = lrs[self._of]
        return self._values

    def look_again(self, configs: Sequence[Any]) -> None:
        """Follow what callbacks of others have made of a single run's schedule, and of its lr.

        Args:
            configs: the trainer's schedules.
        """
        track = self.track(0)
        if configs and configs[0].scheduler is not track.scheduler:
            track.scheduler, track.interval = configs[0].scheduler, configs[0].interval
            track.watches = isinstance(track.scheduler, ReduceLROnPlateau)
            track.monitor = configs[0].monitor
        self._refresh()

    def track(self, column: int) -> Track:
        """Return the track of one run."""
        return self._tracks[self._of[column]]

    def end_step(self) -> None:
        """Take the schedules on that count in steps."""
        self._go_on("step")

    def end_epoch(self, measured: Mapping[str, Float[np.ndarray, " A"]]) -> None:
        """Take the schedules on that count in epochs, or watch a metric."""
        self._go_on("epoch")
        for column, at in enumerate(self._of):
            track = self._tracks[at]
            if track.watches and track.monitor in measured:
                track.scheduler.step(float(measured[track.monitor][column]))
                self._values = None

    def _go_on(self, interval: str) -> None:
        for track in self._used:
            if track.interval == interval and not track.watches:
                track.scheduler.step()
                self._values = None

    def load(self, column: int, schedule: Mapping[str, Any], group: Mapping[str, Any]) -> None:
        """Take back a run's schedule, and its optimizer's group."""
        self.track(column).load(schedule, group)
        self._values = None

    def keep(self, columns: Sequence[int]) -> None:
        """Go on with some of the runs only."""
        self._of = self._of[list(columns)]
        self._refresh()
