"""`last.ckpt` to continue from, `best.ckpt` for the lowest validation loss.

The best weights are kept in memory and written together with `last.ckpt`, because writing two
files after every epoch would cost a small model more than the epoch. The runs of a stack that is
still training are saved at one moment, so that they can go on together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from descent.engine.learner import Learner
from descent.engine.observer import Observer, Phase
from descent.engine.state import going_on, state_of
from descent.files.atomic import clear_parts, make_directory, replacing, together
from descent.metrics import AUTO, MIN, settled_mode
from descent.records.endings import Status
from descent.shapes import Int

SHARE = 0.03  # of the time, at most, for checkpoints that are not due yet


def save(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint."""
    with replacing(path) as file:
        torch.save(state, file)


class _WholeFiles(TorchCheckpointIO):
    """Lightning's own way to read a checkpoint, and ours to write one: for callbacks of others."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        make_directory(Path(path).parent)
        save(checkpoint, Path(path))


class Checkpoint(Observer):
    """Saves now and then, at the end, and when a signal asks the run to stop.

    Args:
        run_dirs: the run directories; files go to their `checkpoints/`.
        every_seconds: save when this long has passed since the last time; 0 for every epoch.
        monitor: metric that decides which weights are best.
        mode: `min`, `max`, or `auto` for the metric's own direction.
    """

    phase = Phase.KEEP

    def __init__(
        self,
        run_dirs: Sequence[str | Path],
        every_seconds: float = 30.0,
        monitor: str = "val/loss",
        mode: str = AUTO,
    ) -> None:
        self.dirs = [Path(path) / "checkpoints" for path in run_dirs]
        self.every_seconds, self.monitor = every_seconds, monitor
        self._sign = 1 if settled_mode(monitor, mode) == MIN else -1
        runs = len(self.dirs)
        self._value = np.full(runs, np.nan)  # of the best epoch; NaN for none yet, [R]
        self._step, self._epoch = np.zeros((2, runs), dtype=np.int64)  # of the best epoch
        self._metrics: dict[str, np.ndarray] = {}  # [R], of the best epoch
        self._absent: dict[str, np.ndarray] = {}
        self._weights: dict[str, Tensor] = {}  # [R, ...], of the best epoch
        self._restored: dict[int, Mapping[str, Any]] = {}
        self._written = {"best": np.full(runs, -1), "last": np.full(runs, -1)}  # steps of files
        self._saved_at = time.monotonic()  # all runs that were there
        self._took = math.inf  # seconds to save one

    def begin(self, learner: Learner) -> None:
        """Make the directories; take back the best epochs of runs that go on."""
        if learner.trainer.is_global_zero:
            with together():
                for path in self.dirs:
                    make_directory(path)
                    clear_parts(path)
        learner.trainer.strategy.checkpoint_io = _WholeFiles()
        for run, best in self._restored.items():
            self._take_up(learner, run, best)
        self._restored = {}
        if learner.restored is not None:  # the files that all go on from
            self._written["last"][:] = learner.step
        self._saved_at = time.monotonic()

    def _take_up(self, learner: Learner, run: int, best: Mapping[str, Any]) -> None:
        self._value[run] = best["value"]
        self._step[run], self._epoch[run] = best["step"], best["epoch"]
        for name, value in best["metrics"].items():
            self._metrics.setdefault(name, np.full(len(self.dirs), np.nan))[run] = value
        self._room(learner)
        for name, t in best["state_dict"].items():
            kept = self._weights[name.removeprefix("model.")]
            kept[run] = t.to(kept)

    def _room(self, learner: Learner) -> None:
        """Make room for the best weights of all runs."""
        tensors = learner.kernel.tensors()
        if self._weights.keys() != tensors.keys():  # at first, and where a callback renamed some
            self._weights = {
                name: t.new_empty((len(self.dirs), *t.shape[1:])) for name, t in tensors.items()
            }

    def epoch(self, learner: Learner, columns: Int[np.ndarray, " a"]) -> None:
        """Keep the runs that are better than ever."""
        if self.monitor not in learner.measured:
            return
        runs, values = learner.live[columns], learner.measured[self.monitor][columns]
        best = self._value[runs]
        better = ~np.isnan(values) & (np.isnan(best) | (self._sign * values < self._sign * best))
        if better.any():
            self._keep_best(learner, runs[better], columns[better])

    def _keep_best(
        self, learner: Learner, runs: Int[np.ndarray, " a"], columns: Int[np.ndarray, " a"]
    ) -> None:
        """Keep figures and weights of this moment."""
        self._value[runs] = learner.measured[self.monitor][columns]
        self._step[runs], self._epoch[runs] = learner.step, learner.epoch
        for name, measured in learner.measured.items():
            kept = self._metrics.setdefault(name, np.full(len(self.dirs), np.nan))
            kept[runs] = measured[columns]
        for name, mask in learner.absent.items():
            lacking = self._absent.setdefault(name, np.zeros(len(self.dirs), dtype=bool))
            lacking[runs] = mask[columns]
        self._room(learner)
        whole = len(runs) == len(self.dirs)  # the columns are in order
        with learner.kernel.judged():
            for name, t in learner.kernel.tensors().items():
                to = self._weights[name]
                if whole:
                    to.copy_(t)
                else:
                    at = torch.from_numpy(columns).to(t.device)
                    to[torch.from_numpy(runs).to(t.device)] = t[at]

    def changed(self, learner: Learner) -> None:
        """Keep weights that were changed when training had ended: they are what was asked for."""
        runs = learner.live[[self.has_best(int(run)) for run in learner.live]]
        if len(runs) and self.monitor in learner.measured:
            self._keep_best(learner, runs, learner.columns(runs.tolist()))
        self._written = {name: np.full(len(self.dirs), -1) for name in self._written}

    def has_best(self, run: int) -> bool:
        """Whether a run has had a best epoch."""
        return not np.isnan(self._value[run])

    def best(self, run: int) -> dict[str, Any] | None:
        """Return a run's best epoch with its weights, as `best.ckpt` has them."""
        if not self.has_best(run):
            return None
        there = {
            name: float(values[run]) for name, values in self._metrics.items()
            if not (name in self._absent and self._absent[name][run])
        }  # fmt: skip
        return {
            "value": float(self._value[run]),
            "step": int(self._step[run]),
            "epoch": int(self._epoch[run]),
            "metrics": there,
            "state_dict": {f"model.{n}": t[run].detach().cpu().clone() for n, t in
                           self._weights.items()},
        }  # fmt: skip

    def best_weights(self, runs: Sequence[int]) -> dict[str, Tensor]:
        """Return the weights of the best epochs of runs that have one, [r, ...]."""
        rows = torch.tensor(list(runs))
        return {name: t[rows.to(t.device)] for name, t in self._weights.items()}

    # ---- when to save

    def rest(self, learner: Learner) -> None:
        """Save when it is time."""
        if self._is_due(learner):
            self._save_runs(learner, learner.live.tolist())
            self._saved_at = time.monotonic()

    def _is_due(self, learner: Learner) -> bool:
        due = time.monotonic() - self._saved_at >= self.every_seconds
        return due and (self.every_seconds > 0 or learner.steps_in_epoch == 0)

    def halfway(self, learner: Learner, runs: Sequence[int]) -> None:
        """Save a run that ends within an epoch now, before the records get the row of that half.

        Continued, it will have the rows of a run that never stopped.
        """
        self._save_ends(learner, runs)

    def ended(self, learner: Learner, runs: Sequence[int]) -> None:
        """Save the ends of runs that may go on."""
        if not learner.aborted:
            for run in self._save_ends(learner, runs):
                self._save_best(learner, run)

    def _save_ends(self, learner: Learner, runs: Sequence[int]) -> list[int]:
        """Save those of some runs that may go on, and with them the runs that stay; return them.

        Saved at an earlier step, those would go on from there without columns that were beside
        theirs then, and products over fewer columns may have other last bits.
        """
        kept = [run for run in runs if _goes_on(learner, run)]
        if kept == list(runs) and self._may_save(learner):
            self._save_runs(learner, learner.live.tolist())
            self._saved_at = time.monotonic()
        self._save_runs(learner, kept)
        return kept

    def _may_save(self, learner: Learner) -> bool:
        """Whether it is time to save all runs, or takes little of it."""
        since = time.monotonic() - self._saved_at
        return since >= self.every_seconds or self._took * len(learner.live) <= SHARE * since

    def _save_runs(self, learner: Learner, runs: Sequence[int]) -> None:
        """Save runs that were not saved at this step."""
        late = [run for run in runs if self._written["last"][run] != learner.step]
        if not late:
            return
        began = time.monotonic()
        with learner.clock.paused(), together():
            abreast = going_on(learner)
            for run in late:
                self._save_best(learner, run)
                state = state_of(learner, run, abreast)
                if learner.trainer.is_global_zero:
                    save(state, self.dirs[run] / "last.ckpt")
                self._written["last"][run] = learner.step
        self._took = (time.monotonic() - began) / len(late)

    def _save_best(self, learner: Learner, run: int) -> None:
        best = None if self._written["best"][run] == self._step[run] else self.best(run)
        if best is not None and learner.trainer.is_global_zero:
            save(best, self.dirs[run] / "best.ckpt")
            self._written["best"][run] = best["step"]

    def state_of(self, learner: Learner, run: int) -> dict[str, Any]:
        """Return the best weights so far: a resumed run must not lose them."""
        return {"best": self.best(run)}

    def load_of(self, run: int, state: Mapping[str, Any]) -> None:
        """Take them back."""
        if state["best"] is not None:
            self._restored[run] = state["best"]


def _goes_on(learner: Learner, run: int) -> bool:
    """Whether a run may be continued from its end."""
    return learner.endings[run].status in (Status.OK, Status.INTERRUPTED)
