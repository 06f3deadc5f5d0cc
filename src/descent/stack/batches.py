"""The batches of R runs: those of each seed once, shared by the runs that have it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from descent.data.augment import Augment
from descent.data.prepare import Prepared
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


def stacked_windows(
    configs: Sequence[Mapping[str, Any]], prepared: Prepared, train: tuple[Tensor, Tensor]
) -> StackedWindows:
    """Return the windows of runs that differ in nothing about their data but the seed.

    Args:
        configs: of each run.
        prepared: the data.
        train: features and targets of the training rows.
    """
    options, image = configs[0]["data"], prepared.arrays.image
    change = None
    if image is not None and any(options["augment"].values()):
        change = Augment(image, prepared.scaler, **options["augment"])
    full = configs[0]["callbacks"].get("full_loss")

    def make(seed: int) -> Windows:
        return Windows(
            *train, batch_size=prepared.batch_size, order=options["order"],
            drop_last=options["drop_last"], steps=options["window"], seed=seed,
            cut=full["every_n_steps"] if full else None, augment=change,
        )  # fmt: skip

    whole = prepared.batch_size >= len(train[0]) and options["order"] == "shuffle"
    same = (whole or options["order"] == "sequential") and change is None
    return StackedWindows(make, [config["seed"] for config in configs], shared=same)
