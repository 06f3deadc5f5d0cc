"""A figure on a dark page: paper and ink change places, and colours are those of the dark page."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.report.style import (
    BLACK,
    BLUE,
    DPI,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER, INK = "#16191c", "#e8e8e8"  # as in page.css
# as `--c0` to `--c6` in sweep.css have them: as far apart on black as the others on white
LIGHTER = {
    BLUE: "#56b4e9", VERMILION: "#ff9d5c", GREEN: "#2cc69a", PURPLE: "#e69ac4",
    ORANGE: "#e6c229", SKY: "#a9a9ff", BLACK: INK,
}  # fmt: skip
GREYISH = 0.03  # spread of red, green and blue from which on a colour is one
COLOURED = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


@contextmanager
def darkened(figure: Figure) -> Iterator[None]:
    """Recolour a figure as long as the context lasts: neutral colours and those of lines.

    A map of values keeps its colours, and all that is drawn on it: light is still good.
    """
    undo: list[Callable[[], Any]] = []
    try:
        kept = {id(artist) for axes in figure.axes for artist in _on_map(axes)}
        if kept:  # legends show what is on the map
            kept |= {id(each) for legend in figure.legends for each in legend.legend_handles}
        for artist in figure.findobj(lambda artist: id(artist) not in kept):
            _recolour(artist, undo)
        yield
    finally:
        for back in reversed(undo):
            back()


def _on_map(axes: Axes) -> list[Any]:
    """Return what lies on axes that map values to colours; nothing for others."""
    drawn = [*axes.images, *axes.collections]
    if not any(getattr(artist, "get_array", lambda: None)() is not None for artist in drawn):
        return []
    return [*drawn, *axes.lines, *axes.texts, *axes.patches]


def _recolour(artist: Any, undo: list[Callable[[], Any]]) -> None:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    mapped = getattr(artist, "get_array", lambda: None)()
    if mapped is not None or isinstance(artist, (Axes, FigureBase)):  # those are their patches'
        return
    names = [name for name in COLOURED if hasattr(artist, f"set_{name}")]
    if "facecolor" in names:
        names.remove("color")  # it would set faces and edges
    changed = []
    for name in names:  # all are read before any is set: some follow others
        old = getattr(artist, f"get_{name}")()
        if (new := dark_of(old)) is not None:
            changed.append((getattr(artist, f"set_{name}"), old, new))
    for put, old, new in changed:
        undo.append(partial(put, old))
        put(new)


def dark_of(colour: Any) -> Any:
    """Return what a colour, or an array of them, becomes; None where it stays."""
    from matplotlib.colors import to_hex, to_rgba, to_rgba_array

    if isinstance(colour, str) and colour in ("none", "auto"):
        return None
    if isinstance(colour, np.ndarray) and colour.ndim == 2:
        if not len(colour):
            return None
        parts = [dark_of(tuple(row)) for row in colour]
        kept = zip(colour, parts, strict=True)
        return to_rgba_array([tuple(row) if part is None else part for row, part in kept])
    red, green, blue, alpha = to_rgba(colour)
    known = {key.lower(): value for key, value in LIGHTER.items()}.get(to_hex((red, green, blue)))
    if known is not None:
        return (*to_rgba(known)[:3], alpha)
    if max(red, green, blue) - min(red, green, blue) > GREYISH:
        return None
    white, black = np.array(to_rgba(PAPER)[:3]), np.array(to_rgba(INK)[:3])
    return (*(white * red + black * (1 - red)).tolist(), alpha)


def dark_png(figure: Figure, dpi: int = DPI) -> bytes:
    """Return a figure as a PNG for dark pages; its layout stands already."""
    from PIL import Image

    file = io.BytesIO()
    with darkened(figure):
        figure.savefig(file, dpi=dpi, format="png", facecolor=figure.get_facecolor())
    # in 256 colours: half the page's bytes, and no difference to the eye
    small = io.BytesIO()
    Image.open(file).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png")
    return small.getvalue()
