"""Records the parameters as they move: path.npz, for pictures of paths and of weights over time."""

from __future__ import annotations

from pathlib import Path as Directory
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from descent.learner import Learner
from descent.recording.path import Trajectory, parameter_names, read_path, write_path

LEAST_POINTS = 32  # a path of fewer would not show anything


class Path(Callback):
    """Keeps the parameters after every n-th step; n doubles whenever the path is full.

    Costs a copy of the parameters at a kept step (about 5 us), and memory up to its limits. A
    model too large for `LEAST_POINTS` places within `most_mib` leaves no path.

    Args:
        run_dir: the run directory; the file is written at checkpoints and at the end.
        points: keep at most this many places.
        most_mib: keep at most this many MiB.
    """

    def __init__(self, run_dir: str | Directory, points: int = 2000, most_mib: float = 4.0) -> None:
        self.dir, self.points, self.most_mib = Directory(run_dir), points, most_mib
        self._parameters: list[Tensor] = []
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._rows: dict[int, Tensor] = {}  # by step
        self._stride = 1
        self._known = 0  # the last step whose loss was reported

    def last(self, most: int) -> dict[str, float]:
        """Return the latest parameters by name; none where there are more, or no path is kept."""
        if not self._rows or len(self._rows[max(self._rows)]) > most:
            return {}
        values = self._rows[max(self._rows)].tolist()
        return dict(zip(parameter_names(self._shapes), values, strict=True))

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Begin the path, or take it up where a run left it."""
        named = [(n, p) for n, p in pl_module.model.named_parameters() if p.requires_grad]
        size = sum(p.nbytes for _, p in named)
        self._most = min(self.points, int(self.most_mib * 2**20) // size)
        if not trainer.is_global_zero or self._most < LEAST_POINTS:
            return
        self._parameters, self._judged = [p for _, p in named], pl_module.averaging.judged
        self._shapes = {n: tuple(p.shape) for n, p in named}
        self._known = pl_module.global_step
        self._take_up(pl_module.global_step)
        self._watch(pl_module.global_step)
        pl_module.watchers.append(self._watch)

    def _take_up(self, step: int) -> None:
        """Read the places before `step` that a run without a break would have kept."""
        kept = read_path(self.dir) if step else None
        if kept is None:
            return
        while self._stride * self._most <= step:
            self._stride *= 2
        due = (kept.steps < step) & (kept.steps % self._stride == 0)
        rows = torch.from_numpy(kept.theta[due])
        self._rows = dict(zip(kept.steps[due].tolist(), rows, strict=True))

    def _watch(self, step: int) -> None:
        """Keep the parameters if this step is due."""
        if step % self._stride:
            return
        if step >= self._stride * self._most:
            self._stride *= 2
            self._rows = {s: row for s, row in self._rows.items() if s % self._stride == 0}
            if step % self._stride:
                return
        self._rows[step] = self._place()

    def _place(self) -> Tensor:
        with self._judged():
            return torch.cat([p.detach().reshape(-1) for p in self._parameters])

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Forget places behind a step whose loss was lost."""
        if not self._shapes:
            return
        self._known = outputs["first"] + len(outputs["losses"])
        if self._known < pl_module.global_step:
            self._rows = {s: row for s, row in self._rows.items() if s <= self._known}

    def on_train_end(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Write the path and its end."""
        self._finish(pl_module.global_step)

    def end_again(self, step: int) -> None:
        """Let the path end at weights that were changed after the last step."""
        if self._rows and step in self._rows:
            self._rows[step] = self._place()
            self._write()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Write what there is of a diverged or interrupted run."""
        self._finish(pl_module.global_step)

    def _finish(self, step: int) -> None:
        if self._shapes and step == self._known:
            self._rows.setdefault(step, self._place())
        self._write()

    def _write(self) -> None:
        if self._rows:
            theta = torch.stack([row.cpu() for row in self._rows.values()])
            theta = theta if theta.dtype == torch.float64 else theta.float()
            steps = np.array(list(self._rows), dtype=np.int64)
            write_path(self.dir, Trajectory(steps, theta.numpy(), self._shapes))

    def state_dict(self) -> dict[str, Any]:
        """Write the path: a checkpoint is continued with the file beside it."""
        self._write()
        return {}
