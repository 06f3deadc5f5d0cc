"""The batches of R runs: those of each seed once, shared by the runs that have it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from descent.data.windows import Windows
from descent.shapes import Shaped


class StackedWindows:
    """The windows of several seeds side by side.

    Args:
        make: the windows of a seed.
        seeds: of each run; runs of one seed are neighbours.
        shared: whether all seeds see the same batches (rows taken as they lie, none augmented).
    """

    def __init__(
        self, make: Callable[[int], Windows], seeds: Sequence[int], shared: bool = False
    ) -> None:
        self._make, self._shared = make, shared
        self._by_seed: dict[int, Windows] = {}
        self.keep(seeds)

    def keep(self, seeds: Sequence[int]) -> None:
        """Go on with some of the runs only: their seeds."""
        wanted = [0] if self._shared else list(seeds)
        self._by_seed = {s: self._by_seed.get(s) or self._make(s) for s in dict.fromkeys(wanted)}
        counts = Counter(wanted)
        even = len(set(counts.values())) == 1
        # runs can only share a batch in equal numbers; else each run has a copy of its own
        order = {seed: i for i, seed in enumerate(self._by_seed)}
        self._copies = None if even else torch.tensor([order[s] for s in wanted])

    @property
    def first(self) -> Windows:
        """The windows of one seed: sizes are those of all."""
        return next(iter(self._by_seed.values()))

    def epoch(self, epoch: int) -> Iterator[tuple[Shaped[Tensor, "S KB F"], Tensor]]:
        """Yield features [S, K * B, F] and targets [S, K * B, ...] of each window of an epoch."""
        for windows in self._by_seed.values():
            windows.epoch, windows.done = epoch, 0
        for together in zip(*self._by_seed.values(), strict=True):
            parts = [window.tensors() for window in together]
            if len(parts) == 1:
                yield parts[0][0].unsqueeze(0), parts[0][1].unsqueeze(0)
                continue
            x, y = (torch.stack(column) for column in zip(*parts, strict=True))
            if self._copies is not None:
                copies = self._copies.to(x.device)
                x, y = x.index_select(0, copies), y.index_select(0, copies)
            yield x, y
