"""What dropout draws: from each run's own stream, as a single run would."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from descent.seeds import NOISE, stream_seed
from descent.shapes import Float
from descent.stack.stacking import StackedModel


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
        self._states = [_begun(seed) for seed in seeds]

    def masks(self, rows: int, runs: Sequence[int]) -> dict[str, Float[Tensor, "A B H"]] | None:
        """Draw what each dropout layer multiplies a batch by, for some of the runs."""
        if not self._layers:
            return None
        drawn: dict[str, list[Tensor]] = {name: [] for name, _, _ in self._layers}
        before = torch.get_rng_state()
        for run in runs:
            torch.set_rng_state(self._states[run])
            for name, share, width in self._layers:
                ones = torch.ones(rows, width, dtype=self._like.dtype)
                drawn[name].append(functional.dropout(ones, share))
            self._states[run] = torch.get_rng_state()
        torch.set_rng_state(before)
        return {name: torch.stack(masks).to(self._like.device) for name, masks in drawn.items()}

    def state(self, run: int) -> Tensor:
        """Return a run's stream, for a checkpoint."""
        return self._states[run].clone()


def _begun(seed: int) -> Tensor:
    return torch.Generator().manual_seed(stream_seed(seed, NOISE)).get_state()
