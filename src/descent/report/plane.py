"""Many parameters: the loss on the plane in which the path moves most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from descent.errors import counted
from descent.report.contours import draw_contours, draw_walks
from descent.report.heights import Heights
from descent.report.style import Picture, legend_below, new_figure, share, shown, thinned
from descent.report.window import Walk, window
from descent.shapes import Float

FINE, COARSE = 101, 25  # grid points along each direction
MOST_PLACES = 2000  # of all paths together, for the main directions
LEAST_PLACES = 8  # fewer show no plane


@dataclass(frozen=True)
class Plane:
    """The two main directions of some places.

    Args:
        origin: [P], a place on it.
        directions: [2, P], of length 1 and at right angles.
        shares: of the places' variance.
    """

    origin: Float[np.ndarray, " P"]
    directions: Float[np.ndarray, "2 P"]
    shares: tuple[float, float]

    def project(self, theta: Float[np.ndarray, "n P"]) -> Float[np.ndarray, "n 2"]:
        """Return coordinates on the plane."""
        return (theta - self.origin) @ self.directions.T

    def lift(self, ab: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n P"]:
        """Return the parameters at coordinates on the plane."""
        return self.origin + ab @ self.directions


def main_plane(walks: Sequence[Float[np.ndarray, "n P"]], origin: Float[np.ndarray, " P"]) -> Plane:
    """Return the plane through `origin` along the two main directions of the walks together.

    Source: Li et al. (2018), Visualizing the Loss Landscape of Neural Nets, section 7.
    """
    each = max(2, MOST_PLACES // len(walks))
    places = np.concatenate([w[thinned(len(w), each)] for w in walks])
    centred = places - places.mean(axis=0)
    _, scale, directions = np.linalg.svd(centred, full_matrices=False)
    variance = np.square(scale)
    # towards the right and upwards in the order of the walk, whatever sign the SVD chose
    signs = np.sign((walks[0][-1] - walks[0][0]) @ directions[:2].T)
    signs = np.where(signs == 0, 1.0, signs)
    first, second = variance[:2] / (variance.sum() or 1.0)
    return Plane(origin, directions[:2] * signs[:, None], (float(first), float(second)))


def plane(walks: Sequence[Walk], heights: Heights) -> Picture:
    """Draw contours of the loss on the paths' main plane, with the paths laid onto it.

    The plane goes through the end of the best run, so that the height there is true.
    """
    best = min(walks, key=_end)
    given, walks = len(walks), [w for w in walks if _together(w, best)]
    # a run that diverged goes so far that the plane would be its own
    steady = [w.theta for w in walks if not w.cut] or [w.theta for w in walks]
    found = main_plane(steady, best.theta[-1])
    places = [found.project(w.theta) for w in walks]
    ends = [p[-1] for p, w in zip(places, walks, strict=True) if not w.cut]
    box = window(places, [p[0] for p in places] + ends + [np.zeros(2)], [w.cut for w in walks])
    points = FINE if heights.quick else COARSE
    x, y = (np.linspace(low, high, points) for low, high in box)
    grid = np.column_stack([c.ravel() for c in np.meshgrid(x, y)])
    z = heights.loss(found.lift(grid)).reshape(points, points)
    end = float(heights.loss(best.theta[-1:])[0])
    figure = new_figure(6.2)
    axes = figure.add_subplot()
    draw_contours(figure, axes, (x, y), z, min(np.nanmin(z), end))
    draw_walks(axes, walks, places)
    axes.set_xlim(*box[0])
    axes.set_ylim(*box[1])
    whose = "the path's" if len(walks) == 1 else "the paths'"
    for label, i, word in ((axes.set_xlabel, 0, "first"), (axes.set_ylabel, 1, "second")):
        label(f"{word} main direction ({share(found.shares[i])} of {whose} variance)")
    legend_below(figure, axes)
    title = "The loss on the plane in which the path moves most"
    caption = _told(walks, len(steady), best, heights, found, end)
    if len(walks) < given:
        # the plane of all would only lie through their starts
        others = counted(given - len(walks), "run")
        caption = f"{caption[:-1]}; {others} with other first weights left out."
    return Picture("plane", title, figure, caption)


def _together(a: Walk, b: Walk) -> bool:
    return np.array_equal(a.theta[0], b.theta[0])


def _end(walk: Walk) -> float:
    _, curve = walk.record.main_loss
    return np.inf if walk.cut or not len(curve.value) else float(curve.value[-1])


def _told(
    walks: Sequence[Walk], counted_in: int, best: Walk, heights: Heights, found: Plane, end: float
) -> str:
    kept = share(sum(found.shares))
    count = counted(best.theta.shape[1], "parameter")
    sentences = [
        f"Two directions hold {kept} of the variance of "
        + (
            "the path"
            if counted_in == 1
            else f"the {counted_in} paths that did not diverge"
            if counted_in < len(walks)
            else f"the {counted_in} paths"
        )
        + f" through {count}"
    ]
    start = float(heights.loss(best.theta[:1])[0])
    laid = float(heights.loss(found.lift(found.project(best.theta[:1])))[0])
    who = "the run" if len(walks) == 1 else best.record.label
    sentences.append(
        f"{who} goes from a loss of {shown(start)} to {shown(end)}, through whose place the plane "
        f"is laid; on the plane its start has the loss {shown(laid)}"
    )
    if any(w.cut for w in walks):
        sentences.append("diverged paths are drawn up to where their loss ran away")
    if heights.note:
        sentences.append(heights.note)
    return "; ".join(sentences) + "."
