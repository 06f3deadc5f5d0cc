"""`Arrays`: what every data source returns, and the checks all sources share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import numpy as np

from descent.errors import UserError
from descent.shapes import Int, Shaped


class Kind(StrEnum):
    """What a column of a table holds."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    CODE = "code"  # texts of digits, such as 00713
    DATE = "date"


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
    """One input column and the features it becomes.

    Args:
        name: of the column.
        categories: texts that become one feature each, as written; None for numbers and dates.
        kind: what the column holds.
        fill: what stands in for a missing number, or a missing date's days since 1970; None where
            gaps are refused.
        gap: whether a feature of its own says that the value was missing.
        parts: of a date, such as `month`.
        shares: of the categories in the training rows; the column is then one feature, the share.
        buckets: how many features hashed texts are spread over; 0 for none.
        day_first: how dates like 01/02/2026 were read, where that was a question.
    """

    name: str
    categories: tuple[str, ...] | None = None
    kind: Kind = Kind.NUMBER
    fill: float | None = None
    gap: bool = False
    parts: tuple[str, ...] = ()
    shares: tuple[float, ...] | None = None
    buckets: int = 0
    day_first: bool | None = None

    def __post_init__(self) -> None:
        if self.categories is not None and self.kind is Kind.NUMBER:
            object.__setattr__(self, "kind", Kind.CATEGORY)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features this column becomes."""
        if self.parts:
            names = tuple(f"{self.name} {part}" for part in self.parts)
        elif self.buckets:
            names = tuple(f"{self.name} bucket {i}" for i in range(self.buckets))
        elif self.shares is not None:
            names = (f"{self.name} share",)
        elif self.categories is not None:
            names = tuple(f"{self.name}={category}" for category in self.categories)
        else:
            names = (self.name,)
        return (*names, f"{self.name} missing") if self.gap else names

    def to_dict(self) -> dict[str, Any]:
        """Return what `data.json` keeps of the column, what is as usual left out."""
        usual = Column(self.name)
        kept = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name in ("name", "kind", "categories")
            or getattr(self, f.name) != getattr(usual, f.name)
        }
        return {k: list(v) if isinstance(v, tuple) else v for k, v in kept.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Column:
        """Read `to_dict` back, or what was kept before columns had kinds.

        Raises:
            KeyError, TypeError, ValueError: it is no column.
        """
        known = {f.name for f in fields(cls)}
        odd = [key for key in data if key not in known]
        if odd:
            raise ValueError(f"a column has no '{odd[0]}'")
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data.items()
        }
        usual = Kind.NUMBER if values.get("categories") is None else Kind.CATEGORY
        return cls(**{**values, "kind": Kind(values.get("kind", usual))})


@dataclass(frozen=True)
class Arrays:
    """A data set as its source gives it: unscaled, unsplit, on the host.

    Args:
        features: [N, F] numbers.
        targets: [N] class indices from 0 for classification, [N] or [N, C] numbers for regression.
        task: what is predicted.
        columns: the input columns, whose features in order are the F features.
        target: the target's name; of several, their names.
        classes: class names by index; empty for regression.
        disposable: the features may be overwritten by the tensors made from them, because their
            source keeps no hold of them; large float32 data then never exist twice.
        image: height and width, where the features are the pixels of a grey image, row by row.
        fit: makes the arrays anew once it is known which rows train: what fills gaps, and which
            categories there are, is learnt from those alone. None where nothing is to be learnt.
        groups: [N] codes of the groups that a split keeps together.
        times: [N] by which a split keeps the latest rows for test and the earlier for training.
        notes: what was decided about the data, a line each.
        target_names: of several targets; empty for one.
        weights: [N], at least 0, of the rows in the loss; None where all count the same.
        weight: the name of their column.
        split: the rows of `train`, and of `val` and `test` where the source has chosen them; None
            where the split is ours.
        dated: whether the targets are dates, as days since 1970-01-01.
    """

    features: Shaped[np.ndarray, "N F"]
    targets: Shaped[np.ndarray, "N ..."]
    task: Task
    columns: tuple[Column, ...]
    target: str = "target"
    classes: tuple[str, ...] = ()
    disposable: bool = False
    image: tuple[int, int] | None = None
    fit: Callable[[Arrays, Int[np.ndarray, " n"]], Arrays] | None = None
    groups: Shaped[np.ndarray, " N"] | None = None
    times: Shaped[np.ndarray, " N"] | None = None
    notes: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    weights: Shaped[np.ndarray, " N"] | None = None
    weight: str | None = None
    split: Mapping[str, Int[np.ndarray, " n"]] | None = None
    dated: bool = False

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
    more = () if arrays.weights is None else (arrays.weights,)
    for values in (arrays.features, arrays.targets, *more):
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def check_arrays(arrays: Arrays, may_be_empty: bool = False) -> None:
    """Check what every source must give.

    Args:
        arrays: the data.
        may_be_empty: whether features may be lacking or constant, as a line has told.

    Raises:
        UserError: no rows, no features, NaN or inf anywhere, nothing but constant features, fewer
            than two classes.
    """
    features, targets = arrays.features, arrays.targets
    check_classes(arrays)
    if features.shape[1] == 0 and not may_be_empty:
        raise UserError("The data have no features; name at least one column in data.features.")
    check_finite(features, arrays.feature_names, "feature")
    if not arrays.task.is_classification:
        check_finite(targets.reshape(arrays.rows, -1), [arrays.target] * arrays.outputs, "target")
    if arrays.task is Task.LANDSCAPE:
        return
    if (
        not may_be_empty
        and arrays.rows > 1
        and not (features.max(axis=0) > features.min(axis=0)).any()
    ):
        raise UserError(
            "Every feature is constant, so nothing can be learnt from them; "
            "choose others with data.features."
        )


def check_classes(arrays: Arrays) -> None:
    """Check what a split needs: rows, and two classes of them in a classification."""
    if arrays.rows == 0:
        raise UserError("The data have no rows; there is nothing to train on.")
    if arrays.task.is_classification and len(arrays.classes) < 2:
        only = arrays.classes[0] if arrays.classes else ""
        found = f"only '{only}'" if only else "none"
        numbers = ", or data.task=regression" if re.fullmatch(r"[-+.\de]+", only) else ""
        raise UserError(
            f"A classification needs at least two classes, but target '{arrays.target}' has "
            f"{found}; choose another data.target{numbers}."
        )


LEAST_SPREAD = 1e-300  # between the ends of a column that float64 can still scale


def check_spread(values: Shaped[np.ndarray, "N F"], names: Sequence[str], kind: str) -> None:
    """Refuse columns whose values lie too far apart, or too near, to be scaled.

    Raises:
        UserError: naming the first such column and its ends.
    """
    low, high = values.min(axis=0).astype(float), values.max(axis=0).astype(float)
    with np.errstate(over="ignore"):
        spread = high - low
    wrong = ~np.isfinite(spread) | ((spread > 0) & (spread < LEAST_SPREAD))
    if wrong.any():
        at = int(wrong.argmax())
        raise UserError(
            f"The data's {kind} '{names[at]}' runs from {low[at]:g} to {high[at]:g}, which cannot "
            "be scaled; give it in another unit."
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
