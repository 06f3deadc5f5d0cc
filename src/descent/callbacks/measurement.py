"""When a diagnostic is taken: before training, after every n-th epoch and after the last."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from descent.engine.learner import Learner
from descent.engine.losses import Penalty, penalty
from descent.engine.observer import Observer, Phase
from descent.engine.stacked_kernel import StackedKernel
from descent.shapes import Float, Int

Parameters = dict[str, Tensor]  # by name


MOST_KEPT = 2**22  # numbers in the widest layer, over all rows and runs, that are kept at once


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

    def optimizer_state(self) -> dict[str, Mapping[str, Any]]:
        """Return what the optimizer keeps of each trained parameter, by its name."""
        kept = self.learner.kernel.state(self.column)["optimizer"]["state"]
        names = [name for name, _ in self.model.named_parameters()]
        return {name: kept.get(i, {}) for i, name in enumerate(names) if name in self.trainable()}

    def full_loss(self) -> float:
        return float(self.learner.full_losses()[self.column])


class StackView:
    """Runs as a measurement looks at all of them at once: some of a stack, or any one.

    Args:
        learner: of all.
        columns: theirs; a single one where the kernel is not that of a stack.
    """

    def __init__(self, learner: Learner, columns: Int[np.ndarray, " a"]) -> None:
        self.learner, self.columns, self.runs = learner, columns, learner.live[columns]
        self.rows, self.lead = learner.rows, (len(columns),)
        self._model = learner.kernel.model(int(columns[0]))
        own = dict(self._model.named_parameters())
        names = [n for n, p in own.items() if p.requires_grad]
        self._constants: Parameters = {}
        if len(columns) == 1:
            self.parameters = {n: own[n].detach().unsqueeze(0) for n in names}  # [a, ...]
        else:
            at = torch.from_numpy(columns)
            tensors = {n: t[at.to(t.device)] for n, t in learner.kernel.tensors().items()}
            self.parameters = {n: tensors.pop(n) for n in names}
            self._constants = tensors
        each, like = [learner.penalties[run] for run in self.runs], next(iter(own.values()))
        self._l1, self._l2 = (like.new_tensor([p.l1 for p in each]),
                              like.new_tensor([p.l2 for p in each]))  # fmt: skip
        self._penalized = any(one != Penalty() for one in each)

    def outputs_at(self, parameters: Parameters, x: Float[Tensor, "B F"]) -> Float[Tensor, "a B C"]:
        """Return the outputs at other weights than the models' own."""
        if len(self.columns) == 1:
            only = {n: t[0] for n, t in parameters.items()}
            made: Tensor = functional_call(self._model, only, (x,))
            return made.unsqueeze(0)
        return self.learner.kernel.outputs(x, {**parameters, **self._constants})

    def objective_at(
        self, parameters: Parameters, x: Float[Tensor, "B F"], y: Tensor
    ) -> Float[Tensor, " a"]:
        """Return each run's objective at other weights, as a function of them."""
        wanted = y.expand(*self.lead, *y.shape)
        loss = self.learner.kernel.criterion.each(self.outputs_at(parameters, x), wanted)
        if self._penalized:
            weights = [p for p in parameters.values() if p.ndim > 2]
            loss = loss + penalty(weights, self._l1, self._l2)
        return loss


class Measurement(Observer):
    """Measures off the clock, with the model in evaluation mode, and leaves no trace in training.

    Written for one run (`measure`), or for any number at once (`measure_all`), of which one alone
    is the first. Each run has an instance of its own, which keeps its state. The recorder gives
    each of `metrics` a column.

    Args:
        every_n_epochs: measure after each n-th epoch.
    """

    phase = Phase.MEASURE
    metrics: tuple[str, ...] = ()

    def __init__(self, every_n_epochs: int = 1) -> None:
        self.every_n_epochs = every_n_epochs

    def measure(self, run: RunView) -> dict[str, float]:
        """Return values by metric name; one that does not exist here is left out."""
        raise NotImplementedError

    def measure_all(self, stack: StackView) -> dict[str, Float[np.ndarray, " a"]]:
        """Return the same of some runs, NaN for left out."""
        each = []
        for column in stack.columns:  # a kernel may have one model, at the weights of one run
            run = RunView(stack.learner, int(column))
            each.append(self._of(run.run).measure(run))
        return {name: np.array([one.get(name, np.nan) for one in each]) for name in self.metrics}

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
            finite = learner.kernel.place().isfinite().all(dim=1).cpu().numpy()
            # a lost run has no curvature, and the divergence callback says so
            for part in self._parts(learner, columns[finite[columns]]):
                for name, found in self.measure_all(StackView(learner, part)).items():
                    values[name][part], there[name][part] = found, ~np.isnan(found)
        for name, known in there.items():
            if known.any():
                learner.measured[name] = values[name]
                if not known.all():
                    learner.absent[name] = ~known

    def _parts(
        self, learner: Learner, columns: Int[np.ndarray, " a"]
    ) -> Iterator[Int[np.ndarray, " b"]]:
        """Cut runs into as many as are measured at once: what they keep then fits in memory.

        Runs that train in turn have modules of their own, and are measured one by one.
        """
        x, _ = learner.rows("train")
        widest = max([x.shape[1], *(p.shape[1] for p in learner.kernel.tensors().values()
                                    if p.ndim > 1)])  # fmt: skip
        stacked = isinstance(learner.kernel, StackedKernel)
        most = max(1, MOST_KEPT // (len(x) * widest)) if stacked else 1
        for at in range(0, len(columns), most):
            yield columns[at : at + most]

    def _of(self, run: int) -> Self:
        """Return a run's own instance, made when it is first asked for."""
        if not hasattr(self, "_by_run"):
            self._by_run: dict[int, Self] = {}
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
