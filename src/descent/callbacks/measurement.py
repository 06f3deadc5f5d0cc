"""When a diagnostic is taken: before training, after every n-th epoch and after the last."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from descent.engine.learner import Learner
from descent.engine.losses import Penalty, penalty
from descent.engine.observer import Observer, Phase
from descent.shapes import Float, Int

Parameters = dict[str, Tensor]  # by name


class RunView:
    """One of the runs, as a measurement looks at it.

    Args:
        learner: of all.
        column: its own.
    """

    def __init__(self, learner: Learner, column: int) -> None:
        self.learner, self.column = learner, column
        self.run = int(learner.live[column])
        self.model: nn.Module = learner.kernel.model(column)
        self.data, self.trainer = learner.data, learner.trainer
        self.loss = learner.kernel.criterion
        self.penalty, self.seed = learner.penalties[self.run], learner.seeds[self.run]
        self.rows, self.windows = learner.rows, learner.windows
        self.batch_size, self.global_step = learner.windows.batch_size, learner.step
        self.optimizer, self.options = learner.kernel.options(column)
        self.lr = float(learner.rates.values[column])
        self.measured = {name: float(of[column]) for name, of in learner.measured.items()}

    @property
    def alone(self) -> bool:
        """Whether it is the only run, whose messages are shown."""
        return self.learner.runs == 1 and self.trainer.is_global_zero

    def trainable(self) -> Parameters:
        """Return the parameters that are trained, detached."""
        return {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}

    def objective_at(
        self, parameters: Parameters, x: Float[Tensor, "B F"], y: Tensor
    ) -> Float[Tensor, ""]:
        """Return the objective at other weights than the model's own, as a function of them."""
        loss = self.loss(functional_call(self.model, parameters, (x,)), y)
        if self.penalty != Penalty():
            weights = [p for p in parameters.values() if p.ndim > 1]
            loss = loss + penalty(weights, self.penalty.l1, self.penalty.l2)
        return loss

    def optimizer_state(self) -> dict[str, Mapping[str, Any]]:
        """Return what the optimizer keeps of each trained parameter, by its name."""
        kept = self.learner.kernel.state(self.column)["optimizer"]["state"]
        names = [name for name, _ in self.model.named_parameters()]
        return {name: kept.get(i, {}) for i, name in enumerate(names) if name in self.trainable()}

    def full_loss(self) -> float:
        return float(self.learner.full_losses()[self.column])


class Measurement(Observer):
    """Measures off the clock, with the model in evaluation mode, and leaves no trace in training.

    Written for one run; each run of a stack has an instance of its own. The recorder gives each
    of `metrics` a column.

    Args:
        every_n_epochs: measure after each n-th epoch.
    """

    phase = Phase.MEASURE
    metrics: tuple[str, ...] = ()

    def __init__(self, every_n_epochs: int = 1) -> None:
        self.every_n_epochs = every_n_epochs

    @abstractmethod
    def measure(self, run: RunView) -> dict[str, float]:
        """Return values by metric name; one that does not exist here is left out."""

    def begin(self, learner: Learner) -> None:
        """Measure the start of new runs."""
        if learner.step == 0:
            self._take(learner, np.arange(len(learner.live)))

    def epoch(self, learner: Learner, columns: Int[np.ndarray, " a"]) -> None:
        """Measure after an epoch."""
        if learner.epoch % self.every_n_epochs == 0 or learner.is_last:
            self._take(learner, columns)

    def _take(self, learner: Learner, columns: Int[np.ndarray, " a"]) -> None:
        values = {name: np.full(len(learner.live), np.nan) for name in self.metrics}
        there = {name: np.zeros(len(learner.live), dtype=bool) for name in self.metrics}
        with learner.evaluating(), torch.enable_grad():
            for column in columns:
                run = RunView(learner, int(column))
                finite = all(bool(p.isfinite().all()) for p in run.model.parameters())
                if not finite:  # it has no curvature, and the divergence callback says so
                    continue
                for name, value in self._of(run.run).measure(run).items():
                    values[name][column], there[name][column] = value, True
        for name, known in there.items():
            if known.any():
                learner.measured[name] = values[name]
                if not known.all():
                    learner.absent[name] = ~known

    def _of(self, run: int) -> Measurement:
        """Return a run's own instance, made when it is first asked for."""
        if not hasattr(self, "_by_run"):
            self._by_run: dict[int, Measurement] = {}
        if run not in self._by_run:
            own = self._by_run[run] = copy.copy(self)
            del own._by_run
        return self._by_run[run]

    def state_of(self, learner: Learner, run: int) -> dict[str, Any]:
        """Return the state of a run's own instance."""
        return self._of(run).state_dict()

    def load_of(self, run: int, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self._of(run).load_state_dict(dict(state))
