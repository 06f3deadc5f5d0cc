"""What dropout draws: from each run's own stream, as a single run would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from descent.engine.stacked_model import StackedModel
from descent.seeds import NOISE, stream_seed
from descent.shapes import Float

Streams = tuple[Tensor, Tensor | None]  # of the CPU, and of a GPU


class Noise:
    """The noise streams of R runs.

    Args:
        seeds: of each run.
        model: whose dropout layers draw.
    """

    def __init__(self, seeds: Sequence[int], model: StackedModel) -> None:
        self._like = next(iter(model.parameters.values()))
        self._layers = [
            (name, model.dropout_of(name), model.width_before(name)) for name in model.dropouts
        ]
        self._on_gpu = self._like.device.type == "cuda"
        self._states = [_begun(seed, self._like.device) for seed in seeds]

    def masks(self, rows: int) -> dict[str, Float[Tensor, "A B H"]]:
        """Draw what each dropout layer multiplies a batch by, for every run."""
        if not self._layers:
            return {}
        drawn: dict[str, list[Tensor]] = {name: [] for name, _, _ in self._layers}
        ones = {
            name: torch.ones(rows, width, dtype=self._like.dtype, device=self._like.device)
            for name, _, width in self._layers
        }
        before = self._streams()
        for i, streams in enumerate(self._states):
            self._set(streams)
            for name, share, _ in self._layers:
                drawn[name].append(functional.dropout(ones[name], share))
            self._states[i] = self._streams()
        self._set(before)
        return {name: torch.stack(masks) for name, masks in drawn.items()}

    def _streams(self) -> Streams:
        if not self._on_gpu:
            return torch.get_rng_state(), None
        return torch.get_rng_state(), torch.cuda.get_rng_state(self._like.device)

    def _set(self, streams: Streams) -> None:
        torch.set_rng_state(streams[0])
        if streams[1] is not None:
            torch.cuda.set_rng_state(streams[1], self._like.device)

    def keep(self, columns: Sequence[int]) -> None:
        """Go on with some of the runs only."""
        self._states = [self._states[i] for i in columns]

    def state(self, column: int) -> dict[str, Tensor | None]:
        """Return a run's streams, for a checkpoint."""
        rng, cuda_rng = self._states[column]
        return {"rng": rng.clone(), "cuda_rng": cuda_rng}

    def load(self, column: int, state: Mapping[str, Any]) -> None:
        """Take a run's streams back."""
        cuda_rng = self._states[column][1]
        if self._on_gpu and state["cuda_rng"] is not None:
            cuda_rng = state["cuda_rng"]
        self._states[column] = (state["rng"], cuda_rng)


def _begun(seed: int, device: torch.device) -> Streams:
    number = stream_seed(seed, NOISE)
    rng = torch.Generator().manual_seed(number).get_state()
    if device.type != "cuda":
        return rng, None
    return rng, torch.Generator(device).manual_seed(number).get_state()
