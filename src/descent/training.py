"""Config -> objects -> fit -> test -> result; the only place that knows them all."""

from __future__ import annotations

import logging
import platform
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn

import descent
from descent.callbacks.checkpoint import Checkpoint
from descent.callbacks.full_loss import FullLoss
from descent.callbacks.recorder import Recorder
from descent.config import build, flatten
from descent.data.module import DataModule
from descent.data.prepare import Description
from descent.device import choose_threads, describe_device
from descent.endings import Ending, Reason, RunEnded, Status
from descent.errors import UserError
from descent.job import Job
from descent.learner import Learner, Penalty, Schedule
from descent.recording.logger import EventFileLogger
from descent.report.terminal import print_result
from descent.runs import LAST, Run
from descent.seeds import INIT, stream_seed
from descent.stepping import Clip

log = logging.getLogger(__name__)

EXIT_INTERRUPTED = 130  # what shells expect after Ctrl-C


def train(job: Job) -> float | None:
    """Train one run and write its directory.

    Returns:
        The best epoch's value of `optimized_metric`, or None if the run has none.

    Raises:
        UserError: the config asks for something that cannot be built.
        SystemExit: 130 after a signal; the run can be continued.
    """
    config, run = job.config, job.run
    learner, data, trainer = assemble(job)
    with run.lock() if trainer.is_global_zero else nullcontext():
        began = time.time()
        result = _begin(job, learner, trainer, began)
        try:
            ending = _fit(trainer, learner, data, run, job.resumed)
            if ending.status is Status.OK:
                _test(trainer, learner, data, config)
        except BaseException as error:
            interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
            ending = (
                Ending(Reason.SIGNAL, {"signal": "SIGINT", "step": learner.global_step})
                if interrupted
                else Ending(Reason.EXCEPTION, {"error": f"{type(error).__name__}: {error}"})
            )
            run.write_result({**result, **_outcome(ending, learner, trainer, began)})
            raise
        result |= _outcome(ending, learner, trainer, began)
        if profile := trainer.profiler.summary():
            log.info("%s", profile)
        if trainer.is_global_zero:
            run.write_result(result)
            _close_loggers(trainer, result)
            files = _files(run, result, config)
            print_result(result, run.path, files)
    if ending.status is Status.INTERRUPTED:
        log.info("Continue with: python src/train.py resume=%s", run.path)
        raise SystemExit(EXIT_INTERRUPTED)
    return optimized(result, config["optimized_metric"])


def optimized(result: Mapping[str, Any], name: str) -> float | None:
    """Return a metric of the best epoch, else the final one; None if it is not a number."""
    value = ((result["best"] or {}).get("metrics", {})).get(name, result["metrics"].get(name))
    return value if isinstance(value, float) else None


# ---- objects


def assemble(job: Job) -> tuple[Learner, DataModule, L.Trainer]:
    """Build everything a run consists of, and say what was built.

    Raises:
        UserError: something in the config cannot be built.
    """
    config, prepared = job.config, job.prepared
    description = Description.from_dict(prepared.describe())
    model = build_model(config, description)
    callbacks = _callbacks(config, job.run)
    cuts = [c.every_n_steps for c in callbacks if isinstance(c, FullLoss) and c.every_n_steps]
    options = {key: config["data"][key] for key in ("order", "drop_last", "window")}
    data = DataModule(prepared, **options, seed=config["seed"], cut=cuts[0] if cuts else None)
    learner = build_learner(config, description, model)
    parameters = sum(p.numel() for p in model.parameters())
    threads, why = choose_threads(config["trainer"]["threads"], parameters, data.batch_size)
    torch.set_num_threads(threads)
    trainer = _trainer(config, callbacks, job.run, validates=data.rows["val"] > 0)
    if trainer.is_global_zero:
        _describe(job, learner, data, trainer, threads, why)
    return learner, data, trainer


def _describe(
    job: Job, learner: Learner, data: DataModule, trainer: L.Trainer, threads: int, why: str
) -> None:
    config, description = job.config, learner.data
    parameters = sum(p.numel() for p in learner.model.parameters())
    rows = ", ".join(f"{n:,} {name}" for name, n in data.rows.items() if n)
    log.info(
        "data      %s: %s rows, %d features, %s",
        config["data"]["source"]["_target_"].rsplit(".", 1)[-1],
        rows,
        sum(len(c.features) for c in description.columns),
        f"{len(description.classes)} classes" if description.classes else "regression",
    )
    log.info("model     %s, %s parameters", type(learner.model).__name__, f"{parameters:,}")
    log.info("device    %s", describe_device(trainer, config["trainer"]["accelerator"]))
    log.info("threads   %d, %s", threads, why)
    log.info("run       %s", job.run.path)


