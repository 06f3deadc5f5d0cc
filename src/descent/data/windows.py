"""Windows: K consecutive mini-batches handed over in one Lightning call.

The order of an epoch is a pure function of (seed, epoch). A shuffled window is one gather of its
rows, made when it is used; a sequential one is a view. The data are therefore held once, plus
one window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from descent.data.augment import Augment
from descent.data.prepare import steps_per_epoch
from descent.seeds import AUGMENT, ORDER, stream_seed
from descent.shapes import Int, Shaped

MOST_STEPS = 64
MOST_BYTES = 64 * 2**20


class Window:
    """K batches in a row; their rows are gathered when `batches` is called, not before.

    A plain class, so that Lightning's walks through batches (device, precision) pass it by.
    """

    __slots__ = ("_change", "_rows", "_span", "_x", "_y", "batch_size")

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        rows: Tensor | None,
        span: slice,
        batch_size: int,
        change: Callable[[Tensor, slice], Tensor] | None = None,
    ) -> None:
        self._x, self._y, self._rows, self._span = x, y, rows, span
        self.batch_size, self._change = batch_size, change

    def tensors(self) -> tuple[Shaped[Tensor, "KB F"], Shaped[Tensor, "KB ..."]]:
        """Return the window's features [K * B, F] and targets [K * B, ...]."""
        if self._rows is None:
            x, y = self._x[self._span], self._y[self._span]
        else:
            rows = self._rows[self._span]
            x, y = self._x.index_select(0, rows), self._y.index_select(0, rows)
        return (x, y) if self._change is None else (self._change(x, self._span), y)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the batches in order, as views into the window."""
        x, y = self.tensors()
        return zip(x.split(self.batch_size), y.split(self.batch_size), strict=True)


def window_steps(given: int | str, batch_size: int, row_bytes: int, steps_per_epoch: int) -> int:
    """Return K: as given, or as large as 64 steps, the epoch and 64 MiB allow."""
    if given != "auto":
        return max(1, min(int(given), steps_per_epoch))
    by_memory = MOST_BYTES // max(batch_size * row_bytes, 1)
    return max(1, min(MOST_STEPS, steps_per_epoch, by_memory))


class Windows:
    """The training rows, epoch by epoch, in windows of K mini-batches.

    It has no length on purpose: Lightning reads a length once, and an epoch continued halfway has
    fewer windows than the next.

    Args:
        x: [N, F] features on the training device.
        y: [N, ...] targets beside them.
        batch_size: B, at most N.
        order: `shuffle`, `sequential` or `with_replacement`.
        drop_last: leave out a short last batch.
        steps: K, or `auto`.
        seed: of the order stream.
        cut: no window crosses a multiple of this many steps of the run; None for no such cuts.
        augment: changes the features of each row anew in each epoch; None leaves them alone.
        single: hand over batches (x, y), one by one, in place of windows.
    """

    def __init__(
        self,
        x: Shaped[Tensor, "N F"],
        y: Shaped[Tensor, "N ..."],
        *,
        batch_size: int,
        order: str = "shuffle",
        drop_last: bool = False,
        steps: int | str = "auto",
        seed: int = 0,
        cut: int | None = None,
        augment: Augment | None = None,
        single: bool = False,
    ) -> None:
        self.x, self.y, self.augment, self.single = x, y, augment, single
        self.batch_size, self.order, self.seed, self.cut = batch_size, order, seed, cut
        rows = len(x)
        self.steps_per_epoch = steps_per_epoch(rows, batch_size, drop_last)
        self.rows_per_epoch = min(rows, self.steps_per_epoch * batch_size)
        row_bytes = x[:1].nbytes + y[:1].nbytes
        self.steps = window_steps(
            1 if single else steps, batch_size, row_bytes, self.steps_per_epoch
        )
        self._generator = torch.Generator()
        self.epoch = 0
        self.done = 0  # steps of this epoch that are behind us, when a run is continued halfway

    def __iter__(self) -> Iterator[Window | tuple[Tensor, Tensor]]:
        """Yield this epoch's windows, from `done` steps on."""
        for window in self._windows():
            yield next(window.batches()) if self.single else window

    def _windows(self) -> Iterator[Window]:
        rows, size, change = self._order(), self.batch_size, self._change()
        for first, last in self._bounds():
            span = slice(first * size, min(last * size, self.rows_per_epoch))
            yield Window(self.x, self.y, rows, span, size, change)

    def batch_rows(self, first: int, count: int) -> list[int]:
        """Return the rows of each of `count` batches from step `first` (from 0) of an epoch."""
        sizes = [self.batch_size] * count
        over = (first + count) * self.batch_size - self.rows_per_epoch
        if over > 0:
            sizes[-1] -= over
        return sizes

    def _bounds(self) -> Iterator[tuple[int, int]]:
        """Yield (first, last + 1) step of each window, counted within the epoch."""
        first, before = self.done, self.epoch * self.steps_per_epoch
        while first < self.steps_per_epoch:
            last = min(first + self.steps, self.steps_per_epoch)
            if self.cut is not None:
                last = min(last, first + self.cut - (before + first) % self.cut)
            yield first, last
            first = last

    def _change(self) -> Callable[[Tensor, slice], Tensor] | None:
        """Return what augments a span of this epoch's rows.

        Drawn for the epoch at once and from its own stream, so that neither K nor a break in
        mid-epoch makes a difference.
        """
        if self.augment is None:
            return None
        generator = torch.Generator().manual_seed(stream_seed(self.seed, AUGMENT, self.epoch))
        augment = self.augment
        draws = augment.draw(self.rows_per_epoch, generator).to(self.x)
        return lambda x, span: augment(x, draws[span])

    def _order(self) -> Int[Tensor, " N"] | None:
        """Return this epoch's row numbers, or None where rows are taken as they lie."""
        rows = len(self.x)
        if self.order == "sequential" or (self.order == "shuffle" and self.batch_size >= rows):
            return None
        generator = self._generator.manual_seed(stream_seed(self.seed, ORDER, self.epoch))
        if self.order == "shuffle":
            picked = torch.randperm(rows, generator=generator)
        else:
            picked = torch.randint(rows, (rows,), generator=generator)
        return picked.to(self.x.device)


