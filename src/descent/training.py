"""A job's way from its first line to its last: fit, test, result; see `assembly` for its parts."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping

from descent.assembly import assemble
from descent.callbacks.checkpoint import Checkpoint
from descent.callbacks.path import Path as PathCallback
from descent.callbacks.recorder import Recorder
from descent.cli import EXIT_FAILED
from descent.data.module import DataModule
from descent.endings import Ending, Reason, RunEnded, Status
from descent.errors import UserError, WriteError, first_line, out_of_memory
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
from descent.recording import claims
from descent.recording.atomic import clear, together
from descent.recording.logger import EventFileLogger
from descent.report.terminal import print_result
from descent.runs import FILES, LAST, RESULT
from descent.signals import answering, received, unwind

log = logging.getLogger(__name__)


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
    with job.run.lock() if trainer.is_global_zero else nullcontext():
        if not job.resumed and trainer.is_global_zero:
            _check_new(job)
        begun = before(job.config, job.overrides, str(trainer.strategy.root_device))

        def ended(ending: Ending) -> dict[str, Any]:
            return after(begun, ending, _figures(learner, trainer))

        def last_words(name: str) -> str:
            with suppress(UserError):
                job.run.write_result(ended(_stopped(name, learner)))
            return f"stopped by {name}.\n{_go_on(job)}"

        with answering(unwind, last_words):
            try:
                _begin(job, trainer, begun)
                ending = _fit(trainer, learner, data, start)
                if ending.status is Status.OK:
                    _test(trainer, learner, data, job.config)
                result = ended(ending)
                _write_end(job, trainer, result)
            except BaseException as error:
                told = _broken(job, error, learner, ended)
                if told is error:
                    raise
                raise told from None
            stopped = _exit()
        if trainer.is_global_zero:
            with answering(unwind, "stopped by {}; the run had ended before.".format):
                _finish(job, trainer, result)
    if ending.status is Status.INTERRUPTED:
        log.info("%s", _go_on(job))
        raise stopped
    return optimized(result, job.config["optimized_metric"])


def _exit() -> SystemExit:
    """Return what ends the process as shells expect after a signal that came."""
    signalled = received()
    return SystemExit(EXIT_FAILED if signalled is None else signalled.code)


def _go_on(job: Job) -> str:
    return f"Continue with: python src/train.py resume={job.run.path}"


def _stopped(name: str, learner: Learner) -> Ending:
    return Ending(Reason.SIGNAL, {"signal": name, "step": learner.global_step})


def _broken(
    job: Job, error: BaseException, learner: Learner, ended: Callable[[Ending], dict[str, Any]]
) -> BaseException:
    """Say in the result what ended a run; return what its command ends with."""
    signalled, told = received(), error
    if signalled is not None:  # Lightning makes a SystemExit of it
        ending, told = _stopped(signalled.name, learner), _exit()
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
            job.run.write_result(ended(ending))
    if signalled is not None:
        log.info("%s", _go_on(job))
    elif isinstance(error, WriteError):
        told = WriteError(f"{ending.sentence}. {_go_on(job)}", error.code)
    elif ending.reason is not Reason.EXCEPTION:
        told = UserError(f"{job.run.path}: {ending.sentence}.")
    return told


def _start(job: Job) -> Path | None:
    """Return the checkpoint to continue from, known to be readable; None to start afresh."""
    path = job.run.checkpoint_path(LAST)
    if not job.resumed or not path.is_file():
        return None
    job.run.checkpoint(LAST)
    return path


def _check_new(job: Job) -> None:
    """Refuse a directory that another command had while this one waited for its turn."""
    if (job.run.path / RESULT).exists():
        raise UserError(
            f"{job.run.path} holds a run already; give another directory, or "
            f"resume={job.run.path} to continue it."
        )


def _begin(job: Job, trainer: L.Trainer, result: Mapping[str, Any]) -> None:
    """Write what is known before training."""
    if trainer.is_global_zero:
        job.run.write_config(job.config)  # first: without it there is nothing to continue
        with together():
            job.run.write_data(job.prepared.describe())
            job.run.write_result(result)
    for logger in trainer.loggers:
        logger.log_hyperparams(hyperparameters(job.config))


def _fit(trainer: L.Trainer, learner: Learner, data: DataModule, start: Path | None) -> Ending:
    def ask(number: int) -> None:
        learner.stop_signal = signal.Signals(number).name

    with answering(ask):  # between two steps
        try:
            trainer.fit(learner, datamodule=data, ckpt_path=start, weights_only=True)
        except RunEnded as ended:
            return ended.ending
        except (MisconfigurationException, ModuleNotFoundError) as error:
            if learner.begun:
                raise
            raise UserError(f"Lightning refuses to begin: {first_line(error)}") from error
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
        weights_from=learner.weights_from,
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


def _write_end(job: Job, trainer: L.Trainer, result: Mapping[str, Any]) -> None:
    """End the event file, and write the result: it says that all the rest is there."""
    if not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        if isinstance(logger, EventFileLogger):
            good = result["status"] == Status.OK
            logger.events.add_finals(result["metrics"], result["step"], good)
            logger.close()
    job.run.write_result(result)


def _finish(job: Job, trainer: L.Trainer, result: Mapping[str, Any]) -> None:
    """Draw the picture, tell the user."""
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
        print_result(result, files, job.prepared.describe()["baseline"])
