"""What the pictures of a sweep share: words for values, cells, ticks, limits, crosses, legend."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.analysis.grid import Grid
from descent.analysis.settings import SAME
from descent.analysis.trials import BATCH, LEARNING_RATES
from descent.report.style import GREY, Stroke, drawable, legend_below, spans_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


WORDS = {BATCH: "batch size, rows"} | dict.fromkeys(LEARNING_RATES, "learning rate")
LONGEST_VALUE = 22  # characters of a value
PIECE = r"[^_.,=/-]*[_.,=/-]+|[^_.,=/-]+"  # of a long word: up to the next sign


def axis_title(option: str) -> str:
    """Return what an option is, with its name as it is typed: `learning rate (optimizer.lr)`."""
    return f"{WORDS[option]} ({option})" if option in WORDS else option


def value_text(value: float | str) -> str:
    """Return a value of an option as it may be typed, in few letters: 0.001, 3e-5, 1024, a word."""
    if isinstance(value, str):
        return clipped(value, LONGEST_VALUE)
    whole = value == round(value) and abs(value) < 1e6
    return f"{value:.0f}" if whole else short(f"{value:.4g}")


def short(text: str) -> str:
    """Return a number's text without the zeros of its exponent: 3e-5 for 3e-05."""
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else text


def clipped(text: str, longest: int) -> str:
    """Return at most `longest` characters, the middle left out of what is longer."""
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[: longest - 1 - half]}…{text[len(text) - half :]}"


def folded(text: str, letters: int) -> str:
    """Return text in lines of at most `letters`: broken at spaces, long words at signs."""
    lines = [""]
    for word in text.split():
        pieces = [word] if len(word) <= letters else re.findall(PIECE, word)
        pieces = [p[i : i + letters] for p in pieces for i in range(0, len(p), letters)]
        for piece in [*pieces[:-1], pieces[-1] + " "]:
            if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > letters:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


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
    spread = 0.0 if spread < SAME * abs(mean) else spread
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


LOOSE, TIGHT = 9.0, 6.5  # points between rows: few and many
MANY_ROWS = 8
DENSE = 6  # crosses of a row: without rims, which would hide their neighbours
WHOLE, SOME = "X", "x"  # all trials were lost, or some


def row_height(rows: int) -> float:
    """Return how far rows of crosses lie apart, in points."""
    return LOOSE if rows <= MANY_ROWS else TIGHT


def draw_crosses(axes: Axes, up: float, x: np.ndarray, whole: np.ndarray, style: Stroke) -> None:
    """Draw a row of crosses above the axes, with the line's own marker before it.

    Args:
        axes: with its scale and limits set.
        up: points above the upper edge.
        x: places [n] on the axis.
        whole: [n] whether everything was lost there: a filled cross, else a thin one.
        style: of the line.
    """
    from matplotlib.transforms import offset_copy

    figure = axes.get_figure(root=True)
    moved = offset_copy(axes.get_xaxis_transform(), figure, y=up, units="points")
    rim = 0.4 if len(x) < DENSE else 0.0
    guide = offset_copy(axes.transAxes, figure, y=up, units="points")
    axes.plot(
        [0, 1], [1, 1], color=style.colour, alpha=0.2, linewidth=0.6, transform=guide,
        clip_on=False, gid="guide",
    )  # fmt: skip
    looks: tuple[tuple[str, np.ndarray, dict[str, Any]], ...] = (
        (WHOLE, whole, {"markersize": 7, "markeredgecolor": "white", "markeredgewidth": rim}),
        (SOME, ~whole, {"markersize": 5.5, "markeredgewidth": 1.4}),
    )
    for marker, keep, look in looks:
        if keep.any():
            axes.plot(
                x[keep], np.ones(keep.sum()), marker, color=style.colour, transform=moved,
                clip_on=False, gid="lost", **look,
            )  # fmt: skip
    beside = offset_copy(axes.transAxes, figure, x=-8, y=up, units="points")
    axes.plot(
        [0], [1], style.marker, color=style.colour, markersize=4.5, transform=beside, clip_on=False,
        gid="whose",
    )  # fmt: skip


