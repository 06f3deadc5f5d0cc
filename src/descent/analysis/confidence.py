"""Which settings may be the best, and by how much optimizers differ: claims that seeds allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from descent.analysis.settings import Measure, Setting

LEAST_SEEDS = 2
# The level of one round of tests, by seeds. Two or three of them say so little of their own spread
# that no test keeps its level with heavy tails; these keep false claims below 5 % of sweeps, as
# tests/analysis/planted measures.
LEVELS = {2: 0.01, 3: 0.025}
LEVEL = 0.04
FEW_SETTINGS = 6  # below, each pair is judged by its own differences
FEW_SEEDS = 3  # up to here variances and order of what is left are doubted
SHUFFLES = 600
STATED = 0.9375  # least certainty of an interval of the median: that of five seeds
LEAST_FOR_MEDIAN = 5
DEGREES = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 50, 100, 200, 500)


@dataclass(frozen=True)
class Contest:
    """The best setting against others.

    Args:
        seeds: how many they have in common.
        tied: others that may be the best, best first.
        out: those that are not, with 95 % confidence.
        apart: those that lost no trial but lack some of its seeds, and are not compared.
        equal: those of `tied` with the very score of the winner.
        fixed: whether the seeds change nothing in any of them.
    """

    seeds: int
    tied: tuple[Setting, ...]
    out: tuple[Setting, ...]
    apart: tuple[Setting, ...]
    equal: tuple[Setting, ...] = ()
    fixed: bool = False


def contest(settings: Sequence[Setting], measure: Measure) -> Contest | None:
    """Tell which settings may be the best; None with less than two seeds.

    Scores above 0 of which less is better are compared by their logarithm: it is the ratio of two
    losses that seeds scatter. See `may_be_best` for the tests.

    Args:
        settings: of `settings`, best first; the first is the winner.
        measure: what they were compared by.
    """
    winner, *others = (s for s in settings if s.standing in ("complete", "fewer"))
    own = by_seed(winner)
    if len(own) < LEAST_SEEDS or len(own) < len(winner.trials):
        return None
    seeds = list(own)
    apart = [s for s in others if not own.keys() <= by_seed(s).keys()]
    paired = [s for s in others if s not in apart]
    equal = tuple(s for s in paired if s.mean == winner.mean)
    table = np.array([[by_seed(s)[seed] for seed in seeds] for s in (winner, *paired)])
    if bool((table == table[:, :1]).all()):
        return Contest(len(seeds), equal, (), tuple(apart), equal, True)
    if not paired:
        return Contest(len(seeds), (), (), tuple(apart))
    keep = may_be_best(badness(table, measure))[1:]
    tied = tuple(s for s, kept in zip(paired, keep, strict=True) if kept)
    out = tuple(s for s, kept in zip(paired, keep, strict=True) if not kept)
    return Contest(len(seeds), tied, out, tuple(apart), equal)


def by_seed(setting: Setting) -> dict[str, float]:
    """Return the scores of a setting by its seeds."""
    return {t.seed: setting.scores[t.number] for t in setting.trials if t.number in setting.scores}


def badness(table: np.ndarray, measure: Measure) -> np.ndarray:
    """Return scores so that less is better, on the scale on which seeds scatter them."""
    if not measure.lower:
        return -table
    return np.log(table) if (table > 0).all() else table


def may_be_best(table: np.ndarray) -> np.ndarray:
    """Return which rows [k] may have the least mean of all: a set that holds all that do.

    In rounds, as long as some row goes: a row goes if its distance t to the least mean is above
    the quantile of the studentized range of all that are left, so that of rows with one mean none
    goes in 95 % of tables, whatever their number. With 2 or 3 seeds it must also be farther off
    than the range of the rows' means when what is left of their scores is dealt out anew.

    Args:
        table: [k, n] scores of k settings with n common seeds, of which less is better.

    Source: Hsu (1984), *Constrained simultaneous confidence intervals for multiple comparisons with
    the best*; step-down as Hansen, Lunde and Nason (2011), *The model confidence set*.
    """
    keep = np.ones(len(table), dtype=bool)
    while keep.sum() > 1:
        rows = np.flatnonzero(keep)
        part = table[rows]
        mean = part.mean(axis=1)
        away = mean - mean.min()
        count, seeds = part.shape
        level = _level(seeds)
        error, freedom = _errors(part)
        t = np.divide(away, error, out=np.zeros(count), where=error > 0)
        gone = t > _range(count, freedom, level) / math.sqrt(2)
        if gone.any() and count >= FEW_SETTINGS and seeds <= FEW_SEEDS:
            gone &= away > _dealt(part, level)
        if not gone.any():
            break
        keep[rows[gone]] = False
    keep[0] = True  # the winner, though a mean of logarithms may be less elsewhere
    return keep


def _errors(part: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the standard error of each row's distance to the least one, and its freedom."""
    count, seeds = part.shape
    best = int(part.mean(axis=1).argmin())
    if count < FEW_SETTINGS:
        return (part - part[best]).std(axis=1, ddof=1) / math.sqrt(seeds), seeds - 1
    variance, freedom = _variances(part)
    if seeds <= FEW_SEEDS:
        variance = np.maximum(variance, variance.mean())
    return np.sqrt((variance + variance[best]) / seeds), freedom


