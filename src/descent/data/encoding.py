"""Columns to features: what each becomes is learnt from training rows and kept with the run."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from descent.data.arrays import Column, Kind
from descent.data.as_trained import as_kind
from descent.data.columns import CODE, MOST_CATEGORIES, PLAIN, Meaning, number_style
from descent.data.layout import listed
from descent.data.reading import Table
from descent.errors import UserError, counted, did_you_mean
from descent.shapes import Float

if TYPE_CHECKING:
    import polars as pl

MANY_GAPS = 0.01  # of the training rows: where more are missing, that is a feature of its own
BUCKETS = 32
DAY = 86_400_000_000  # microseconds
PARTS = ("year", "month", "day", "weekday")
MOST_PROBLEMS = 6


@dataclass(frozen=True)
class Options:
    """How a table's columns become features; see conf/data/table.yaml."""

    missing: str = "impute"
    high_cardinality: str = "frequency"
    dates: str = "parts"


def fit_column(
    column: Meaning, train: np.ndarray, options: Options, notes: list[str]
) -> Column | None:
    """Decide what a column becomes, from its values in the training rows; None if nothing.

    Args:
        column: of all rows.
        train: the rows to learn from.
        options: what the user asks for.
        notes: gets a line for what is odd.
    """
    values = column.values[train]
    share = values.null_count() / max(len(values), 1)
    gap = share > 0 if options.missing == "indicator" else share > MANY_GAPS
    if column.kind in (Kind.CATEGORY, Kind.CODE):
        return _fit_texts(column, values, share > 0, options, notes)
    if column.kind is Kind.DATE:
        return _fit_dates(column, values, gap, options)
    fill = None
    if options.missing != "error":
        middle = values.mean() if column.kind is Kind.BOOLEAN else values.median()
        fill = float(middle if middle is not None else 0.0)  # type: ignore[arg-type]
        fill = float(round(fill)) if column.kind is Kind.BOOLEAN else fill
    if share:
        what = "the commoner" if column.kind is Kind.BOOLEAN else "the median"
        notes.append(
            f"gaps in {column.name} ({share:.2g} of the training rows) filled with {what} "
            f"{fill:.6g}{', and marked by a feature' if gap else ''}"
        )
    return Column(column.name, None, column.kind, fill, gap)


def _fit_texts(
    column: Meaning, values: pl.Series, gap: bool, options: Options, notes: list[str]
) -> Column | None:
    categories = tuple(values.drop_nulls().unique().sort().to_list())
    many = len(categories) > MOST_CATEGORIES
    if gap:
        notes.append(f"gaps in {column.name} are a category of their own")
    if not many:
        return Column(column.name, categories, column.kind, gap=gap)
    how = options.high_cardinality
    words = {
        "frequency": "become one feature, the text's share of the training rows",
        "hash": f"are hashed into {BUCKETS} features",
        "drop": "are left out",
    }
    notes.append(
        f"the {len(categories):,} texts of {column.name} {words[how]}; "
        "data.high_cardinality=frequency|hash|drop"
    )
    if how == "drop":
        return None
    if how == "hash":
        return Column(column.name, None, column.kind, gap=gap, buckets=BUCKETS)
    counts = values.drop_nulls().value_counts().sort(values.name)
    shares = tuple((counts["count"] / len(values)).to_list())
    return Column(column.name, tuple(counts[values.name].to_list()), column.kind, gap=gap,
                  shares=shares)  # fmt: skip


def _fit_dates(column: Meaning, values: pl.Series, gap: bool, options: Options) -> Column:
    import polars as pl

    middle = values.cast(pl.Int64).median()
    fill = None if options.missing == "error" else float(middle or 0) / DAY  # type: ignore[arg-type]
    if options.dates == "elapsed":
        parts: tuple[str, ...] = ("days",)
    else:
        timed = bool((values.drop_nulls().cast(pl.Int64) % DAY != 0).any())
        parts = (*PARTS, "hour") if timed else PARTS
    return Column(column.name, None, Kind.DATE, fill, gap, parts, day_first=column.day_first)


def encode_meaning(
    column: Column, found: Meaning
) -> tuple[Float[np.ndarray, "N f"], dict[str, int]]:
    """Turn a column's values into its features.

    Returns:
        The features; how many values are missing, and how many texts were never seen in training.
    """
    gaps = found.values.is_null().to_numpy()
    counts = {"missing": int(gaps.sum()), "unseen": 0}
    if column.parts:
        made = _date_parts(column, found.values)
    elif column.buckets:
        made = _hashed(found.values, column.buckets)
    elif column.categories is not None:
        codes = same_category(found.values, column.categories).fill_null(-2).to_numpy()
        counts["unseen"] = int((codes == -1).sum())
        if column.shares is not None:
            shares = np.append(np.array(column.shares), 0.0)
            made = shares[np.where(codes < 0, -1, codes)].reshape(-1, 1)
        else:
            made = np.zeros((len(codes), len(column.categories)))
            known = np.flatnonzero(codes >= 0)
            made[known, codes[known]] = 1
    else:
        filled = found.values if column.fill is None else found.values.fill_null(column.fill)
        made = filled.to_numpy().astype(float).reshape(-1, 1)
    if column.gap:
        made = np.hstack([made, gaps.reshape(-1, 1)])
    return made, counts


