"""A stacked run's directory: what a single run leaves, written when the run has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from descent.endings import Status
from descent.outcome import MOST_WEIGHTS, Figures, after, before, few_weights, hyperparameters
from descent.recording.atomic import make_directory, replacing, together
from descent.recording.axes import FULL_LOSS, RUNNING_LOSS, Series
from descent.recording.eventfile import Scalars
from descent.recording.events import EventLog
from descent.recording.journal import Journal, flush_all
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
        self._scalars: dict[Any, Scalars] = {}  # runs of a stack share times and steps
        metrics = [RUNNING_LOSS, FULL_LOSS, *stack.evaluator.names("val")]
        self._metrics, self._finals = metrics, [*metrics, *stack.evaluator.names("test")]

    def write(self, ended: Sequence[Finished]) -> list[dict[str, Any]]:
        """Write everything about runs that have ended; return their results."""
        with together():
            begun = [self._begin(done) for done in ended]
            # tables together: to encode one costs nearly as much as to encode all
            flush_all([journal for *_, journal in begun], [not done.in_epoch for done in ended])
            results = [self._end(done, *parts) for done, parts in zip(ended, begun, strict=True)]
        with together():  # a result says that all the rest is on the disk
            for (run, *_), result in zip(begun, results, strict=True):
                run.write_result(result)
        return results

    def _begin(self, done: Finished) -> tuple[Run, EventLog | None, Journal]:
        """Make the directory, and take what its tables get."""
        config, run = self._stack.configs[done.run], Run(self._paths[done.run])
        make_directory(run.path / "checkpoints")
        run.write_texts(config_text(config), self._described)
        events = None
        if any(node and node["_target_"] == EVENTS for node in (config["logger"] or {}).values()):
            events = EventLog(run.path, 0, hyperparameters(config), self._finals, self._scalars)
        journal = self._journal(run.path, done, events)
        for block in done.blocks:
            journal.add_steps(block)
        # a single run is saved before the row of half an epoch
        for row in done.epochs[:-1] if done.in_epoch else done.epochs:
            journal.add_epoch(row)
        return run, events, journal

    def _end(
        self, done: Finished, run: Run, events: EventLog | None, journal: Journal
    ) -> dict[str, Any]:
        """Write the rest but for the result, and return that."""
        result = self._result(done)
        positions = {
            "positions": {**journal.positions, "events": events.position if events else 0},
            "full_loss_at": journal.full_loss_at,
        }
        if done.in_epoch:
            journal.add_epoch(done.epochs[-1])
            journal.flush(last=True)
        journal.close()
        checkpoint = self._stack.configs[done.run]["callbacks"].get("checkpoint")
        if done.ending.status is Status.OK and checkpoint:
            self._write_checkpoints(run, done, positions)
        if done.path is not None:
            write_path(run.path, done.path)
        if events is not None:
            now = done.epochs[-1]["time"] if done.epochs else None
            good = result["status"] == Status.OK
            events.add_finals(result["metrics"], result["step"], good, now)
            events.close()
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

    def _journal(self, path: Path, done: Finished, events: EventLog | None) -> Journal:
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
        return journal

    def _write_checkpoints(self, run: Run, done: Finished, positions: dict[str, Any]) -> None:
        validates = bool(self._stack.evaluator.names("val"))
        _save(last_checkpoint(done, positions, validates), run.checkpoint_path(LAST))
        if done.best is not None:
            _save(best_state(done.best), run.checkpoint_path(BEST))


def _save(state: Mapping[str, Any], path: Path) -> None:
    with replacing(path) as file:
        torch.save(state, file)