class SeedWindow:
    """The windows of several seeds over the same steps, gathered when `tensors` is called."""

    __slots__ = ("_by_seed", "_owner")

    def __init__(self, owner: SeedWindows, by_seed: dict[int, Window]) -> None:
        self._owner, self._by_seed = owner, by_seed

    def tensors(self) -> tuple[Shaped[Tensor, "S KB F"], Shaped[Tensor, "S KB ..."]]:
        """Return features and targets for the runs that are there now.

        S = 1 for what all share, else the runs are S equal groups of neighbours.
        """
        parts = [self._by_seed[seed].tensors() for seed in self._owner.present]
        if len(parts) == 1:
            x, y = parts[0]
            return x.unsqueeze(0), y.unsqueeze(0)
        x, y = (torch.stack(column) for column in zip(*parts, strict=True))
        copies = self._owner.copies
        if copies is None:
            return x, y
        copies = copies.to(x.device)
        return x.index_select(0, copies), y.index_select(0, copies)


class SeedWindows:
    """The windows of R runs: those of each seed once, side by side.

    Args:
        make: the windows of a seed.
        seeds: of each run; runs of one seed are neighbours.
        shared: whether all seeds see the same batches (rows taken as they lie, none augmented).
    """

    def __init__(
        self, make: Callable[[int], Windows], seeds: Sequence[int], shared: bool = False
    ) -> None:
        self._shared = seeds[0] if shared else None  # the seed that stands for all
        self._by_seed = {seed: make(seed) for seed in dict.fromkeys(self._wanted(seeds))}
        self.first = next(iter(self._by_seed.values()))  # sizes are those of all
        self.epoch = 0
        self.done = 0  # steps of this epoch that are behind us
        self.keep(seeds)

    def _wanted(self, seeds: Sequence[int]) -> list[int]:
        return list(seeds) if self._shared is None else [self._shared]

    def keep(self, seeds: Sequence[int]) -> None:
        """Go on with some of the runs only: their seeds."""
        wanted = self._wanted(seeds)
        self.present = list(dict.fromkeys(wanted))
        counts = Counter(wanted)
        # runs can only share a batch in equal numbers; else each run has a copy of its own
        even = len(set(counts.values())) == 1
        order = {seed: i for i, seed in enumerate(self.present)}
        self.copies = None if even else torch.tensor([order[s] for s in wanted])

    @property
    def steps_per_epoch(self) -> int:
        """Of every seed."""
        return self.first.steps_per_epoch

    @property
    def batch_size(self) -> int:
        """Rows per step."""
        return self.first.batch_size

    @property
    def order(self) -> str:
        """How rows are drawn."""
        return self.first.order

    @property
    def single(self) -> bool:
        """Whether batches are handed over one by one."""
        return self.first.single

    def batch_rows(self, first: int, count: int) -> list[int]:
        """Return the rows of each of `count` batches from step `first` (from 0) of an epoch."""
        return self.first.batch_rows(first, count)

    def state_dict(self) -> dict[str, int]:
        """Return nothing: Lightning asks who could go on, and the learner says where."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take nothing back."""

    def __iter__(self) -> Iterator[SeedWindow | tuple[Tensor, Tensor]]:
        """Yield this epoch's windows, from `done` steps on, or a single run's batches (x, y)."""
        mine = {seed: self._by_seed[seed] for seed in self.present}
        for windows in mine.values():
            windows.epoch, windows.done = self.epoch, self.done
        if self.single:
            yield from self.first  # type: ignore[misc]
            return
        for together in zip(*mine.values(), strict=True):
            yield SeedWindow(self, dict(zip(mine, together, strict=True)))
