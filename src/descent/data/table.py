"""The user's own table: CSV, Parquet or Arrow, read with Polars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from descent.data.arrays import Arrays, Column, Task, check_finite
from descent.errors import UserError, did_you_mean
from descent.shapes import Float, Shaped

if TYPE_CHECKING:
    import polars as pl

# A text column with more values than this is an identifier or free text, not a category.
MOST_CATEGORIES = 100
# In fewer rows than this a different text in each may well be a category.
FEW_ROWS = 10
# A target of whole numbers with at most this many values is read as classes.
MOST_INFERRED_CLASSES = 10


def table(
    path: str, target: str, features: Sequence[str] | None = None, task: str = "auto"
) -> Arrays:
    """Read a table into arrays.

    Args:
        path: a .csv, .tsv, .parquet, .arrow, .feather or .ipc file with a header.
        target: the column to predict.
        features: the columns to use; None for all but the target.
        task: `regression`, `classification`, or `auto`: texts, booleans and few whole numbers are
            classes, everything else is a number to regress.

    Raises:
        UserError: a missing or unreadable file, an unknown column, no rows, missing or unusable
            values.
    """
    frame = read_table(path)
    names = list(features) if features is not None else [c for c in frame.columns if c != target]
    for name in [target, *names]:
        _check_column(frame, name, path)
    if target in names:
        raise UserError(f"data.features names the target '{target}'; take it out of the list.")
    if frame.height == 0:
        raise UserError(f"{path} has no rows below its header; there is nothing to train on.")
    columns = tuple(_column(frame[name], path) for name in names)
    targets, classes = _targets(frame[target], task, path)
    kind = Task.REGRESSION if not classes else Task.BINARY if len(classes) == 2 else Task.MULTICLASS
    return Arrays(encode(frame, columns, path), targets, kind, columns, target, classes)


def read_table(path: str | Path) -> pl.DataFrame:
    """Read a table by its suffix.

    Raises:
        UserError: the file is missing, has another suffix, or cannot be parsed.
    """
    import polars as pl

    path = Path(path)
    readers = {
        ".csv": lambda p: pl.read_csv(p, infer_schema_length=None),
        ".tsv": lambda p: pl.read_csv(p, separator="\t", infer_schema_length=None),
        ".parquet": pl.read_parquet,
        ".arrow": lambda p: pl.read_ipc(p),
        ".feather": lambda p: pl.read_ipc(p),
        ".ipc": lambda p: pl.read_ipc(p),
    }
    if path.suffix.lower() not in readers:
        raise UserError(f"{path} has none of the known suffixes {', '.join(readers)}.")
    if not path.is_file():
        raise UserError(f"There is no file {path}; check data.path.")
    try:
        return readers[path.suffix.lower()](path)
    except pl.exceptions.NoDataError:
        raise UserError(f"{path} is empty; it needs a header and rows.") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        first = "".join(c for c in str(error).splitlines()[0] if c.isprintable())[:160].rstrip(".")
        raise UserError(f"{path} cannot be read as {path.suffix[1:]}: {first}.") from None


def encode(
    frame: pl.DataFrame, columns: Sequence[Column], path: str | Path
) -> Float[np.ndarray, "N F"]:
    """Turn a table into features, column by column.

    Args:
        frame: any table that has the columns.
        columns: what to take and how; categories become 0/1 features in their order.
        path: where the table came from, for sentences.

    Returns:
        [N, F] float64.

    Raises:
        UserError: a column is missing, holds texts instead of numbers, a category never seen in
            training, a missing value, NaN or inf.
    """
    width = sum(len(column.features) for column in columns)
    out = np.empty((frame.height, width))
    at = 0
    for column in columns:
        _check_column(frame, column.name, path)
        series = frame[column.name]
        if column.categories is None:
            out[:, at] = _numbers(series, path)
        else:
            codes = _codes(series, column.categories, path)
            out[:, at : at + len(column.categories)] = np.eye(len(column.categories))[codes]
        at += len(column.features)
    names = [name for column in columns for name in column.features]
    if frame.height:
        check_finite(out, names, "column", str(path) + "'s rows")
    return out


def encode_targets(
    series: pl.Series, classes: Sequence[str], path: str | Path
) -> Shaped[np.ndarray, " N"]:
    """Turn a target column into class indices (where there are classes) or numbers."""
    return _codes(series, classes, path) if classes else _numbers(series, path)


def _check_column(frame: pl.DataFrame, name: str, path: str | Path) -> None:
    if name not in frame.columns:
        hint = did_you_mean(name, frame.columns) or "."
        raise UserError(f"{path} has no column '{name}'{hint} It has {_listed(frame.columns)}.")


def _listed(names: Sequence[str]) -> str:
    # what is no table read as one can have endless names of odd characters
    readable = ["".join(c if c.isprintable() else "?" for c in name[:30]) for name in names[:12]]
    shown = ", ".join(readable)
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"


def _is_text(series: pl.Series) -> bool:
    import polars as pl

    return series.dtype in (pl.String, pl.Categorical, pl.Enum) or isinstance(
        series.dtype, (pl.Categorical, pl.Enum)
    )


def _is_number(series: pl.Series) -> bool:
    import polars as pl

    return series.dtype.is_numeric() or series.dtype == pl.Boolean


def _column(series: pl.Series, path: str | Path) -> Column:
    if _is_number(series):
        return Column(series.name)
    if not _is_text(series):
        raise UserError(
            f"Column '{series.name}' of {path} holds {series.dtype}, neither numbers nor texts; "
            "leave it out with data.features=[...]."
        )
    _check_missing(series, path)
    _check_stray_text(series, path)
    categories = sorted(series.unique().cast(str).to_list())
    if len(categories) > MOST_CATEGORIES:
        raise UserError(
            f"Column '{series.name}' of {path} holds {len(categories)} different texts, more than "
            f"the {MOST_CATEGORIES} a category may have; leave it out with data.features=[...]."
        )
    if len(series) > FEW_ROWS and len(categories) == len(series):
        raise UserError(
            f"Column '{series.name}' of {path} holds a different text in every row, such as "
            f"'{series[0]}', so nothing can be learnt from it; leave it out with "
            "data.features=[...]."
        )
    return Column(series.name, tuple(categories))


def _check_stray_text(series: pl.Series, path: str | Path) -> None:
    """A column of numbers with a few texts in it is a mistake, not a category."""
    import polars as pl

    texts = series.cast(pl.String)
    failed = texts.str.strip_chars().cast(pl.Float64, strict=False).is_null()
    if 2 * failed.sum() < len(series):
        row = failed.arg_max()
        raise UserError(
            f"Column '{series.name}' of {path} holds numbers but for row {(row or 0) + 1}, "
            f"'{texts[row or 0]}'; mend such rows, or leave the column out with data.features."
        )


def _check_missing(series: pl.Series, path: str | Path, word: str = "Column") -> None:
    missing = series.is_null()
    if missing.any():
        row, count = (missing.arg_max() or 0) + 1, missing.sum()
        more = f" ({count} rows in all)" if count > 1 else ""
        raise UserError(
            f"{word} '{series.name}' of {path} has no value in row {row}{more}; "
            "fill or remove such rows first."
        )


def _numbers(series: pl.Series, path: str | Path) -> Float[np.ndarray, " N"]:
    import polars as pl

    _check_missing(series, path)
    if not _is_number(series):
        if _is_text(series):
            _check_stray_text(series, path)
        raise UserError(
            f"Column '{series.name}' of {path} must hold numbers, but holds {series.dtype}."
        )
    return series.cast(pl.Float64).to_numpy()


def _codes(series: pl.Series, categories: Sequence[str], path: str | Path) -> np.ndarray:
    import polars as pl

    _check_missing(series, path)
    texts = series.cast(pl.String)
    codes = texts.replace_strict(
        list(categories), list(range(len(categories))), default=-1, return_dtype=pl.Int64
    ).to_numpy()
    unseen = np.flatnonzero(codes < 0)
    if len(unseen):
        row = int(unseen[0])
        raise UserError(
            f"Column '{series.name}' of {path} holds '{texts[row]}' in row {row + 1}, which was "
            f"never seen in training; known are {_listed(categories)}."
        )
    return codes


def _targets(series: pl.Series, task: str, path: str | Path) -> tuple[np.ndarray, tuple[str, ...]]:
    import polars as pl

    _check_missing(series, path, "Target")
    whole = series.dtype.is_integer() or series.dtype == pl.Boolean
    if not (_is_text(series) or _is_number(series)):
        raise UserError(
            f"Target '{series.name}' of {path} holds {series.dtype}, neither numbers nor texts."
        )
    few = whole and series.n_unique() <= MOST_INFERRED_CLASSES
    if task == "regression" or (task == "auto" and not (_is_text(series) or few)):
        values = _numbers(series, path)
        check_finite(values.reshape(-1, 1), [series.name], "target", str(path) + "'s rows")
        return values, ()
    ordered = series.unique().sort()  # numbers by value, texts by letter
    classes = tuple(ordered.cast(pl.String).to_list())
    if not _is_text(series) and not whole and len(classes) > MOST_CATEGORIES:
        raise UserError(
            f"Target '{series.name}' of {path} has {len(classes)} different numbers, too many for "
            "classes; use data.task=regression."
        )
    return _codes(series, classes, path), classes