def explain_crosses(axes: Axes, whole: bool, some: bool) -> None:
    """Put the crosses that occur into the legend."""
    look: dict[str, Any] = {"color": GREY, "linestyle": "none", "markersize": 7}
    if whole:
        axes.plot([], [], marker=WHOLE, label="all trials lost", **look)
    if some:
        axes.plot([], [], marker=SOME, markeredgewidth=1.4, label="some trials lost", **look)


REACH = 2.0  # quartile ranges beyond the worse quartile; Tukey's fences stand at 1.5 and 3
KEPT = 0.9  # share of the values that the limits hold at least


def fenced(
    values: np.ndarray, lower: bool, reach: float = REACH, times: float = 1.0
) -> tuple[float, float, bool]:
    """Return the best value, the worst one that is no outlier, and whether to use a log scale.

    Outliers are looked for on the worse side only: an exceptionally good value is what the reader
    looks for. Zeros among positive values do not keep them from a log scale; they lie below it.

    Args:
        values: any shape; what is not finite is left out.
        lower: whether less is better.
        reach: quartile ranges beyond the worse quartile at which outliers begin.
        times: values within this many times the worse quartile are no outliers either.

    Returns:
        The lower limit, the upper limit, and whether all is positive (or 0) and spans decades.

    Raises:
        ValueError: there is no finite value.

    Source:
        Tukey, Exploratory Data Analysis (1977): fences a multiple of the quartile range beyond the
        quartiles; here on the logarithms of positive values.
    """
    known = drawable(np.ravel(values))
    known = known[np.isfinite(known)]
    if not len(known):
        raise ValueError("no value is finite")
    sign = 1 if lower else -1
    if known.min() < 0 or known.max() == 0:
        within = known[_inside(sign * known, reach, 0.0)]
        return float(within.min()), float(within.max()), False
    above = known[known > 0]
    within = above[_inside(sign * np.log(above), reach, np.log(times))]
    low, log = float(within.min()), spans_decades(within)
    return low if log or known.min() > 0 else 0.0, float(within.max()), log


def _inside(badness: np.ndarray, reach: float, away: float) -> np.ndarray:
    """Whether each value [n] is no outlier."""
    quartiles = np.quantile(badness, [0.25, 0.75])
    fence = quartiles[1] + max(reach * (quartiles[1] - quartiles[0]), away)
    fence = max(fence, float(np.quantile(badness, KEPT, method="lower")))
    inside: np.ndarray = badness <= fence
    return inside


FEW_PANELS = 4  # more may leave an empty corner


def across_of(panels: int, most: int) -> int:
    """Return how many panels stand side by side, `most` at most, few of them without a hole.

    In as few rows as may be, evenly filled: four are two and two, and three one above another
    where two are the most.
    """
    across = math.ceil(panels / math.ceil(panels / most))
    return 1 if panels % across and panels <= FEW_PANELS else across


SHORT = 0.25  # inches of a legend for which pictures have room anyway


def add_legend(figure: Figure, axes: Axes | None = None) -> None:
    """Put the legend under the picture; a tall one takes nothing from the axes.

    Args:
        figure: made by `new_figure`.
        axes: whose legend; None for the first.
    """
    legend_below(figure, axes)
    for legend in figure.legends:
        tall = legend.get_window_extent(figure.canvas.get_renderer()).height / figure.dpi  # type: ignore[attr-defined]
        figure.set_figheight(figure.get_figheight() + max(0.0, tall - SHORT))


LONG, MIDDLE = 3.5, 1.0  # decades: from there on powers of ten do; below, every 1, 2 and 5


def tick_logs(axes: Axes) -> None:
    """Label 1, 2 and 5 of each decade of a short log y axis; of a very short one even more.

    Args:
        axes: with its limits set.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if axes.get_yscale() != "log":
        return
    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    if decades < LONG:
        fine = (1, 1.5, 2, 3, 4, 5, 7) if decades < MIDDLE else (1, 2, 5)
        axes.yaxis.set_major_locator(LogLocator(subs=fine))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: value_text(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
