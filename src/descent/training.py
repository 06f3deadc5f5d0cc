"""A job's way from its first line to its last: fit, test, result; see `assembly` for its parts.

Jobs of one shape go together: a single run is a fit of one.
"""

from __future__ import annotations

import logging
import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from descent.assembly import assemble, assemble_all
from descent.callbacks.checkpoint import Checkpoint
from descent.callbacks.path import Path as PathCallback
from descent.callbacks.recorder import Recorder
from descent.cli import EXIT_FAILED
from descent.config.spelling import command_words
from descent.data.module import DataModule
from descent.engine.continuing import read_last
from descent.engine.kernel import Figures
from descent.engine.learner import Learner
from descent.engine.observer import Observer
from descent.errors import UserError, WriteError, first_line, out_of_memory
from descent.files import claims
from descent.files.atomic import clear, make_directory, together
from descent.job import Job
from descent.records import document
from descent.records.endings import Ending, Reason, Status
from descent.records.logger import EventFileLogger
from descent.records.result import (
    MOST_WEIGHTS,
    RunFigures,
    after,
    before,
    few_weights,
    hyperparameters,
    line_of,
    optimized,
)
from descent.records.run import FILES, LAST, RESULT, config_text, data_text
from descent.report.terminal import print_result
from descent.signals import answering, received, unwind

log = logging.getLogger(__name__)

Result = dict[str, Any]


def train(job: Job) -> float | None:
    """Train one run and write its directory.

    Returns:
        The best epoch's value of `optimized_metric`, or None if the run has none.

    Raises:
        UserError: the config asks for something that cannot be built, or the run to continue is
            damaged or being trained in elsewhere.
        SystemExit: 130 or 143 after a signal; the run can be continued.
    """
    learner, data, trainer = assemble(job)
    start = _start(job)
    results: list[Result] = []
    with job.run.lock() if trainer.is_global_zero else nullcontext():
        if not job.resumed and trainer.is_global_zero:
            _check_new(job)
        finisher = Finisher([job], learner, trainer, lambda _, result: results.append(result))

        def last_words(name: str) -> str:
            with suppress(UserError):
                finisher.write_result(0, learner.stopped_by(name))
            return f"stopped by {name}.\n{_go_on(job)}"

        with answering(unwind, last_words):
            try:
                finisher.begin()
                with answering(lambda number: _ask(learner, number)):  # between two steps
                    _fit(learner, data, trainer, start, finisher)
            except BaseException as error:
                told = _broken(job, error, learner, finisher)
                if told is error:
                    raise
                raise told from None
            stopped = _exit()
        (result,) = results
        if trainer.is_global_zero:
            with answering(unwind, "stopped by {}; the run had ended before.".format):
                _show(job, trainer, result)
    if result["status"] == Status.INTERRUPTED:
        document.follow(_resume(job), "go on with the run")
        log.info("%s", _go_on(job))
        raise stopped
    return optimized(result, job.config["optimized_metric"])


def _ask(learner: Learner, number: int) -> None:
    learner.stop_signal = signal.Signals(number).name


def _exit() -> SystemExit:
    """Return what ends the process as shells expect after a signal that came."""
    signalled = received()
    return SystemExit(EXIT_FAILED if signalled is None else signalled.code)


def _go_on(job: Job) -> str:
    return f"Continue with: {_resume(job)}"


def _resume(job: Job) -> str:
    return shlex.join([*command_words("train"), f"resume={job.run.path}"])


def _broken(job: Job, error: BaseException, learner: Learner, finisher: Finisher) -> BaseException:
    """Say in the result what ended a run; return what its command ends with."""
    signalled, told = received(), error
    if signalled is not None:  # Lightning makes a SystemExit of it
        ending, told = learner.stopped_by(signalled.name), _exit()
    elif isinstance(error, WriteError):
        ending = Ending(Reason.DISK, {"error": str(error).rstrip(".")})
    elif out_of_memory(error):
        ending = Ending(Reason.MEMORY, {"error": first_line(error)})
    elif isinstance(error, Exception):
        ending = Ending(Reason.EXCEPTION, {"error": f"{type(error).__name__}: {error}"})
    else:
        cause = error.__context__ if isinstance(error.__context__, KeyboardInterrupt) else error
        ending = Ending(Reason.EXIT, {"error": f"{type(cause).__name__}({cause})"})
    if not job.resumed and not (job.run.path / RESULT).exists():  # nothing is begun
        with suppress(UserError, OSError):
            clear(job.run.path, FILES, keep=True)
        return UserError(str(error)) if isinstance(error, WriteError) else told
    claims.give_room(job.run.path)  # which the result takes on a full disk
    with suppress(WriteError):
        if job.run.path.is_dir():
            finisher.write_result(0, ending)  # first: what comes now may fail for the same cause
            learner.abort(ending)
    if signalled is not None:
        log.info("%s: %s\n%s", ending.status.value, ending.sentence, _go_on(job))
    elif isinstance(error, WriteError):
        told = WriteError(f"{ending.sentence}. {_go_on(job)}", error.code)
    elif ending.reason is not Reason.EXCEPTION:
        told = UserError(f"{job.run.path}: {ending.sentence}.")
    return told


