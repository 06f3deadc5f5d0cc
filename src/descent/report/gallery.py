"""Every picture of some runs: their losses, the ground they walked on, weights, diagnostics."""

from __future__ import annotations

from collections.abc import Sequence

from descent.errors import UserError
from descent.report.curves import losses, validation
from descent.report.diagnostics import diagnostics
from descent.report.heights import heights_of
from descent.report.plane import LEAST_PLACES, plane
from descent.report.predictions import prediction_pictures
from descent.report.profile import profile
from descent.report.record import Axis, Record
from descent.report.style import Picture
from descent.report.surface import surface
from descent.report.weight_plots import last_weights, weights
from descent.report.window import walk_of

WEIGHTS = ("diagnostics/weights_l1", "diagnostics/weights_l2", "diagnostics/near_zero")


def run_pictures(
    records: Sequence[Record], x: Axis, trust: Sequence[str], notes: list[str]
) -> list[Picture]:
    """Draw what there is to draw.

    Args:
        records: the runs; they can share a picture.
        x: what curves are drawn over.
        trust: packages that the runs' configs may instantiate from beside ours.
        notes: gets why a picture is not drawn.
    """
    drawn = [
        losses(records, x),
        _ground(records, trust, notes),
        weights(records, x),
        diagnostics(records, x),
        *prediction_pictures(records, trust, notes),
    ]
    return [picture for picture in drawn if picture is not None]


def lesson_pictures(
    records: Sequence[Record], trust: Sequence[str], notes: list[str], about: Sequence[str]
) -> list[Picture]:
    """Draw a comparison: the ground first, where there is one, then the losses.

    Args:
        records: the runs.
        trust: packages that the runs' configs may instantiate from beside ours.
        notes: gets why a picture is not drawn.
        about: measures, by which a picture of their own is drawn first.
    """
    x = Axis.STEP
    ground, over = _ground(records, trust, notes), losses(records, x)
    # a plane of many parameters shows less than the losses do
    pair = (over, ground) if ground is not None and ground.name == "plane" else (ground, over)
    drawn = [
        validation(records, x) if any("val/" in name for name in about) else None,
        last_weights(records) if any(name in WEIGHTS for name in about) else None,
        *pair,
        weights(records, x),
        diagnostics(records, x),
    ]
    return [picture for picture in drawn if picture is not None]


def _ground(records: Sequence[Record], trust: Sequence[str], notes: list[str]) -> Picture | None:
    """Draw the loss the runs walked on, where that can be known; else note why not."""
    walks = [walk for record in records if (walk := walk_of(record)) is not None]
    if not walks:
        return None
    parameters = walks[0].theta.shape[1]
    if parameters > 2:
        walks = [walk for walk in walks if len(walk.theta) >= LEAST_PLACES]
        if not walks:
            return None
    try:
        heights = heights_of([walk.record for walk in walks], trust)
    except UserError as error:
        notes.append(f"The surface of the loss is not drawn: {str(error).rstrip('.')}.")
        return None
    draw = profile if parameters == 1 else surface if parameters == 2 else plane
    return draw(walks, heights)
