"""From the `data` config to checked, split and scaled-to-be data; NumPy only, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from descent.config.check import build
from descent.data.arrays import (
    Arrays,
    Column,
    Kind,
    Task,
    check_arrays,
    check_classes,
    check_spread,
    fingerprint,
)
from descent.data.row_weights import class_weights, row_weights
from descent.data.scale import Scaler, fit_scaler
from descent.data.split import split_rows
from descent.errors import UserError
from descent.files.bounded import DamageError
from descent.files.schema import (
    TEXT,
    Check,
    check_fields,
    each,
    every,
    is_count,
    is_finite,
    is_text,
    maybe,
)
from descent.shapes import Int


@dataclass
class Prepared:
    """Data that are known to be good, with the split and the scalers fitted on its training rows.

    Args:
        arrays: the source's rows.
        rows: row numbers of train, val and test.
        scaler: for features.
        target_scaler: for regression targets.
        batch_size: rows per step, `full` resolved.
        notes: what was decided about the data, a line each.
        metrics: what is measured beside the usual.
        weights: [N], of the rows in the loss; None where all count the same.
        class_weights: of each class, which the weights hold already.
        threshold: above which the second of two classes is predicted, or the metric it is best by.
    """

    arrays: Arrays
    rows: Mapping[str, np.ndarray]
    scaler: Scaler
    target_scaler: Scaler
    batch_size: int
    notes: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    weights: np.ndarray | None = None
    class_weights: tuple[float, ...] = ()
    threshold: float | str = 0.5

    def __post_init__(self) -> None:
        self._description = self._describe()

    def describe(self) -> dict[str, Any]:
        """Return what `data.json` keeps: all that is needed to encode new rows as these were."""
        return self._description

    @cached_property
    def description(self) -> Description:
        """What `describe` returns, as who reads the run back gets it."""
        return Description.from_dict(self._description)

    def _describe(self) -> dict[str, Any]:
        arrays = self.arrays
        return {
            "task": str(arrays.task),
            "target": arrays.target,
            "classes": list(arrays.classes),
            "columns": [column.to_dict() for column in arrays.columns],
            "outputs": arrays.outputs,
            "scaler": self.scaler.to_dict(),
            "target_scaler": self.target_scaler.to_dict(),
            "rows": {name: len(rows) for name, rows in self.rows.items()},
            "fingerprint": fingerprint(arrays),
            "targets": list(arrays.target_names),
            "notes": list(self.notes),
            "metrics": list(self.metrics),
            "baseline": _baseline(arrays, self.rows),
            "weight": arrays.weight,
            "class_weights": list(self.class_weights),
            "threshold": self.threshold,
            "dated": arrays.dated,
        }


def steps_per_epoch(rows: int, batch_size: int, drop_last: bool) -> int:
    """Return the steps of an epoch over N rows: those of whole batches, and of a short last one."""
    return rows // batch_size if drop_last else -(-rows // batch_size)


@dataclass(frozen=True)
class Description:
    """`data.json` read back."""

    task: Task
    target: str
    classes: tuple[str, ...]
    columns: tuple[Column, ...]
    outputs: int
    scaler: Scaler
    target_scaler: Scaler
    rows: Mapping[str, int]
    fingerprint: str
    targets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    baseline: Mapping[str, float] = field(default_factory=dict)
    weight: str | None = None
    class_weights: tuple[float, ...] = ()
    threshold: float | str = 0.5
    dated: bool = False

    @property
    def weighted(self) -> bool:
        """Whether the loss weighs rows."""
        return self.weight is not None or bool(self.class_weights)

    def steps_per_epoch(self, data: Mapping[str, Any]) -> int:
        """Return the steps of an epoch over the training rows.

        Args:
            data: the config's node, whose batch size may be `full` or larger than the table.
        """
        rows = self.rows["train"]
        return max(1, steps_per_epoch(rows, self.batch_size(data), data["drop_last"]))

    def batch_size(self, data: Mapping[str, Any]) -> int:
        """Return how many training rows a step takes, of the same node."""
        rows, given = self.rows["train"], data["batch_size"]
        return rows if given == "full" else min(given, rows)

    def choose(
        self, probabilities: np.ndarray, threshold: float | None = None
    ) -> Int[np.ndarray, " n"]:
        """Return the predicted classes [n] of probabilities [n, K].

        Args:
            probabilities: of each class.
            threshold: the run's, above which the second of two is predicted; None for a half.
        """
        if self.task is Task.BINARY:
            half = 0.5 if threshold is None else threshold
            return (probabilities[:, 1] > half).astype(np.int64)
        return probabilities.argmax(axis=1)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The columns to predict; one, or one for each output."""
        return self.targets or (self.target,)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Description:
        """Read `Prepared.describe` back.

        Raises:
            DamageError: which field is missing, or does not go with the others.
        """
        check_description(data)
        columns = tuple(Column.from_dict(column) for column in data["columns"])
        made = cls(
            task=Task(data["task"]),
            target=data["target"],
            classes=tuple(data["classes"]),
            columns=columns,
            outputs=data["outputs"],
            scaler=Scaler.from_dict(data["scaler"]),
            target_scaler=Scaler.from_dict(data["target_scaler"]),
            rows=dict(data["rows"]),
            fingerprint=data["fingerprint"],
            targets=tuple(data.get("targets", ())),
            notes=tuple(data.get("notes", ())),
            metrics=tuple(data.get("metrics", ())),
            baseline=dict(data.get("baseline", {})),
            weight=data.get("weight"),
            class_weights=tuple(data.get("class_weights", ())),
            threshold=data.get("threshold", 0.5),
            dated=data.get("dated", False),
        )
        made._check()
        return made

    def _check(self) -> None:
        """Refuse fields that do not go together: they would scale or name other things."""
        features = sum(len(column.features) for column in self.columns)
        names = [column.name for column in self.columns]
        classes = len(self.classes)
        many = {Task.BINARY: classes == 2, Task.MULTICLASS: classes > 2}.get(
            self.task, classes == 0
        )
        outputs = classes if self.task is Task.MULTICLASS else 1
        targets = 1 if self.task.is_classification else self.outputs
        for fits, what in (
            (len({*names}) == len(names), "two of its columns have one name"),
            (many, f"{classes:,} classes do not go with task {self.task}"),
            (
                self.outputs == outputs or self.task is Task.REGRESSION,
                f"{self.outputs:,} outputs do not go with task {self.task}",
            ),
            (
                len(self.scaler.scale) == len(self.scaler.offset) == features,
                f"'scaler' is not of the {features:,} features",
            ),
            (
                len(self.target_scaler.scale) == len(self.target_scaler.offset) == targets,
                "'target_scaler' is not of the target",
            ),
            (
                len(self.class_weights) in (0, classes),
                f"{len(self.class_weights):,} class weights do not go with {classes:,} classes",
            ),
        ):
            if not fits:
                raise DamageError(what)