def _variances(part: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the moderated variance of each row, without what a seed does to all rows alike."""
    count, seeds = part.shape
    left = part - part.mean(axis=1, keepdims=True) - part.mean(axis=0) + part.mean()
    variance, freedom = moderated(left.var(axis=1, ddof=1) * count / (count - 1), seeds - 1)
    return variance, min(freedom, (count - 1) * (seeds - 1))


@cache
def _quantile(count: int, freedom: float, level: float) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(1 - level, count, freedom))


def _range(count: int, freedom: float, level: float) -> float:
    """Return the quantile of the studentized range; freedom is rounded down to one of a few."""
    return _quantile(count, max(d for d in DEGREES if d <= max(freedom, 1)), level)


def _dealt(part: np.ndarray, level: float) -> float:
    """Return a quantile of the range of row means of residuals dealt out anew within each seed."""
    seeds = part.shape[1]
    left = part - part.mean(axis=0)
    left = (left - left.mean(axis=1, keepdims=True)) * math.sqrt(seeds / (seeds - 1))
    rng = np.random.default_rng(0)
    ranges = np.empty(SHUFFLES)
    for i in range(SHUFFLES):
        dealt = rng.permuted(left, axis=0)
        if seeds == LEAST_SEEDS:  # residuals of two seeds are one number and its opposite
            dealt = dealt * rng.choice((-1.0, 1.0), seeds)
        mean = dealt.mean(axis=1)
        ranges[i] = mean.max() - mean.min()
    return float(np.quantile(ranges, 1 - level, method="higher"))


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


@dataclass(frozen=True)
class Interval:
    """A value's 95 % interval (`level` says how much of it is certain), or NaN."""

    low: float
    high: float
    level: float = 0.95


def of_median(scores: Sequence[float]) -> Interval | None:
    """Return the interval of the median over all seeds that no form of their spread can upset.

    Between the i-th least and the i-th largest of n scores lies the median of what they were drawn
    from with 1 - 2 P(X < i), X of the binomial distribution of n halves: 93.75 % for the least and
    the largest of five, 96.9 % of six. It stays within what was seen, so within any bound.

    Returns:
        None below five scores, or where all that it would lie between is one number.
    """
    from scipy.stats import binom

    count = len(scores)
    if count < LEAST_FOR_MEDIAN:
        return None
    place = max(1, int(binom.ppf((1 - STATED) / 2, count, 0.5)))
    while place > 1 and 2 * binom.cdf(place - 1, count, 0.5) > 1 - STATED:
        place -= 1
    ranked = sorted(scores)
    low, high = ranked[place - 1], ranked[count - place]
    level = 1 - 2 * float(binom.cdf(place - 1, count, 0.5))
    return Interval(low, high, level) if low < high else None


def of_share(share: float, rows: int) -> Interval:
    """Return the 95 % interval of a share that is right on some rows, as on others of their kind.

    Source: Wilson (1927), *Probable inference, the law of succession, and statistical inference*.
    """
    z = 1.959964
    center = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    spread = share * (1 - share) / rows + z * z / (4 * rows * rows)
    half = z / (1 + z * z / rows) * math.sqrt(max(0.0, spread))
    return Interval(max(0.0, center - half), min(1.0, center + half))


@dataclass(frozen=True)
class Effect:
    """How much better the best setting of one contender is than that of another.

    Args:
        better, worse: the settings; `better` has the better score.
        size: the share that `worse` is larger by (positive errors), else the difference.
        interval: of `size`, simultaneous over all settings of the two.
        ratio: whether `size` is a share.
        pairs, won: pairs of seeds, and in how many `better` is better (a tie counts half).
    """

    better: Setting
    worse: Setting
    size: float
    interval: Interval
    ratio: bool
    pairs: int
    won: float


def effect(
    better: Sequence[Setting], worse: Sequence[Setting], measure: Measure, more: int = 0
) -> Effect | None:
    """Compare the best settings of two contenders; None without common seeds.

    The interval holds for all differences between settings of the two at once (studentized range),
    so that it is not spoilt by each having been picked as its contender's best. Pairs of seeds
    give the probability of improvement P(X < Y).

    Args:
        better, worse: their settings that lost no trial, best first.
        measure: what they were compared by.
        more: settings of further contenders, with which each of the two is compared as well.

    Source: Agarwal et al. (2021), *Deep reinforcement learning at the edge of the statistical
    precipice*, section 4.3, for the pairs of seeds.
    """
    one, other = by_seed(better[0]), by_seed(worse[0])
    seeds = [seed for seed in one if seed in other]
    every = [s for s in (*better, *worse) if set(seeds) <= by_seed(s).keys()]
    if len(seeds) < LEAST_SEEDS:
        return None
    table = np.array([[by_seed(s)[seed] for seed in seeds] for s in every])
    ratio = measure.lower and bool((table > 0).all())
    scale = badness(table, measure)
    first, second = every.index(better[0]), every.index(worse[0])
    away = float(scale[second].mean() - scale[first].mean())
    count = len(every)
    if count < FEW_SETTINGS:
        error = float((scale[second] - scale[first]).std(ddof=1)) / math.sqrt(len(seeds))
        freedom: float = len(seeds) - 1
    else:
        variance, freedom = _variances(scale)
        error = math.sqrt(float(variance[first] + variance[second]) / len(seeds))
    half = error * _range(count + more, freedom, _level(len(seeds))) / math.sqrt(2)
    return _effect(better[0], worse[0], measure, Interval(away - half, away + half), ratio)


def effect_apart(
    better: Sequence[Setting], worse: Sequence[Setting], measure: Measure, more: int = 0
) -> Effect | None:
    """Compare the best settings of two contenders that share no seeds; None with one seed.

    As `effect`, but for the spread: it is that of each setting's own seeds, moderated over the
    settings of its contender, and the freedom is that of the contender which has less.
    """
    many = [len(s[0].scores) for s in (better, worse)]
    if min(many) < LEAST_SEEDS:
        return None
    own = [[s for s in of if len(s.scores) == count] for of, count in zip((better, worse), many,
           strict=True)]  # fmt: skip
    tables = [np.array([list(s.scores.values()) for s in group]) for group in own]
    ratio = measure.lower and all(bool((table > 0).all()) for table in tables)
    means, errors, freedoms = [], [], []
    for table, count in zip(tables, many, strict=True):
        scale = np.log(table) if ratio else (table if measure.lower else -table)
        variance, freedom = moderated(scale.var(axis=1, ddof=1), count - 1)
        means.append(float(scale[0].mean()))
        errors.append(float(variance[0]) / count)
        freedoms.append(min(freedom, len(scale) * (count - 1)))
    away = means[1] - means[0]
    quantile = _range(sum(map(len, own)) + more, min(freedoms), _level(min(many)))
    half = math.sqrt(sum(errors)) * quantile / math.sqrt(2)
    return _effect(better[0], worse[0], measure, Interval(away - half, away + half), ratio)


def _level(seeds: int) -> float:
    return LEVELS.get(seeds, LEVEL)


def _effect(
    better: Setting, worse: Setting, measure: Measure, away: Interval, ratio: bool
) -> Effect:
    """Return an effect whose interval, around its size, lies on the scale of `badness`."""
    size, low, high = (
        math.expm1(v) if ratio else v for v in ((away.low + away.high) / 2, away.low, away.high)
    )
    sign = 1 if measure.lower else -1
    scores = (np.array(list(one.scores.values())) for one in (better, worse))
    won = sign * np.subtract.outer(*scores)
    pairs = float((won < 0).sum() + (won == 0).sum() / 2)
    return Effect(better, worse, size, Interval(low, high), ratio, won.size, pairs)
