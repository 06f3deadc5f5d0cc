"""The largest lr at which full-batch steps are stable, from the sharpness of few trials."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from descent.analysis.grid import Grid
from descent.analysis.loss_records import at_start
from descent.analysis.settings import Setting
from descent.analysis.trials import (
    LEARNING_RATES,
    SHARPNESS,
    Study,
    Trial,
    Value,
    batch_of,
    number_in,
)
from descent.config.check import check_targets
from descent.errors import UserError
from descent.files.bounded import DamageError, parse_yaml
from descent.records.run import Run


class Configs:
    """The configs of a study's trials, without reading each.

    Options that have a dotted name are set in the config of the first trial that was asked for
    with the same choices of groups, such as `optimizer=adam`.

    Args:
        study: the trials.
    """

    def __init__(self, study: Study) -> None:
        self.groups = [key for key in study.swept if "." not in key]
        self._bases: dict[tuple[Value, ...], dict[str, Any]] = {}

    def of(self, trial: Trial) -> dict[str, Any]:
        """Return a trial's resolved config.

        Raises:
            UserError: the config of the first trial with its groups cannot be read.
        """
        key = tuple(trial.values[group] for group in self.groups)
        if key not in self._bases:
            self._bases[key] = Run(trial.directory).config()
        config = copy.deepcopy(self._bases[key])
        for name, value in trial.values.items():
            if "." in name:
                _put(config, name, _parsed(value) if isinstance(value, str) else value)
        for word in trial.seed.split():
            name, _, luck = word.partition("=")
            _put(config, name, _parsed(luck))
        return config


def _parsed(text: str) -> Any:
    """Return what a typed value means: `[8,8]` a list, `true` a truth, `full` a word."""
    try:
        return parse_yaml(text)
    except DamageError:  # a word of no meaning beyond itself
        return text


def _put(config: dict[str, Any], name: str, value: Any) -> None:
    """Set an option in the place that the config has for it, if it has one."""
    *parents, last = name.split(".")
    node: Any = config
    for parent in parents:
        node = node.get(parent) if isinstance(node, dict) else None
    if isinstance(node, dict):
        whole = isinstance(value, float) and value.is_integer() and type(node.get(last)) is int
        node[last] = int(value) if whole else value


WORK = 1e8  # parameters times rows of all that is measured: about three seconds on one core
TOLERANCE = 1e-4  # relative, of λ: more than a picture shows
BATCHING = ("batch_size", "order", "drop_last", "window")  # what the full loss does not depend on


class Sharpnesses:
    """Measures λ at the start, once for all trials that begin at the same weights and loss.

    Args:
        trust: packages that configs may instantiate from beside ours.
        work: parameters times rows that may be spent in all.
    """

    def __init__(self, trust: tuple[str, ...] = (), work: float = WORK) -> None:
        self.trust, self.left = trust, work
        self._known: dict[str, float | UserError] = {}
        self._data: dict[str, Any] = {}

    def of(self, config: Mapping[str, Any], directory: Path) -> float:
        """Return λ of the full loss at the first weights.

        Args:
            config: resolved, of the trial.
            directory: of the trial, for error sentences and the fingerprint of its data.

        Raises:
            UserError: it cannot be measured, or would take long.
        """
        key = json.dumps(_start(config), sort_keys=True, default=str)
        if key not in self._known:
            try:
                self._known[key] = self._measured(config, directory)
            except UserError as error:
                self._known[key] = error
            except (KeyError, TypeError) as error:  # a config that somebody cut short
                self._known[key] = UserError(f"{directory}/config.yaml lacks {error}.")
        found = self._known[key]
        if isinstance(found, UserError):
            raise found
        return found

    def _measured(self, config: Mapping[str, Any], directory: Path) -> float:
        import torch

        from descent.data.tensors import Chunks, split_tensors
        from descent.engine.blueprint import build_model
        from descent.engine.curvature import hessian_product, largest_curvature
        from descent.engine.losses import Penalty, criterion, objective_at

        parts = {key: config.get(key) for key in ("data", "model", "loss")}
        check_targets(parts, str(directory), self.trust)
        prepared = self._prepared(config["data"], directory)
        data = prepared.description
        with torch.random.fork_rng(devices=[]):
            model = build_model(config, data).double().eval()
        parameters = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        size, rows = sum(p.numel() for p in parameters.values()), data.rows["train"]
        if size * rows > self.left:
            raise UserError(
                f"{size:,} parameters times {rows:,} rows would take long to measure the sharpness "
                "of; train with diagnostics=[sharpness] to have it recorded."
            )
        self.left -= size * rows
        loss, node = criterion(config, data), config.get("penalty") or {}
        penalties = Penalty(node.get("l1", 0.0), node.get("l2", 0.0))
        objective = partial(objective_at, model, loss, penalties)
        x, y = split_tensors(prepared, "train", torch.device("cpu"), torch.float64)
        product, size = hessian_product(objective, parameters, Chunks(x, y))
        start = np.random.default_rng(0).standard_normal(size)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # so small a product is over before a second one has begun
        try:
            found, _ = largest_curvature(product, start, TOLERANCE)
        finally:
            torch.set_num_threads(threads)
        if not math.isfinite(found):
            raise UserError(f"the sharpness of {directory} cannot be told to 10%.")
        return float(found)

    def _prepared(self, node: Mapping[str, Any], directory: Path) -> Any:
        from descent.data.prepare import prepare
        from descent.records.run import Run

        data = {k: v for k, v in node.items() if k not in BATCHING}
        key = json.dumps(data, sort_keys=True, default=str)
        if key not in self._data:
            self._data[key] = prepare({**node, "batch_size": "full"})
        made = self._data[key]
        try:
            recorded = Run(directory).data().fingerprint
        except UserError:  # a config alone says enough
            return made
        if made.describe()["fingerprint"] != recorded:
            raise UserError(f"the data have changed since {directory} was trained.")
        return made


def _start(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the full loss and the first weights depend on."""
    data = {k: v for k, v in (config.get("data") or {}).items() if k not in BATCHING}
    own = {key: config.get(key) for key in ("model", "loss", "penalty", "seed")}
    return {**own, "data": data}


