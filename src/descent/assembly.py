"""Config -> objects: model, learner, data module, callbacks, loggers and trainer of a run."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger
from torch import nn

from descent.callbacks.full_loss import FullLoss
from descent.callbacks.progress import Progress
from descent.config.check import build
from descent.config.vocabulary import TRAINER
from descent.data.module import DataModule
from descent.data.prepare import Description, Prepared
from descent.data.tensors import DTYPES, split_tensors
from descent.engine import measured_device
from descent.engine.blueprint import (
    build_model,
    build_models,
    build_optimizer,
    build_schedule,
    planned_length,
    try_out,
)
from descent.engine.compiling import Compiler
from descent.engine.device import candidates, choose_threads, describe_device
from descent.engine.foreign import fit_in, refuse_unfit, watching_batches
from descent.engine.graphs import refuse_graphs
from descent.engine.grouping import (
    LIGHTNINGS_STOPPER,
    STOPPER,
    STOPPER_OPTIONS,
    in_turn,
    why_autograd,
)
from descent.engine.imports import without_compiler
from descent.engine.kernel import Kernel
from descent.engine.learner import Learner, Limits
from descent.engine.loop_kernel import LoopKernel
from descent.engine.losses import Penalty, criterion
from descent.engine.module_kernel import ModuleKernel
from descent.engine.observer import Observer
from descent.engine.own_kernel import Length, OwnFigures, OwnKernel
from descent.engine.own_learner import describe, has_own_optimizer, is_own
from descent.engine.stacked_kernel import StackedKernel
from descent.engine.stepping import Clip
from descent.errors import ForeignError, UserError, counted, first_line
from descent.job import Job
from descent.metrics import AUTO, recorded, settled_mode, take_own, watched
from descent.models.point import Point
from descent.records.run import Run
from descent.records.trackers import store_of

log = logging.getLogger(__name__)

# options of the trainer that are not Lightning's
OURS = ("threads", "derivatives", "compile", "graphs")
MOST_SHARES = 4  # classes whose share the data line shows


def assemble(job: Job) -> tuple[Learner, DataModule, L.Trainer]:
    """Build everything a run consists of, and say what was built.

    Raises:
        UserError: something in the config cannot be built.
    """
    return assemble_all([job])


def assemble_all(
    jobs: Sequence[Job], more: Sequence[Observer] = ()
) -> tuple[Learner, DataModule, L.Trainer]:
    """Build what trains some runs together.

    Args:
        jobs: of one shape; those of one seed are neighbours.
        more: further callbacks.

    Raises:
        UserError: something in the config cannot be built.
    """
    first, config, prepared = jobs[0], jobs[0].config, jobs[0].prepared
    take_own(config)
    configs = [job.config for job in jobs]
    description = prepared.description
    models = _models(configs, description)
    named = _callbacks(jobs)
    refuse_unfit(named, models[0], logs=any((config["logger"] or {}).values()))
    callbacks, watching = [*named.values(), *more], watching_batches(named)
    if is_own(config):  # its step numbers are Lightning's
        watching = [*watching, f"learner {type(models[0]).__name__}"]
    fit_in(callbacks)
    for callback in callbacks:
        if isinstance(callback, Progress):
            callback.milestones = not first.one_of_many
            callback.hidden = any(isinstance(c, ProgressBar) for c in callbacks)
    cuts = [c.every_n_steps for c in callbacks if isinstance(c, FullLoss) and c.every_n_steps]
    options = {key: config["data"][key] for key in ("order", "drop_last", "window", "augment")}
    seeds = [one["seed"] for one in configs]
    data = DataModule(
        prepared, **options, seeds=seeds, cut=cuts[0] if cuts else None, single=bool(watching)
    )
    parameters = sum(p.numel() for p in models[0].parameters())
    threads, why = choose_threads(config["trainer"]["threads"], parameters, data.batch_size)
    if len(jobs) == 1:
        torch.set_num_threads(threads)
    loggers = [_loggers(job) for job in jobs]
    placed, measured = _placed(jobs, models)
    trainer = _trainer(placed, callbacks, first.run, loggers[0] if len(jobs) == 1 else [])
    device = trainer.strategy.root_device
    learner = build_learner(configs, description, models, device, trainer.limit_val_batches > 0)
    learner.run_loggers = loggers
    if isinstance(learner.kernel, OwnKernel):
        _begin_own(learner, first, trainer)
    if trainer.is_global_zero and not first.one_of_many:
        device_words = describe_device(trainer, config["trainer"]["accelerator"], measured)
        _describe(first, learner, data, device_words, threads, why)
    if trainer.is_global_zero and watching:
        overruled = config["data"]["window"] not in ("auto", 1)
        without = f", so that data.window={config['data']['window']} has no effect"
        log.info(
            "window    one step: every batch is shown to %s%s",
            ", ".join(watching), without if overruled else "",
        )  # fmt: skip
    return learner, data, trainer


def _placed(
    jobs: Sequence[Job], models: Sequence[nn.Module]
) -> tuple[Mapping[str, Any], str | None]:
    """Return the config whose trainer names the fastest device, and why; as it is without choice.

    A run that goes on stays on its kind of device.
    """
    config = jobs[0].config
    devices = candidates(config["trainer"])
    if len(devices) < 2:
        return config, None
    if jobs[0].resumed:
        kind = str(jobs[0].run.result().get("device", "")).partition(":")[0]
        before = [device for device in devices if device.type == kind]
        choice = measured_device.MeasuredDevice(before[0], "as before") if before else None
    else:
        choice = fastest_device(devices, [job.config for job in jobs], models, jobs[0].prepared)
    if choice is None:
        return config, None
    trainer = {**config["trainer"], "accelerator": choice.device.type}
    return {**config, "trainer": trainer}, choice.reason


def fastest_device(
    devices: Sequence[torch.device], configs: Sequence[Mapping[str, Any]],
    models: Sequence[nn.Module], prepared: Prepared, most: Sequence[int] | None = None,
) -> measured_device.MeasuredDevice | None:  # fmt: skip
    """Measure which device takes run-steps fastest; None where that cannot be.

    Args:
        devices: to choose from.
        configs: of each run.
        models: built for them; they stay as they are.
        prepared: their data, of which some rows are used.
        most: runs that train together on each device; None for all on each.
    """
    config, size = configs[0], prepared.batch_size
    if is_own(config) or config["trainer"]["precision"] not in measured_device.PRECISIONS:
        return None
    count = len(configs) if in_turn(config, models[0]) is None else 1
    runs = [min(count, most[i]) if most else count for i in range(len(devices))]
    few = replace(
        prepared,
        arrays=replace(prepared.arrays, disposable=False),
        rows={**prepared.rows, "train": prepared.rows["train"][: size * measured_device.STEPS]},
    )
    dtype = DTYPES.get(config["trainer"]["precision"], torch.float32)

    def measure(device: torch.device) -> float:
        together = runs[list(devices).index(device)]
        copies = copy.deepcopy(list(models[:together]))
        kernel = _kernel(configs[:together], prepared.description, copies, device, True)
        rows = split_tensors(few, "train", device, dtype)
        return measured_device.seconds_a_step(kernel, *rows, size, device) / together

    key = measured_device.key_of(config, models[0], runs, size)
    return measured_device.choose(devices, measure, key)


def _begin_own(learner: Learner, job: Job, trainer: L.Trainer) -> None:
    """Try the steps of the user's learner, and let what it logs be recorded.

    Raises:
        UserError: a step fails, an option was typed that it overrules, or a metric is watched that
            it does not log.
    """
    kernel = learner.kernel
    assert isinstance(kernel, OwnKernel)
    typed = [o for o in job.overrides if o.lstrip("+").startswith(("optimizer", "scheduler"))]
    if typed and has_own_optimizer(kernel.module):
        raise UserError(
            f"{typed[0]} has no effect: {type(kernel.module).__name__} makes its optimizer itself "
            "(configure_optimizers); leave one of the two out."
        )
    two = replace(
        job.prepared,
        arrays=replace(job.prepared.arrays, disposable=False),
        rows={split: rows[:2] for split, rows in job.prepared.rows.items()},
    )
    dtype = DTYPES.get(job.config["trainer"]["precision"], torch.float32)
    cpu = torch.device("cpu")
    rows = {name: split_tensors(two, name, cpu, dtype) for name, of in two.rows.items() if len(of)}
    length = Length(
        planned_length(job.config, learner.data, "step"),
        learner.data.steps_per_epoch(job.config["data"]),
    )
    kernel.try_out(rows, trainer, length)
    there = recorded(job.config, learner.data.task, learner.data.rows)
    kernel.check_watched(dict(watched(job.config)), there)
    trainer.callbacks.append(OwnFigures(kernel))  # type: ignore[attr-defined]


def _models(configs: Sequence[Mapping[str, Any]], description: Description) -> Sequence[nn.Module]:
    """Build the model of each run; those that take their steps in turn have one of their own."""
    first = build_model(configs[0], description)
    if len(configs) == 1:
        return [first]
    if in_turn(configs[0], first) is None:
        return build_models(configs, description)
    return [build_model(config, description) for config in configs]


def _describe(
    job: Job, learner: Learner, data: DataModule, device_words: str, threads: int, why: str
) -> None:
    config, description, model = job.config, learner.data, learner.kernel.model(0)
    parameters = sum(p.numel() for p in model.parameters())
    if isinstance(model, Point):
        log.info("landscape %s", model.landscape.sentence)
    else:
        rows = ", ".join(f"{n:,} {name}" for name, n in data.rows.items() if n)
        log.info(
            "data      %s: %s rows, %s, %s",
            config["data"]["source"]["_target_"].rsplit(".", 1)[-1],
            rows,
            counted(sum(len(c.features) for c in description.columns), "feature"),
            _classes(job.prepared) if description.classes else "regression",
        )
        for note in description.notes:
            log.info("          %s", note)
    log.info("model     %s, %s", type(model).__name__, counted(parameters, "parameter"))
    if isinstance(model, L.LightningModule):
        for i, line in enumerate(describe(model, config)):
            log.info("%-9s %s", "learner" if i == 0 else "", line)
    log.info("device    %s", device_words)
    log.info("threads   %d, %s", threads, why)
    log.info("run       %s", job.run.path)


def _classes(prepared: Prepared) -> str:
    """Return how many classes there are, with the shares of the commonest in the training rows."""
    arrays = prepared.arrays
    counts = np.bincount(arrays.targets[prepared.rows["train"]], minlength=len(arrays.classes))
    order = np.argsort(-counts, kind="stable")
    shares = [f"{arrays.classes[i]} {counts[i] / counts.sum():.1%}" for i in order[:MOST_SHARES]]
    more = ", ..." if len(order) > MOST_SHARES else ""
    return f"{len(arrays.classes)} classes ({', '.join(shares)}{more})"


def build_learner(
    configs: Sequence[Mapping[str, Any]],
    description: Description,
    models: Sequence[nn.Module],
    device: torch.device,
    validates: bool = True,
    rows: Mapping[str, int] | None = None,
    trains: bool = True,
) -> Learner:
    """Build the learner; an optimizer that is torch's own is tried out on copies of its parameters.

    Args:
        configs: of each run.
        description: of the runs' data.
        models: built for them.
        device: where several runs train; a single one is moved there by its trainer.
        validates: whether runs validate while they train.
        rows: rows by split to be evaluated, where they are not the runs' own.
        trains: whether steps are taken; else a single model is only evaluated.
    """
    first = configs[0]
    take_own(first)
    every = first["trainer"].get("check_val_every_n_epoch", 1) or 1
    learner = Learner(
        _kernel(configs, description, models, device, trains),
        description,
        rows or description.rows,
        [config["seed"] for config in configs],
        [Penalty(**config["penalty"]) for config in configs],
        Limits(first["stop"]["epochs"], first["stop"]["steps"]),
        every if validates else 0,
    )
    if isinstance(learner.kernel, OwnKernel):
        learner.evaluator.own = learner.kernel
    return learner


def _kernel(
    configs: Sequence[Mapping[str, Any]],
    description: Description,
    models: Sequence[nn.Module],
    device: torch.device,
    trains: bool,
) -> Kernel:
    """Choose what takes the steps: one run's own optimizer, a stack, or a loop over runs."""
    alone = why_autograd(configs[0], models[0]) if device.type in ("cpu", "cuda") else "its device"
    if (len(configs) > 1 and not in_turn(configs[0], models[0])) or (trains and alone is None):
        return StackedKernel(configs, models, description, device)
    if trains:
        graphs = configs[0]["trainer"].get("graphs", "auto")
        refuse_graphs(graphs, "the steps of this model and optimizer are not those of a stack")
    kernels, loss = [], criterion(configs[0], description)
    for config, model in zip(configs, models, strict=True):
        optimizer, schedule = build_optimizer(config), build_schedule(config, description)
        if not has_own_optimizer(model):
            try_out(optimizer, schedule, model)
        parts = (
            model, loss, optimizer, schedule, Penalty(**config["penalty"]),
            Clip(**config["clip"]), config["seed"],
        )  # fmt: skip
        kernels.append(OwnKernel(*parts) if is_own(config) else ModuleKernel(*parts))
        if isinstance(kernels[0], OwnKernel):
            kernels[0].batch_size = description.batch_size(config["data"])
    asked = configs[0]["trainer"].get("compile", False)
    if trains and asked and len(kernels) == 1:
        kernels[0].compiler = _compiler(configs[0], device, asked)
    return kernels[0] if len(kernels) == 1 else LoopKernel(kernels, device)


