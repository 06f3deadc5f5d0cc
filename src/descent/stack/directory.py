"""A stacked run's directory: what a single run leaves, written when the run has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from descent.endings import Status
from descent.outcome import MOST_WEIGHTS, Figures, after, before, few_weights, hyperparameters
from descent.recording.axes import FULL_LOSS, RUNNING_LOSS, Series
from descent.recording.events import EventLog
from descent.recording.journal import Journal
from descent.recording.path import write_path
from descent.recording.points import thinning
from descent.runs import BEST, LAST, Run, config_text, data_text
from descent.stack.checkpoint import best_state, last_checkpoint
from descent.stack.engine import Stack
from descent.stack.finished import Finished

EVENTS = "descent.recording.logger.EventFileLogger"


class Directories:
    """Writes the directories of a stack's runs.

    Args:
        stack: whose runs they are.
        paths: of each run.
        overrides: of each run, to repeat it by.
        described: what `data.json` holds.
        device: as results name it.
    """

    def __init__(
        self,
        stack: Stack,
        paths: Sequence[Path],
        overrides: Sequence[Sequence[str]],
        described: Mapping[str, Any],
        device: str,
    ) -> None:
        self._stack, self._paths = stack, paths
        self._begun = [
            before(config, typed, device)
            for config, typed in zip(stack.configs, overrides, strict=True)
        ]
        self._described = data_text(described)
        metrics = [RUNNING_LOSS, FULL_LOSS, *stack.evaluator.names("val")]
        self._metrics, self._finals = metrics, [*metrics, *stack.evaluator.names("test")]

    def write(self, done: Finished) -> dict[str, Any]:
        """Write everything about a run that has ended; return its result."""
        config = self._stack.configs[done.run]
        run = Run(self._paths[done.run])
        (run.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        for old in run.path.glob("events.out.tfevents.*"):  # of a sweep that was killed
            old.unlink()
        run.write_texts(config_text(config), self._described)
        result = self._result(done)
        events = None
        if any(node and node["_target_"] == EVENTS for node in (config["logger"] or {}).values()):
            events = EventLog(run.path, 0, hyperparameters(config), self._finals)
        positions = self._write_tables(run.path, done, events)
        if done.ending.status is Status.OK and config["callbacks"].get("checkpoint"):
            self._write_checkpoints(run, done, positions)
        if done.path is not None:
            write_path(run.path, done.path)
        if events is not None:
            events.add_finals(result["metrics"], result["step"])
            events.close()
        run.write_result(result)
        return result

    def _result(self, done: Finished) -> dict[str, Any]:
        best = done.best
        last: dict[str, float] = {}
        if done.path is not None and done.path.theta.shape[1] <= MOST_WEIGHTS:
            last = dict(zip(done.path.names, done.path.theta[-1].tolist(), strict=True))
        figures = Figures(
            step=done.step,
            epoch=done.epoch,
            samples=done.samples,
            seconds=done.seconds,
            metrics={k: v for k, v in (done.epochs[-1] if done.epochs else {}).items() if "/" in k}
            | dict(done.tested),
            weights=few_weights(last, self._stack.model.skeleton, self._stack.data),
            best=None if best is None else vars(best),
        )
        return after(self._begun[done.run], done.ending, figures)

    def _write_tables(self, path: Path, done: Finished, events: EventLog | None) -> dict[str, Any]:
        """Write tables and series; return the positions that the last checkpoint stands at."""
        stack, config = self._stack, self._stack.configs[done.run]

        def log(series: Series) -> None:
            if events is not None:
                events.add(series)

        journal = Journal(path, self._metrics, log, {"steps": 0, "epochs": 0})
        recorder, stop = config["callbacks"]["recorder"], config["stop"]
        per_epoch = stack.windows.first.steps_per_epoch
        limits = [n for n in (stop["steps"], stop["epochs"] and stop["epochs"] * per_epoch) if n]
        journal.thin = thinning(
            min(limits), per_epoch, recorder["points"], recorder["grad_norm_every"],
            stack.tracks[done.run].interval == "step",
        )  # fmt: skip
        for block in done.blocks:
            journal.add_steps(block)
        rows = done.epochs
        halfway = bool(done.in_epoch)  # a single run is saved before the row of half an epoch
        for row in rows[:-1] if halfway else rows:
            journal.add_epoch(row)
        journal.flush(last=not halfway)
        positions = {
            "positions": {**journal.positions, "events": events.position if events else 0},
            "full_loss_at": journal.full_loss_at,
        }
        if halfway:
            journal.add_epoch(rows[-1])
            journal.flush(last=True)
        journal.close()
        return positions

    def _write_checkpoints(self, run: Run, done: Finished, positions: dict[str, Any]) -> None:
        validates = bool(self._stack.evaluator.names("val"))
        _save(last_checkpoint(done, positions, validates), run.checkpoint_path(LAST))
        if done.best is not None:
            _save(best_state(done.best), run.checkpoint_path(BEST))


def _save(state: Mapping[str, Any], path: Path) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)
