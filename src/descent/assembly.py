"""Config -> objects: model, learner, data module, callbacks, loggers and trainer of a run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint
from lightning.pytorch.callbacks import ProgressBar
from torch import nn

from descent.blueprint import build_model, build_optimizer, build_schedule, try_out
from descent.callbacks.final_weights import FinalWeights
from descent.callbacks.full_loss import FullLoss
from descent.callbacks.progress import Progress
from descent.config import build
from descent.data.module import DataModule
from descent.data.prepare import Description, Prepared
from descent.device import choose_threads, describe_device
from descent.errors import ForeignError, UserError, first_line
from descent.foreign import fit_in, may_change_weights, refuse_unfit, watching_batches
from descent.job import Job
from descent.learner import Learner
from descent.losses import Penalty
from descent.metrics import AUTO, settled_mode
from descent.models.point import Point
from descent.runs import Run
from descent.stepping import Clip

log = logging.getLogger(__name__)

MOST_SHARES = 4  # classes whose share the data line shows

# Arguments of Lightning's Trainer that would not mean here what they say.
ELSEWHERE = {
    "max_epochs": "stop.epochs",
    "max_steps": "stop.steps",
    "gradient_clip_val": "clip.norm",
    "gradient_clip_algorithm": "clip.norm or clip.value",
    "accumulate_grad_batches": "a larger data.batch_size",
    "limit_train_batches": "data.limit",
    "overfit_batches": "debug=overfit",
    "fast_dev_run": "debug=default",
    "val_check_interval": "trainer.check_val_every_n_epoch",
}


def assemble(job: Job) -> tuple[Learner, DataModule, L.Trainer]:
    """Build everything a run consists of, and say what was built.

    Raises:
        UserError: something in the config cannot be built.
    """
    config, prepared = job.config, job.prepared
    description = Description.from_dict(prepared.describe())
    model = build_model(config, description)
    named = _callbacks(config, job.run)
    refuse_unfit(named, model, logs=any((config["logger"] or {}).values()))
    callbacks, watching = list(named.values()), watching_batches(named)
    fit_in(callbacks)
    if any(may_change_weights(callback) for callback in callbacks):
        callbacks.append(FinalWeights())
    for callback in callbacks:
        if isinstance(callback, Progress):
            callback.milestones = not job.one_of_many
            callback.hidden = any(isinstance(c, ProgressBar) for c in callbacks)
    cuts = [c.every_n_steps for c in callbacks if isinstance(c, FullLoss) and c.every_n_steps]
    options = {key: config["data"][key] for key in ("order", "drop_last", "window", "augment")}
    data = DataModule(
        prepared, **options, seed=config["seed"], cut=cuts[0] if cuts else None,
        single=bool(watching),
    )  # fmt: skip
    learner = build_learner(config, description, model)
    parameters = sum(p.numel() for p in model.parameters())
    threads, why = choose_threads(config["trainer"]["threads"], parameters, data.batch_size)
    torch.set_num_threads(threads)
    trainer = _trainer(config, callbacks, job.run, validates=data.rows["val"] > 0)
    if trainer.is_global_zero and not job.one_of_many:
        _describe(job, learner, data, trainer, threads, why)
    if trainer.is_global_zero and watching:
        overruled = config["data"]["window"] not in ("auto", 1)
        without = f", so that data.window={config['data']['window']} has no effect"
        log.info(
            "window    one step: every batch is shown to %s%s",
            ", ".join(watching), without if overruled else "",
        )  # fmt: skip
    return learner, data, trainer


def _describe(
    job: Job, learner: Learner, data: DataModule, trainer: L.Trainer, threads: int, why: str
) -> None:
    config, description = job.config, learner.data
    parameters = sum(p.numel() for p in learner.model.parameters())
    if isinstance(learner.model, Point):
        log.info("landscape %s", learner.model.landscape.sentence)
    else:
        rows = ", ".join(f"{n:,} {name}" for name, n in data.rows.items() if n)
        log.info(
            "data      %s: %s rows, %s, %s",
            config["data"]["source"]["_target_"].rsplit(".", 1)[-1],
            rows,
            _count(sum(len(c.features) for c in description.columns), "feature"),
            _classes(job.prepared) if description.classes else "regression",
        )
        for note in description.notes:
            log.info("          %s", note)
    log.info("model     %s, %s", type(learner.model).__name__, _count(parameters, "parameter"))
    log.info("device    %s", describe_device(trainer, config["trainer"]["accelerator"]))
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


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def build_learner(
    config: Mapping[str, Any],
    description: Description,
    model: nn.Module,
    rows: Mapping[str, int] | None = None,
) -> Learner:
    """Build the learner; optimizer and schedule are tried out on copies of its parameters.

    Args:
        config: the run's.
        description: of the run's data.
        model: built for it.
        rows: rows by split to be evaluated, where they are not the run's own.
    """
    optimizer = build_optimizer(config)
    schedule = build_schedule(config, description)
    try_out(optimizer, schedule, model)
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


def _callbacks(config: Mapping[str, Any], run: Run) -> dict[str, L.Callback]:
    """Return the callbacks by their names in the config."""
    nodes = {name: node for name, node in (config["callbacks"] or {}).items() if node}
    offer = {"run_dir": run.path, "dirpath": str(run.path / "checkpoints")}
    made = {name: _callback(name, node, offer) for name, node in nodes.items()}
    if config["stop"]["loss"] is not None and not any(
        isinstance(c, FullLoss) for c in made.values()
    ):
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


def _trainer(
    config: Mapping[str, Any], callbacks: list[L.Callback], run: Run, validates: bool
) -> L.Trainer:
    options = {key: value for key, value in config["trainer"].items() if key != "threads"}
    for key in [key for key in options if key in ELSEWHERE]:
        raise UserError(f"trainer.{key} has no effect on windows; use {ELSEWHERE[key]} instead.")
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
        "enable_checkpointing": any(isinstance(c, LightningCheckpoint) for c in callbacks),
        "enable_progress_bar": any(isinstance(c, ProgressBar) for c in callbacks),
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": str(run.path),
    }
    try:
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
