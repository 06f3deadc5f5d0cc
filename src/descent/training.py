"""A job's way from its first line to its last: fit, test, result; see `assembly` for its parts."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.exceptions import SIGTERMException

from descent.assembly import assemble
from descent.callbacks.checkpoint import Checkpoint
from descent.callbacks.path import Path as PathCallback
from descent.callbacks.recorder import Recorder
from descent.cli import EXIT_INTERRUPTED
from descent.data.module import DataModule
from descent.endings import Ending, Reason, RunEnded, Status
from descent.job import Job
from descent.learner import Learner
from descent.outcome import (
    MOST_WEIGHTS,
    Figures,
    after,
    before,
    few_weights,
    hyperparameters,
    line_of,
    optimized,
)
from descent.recording.logger import EventFileLogger
from descent.report.terminal import print_result
from descent.runs import LAST

log = logging.getLogger(__name__)


def train(job: Job) -> float | None:
    """Train one run and write its directory.

    Returns:
        The best epoch's value of `optimized_metric`, or None if the run has none.

    Raises:
        UserError: the config asks for something that cannot be built, or the run to continue is
            damaged or being trained in elsewhere.
        SystemExit: 130 after a signal; the run can be continued.
    """
    learner, data, trainer = assemble(job)
    start = _start(job)
    with job.run.lock() if trainer.is_global_zero else nullcontext():
        result = _begin(job, trainer)
        try:
            ending = _fit(trainer, learner, data, start)
            if ending.status is Status.OK:
                _test(trainer, learner, data, job.config)
        except BaseException as error:
            ending = _broken(error, learner)
            job.run.write_result(after(result, ending, _figures(learner, trainer)))
            if ending.status is Status.INTERRUPTED:  # at once, by a second Ctrl-C
                raise _interrupted(job) from None
            raise
        result = after(result, ending, _figures(learner, trainer))
        if trainer.is_global_zero:
            _finish(job, trainer, result)
    if ending.status is Status.INTERRUPTED:
        raise _interrupted(job)
    return optimized(result, job.config["optimized_metric"])


def _interrupted(job: Job) -> SystemExit:
    """Say how to go on, and return what ends the process as shells expect after Ctrl-C."""
    log.info("Continue with: python src/train.py resume=%s", job.run.path)
    return SystemExit(EXIT_INTERRUPTED)


def _start(job: Job) -> Path | None:
    """Return the checkpoint to continue from, known to be readable; None to start afresh."""
    path = job.run.checkpoint_path(LAST)
    if not job.resumed or not path.is_file():
        return None
    job.run.checkpoint(LAST)
    return path


def _begin(job: Job, trainer: L.Trainer) -> dict[str, Any]:
    """Write what is known before training, and return the result so far."""
    result = before(job.config, job.overrides, str(trainer.strategy.root_device))
    if trainer.is_global_zero:
        job.run.write_config(job.config)
        job.run.write_data(job.prepared.describe())
        job.run.write_result(result)
    for logger in trainer.loggers:
        logger.log_hyperparams(hyperparameters(job.config))
    return result


def _fit(trainer: L.Trainer, learner: Learner, data: DataModule, start: Path | None) -> Ending:
    with _signals(learner):
        try:
            trainer.fit(learner, datamodule=data, ckpt_path=start, weights_only=True)
        except RunEnded as ended:
            return ended.ending
        except SIGTERMException:
            return Ending(Reason.SIGNAL, {"signal": "SIGTERM", "step": learner.global_step})
    return learner.ending or _natural_ending(trainer, learner)


def _natural_ending(trainer: L.Trainer, learner: Learner) -> Ending:
    for callback in _callbacks(trainer):
        if isinstance(callback, EarlyStopping) and callback.stopped_epoch:
            figures = {"monitor": callback.monitor, "patience": callback.patience}
            return Ending(Reason.EARLY_STOPPING, figures)
    if learner.global_step >= learner.max_steps:
        return Ending(Reason.STEPS, {"steps": learner.global_step})
    if trainer.current_epoch == trainer.max_epochs:
        return Ending(Reason.EPOCHS, {"epochs": trainer.max_epochs})
    return Ending(Reason.STOPPED, {"step": learner.global_step})


def _broken(error: BaseException, learner: Learner) -> Ending:
    """Return the ending of a run that an exception ended."""
    # Lightning turns the one into the other
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return Ending(Reason.SIGNAL, {"signal": "SIGINT", "step": learner.global_step})
    return Ending(Reason.EXCEPTION, {"error": f"{type(error).__name__}: {error}"})


@contextmanager
def _signals(learner: Learner) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the run between two steps; a second Ctrl-C ends it at once."""

    def ask(number: int, _: object) -> None:
        if learner.stop_signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        learner.stop_signal = signal.Signals(number).name

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _figures(learner: Learner, trainer: L.Trainer) -> Figures:
    """Return what the callbacks know of a run that has ended."""
    recorder = next((c for c in _callbacks(trainer) if isinstance(c, Recorder)), None)
    path = next((c for c in _callbacks(trainer) if isinstance(c, PathCallback)), None)
    last = recorder.last_row if recorder else {}
    tested = {k: v for k, v in learner.measured.items() if k.startswith("test/")}
    return Figures(
        step=learner.global_step,
        epoch=learner.epochs_done,
        samples=recorder.samples if recorder else None,
        seconds=learner.clock.seconds,
        metrics={k: v for k, v in last.items() if "/" in k} | tested,
        weights=few_weights(path.last(MOST_WEIGHTS) if path else {}, learner.model, learner.data),
        best=_best(trainer),
    )


def _callbacks(trainer: L.Trainer) -> list[L.Callback]:
    """Return a trainer's callbacks; Lightning sets the attribute where type checkers miss it."""
    return trainer.callbacks  # type: ignore[attr-defined]


def _best(trainer: L.Trainer) -> dict[str, Any] | None:
    """Return the best weights and figures, if the run kept any."""
    return next((c.best for c in _callbacks(trainer) if isinstance(c, Checkpoint)), None)


def _test(
    trainer: L.Trainer, learner: Learner, data: DataModule, config: Mapping[str, Any]
) -> None:
    """Test the best weights, where there are rows for it."""
    learner.measured.clear()
    best = _best(trainer)
    if best is not None:
        learner.load_state_dict(best["state_dict"])
    if config["test"] and data.rows["test"]:
        trainer.test(learner, datamodule=data, verbose=False)


def _finish(job: Job, trainer: L.Trainer, result: Mapping[str, Any]) -> None:
    """Write the result, close the event file, draw the picture, tell the user."""
    job.run.write_result(result)
    for logger in trainer.loggers:
        if isinstance(logger, EventFileLogger):
            good = result["status"] == Status.OK
            logger.events.add_finals(result["metrics"], result["step"], good)
            logger.close()
    profile = trainer.profiler.summary()  # type: ignore[attr-defined]
    if profile:
        log.info("%s", profile)
    files = {"run": job.run.path}
    wanted = job.config["picture"]
    if (not job.one_of_many if wanted == "auto" else wanted) and result["step"]:
        from descent.report.curves import draw_run

        files["picture"] = draw_run(job.run.path, result)
    if job.one_of_many:
        log.info("%s", line_of(result, job.run.path.name))
    else:
        print_result(result, files)
