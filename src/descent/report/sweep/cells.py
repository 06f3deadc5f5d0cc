"""What stands in the cells of a heat map, in more or in fewer lines."""

from __future__ import annotations

import math

from descent.report.sweep.options import short
from descent.study.grid import Grid

NOISE = 1e-12  # of a mean: what rounding makes of equal scores


def cell_text(grid: Grid, column: int, row: int, lines: int) -> list[str]:
    """Return the lines of a tried cell: its mean, its spread, and who is not in them.

    Args:
        grid: the panel.
        column, row: of the cell.
        lines: 3 for all; 2 leaves the spread out where trials are missing; 1 gives fewer digits.
    """
    mean, spread = float(grid.mean[row, column]), float(grid.spread[row, column])
    setting = grid.cells[column, row]
    lost = f"{100 * grid.diverged[row, column]:.0f}% div." if grid.diverged[row, column] else ""
    if not math.isfinite(mean):
        missed = "missed" if grid.measure.target is not None else "no score"
        all_lost = grid.diverged[row, column] == 1
        told = [lost] if all_lost else [word for word in (missed, lost) if word]
        return told if lines > 1 else []
    if lines == 1:
        return [brief(mean, 2)]
    diverged = round(len(setting.trials) * grid.diverged[row, column])
    if len(setting.scores) < len(setting.trials) - diverged:
        left = len(setting.scores)
        lost = f"{lost} n={left}" if lost else f"{left} of {len(setting.trials)}"
    known = len(setting.scores) > 1 and math.isfinite(spread)
    spread = 0.0 if spread < NOISE * abs(mean) else spread
    spreads, losses = [f"±{brief(spread, 2)}"] * known, [lost] * bool(lost)
    return [brief(mean, 3), *(spreads + losses if lines == 3 else losses or spreads)]


def brief(value: float, digits: int) -> str:
    """Return a number in few letters: 0.123, 1,437, 3.2e5, 1.2e-5.

    Args:
        value: finite.
        digits: significant ones; whole numbers keep all of theirs up to 9,999, or with three or
            more digits up to 99,999.
    """
    size = abs(value)
    if size and not 1e-3 <= size < (99_999.5 if digits > 2 else 9_999.5):
        return short(f"{value:.1e}").replace(".0e", "e")
    places = max(0, digits - 1 - math.floor(math.log10(size))) if size else 0
    return f"{value:,.{places}f}"


def spoken(value: float, digits: int = 4) -> str:
    """Return a number as a sentence has it: as `brief`, without zeros at the end."""
    text = brief(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
