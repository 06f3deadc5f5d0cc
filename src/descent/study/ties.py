"""Which settings cannot be told from the best: a paired test over common seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from descent.study.settings import Measure, Setting

LEVEL = 0.05
LEAST_SEEDS = 2


@dataclass(frozen=True)
class Contest:
    """The best setting against others.

    Args:
        seeds: how many they have in common.
        tied: those that cannot be told from it, best first.
        worse: those that can.
        apart: those that lost no trial but lack some of its seeds, and are not compared.
    """

    seeds: int
    tied: tuple[Setting, ...]
    worse: tuple[Setting, ...]
    apart: tuple[Setting, ...]


def contest(settings: Sequence[Setting], measure: Measure) -> Contest | None:
    """Compare the best setting with all others that lost no trial; None with less than two seeds.

    Scores above 0 of which less is better are compared by their logarithm: it is the ratio of two
    losses that seeds scatter. See `p_values` for the test; p is corrected for the number of
    comparisons by Holm's method, which keeps the chance that the truly best setting is among the
    worse ones below 5 %, although the winner was picked by the same scores.

    Args:
        settings: of `settings`, best first; the first is the winner.
        measure: what they were compared by.
    """
    winner, *others = (s for s in settings if s.standing == "complete")
    own = _by_seed(winner)
    if len(own) < LEAST_SEEDS or len(own) < len(winner.trials):
        return None
    seeds = list(own)
    apart = [s for s in others if not own.keys() <= _by_seed(s).keys()]
    paired = [s for s in others if s not in apart]
    if not paired:
        return Contest(len(seeds), (), (), tuple(apart))
    table = np.array([[_by_seed(s)[seed] for seed in seeds] for s in (winner, *paired)])
    if measure.lower and (table > 0).all():
        table = np.log(table)
    p = holm(p_values(table))
    tied = tuple(s for s, chance in zip(paired, p, strict=True) if chance >= LEVEL)
    worse = tuple(s for s, chance in zip(paired, p, strict=True) if chance < LEVEL)
    return Contest(len(seeds), tied, worse, tuple(apart))


def _by_seed(setting: Setting) -> dict[str, float]:
    return {t.seed: setting.scores[t.number] for t in setting.trials if t.number in setting.scores}


def p_values(table: np.ndarray) -> np.ndarray:
    """Return the two-sided p of each row after the first having the mean of the first.

    Args:
        table: [k, n] scores of k settings with n common seeds.

    Of each score the mean over all settings with its seed is taken off: what a seed does to all of
    them alike is no difference between two. The variances of what is left are estimated for each
    setting by itself and, since two or three seeds say little, moved towards the value that all
    have in common, as far as they agree (`moderated`). With two settings this is the paired t-test.

    Returns:
        [k - 1] values.
    """
    from scipy import stats

    count, seeds = table.shape
    left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    variance = left.var(axis=1, ddof=1) * count / (count - 1)
    variance, freedom = moderated(variance, seeds - 1)
    freedom = min(freedom, (count - 1) * (seeds - 1))
    away = table[1:].mean(axis=1) - table[0].mean()
    error = np.sqrt((variance[0] + variance[1:]) / seeds)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(away == 0, 0.0, np.abs(away) / error)
    return 2 * stats.t.sf(t, freedom)


def moderated(variance: np.ndarray, freedom: int) -> tuple[np.ndarray, float]:
    """Return variances shrunk towards their common value, and the degrees of freedom they gain.

    Args:
        variance: [k], each estimated with `freedom` degrees of freedom.
        freedom: d.

    The true variances are taken to be scattered as s₀² d₀ / χ²(d₀), with s₀ and d₀ from the first
    two moments of the logarithms; d₀ is infinite where they scatter no more than estimates of one
    value would. Source: Smyth (2004), *Linear models and empirical Bayes methods for assessing
    differential expression in microarray experiments*, section 6.
    """
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    known = variance[variance > 0]
    if len(known) < 3:
        return variance, float(freedom)
    logs = np.log(np.maximum(variance, 1e-5 * np.median(known)))
    logs = logs - digamma(freedom / 2) + math.log(freedom / 2)
    center, excess = logs.mean(), logs.var(ddof=1) - float(polygamma(1, freedom / 2))
    if excess <= 0:
        return np.full_like(variance, math.exp(center)), float(len(variance) * freedom)

    def over(log: float) -> float:
        return float(polygamma(1, math.exp(log) / 2)) - excess

    if over(-10) < 0:  # so scattered that they say nothing of each other
        return variance, float(freedom)
    prior = math.exp(20) if over(20) > 0 else math.exp(brentq(over, -10, 20))
    common = math.exp(center + float(digamma(prior / 2)) - math.log(prior / 2))
    return (prior * common + freedom * variance) / (prior + freedom), prior + freedom


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values corrected for their number, as Holm (1979)."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean, by Student's t; NaN below two scores."""
    from scipy import stats

    if len(scores) < LEAST_SEEDS:
        return math.nan, math.nan
    mean, spread = float(np.mean(scores)), float(np.std(scores, ddof=1))
    half = float(stats.t.ppf(1 - LEVEL / 2, len(scores) - 1)) * spread / math.sqrt(len(scores))
    return mean - half, mean + half