def build_model(config: Mapping[str, Any], description: Description) -> nn.Module:
    """Build the model from its config node, weights from the init stream.

    `in_features` and `out_features` are offered to whatever takes them by name.
    """
    torch.manual_seed(stream_seed(config["seed"], INIT))
    features = sum(len(column.features) for column in description.columns)
    sizes = {"in_features": features, "out_features": description.outputs}
    model = build(config["model"], "model", offer=sizes)
    if not isinstance(model, nn.Module):
        raise UserError(f"model._target_ makes a {type(model).__name__}, not a torch.nn.Module.")
    if not any(p.requires_grad for p in model.parameters()):
        raise UserError("The model has no parameters to train.")
    return model


def build_learner(
    config: Mapping[str, Any],
    description: Description,
    model: nn.Module,
    rows: Mapping[str, int] | None = None,
) -> Learner:
    """Build the learner; optimizer and schedule are tried out once, on a throw-away parameter.

    Args:
        config: the run's.
        description: of the run's data.
        model: built for it.
        rows: rows by split to be evaluated, where they are not the run's own.
    """
    optimizer = build(_partial(config["optimizer"]), "optimizer")
    node = dict(config["scheduler"])
    interval, monitor = node.pop("interval", "epoch"), node.pop("monitor", None)
    length = _length(config, description, interval)
    for key, value in node.items():
        if value == "auto":
            if length is None:
                raise UserError(
                    f"scheduler.{key}=auto needs to know how long the run is; "
                    f"give stop.epochs or stop.steps, or a number for scheduler.{key}."
                )
            node[key] = length
    if monitor is not None and monitor.startswith("val/") and not description.rows["val"]:
        raise UserError(
            f"scheduler.monitor={monitor}, but no rows are kept for validation; "
            "set data.val_fraction, or scheduler.monitor=train/full_loss."
        )
    schedule = Schedule(build(_partial(node), "scheduler"), interval, monitor)
    _try_out(optimizer, schedule)
    return Learner(
        model,
        description,
        rows or description.rows,
        optimizer,
        schedule,
        penalty=Penalty(**config["penalty"]),
        clip=Clip(**config["clip"]),
        max_steps=config["stop"]["steps"],
        seed=config["seed"],
    )


def _partial(node: Mapping[str, Any]) -> dict[str, Any]:
    return {**node, "_partial_": True}


