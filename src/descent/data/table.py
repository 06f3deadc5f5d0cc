"""The user's own table: which columns are features, what is predicted, what gaps become."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.data.arrays import Arrays, Kind, Task
from descent.data.columns import (
    MOST_CATEGORIES,
    Meaning,
    Style,
    as_written,
    meaning,
    number_style,
    quoted,
)
from descent.data.encoding import Options, encode_meaning, fit_column, same_category
from descent.data.layout import Dialect, listed
from descent.data.reading import Table, decided, read_table
from descent.errors import UserError, did_you_mean
from descent.shapes import Int

if TYPE_CHECKING:
    import polars as pl

# In fewer rows than this a different text in each may well be a category.
FEW_ROWS = 10
# A target of whole numbers with at most this many values is read as classes.
MOST_INFERRED_CLASSES = 10
# Texts of which this share is different are names, remarks or identifiers.
MOSTLY_DIFFERENT = 0.95
# In fewer rows than this two columns may well agree by chance.
FEW_TO_AGREE = 20
MOST_PROBLEMS = 6

IDENTIFIER = re.compile(r"(?i:^|[_\-. ])(?i:id|uuid|guid)$|[a-z](?:ID|Id)$")
COUNTING = re.compile(
    r"(?i)^(?:|index|idx|rows?|row[ _.]?(?:names?|num(?:ber)?|id|no\.?)|no\.?|nr\.?|num|number|obs|"
    r"observations?|case(?:no)?|s\.? ?no\.?|sl\.? ?no\.?|serial.*|seq(?:uence)?|#|record|"
    r"unnamed: ?\d+|__index_level_\d+__|level_0)$"
)
INDEX = re.compile(r"^(?:Unnamed: ?\d+|__index_level_\d+__|rownames|row\.names)$")


def table(
    path: str,
    target: str | Sequence[str],
    features: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    texts: Sequence[str] = (),
    task: str = "auto",
    missing: str = "impute",
    high_cardinality: str = "frequency",
    dates: str = "parts",
    group: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    reading: Mapping[str, Any] | None = None,
) -> Arrays:
    """Read a table into arrays, whose features are made by `fit` once the training rows are known.

    Args:
        path: a file of rows; see `reading`.
        target: the column to predict, or several columns of numbers.
        features: the columns to use; None for all but the target and what identifies rows.
        exclude: columns to leave out.
        texts: columns to read as texts, whatever they look like.
        task: `regression`, `classification`, or `auto`: texts, booleans and few whole numbers are
            classes, everything else is a number to regress.
        missing: `impute`, `indicator`, `drop` or `error`.
        high_cardinality: what columns of very many texts become: `frequency`, `hash` or `drop`.
        dates: what dates become: `parts` or `elapsed`.
        group: a column whose groups of rows are kept together by the split.
        time: a column by which the split is in order.
        weight: a column of numbers that weigh the rows in the loss.
        reading: how the file is written; see `Dialect`.

    Raises:
        UserError: a missing or unreadable file, an unknown column, no rows, and what of its columns
            cannot be decided, all in one message.
    """
    read = read_table(path, Dialect(**(reading or {})))
    targets = [str(name) for name in (target if isinstance(target, (list, tuple)) else [target])]
    features = None if features is None else [str(name) for name in features]
    exclude, texts = [str(name) for name in exclude], [str(name) for name in texts]
    group, time, weight = (None if n is None else str(n) for n in (group, time, weight))
    roles = {"data.group": group, "data.time": time, "data.weight": weight}
    named = {f"data.target={name}": name for name in targets}
    named |= {f"{key}={name}": name for key, name in roles.items() if name is not None}
    for key, names in (("features", features), ("exclude", exclude), ("texts", texts)):
        named |= {f"data.{key}=[{name}]": name for name in names or ()}
    for option, name in named.items():
        check_column(read, name, option)
    _check_lists(targets, features, exclude)
    if read.frame.height == 0:
        raise UserError(f"{path} has no rows below its header; there is nothing to train on.")
    notes = list(read.notes)
    read = _with_targets(read, targets, notes)
    style = number_style(read, read.frame.columns)
    meanings = {
        name: meaning(read, name, style, name in texts)
        for name in read.frame.columns
        if name not in exclude and re.sub(r" \(\d+\)$", "", name) not in exclude
    }
    apart = [*targets, *(name for name in roles.values() if name is not None)]
    if features is None:
        chosen = [name for name in meanings if name not in apart]
        chosen = _left_out(read, meanings, targets, chosen, notes)
    else:
        chosen = list(features)
    problems = _problems(read, meanings, [*chosen, *apart])
    try:
        values, classes = _targets(read, meanings, targets, task)
    except _TargetError as problem:
        values, classes, problems = np.zeros(0), (), [*problems, str(problem)]
    if missing == "error":
        problems += [_gap_problem(meanings[n]) for n in chosen if meanings[n].values.null_count()]
    if not chosen and not problems:
        others = [name for name in meanings if name not in apart]
        problems = [
            f"no column is left to learn from: {listed(others)} only number or name the rows, "
            "repeat the target or hold nothing; data.features=[...] takes them in"
            if others
            else f"it has no column beside the target {listed(targets)}"
        ]
    if problems:
        raise UserError(_one_message(path, problems))
    kept = np.arange(read.frame.height)
    if missing == "drop":
        kept = _without_gaps([meanings[name] for name in chosen], notes, path)
    notes += decided(_reasons(meanings, [*chosen, *apart]))
    kind = Task.REGRESSION if not classes else Task.BINARY if len(classes) == 2 else Task.MULTICLASS
    rows = len(kept)
    return Arrays(
        np.empty((rows, 0)),
        values[kept],
        kind,
        (),
        ", ".join(targets),
        classes,
        fit=functools.partial(
            _fitted, [_filtered(meanings[name], kept) for name in chosen],
            Options(missing, high_cardinality, dates), path,
        ),
        groups=None if group is None else _codes(meanings[group], kept),
        times=None if time is None else _times(meanings[time], kept, path),
        notes=tuple(notes),
        target_names=() if len(targets) == 1 else tuple(targets),
        weights=None if weight is None else row_weight(meanings[weight], path)[kept],
        weight=weight,
    )  # fmt: skip


class _TargetError(Exception):
    """What is wrong with the target, as a part of the one message."""


def _one_message(path: str, problems: Sequence[str]) -> str:
    unique = list(dict.fromkeys(problems))
    shown = "; ".join(unique[:MOST_PROBLEMS])
    more = len(unique) - MOST_PROBLEMS
    told = f"{path}: {shown}{f'; and {more} more such columns' if more > 0 else ''}"
    return told if told.endswith("...") else f"{told}."


# ---- which columns


def check_column(read: Table, name: str, option: str = "") -> None:
    """Refuse a column that is not there, or that several columns could be."""
    names = read.frame.columns
    if name not in names:
        hint = did_you_mean(name, names) or "."
        advice = ""
        if len(names) == 1:
            advice = " If its cells are parted otherwise: data.separator=..."
        elif all(re.fullmatch(r"column_\d+|[\d.,+-]+", n) for n in names):
            advice = " If its first row is no header: data.header=false."
        what = f"{option}: " if option and not option.startswith("data.target") else ""
        raise UserError(
            f"{what}{read.path} has no column '{name}'{hint} It has {listed(names)}.{advice}"
        )
    if name in read.clashing and not option.startswith("data.exclude"):
        raise UserError(
            f"{read.path} has several columns called '{name}' with different values; rename them, "
            f"or leave them out with data.exclude=[{quoted(name)}]."
        )


def _check_lists(
    targets: Sequence[str], features: Sequence[str] | None, exclude: Sequence[str]
) -> None:
    for key, names in (("target", targets), ("features", features or ())):
        twice = [name for name in names if list(names).count(name) > 1]
        if twice:
            raise UserError(f"data.{key} names '{twice[0]}' twice; name it once.")
    for name in targets:
        if name in (features or ()):
            raise UserError(f"data.features names the target '{name}'; take it out of the list.")
        if name in exclude:
            raise UserError(f"data.exclude names the target '{name}'; take it out of the list.")
    both = [name for name in features or () if name in exclude]
    if both:
        raise UserError(f"data.features and data.exclude both name '{both[0]}'; decide for one.")


def _with_targets(read: Table, targets: Sequence[str], notes: list[str]) -> Table:
    """Drop the rows that do not say what is to be predicted."""
    import polars as pl

    frame = read.frame
    lacks = pl.any_horizontal(
        pl.col(n).is_null() | (pl.col(n).is_nan() if frame[n].dtype.is_float() else False)
        for n in targets
    )
    known = frame.filter(~lacks)
    dropped = frame.height - known.height
    if dropped:
        rows = "1 row" if dropped == 1 else f"{dropped:,} of {frame.height:,} rows"
        notes.append(f"{rows} without a target ({', '.join(targets)}) left out")
    if not known.height:
        raise UserError(
            f"{read.path} says in no row what target '{targets[0]}' is; choose another data.target."
        )
    return replace(read, frame=known)


def _left_out(
    read: Table, meanings: Mapping[str, Meaning], targets: Sequence[str], names: list[str],
    notes: list[str],
) -> list[str]:  # fmt: skip
    """Leave out what numbers or names the rows, what repeats the target, and what holds nothing."""
    why: dict[str, list[str]] = {}
    for name in names:
        reason = _row_name(read, meanings[name])
        if reason is None and meanings[name].values.null_count() == read.frame.height:
            reason = "without any value"
        if reason is None:
            reason = _repeats(meanings[name], [meanings[t] for t in targets])
        if reason is not None:
            why.setdefault(reason, []).append(name)
    out = {name for group in why.values() for name in group}
    if len(out) == len(names):  # better a doubtful feature than none
        kept = [n for n in names if n in why.get("as good as the target itself", ())]
        out -= set(kept)
        for group in why.values():
            group[:] = [name for name in group if name in out]
    notes += [
        f"left out, {reason}: {listed(group, 8)} (data.features=[...] takes them in)"
        for reason, group in why.items()
        if group
    ]
    return [name for name in names if name not in out]


def _row_name(read: Table, column: Meaning) -> str | None:
    """Return why a column only numbers or names its rows; None if it does not."""
    name, values = column.name, column.values
    unnamed = name in read.unnamed
    rows, filled = len(values), values.drop_nulls()
    different = filled.n_unique()
    if column.problem is not None or rows < 2:
        return None
    if column.kind in (Kind.NUMBER, Kind.CODE):
        counted = _counts(column)
        by_r = name in ("X", "X.1") and len(read.frame.columns) > 2
        if counted and (unnamed or by_r or COUNTING.match(name)):
            return "row numbers"
        if (unnamed or INDEX.match(name)) and different == rows:
            return "row numbers"
    if IDENTIFIER.search(name) and (column.kind is not Kind.NUMBER or column.whole):
        return "identifiers by their names"
    if column.kind in (Kind.CATEGORY, Kind.CODE):
        if unnamed and different == rows:
            return "row names"
        if rows > FEW_ROWS and different > MOSTLY_DIFFERENT * len(filled) and different > FEW_ROWS:
            return "a different text in nearly every row"
    return None


def _counts(column: Meaning) -> bool:
    """Whether whole numbers go up by one from 0 or 1."""
    import polars as pl

    values = column.values.cast(pl.Float64, strict=False)
    if values.null_count() or values[0] not in (0, 1):
        return False
    return bool((values == np.arange(len(values)) + values[0]).all())


def _repeats(column: Meaning, targets: Sequence[Meaning]) -> str | None:
    """Return that a column is a target over again; None if it is not."""
    for target in targets:
        a, b = column.values, target.values
        if len(a) < 3 or column.problem or target.problem or a.null_count():
            continue
        if a.dtype == b.dtype and a.equals(b, check_names=False) and b.n_unique() > 1:
            return "equal to the target"
        if len(a) < FEW_TO_AGREE or column.kind is Kind.DATE or target.kind is Kind.DATE:
            continue
        classes = b.n_unique()
        if not 2 <= classes <= min(MOST_CATEGORIES, len(b) / 4) or a.n_unique() != classes:
            continue
        if not (target.kind is Kind.NUMBER and not target.whole):
            pairs = {*zip(a.to_list(), b.to_list(), strict=True)}
            if len(pairs) == classes:
                return "as good as the target itself"
    return None


def _problems(read: Table, meanings: Mapping[str, Meaning], names: Sequence[str]) -> list[str]:
    clashes = [n for n in read.clashing if n in names]
    found = [
        f"several columns are called '{n}' and differ: rename them, or data.exclude=[{quoted(n)}]"
        for n in sorted(clashes)
    ]
    return found + [str(m.problem) for n in names if (m := meanings[n]).problem is not None]


def _reasons(meanings: Mapping[str, Meaning], names: Sequence[str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name in names:
        for reason in meanings[name].reasons:
            reasons.setdefault(reason, []).append(name)
    return reasons


# ---- gaps, groups, times


def _first_gap(series: pl.Series) -> str:
    """Return the first row without a value, and how many there are."""
    row, count = int(series.is_null().arg_max() or 0) + 1, series.null_count()
    return f"row {row}" + (f" ({count} rows in all)" if count > 1 else "")


def _gap_problem(column: Meaning) -> str:
    return (
        f"column '{column.name}' has no value in {_first_gap(column.values)}: data.missing=impute, "
        f"data.missing=drop, or data.exclude=[{quoted(column.name)}]"
    )


def _without_gaps(columns: Sequence[Meaning], notes: list[str], path: str) -> np.ndarray:
    gaps = np.zeros(len(columns[0].values), dtype=bool)
    for column in columns:
        gaps |= column.values.is_null().to_numpy()
    if gaps.all():
        raise UserError(
            f"{path} has a missing value in every row, so data.missing=drop leaves none; "
            "use data.missing=impute."
        )
    if gaps.any():
        notes.append(f"{int(gaps.sum()):,} of {len(gaps):,} rows with a missing value left out")
    return np.flatnonzero(~gaps)


def _filtered(column: Meaning, rows: np.ndarray) -> Meaning:
    same = len(rows) == len(column.values)
    return column if same else replace(column, values=column.values[rows])


def _codes(column: Meaning, rows: np.ndarray) -> np.ndarray:
    """Return which group each row is of; rows without one are a group each."""
    import polars as pl

    values = as_written(column.values)
    alone = pl.Series([f"\0{i}" for i in range(len(values))])
    filled = pl.select(pl.coalesce(values, alone)).to_series()
    return filled.rank("dense").to_numpy().astype(np.int64)[rows]


def row_weight(column: Meaning, path: str | Path) -> np.ndarray:
    """Return the weight [N] of each row of a table.

    Raises:
        UserError: a row without one.
    """
    import polars as pl

    if column.kind not in (Kind.NUMBER, Kind.BOOLEAN) or column.values.null_count():
        raise UserError(
            f"data.weight={column.name} must be a column of {path} with a number in every row."
        )
    return column.values.cast(pl.Float64).to_numpy()


def _times(column: Meaning, rows: np.ndarray, path: str) -> np.ndarray:
    import polars as pl

    if column.kind not in (Kind.DATE, Kind.NUMBER) or column.values.null_count():
        raise UserError(
            f"data.time={column.name} must be a column of {path} with a date or a number in "
            "every row."
        )
    return column.values.cast(pl.Int64 if column.kind is Kind.DATE else pl.Float64).to_numpy()[rows]


# ---- targets


def _targets(
    read: Table, meanings: Mapping[str, Meaning], names: Sequence[str], task: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return targets [N] or [N, C], and the classes, if they are classes."""
    if len(names) == 1:
        return _one_target(read, meanings[names[0]], task)
    for name in names:
        if meanings[name].problem:
            raise _TargetError(meanings[name].problem)
        if task == "classification" or meanings[name].kind not in (Kind.NUMBER, Kind.BOOLEAN):
            raise _TargetError(f"several targets must be numbers, and '{name}' is none to regress")
    return np.column_stack([meanings[name].values.to_numpy() for name in names]), ()


