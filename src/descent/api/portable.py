"""A trained model that needs nothing of Descent: rows as they are in, predictions out.

What a table's columns become is learnt in training: the numbers that fill gaps, the categories, the
scales. Here all of it is tensors in one module, which torch and ONNX can keep in a file. Texts are
no tensors, so a category comes as its place in a list that is kept beside the file.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from descent.data.arrays import Column, Kind, Task
from descent.data.as_trained import as_kind
from descent.data.columns import number_style
from descent.data.encoding import DAY, same_category
from descent.data.prepare import Description
from descent.data.reading import Table
from descent.data.scale import Scaler
from descent.shapes import Float


class Portable(nn.Module):
    """From rows [N, columns] in float64 to predictions [N, C] in float64.

    A row has one number per column of the run, in its order; NaN stands for a missing value:

    - numbers and booleans (0 or 1) as they are,
    - a category by its place in the column's list, from 0; -1 for a text that is not in it,
    - a date by its days since 1970, with the time of day as a fraction,
    - a hashed text by CRC-32 of its UTF-8 bytes, modulo the number of buckets.

    It returns the targets in their own units, or the probabilities of the classes.

    Args:
        module: trained; from scaled features to outputs.
        description: of the data it was trained on.
    """

    def __init__(self, module: nn.Module, description: Description) -> None:
        super().__init__()
        self.module = module.eval().requires_grad_(False)
        self.encoders = nn.ModuleList(_encoders(description.columns))
        self.scaler = _Scaling(description.scaler)
        self.target_scaler = _Scaling(description.target_scaler)
        self.task = description.task
        self.dtype = next(module.parameters()).dtype

    def forward(self, x: Float[Tensor, "N columns"]) -> Float[Tensor, "N C"]:
        """Encode, scale, and predict."""
        parts = [encoder(x) for encoder in self.encoders]
        features = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        outputs = self.module(self.scaler.apply(features).to(self.dtype)).double()
        if self.task is Task.REGRESSION:
            return self.target_scaler.undo(outputs)
        if self.task is Task.BINARY:
            p = outputs.sigmoid()
            return torch.cat([1 - p, p], dim=1)
        return outputs.softmax(dim=1)


class _Scaling(nn.Module):
    """A `Scaler` of tensors."""

    offset: Tensor
    scale: Tensor

    def __init__(self, scaler: Scaler) -> None:
        super().__init__()
        self.register_buffer("offset", torch.from_numpy(scaler.offset.copy()))
        self.register_buffer("scale", torch.from_numpy(scaler.scale.copy()))
        self.log = scaler.log

    def apply(self, values: Tensor) -> Tensor:  # type: ignore[override] # nn.Module's is another
        return ((values.log() if self.log else values) - self.offset) / self.scale

    def undo(self, values: Tensor) -> Tensor:
        linear = values * self.scale + self.offset
        return linear.exp() if self.log else linear


# ---- columns


def _encoders(columns: Sequence[Column]) -> list[nn.Module]:
    """Return what makes features of columns, in their order; neighbours that stay go together."""
    made: list[nn.Module] = []
    at = 0
    while at < len(columns):
        end = at
        while end < len(columns) and _stays(columns[end]):
            end += 1
        if end > at:
            made.append(_Numbers(at, columns[at:end]))
        else:
            made.append(_Dates(at, columns[at]) if columns[at].parts else _encoder(at, columns[at]))
            end = at + 1
        at = end
    return made


def _stays(column: Column) -> bool:
    """Whether a column is one feature, of its own number."""
    return len(column.features) == 1 and column.features[0] == column.name and not column.parts


def _encoder(at: int, column: Column) -> nn.Module:
    if column.categories is not None:
        return _Categories(at, len(column.categories), column.shares, column.gap)
    if column.buckets:
        return _Categories(at, column.buckets, None, column.gap)
    return _Gapped(at, column)


class _Numbers(nn.Module):
    """Columns that are features as they are, but for what fills their gaps."""

    fill: Tensor

    def __init__(self, at: int, columns: Sequence[Column]) -> None:
        super().__init__()
        self.at, self.end = at, at + len(columns)
        fills = [float("nan") if column.fill is None else column.fill for column in columns]
        self.register_buffer("fill", torch.tensor(fills, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        own = x[:, self.at : self.end]
        return torch.where(own.isnan(), self.fill, own)


class _Gapped(_Numbers):
    """A number, and whether it was missing."""

    def __init__(self, at: int, column: Column) -> None:
        super().__init__(at, [column])

    def forward(self, x: Tensor) -> Tensor:
        gap = x[:, self.at : self.end].isnan().double()
        return torch.cat([super().forward(x), gap], dim=1)


class _Categories(nn.Module):
    """A feature for each category, or the share that each had in the training rows."""

    places: Tensor
    shares: Tensor

    def __init__(self, at: int, count: int, shares: Sequence[float] | None, gap: bool) -> None:
        super().__init__()
        self.at, self.gap, self.one = at, gap, shares is not None
        self.register_buffer("places", torch.arange(count, dtype=torch.float64))
        self.register_buffer("shares", torch.tensor(shares or [0.0] * count, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        own = x[:, self.at : self.at + 1]
        made = (own == self.places).double()  # a missing one equals none
        if self.one:
            made = (made * self.shares).sum(dim=1, keepdim=True)
        return torch.cat([made, own.isnan().double()], dim=1) if self.gap else made


class _Dates(nn.Module):
    """The parts of a date.

    Source: H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    """

    fill: Tensor

    def __init__(self, at: int, column: Column) -> None:
        super().__init__()
        self.at, self.gap, self.parts = at, column.gap, column.parts
        fill = float("nan") if column.fill is None else round(column.fill * DAY) / DAY
        self.register_buffer("fill", torch.tensor(fill, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        own = x[:, self.at : self.at + 1]
        days = torch.where(own.isnan(), self.fill, own)
        found = {"days": days, **_civil(days)}
        made = [found[part] for part in self.parts]
        return torch.cat([*made, own.isnan().double()] if self.gap else made, dim=1)


def _civil(days: Tensor) -> dict[str, Tensor]:
    """Return the parts of dates in the Gregorian calendar, Monday being weekday 1."""
    # a time of day is a fraction, and whole minutes count: what rounding may take is given first
    minutes = (days * 1440 + 1e-5).floor()
    day = (minutes / 1440).floor()
    shifted = day + 719468  # since 1 March of the year 0
    era = (shifted / 146097).floor()
    of_era = shifted - era * 146097
    leap = (of_era / 1460).floor() - (of_era / 36524).floor() + (of_era / 146096).floor()
    year = ((of_era - leap) / 365).floor()
    of_year = of_era - (365 * year + (year / 4).floor() - (year / 100).floor())
    march = ((5 * of_year + 2) / 153).floor()
    month = torch.where(march < 10, march + 3, march - 9)
    return {
        "year": year + era * 400 + (month <= 2).double(),
        "month": month,
        "day": of_year - ((153 * march + 2) / 5).floor() + 1,
        "weekday": day + 3 - ((day + 3) / 7).floor() * 7 + 1,
        "hour": (minutes - day * 1440) / 60,
    }


# ---- what it takes, and what that means


def inputs_of(read: Table, columns: Sequence[Column]) -> Float[np.ndarray, "N columns"]:
    """Return a table's rows as `Portable` takes them; its columns are known to fit the run's."""
    import polars as pl

    style = number_style(read, [column.name for column in columns])
    made = np.empty((read.frame.height, len(columns)))
    for at, column in enumerate(columns):
        values = as_kind(read, column.name, column.kind, style, column.day_first).values
        if column.kind is Kind.DATE:
            values = values.cast(pl.Int64) / DAY
        elif column.buckets:
            texts = values.to_list()
            codes = [None if t is None else zlib.crc32(t.encode()) % column.buckets for t in texts]
            values = pl.Series(codes, dtype=pl.Float64)
        elif column.categories is not None:
            values = same_category(values, column.categories)
        made[:, at] = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return made


def contract(description: Description) -> dict[str, Any]:
    """Return what an exported model takes and gives, as plain values: the file beside it."""
    return {
        "inputs": [_input(column) for column in description.columns],
        "outputs": [f"probability of {c}" for c in description.classes]
        or [f"predicted {name}" for name in description.target_names],
        "task": str(description.task),
        "classes": list(description.classes),
        "missing": "NaN",
    }


def _input(column: Column) -> dict[str, Any]:
    if column.parts:
        return {"name": column.name, "is": "days since 1970-01-01, with fractions"}
    if column.buckets:
        return {"name": column.name, "is": f"crc32(utf-8) % {column.buckets}"}
    if column.categories is not None:
        known = list(column.categories)
        return {"name": column.name, "is": "place in categories, -1 if none", "categories": known}
    boolean = column.kind is Kind.BOOLEAN
    return {"name": column.name, "is": "0 or 1" if boolean else "number"}
