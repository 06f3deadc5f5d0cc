"""The learning rate above which theory foretells divergence, column by column of a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from descent.errors import UserError
from descent.study.configs import Configs
from descent.study.curvature import Sharpnesses
from descent.study.grid import Grid
from descent.study.options import (
    LEARNING_RATES,
    SHARPNESS,
    batch_of,
    number_in,
    optimizer_of,
)
from descent.study.records import at_start
from descent.study.settings import Setting
from descent.study.trials import Study, Trial

SGD = {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0}
POWERS = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}  # of lr_scaling, over the reference batch
MOST_RECORDS = 8  # trials of a column whose recorded sharpness is read


def boundaries(
    study: Study, grids: Sequence[Grid], sharpnesses: Sharpnesses | None = None
) -> tuple[Grid, ...]:
    """Return the grids with their boundary, where lr is on y and the optimizer is SGD's kind.

    The boundary is `stable_lr` of the sharpness λ at the start, as recorded (the median over the
    trials of the column), else measured at the first trial's weights. It holds for a quadratic
    with this curvature and exact gradients; smaller batches may diverge below it, and a loss that
    is no quadratic may bear more. Other optimizers, and clipped gradients, have no such limit.

    Args:
        study: the trials.
        grids: of `grids`.
        sharpnesses: measures λ; one of its own if None.
    """
    sharpnesses = sharpnesses or Sharpnesses()
    configs = Configs(study)
    return tuple(_with_boundary(grid, configs, sharpnesses) for grid in grids)


def _with_boundary(grid: Grid, configs: Configs, sharpnesses: Sharpnesses) -> Grid:
    if grid.y not in LEARNING_RATES:
        return grid
    found, notes = [], []
    for i in range(len(grid.xs)):
        column = [cell for (x, _), cell in sorted(grid.cells.items()) if x == i]
        try:
            limit, note = _limit(column, grid.y, configs, sharpnesses)
        except UserError as error:
            limit, note = math.nan, f"no boundary: {error}"
        found.append(limit)
        notes.append(note)
    known = [n for n, limit in zip(notes, found, strict=True) if not math.isnan(limit)]
    note = "; ".join(dict.fromkeys(known or notes))
    return replace(grid, boundary=np.array(found) if known else None, note=note)


def _limit(
    column: Sequence[Setting], rate: str, configs: Configs, sharpnesses: Sharpnesses
) -> tuple[float, str]:
    """Return the largest stable lr, as the axis shows it, and what it is from or why it is NaN."""
    trials = [trial for setting in column for trial in setting.trials]
    if not trials:
        return math.nan, ""
    begun = next((t for t in trials if t.step is not None), trials[0])
    config = configs.of(begun)
    options = config["optimizer"]
    if not str(options.get("_target_", "")).endswith(".SGD"):
        return math.nan, f"no boundary: {optimizer_of(config)} has no largest stable lr"
    if any((config.get("clip") or {}).values()):
        return math.nan, "no boundary: clipped gradients have no largest stable lr"
    recorded = _recorded(trials)
    sharpness = sharpnesses.of(config, begun.directory) if recorded is None else recorded
    how = "measured" if recorded is None else "recorded"
    from descent.curvature import stable_lr

    limit = stable_lr({**SGD, **options}, sharpness)
    scale = _scale(begun, config) if rate == "base_lr" else 1.0
    return limit / scale, f"sharpness {sharpness:.4g}, {how} before training"


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
