"""What tuning takes: which options matter, what n trials give, and how the best lr grows with B."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from descent.analysis.settings import Measure, Setting
from descent.analysis.trials import (
    BATCH,
    OPTIMIZER,
    Study,
    Value,
    label,
    learning_rate,
    number_in,
    short,
    text,
)

LEAST_SIZES = 3
MOST_NAMED = 5
LINEAR, ROOT = 1.0, 0.5


@dataclass(frozen=True)
class Exponent:
    """γ of lr*(B) = a B^γ, its 95 % interval, and the sizes that it rests on."""

    value: float
    low: float
    high: float
    sizes: tuple[float, ...]


def expected_best(scores: Sequence[float], lower: bool) -> np.ndarray:
    """Return the expected best of n of N trials, for n = 1 ... N, drawn without replacement.

    With the scores sorted best first it is Σᵢ v₍ᵢ₎ C(N-i, n-1) / C(N, n).

    Source: Dodge et al. (2019), *Show your work*, section 3.1; the unbiased form.
    """
    ranked = sorted(scores, reverse=not lower)
    count = len(ranked)
    return np.array(
        [
            math.fsum(
                value * math.comb(count - i, n - 1) for i, value in enumerate(ranked, start=1)
            ) / math.comb(count, n)
            for n in range(1, count + 1)
        ]
    )  # fmt: skip


def exponent(settings: Sequence[Setting], rate: str, measure: Measure) -> Exponent | None:
    """Return how the best lr grows with the batch size; None below three sizes.

    Of each batch size the best lr is the vertex of the parabola in log lr through the best setting
    and its two neighbours; sizes whose best lr is the least or largest tried are left out. The
    interval is that of the slope of a straight line through the points.

    Args:
        settings: of one optimizer and one problem, alike but for lr and batch size.
        rate: the option that is lr.
        measure: what they were compared by.
    """
    from scipy.stats import linregress, t

    rows: dict[float, dict[float, float]] = {}
    for s in settings:
        batch, lr = number_in(s.values[BATCH]), number_in(s.values[rate])
        if s.standing == "complete" and batch and lr:
            rows.setdefault(batch, {})[lr] = s.mean if measure.lower else -s.mean
    found = {batch: v for batch, row in rows.items() if (v := _vertex(row)) is not None}
    if len(found) < LEAST_SIZES:
        return None
    sizes = sorted(found)
    line = linregress(np.log(sizes), [found[size] for size in sizes])
    half = float(t.ppf(0.975, len(sizes) - 2)) * float(line.stderr)
    return Exponent(float(line.slope), line.slope - half, line.slope + half, tuple(sizes))


def _vertex(row: dict[float, float]) -> float | None:
    """Return log lr at the least of a parabola; None where the best lies at an end."""
    rates = sorted(row)
    at = min(range(len(rates)), key=lambda i: row[rates[i]])
    if at in (0, len(rates) - 1):
        return None
    x = np.log(rates[at - 1 : at + 2])
    bend, slope, _ = np.polyfit(x - x[1], [row[lr] for lr in rates[at - 1 : at + 2]], 2)
    return float(x[1] - slope / (2 * bend)) if bend > 0 else float(x[1])


def tuning_words(study: Study, settings: Sequence[Setting], measure: Measure) -> list[str]:
    """Return sentences on what tuning takes, of one problem."""
    told = [_importance(study)] if len(study.swept) > 1 and any(study.influence.values()) else []
    groups: dict[Value, list[Setting]] = {}
    for setting in settings:
        groups.setdefault(setting.values.get(OPTIMIZER, ""), []).append(setting)
    told += filter(None, [_after_trials(groups, measure)])
    rate = learning_rate(study)
    if rate is None or BATCH not in study.swept or set(study.swept) - {rate, BATCH, OPTIMIZER}:
        return told
    for name, own in groups.items():
        if (gamma := exponent(own, rate, measure)) is not None:
            told.append(_growth(text(name), gamma))
    return told


def _importance(study: Study) -> str:
    ranked = sorted(study.influence.items(), key=lambda item: -item[1])[:MOST_NAMED]
    shares = ", ".join(f"{short(key)} {100 * share:.0f}%" for key, share in ranked)
    return (
        "Share of the variance of the scores' ranks in which each option has a part (Sobol' total "
        f"effect): {shares}."
    )


def _after_trials(groups: dict[Value, list[Setting]], measure: Measure) -> str:
    """Return the expected best of each optimizer after as many settings as half of the fewest."""
    known = {k: [s.mean for s in own if s.standing == "complete"] for k, own in groups.items()}
    lost = sum(len(groups[k]) - len(own) for k, own in known.items())
    fewest = min(map(len, known.values()))
    if len(known) < 2 or fewest < 4:
        return ""
    n = fewest // 2
    best = {k: float(expected_best(own, measure.lower)[n - 1]) for k, own in known.items()}
    ranked = sorted(best.items(), key=lambda item: item[1] if measure.lower else -item[1])
    told = ", ".join(f"{label({OPTIMIZER: k})} {value:.4g}" for k, value in ranked)
    without = f" ({lost} that lost a trial left out)" if lost else ""
    return (
        f"Expected {measure.label} of the best of {n} settings drawn at random of those tried"
        f"{without}: {told}."
    )


def _growth(name: str, gamma: Exponent) -> str:
    linear, root = (gamma.low <= v <= gamma.high for v in (LINEAR, ROOT))
    words = {
        (True, True): "cannot tell linear (1) from square root (1/2)",
        (True, False): "linear (1) fits, square root (1/2) does not",
        (False, True): "square root (1/2) fits, linear (1) does not",
        (False, False): "neither linear (1) nor square root (1/2)",
    }[linear, root]
    if gamma.low <= 0 <= gamma.high:
        words = "cannot tell whether it grows at all"
    who = f"of {name} " if name else ""
    return (
        f"The best lr {who}goes with the batch size as B^{gamma.value:.2f} (95%: {gamma.low:.2f} "
        f"to {gamma.high:.2f}, over {len(gamma.sizes)} sizes): {words}."
    )
