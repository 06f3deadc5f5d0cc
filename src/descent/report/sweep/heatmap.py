"""Settings on two axes as a heat map: layout, colours, cells, what was lost, best and boundary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.analysis.grid import Grid
from descent.analysis.trials import repeat_word
from descent.report.style import BLACK, VERMILION, WIDTH, YELLOW, Picture, new_figure
from descent.report.sweep.heatmap_caption import (
    best_of_all,
    boundary_column,
    boundary_rows,
    by_problem,
    caption,
)
from descent.report.sweep.marks import (
    across_of,
    add_legend,
    axis_title,
    cell_text,
    fenced,
    folded,
    value_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure


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
class PanelLayout:
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


def lay_out(grids: Sequence[Grid], own_scales: bool = False) -> PanelLayout:
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
        found.append(PanelLayout(across, down, height, wide, high, lines, size))
    empty = {across_of(len(grids), most) for most in range(1, MOST_ACROSS + 1)}
    found = [layout for layout in found if layout.across in empty]
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


WHITE = "#FFFFFF"
PALE = "#E4E4E4"  # of cells that were tried and have no value


class Shades:
    """Values to colours; light is good.

    Args:
        values: all that share the scale, any shape, NaN where there is none.
        lower: whether less is better.
    """

    def __init__(self, values: np.ndarray, lower: bool) -> None:
        from matplotlib import colormaps
        from matplotlib.colors import LogNorm, Normalize

        known = values[np.isfinite(values)]
        self.map: Colormap = colormaps["viridis_r" if lower else "viridis"]
        self.norm: Normalize = Normalize(0, 1)
        self.extend = "neither"
        self.empty, self.log = not len(known), False
        if self.empty:
            return
        low, high, self.log = fenced(known, lower)
        beyond = ((known < low).any(), (known > high).any())
        self.extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[beyond]
        if low == high:  # a scale needs two ends
            pad = 0.5 * abs(low) or 1.0
            low, high = low - pad, high + pad
        self.norm = LogNorm(low, high) if self.log else Normalize(low, high)

    def within(self, values: np.ndarray) -> np.ndarray:
        """Return values with zeros lifted to the lower end of a log scale, where 0 has no place."""
        lowest = self.norm.vmin or -np.inf
        return np.maximum(values, lowest) if self.log else values

    def colours(self, values: np.ndarray) -> np.ndarray:
        """Return the colours of values [...]: red, green, blue and alpha [..., 4] in [0, 1]."""
        found: np.ndarray = self.map(self.norm(self.within(values)))
        return found


def ink(colour: Sequence[float]) -> str:
    """Return black or white, whichever stands out more on a colour.

    Source:
        Web Content Accessibility Guidelines 2.2, relative luminance and contrast ratio.
    """
    rgb = np.asarray(colour[:3])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    on_black, on_white = (luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05)
    return BLACK if on_black > on_white else WHITE


HATCH = "////"
MARK = "#8C8C8C"  # of hatches on pale cells
FRAME = "#C8C8C8"  # of cells that were never tried
# at each edge: a marker, and how far outside it stands, in points
ARROWS = {
    "up": ("^", 0, 6.5),
    "down": ("v", 0, -6.5),
    "left": ("<", -6.5, 0),
    "right": (">", 6.5, 0),
}
BOUNDARY: dict[str, Any] = {"color": VERMILION, "linewidth": 2.2, "linestyle": "-"}
ARROW: dict[str, Any] = {"color": VERMILION, "markersize": 7, "linestyle": "none"}
STAR: dict[str, Any] = {
    "marker": "*", "markeredgecolor": BLACK, "markeredgewidth": 0.9, "linestyle": "none",
}  # fmt: skip
LARGEST_STAR, SMALLEST_STAR = 13.0, 8.0


def draw_panel(axes: Axes, grid: Grid, shades: Shades, layout: PanelLayout, winner: bool) -> None:
    """Draw the cells of a grid and their marks; the axes get no labels.

    Args:
        axes: empty.
        grid: rows go up, columns to the right.
        shades: of the means.
        layout: what fits in a cell.
        winner: whether the best cell of this panel is the best of all.
    """
    rows, columns = grid.mean.shape
    axes.grid(visible=False)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-0.5, rows - 0.5)
    axes.tick_params(length=0)
    means = np.ma.masked_invalid(shades.within(grid.mean))
    axes.pcolormesh(
        np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5, means,
        cmap=shades.map, norm=shades.norm, edgecolors=WHITE,
        linewidth=0.8 if layout.lines else 0.2,
    ).set_gid("means")  # fmt: skip
    faces = shades.colours(grid.mean)
    _draw_lost(axes, grid, faces)
    at = boundary_rows(grid)
    if layout.lines:
        _write(axes, grid, faces, layout, at)
    _draw_boundary(axes, grid, at)
    _draw_best(axes, grid, layout, winner)


def _draw_lost(axes: Axes, grid: Grid, faces: np.ndarray) -> None:
    """Leave cells never tried white, fill those without a score, hatch where trials diverged."""
    rows, columns = grid.mean.shape
    every = {(c, r) for c in range(columns) for r in range(rows)}
    _squares(axes, every - set(grid.cells), "never tried", facecolor=WHITE, edgecolor=FRAME)
    blank = {(c, r) for c, r in grid.cells if not np.isfinite(grid.mean[r, c])}
    _squares(axes, blank, "no score", facecolor=PALE, edgecolor=WHITE)
    hatched = {(c, r) for c, r in grid.cells if grid.diverged[r, c] > 0}
    groups: dict[str, set[tuple[int, int]]] = {}
    for c, r in hatched:
        mark = MARK if (c, r) in blank else ink(faces[r, c])
        groups.setdefault(mark, set()).add((c, r))
    for mark, cells in groups.items():
        _squares(
            axes, cells, "diverged", facecolor="none", edgecolor=mark, hatch=HATCH, linewidth=0,
            alpha=1 if mark == MARK else 0.45,
        )  # fmt: skip


def _squares(axes: Axes, cells: Iterable[tuple[int, int]], name: str, **look: Any) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    squares = [Rectangle((c - 0.5, r - 0.5), 1, 1) for c, r in sorted(cells)]
    if squares:
        axes.add_collection(PatchCollection(squares, gid=name, **{"linewidth": 0.6, **look}))


def _write(axes: Axes, grid: Grid, faces: np.ndarray, layout: PanelLayout, at: np.ndarray) -> None:
    across = boundary_column(grid)
    for c, r in grid.cells:
        lines = cell_text(grid, c, r, layout.lines)
        if not lines:
            continue
        blank = not np.isfinite(grid.mean[r, c])
        face, colour = (PALE, BLACK) if blank else (faces[r, c], ink(faces[r, c]))
        text = axes.text(
            c, r, "\n".join(lines), ha="center", va="center", fontsize=layout.size, color=colour,
            linespacing=1.1, zorder=4,
        )  # fmt: skip
        if abs(at[c] - r) < 0.5 or abs(across - c) < 0.5:  # the boundary lies under it
            text.set_bbox({"facecolor": face, "edgecolor": "none", "pad": 0.5})
        elif grid.diverged[r, c] > 0:
            text.set_path_effects(outlined(3.5, face))
        text.set_in_layout(False)  # it fits its cell, and hundreds take long to measure


def _draw_boundary(axes: Axes, grid: Grid, at: np.ndarray) -> None:
    alone = boundary_column(grid)
    if np.isfinite(alone):
        axes.plot(
            [alone, alone], [-0.5, 0.5], **BOUNDARY, zorder=3, gid="boundary", clip_on=False,
            path_effects=outlined(4, WHITE),
        )  # fmt: skip
    if np.isfinite(at).any():
        x = np.repeat(np.arange(len(at) + 1) - 0.5, 2)[1:-1]
        axes.plot(
            x, np.repeat(at, 2), **BOUNDARY, zorder=3, gid="boundary", solid_capstyle="butt",
            clip_on=False, path_effects=outlined(4, WHITE),
        )  # fmt: skip


def _draw_best(axes: Axes, grid: Grid, layout: PanelLayout, winner: bool) -> None:
    """Frame the best cell, put a star on its corner, and an arrow on each edge it lies on."""
    from matplotlib.patches import Rectangle
    from matplotlib.transforms import offset_copy

    if grid.best is None:
        return
    c, r = grid.best
    rows, columns = grid.mean.shape
    frame = Rectangle((c - 0.5, r - 0.5), 1, 1, fill=False, edgecolor=BLACK, linewidth=2)
    frame.set(clip_on=False, zorder=5, gid="best", path_effects=outlined(3.6, WHITE))
    axes.add_patch(frame)
    place = (c + 0.5, r + 0.5) if layout.lines else (c, r)  # beside the text where there is one
    size = min(LARGEST_STAR, max(SMALLEST_STAR, 72 * 0.7 * layout.high))
    face = YELLOW if winner else WHITE
    axes.plot(*place, **STAR, markersize=size, color=face, clip_on=False, zorder=6, gid="star")
    figure = axes.get_figure(root=True)
    for edge in grid.edges:
        x = {"left": -0.5, "right": columns - 0.5}.get(edge, c)
        y = {"down": -0.5, "up": rows - 0.5}.get(edge, r)
        marker, across, up = ARROWS[edge]
        axes.plot(
            [x], [y], **ARROW, marker=marker, clip_on=False, zorder=6, gid="edge",
            transform=offset_copy(axes.transData, figure, across, up, units="points"),
        )  # fmt: skip


def outlined(width: float, colour: Any) -> list[Any]:
    """Return the path effects that draw a rim around a line or a text, `width` points in all."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width, foreground=colour), Normal()]