def _try_out(optimizer: Any, schedule: Schedule) -> None:
    """Make both on a parameter that nobody needs: their own argument checks then answer early."""
    try:
        made = optimizer([nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError) as error:
        raise UserError(f"The optimizer refuses its arguments: {error}.") from error
    try:
        schedule.make(made)
    except (TypeError, ValueError) as error:
        raise UserError(f"The scheduler refuses its arguments: {error}.") from error


def _length(config: Mapping[str, Any], description: Description, interval: str) -> int | None:
    """Return the run's planned length in steps or epochs, whichever `interval` names."""
    rows = description.rows["train"]
    batch = rows if config["data"]["batch_size"] == "full" else config["data"]["batch_size"]
    per_epoch = max(1, rows // batch if config["data"]["drop_last"] else -(-rows // batch))
    epochs, steps = config["stop"]["epochs"], config["stop"]["steps"]
    limits = [n for n in (steps, epochs and epochs * per_epoch) if n is not None]
    if not limits:
        return None
    return min(limits) if interval == "step" else -(-min(limits) // per_epoch)


def _callbacks(config: Mapping[str, Any], run: Run) -> list[L.Callback]:
    nodes = {name: node for name, node in (config["callbacks"] or {}).items() if node}
    offer = {"run_dir": run.path}
    made = [build(node, f"callbacks.{name}", offer=offer) for name, node in nodes.items()]
    if config["stop"]["loss"] is not None and not any(isinstance(c, FullLoss) for c in made):
        raise UserError(
            "stop.loss needs callbacks.full_loss, which was taken out; put it back, "
            "or use stop.epochs and stop.steps."
        )
    return made


def _trainer(
    config: Mapping[str, Any], callbacks: list[L.Callback], run: Run, validates: bool
) -> L.Trainer:
    options = {key: value for key, value in config["trainer"].items() if key != "threads"}
    offer = {"run_dir": run.path, "save_dir": str(run.path)}
    nodes = {name: node for name, node in (config["logger"] or {}).items() if node}
    loggers = [build(node, f"logger.{name}", offer=offer) for name, node in nodes.items()]
    if not validates:
        options["limit_val_batches"] = 0
    _quiet_lightning()
    epochs = config["stop"]["epochs"]
    given: dict[str, Any] = {
        "callbacks": callbacks,
        "logger": loggers or False,
        "max_epochs": -1 if epochs is None else epochs,
        "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": str(run.path),
    }
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        return build(options, "trainer", **given)
    except (MisconfigurationException, ValueError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"The trainer refuses its settings: {first}") from error


def bare_trainer(accelerator: str, precision: str) -> L.Trainer:
    """Return a trainer that only evaluates: one device, no loggers, no files."""
    _quiet_lightning()
    return L.Trainer(
        accelerator=accelerator, devices=1, precision=precision, logger=False,  # type: ignore[arg-type]
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def _quiet_lightning() -> None:
    """Drop Lightning's hints: what they are about is reported here, or does not exist."""
    warnings.filterwarnings("ignore", module="lightning.*")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger(name).handlers.clear()  # the root logger prints what is left


# ---- the run


def _begin(job: Job, learner: Learner, trainer: L.Trainer, began: float) -> dict[str, Any]:
    """Write what is known before training, and return it."""
    result = {
        "status": Status.RUNNING,
        "reason": "training, or killed without a word",
        "name": job.config["name"],
        "overrides": list(job.overrides),
        "optimized_metric": job.config["optimized_metric"],
        "began": began,
        "device": str(trainer.strategy.root_device),
        "threads": torch.get_num_threads(),
        "versions": {
            "descent": descent.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "lightning": L.__version__,
        },
        "commit": _commit(),
    }
    if trainer.is_global_zero:
        job.run.write_config(job.config)
        job.run.write_data(job.prepared.describe())
        job.run.write_result(result)
    for logger in trainer.loggers:
        logger.log_hyperparams(hyperparameters(job.config))
    return result


def hyperparameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that make one run differ from another, by dotted name."""
    groups = ("data", "model", "optimizer", "scheduler", "penalty", "clip", "stop", "seed")
    shown: dict[str, Any] = {}
    for key, value in flatten({group: config[group] for group in groups}):
        if key.endswith("._target_"):
            shown[key.removesuffix("._target_")] = value.rsplit(".", 1)[-1]
        elif value is not None and not key.endswith("._partial_"):
            shown[key] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return shown


def _commit() -> str | None:
    """Return the project's commit, marked where files have changed since; None outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        here = Path(__file__).parent
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _fit(trainer: L.Trainer, learner: Learner, data: DataModule, run: Run, resumed: bool) -> Ending:
    last = run.checkpoint_path(LAST)
    start = str(last) if resumed and last.is_file() else None
    with _signals(learner):
        try:
            trainer.fit(learner, datamodule=data, ckpt_path=start, weights_only=True)
        except RunEnded as ended:
            return ended.ending
        except SIGTERMException:
            return Ending(Reason.SIGNAL, {"signal": "SIGTERM", "step": learner.global_step})
    return learner.ending or _natural_ending(trainer, learner)


def _natural_ending(trainer: L.Trainer, learner: Learner) -> Ending:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EarlyStopping) and callback.stopped_epoch:
            figures = {"monitor": callback.monitor, "patience": callback.patience}
            return Ending(Reason.EARLY_STOPPING, figures)
    if learner.global_step >= learner.max_steps:
        return Ending(Reason.STEPS, {"steps": learner.global_step})
    if trainer.current_epoch == trainer.max_epochs:
        return Ending(Reason.EPOCHS, {"epochs": trainer.max_epochs})
    return Ending(Reason.STOPPED, {"step": learner.global_step})


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
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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


def _best(trainer: L.Trainer) -> dict[str, Any] | None:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Checkpoint):
            return callback.best
    return None


def _outcome(ending: Ending, learner: Learner, trainer: L.Trainer, began: float) -> dict[str, Any]:
    """Return what is known only after training."""
    recorder = next((c for c in trainer.callbacks if isinstance(c, Recorder)), None)  # type: ignore[attr-defined]
    row = dict(recorder.last_row) if recorder else {}
    best = _best(trainer)
    tested = {k: v for k, v in learner.measured.items() if k.startswith("test/")}
    step = ending.figures.get("step", learner.global_step)
    early = (Reason.TARGET, Reason.EARLY_STOPPING, Reason.STOPPED)
    return {
        "status": ending.status,
        "reason": ending.sentence,
        "stopped_early": ending.reason in early,
        "step": step,
        "epoch": learner.epochs_done,
        "samples": recorder.samples if recorder else None,
        "seconds": learner.clock.seconds,
        "wall_seconds": time.time() - began,
        "metrics": {k: v for k, v in row.items() if "/" in k} | tested,
        "best": best and {k: best[k] for k in ("epoch", "step", "metrics")},
    }


def _close_loggers(trainer: L.Trainer, result: Mapping[str, Any]) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, EventFileLogger):
            logger.log_final(result["metrics"], result["step"])
            logger.close()


def _files(run: Run, result: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Path]:
    """Draw the picture, and return what to point the user at."""
    files = {"run": run.path}
    if config["picture"] and result["step"]:
        from descent.report.curves import draw_curves

        title = f"{config['name']}: {' '.join(result['overrides']) or 'default config'}"
        note = result["reason"] if result["status"] == Status.DIVERGED else None
        files["picture"] = draw_curves(run.path, title, note)
    return files