def _compiler(
    config: Mapping[str, Any], device: torch.device, asked: bool | str
) -> Compiler | None:
    """Return what compiles a run's steps; None where `auto` has nothing to do.

    Raises:
        UserError: it cannot be done.
    """
    trainer = config["trainer"]
    reasons = {
        "the steps of a LightningModule of one's own are not compiled": is_own(config),
        f"trainer.devices={trainer['devices']} share a step": trainer["devices"] not in (1, "auto"),
        "trainer.detect_anomaly=true looks into autograd": bool(trainer["detect_anomaly"]),
    }
    for reason in [reason for reason, applies in reasons.items() if applies]:
        if asked is True:
            raise UserError(f"trainer.compile=true cannot be done: {reason}; leave one out.")
        return None
    return Compiler(asked, device)


def _callbacks(jobs: Sequence[Job]) -> dict[str, L.Callback]:
    """Return the callbacks of all runs together, by their names in the config."""
    path = jobs[0].run.path
    offer = {
        "run_dir": path, "run_dirs": [job.run.path for job in jobs],
        "dirpath": str(path / "checkpoints"),
    }  # fmt: skip
    made = {}
    for name, node in (jobs[0].config["callbacks"] or {}).items():
        if not node:
            continue
        callback = _callback(name, _ours(node), offer)
        if isinstance(callback, Observer):
            callback.accept([job.config["callbacks"][name] for job in jobs])
        if len(jobs) == 1 or not isinstance(callback, Progress):
            made[name] = callback
    stops = any(job.config["stop"]["loss"] is not None for job in jobs)
    if stops and not any(isinstance(c, FullLoss) for c in made.values()):
        raise UserError(
            "stop.loss needs callbacks.full_loss, which was taken out; put it back, "
            "or use stop.epochs and stop.steps."
        )
    return made


