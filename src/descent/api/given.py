"""What somebody's Python gives as data: frames, arrays and tensors become a frame of Polars.

For training the frame is written beside the runs, in `<outputs>/tables/<digest>.parquet`, and the
run's config names that file: so a run can be resumed, tested again and repeated by its command, the
runs of a sweep share one file, and the same rows are never written twice.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.core.override_parser.types import Quote, QuotedString

from descent.data.layout import listed
from descent.errors import DescentError, did_you_mean, first_line
from descent.files.atomic import make_directory, replacing

if TYPE_CHECKING:
    import polars as pl

TABLES = "${paths.outputs}/tables"  # in the config, where it is resolved
TARGET = "target"  # the column that an array of targets becomes
DIGITS = 16
WORDS = ("true", "false", "null", "nan", "inf")  # which Hydra takes for values


class Given:
    """Rows that were given in Python, and the overrides that make a run train on them.

    Args:
        data: a frame (Polars, pandas, anything with columns by name), a mapping of columns, a 2-D
            array or tensor, the path of a table, or a pair of rows and target.
        target: the name of the column to predict (several names for several numbers), or the values
            themselves: [N], or [N, C] numbers.

    Raises:
        DescentError: rows without columns, or without a target.
    """

    def __init__(self, data: Any, target: Any) -> None:
        self._bytes: bytes | None = None
        if isinstance(data, tuple) and len(data) == 2 and target is None:
            data, target = data
        if isinstance(data, (str, os.PathLike)):
            names, self._path = _names(target, None), os.fspath(data)
        else:
            frame = as_frame(data)
            names = _names(target, frame)
            if names is None:
                frame, names = with_target(frame, target)
            absent = [name for name in names if name not in frame.columns]
            if absent:
                hint = (
                    did_you_mean(absent[0], frame.columns)
                    or f"; they have {listed(frame.columns)}."
                )
                raise DescentError(f"The data have no column '{absent[0]}'{hint}")
            self._path = f"{TABLES}/{self._packed(frame)}.parquet"
        if names is None:
            raise DescentError("target=... names the column to predict; a table has no other one.")
        path = self._path if self._bytes is not None else quoted(self._path)
        targets = ",".join(map(quoted, names))
        target = targets if len(names) == 1 else f"[{targets}]"
        self.overrides = ["data=table", f"data.path={path}", f"data.target={target}"]

    def _packed(self, frame: pl.DataFrame) -> str:
        """Keep a frame as a file holds it; return the digest of that."""
        file = io.BytesIO()
        frame.write_parquet(file)
        self._bytes = file.getvalue()
        return hashlib.blake2b(self._bytes, digest_size=DIGITS // 2).hexdigest()

    def write(self, path: str) -> None:
        """Write the rows where a config says, unless they are there already."""
        there = Path(path)
        if self._bytes is None or there.exists():
            return
        make_directory(there.parent)
        with replacing(there) as file:
            file.write(self._bytes)


def quoted(text: str) -> str:
    """Return a text as Hydra reads it back, whatever is in it."""
    if "${" in text:
        raise DescentError(f"'{text}' holds '${{', which Hydra takes for a reference; rename it.")
    if re.fullmatch(r"[A-Za-z_/.][\w/.-]*", text) and text.lower() not in WORDS:
        return text
    return QuotedString(text=text, quote=Quote.double).with_quotes()


def _names(target: Any, frame: pl.DataFrame | None) -> list[str] | None:
    """Return the names of target columns; None where values are given."""
    several = isinstance(target, (list, tuple)) and all(isinstance(name, str) for name in target)
    if isinstance(target, str):
        return [target]
    if several and target and (frame is None or set(target) <= set(frame.columns)):
        return list(target)
    return None


def with_target(
    frame: pl.DataFrame, target: Any, given: Sequence[str] | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """Return a frame with the values of a target as its last columns, and their names.

    Args:
        frame: the rows.
        target: their values, [N] or [N, C].
        given: what to call them; None for the name that they have themselves, or `target`.

    Raises:
        DescentError: they are not of the rows, or such a column is there already.
    """
    import polars as pl

    if target is None:
        raise DescentError(
            "target=... is missing: the name of the column to predict, or its values."
        )
    values = as_array(target) if not isinstance(target, (list, tuple)) else np.asarray(target)
    if values.ndim not in (1, 2) or len(values) != frame.height:
        raise DescentError(
            f"target has the shape {values.shape}, but there are {frame.height:,} rows; it must be "
            "[rows], or [rows, targets]."
        )
    columns = values.reshape(len(values), -1).T
    name = getattr(target, "name", None)
    name = name if isinstance(name, str) and name else TARGET
    names = [name] if len(columns) == 1 else [f"{name}{i}" for i in range(len(columns))]
    names = names if given is None else list(given)
    if len(names) != len(columns):
        raise DescentError(f"target has {len(columns)} columns, where the run has {len(names)}.")
    taken = [name for name in names if name in frame.columns]
    if taken:
        raise DescentError(
            f"The data have a column '{taken[0]}' already, which the values of target would "
            f"overwrite; rename it, or give target='{taken[0]}'."
        )
    made = [pl.Series(name, _column(values)) for name, values in zip(names, columns, strict=True)]
    return frame.with_columns(made), names


def as_frame(data: Any, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return rows as a frame of Polars.

    Args:
        data: a frame, a mapping of columns, a 2-D array or a tensor.
        columns: names for an array's columns; None for x0, x1, ...

    Raises:
        DescentError: it has no rows and columns.
    """
    import polars as pl

    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if isinstance(data, pl.DataFrame):
        return data
    if type(data).__module__.split(".")[0] == "pandas":
        return _from_pandas(data)
    if isinstance(data, Mapping):
        return pl.DataFrame({str(k): _column(as_array(v)) for k, v in data.items()})
    if hasattr(data, "__arrow_c_stream__"):
        return pl.DataFrame(data)
    values = as_array(data)
    if values.ndim != 2:
        raise DescentError(
            f"data has the shape {values.shape}; it must be a table: a frame, an array of "
            "[rows, columns], or the path of a file."
        )
    names = [f"x{i}" for i in range(values.shape[1])] if columns is None else list(columns)
    if len(names) != values.shape[1]:
        raise DescentError(
            f"data has {values.shape[1]} columns, where the run was trained on {len(names)}."
        )
    made = {name: _column(values[:, i]) for i, name in enumerate(names)}
    return pl.DataFrame(made)


