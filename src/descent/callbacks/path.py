"""Records the parameters as they move: path.npz, for pictures of paths and of weights over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as Directory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descent.engine.learner import Learner
from descent.engine.observer import Observer, Phase
from descent.records.pathfile import Trajectory, parameter_names, read_path, write_path
from descent.shapes import Float, Int

LEAST_POINTS = 32  # a path of fewer would not show anything


def places(points: int, most_mib: float, size: int) -> int:
    """Return how many places of so many bytes a path keeps; 0 where it is not worth having."""
    most = min(points, int(most_mib * 2**20) // size)
    return most if most >= LEAST_POINTS else 0


class Path(Observer):
    """Keeps the parameters after every n-th step; n doubles whenever the path is full.

    Costs a copy of the parameters at a kept step (about 5 us), and memory up to its limits. A
    model too large for `LEAST_POINTS` places within `most_mib` leaves no path.

    Args:
        run_dirs: the run directories; the file is written at checkpoints and at the end.
        points: keep at most this many places.
        most_mib: keep at most this many MiB.
    """

    phase = Phase.RECORD

    def __init__(
        self, run_dirs: Sequence[str | Directory], points: int = 2000, most_mib: float = 4.0
    ) -> None:
        self.dirs = [Directory(path) for path in run_dirs]
        self.points, self.most_mib = points, most_mib
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._live = np.empty(0, dtype=np.int64)  # the run in each column, at the latest place
        self._rows: dict[int, tuple[np.ndarray, Tensor]] = {}  # by step: runs [A], places [A, P]
        self._stride, self._most = 1, 0
        self._ends: dict[int, np.ndarray] = {}
        self._joined_at: tuple[Any, list[tuple[np.ndarray, np.ndarray, Tensor]]] | None = None

    def begin(self, learner: Learner) -> None:
        """Begin the paths, or take them up where the runs left them."""
        model = learner.kernel.model(0)
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self._most = places(self.points, self.most_mib, sum(p.nbytes for _, p in named))
        if not learner.trainer.is_global_zero or not self._most:
            return
        self._shapes = {n: tuple(p.shape) for n, p in named}
        self._live, self._place = learner.live, learner.kernel.place
        self._take_up(learner.step)
        self._watch(learner.step)
        learner.watchers.append(self._watch)

    def _take_up(self, step: int) -> None:
        """Read the places before `step` that runs without a break would have kept."""
        kept = [read_path(path) for path in self.dirs] if step else []
        there = [path for path in kept if path is not None]
        if not there or len(there) < len(kept):
            return
        while self._stride * self._most <= step:
            self._stride *= 2
        for at in there[0].steps.tolist():
            if at < step and at % self._stride == 0:
                rows = [path.theta[np.searchsorted(path.steps, at)] for path in there]
                self._rows[at] = (self._live, torch.from_numpy(np.stack(rows)))

    def _watch(self, step: int) -> None:
        """Keep the parameters if this step is due."""
        if step % self._stride:
            return
        if step >= self._stride * self._most:
            self._stride *= 2
            self._rows = {s: row for s, row in self._rows.items() if s % self._stride == 0}
            if step % self._stride:
                return
        self._rows[step] = (self._live, self._place())

    def ended(self, learner: Learner, runs: Sequence[int]) -> None:
        """Write the paths of runs that have ended, and their ends."""
        if not self._shapes:
            return
        end = self._place()
        for run in runs:
            last = int(learner.endings[run].figures.get("step", learner.step))
            path = self._path(run, last, end[learner.column(run)] if last == learner.step else None)
            if path is not None:
                self._ends[run] = path.theta[-1]
                write_path(self.dirs[run], path)

    def changed(self, learner: Learner) -> None:
        """Let the path end at weights that were changed after the last step."""
        self._rows.pop(learner.step, None)

    def keep(self, columns: Int[np.ndarray, " a"]) -> None:
        """Go on with some columns only."""
        if self._shapes:
            self._live = self._live[columns]

    def last(self, run: int, most: int) -> dict[str, float]:
        """Return a run's last parameters by name; none where there are more, or no path is kept."""
        end = self._ends.get(run)
        if end is None or len(end) > most:
            return {}
        return dict(zip(parameter_names(self._shapes), end.tolist(), strict=True))

    def _path(self, run: int, last: int, end: Float[Tensor, " P"] | None) -> Trajectory | None:
        """Return a run's path up to a step, with its end where that is known."""
        steps, parts = [], []
        for runs, kept, theta in self._joined():
            at = np.flatnonzero(runs == run)
            if len(at):
                count = int(np.searchsorted(kept, last, side="right"))
                steps.append(kept[:count])
                parts.append(theta[:count, at[0]])
        if end is not None and not (steps and len(steps[-1]) and steps[-1][-1] == last):
            steps.append(np.array([last], dtype=np.int64))
            parts.append(end.cpu().unsqueeze(0))
        if not steps:
            return None
        theta = torch.cat([part.to(parts[-1].dtype) for part in parts])
        theta = theta if theta.dtype == torch.float64 else theta.float()
        return Trajectory(np.concatenate(steps), theta.numpy(), self._shapes)

    def _joined(self) -> list[tuple[np.ndarray, np.ndarray, Tensor]]:
        """Return runs [A], steps [n] and places [n, A, P] for each set of runs, in their order."""
        known = (len(self._rows), max(self._rows, default=-1), self._stride)
        if self._joined_at is None or self._joined_at[0] != known:
            made = []
            for runs in {id(runs): runs for runs, _ in self._rows.values()}.values():
                own = {s: theta for s, (of, theta) in self._rows.items() if of is runs}
                kept = np.array(list(own), dtype=np.int64)
                made.append((runs, kept, torch.stack([t.cpu() for t in own.values()])))
            self._joined_at = (known, made)
        return self._joined_at[1]

    def state_of(self, learner: Learner, run: int) -> dict[str, Any]:
        """Write the path: a checkpoint is continued with the file beside it."""
        if not self._shapes or run in self._ends:
            return {}
        path = self._path(run, learner.step, None)
        if path is not None:
            write_path(self.dirs[run], path)
        return {}