PAD, ARROW_PAD = 3.0, 12.0  # points between the cells and labels: without and with arrows between
MOST_LETTERS = 112  # a line over the whole picture


def heatmap(grids: Sequence[Grid]) -> Picture | None:
    """Draw a panel a grid; None if nothing was tried.

    Panels share one scale of colours; those of different data or landscapes, whose scores cannot
    be compared, have their own.
    """
    grids = [grid for grid in grids if grid.cells]
    if not grids:
        return None
    problems = by_problem(grids)
    layout = lay_out(grids, own_scales=len(problems) > 1)
    figure = new_figure(layout.height)
    panels = figure.subplots(layout.down, layout.across, squeeze=False).ravel()
    axes_of = {id(grid): axes for grid, axes in zip(grids, panels, strict=False)}
    for group in problems:
        shades, best = _shades(group), best_of_all(group)
        for grid in group:
            draw_panel(axes_of[id(grid)], grid, shades, layout, grid is best)
        _draw_scale(figure, [axes_of[id(grid)] for grid in group], shades, len(problems) == 1)
    for axes in panels[len(grids) :]:
        axes.set_axis_off()
    _label(panels, grids, layout)
    _name_scale(figure, grids, layout.lines, len(problems) == 1)
    _explain(panels[0], grids, layout.lines)
    add_legend(figure, panels[0])
    _settle(figure)
    return Picture("heatmap", f"Heat map of {grids[0].measure.label}", figure, caption(grids))


