"""What to see in steps against batch size, in a few sentences with numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from descent.errors import counted
from descent.report.style import listed
from descent.report.sweep.cells import spoken
from descent.report.sweep.options import short
from descent.study.scaling import Scaling

MOST_TOLD = 4


def figure(value: float) -> str:
    """Return a batch size or a count of steps with three digits; infinity in words."""
    if math.isinf(value):
        return "beyond any size"
    return f"{value:,.0f}" if 100 <= value < 1e6 else short(f"{value:.3g}")


def caption(scalings: Sequence[Scaling]) -> str:
    """Say what was fitted, how it compares with the noise scale, and where the lr grid ended."""
    targets = listed(list(dict.fromkeys(spoken(one.target) for one in scalings)))
    fitted = [one for one in scalings if math.isfinite(one.critical)]
    told = [_fitted(one, len(scalings) > 1) for one in fitted[:MOST_TOLD]]
    if len(fitted) > MOST_TOLD:
        told.append(f"{len(fitted) - MOST_TOLD} more in the picture")
    sentences = [f"Steps to a full loss of {targets}: {'; '.join(told)}." if told else ""]
    if not told:
        sentences = [f"Steps to a full loss of {targets}; no critical batch size can be told."]
    edge = sum(int((one.at_edge & np.isfinite(one.steps)).sum()) for one in scalings)
    if edge:
        hollow = f"At {counted(edge, 'point')}, drawn hollow,"
        sentences.append(
            f"{hollow} the best lr is the least or largest tried: fewer steps may be possible."
        )
    several = len(scalings) > 1
    for one in scalings:
        who = f"{one.label}: " if several and one.label else ""
        sentences += [f"{who}{text}" for text in (one.budget, one.note) if text]
    if any(one.early for one in scalings):
        sentences.append(
            "Targets were crossed between two records that lie far apart: "
            "callbacks.full_loss.every_n_steps=1 would tell the steps."
        )
    return " ".join(sentence for sentence in sentences if sentence)


def _fitted(one: Scaling, named: bool) -> str:
    low, high = one.interval
    words = f"{one.label} " if named and one.label else ""
    words += f"S_min = {figure(one.least)}, B_crit = {figure(one.critical)}"
    if math.isfinite(low):
        words += f" (95%: {figure(low)} to {figure(high)})"
    if math.isfinite(one.noise_scale):
        words += f" beside a noise scale of {figure(one.noise_scale)}"
    return words
