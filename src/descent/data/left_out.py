"""Which columns of a table are no features: what numbers or names its rows, or is its target."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from descent.data.arrays import Kind
from descent.data.columns import MOST_CATEGORIES, Meaning
from descent.data.layout import listed
from descent.data.reading import Table

# In fewer rows than this a different text in each may well be a category.
FEW_ROWS = 10
# Texts of which this share is different are names, remarks or identifiers.
MOSTLY_DIFFERENT = 0.95
# In fewer rows than this two columns may well agree by chance.
FEW_TO_AGREE = 20
# In fewer rows than this 1, 2, 3, ... may well be measured or chosen: a table of doses.
FEW_TO_COUNT = 30
SAME_LINE = 1e-6  # of the target's spread: no further from a line than figures are rounded

IDENTIFIER = re.compile(r"(?i:^|[_\-. ])(?i:id|uuid|guid)$|[a-z](?:ID|Id)$")
COUNTING = re.compile(
    r"(?i)^(?:|index|idx|rows?|row[ _.]?(?:names?|num(?:ber)?|id|no\.?)|no\.?|nr\.?|num|number|obs|"
    r"observations?|case(?:no)?|s\.? ?no\.?|sl\.? ?no\.?|serial.*|seq(?:uence)?|#|record|"
    r"unnamed: ?\d+|__index_level_\d+__|level_0)$"
)
INDEX = re.compile(r"^(?:Unnamed: ?\d+|__index_level_\d+__|rownames|row\.names)$")
# What whole numbers that only rise are called where they name the rows: studyid, seqno, order_nr
RISING = re.compile(r"(?i)(?:id|no\.?|nr\.?|num|number|seqn|code|key|index|idcase)$")
# What goes up by one and is still a measure: time.
TIMES = re.compile(
    r"(?i)time|date|year|quarter|month|week|day|hour|minute|second|period|trend|step|epoch|age|"
    r"(?:^|[_\-. ])(?:t|x|yr|qtr|lag)$"
)
DOUBTFUL = ("as good as the target itself", "the target in another unit", "counting the rows")


def leave_out(
    read: Table, meanings: Mapping[str, Meaning], targets: Sequence[str], names: list[str],
    notes: list[str],
) -> list[str]:  # fmt: skip
    """Leave out what numbers or names the rows, what repeats the target, and what holds nothing.

    Args:
        read: the table.
        meanings: of its columns.
        targets: what is predicted.
        names: of the columns that could be features.
        notes: gets a line for each reason.

    Returns:
        The features' names.
    """
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
        for reason in DOUBTFUL:
            out -= set(why.pop(reason, ()))
    notes += [
        f"left out, {reason}: {listed(group, 8)} (data.features=[...] takes them in)"
        for reason, group in why.items()
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
    if column.kind in (Kind.NUMBER, Kind.CODE) and _is_row_number(read, column, different == rows):
        return "row numbers"
    if IDENTIFIER.search(name) and (column.kind is not Kind.NUMBER or column.whole):
        return "identifiers by their names"
    if column.kind is Kind.NUMBER and column.whole and rows >= FEW_TO_COUNT:
        if RISING.search(name) and different == rows and values.is_sorted():
            return "identifiers by their names"
        if _counts(column) and not TIMES.search(name):
            return "counting the rows"
    if column.kind in (Kind.CATEGORY, Kind.CODE):
        if unnamed and different == rows:
            return "row names"
        if rows > FEW_ROWS and different > MOSTLY_DIFFERENT * len(filled) and different > FEW_ROWS:
            return "a different text in nearly every row"
    return None


def _is_row_number(read: Table, column: Meaning, all_different: bool) -> bool:
    name, unnamed = column.name, column.name in read.unnamed
    by_r = name in ("X", "X.1") and len(read.frame.columns) > 2
    if _counts(column) and (unnamed or by_r or COUNTING.match(name)):
        return True
    return bool(unnamed or INDEX.match(name)) and all_different


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
        if column.kind is target.kind is Kind.NUMBER and _on_a_line(column, target):
            return "the target in another unit"
        classes = b.n_unique()
        if not 2 <= classes <= min(MOST_CATEGORIES, len(b) / 4) or a.n_unique() != classes:
            continue
        if not (target.kind is Kind.NUMBER and not target.whole):
            pairs = {*zip(a.to_list(), b.to_list(), strict=True)}
            if len(pairs) == classes:
                return "as good as the target itself"
    return None


def _on_a_line(column: Meaning, target: Meaning) -> bool:
    """Whether one straight line leads from a column to the target, in every row."""
    x, y = column.values.to_numpy(), target.values.to_numpy()
    if column.values.n_unique() < FEW_TO_AGREE or not np.isfinite([x, y]).all():
        return False
    low, high = x.argmin(), x.argmax()
    with np.errstate(all="ignore"):
        there = y[low] + (y[high] - y[low]) * ((x - x[low]) / (x[high] - x[low]))
        return bool(np.all(np.abs(there - y) <= SAME_LINE * np.ptp(y)) and np.ptp(y) > 0)
