"""The stream that steps draw from, of each run its own, and what dropout draws in a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from descent.engine.stacked_model import StackedModel
from descent.seeds import NOISE, stream_seed
from descent.shapes import Float

Streams = tuple[Tensor, Tensor | None]  # states of torch's own, of the CPU and of a GPU


def begun(seed: int, device: torch.device) -> Streams:
    """Return where a run's streams begin."""
    number = stream_seed(seed, NOISE)
    rng = torch.Generator().manual_seed(number).get_state()
    if device.type != "cuda":
        return rng, None
    return rng, torch.Generator(device).manual_seed(number).get_state()


def streams(device: torch.device) -> Streams:
    """Return the states of torch's own streams."""
    return torch.get_rng_state(), (
        torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    )


def set_streams(states: Streams, device: torch.device) -> None:
    """Go on drawing from these states; a GPU's stays as it is where there is none."""
    torch.set_rng_state(states[0])
    if states[1] is not None:
        torch.cuda.set_rng_state(states[1], device)


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
        self._device = self._like.device
        self._states = [begun(seed, self._device) for seed in seeds]

    def masks(self, rows: int) -> dict[str, Float[Tensor, "A B H"]]:
        """Draw what each dropout layer multiplies a batch by, for every run."""
        if not self._layers:
            return {}
        drawn: dict[str, list[Tensor]] = {name: [] for name, _, _ in self._layers}
        ones = {
            name: torch.ones(rows, width, dtype=self._like.dtype, device=self._like.device)
            for name, _, width in self._layers
        }
        before = streams(self._device)
        for i, own in enumerate(self._states):
            set_streams(own, self._device)
            for name, share, _ in self._layers:
                drawn[name].append(functional.dropout(ones[name], share))
            self._states[i] = streams(self._device)
        set_streams(before, self._device)
        return {name: torch.stack(masks) for name, masks in drawn.items()}

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
        if cuda_rng is not None and state["cuda_rng"] is not None:
            cuda_rng = state["cuda_rng"]
        self._states[column] = (state["rng"], cuda_rng)