def _settle(figure: Figure) -> None:
    """Find the layout now: left to the file, hundreds of texts would be drawn twice."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        engine.execute(figure)  # once more, now that labels have their place
        figure.set_layout_engine("none")


# ---- labels


def _label(panels: Iterable[Axes], grids: Sequence[Grid], layout: PanelLayout) -> None:
    """Name panels, values and axes; what neighbours share is written once."""
    marked = {edge for grid in grids for edge in grid.edges}
    # a star on the uppermost row reaches into the title as an arrow does
    starred = any(grid.best and grid.best[1] == grid.mean.shape[0] - 1 for grid in grids)
    above = ARROW_PAD if "up" in marked or starred else 2 * PAD
    same_x = all(grid.xs == grids[0].xs for grid in grids)
    same_y = all(grid.ys == grids[0].ys for grid in grids)
    for i, (axes, grid) in enumerate(zip(panels, grids, strict=False)):
        letters = letters_across(layout.wide, grid)
        title = folded(grid.title, letters)
        axes.set_title(title, fontsize=10, pad=above)
        axes.tick_params(axis="x", pad=ARROW_PAD if "down" in marked else PAD)
        axes.tick_params(axis="y", pad=ARROW_PAD if "left" in marked else PAD)
        lowest, first = i + layout.across >= len(grids), i % layout.across == 0
        _write_values(axes, grid, layout, lowest or not same_x, first or not same_y)
        if i // layout.across == layout.down - 1:
            axes.set_xlabel(folded(axis_title(grid.x), max(22, letters)))
        if first and grid.y is not None:
            letters = int(72 * layout.high * len(grid.ys) / (10 * LETTER))
            axes.set_ylabel(folded(axis_title(grid.y), max(16, letters)))
        if layout.wide == WIDEST:
            axes.set_box_aspect(grid.mean.shape[0] * layout.high / (grid.mean.shape[1] * WIDEST))


def _write_values(axes: Axes, grid: Grid, layout: PanelLayout, below: bool, beside: bool) -> None:
    """Write the values of both axes, upright or fewer of them where they would overlap."""
    xs, ys = ([value_text(value) for value in values] for values in (grid.xs, grid.ys))
    wide, high = 72 * layout.wide, 72 * layout.high
    letters = max(1, int((wide - 4) / (TICK * LETTER)))
    level = max(map(len, xs)) <= letters * (2 if isinstance(grid.xs[0], str) else 1)
    xs = [folded(text, letters) for text in xs] if level else xs
    kept = range(0, len(xs) if below else 0, 1 if level else math.ceil(1.2 * TICK / wide))
    axes.set_xticks(list(kept), [xs[i] for i in kept], fontsize=TICK, rotation=0 if level else 90)
    kept = range(0, len(ys) if beside and grid.y is not None else 0, math.ceil(1.2 * TICK / high))
    axes.set_yticks(list(kept), [ys[i] for i in kept], fontsize=TICK)


# ---- scales and legend


def _shades(grids: Sequence[Grid]) -> Shades:
    return Shades(np.concatenate([grid.mean.ravel() for grid in grids]), grids[0].measure.lower)


def _draw_scale(figure: Figure, panels: Sequence[Axes], shades: Shades, only: bool) -> None:
    """Draw the scale on top of all panels if it is the only one, else beside each of its own."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import FuncFormatter, LogLocator

    mappable = ScalarMappable(shades.norm, shades.map)
    if shades.empty:
        return
    if only:
        bars = [
            figure.colorbar(
                mappable, ax=list(panels), extend=shades.extend, location="top", aspect=50,
                shrink=0.8, pad=0.18 / figure.get_figheight(),
            )
        ]  # fmt: skip
    else:
        bars = [
            figure.colorbar(mappable, ax=axes, extend=shades.extend, aspect=20, pad=0.02)
            for axes in panels
        ]
    for bar in bars:
        bar.ax.tick_params(labelsize=8)
        if bar.ax.get_xscale() == "log" and only:  # one row of labels, which must not touch
            low, high = bar.ax.get_xlim()
            decades = math.log10(high / low)
            bar.minorticks_off()
            bar.ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
            bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: value_text(value)))


