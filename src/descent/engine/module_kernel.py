"""One run: any module and any optimizer of torch's kind, directly or through Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from descent.data.tensors import Chunks
from descent.engine.averaging import Averaging
from descent.engine.compiling import Compiler, Objective
from descent.engine.losses import Criterion, Penalty, penalized, penalty
from descent.engine.noise import set_streams, streams
from descent.engine.rates import Rates, Track
from descent.engine.schedules import Schedule
from descent.engine.stepping import Clip, DirectStepper, LightningStepper, make_stepper
from descent.seeds import NOISE, stream_seed
from descent.shapes import Float, Int

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

Parameters = dict[str, Tensor]  # by name


class ModuleKernel:
    """A single run.

    Args:
        model: maps [B, F] to [B, C].
        criterion: the loss.
        optimizer: makes an optimizer from parameters.
        schedule: of the learning rate.
        penalty: added to the loss.
        clip: of gradients.
        seed: of the noise stream.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        optimizer: Callable[..., torch.optim.Optimizer],
        schedule: Schedule,
        penalty: Penalty,
        clip: Clip,
        seed: int,
    ) -> None:
        self.module, self.criterion = model, criterion
        self._placed: list[nn.Parameter] = []  # the parameters of a place
        self.penalty, self.clip, self.seed = penalty, clip, seed
        self._make_optimizer, self._schedule = optimizer, schedule
        self._penalized = penalized(model) if penalty != Penalty() else []
        self.rates: Rates
        self.stepper: DirectStepper | LightningStepper
        self._objective: Objective = self.objective
        self.averaging: Averaging | None = None  # the weights it is judged by, while it trains
        self.compiler: Compiler | None = None
        self._learner: Any = None
        self._training: Parameters | None = None  # where a run goes on from, if not from those

    def configure(self) -> Any:
        """Build the optimizer and its schedule; the learner steps both by hand."""
        self.optimizer = self._make_optimizer(self.module.parameters())
        track = Track(self.optimizer, self._schedule)
        self.rates = Rates([track], [0])
        schedule = {
            "scheduler": track.scheduler, "interval": track.interval, "monitor": track.monitor,
        }  # fmt: skip
        return {"optimizer": self.optimizer, "lr_scheduler": schedule}

    def bind(self, module: LightningModule, step: int) -> None:
        """Choose the way of stepping; begin the noise stream."""
        self.stepper, self._learner = make_stepper(module.trainer, module, self.clip), module
        if module.trainer.world_size > 1:
            rank, world = module.global_rank, module.trainer.world_size
            self._objective = lambda x, y: self.rank_objective(x, y, rank, world)
        self.averaging = Averaging(module.trainer, module, self.module)
        self.averaging.begin(self._training)
        torch.manual_seed(stream_seed(self.seed, NOISE))

    def configure_alone(self) -> None:
        """Get ready for steps without a trainer, as one of several in a loop."""
        self.configure()
        self.stepper = DirectStepper(self.optimizer, self.clip)

    def bind_alone(self) -> None:
        """Begin as one of several in a loop."""
        nobody: Any = SimpleNamespace(
            callbacks=[], optimizers=[self.optimizer], validating=False, global_step=0,
            save_checkpoint=None,
        )  # fmt: skip
        self.averaging = Averaging(nobody, nobody, self.module)
        self.averaging.begin(self._training)

    # ---- what is minimized

    def objective(self, x: Float[Tensor, "B F"], y: Tensor) -> Float[Tensor, ""]:
        """Return the mini-batch loss that is minimized, penalties included."""
        loss = self.criterion(self.module(x), y)
        if self._penalized:
            loss = loss + penalty(self._penalized, self.penalty.l1, self.penalty.l2)
        return loss

    def rank_objective(
        self, x: Float[Tensor, "B F"], y: Tensor, rank: int, world: int
    ) -> Float[Tensor, ""]:
        """Return this rank's share of the objective: the mean over ranks is the objective.

        Every rank sees the whole batch and takes each world_size-th row of it, so that several
        devices take the same steps as one.
        """
        mine = slice(rank, None, world) if rank < len(x) else slice(0, 1)
        share = len(x[mine]) * world / len(x) if rank < len(x) else 0.0
        loss = self.criterion(self.module(x[mine]), y[mine]) * share
        if self._penalized:
            loss = loss + penalty(self._penalized, self.penalty.l1, self.penalty.l2)
        return loss

    # ---- steps

    def batches(
        self, x: Float[Tensor, "S KB F"], y: Tensor, size: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Cut a window of one seed into its batches."""
        if self.compiler is not None and self._learner is not None:
            self._objective = self.compiler.window(self._objective, self._learner)
        return zip(x[0].split(size), y[0].split(size), strict=True)

    def step(
        self, x: Float[Tensor, "B F"], y: Tensor, lr: np.ndarray, measure: bool
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""] | None]:
        """Take a step at the optimizer's own lr."""
        self.stepper.clear()
        loss = self._objective(x, y)
        norm = self.stepper.step(loss, measure)
        return loss.detach(), norm

    # ---- evaluation

    def judged(self) -> AbstractContextManager[None]:
        """Hold the weights to judge by in the model."""
        if self.averaging is None or not self.averaging.may_differ:
            return nullcontext()
        return self.averaging.judged()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Hold the model in evaluation mode, at the weights to judge by."""
        training = self.module.training
        self.module.eval()
        try:
            with self.judged():
                yield
        finally:
            self.module.train(training)

    def piece(self, x: Float[Tensor, "n F"]) -> int:
        """Return how many rows make 64 MiB."""
        return Chunks(x, x).rows

    def outputs(
        self, x: Float[Tensor, "n F"], weights: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "A n C"]:
        if weights is None:
            made: Tensor = self.module(x)
        else:
            made = functional_call(self.module, {n: t[0] for n, t in weights.items()}, (x,))
        return made.unsqueeze(0)

    def penalties(self) -> Float[Tensor, " A"]:
        """Return the penalty."""
        return penalty(self._penalized, self.penalty.l1, self.penalty.l2).reshape(1)

    # ---- weights and states

    def place(self) -> Float[Tensor, "A P"]:
        """Return the trained parameters to judge by as one row, copied."""
        if not self._placed:  # once: a callback may freeze some, or let them go, on the way
            self._placed = [p for p in self.module.parameters() if p.requires_grad]
        with self.judged():
            return torch.cat([p.detach().reshape(-1) for p in self._placed]).unsqueeze(0)

    def tensors(self) -> Parameters:
        """Return parameters and buffers, [1, ...] each."""
        return {n: t.detach().unsqueeze(0) for n, t in self.module.state_dict().items()}

    def model(self, column: int) -> nn.Module:
        return self.module

    def options(self, column: int) -> tuple[type[torch.optim.Optimizer], Mapping[str, Any]]:
        """Return the optimizer's class and its first group."""
        return type(self.optimizer), self.optimizer.param_groups[0]

    def keep(self, columns: Int[Tensor, " a"]) -> None:
        """Keep the only run there is."""

    def state(self, column: int) -> dict[str, Any]:
        """Return weights, optimizer and torch's own streams.

        Where the weights that answer are not those that train, the latter are `training_weights`.
        """
        device = next(self.module.parameters()).device
        assert self.averaging is not None
        with self.averaging.switched():
            training = self.averaging.training_weights()
            weights, optimizer = self.module.state_dict(), self.optimizer.state_dict()
            if training is not None:
                weights = {name: t.clone() for name, t in weights.items()}
        rng, cuda_rng = streams(device)
        return {
            "weights": weights,
            "optimizer": optimizer,
            "training_weights": training,
            "rng": rng,
            "cuda_rng": cuda_rng,
        }

    def load(self, column: int, state: Mapping[str, Any]) -> None:
        """Take weights and optimizer back."""
        self.module.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._training = state["training_weights"]

    def load_streams(self, column: int, state: Mapping[str, Any]) -> None:
        """Take the streams back; a run that moves to another kind of device begins its anew."""
        device = next(self.module.parameters()).device
        set_streams((state["rng"], state["cuda_rng"] if device.type == "cuda" else None), device)