def as_array(values: Any) -> np.ndarray:
    """Return a tensor, a column of a frame, or anything like an array as one."""
    if hasattr(values, "detach"):  # a tensor, wherever it lies
        values = values.detach().cpu().numpy()
    if type(values).__module__.split(".")[0] == "pandas":
        values = values.to_numpy()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DescentError(
            f"data cannot be read as rows and columns: {first_line(error).rstrip('.')}."
        ) from None


def _column(values: np.ndarray) -> Any:
    """Return one column's values as Polars takes them: a missing one is null."""
    import polars as pl

    if values.dtype.kind in "biuf":
        return pl.Series(values, nan_to_null=values.dtype.kind == "f")
    if values.dtype.kind == "M":
        return pl.Series(values.astype("datetime64[us]"))
    kept = [None if value is None or value != value else value for value in values.tolist()]
    kinds = {type(value) for value in kept if value is not None}
    mixed = len(kinds) > 1 and not kinds <= {int, float, bool}
    return pl.Series([str(v) if mixed and v is not None else v for v in kept], strict=False)


def _from_pandas(frame: Any) -> pl.DataFrame:
    """Return a frame of pandas, column by column: Polars' own way needs a further library."""
    import polars as pl

    if not hasattr(frame, "columns"):  # a series
        frame = frame.to_frame()
    names = [str(name) for name in frame.columns]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DescentError(f"The frame has several columns called '{twice[0]}'; rename them.")
    made = {}
    for at, name in enumerate(names):
        column = frame.iloc[:, at]
        kind = getattr(column.dtype, "kind", "O")
        plain = isinstance(column.dtype, np.dtype) and kind in "biufM"
        made[name] = _column(column.to_numpy() if plain else _objects(column))
    return pl.DataFrame(made)


def _objects(column: Any) -> np.ndarray:
    """Return a column of pandas' own types as Python's values, None where one is missing."""
    values = column.astype(object)
    return np.array(
        [None if gap else v for v, gap in zip(values, column.isna(), strict=True)], object
    )