SGD = {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0}
POWERS = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}  # of lr_scaling, over the reference batch
MOST_RECORDS = 8  # trials of a column whose recorded sharpness is read


def boundaries(
    study: Study, grids: Sequence[Grid], sharpnesses: Sharpnesses | None = None
) -> tuple[Grid, ...]:
    """Return the grids with their boundary, where lr was swept and the optimizer is SGD's kind.

    The boundary is `stable_lr` of the sharpness λ at the start, as recorded (the median over the
    trials of the column), else measured at the first trial's weights. It holds for a quadratic
    with this curvature and exact gradients; smaller batches may diverge below it, and a loss that
    is no quadratic may bear more.

    Args:
        study: the trials.
        grids: of `grids`.
        sharpnesses: measures λ; one of its own if None.
    """
    sharpnesses = sharpnesses or Sharpnesses()
    configs = Configs(study)
    return tuple(_with_boundary(grid, configs, sharpnesses) for grid in grids)


def _with_boundary(grid: Grid, configs: Configs, sharpnesses: Sharpnesses) -> Grid:
    rate = grid.x if grid.y is None else grid.y
    if rate not in LEARNING_RATES:
        return grid
    alone = grid.y is None  # lr is on x, and all cells are one column
    limits, measured, notes = [], [], []
    for i in range(1 if alone else len(grid.xs)):
        column = [cell for (x, _), cell in sorted(grid.cells.items()) if alone or x == i]
        limit, sharpness, note = math.nan, math.nan, ""
        try:
            limit, sharpness, note = _limit(column, rate, configs, sharpnesses)
        except UserError as error:
            note = f"No limit of stability is drawn: {error}"
        limits.append(limit)
        measured.append(sharpness)
        notes.append(note)
    known = [value for value in measured if not math.isnan(value)]
    note = " ".join(dict.fromkeys(filter(None, notes)))
    if known:
        ends = [f"{value:.4g}" for value in (min(known), max(known))]
        told = ends[0] if ends[0] == ends[1] else " to ".join(ends)
        note = f"The sharpness before training is {told}, {note}."
    return replace(grid, boundary=np.array(limits) if known else None, note=note)


def _limit(
    column: Sequence[Setting], rate: str, configs: Configs, sharpnesses: Sharpnesses
) -> tuple[float, float, str]:
    """Return the largest stable lr, as the axis shows it, the sharpness, and how it is known.

    Other optimizers have such a limit too, but not one that is known before training: that of Adam
    follows its preconditioner (Cohen et al. 2022, *Adaptive gradient methods at the edge of
    stability*).
    """
    trials = [trial for setting in column for trial in setting.trials]
    if not trials:
        return math.nan, math.nan, ""
    begun = next((t for t in trials if t.step is not None), trials[0])
    config = configs.of(begun)
    options = config["optimizer"]
    clipped = any((config.get("clip") or {}).values())
    if not str(options.get("_target_", "")).endswith(".SGD") or clipped:
        return math.nan, math.nan, ""
    recorded = _recorded(trials)
    sharpness = sharpnesses.of(config, begun.directory) if recorded is None else recorded
    from descent.engine.curvature import stable_lr

    limit = stable_lr({**SGD, **options}, sharpness)
    scale = _scale(begun, config) if rate == "base_lr" else 1.0
    return (
        limit / scale,
        sharpness,
        "measured for this report" if recorded is None else "as recorded",
    )


def _recorded(trials: Sequence[Trial]) -> float | None:
    """Return the median sharpness that a column's trials recorded at their start."""
    measured = [t for t in trials if SHARPNESS in t.figures][:MOST_RECORDS]
    values = [at_start(trial.directory, SHARPNESS) for trial in measured]
    known = [value for value in values if math.isfinite(value)]
    return float(np.median(known)) if known else None


def _scale(trial: Trial, config: Mapping[str, Any]) -> float:
    """Return lr over `base_lr`, the lr at the reference batch."""
    batch = batch_of(trial, config)
    reference = number_in(config.get("reference_batch") or 0)
    power = POWERS.get(str(config.get("lr_scaling", "none")), 0.0)
    return (batch / reference) ** power if batch and reference else 1.0
