"""How large the cells of a heat map are, what fits in them and how its panels are laid out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from descent.report.style import WIDTH
from descent.report.sweep.cells import cell_text
from descent.report.sweep.options import folded, value_text
from descent.study.grid import Grid

LARGEST, GOOD, SMALLEST = 11.0, 9.0, 6.0  # points; smaller digits are not read
TALLEST = 10.5  # inches of a whole picture: a page
MOST_ACROSS = 4  # panels side by side
WIDEST = 1.4  # inches of a cell
GAP = 0.2  # inches between two panels
OWN_SCALE = 0.65  # inches beside a panel that has a scale of its own
HEAD, TITLE = 0.28, 0.17  # inches above a panel: apart from its title, and a line of it
ROOM = 1.35  # inches for the scale, the axis title and the legend
LINE = 1.35  # heights of a line of text in font sizes
TICK = 9.0  # points
LETTER = 0.62  # width of a letter of a label in font sizes


@dataclass(frozen=True)
class Layout:
    """How panels are laid out.

    Args:
        across, down: columns and rows of panels.
        height: of the whole picture, in inches.
        wide, high: of a cell, in inches.
        lines: of text in a cell: 3, 2, 1 or 0.
        size: of the text, in points.
    """

    across: int
    down: int
    height: float
    wide: float
    high: float
    lines: int
    size: float


def lay_out(grids: Sequence[Grid], own_scales: bool = False) -> Layout:
    """Return the layout whose cells tell most in letters that are read, in as few rows as may be.

    Args:
        grids: one a panel.
        own_scales: whether each panel has a scale of colours beside it.
    """
    rows, columns = (max(grid.mean.shape[i] for grid in grids) for i in (0, 1))
    labels = [value_text(value) for grid in grids if grid.y is not None for value in grid.ys]
    edge = 0.6 + LETTER * TICK * max(map(len, labels), default=0) / 72
    texts = {lines: _longest(grids, lines) for lines in (3, 2, 1)}
    found = []
    for across in range(1, min(len(grids), MOST_ACROSS) + 1):
        down = math.ceil(len(grids) / across)
        room = (WIDTH - edge) / across - GAP - OWN_SCALE * own_scales
        wide = min(WIDEST, room / columns)
        titles = [folded(grid.title, letters_across(wide, grid)) for grid in grids]
        head = HEAD + TITLE * max(title.count("\n") + bool(title) for title in titles)
        most = max(0.04, (TALLEST - ROOM - head * down) / (down * rows))
        lines, size, high = _fitting(texts, wide, most)
        height = ROOM + down * (head + rows * high)
        found.append(Layout(across, down, height, wide, high, lines, size))
    return max(
        found, key=lambda o: (o.lines, min(o.size, GOOD), min(o.wide, o.high, 0.3), o.across)
    )


def _fitting(
    texts: Mapping[int, tuple[float, int]], wide: float, most: float
) -> tuple[int, float, float]:
    """Return the lines of text that a cell has room for, their size, and the height it takes.

    Args:
        texts: width in font sizes and height in lines of the largest text, by lines asked for.
        wide: of a cell, in inches.
        most: height of a cell, in inches.
    """
    for lines, (width, height) in texts.items():
        size = min(LARGEST, 72 * 0.9 * wide / width, 72 * 0.95 * most / (LINE * height))
        if size >= SMALLEST:
            return lines, size, min(most, max(0.32, LINE * size * height / 72 + 0.1))
    return 0, 0.0, min(most, max(wide, 0.1))


def letters_across(wide: float, grid: Grid) -> int:
    """Return how many letters of 10 points fit over a panel with cells `wide` inches wide."""
    return max(16, int(72 * wide * grid.mean.shape[1] / (10 * LETTER)))


def _longest(grids: Sequence[Grid], lines: int) -> tuple[float, int]:
    """Return the width in font sizes and the lines of the largest text in any cell."""
    texts = [cell_text(grid, c, r, lines) for grid in grids for c, r in grid.cells]
    widths = [sum(map(_em, line)) for text in texts for line in text]
    return max(widths, default=1.0), max(map(len, texts), default=1) or 1


def _em(letter: str) -> float:
    """Return about how wide DejaVu Sans draws a letter, in font sizes."""
    wide = {".": 0.32, ",": 0.32, " ": 0.32, "i": 0.28, "%": 0.95, "±": 0.84, "m": 0.97}
    return wide.get(letter, 0.64)
