"""R runs in turn: for optimizers without a rule and for modules that do not stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from descent.engine.kernel import seed_batches
from descent.engine.module_kernel import ModuleKernel
from descent.engine.noise import begun, set_streams, streams
from descent.engine.rates import Rates
from descent.engine.stacked_model import repeated
from descent.shapes import Float, Int

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule


class LoopKernel:
    """Runs that share data, trainer and records; each step is taken by one after the other.

    Args:
        kernels: of each run; their models are moved and must be nobody else's.
        device: where to.
    """

    def __init__(self, kernels: Sequence[ModuleKernel], device: torch.device) -> None:
        self._kernels, self._device = list(kernels), device
        self.criterion = kernels[0].criterion
        for kernel in kernels:
            kernel.module.to(device)
            kernel.configure_alone()
        tracks = [kernel.rates.track(0) for kernel in kernels]
        self.rates = Rates(tracks, range(len(tracks)))
        self._streams = [begun(kernel.seed, device) for kernel in kernels]

    def configure(self) -> None:
        """Leave Lightning without an optimizer: there are R."""

    def bind(self, module: LightningModule, step: int) -> None:
        """Begin with each."""
        for kernel in self._kernels:
            kernel.bind_alone()

    batches = staticmethod(seed_batches)

    def step(
        self, x: Float[Tensor, "S B F"], y: Tensor, lr: np.ndarray, measure: bool
    ) -> tuple[Float[Tensor, " A"], Float[Tensor, " A"] | None]:
        """Take a step with each."""
        runs = len(self._kernels)
        xs, ys = repeated(x, runs), repeated(y, runs)
        with self._drawing():
            made = []
            for i, kernel in enumerate(self._kernels):
                with self._stream(i):
                    made.append(kernel.step(xs[i], ys[i], lr, measure))
        losses, norms = zip(*made, strict=True)
        return torch.stack(losses), torch.stack(norms) if measure else None

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Leave torch's own streams as they were."""
        before = streams(self._device)
        try:
            yield
        finally:
            set_streams(before, self._device)

    @contextmanager
    def _stream(self, column: int) -> Iterator[None]:
        """Draw from a run's own streams."""
        set_streams(self._streams[column], self._device)
        yield
        self._streams[column] = streams(self._device)

    # ---- evaluation

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Hold the weights to judge by in all models."""
        with ExitStack() as held:
            for kernel in self._kernels:
                held.enter_context(kernel.judged())
            yield

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Hold all models in evaluation mode, at the weights to judge by."""
        with ExitStack() as held:
            for kernel in self._kernels:
                held.enter_context(kernel.evaluating())
            yield

    def piece(self, x: Float[Tensor, "n F"]) -> int:
        """Return how many rows make 64 MiB."""
        return self._kernels[0].piece(x)

    def outputs(
        self, x: Float[Tensor, "n F"], weights: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "A n C"]:
        if weights is None:
            return torch.cat([kernel.outputs(x) for kernel in self._kernels])
        runs = len(next(iter(weights.values())))
        rows = [{name: t[i : i + 1] for name, t in weights.items()} for i in range(runs)]
        return torch.cat([self._kernels[0].outputs(x, row) for row in rows])

    def penalties(self) -> Float[Tensor, " A"]:
        """Return each run's penalty."""
        return torch.cat([kernel.penalties() for kernel in self._kernels])

    # ---- weights and states

    def place(self) -> Float[Tensor, "A P"]:
        """Return each run's parameters as one row, copied."""
        return torch.cat([kernel.place() for kernel in self._kernels])

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and buffers, [A, ...], by name."""
        each = [kernel.tensors() for kernel in self._kernels]
        return {name: torch.cat([own[name] for own in each]) for name in each[0]}

    def model(self, column: int) -> nn.Module:
        """Return a run's model."""
        return self._kernels[column].module

    def options(self, column: int) -> tuple[type[torch.optim.Optimizer], Mapping[str, Any]]:
        """Return a run's optimizer and its first group."""
        return self._kernels[column].options(0)

    def keep(self, columns: Int[Tensor, " a"]) -> None:
        """Let go of all other runs."""
        kept = columns.tolist()
        self._kernels = [self._kernels[i] for i in kept]
        self._streams = [self._streams[i] for i in kept]

    def state(self, column: int) -> dict[str, Any]:
        """Return what a run alone would keep."""
        rng, cuda_rng = self._streams[column]
        return {**self._kernels[column].state(0), "rng": rng, "cuda_rng": cuda_rng}

    def load(self, column: int, state: Mapping[str, Any]) -> None:
        """Take weights and optimizer back."""
        self._kernels[column].load(0, state)

    def load_streams(self, column: int, state: Mapping[str, Any]) -> None:
        """Take a run's streams back."""
        _, cuda_rng = self._streams[column]
        self._streams[column] = (state["rng"], None if cuda_rng is None else state["cuda_rng"])