def _name_scale(figure: Figure, grids: Sequence[Grid], lines: int, only: bool) -> None:
    """Write over the picture what the colours mean."""
    if not any(np.isfinite(grid.mean).any() for grid in grids):
        return
    spread = lines > 1 and any(np.isfinite(grid.spread).any() for grid in grids)
    word = repeat_word(t for g in grids for s in g.cells.values() for t in s.trials)
    plus = f" ± standard deviation over {word}s" if spread else ""
    own = "" if only else "; each problem has its own scale"
    text = f"mean {grids[0].measure.label}{plus}; lighter is better{own}"
    figure.suptitle(folded(text, MOST_LETTERS), fontsize=9)


def _explain(axes: Axes, grids: Sequence[Grid], lines: int) -> None:
    """Put into the legend what occurs in any panel."""
    from matplotlib.patches import Rectangle

    def square(label: str, **look: Any) -> None:
        axes.add_patch(Rectangle((-0.5, -0.5), 0, 0, label=label, **look))

    def line(label: str, **look: Any) -> None:
        axes.plot([], [], label=label, **look)

    star = {**STAR, "markersize": LARGEST_STAR}
    best, problems = sum(grid.best is not None for grid in grids), len(by_problem(grids))
    if best:
        of = "" if best == 1 else " of all" if problems == 1 else " of its problem"
        line(f"best cell{of}", **star, color=YELLOW)
    if best > problems:
        line("best of its panel", **star, color=WHITE)
    if any(grid.edges for grid in grids):
        line("the best lies on the edge of the grid", **ARROW, marker=">")
    if any(np.isfinite([boundary_column(grid), *boundary_rows(grid)]).any() for grid in grids):
        line("largest stable lr by theory", **BOUNDARY)
    cells = [(float(g.mean[r, c]), float(g.diverged[r, c])) for g in grids for c, r in g.cells]
    if any(share > 0 for _, share in cells):
        what = "div.: share of the trials" if lines > 1 else "grey: all trials, else some"
        square(f"diverged ({what})", facecolor=PALE, edgecolor=MARK, hatch=HATCH)
    if any(share == 0 and math.isnan(mean) for mean, share in cells):
        what = "target missed" if grids[0].measure.target is not None else "no score"
        square(what, facecolor=PALE, edgecolor=WHITE)
    if any(len(grid.cells) < grid.mean.size for grid in grids):
        square("never tried", facecolor=WHITE, edgecolor=FRAME)