def _callback(name: str, node: Mapping[str, Any], offer: Mapping[str, Any]) -> L.Callback:
    """Build a callback; one that watches a metric is told the metric's direction."""
    if node.get("monitor") is not None:
        mode = settled_mode(node["monitor"], node.get("mode", AUTO), f"callbacks.{name}")
        node = {key: value for key, value in node.items() if key != "mode"}
        offer = {**offer, "mode": mode}
    made = build(node, f"callbacks.{name}", offer=offer)
    if not isinstance(made, L.Callback):
        raise UserError(
            f"callbacks.{name}._target_ makes a {type(made).__name__}, not a Lightning callback."
        )
    return made


def _ours(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return early stopping as ours, where Lightning's is asked for no more than ours can do."""
    if node.get("_target_") == LIGHTNINGS_STOPPER and set(node) <= set(STOPPER_OPTIONS):
        return {**node, "_target_": STOPPER}
    return node


def _loggers(job: Job) -> list[Any]:
    offer = {
        "run_dir": str(job.run.path), "save_dir": str(job.run.path), "resumed": job.resumed,
        "store": str(store_of(job.run.path)),
    }  # fmt: skip
    nodes = {name: node for name, node in (job.config["logger"] or {}).items() if node}
    made = {name: build(node, f"logger.{name}", offer=offer) for name, node in nodes.items()}
    for name, logger in made.items():
        if not isinstance(logger, Logger):
            raise UserError(
                f"logger.{name}._target_ makes a {type(logger).__name__}, not a Lightning logger."
            )
    return list(made.values())


def _trainer(
    config: Mapping[str, Any], callbacks: list[L.Callback], run: Run, loggers: list[Any]
) -> L.Trainer:
    options = {key: value for key, value in config["trainer"].items() if key not in OURS}
    for key in [key for key in options if key in TRAINER]:
        raise UserError(f"trainer.{key} has no effect on windows; {TRAINER[key]}.")
    _quiet_lightning()
    epochs = config["stop"]["epochs"]
    given: dict[str, Any] = {
        "callbacks": callbacks,
        "logger": loggers or False,
        "max_epochs": -1 if epochs is None else epochs,
        "enable_checkpointing": any(isinstance(c, LightningCheckpoint) for c in callbacks),
        "enable_progress_bar": any(isinstance(c, ProgressBar) for c in callbacks),
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": str(run.path),
    }
    plain = options.get("deterministic") is False  # the compiler's default, too
    try:
        with without_compiler() if plain else nullcontext():
            return build(options, "trainer", **given)
    except ForeignError as error:
        why = first_line(error.__cause__ or error)
        raise ForeignError(f"The trainer refuses its settings: {why}.") from error.__cause__


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
