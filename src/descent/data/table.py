"""The user's own table: which columns are features, what is predicted, what gaps become."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from descent.data.arrays import Arrays, Kind, Task
from descent.data.columns import Meaning, as_written, meaning, number_style, quoted
from descent.data.encoding import Options, encode_meaning, fit_column
from descent.data.layout import Dialect, listed
from descent.data.left_out import leave_out
from descent.data.reading import Table, decided, read_table
from descent.data.table_targets import TargetError, Targets, first_gap, targets_of, with_targets
from descent.errors import UserError, did_you_mean
from descent.shapes import Int

MOST_PROBLEMS = 6


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
    asked = _Asked.of(target, features, exclude, texts, group, time, weight)
    read = read_table(path, Dialect(**(reading or {})))
    asked.check(read)
    notes = list(read.notes)
    read, meanings = with_targets(read, asked.targets, asked.meanings, notes)
    if asked.features is None:
        chosen = [name for name in meanings if name not in asked.apart]
        chosen = leave_out(read, meanings, asked.targets, chosen, notes)
    else:
        chosen = asked.features
    found = _judged(read, meanings, asked, chosen, task, missing, notes)
    kept = np.arange(read.frame.height)
    if missing == "drop":
        kept = _without_gaps([meanings[name] for name in chosen], notes, path)
    notes += decided(_reasons(meanings, [*chosen, *asked.apart]))
    classes = len(found.classes)
    return Arrays(
        np.empty((len(kept), 0)),
        found.values[kept],
        Task.REGRESSION if not classes else Task.BINARY if classes == 2 else Task.MULTICLASS,
        (),
        ", ".join(asked.targets),
        found.classes,
        fit=functools.partial(
            _fitted, [_filtered(meanings[name], kept) for name in chosen],
            Options(missing, high_cardinality, dates), path,
        ),
        groups=None if asked.group is None else _codes(meanings[asked.group], kept),
        times=None if asked.time is None else _times(meanings[asked.time], kept, path),
        notes=tuple(notes),
        target_names=() if len(asked.targets) == 1 else tuple(asked.targets),
        weights=None if asked.weight is None else row_weight(meanings[asked.weight], path)[kept],
        weight=asked.weight,
        dated=found.dated,
    )  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    """What each column is asked to be."""

    targets: list[str]
    features: list[str] | None
    exclude: list[str]
    texts: list[str]
    group: str | None
    time: str | None
    weight: str | None

    @classmethod
    def of(
        cls, target: str | Sequence[str], features: Sequence[str] | None, exclude: Sequence[str],
        texts: Sequence[str], *roles: str | None,
    ) -> _Asked:  # fmt: skip
        """Take names for texts: those of some columns are numbers."""
        targets = target if isinstance(target, (list, tuple)) else [target]
        group, time, weight = (None if role is None else str(role) for role in roles)
        lists = ([str(name) for name in names] for names in (targets, exclude, texts))
        targets, exclude, texts = lists
        chosen = None if features is None else [str(name) for name in features]
        return cls(targets, chosen, exclude, texts, group, time, weight)

    @property
    def roles(self) -> dict[str, str]:
        """Columns that tell of the rows, by option."""
        roles = {"data.group": self.group, "data.time": self.time, "data.weight": self.weight}
        return {option: name for option, name in roles.items() if name is not None}

    @property
    def apart(self) -> list[str]:
        """Columns that are no features unless named as such."""
        return [*self.targets, *self.roles.values()]

    def meanings(self, read: Table) -> dict[str, Meaning]:
        """Return what each column holds, but for those to leave out."""
        style = number_style(read, read.frame.columns)
        return {
            name: meaning(read, name, style, name in self.texts)
            for name in read.frame.columns
            if name not in self.exclude and re.sub(r" \(\d+\)$", "", name) not in self.exclude
        }

    def check(self, read: Table) -> None:
        """Refuse columns that the table has not, or that are asked to be two things."""
        named = {f"data.target={name}": name for name in self.targets}
        named |= {f"{key}={name}": name for key, name in self.roles.items()}
        lists = (("features", self.features), ("exclude", self.exclude), ("texts", self.texts))
        for key, names in lists:
            named |= {f"data.{key}=[{name}]": name for name in names or ()}
        for option, name in named.items():
            check_column(read, name, option)
        _check_lists(self.targets, self.features, self.exclude)
        if read.frame.height == 0:
            raise UserError(
                f"{read.path} has no rows below its header; there is nothing to train on."
            )


def _judged(
    read: Table, meanings: Mapping[str, Meaning], asked: _Asked, chosen: Sequence[str], task: str,
    missing: str, notes: list[str],
) -> Targets:  # fmt: skip
    """Return the targets of columns of which nothing is left undecided.

    Raises:
        UserError: whatever is, in one message.
    """
    problems, found = _problems(read, meanings, [*chosen, *asked.roles.values()]), None
    try:
        found = targets_of(read, meanings, asked.targets, task, notes)
    except TargetError as problem:
        problems.append(str(problem))
    else:
        problems += _problems(read, meanings, asked.targets)
    if missing == "error":
        problems += [
            _gap_problem(read, meanings[n]) for n in chosen if meanings[n].values.null_count()
        ]
    if not chosen and not problems and len(meanings) == len({*asked.apart}):
        problems = [f"it has no column beside the target {listed(asked.targets)}"]
    if asked.features == []:
        problems.append(
            "data.features=[] leaves no column to learn from: name one, or null for all"
        )
    if found is None or problems:
        raise UserError(_one_message(read.path, problems))
    return found


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
        elif _headless(read):
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


def _headless(read: Table) -> bool:
    """Whether what is taken for names looks like data."""
    return all(re.fullmatch(r"column_\d+|[\d.,+-]+(?: \(\d+\))?", n) for n in read.frame.columns)


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


def _problems(read: Table, meanings: Mapping[str, Meaning], names: Sequence[str]) -> list[str]:
    clashes = sorted(n for n in read.clashing if n in names)
    found = [
        f"several columns are called '{n}' and differ: rename them, or data.exclude=[{quoted(n)}]"
        for n in clashes
    ]
    if clashes and _headless(read):
        found = [
            f"its first row ({listed(read.frame.columns, 4)}) is numbers, some of them twice: "
            "data.header=false reads it as data"
        ]
    return found + [str(m.problem) for n in names if (m := meanings[n]).problem is not None]


def _reasons(meanings: Mapping[str, Meaning], names: Sequence[str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name in names:
        for reason in meanings[name].reasons:
            reasons.setdefault(reason, []).append(name)
    return reasons


# ---- gaps, groups, times


def _gap_problem(read: Table, column: Meaning) -> str:
    return (
        f"column '{column.name}' has no value in {first_gap(read, column.values)}: "
        f"data.missing=impute, data.missing=drop, or data.exclude=[{quoted(column.name)}]"
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
    known = features[train]
    if not len(known) or not (known.max(axis=0) > known.min(axis=0)).any():
        what = "the shares of its classes" if arrays.classes else "its mean"
        notes.append(
            f"no feature tells anything of {arrays.target}: only {what} can be learnt "
            "(data.features=[...] takes columns in)"
        )
    return replace(arrays, features=features, columns=tuple(made), notes=tuple(notes), fit=None)
