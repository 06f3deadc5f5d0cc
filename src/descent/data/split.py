"""Which rows train, validate and test."""

from __future__ import annotations

import numpy as np

from descent.data.arrays import Arrays
from descent.errors import UserError
from descent.shapes import Int


def split_rows(
    arrays: Arrays,
    val_fraction: float | int,
    test_fraction: float | int,
    seed: int,
    limit: float | int | None = None,
) -> dict[str, Int[np.ndarray, " n"]]:
    """Split the rows into train, val and test, stratified by class.

    Args:
        arrays: the data.
        val_fraction: share of all rows kept for validation; 0 for none.
        test_fraction: share of all rows kept for test; 0 for none.
        seed: of the split.
        limit: keep only this many training rows (>= 1) or this share of them (< 1).

    Returns:
        Row numbers in rising order under `train`, `val` and `test`.

    Raises:
        UserError: a fraction above 0 that leaves its split empty, or too few rows of a class.
    """
    rest = np.arange(arrays.rows)
    parts: dict[str, np.ndarray] = {}
    fractions = {"test": test_fraction, "val": val_fraction}
    splits = 1 + sum(fraction > 0 for fraction in fractions.values())
    if splits > 1 and arrays.task.is_classification:
        _check_classes(arrays, splits)
    for name, fraction in fractions.items():
        rest, parts[name] = _cut(arrays, rest, name, fraction, seed)
    if limit is not None:
        rest = _limited(arrays, rest, limit, seed)
    return {"train": rest, "val": parts["val"], "test": parts["test"]}


def _cut(
    arrays: Arrays, rows: np.ndarray, name: str, fraction: float | int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut `fraction` of all rows off `rows`; return (what is left, what was cut)."""
    if fraction == 0:
        return rows, rows[:0]
    count = round(arrays.rows * fraction)
    if count == 0 or count >= len(rows):
        side = name if count == 0 else "training"
        raise UserError(
            f"data.{name}_fraction={fraction:g} of {arrays.rows} rows leaves no {side} rows; "
            f"give another fraction, or 0 for no {name} split."
        )
    return _draw(arrays, rows, count, seed, f"data.{name}_fraction={fraction:g}")


def _draw(
    arrays: Arrays, rows: np.ndarray, count: int, seed: int, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` of `rows`, in proportion to the classes; return (the others, the drawn)."""
    from sklearn.model_selection import train_test_split

    classes = arrays.targets[rows] if arrays.task.is_classification else None
    if classes is not None and min(count, len(rows) - count) < len(arrays.classes):
        raise UserError(
            f"{what} splits {len(rows)} rows into {len(rows) - count} and {count}, too few for "
            f"{len(arrays.classes)} classes; give another number."
        )
    if classes is not None:
        _check_singles(arrays, classes, what)
    others, drawn = train_test_split(rows, test_size=count, random_state=seed, stratify=classes)
    return np.sort(others), np.sort(drawn)


def _check_singles(arrays: Arrays, left: np.ndarray, what: str) -> None:
    """Refuse to split a class of one row: earlier splits may have taken its other rows."""
    counts = np.bincount(left, minlength=len(arrays.classes))
    if (counts == 1).any():
        name = arrays.classes[int((counts == 1).argmax())]
        raise UserError(
            f"{what} cannot be drawn in proportion: only 1 row of class '{name}' of target "
            f"'{arrays.target}' is left; add rows, drop the class, or give another number."
        )


def _limited(arrays: Arrays, rows: np.ndarray, limit: float | int, seed: int) -> np.ndarray:
    count = round(len(rows) * limit) if limit < 1 else int(limit)
    if count == 0:
        raise UserError(f"data.limit={limit:g} of {len(rows)} training rows leaves none.")
    if count >= len(rows):
        return rows
    return _draw(arrays, rows, count, seed, f"data.limit={limit:g}")[1]


def _check_classes(arrays: Arrays, splits: int) -> None:
    counts = np.bincount(arrays.targets, minlength=len(arrays.classes))
    rarest = int(counts.argmin())
    if counts[rarest] < splits:
        rows = "1 row" if counts[rarest] == 1 else f"{counts[rarest]} rows"
        raise UserError(
            f"Class '{arrays.classes[rarest]}' of target '{arrays.target}' has only {rows}, and "
            f"each of the {splits} splits needs one; add rows, drop the class, or set "
            "data.val_fraction=0 data.test_fraction=0."
        )