def _one_target(read: Table, column: Meaning, task: str) -> tuple[np.ndarray, tuple[str, ...]]:
    name, values = column.name, column.values
    if column.problem is not None:
        raise _TargetError(
            column.problem.replace(f"data.exclude=[{quoted(name)}]", "data.target=...")
        )
    if values.null_count():  # words such as `unknown` among numbers
        raise _TargetError(
            f"target '{name}' has words for no value among its numbers: "
            "data.missing_words=[...] names them"
        )
    different = values.n_unique()
    if column.kind is Kind.DATE:
        raise _TargetError(f"target '{name}' holds dates, no numbers or classes: data.target=...")
    rows = len(values)
    repeated = rows <= FEW_ROWS or different <= rows / 2
    few = column.whole and different <= MOST_INFERRED_CLASSES and repeated
    numbers = column.kind in (Kind.NUMBER, Kind.BOOLEAN)
    if task == "regression" or (task == "auto" and column.kind is Kind.NUMBER and not few):
        if not numbers:
            raise _TargetError(
                f"target '{name}' must hold numbers for data.task=regression, but holds texts such "
                f"as '{values[0]}'"
            )
        return values.to_numpy(), ()
    if different > MOST_CATEGORIES and numbers:
        raise _TargetError(
            f"target '{name}' has {different} different numbers, too many for classes: "
            "data.task=regression"
        )
    if rows > FEW_ROWS and different > max(rows / 2, 2):
        raise _TargetError(
            f"target '{name}' holds {different} different texts in {rows} rows, such as "
            f"'{values[0]}', so they are no classes to learn: data.target=..."
        )
    return _as_classes(read.frame[name], values)


