"""The largest lr at which full-batch steps are stable by theory, column by column of a grid."""

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
    from descent.curvature import stable_lr

    limit = stable_lr({**SGD, **options}, sharpness)
    scale = _scale(begun, config) if rate == "base_lr" else 1.0
    return limit / scale, sharpness, "measured again" if recorded is None else "as recorded"


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
