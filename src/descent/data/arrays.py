"""`Arrays`: what every data source returns, and the checks all sources share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from descent.errors import UserError
from descent.shapes import Shaped


class Task(StrEnum):
    """What is predicted; it decides the loss, the outputs and the metrics."""

    REGRESSION = "regression"
    BINARY = "binary"
    MULTICLASS = "multiclass"
    LANDSCAPE = "landscape"  # the outputs are the losses

    @property
    def is_classification(self) -> bool:
        """Whether targets are classes."""
        return self in (Task.BINARY, Task.MULTICLASS)


@dataclass(frozen=True)
class Column:
    """One input column: numbers as they are, or texts that become one feature per category."""

    name: str
    categories: tuple[str, ...] | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features this column becomes."""
        if self.categories is None:
            return (self.name,)
        return tuple(f"{self.name}={category}" for category in self.categories)


@dataclass(frozen=True)
class Arrays:
    """A data set as its source gives it: unscaled, unsplit, on the host.

    Args:
        features: [N, F] numbers.
        targets: [N] class indices from 0 for classification, [N] or [N, C] numbers for regression.
        task: what is predicted.
        columns: the input columns, whose features in order are the F features.
        target: the target's name.
        classes: class names by index; empty for regression.
        disposable: the features may be overwritten by the tensors made from them, because their
            source keeps no hold of them; large float32 data then never exist twice.
        image: height and width, where the features are the pixels of a grey image, row by row.
    """

    features: Shaped[np.ndarray, "N F"]
    targets: Shaped[np.ndarray, "N ..."]
    task: Task
    columns: tuple[Column, ...]
    target: str = "target"
    classes: tuple[str, ...] = ()
    disposable: bool = False
    image: tuple[int, int] | None = None

    @property
    def rows(self) -> int:
        """N."""
        return len(self.features)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name per feature."""
        return tuple(name for column in self.columns for name in column.features)

    @property
    def outputs(self) -> int:
        """How many numbers a model must give per row: 1 for binary, C for multiclass."""
        if self.task is Task.MULTICLASS:
            return len(self.classes)
        return 1 if self.targets.ndim == 1 else self.targets.shape[1]


def numeric(names: Sequence[str]) -> tuple[Column, ...]:
    """Return one numeric column per name."""
    return tuple(Column(str(name)) for name in names)


def fingerprint(arrays: Arrays) -> str:
    """Return a digest of all values, to notice when a source has changed since training."""
    digest = hashlib.blake2b(digest_size=16)
    for values in (arrays.features, arrays.targets):
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def check_arrays(arrays: Arrays) -> None:
    """Check what every source must give.

    Raises:
        UserError: no rows, no features, NaN or inf anywhere, nothing but constant features, fewer
            than two classes.
    """
    features, targets = arrays.features, arrays.targets
    if arrays.rows == 0:
        raise UserError("The data have no rows; there is nothing to train on.")
    if features.shape[1] == 0:
        raise UserError("The data have no features; name at least one column in data.features.")
    check_finite(features, arrays.feature_names, "feature")
    if not arrays.task.is_classification:
        check_finite(targets.reshape(arrays.rows, -1), [arrays.target] * arrays.outputs, "target")
    if arrays.task is Task.LANDSCAPE:
        return
    if arrays.rows > 1 and not (features.max(axis=0) > features.min(axis=0)).any():
        raise UserError(
            "Every feature is constant, so nothing can be learnt from them; "
            "choose others with data.features."
        )
    if arrays.task.is_classification and len(arrays.classes) < 2:
        found = f"only '{arrays.classes[0]}'" if arrays.classes else "none"
        raise UserError(
            f"A classification needs at least two classes, but target '{arrays.target}' has "
            f"{found}; choose another data.target, or data.task=regression."
        )


def check_finite(
    values: Shaped[np.ndarray, "N F"], names: Sequence[str], kind: str, source: str = "The data"
) -> None:
    """Refuse NaN and inf, naming the column and the first row (from 1) that holds one."""
    with np.errstate(all="ignore"):
        total = values.sum()
    if np.isfinite(total):  # a finite sum proves all finite, with no [N, F] mask
        return
    for i, name in enumerate(names):
        bad = np.flatnonzero(~np.isfinite(values[:, i]))
        if len(bad):
            word = "NaN" if np.isnan(values[bad[0], i]) else "inf"
            more = f" ({len(bad)} rows in all)" if len(bad) > 1 else ""
            raise UserError(
                f"{source} hold {word} in {kind} '{name}', row {bad[0] + 1}{more}; "
                "fill or remove such rows first."
            )