def _as_classes(written: pl.Series, values: pl.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return class indices [N], numbers in order of value, and each class as it is written."""
    import polars as pl

    texts = written if written.dtype == pl.String else as_written_class(written)
    if values.dtype == pl.String:
        classes = values.unique().sort().to_list()
        codes = values.replace_strict(classes, list(range(len(classes))), return_dtype=pl.Int64)
        return codes.to_numpy(), tuple(classes)
    pairs = pl.DataFrame({"value": values, "text": texts})
    first = pairs.unique("value", keep="first", maintain_order=True).sort("value")
    codes = values.rank("dense").cast(pl.Int64) - 1
    return codes.to_numpy().astype(np.int64), tuple(first["text"].to_list())


def as_written_class(series: pl.Series) -> pl.Series:
    """Return typed values as class names: 0.5, 3, true."""
    import polars as pl

    return series.cast(pl.String)


def encode_targets(
    read: Table, names: Sequence[str], classes: Sequence[str], style: Style
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
            return None, f"target '{name}' is missing in {_first_gap(series)}"
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
        if (
            found.problem
            or found.kind not in (Kind.NUMBER, Kind.BOOLEAN)
            or (found.values.null_count())
        ):
            return None, found.problem or f"target '{name}' does not hold numbers"
        columns.append(found.values.to_numpy())
    return columns[0] if len(columns) == 1 else np.column_stack(columns), ""


# ---- features


def _fitted(
    columns: Sequence[Meaning],
    options: Options,
    path: str | Path,
    arrays: Arrays,
    train: Int[np.ndarray, " n"],
) -> Arrays:
    """Return the arrays with their features, of which what is learnt is learnt from some rows."""
    notes = list(arrays.notes)
    made = [c for m in columns if (c := fit_column(m, train, options, notes)) is not None]
    by_name = {m.name: m for m in columns}
    texts = [f"{c.name} ({len(c.categories)})" for c in made if c.categories and not c.shares]
    if texts:
        notes.append(f"categories: {listed(texts, 8)}")
    width = sum(len(column.features) for column in made)
    features = np.empty((arrays.rows, width))
    at = 0
    for column in made:
        count = len(column.features)
        features[:, at : at + count] = encode_meaning(column, by_name[column.name])[0]
        at += count
    return replace(arrays, features=features, columns=tuple(made), notes=tuple(notes), fit=None)