def _date_parts(column: Column, values: pl.Series) -> Float[np.ndarray, "N f"]:
    import polars as pl

    if column.fill is not None:
        middle = pl.Series([round(column.fill * DAY)]).cast(pl.Datetime("us"))[0]
        values = values.fill_null(middle)
    makers = {
        "days": lambda: values.cast(pl.Int64) / DAY,
        "year": lambda: values.dt.year(),
        "month": lambda: values.dt.month(),
        "day": lambda: values.dt.day(),
        "weekday": lambda: values.dt.weekday(),
        "hour": lambda: values.dt.hour() + values.dt.minute() / 60,
    }
    return np.column_stack([makers[part]().cast(pl.Float64).to_numpy() for part in column.parts])


def _hashed(values: pl.Series, buckets: int) -> Float[np.ndarray, "N f"]:
    """Return 0/1 features by a hash that is the same on every machine."""
    made = np.zeros((len(values), buckets))
    for row, text in enumerate(values.to_list()):
        if text is not None:
            made[row, zlib.crc32(text.encode()) % buckets] = 1
    return made


def encode(
    read: Table, columns: Sequence[Column], unseen: str = "other"
) -> tuple[Float[np.ndarray, "N F"], list[str]]:
    """Turn a new table into features, each column read as what it was in training.

    Args:
        read: any table that has the columns.
        columns: of the run.
        unseen: what a text never seen in training becomes: `other`, which is none of the known
            ones, or an `error`.

    Returns:
        [N, F] float64, and a line for each column in which something was filled or never seen.

    Raises:
        UserError: columns are missing, or hold something else than in training; all in one message.
    """
    names = read.frame.columns
    style = number_style(read, [c.name for c in columns if c.name in names])
    problems, notes = _absent(read, columns), []
    width = sum(len(column.features) for column in columns)
    features, at = np.zeros((read.frame.height, width)), 0
    for column in columns:
        first, at = at, at + len(column.features)
        if column.name not in names:
            continue
        found = as_kind(read, column.name, column.kind, style, column.day_first)
        problem = found.problem or _gap(column, found)
        if problem is not None:
            problems.append(problem)
            continue
        features[:, first:at], counts = encode_meaning(column, found)
        if counts["unseen"]:
            line = _unseen(column, found, counts["unseen"])
            if unseen == "error":
                problems.append(f"{line}: data.unseen=other takes them as none of the known ones")
            else:
                notes.append(f"{line}; taken as none of the known ones")
        if counts["missing"] and not column.gap:
            notes.append(f"{counts['missing']:,} gaps in {column.name} {_filling(column)}")
    if problems:
        more = len(problems) - MOST_PROBLEMS
        shown = "; ".join(problems[:MOST_PROBLEMS])
        raise UserError(f"{read.path}: {shown}{f'; and {more} more' if more > 0 else ''}.")
    return features, notes


def _absent(read: Table, columns: Sequence[Column]) -> list[str]:
    names = read.frame.columns
    absent = [column.name for column in columns if column.name not in names]
    clashing = [column.name for column in columns if column.name in read.clashing]
    problems = [f"several columns are called '{name}' and differ" for name in clashing]
    if len(absent) == 1:
        hint = did_you_mean(absent[0], names).removesuffix("?")
        problems.append(f"no column '{absent[0]}'{hint}; it has {listed(names)}")
    elif absent:
        problems.append(f"no columns {listed(absent)}; it has {listed(names)}")
    return problems


def _gap(column: Column, found: Meaning) -> str | None:
    missing = found.values.null_count()
    refuses = column.kind in (Kind.NUMBER, Kind.BOOLEAN, Kind.DATE) and column.fill is None
    if not missing or not refuses:
        return None
    row = int(found.values.is_null().arg_max() or 0) + 1
    more = f" ({missing} rows in all)" if missing > 1 else ""
    return (
        f"column '{column.name}' has no value in row {row}{more}, and the run does not say what "
        "fills it: fill or remove such rows"
    )


def _unseen(column: Column, found: Meaning, count: int) -> str:
    codes = same_category(found.values, column.categories or ())
    odd = found.values.filter(codes == -1)
    return (
        f"column '{column.name}' holds '{odd[0]}' ({counted(count, 'row')}), never seen in training"
    )


def _filling(column: Column) -> str:
    if column.fill is None:
        return "taken as none of the known ones"
    if column.kind is Kind.DATE:
        return "filled with the middle date of the training rows"
    return f"filled with {column.fill:.6g}"


# ---- which category a text is


def same_category(texts: pl.Series, categories: Sequence[str]) -> pl.Series:
    """Return texts as the categories they equal: as written, else as the number they stand for.

    Returns:
        The index of each one's category; -1 for a text that equals none, null for a missing one.
    """
    import polars as pl

    known: Mapping[str, int] = {category: i for i, category in enumerate(categories)}
    codes = texts.replace_strict(known, default=-1, return_dtype=pl.Int64)
    codes = pl.select(pl.when(texts.is_null()).then(None).otherwise(codes)).to_series()
    odd = texts.filter(codes == -1).unique()
    if odd.is_empty():
        return codes
    by_value = {v: i for i, c in enumerate(categories) if (v := value_of(c)) is not None}
    alike = {t: by_value[v] for t in odd if (v := value_of(t)) is not None and v in by_value}
    if not alike:
        return codes
    again = texts.replace_strict(alike, default=-1, return_dtype=pl.Int64)
    return pl.select(pl.when(codes == -1).then(again).otherwise(codes)).to_series()


def value_of(text: str) -> float | str | None:
    """Return what a text stands for beside its letters: a number, true, false; None if neither."""
    small = text.strip().lower()
    if small in ("true", "false"):
        return small
    if re.fullmatch(CODE, small) or not re.fullmatch(PLAIN, small):
        return None
    return float(small)