def train_together(
    jobs: Sequence[Job],
    tick: Callable[[int], None],
    done: Callable[[int, Result], None],
    stack: str = "",
) -> None:
    """Train runs of one shape in one fit, and write their directories.

    Where all are resumed they go on together from their checkpoints.

    Args:
        jobs: of each run; those of one seed are neighbours.
        tick: called after each window with the steps taken, over all runs.
        done: called with the number and the result of each run that has ended.
        stack: a name by which checkpoints tell which runs trained together.

    Raises:
        UserError: a config asks for something that cannot be built.
    """
    learner, data, trainer = assemble_all(jobs, [Ticker(tick)])
    learner.stack = stack
    start = [_last(job) for job in jobs] if jobs[0].resumed else None
    finisher = Finisher(jobs, learner, trainer, done)
    finisher.begin()
    _fit(learner, data, trainer, start, finisher)
    _show_profile(trainer)


def _show_profile(trainer: L.Trainer) -> None:
    profile = trainer.profiler.summary()  # type: ignore[attr-defined]
    if profile:
        log.info("%s", profile)


class Ticker(Observer):
    """Tells somebody how many steps were taken, over all runs.

    Args:
        tick: called with them after each window.
    """

    def __init__(self, tick: Callable[[int], None]) -> None:
        self._tick = tick

    def window(self, learner: Learner, figures: Figures) -> None:
        """Tell it."""
        self._tick(figures.losses.size)


def _start(job: Job) -> list[Mapping[str, Any]] | None:
    """Return the checkpoint to continue from, known to fit the run; None to start afresh."""
    if not job.resumed or not job.run.checkpoint_path(LAST).exists():
        return None
    return [_last(job)]


def _last(job: Job) -> Mapping[str, Any]:
    return read_last(job.run, job.config, job.prepared.description)


def _check_new(job: Job) -> None:
    """Refuse a directory that another command had while this one waited for its turn."""
    if (job.run.path / RESULT).exists():
        raise UserError(
            f"{job.run.path} holds a run already; give another directory, or "
            f"resume={job.run.path} to continue it."
        )


def _fit(
    learner: Learner,
    data: DataModule,
    trainer: L.Trainer,
    start: Sequence[Mapping[str, Any]] | None,
    finisher: Finisher,
) -> None:
    """Fit, and finish each run when it ends."""
    learner.restored, learner.released = start, finisher.finish
    try:
        trainer.fit(learner, datamodule=data)
    except (MisconfigurationException, ModuleNotFoundError) as error:
        if learner.begun:
            raise
        raise UserError(f"Lightning refuses to begin: {first_line(error)}") from error
    if not learner.begun:  # runs that were cut off between their last step and their results
        learner.on_train_start()
        learner.end_out_of_time()
        learner.on_train_end()


