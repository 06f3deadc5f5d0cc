"""R runs of one shape in lockstep: by hand-written derivatives, or by vmap and autograd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from descent.config.check import flatten
from descent.data.prepare import Description
from descent.data.tensors import Chunks
from descent.engine.blueprint import build_optimizer, build_schedule, make_optimizer
from descent.engine.fused import Fused
from descent.engine.graphs import Capture, StepGraphs, asks_for_graphs, captured
from descent.engine.grouping import why_autograd
from descent.engine.imports import without_compiler
from descent.engine.kernel import seed_batches
from descent.engine.losses import criterion
from descent.engine.noise import Noise
from descent.engine.objective import Objective
from descent.engine.rates import Rates, Track
from descent.engine.stacked_model import StackedModel
from descent.engine.stacked_optim import RULES, Number, common
from descent.shapes import Float, Int

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

Config = Mapping[str, Any]
# Numbers in the widest layer at a time: measured, twice as fast as with rows in one piece, because
# the outputs of a layer are still in the cache when the next one wants them.
PIECE = 2**18
LEAST_ROWS = 64


class StackedKernel:
    """Runs that differ only in numbers.

    Args:
        configs: of each run; runs of one seed are neighbours.
        models: of each run, at their start; runs may share one.
        data: what all are trained on.
        device: where to.
    """

    def __init__(
        self,
        configs: Sequence[Config],
        models: Sequence[nn.Module],
        data: Description,
        device: torch.device,
    ) -> None:
        self._stack = StackedModel(models, device)
        options = [config["optimizer"] for config in configs]
        rule = RULES[options[0]["_target_"]]
        like = next(iter(self._stack.parameters.values())).detach()
        self.criterion = criterion(configs[0], data)
        self._objective = Objective(self.criterion, self._stack, configs, like)
        self._fused: Fused | None = None
        if why_autograd(configs[0], models[0]) is None:
            self._fused = Fused(self._stack, self._objective, rule, options)
        self._parameters = list(self._stack.parameters.values())
        self._rule = self._fused.rule if self._fused else rule(self._parameters, options)
        self._noise = Noise([config["seed"] for config in configs], self._stack)
        self.rates = _rates(configs, data)
        self._lr: tuple[np.ndarray | None, Number] = (None, 0.0)
        self.graphs: StepGraphs | None = None
        asked = configs[0]["trainer"].get("graphs", "auto")
        self._asks_for_graphs = asks_for_graphs(asked, device, configs[0]["trainer"]["precision"])

    def configure(self) -> None:
        """Leave Lightning without an optimizer: it has none for R runs."""

    def bind(self, module: LightningModule, step: int) -> None:
        """Set the count of steps, which corrections for a start at zero go by."""
        self._rule.steps = step
        self.bind_alone()

    def bind_alone(self) -> None:
        """Get ready for steps, without a trainer."""
        if self._asks_for_graphs:
            self.use_graphs()

    def use_graphs(self, capture: Capture = captured) -> None:
        """Replay steps from now on, by CUDA or what stands for it."""
        self.graphs = StepGraphs(self._take, self._rule, capture)

    batches = staticmethod(seed_batches)

    def step(
        self, x: Float[Tensor, "S B F"], y: Tensor, lr: Float[np.ndarray, " A"], measure: bool
    ) -> tuple[Float[Tensor, " A"], Float[Tensor, " A"] | None]:
        if self._lr[0] is not lr:
            each = torch.from_numpy(lr)
            number = common(each) if self.graphs is None else each
            if isinstance(number, Tensor):
                number = number.to(self._parameters[0])
            self._lr = (lr, number)
        masks, number = self._noise.masks(x.shape[1]), self._lr[1]
        if self.graphs is not None and isinstance(number, Tensor):
            return self.graphs.step(x, y, number, masks, measure)
        return self._take(x, y, number, masks, measure)

    def _take(
        self, x: Tensor, y: Tensor, lr: Number, masks: Mapping[str, Tensor], measure: bool
    ) -> tuple[Float[Tensor, " A"], Float[Tensor, " A"] | None]:
        if self._fused is not None:
            return self._fused(x, y, lr, masks, measure)
        loss = self._objective(self._stack(x, dict(masks)), y)
        found = torch.autograd.grad(loss.sum(), self._parameters)
        with torch.no_grad():
            gradients, norm = self._objective.clipped(found, measure)
            self._rule.step(gradients, lr)
        return loss.detach(), norm

    # ---- evaluation

    def judged(self) -> AbstractContextManager[None]:
        """Leave the weights as they are: no rule of a stack has others to judge by."""
        return nullcontext()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Hold the model in evaluation mode."""
        self._stack.train(False)
        try:
            yield
        finally:
            self._stack.train(True)

    def piece(self, x: Float[Tensor, "n F"]) -> int:
        """Return how many rows keep a layer's outputs in the cache; those of 64 MiB for one run."""
        if self._stack.in_a_row:
            return Chunks(x, x).rows
        widest = max(x.shape[1], *(p.shape[1] for p in self._parameters if p.ndim > 1))
        return max(LEAST_ROWS, PIECE // (self._stack.runs * widest))

    def outputs(
        self, x: Float[Tensor, "n F"], weights: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "A n C"]:
        """Return the outputs; a single run's come from its own model, to the last digit."""
        if not self._stack.in_a_row:
            return self._stack(x.unsqueeze(0), weights=weights)
        if weights is None:
            return self._stack.skeleton(x).unsqueeze(0)
        row = {name: t[0] for name, t in weights.items()}
        return functional_call(self._stack.skeleton, row, (x,)).unsqueeze(0)

    def penalties(self) -> Float[Tensor, " A"]:
        """Return each run's penalty."""
        return self._objective.penalty()

    # ---- weights and states

    def place(self) -> Float[Tensor, "A P"]:
        """Return each run's parameters as one row, copied."""
        return torch.cat([p.detach().flatten(1) for p in self._parameters], dim=1)

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and constants, [A, ...], in the order of the model's `state_dict`."""
        both = self._stack.tensors()
        return {name: both[name].detach() for name in self._stack.names}

    def model(self, column: int) -> nn.Module:
        """Return the one module that there is, at a run's weights."""
        if self._stack.in_a_row:
            return self._stack.skeleton
        self._stack.skeleton.load_state_dict(self._stack.state_of(column))
        return self._stack.skeleton

    def options(self, column: int) -> tuple[type[torch.optim.Optimizer], Mapping[str, Any]]:
        """Return a run's optimizer and its options, with torch's defaults and the present lr."""
        group = self.rates.track(column).optimizer.param_groups[0]
        return self._rule.torch_class, group

    def keep(self, columns: Int[Tensor, " a"]) -> None:
        """Let go of all other columns."""
        at = columns.to(self._parameters[0].device)
        self._stack.keep(at)
        self._parameters = list(self._stack.parameters.values())
        self._objective.keep(at)
        self._noise.keep(columns.tolist())
        self._lr = (None, 0.0)
        if self._fused is not None:
            self._fused.keep(at)
        else:
            self._rule.keep(self._parameters, at)
        if self.graphs is not None:
            self.graphs.forget()

    def state(self, column: int) -> dict[str, Any]:
        """Return what a run alone would keep, as torch's optimizers have it."""
        # not from `state_dict()`, which torch guards by its compiler: a second's import
        (options,) = self.rates.track(column).optimizer.param_groups
        group = {name: value for name, value in options.items() if name != "params"}
        group["params"] = list(range(len(self._parameters)))  # last, as torch has it
        return {
            "weights": self._stack.state_of(column),
            "optimizer": {"state": self._rule.state(column), "param_groups": [group]},
            **self._noise.state(column),
        }

    def load(self, column: int, state: Mapping[str, Any]) -> None:
        """Take weights and optimizer back."""
        self._stack.load(column, state["weights"])
        self._rule.load(column, state["optimizer"]["state"])

    def load_streams(self, column: int, state: Mapping[str, Any]) -> None:
        """Take the stream back."""
        self._noise.load(column, state)


def _rates(configs: Sequence[Config], data: Description) -> Rates:
    """Return the tracks of runs, on a parameter that nobody needs; runs of one recipe share one."""
    tracks: list[Track] = []
    of: list[int] = []
    known: dict[Any, int] = {}
    for config in configs:
        key = tuple((k, str(v)) for g in ("optimizer", "scheduler") for k, v in
                    flatten({g: config[g]}))  # fmt: skip
        at = known.get(key)
        if at is None or tracks[at].watches:
            at = known[key] = len(tracks)
            with without_compiler():
                optimizer = make_optimizer(build_optimizer(config), [nn.Parameter(torch.zeros(1))])
                tracks.append(Track(optimizer, build_schedule(config, data)))
            optimizer._opt_called = True  # as torch's schedules ask
        of.append(at)
    return Rates(tracks, of)
