"""Columns of a new table, read as what they were in training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from descent.data.arrays import Kind
from descent.data.columns import Meaning, Style, as_written, is_text, meaning, read_numbers
from descent.data.reading import Table

if TYPE_CHECKING:
    import polars as pl


def as_kind(
    table: Table, name: str, kind: Kind, style: Style, day_first: bool | None = None
) -> Meaning:
    """Read a column as what it was in training, however this file writes it.

    Returns:
        Its values as that kind; `problem` says where it is none.
    """
    import polars as pl

    series = table.frame[name]
    if kind in (Kind.CATEGORY, Kind.CODE):
        return Meaning(name, kind, series if is_text(series) else as_written(series))
    if series.null_count() == len(series):
        typed = pl.Datetime("us") if kind is Kind.DATE else pl.Float64
        return Meaning(name, kind, pl.Series(name, [None] * len(series), dtype=typed))
    if kind is Kind.BOOLEAN:
        return _as_boolean(table, series)
    if day_first is not None and table.dialect.day_first is None:
        table = replace(table, dialect=replace(table.dialect, day_first=day_first))
    found = meaning(table, name, style)
    if found.kind is Kind.CODE and kind is Kind.NUMBER:
        found = read_numbers(table, series, style) or found
    if found.kind is Kind.BOOLEAN and kind is Kind.NUMBER and series.dtype == pl.Boolean:
        return found
    if found.kind is not kind and found.problem is None:
        nouns = {Kind.NUMBER: "numbers", Kind.DATE: "dates"}
        first = series.drop_nulls()[0]
        found.problem = f"column '{name}' must hold {nouns[kind]}, but holds '{first}'"
    return found


TRUE, FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")


def _as_boolean(table: Table, series: pl.Series) -> Meaning:
    import polars as pl

    small = (
        as_written(series).str.to_lowercase()
        if not is_text(series)
        else (series.str.to_lowercase())
    )
    known = dict.fromkeys(TRUE, 1.0) | dict.fromkeys(FALSE, 0.0)
    values = small.replace_strict(known, default=None, return_dtype=pl.Float64)
    found = Meaning(series.name, Kind.BOOLEAN, values)
    odd = series.filter(values.is_null() & series.is_not_null())
    if not odd.is_empty():
        found.problem = f"column '{series.name}' must hold true or false, but holds '{odd[0]}'"
    return found