class Finisher:
    """Writes what is known of runs before training and after.

    Args:
        jobs: of each run.
        learner: that trains them.
        trainer: its own.
        done: called with the number and the result of each run that has ended.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        learner: Learner,
        trainer: L.Trainer,
        done: Callable[[int, Result], None],
    ) -> None:
        self._jobs, self._learner, self._done = jobs, learner, done
        self._decided: dict[int, float] = {}  # thresholds
        self._lone: dict[int, str] = {}  # the class that is ever predicted
        self._writes = trainer.is_global_zero
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        self._recorder = next((c for c in callbacks if isinstance(c, Recorder)), None)
        self._path = next((c for c in callbacks if isinstance(c, PathCallback)), None)
        self._checkpoint = next((c for c in callbacks if isinstance(c, Checkpoint)), None)
        device = str(trainer.strategy.root_device)
        self._begun = [before(job.config, job.overrides, device) for job in jobs]

    def begin(self) -> None:
        """Write what is known before training."""
        described = data_text(self._jobs[0].prepared.describe())
        pairs = list(zip(self._jobs, self._begun, strict=True)) if self._writes else []
        with together():  # first: without them there is nothing to continue
            for job, _ in pairs:
                make_directory(job.run.path)
                job.run.write_texts(config_text(job.config), described)
        with together():
            for job, begun in pairs:
                job.run.write_result(begun)
        for job, loggers in zip(self._jobs, self._learner.run_loggers, strict=True):
            for logger in loggers:
                logger.log_hyperparams(hyperparameters(job.config))

    def finish(self, runs: Sequence[int]) -> None:
        """Test runs that have ended, and write their results."""
        tested = self._tested([r for r in runs if self._ended(r).status is Status.OK])
        results = {
            run: after(self._begun[run], self._ended(run), self._figures(run, tested.get(run)))
            for run in runs
        }
        if self._writes:
            with together():
                for run, result in results.items():
                    self._write_finals(run, result)
            with together():  # a result says that all the rest is on the disk
                for run, result in results.items():
                    self._jobs[run].run.write_result(result)
        for run, result in results.items():
            self._done(run, result)

    def write_result(self, run: int, ending: Ending) -> None:
        """Write a result at once, of a run that cannot be finished."""
        self._jobs[run].run.write_result(after(self._begun[run], ending, self._figures(run, None)))

    def _ended(self, run: int) -> Any:
        return self._learner.endings[run]

    def _tested(self, runs: Sequence[int]) -> dict[int, dict[str, float]]:
        """Return the test metrics of some runs: by the weights of their best epochs, if any."""
        learner, keeper = self._learner, self._checkpoint
        if not runs:
            return {}
        kept = [r for r in runs if keeper is not None and keeper.has_best(r)]
        found: dict[int, dict[str, float]] = {}
        if keeper is not None and kept:
            found |= self._measured(kept, range(len(kept)), keeper.best_weights(kept))
        rest = [run for run in runs if run not in found]
        if rest:
            found |= self._measured(rest, [learner.column(run) for run in rest])
        return found

    def _measured(
        self, runs: Sequence[int], columns: Sequence[int],
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[int, dict[str, float]]:  # fmt: skip
        """Choose the thresholds of some runs where that is asked for, and test them."""
        learner, evaluator = self._learner, self._learner.evaluator
        usual, asked = evaluator.thresholds, learner.data.threshold
        if isinstance(asked, str):
            with learner.evaluating():
                evaluator.thresholds = evaluator.choose(
                    learner.kernel, *learner.rows("val"), weights
                )
        metrics = learner.metrics("test", weights) if self._jobs[0].config["test"] else {}
        lone = evaluator.lone if metrics else []
        for run, column in zip(runs, columns, strict=True):
            if evaluator.thresholds is not None:  # of each, or one of all
                several = len(evaluator.thresholds) > 1
                self._decided[run] = float(evaluator.thresholds[column if several else 0])
            if lone and (only := lone[column]) is not None:
                self._lone[run] = learner.data.classes[only]
        evaluator.thresholds = usual
        return {run: _of(metrics, column) for run, column in zip(runs, columns, strict=True)}

    def _figures(self, run: int, tested: Mapping[str, float] | None) -> RunFigures:
        learner, recorder, path = self._learner, self._recorder, self._path
        last = recorder.last_row(run) if recorder else {}
        weights = path.last(run, MOST_WEIGHTS) if path else {}
        model = learner.kernel.model(0) if weights else None
        return RunFigures(
            step=learner.step,
            epoch=learner.epochs_done,
            samples=recorder.samples(run) if recorder else None,
            seconds=learner.seconds,
            metrics={k: v for k, v in last.items() if "/" in k} | dict(tested or {}),
            weights=few_weights(weights, model, learner.data) if model is not None else {},
            best=self._checkpoint.best(run) if self._checkpoint else None,
            weights_from=learner.weights_from,
            threshold=self._decided.get(run),
            predicts_only=self._lone.get(run),
        )

    def _write_finals(self, run: int, result: Result) -> None:
        """Write the final points, and end the event file."""
        good = result["status"] == Status.OK
        for logger in self._learner.run_loggers[run]:
            if isinstance(logger, EventFileLogger):
                logger.events.add_finals(result["metrics"], result["step"], good)
                logger.close()
            elif self._learner.runs > 1:  # a single run's trainer does it
                logger.finalize("success" if good else "failed")


def _of(metrics: Mapping[str, Any], column: int) -> dict[str, float]:
    return {name: float(values[column]) for name, values in metrics.items()}


def _show(job: Job, trainer: L.Trainer, result: Mapping[str, Any]) -> None:
    """Draw the picture, tell the user."""
    if not job.one_of_many:
        document.add_run(job.run.path, result)
    _show_profile(trainer)
    files = {"run": job.run.path}
    wanted = job.config["picture"]
    if (not job.one_of_many if wanted == "auto" else wanted) and result["step"]:
        from descent.report.curves import draw_run

        files["picture"] = draw_run(job.run.path, result)
    if job.one_of_many:
        log.info("%s", line_of(result, job.run.path.name))
    else:
        described = job.prepared.describe()
        print_result(result, files, described["baseline"], bool(described["class_weights"]))