def prepare(data: Mapping[str, Any]) -> Prepared:
    """Read, check and split the data that a `data` config describes.

    Raises:
        UserError: whatever makes the data unusable, in one sentence.
    """
    if not isinstance(data["source"], Mapping):
        raise UserError("data.source says nothing of where the rows come from; choose data=...")
    arrays = build(data["source"], "data.source")
    if not isinstance(arrays, Arrays):
        raise UserError(
            f"data.source._target_ makes a {type(arrays).__name__}, where a source returns "
            "descent.data.arrays.Arrays; README says how to write one."
        )
    check_classes(arrays) if arrays.fit else check_arrays(arrays)
    notes: list[str] = []
    rows = split_rows(
        arrays, data["val_fraction"], data["test_fraction"], data["split_seed"], data["limit"],
        folds=data.get("folds"), fold=data.get("fold", 0), notes=notes,
    )  # fmt: skip
    train = rows["train"]
    if arrays.fit is not None:
        arrays = arrays.fit(arrays, train)
        check_arrays(arrays, may_be_empty=True)
    _check_augment(data.get("augment") or {}, arrays)
    numbers = arrays.targets.reshape(arrays.rows, -1)
    check_spread(arrays.features, arrays.feature_names, "feature")
    check_spread(numbers, [arrays.target] * numbers.shape[1], "target")
    target_kind = "none" if arrays.task.is_classification else data["scale_target"]
    batch = _batch_size(data["batch_size"], len(train), notes)
    by_class = class_weights(data.get("class_weight"), arrays, train, notes)
    weights = row_weights(arrays, rows, by_class, notes)
    return Prepared(
        arrays,
        rows,
        fit_scaler(data["scale"], arrays.features, train),
        fit_scaler(target_kind, numbers, train, log=_log_target(data, arrays)),
        batch,
        (*arrays.notes, *notes),
        tuple(data.get("metrics") or ()),
        weights,
        by_class,
        _threshold(data.get("threshold", 0.5), arrays, rows),
    )


