"""Random search: settings drawn from intervals and choices, each trained with every seed.

Numbers of intervals are drawn independently, on a log scale where an option is a rate; of choices
each is drawn equally often. Source: Bergstra and Bengio, "Random search for hyper-parameter
optimization", JMLR 13 (2012): in a few dimensions that matter, 64 draws cover each of them with 64
values, where a grid of as many points has 8, or 4.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hydra.core.override_parser.types import IntervalSweep, Override

from descent.config.options import RULES, Rule, is_geometric, is_seed
from descent.config.typed import MOST_JOBS
from descent.errors import UserError, counted

SCALES = ("log", "uniform")  # tags that say so: tag(uniform, interval(0.1,1))
DIGITS = 4  # of a drawn number: it is typed again, and read by people


@dataclass(frozen=True)
class DrawnSettings:
    """The jobs of a search.

    Args:
        jobs: the overrides of each, the seeds of a setting one after another.
        told: what is drawn from where, in a sentence.
    """

    jobs: list[list[str]]
    told: str


def draw(overrides: Sequence[Override], trials: int, seed: int) -> DrawnSettings:
    """Draw the settings of a search, and give each every seed.

    Args:
        overrides: of the multirun, in their order; a later one of a key takes an earlier's place.
        trials: how many settings.
        seed: of the draws; the same one draws the same settings.

    Raises:
        UserError: nothing is given to draw from, or an interval that cannot be drawn from.
    """
    if isinstance(trials, bool) or not isinstance(trials, int) or not 1 <= trials <= MOST_JOBS:
        raise UserError(
            f"hydra.sweeper.trials={trials} does not fit: it must be a whole number from 1 to "
            f"{MOST_JOBS:,}."
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UserError(
            f"hydra.sweeper.seed={seed} does not fit: it must be a whole number of at least 0."
        )
    by_key = {override.get_key_element(): override for override in overrides}
    swept = {k: o for k, o in by_key.items() if o.is_sweep_override()}
    drawn = {k: o for k, o in swept.items() if not is_seed(o.key_or_group)}
    if not drawn:
        raise UserError(
            f"hydra.sweeper.trials={trials} has nothing to draw from; give an interval, such as "
            "'optimizer.lr=interval(1e-4,1)', or several values."
        )
    generator = np.random.default_rng(seed)
    columns, words = {}, []
    for key, override in drawn.items():
        columns[key], how = _column(override, trials, generator)
        words.append(f"{override.key_or_group} {how}")
    fixed = {
        k: [f"{k}={o.get_value_element_as_str()}"] for k, o in by_key.items() if k not in swept
    }
    seeds = {
        k: [f"{k}={value}" for value in o.sweep_string_iterator()]
        for k, o in swept.items() if k not in drawn
    }  # fmt: skip
    count = trials * math.prod(map(len, seeds.values()))
    if count > MOST_JOBS:
        raise UserError(
            f"This search would have {count:,} jobs, more than the {MOST_JOBS:,} that one may "
            "have; give fewer trials or seeds."
        )
    jobs = []
    for i in range(trials):
        own = {key: [f"{key}={values[i]}"] for key, values in columns.items()}
        lists = fixed | own | seeds
        jobs += [list(job) for job in itertools.product(*(lists[key] for key in by_key))]
    return DrawnSettings(
        jobs,
        f"{counted(trials, 'setting')} drawn by hydra.sweeper.seed={seed}: {'; '.join(words)}",
    )


def _column(
    override: Override, trials: int, generator: np.random.Generator
) -> tuple[list[str], str]:
    """Return the values of an option, one for each setting, and how they were drawn."""
    span = override._value
    if isinstance(span, IntervalSweep):
        return _numbers(override, span, trials, generator)
    values = list(override.sweep_string_iterator())
    if not values:
        raise UserError(f"{override.input_line} gives no value to draw.")
    rounds = -(-trials // len(values))
    # every value equally often, in an order of its own
    order = np.concatenate([generator.permutation(len(values)) for _ in range(rounds)])[:trials]
    return [values[i] for i in order], f"of {len(values)} values"


def _numbers(
    override: Override, span: IntervalSweep, trials: int, generator: np.random.Generator
) -> tuple[list[str], str]:
    """Draw numbers of an interval."""
    key, typed = override.key_or_group, override.input_line
    low, high = span.start, span.end
    if low is None or high is None or not math.isfinite(high - low) or not low < high:
        raise UserError(f"{typed} does not fit: an interval goes from a number to a larger one.")
    rule = RULES.get(key)
    _check_ends(rule, typed, low, high)
    log = _is_log(key, span, typed, low, high)
    whole = rule.type is int if rule is not None else type(low) is int and type(high) is int
    how = f"from {low:g} to {high:g}{' on a log scale' if log else ''}"
    if whole:
        ends = np.array([np.ceil(low) - 0.5, np.floor(high) + 0.5])  # each number its own share
        if ends[1] - ends[0] < 1:
            raise UserError(f"{typed} does not fit: there is no whole number in it.")
        drawn = _spread(np.maximum(ends, 0.5) if log else ends, log, trials, generator)
        rounded = np.clip(np.rint(drawn), np.ceil(low), np.floor(high))
        return [str(int(value)) for value in rounded], f"{how}, whole numbers"
    values = _spread(np.array([low, high], float), log, trials, generator)
    return [_shortened(value, low, high) for value in values], how


def _shortened(value: float, low: float, high: float) -> str:
    """Return a drawn number in few digits; in more where few would make it an end."""
    more = max(0, math.ceil(math.log10(max(abs(low), abs(high)) / (high - low))))
    for digits in range(DIGITS + more, 17):
        if low < float(f"{value:.{digits}g}") < high:
            return f"{value:.{digits}g}"
    return f"{value:.17g}"


def _spread(ends: np.ndarray, log: bool, trials: int, generator: np.random.Generator) -> np.ndarray:
    low, high = np.log(ends) if log else ends
    drawn = generator.uniform(low, high, trials)
    return np.exp(drawn) if log else drawn


def _is_log(key: str, span: IntervalSweep, typed: str | None, low: float, high: float) -> bool:
    """Whether a rate is drawn: a number above 0 of any size, or what a tag says."""
    tags = {str(tag) for tag in span.tags}
    other = sorted(tags - {*SCALES})
    if other or len(tags) > 1:
        raise UserError(
            f"{typed} does not fit: the tags of an interval are {' or '.join(SCALES)}, not "
            f"{', '.join(other or sorted(tags))}."
        )
    if "log" in tags and low <= 0:
        raise UserError(f"{typed} does not fit: a log scale begins above 0; give a lower end.")
    if tags:
        return "log" in tags
    return is_geometric(key, low, high)


def _check_ends(rule: Rule | None, typed: str | None, low: float, high: float) -> None:
    """Refuse an interval that leaves the range of its option, before anything is drawn."""
    if rule is None:
        return
    for end in (low, high):
        value: Any = round(end) if rule.type is int else float(end)
        problem = rule.problem([value] if rule.each else value)
        if problem is not None and not (rule.above == end or rule.below == end):
            raise UserError(f"{typed} does not fit: each value must be {problem}.")
