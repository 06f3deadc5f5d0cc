"""The learning rate of every run, from torch's own schedules.

A schedule is a function of the step and of numbers in the config, so runs that agree in those
share one; only schedules that watch a metric are each run's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from descent.blueprint import build_optimizer, build_schedule
from descent.config import flatten
from descent.data.prepare import Description


class Track:
    """One optimizer on a parameter that nobody needs, and its schedule.

    Args:
        config: of a run.
        data: what it is trained on.
    """

    def __init__(self, config: Mapping[str, Any], data: Description) -> None:
        self._optimizer = build_optimizer(config)([nn.Parameter(torch.zeros(1))])
        schedule = build_schedule(config, data)
        self.interval, self.monitor = schedule.interval, schedule.monitor
        self._schedule = schedule.make(self._optimizer)
        self._optimizer.step()  # torch's schedules look whether it was called
        self.watches = isinstance(self._schedule, ReduceLROnPlateau)

    @property
    def lr(self) -> float:
        """The present lr."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self, metric: float | None = None) -> None:
        """Go on by a step or an epoch; a schedule that watches a metric gets it."""
        if not self.watches:
            self._schedule.step()
        elif metric is not None:
            self._schedule.step(metric)

    def schedule_state(self) -> dict[str, Any]:
        """Return the schedule's state for a checkpoint."""
        return dict(self._schedule.state_dict())

    def group_state(self, parameters: int) -> dict[str, Any]:
        """Return the optimizer's only parameter group, of so many parameters, for a checkpoint."""
        group: dict[str, Any] = self._optimizer.state_dict()["param_groups"][0]
        return {**group, "params": list(range(parameters))}


class Tracks:
    """The tracks of R runs.

    Args:
        configs: of each run.
        data: what all are trained on.
    """

    def __init__(self, configs: Sequence[Mapping[str, Any]], data: Description) -> None:
        self._tracks: list[Track] = []
        self.of: list[int] = []  # track of each run
        known: dict[Any, int] = {}
        for config in configs:
            key = tuple((k, str(v)) for g in ("optimizer", "scheduler") for k, v in
                        flatten({g: config[g]}))  # fmt: skip
            at = known.get(key)
            if at is None or self._tracks[at].watches:
                at = known[key] = len(self._tracks)
                self._tracks.append(Track(config, data))
            self.of.append(at)

    def __getitem__(self, run: int) -> Track:
        """Return the track of a run."""
        return self._tracks[self.of[run]]

    def rates(self, runs: Sequence[int]) -> list[float]:
        """Return the present lr of some runs."""
        lrs = [track.lr for track in self._tracks]
        return [lrs[self.of[run]] for run in runs]

    def per_step(self, runs: Sequence[int]) -> bool:
        """Whether any of these runs has an lr that changes by step."""
        return any(self[run].interval == "step" for run in runs)

    def end_step(self, runs: Sequence[int]) -> None:
        """Take the schedules of some runs on that count in steps."""
        self._go_on("step", runs)

    def end_epoch(self, measured: Mapping[int, Mapping[str, float]]) -> None:
        """Take the schedules of runs on that count in epochs, or watch one of their metrics."""
        self._go_on("epoch", list(measured))
        for run, values in measured.items():
            value = values.get(self[run].monitor or "")
            if self[run].watches and value is not None:
                self[run].step(float(np.float32(value)))  # as Lightning keeps logged metrics

    def _go_on(self, interval: str, runs: Sequence[int]) -> None:
        for at in dict.fromkeys(self.of[run] for run in runs):
            if self._tracks[at].interval == interval and not self._tracks[at].watches:
                self._tracks[at].step()
