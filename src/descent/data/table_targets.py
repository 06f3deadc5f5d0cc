"""What a table predicts: numbers to regress, or classes, of its own file and of a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from descent.data.arrays import Kind
from descent.data.columns import MOST_CATEGORIES, Meaning, Style, as_written, meaning, quoted
from descent.data.encoding import DAY, same_category
from descent.data.layout import listed
from descent.data.left_out import FEW_ROWS, MOSTLY_DIFFERENT
from descent.data.reading import Table
from descent.errors import UserError

if TYPE_CHECKING:
    import polars as pl

# A target of whole numbers with at most this many values is read as classes.
MOST_INFERRED_CLASSES = 10


class TargetError(Exception):
    """What is wrong with the target, as a part of the one message."""


@dataclass(frozen=True)
class Targets:
    """What a table predicts.

    Args:
        values: class indices [N], or numbers [N] or [N, C].
        classes: as they are written; empty for numbers.
        dated: whether the numbers are days since 1970-01-01.
    """

    values: np.ndarray
    classes: tuple[str, ...] = ()
    dated: bool = False


def with_targets(
    read: Table, targets: Sequence[str], judge: Callable[[Table], dict[str, Meaning]],
    notes: list[str],
) -> tuple[Table, dict[str, Meaning]]:  # fmt: skip
    """Drop the rows that do not say what is to be predicted.

    Args:
        read: the table.
        targets: what is predicted.
        judge: tells what each column holds, in the rows that have a value for each target.
        notes: gets a line of how many rows are dropped.
    """
    import polars as pl

    there = read.frame.select(
        pl.all_horizontal(pl.col(name).is_not_null() for name in targets)
    ).to_series()
    known, numbers = read.frame.filter(there), there.arg_true()
    found = judge(replace(read, frame=known, kept=numbers))
    lacks = pl.Series([False] * known.height, dtype=pl.Boolean)
    for name in targets:
        lacks |= found[name].values.is_null()  # a word for no value among numbers, or NaN
    kept = known.filter(~lacks)
    dropped = read.frame.height - kept.height
    if not kept.height:
        raise UserError(
            f"{read.path} says in no row what target '{targets[0]}' is; choose another data.target."
        )
    if dropped:
        rows = "1 row" if dropped == 1 else f"{dropped:,} of {read.frame.height:,} rows"
        notes.append(f"{rows} without a target ({', '.join(targets)}) left out")
    if lacks.any():
        found = {name: replace(m, values=m.values.filter(~lacks)) for name, m in found.items()}
    return replace(read, frame=kept, kept=numbers.filter(~lacks)), found


def targets_of(
    read: Table, meanings: Mapping[str, Meaning], names: Sequence[str], task: str, notes: list[str]
) -> Targets:
    """Return what the columns to predict hold.

    Raises:
        TargetError: they cannot be predicted.
    """
    if len(names) == 1:
        return _one_target(read, meanings[names[0]], task, notes)
    for name in names:
        problem = meanings[name].problem or meanings[name].doubt
        if problem:
            raise TargetError(problem)
        if task == "classification" or meanings[name].kind not in (Kind.NUMBER, Kind.BOOLEAN):
            raise TargetError(f"several targets must be numbers, and '{name}' is none to regress")
    return Targets(np.column_stack([meanings[name].values.to_numpy() for name in names]))


def _one_target(read: Table, column: Meaning, task: str, notes: list[str]) -> Targets:
    name, values = column.name, column.values
    problem = column.problem or column.doubt
    if problem is not None:
        raise TargetError(problem.replace(f"data.exclude=[{quoted(name)}]", "data.target=..."))
    if column.kind is Kind.DATE and task != "classification":
        notes.append(f"the dates of target {name} are learnt as days since 1970-01-01")
        return Targets(_days(values), dated=True)
    different, rows = values.n_unique(), len(values)
    repeated = rows <= FEW_ROWS or different <= rows / 2
    few = column.whole and different <= MOST_INFERRED_CLASSES and repeated
    if few and different == 1 and task == "auto":
        notes.append(f"target {name} is {read.frame[name][0]} in every row: nothing to be learnt")
        few = False
    numbers = column.kind in (Kind.NUMBER, Kind.BOOLEAN)
    if task == "regression" or (task == "auto" and column.kind is Kind.NUMBER and not few):
        if not numbers:
            raise TargetError(
                f"target '{name}' must hold numbers for data.task=regression, but holds texts such "
                f"as '{values[0]}'"
            )
        return Targets(values.to_numpy())
    if different > MOST_CATEGORIES and numbers:
        raise TargetError(
            f"target '{name}' has {different} different numbers, too many for classes: "
            "data.task=regression"
        )
    if rows > FEW_ROWS and different > max(MOSTLY_DIFFERENT * rows, 2):
        raise TargetError(
            f"target '{name}' holds {different} different texts in {rows} rows, such as "
            f"'{values[0]}', so they are no classes to learn: data.target=..."
        )
    if not repeated:
        notes.append(f"target {name} has {different} classes in {rows} rows, too few to learn from")
    return _as_classes(read.frame[name], values)


def _days(dates: pl.Series) -> np.ndarray:
    import polars as pl

    return dates.cast(pl.Int64).cast(pl.Float64).to_numpy() / DAY


def as_dates(days: pl.Series) -> pl.Series:
    """Return days since 1970-01-01 as the dates and times they stand for, to the second."""
    import polars as pl

    return pl.from_epoch((days * 86400).round().cast(pl.Int64), time_unit="s")


def _as_classes(written: pl.Series, values: pl.Series) -> Targets:
    """Return class indices [N], numbers in order of value, and each class as it is written."""
    import polars as pl

    texts = written.cast(pl.String)  # 0.5, 3, true
    if values.dtype == pl.String:
        classes = values.unique().sort().to_list()
        codes = values.replace_strict(classes, list(range(len(classes))), return_dtype=pl.Int64)
        return Targets(codes.to_numpy(), tuple(classes))
    pairs = pl.DataFrame({"value": values, "text": texts})
    first = pairs.unique("value", keep="first", maintain_order=True).sort("value")
    codes = values.rank("dense").cast(pl.Int64) - 1
    return Targets(codes.to_numpy().astype(np.int64), tuple(first["text"].to_list()))


def first_gap(read: Table, series: pl.Series) -> str:
    """Return the first row without a value, and how many there are."""
    row, count = read.number(int(series.is_null().arg_max() or 0)), series.null_count()
    return f"row {row}" + (f" ({count} rows in all)" if count > 1 else "")


def encode_targets(
    read: Table, names: Sequence[str], classes: Sequence[str], style: Style, dated: bool = False
) -> tuple[np.ndarray | None, str]:
    """Turn a new table's target into class indices [N], or numbers [N] or [N, C].

    Returns:
        The targets; or None and why there are none.
    """
    absent = [name for name in names if name not in read.frame.columns]
    if absent:
        return None, f"no column '{absent[0]}'"
    columns = []
    for name in names:
        series = read.frame[name]
        if series.null_count():
            return None, f"target '{name}' is missing in {first_gap(read, series)}"
        if classes:
            texts = as_written(series)
            codes = same_category(texts, classes)
            if (codes < 0).any():
                row = int((codes < 0).arg_max() or 0)
                return None, (
                    f"target '{name}' is '{texts[row]}' in row {row + 1}, none of the classes "
                    f"{listed(classes)}"
                )
            return codes.to_numpy().astype(np.int64), ""
        found = meaning(read, name, style)
        kinds = (Kind.DATE,) if dated else (Kind.NUMBER, Kind.BOOLEAN)
        if found.problem or found.kind not in kinds or found.values.null_count():
            what = "dates" if dated else "numbers"
            return None, found.problem or f"target '{name}' does not hold {what}"
        columns.append(_days(found.values) if dated else found.values.to_numpy())
    return columns[0] if len(columns) == 1 else np.column_stack(columns), ""
