"""`epochs.csv` and `steps.csv` of one trial: what its loss did on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from descent.files.bounded import DamageError, read_lines
from descent.records.tables import FULL_LOSS

EPOCHS, STEPS = "epochs.csv", "steps.csv"
AXES = ("step", "samples", "seconds")


@dataclass(frozen=True)
class LossCurve:
    """A loss of one trial: [n] each, steps rising; values may be infinite or NaN."""

    step: np.ndarray
    samples: np.ndarray
    seconds: np.ndarray
    loss: np.ndarray

    def __len__(self) -> int:
        return len(self.step)


def read_columns(path: Path, names: Sequence[str]) -> list[tuple[float, ...]]:
    """Return the rows that hold a number in the last of some columns; the others default to NaN.

    A file that is missing, has no such columns or is cut short gives the rows that it has.
    """
    try:
        header, *lines = read_lines(path) or [""]
    except (FileNotFoundError, DamageError):
        return []
    columns = header.split(",")
    if any(name not in columns for name in names):
        return []
    places = [columns.index(name) for name in names]
    width, last, rows = len(columns), places[-1], []
    for line in lines:
        cells = line.split(",")
        if len(cells) == width and cells[last]:
            rows.append(tuple(_number(cells[place]) for place in places))
    return rows


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def full_loss(directory: Path, within: bool = False) -> LossCurve:
    """Return the full loss of a trial, from the start on.

    Args:
        directory: of its run.
        within: whether it was also measured within epochs, which `steps.csv` holds.
    """
    rows = read_columns(directory / EPOCHS, (*AXES, FULL_LOSS))
    if within:
        rows = sorted({row[0]: row for row in (*_within(directory), *rows)}.values())
    return _track(rows)


def _within(directory: Path) -> list[tuple[float, ...]]:
    return read_columns(directory / STEPS, (*AXES, "full_loss"))


def recorded(directory: Path, name: str) -> LossCurve:
    """Return another column of `epochs.csv`, where it has a value."""
    return _track(read_columns(directory / EPOCHS, (*AXES, name)))


def step_loss(directory: Path) -> LossCurve:
    """Return the loss of each step's mini-batch before its update."""
    return _track(read_columns(directory / STEPS, (*AXES, "loss")))


def _track(rows: Sequence[tuple[float, ...]]) -> LossCurve:
    table = np.array(rows, dtype=float).reshape(-1, len(AXES) + 1)
    return LossCurve(*table.T)


def at_start(directory: Path, name: str = FULL_LOSS) -> float:
    """Return a metric before training; NaN if it was not measured then."""
    track = recorded(directory, name)
    return float(track.loss[0]) if len(track) and track.step[0] == 0 else math.nan
