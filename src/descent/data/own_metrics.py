"""Metrics of torchmetrics, or of the user's own kind: named by `_target_`, tried, then measured."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.config.check import build
from descent.config.located import locate
from descent.data.arrays import Task
from descent.data.prepare import Prepared
from descent.errors import ForeignError, UserError, first_line
from descent.metrics import MAX, MIN, MODE, own_nodes, probabilities, take_own
from descent.shapes import Float

if TYPE_CHECKING:
    from torch import Tensor
    from torchmetrics import Metric as TorchMetric


# Where torchmetrics keeps what is for classes, and for numbers.
CLASSES, NUMBERS, FUNCTIONS = (
    f"torchmetrics.{part}" for part in ("classification", "regression", "functional")
)
KINDS = ("numbers", "classes")


class OwnFormula:
    """Computes a metric of torchmetrics of one run after the other.

    Classes are given as probabilities: [n] of the second of two, [n, K] of more, and of two to what
    counts classes; numbers as [n], or [n, C] of several targets, in their own units.

    Args:
        name: its key under `metrics`.
        node: says how it is built; `task`, `num_classes` and `num_outputs` are the data's, where
            it takes them and is not told.
        task: of the data.
        outputs: C of the model.

    Raises:
        UserError: it cannot be built, or is no metric for the task.
    """

    def __init__(self, name: str, node: Mapping[str, Any], task: Task, outputs: int) -> None:
        self.name, self.task, self.outputs = name, task, outputs
        self.target = str(node["_target_"])
        self.made = _made(name, {k: v for k, v in node.items() if k != MODE}, task, outputs)
        # it cuts probabilities at a half, which a run's own threshold stands for
        self.decides = hasattr(self.made, "threshold") and "threshold" not in node
        self._one_column = task is Task.BINARY and not hasattr(self.made, "num_classes")

    def __call__(self, outputs: Float[Tensor, "R n C"], wanted: Tensor) -> Float[Tensor, " R"]:
        """Return the metric of each run; of several targets that have one each, their mean."""
        import torch

        shown = probabilities(outputs) if self.task.is_classification else outputs
        if self._one_column:
            shown = shown[..., 1]
        elif self.task is Task.REGRESSION and self.outputs == 1:
            shown, wanted = shown[..., 0], wanted[..., 0]
        return torch.stack([self._of_one(run, wanted) for run in shown])

    def _of_one(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        import torch

        self.made.reset()
        self.made.update(outputs, wanted)
        value = self.made.compute()
        if not isinstance(value, torch.Tensor):
            raise NumberError(f"a {type(value).__name__}")
        by_target = not self.task.is_classification and value.shape == (self.outputs,)
        if value.numel() != 1 and not by_target:
            raise NumberError(f"values {list(value.shape)}")
        return value.double().mean()


class NumberError(Exception):
    """A metric gives something else than one number."""


def _made(name: str, node: Mapping[str, Any], task: Task, outputs: int) -> TorchMetric:
    import torch

    where, target = f"metrics.{name}", str(node["_target_"])
    module = str(getattr(locate(target, f"{where}._target_"), "__module__", ""))
    own, other = (CLASSES, NUMBERS) if task.is_classification else (NUMBERS, CLASSES)
    if module.startswith(other):
        meant, there = KINDS[not task.is_classification], KINDS[task.is_classification]
        raise UserError(
            f"{where} ({target}) is for {meant}, but the target holds {there}; choose one of {own}."
        )
    if module.startswith(FUNCTIONS):
        raise UserError(
            f"{where}._target_={target} is a function; name a class, such as torchmetrics.F1Score."
        )
    offer: dict[str, Any] = {"num_outputs": outputs}
    if task.is_classification:
        offer = {"task": str(task), "num_classes": max(outputs, 2)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it keeps all rows, which are in memory as it is
        made = build(node, where, offer=offer)
    from torchmetrics import Metric as Base

    if not isinstance(made, Base):
        raise UserError(
            f"{where}._target_={target} makes a {type(made).__name__}, no metric; name a class of "
            "torchmetrics, or one that extends torchmetrics.Metric."
        )
    made.set_dtype(torch.float64)
    return made


def settle_metrics(config: Mapping[str, Any], prepared: Prepared) -> None:
    """Try a config's own metrics on the targets that they are for; note the direction of each.

    Args:
        config: resolved; `metrics.<name>.mode` is filled in, in place.
        prepared: its data.

    Raises:
        UserError: a metric that does not fit the task, or is not one number.
        ForeignError: it cannot be made, or not be computed of these rows.
    """
    arrays = prepared.arrays
    for name, node in own_nodes(config).items():
        if arrays.task is Task.LANDSCAPE:
            raise UserError(f"metrics.{name}: a landscape has nothing to measure; leave it out.")
        formula = OwnFormula(name, node, arrays.task, arrays.outputs)
        for split in ("val", "test"):
            if len(prepared.rows[split]) and (split == "val" or config["test"]):
                _try(formula, arrays.targets[prepared.rows[split]], split)
        node[MODE] = _direction(name, node, formula)
    take_own(config)


def _direction(name: str, node: Mapping[str, Any], formula: OwnFormula) -> str:
    """Return `min` or `max`: the metric's own, or what was said where it has none."""
    higher, asked = formula.made.higher_is_better, node.get(MODE)
    if asked not in (None, MIN, MAX):
        raise UserError(f"metrics.{name}.{MODE}={asked} does not fit: it must be min or max.")
    if higher is None and asked is None:
        raise UserError(
            f"Nothing says whether more or less of metrics.{name} ({formula.target}) is better; "
            f"add +metrics.{name}.{MODE}=max or {MODE}=min."
        )
    own = asked if higher is None else MAX if higher else MIN
    if asked not in (None, own):
        way = "higher" if higher else "lower"
        raise UserError(
            f"metrics.{name}.{MODE}={asked} contradicts {formula.target}, which is better the "
            f"{way} it is; leave it out."
        )
    return str(own)


def _try(formula: OwnFormula, targets: np.ndarray, split: str) -> None:
    """Refuse a metric that cannot be computed of a split's targets, and some outputs."""
    import torch

    n, random = len(targets), torch.Generator().manual_seed(0)
    outputs = torch.randn(1, n, formula.outputs, generator=random, dtype=torch.float64)
    wanted = torch.from_numpy(np.array(targets))
    if not formula.task.is_classification:
        wanted = wanted.double().reshape(n, -1)
        outputs = wanted + outputs * wanted.std(dim=0, correction=0)  # in the target's units
    where = f"metrics.{formula.name} ({formula.target})"
    try:
        formula(outputs, wanted)
    except NumberError as error:
        raise UserError(
            f"{where} gives {error}, not one number to compare by; choose another metric, or "
            "other options of it."
        ) from None
    except Exception as error:
        rows = {"val": "validation", "test": "test"}[split]
        kind = KINDS[formula.task.is_classification]
        raise ForeignError(
            f"{where} cannot be computed of the {n:,} {rows} rows, whose target holds {kind}: "
            f"{first_line(error).rstrip('.')}."
        ) from error