def _threshold(asked: float | str, arrays: Arrays, rows: Mapping[str, np.ndarray]) -> float | str:
    """Return the threshold, or the metric by which it will be chosen; refuse what cannot be."""
    if asked == 0.5:
        return asked
    if arrays.task is not Task.BINARY:
        raise UserError(
            f"data.threshold={asked} needs a target of two classes, which '{arrays.target}' has "
            "not; leave it out."
        )
    if isinstance(asked, str) and not len(rows["val"]):
        raise UserError(
            f"data.threshold={asked} is chosen on validation rows, and none are kept "
            "(data.val_fraction=0); give a number, or keep some."
        )
    return asked


def _baseline(arrays: Arrays, rows: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the metrics of a guess that knows the training targets only: majority or mean."""
    train = arrays.targets[rows["train"]]
    values: dict[str, float] = {}
    if arrays.task is Task.LANDSCAPE or not len(train):
        return values
    for split in ("val", "test"):
        wanted = arrays.targets[rows[split]]
        if not len(wanted):
            continue
        if arrays.task.is_classification:
            guess = np.bincount(train, minlength=len(arrays.classes)).argmax()
            values[f"{split}/accuracy"] = float((wanted == guess).mean())
            values[f"{split}/balanced_accuracy"] = 1 / len(np.unique(wanted))
            values[f"{split}/auc"] = 0.5
            continue
        scale = max(float(np.abs(arrays.targets).max()), 1.0)  # whose square may be too large
        away = (wanted - train.mean(axis=0)) / scale
        values[f"{split}/rmse"] = float(np.sqrt(np.square(away).mean())) * scale
        values[f"{split}/mae"] = float(np.abs(away).mean()) * scale
        spread = np.square((wanted - wanted.mean(axis=0)) / scale).sum(axis=0)
        if len(wanted) > 1 and np.all(spread > 0):
            values[f"{split}/r2"] = float((1 - np.square(away).sum(axis=0) / spread).mean())
    return values


def _log_target(data: Mapping[str, Any], arrays: Arrays) -> bool:
    """Whether the logarithm of the target is learnt; refuse one that has none."""
    if not data.get("log_target", False):
        return False
    if arrays.task.is_classification:
        raise UserError("data.log_target=true needs numbers to regress, not classes; leave it out.")
    if arrays.task is Task.LANDSCAPE or arrays.targets.min() <= 0:
        raise UserError(
            f"data.log_target=true needs a target above 0 in every row, but '{arrays.target}' goes "
            f"down to {arrays.targets.min():g}; leave it out."
        )
    return True


def _check_augment(options: Mapping[str, float | int], arrays: Arrays) -> None:
    asked = next((name for name, value in options.items() if value), None)
    if asked is None:
        return
    if arrays.image is None:
        raise UserError(
            f"data.augment.{asked}={options[asked]:g} needs images, which these data are not; "
            "leave it at 0, or choose data=digits."
        )
    if options["shift"] >= min(arrays.image):
        raise UserError(
            f"data.augment.shift={options['shift']:g} would push an image of "
            f"{arrays.image[0]}x{arrays.image[1]} pixels out of sight; give a smaller number."
        )


def _batch_size(given: int | str, rows: int, notes: list[str]) -> int:
    if given == "full":
        return rows
    if int(given) > rows:
        notes.append(f"data.batch_size={given} is more than the {rows} training rows: full batches")
    return min(int(given), rows)


MOST_OUTPUTS = 10_000  # of a regression; there are as many of a classification as classes


KINDS = tuple(Kind)
PARTS = ("days", "year", "month", "day", "weekday", "hour")
MOST_BUCKETS = 10_000
COLUMN: Mapping[str, Check] = {
    "name": is_text,
    "kind": lambda value: value in KINDS,
    "categories": lambda value: (
        value is None or (each(is_text)(value) and len({*value}) == len(value))
    ),
    "fill": lambda value: value is None or is_finite(value),
    "gap": lambda value: type(value) is bool,
    "parts": each(lambda value: value in PARTS),
    "shares": each(is_finite),
    "buckets": lambda value: type(value) is int and 0 <= value <= MOST_BUCKETS,
    "day_first": lambda value: value is None or type(value) is bool,
}


def _is_column(value: Any) -> bool:
    if not isinstance(value, dict) or not {"name", "categories"} <= value.keys():
        return False
    if any(key not in COLUMN or not COLUMN[key](item) for key, item in value.items()):
        return False
    shares = value.get("shares")
    return shares is None or len(shares) == len(value["categories"] or ())


def _is_scaler(value: Any) -> bool:
    if not isinstance(value, dict) or not {"offset", "scale"} <= value.keys():
        return False
    if type(value.get("log", False)) is not bool:
        return False
    numbers = each(is_finite)(value["offset"]) and each(is_finite)(value["scale"])
    return numbers and all(scale > 0 for scale in value["scale"])


def _is_rows(value: Any) -> bool:
    return isinstance(value, dict) and all(
        is_count(value.get(split)) for split in ("train", "val", "test")
    )


TASKS = tuple(Task)
SCALER = (_is_scaler, "an offset and a scale above 0, finite, of each feature")
DESCRIPTION: Mapping[str, tuple[Check, str]] = {
    "task": (lambda value: value in TASKS, f"one of {', '.join(TASKS)}"),
    "target": TEXT,
    "classes": (
        lambda value: each(is_text)(value) and len({*value}) == len(value),
        "a list of different texts",
    ),
    "columns": (each(_is_column), "a list of names, each with its kind and categories or null"),
    "outputs": (
        lambda value: type(value) is int and 1 <= value <= MOST_OUTPUTS,
        f"a whole number from 1 to {MOST_OUTPUTS:,}",
    ),
    "scaler": SCALER,
    "target_scaler": SCALER,
    "rows": (_is_rows, "the rows of train, val and test"),
    "fingerprint": TEXT,
}
THRESHOLDS = ("accuracy", "balanced_accuracy", "f1")  # by which one is chosen
# What `data.json` had not from the beginning.
LATER: Mapping[str, tuple[Check, str]] = {
    "targets": (each(is_text), "a list of names"),
    "notes": (each(is_text), "a list of texts"),
    "metrics": (each(is_text), "a list of names"),
    "baseline": (every(is_finite), "a number by metric"),
    "weight": (maybe(is_text), "a text"),
    "class_weights": (
        each(lambda value: is_finite(value) and value > 0),
        "a list of numbers above 0",
    ),
    "threshold": (
        lambda value: value in THRESHOLDS or (is_finite(value) and 0 < value < 1),
        "a number between 0 and 1, or a metric",
    ),
    "dated": (lambda value: type(value) is bool, "true or false"),
}


def check_description(values: Any) -> None:
    """Check `data.json`, field by field.

    Raises:
        DamageError: a field is missing or not what it must be.
    """
    check_fields(values, {**DESCRIPTION, **LATER})
    lacking = [key for key in DESCRIPTION if key not in values]
    if lacking:
        raise DamageError(f"it has no {lacking[0]}")
