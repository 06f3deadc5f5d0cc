"""Two parameters: the loss from above, with the paths of the runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from descent.errors import counted
from descent.report.contours import draw_contours, draw_known_places, draw_walks
from descent.report.heights import Heights
from descent.report.style import Picture, legend_below, new_figure, shown
from descent.report.window import Walk, window
from descent.shapes import Float

FINE, COARSE = 161, 41  # grid points along each parameter
MOST_TOLD = 6  # runs that a sentence can hold


def surface(walks: Sequence[Walk], heights: Heights) -> Picture:
    """Draw contours of the loss over both parameters, with the paths."""
    box = window([w.theta for w in walks], anchors(walks, heights), [w.cut for w in walks])
    points = FINE if heights.quick else COARSE
    x, y = (np.linspace(low, high, points) for low, high in box)
    grid = np.column_stack([c.ravel() for c in np.meshgrid(x, y)])
    z = heights.loss(grid).reshape(points, points)
    floor = min([np.nanmin(z), *(float(heights.loss(m[None])[0]) for m in heights.minima)])
    figure = new_figure(6.2)
    axes = figure.add_subplot()
    draw_contours(figure, axes, (x, y), z, floor)
    draw_walks(axes, walks, [w.theta for w in walks])
    draw_known_places(axes, heights, lambda place: place, box)
    axes.set_xlim(*box[0])
    axes.set_ylim(*box[1])
    names = walks[0].record.parameters
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    legend_below(figure, axes)
    ground = walks[0].record.landscape
    name, title = ("surface", f"The loss over {names[0]} and {names[1]}")
    if ground is not None:
        name, title = "landscape", f"The path over the landscape {ground}"
    return Picture(name, title, figure, told(walks, heights, names))


def anchors(walks: Sequence[Walk], heights: Heights) -> list[Float[np.ndarray, " P"]]:
    """Return the places a picture must show: starts, ends that are no runaways, and minima."""
    found = [w.theta[0] for w in walks] + [w.theta[-1] for w in walks if not w.record.diverged_at]
    return found + [np.asarray(m) for m in (*heights.minima, *heights.local_minima)]


def told(walks: Sequence[Walk], heights: Heights, names: Sequence[str]) -> str:
    """Return what a reader should see in paths over a loss."""
    if len(walks) == 1:
        sentences = [_told_one(walks[0], heights, names)]
    else:
        sentences = [_told_of_many(walk, heights) for walk in walks[:MOST_TOLD]]
        if len(walks) > MOST_TOLD:
            sentences.append(f"and {len(walks) - MOST_TOLD} more")
        starts = sorted(float(heights.loss(walk.theta[:1])[0]) for walk in walks)
        ends = shown(starts[0]), shown(starts[-1])
        span = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
        sentences[0] = f"From a loss of {span}: {sentences[0]}"
    if heights.note:
        sentences.append(heights.note)
    return "; ".join(sentences) + "."


def _told_one(walk: Walk, heights: Heights, names: Sequence[str]) -> str:
    start, end = shown(heights.loss(walk.theta[:1])[0]), shown(_last_loss(walk, heights))
    steps = counted(int(walk.steps[-1]), "step")
    if walk.cut:
        return (
            f"The run diverged at step {walk.record.diverged_at or walk.steps[-1]:,} and is drawn "
            f"up to step {walk.steps[-1]:,}, from a loss of {start} to {end}"
        )
    places = zip(names, walk.theta[-1], strict=True)
    where = ", ".join(f"{name} = {shown(float(v))}" for name, v in places)
    near = _near(walk, heights)
    return f"The path goes from a loss of {start} to {end} in {steps}, to {where}{near}"


def _told_of_many(walk: Walk, heights: Heights) -> str:
    who, end = walk.record.label, shown(_last_loss(walk, heights))
    if walk.cut:
        step = walk.record.diverged_at or walk.steps[-1]
        return f"{who} diverged at step {step:,} (drawn up to step {walk.steps[-1]:,})"
    steps = counted(int(walk.steps[-1]), "step")
    return f"{who} ends at {end} after {steps}{_near(walk, heights)}"


def _last_loss(walk: Walk, heights: Heights) -> float:
    """Return the loss where a walk ends, as recorded: computed anew it may differ by rounding."""
    curve = walk.record.full_loss.known()
    if len(curve.step) and curve.step[-1] == walk.steps[-1]:
        return float(curve.value[-1])
    return float(heights.loss(walk.theta[-1:])[0])


def _near(walk: Walk, heights: Heights) -> str:
    """Return how far the end lies from the nearest known minimum."""
    known = [(m, heights.lowest) for m in heights.minima]
    known += [(m, "local minimum") for m in heights.local_minima]
    if not known:
        return ""
    gaps = [float(np.linalg.norm(walk.theta[-1] - place)) for place, _ in known]
    i = int(np.argmin(gaps))
    kind = known[i][1]
    several = sum(k == kind for _, k in known) > 1
    name = kind if kind == "least squares" else f"{'a' if several else 'the'} {kind}"
    return f", {shown(float(f'{gaps[i]:.2g}'))} from {name}"
