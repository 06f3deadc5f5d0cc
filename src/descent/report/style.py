"""How pictures look: colours, dashes and markers told apart in grey too; and their files."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.files.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Okabe and Ito's colours, told apart by colour-blind readers; dashes and markers by everybody.
BLACK, BLUE, VERMILION, GREEN = "#000000", "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY, GREY = "#CC79A7", "#E69F00", "#56B4E9", "#999999"
YELLOW = "#F0E442"  # for filled marks only: a yellow line is lost on white
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
MOST_STYLED = 20  # lines that a reader can still tell apart; more are drawn in grey

DECADES = 1.5  # values that span more than this get a log axis
HUGE = 1e200  # what lies beyond cannot be laid out on an axis
DPI = 144
WIDTH = 8.0  # inches; at 16 cm of a page 10 points become 8
LOOK: dict[Any, Any] = {
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.titlesize": 11,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class Stroke:
    """How one of several runs is drawn."""

    colour: str
    dash: Any
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """The keywords of matplotlib's `plot`."""
        return {"color": self.colour, "linestyle": self.dash, "marker": self.marker}


def stroke(i: int) -> Stroke:
    """Return the i-th stroke: the first 35 differ in colour or dash."""
    return Stroke(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], MARKERS[i % len(MARKERS)])


def look() -> AbstractContextManager[None]:
    """Return a context in which figures get the house style."""
    import matplotlib

    return matplotlib.rc_context(LOOK)


def new_figure(height: float = 4.8, width: float = WIDTH) -> Figure:
    """Return an empty figure in inches, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def legend_below(figure: Figure, axes: Axes | None = None) -> None:
    """Put the legend under the picture, where it hides nothing."""
    handles, labels = (axes or figure.axes[0]).get_legend_handles_labels()
    if not labels:
        return
    longest = max(map(len, labels))
    columns = max(1, min(len(labels), int(100 // (longest + 8))))
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=9, frameon=False
    )


def spans_decades(values: np.ndarray) -> bool:
    """Whether positive values spread so far that only a log axis shows them."""
    known = values[np.isfinite(values)]
    return bool(len(known) and known.min() > 0 and known.max() / known.min() > 10**DECADES)


def drawable(values: np.ndarray) -> np.ndarray:
    """Return float64 values; what an axis cannot hold becomes NaN."""
    values = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values) < HUGE, values, np.nan)


def fit_to(axes: Axes, values: Sequence[np.ndarray]) -> None:
    """Let some of the drawn values set the scale: those of runs that ended well."""
    known = np.concatenate([drawable(v) for v in values]) if values else np.zeros(0)
    known = known[np.isfinite(known)]
    if axes.get_yscale() == "log":
        known = known[known > 0]
        if len(known):
            axes.set_ylim(known.min() / 1.5, known.max() * 1.5)
    elif len(known):
        pad = 0.15 * (known.max() - known.min()) or 1.0
        axes.set_ylim(known.min() - pad, known.max() + pad)


def thinned(count: int, most: int) -> np.ndarray:
    """Return at most about `most` of `count` indices, evenly, the first and the last among them."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(int))


def shown(value: Any) -> str:
    """Return a number as a reader wants it: 1,437 or 0.02914 or 1.9e-08."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    if value == round(value) and 1e4 <= abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def share(value: float) -> str:
    """Return 0.9931 as 99.3%."""
    return f"{100 * value:.3g}%"


NOTEBOOK_DPI = 80  # as wide as a cell


@dataclass(frozen=True, repr=False)
class Picture:
    """A figure with the sentence that says what to see in it.

    Args:
        name: of its files, such as `curves`.
        title: for the page.
        figure: drawn.
        caption: made from the figures themselves.
    """

    name: str
    title: str
    figure: Figure
    caption: str

    def __repr__(self) -> str:
        return f"{self.title}. {self.caption}"

    def _repr_png_(self) -> bytes:
        """Return the figure as a notebook shows it."""
        file = io.BytesIO()
        self.figure.savefig(file, dpi=NOTEBOOK_DPI, format="png")
        return file.getvalue()


def save(picture: Picture, directory: Path) -> list[Path]:
    """Write `<name>.png` and `<name>.pdf`."""
    png, pdf = (directory / f"{picture.name}.{kind}" for kind in ("png", "pdf"))
    with replacing(png) as file:
        picture.figure.savefig(file, dpi=DPI, format="png")
    picture.figure.set_layout_engine("none")  # the layout stands; finding it again takes as long
    # no date: the same run gives the same file
    with replacing(pdf) as file:
        picture.figure.savefig(file, metadata={"CreationDate": None}, format="pdf")
    return [png, pdf]
