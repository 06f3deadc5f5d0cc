"""Colours of cells: one scale for all that can be compared, and ink that stands out on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from descent.report.style import BLACK
from descent.report.sweep.fence import fenced

if TYPE_CHECKING:
    from matplotlib.colors import Colormap, Normalize

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
