"""What every step and epoch of R runs was: gathered as vectors over the runs, read run by run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descent.recording.path import Trajectory
from descent.recording.points import StepBlock
from descent.shapes import Float


@dataclass(frozen=True)
class WindowFigures:
    """A window's K steps for the A runs that took them.

    Args:
        columns: of each of these runs in what follows.
        losses, lrs: [K, A].
        rows: of each batch, [K].
        epoch: from 1.
        seconds: each run's share of the training time after each step, [K].
        times: wall times, [K].
        norms: gradient norms [A] by step.
    """

    columns: Mapping[int, int]
    losses: np.ndarray
    lrs: np.ndarray
    rows: np.ndarray
    epoch: int
    seconds: np.ndarray
    times: np.ndarray
    norms: dict[int, np.ndarray]


class History:
    """The windows of a stack, and each run's rows of epochs.csv."""

    def __init__(self, runs: int) -> None:
        self._windows: list[WindowFigures] = []
        self._first: list[int] = [0]  # steps before each window
        self.samples = 0
        self.epochs: list[list[dict[str, Any]]] = [[] for _ in range(runs)]
        self.full_within: list[dict[int, float]] = [{} for _ in range(runs)]
        self.norm: list[float | None] = [None] * runs  # the latest of each run

    @property
    def steps(self) -> int:
        """Taken so far."""
        return self._first[-1]

    def add(self, window: WindowFigures) -> None:
        """Take a window's figures."""
        self._windows.append(window)
        self._first.append(self.steps + len(window.losses))
        self.samples += int(window.rows.sum())
        if window.norms:
            last = window.norms[max(window.norms)]
            for run, column in window.columns.items():
                self.norm[run] = float(last[column])

    def blocks(self, run: int, steps: int) -> list[StepBlock]:
        """Return a run's first steps, cut where its full loss was measured between epochs."""
        whole = self._whole(run, steps)
        cuts = sorted({s for s in self.full_within[run] if s <= steps} | {steps})
        made, done = [], 0
        for cut in cuts:
            span = slice(done, cut)
            made.append(
                StepBlock(
                    **{name: column[span] for name, column in whole.items()},
                    norms={s: n for s, n in self._norms(run) if done < s <= cut},
                    full_loss=self.full_within[run].get(cut),
                )
            )
            done = cut
        return made

    def _whole(self, run: int, steps: int) -> dict[str, np.ndarray]:
        mine = [(w, w.columns[run]) for w in self._windows if run in w.columns]
        columns = {
            "loss": np.concatenate([w.losses[:, c] for w, c in mine]),
            "lr": np.concatenate([w.lrs[:, c] for w, c in mine]),
            "epoch": np.concatenate([np.full(len(w.losses), w.epoch) for w, _ in mine]),
            "samples": np.cumsum(np.concatenate([w.rows for w, _ in mine])),
            "seconds": np.concatenate([w.seconds for w, _ in mine]),
            "time": np.concatenate([w.times for w, _ in mine]),
        }
        columns["step"] = 1 + np.arange(len(columns["loss"]))
        return {name: column[:steps] for name, column in columns.items()}

    def _norms(self, run: int) -> list[tuple[int, float]]:
        return [
            (step, float(values[w.columns[run]]))
            for w in self._windows if run in w.columns
            for step, values in w.norms.items()
        ]  # fmt: skip

    def epoch_losses(self, run: int, epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return a run's losses and rows in each window of an epoch (from 1)."""
        return [
            (w.losses[:, w.columns[run]], w.rows)
            for w in self._windows if w.epoch == epoch and run in w.columns
        ]  # fmt: skip


class Paths:
    """The parameters of R runs as they move, thinned as `callbacks.path.Path` does.

    Args:
        shapes: of the parameters of one run, by name.
        points: keep at most this many places.
        most_mib: keep at most this many MiB a run.
        item: bytes a number.
    """

    LEAST = 32  # a path of fewer would not show anything

    def __init__(
        self, shapes: dict[str, tuple[int, ...]], points: int, most_mib: float, item: int
    ) -> None:
        self.shapes = shapes
        size = item * sum(int(np.prod(shape)) for shape in shapes.values())
        self._size, self._most = size, min(points, int(most_mib * 2**20) // size)
        self._places: dict[int, tuple[Mapping[int, int], Tensor]] = {}  # by step: columns, [A, P]
        self._stride = 1
        self._cache: tuple[Any, list[tuple[Mapping[int, int], np.ndarray, Tensor]]] | None = None

    @property
    def bytes(self) -> int:
        """Of a run's path, at most."""
        return self._most * self._size if self.kept else 0

    @property
    def kept(self) -> bool:
        """Whether there is a path at all."""
        return self._most >= self.LEAST

    def watch(self, step: int, columns: Mapping[int, int], parameters: Sequence[Tensor]) -> None:
        """Keep the parameters if this step is due."""
        if not self.kept or step % self._stride:
            return
        if step >= self._stride * self._most:
            self._stride *= 2
            self._places = {s: p for s, p in self._places.items() if s % self._stride == 0}
            if step % self._stride:
                return
        self._places[step] = (columns, place(parameters))

    def of(self, run: int, last: int, end: Float[Tensor, " P"] | None) -> Trajectory | None:
        """Return a run's path up to a step, with its end where that is known."""
        if not self.kept:
            return None
        steps, parts = [], []
        for columns, kept, theta in self._joined():
            if run in columns:
                count = int(np.searchsorted(kept, last, side="right"))
                steps.append(kept[:count])
                parts.append(theta[:count, columns[run]])
        if end is not None and not (steps and len(steps[-1]) and steps[-1][-1] == last):
            steps.append(np.array([last], dtype=np.int64))
            parts.append(end.cpu().unsqueeze(0))
        if not steps:
            return None
        theta = torch.cat(parts)
        theta = theta if theta.dtype == torch.float64 else theta.float()
        return Trajectory(np.concatenate(steps), theta.numpy(), self.shapes)

    def _joined(self) -> list[tuple[Mapping[int, int], np.ndarray, Tensor]]:
        """Return the places as one tensor [n, A, P] for each set of runs, with their steps."""
        known = (len(self._places), max(self._places, default=-1))
        if self._cache is None or self._cache[0] != known:
            made = []
            for columns in {id(c): c for c, _ in self._places.values()}.values():
                own = {s: theta for s, (c, theta) in self._places.items() if c is columns}
                kept = np.array(list(own), dtype=np.int64)
                made.append((columns, kept, torch.stack(list(own.values())).cpu()))
            self._cache = (known, made)
        return self._cache[1]


def place(parameters: Sequence[Float[Tensor, "A ..."]]) -> Float[Tensor, "A P"]:
    """Return each run's parameters as one row."""
    return torch.cat([p.detach().flatten(1) for p in parameters], dim=1)
