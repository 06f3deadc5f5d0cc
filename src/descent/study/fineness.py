"""Whether the best setting lies inside what was tried, and whether its neighbours are near."""

from __future__ import annotations

import math
from collections.abc import Sequence

from descent.errors import UserError
from descent.rules import RULES
from descent.runs import Run
from descent.study.options import (
    BATCH,
    LEARNING_RATES,
    is_number,
    number_in,
    ordered,
    short,
    text,
)
from descent.study.reading import MOST_CONFIGS
from descent.study.settings import Measure, Setting
from descent.study.trials import Study

COARSE = 1.25  # factor in the error, on both sides of the best, from which a grid is called coarse
FLATTEST, STEEPEST = 2.0, 10.0  # factor between neighbours beyond an edge


def tried(study: Study, setting: Setting, key: str) -> tuple[float, ...]:
    """Return the numbers of an option that were tried with the words of a setting, rising."""
    words = {k: v for k, v in setting.values.items() if not is_number(v) and k != key}
    alike = [t for t in study.trials if all(t.values[k] == v for k, v in words.items())]
    numbers = (number_in(value) for value in ordered(trial.values[key] for trial in alike))
    return tuple(number for number in numbers if number is not None)


def edges(study: Study, setting: Setting) -> dict[str, int]:
    """Return -1 for each number of a setting that is the least tried, 1 for the largest.

    A number is at no edge where it was not varied, or cannot go further.
    """
    found = {}
    rows = training_rows(study) if BATCH in study.swept else None
    for key, value in setting.values.items():
        number, numbers = number_in(value), tried(study, setting, key)
        if number is None or len(numbers) < 2:
            continue
        side = -1 if number == numbers[0] else 1 if number == numbers[-1] else 0
        if side and beyond(key, numbers, side, rows):
            found[key] = side
    return found


def edge_sentence(setting: Setting, key: str, side: int) -> str:
    """Return what is to be said of an edge."""
    word, more = ("largest", "larger") if side > 0 else ("smallest", "smaller")
    value = text(setting.values[key])
    return f"Its {short(key)}={value} is the {word} that was tried: {more} ones may be better."


def training_rows(study: Study) -> int | None:
    """Return the rows that a batch can have at most; None where no run tells."""
    for trial in study.trials[:MOST_CONFIGS]:
        try:
            return int(Run(trial.directory).data().rows["train"])
        except (UserError, KeyError):
            continue
    return None


def beyond(
    key: str, numbers: Sequence[float], side: int, rows: int | None = None
) -> tuple[float, ...]:
    """Return up to two numbers that carry a row on beyond its least (-1) or largest (1).

    They go on as the row went, within reason: a fine row would not get far in its own steps.

    Args:
        key: the option, whose rule says what it may be.
        numbers: tried, rising, two or more.
        side: which end.
        rows: that a batch can have at most.
    """
    edge, inner = (numbers[-1], numbers[-2]) if side > 0 else (numbers[0], numbers[1])
    whole = all(number.is_integer() for number in numbers) and key not in LEARNING_RATES
    rule = RULES.get(key)
    if rule is not None and rule.below == 1 and side > 0:  # such as momentum: 0.9, 0.95, 0.975
        found = [float(f"{1 - (1 - edge) / n:.4g}") for n in (2, 4)]
    elif min(numbers) > 0:
        factor = min(max(edge / inner, inner / edge, FLATTEST), STEEPEST) ** side
        found = [float(f"{edge * factor**n:.2g}") for n in (1, 2)]
        found = [float(max(1, round(edge * factor**n))) for n in (1, 2)] if whole else found
    else:
        found = [float(f"{edge + n * (edge - inner):.4g}") for n in (1, 2)]
    fits = [v for v in found if rule is None or rule.problem(int(v) if whole else v) is None]
    if key == BATCH and rows is not None:
        fits = [v for v in fits if v <= rows]
    return tuple(v for v in dict.fromkeys(fits) if v != edge)


def between(key: str, numbers: Sequence[float], at: float) -> tuple[float, ...]:
    """Return a number of a row with one more on each side, half way to its neighbours."""
    place = list(numbers).index(at)
    found = [at]
    for other in (*numbers[max(place - 1, 0) : place], *numbers[place + 1 : place + 2]):
        middle = math.sqrt(at * other) if at > 0 and other > 0 else (at + other) / 2
        whole = at.is_integer() and other.is_integer() and key not in LEARNING_RATES
        found.append(float(round(middle)) if whole else float(f"{middle:.2g}"))
    return tuple(sorted({*found}))


def coarse(
    study: Study, settings: Sequence[Setting], winner: Setting, measure: Measure
) -> dict[str, str]:
    """Return a sentence for each number whose neighbours are both much worse than the winner.

    Much worse is an error (the measure, or what accuracy and R² lack to 1) of `COARSE` times the
    winner's or more, or a lost trial.
    """
    found = {}
    best = _error(winner.mean, measure)
    for key, value in winner.values.items():
        numbers, at = tried(study, winner, key), number_in(value)
        if at is None or best <= 0 or at in (numbers[0], numbers[-1]):
            continue
        place = numbers.index(at)
        sides = [numbers[place - 1], numbers[place + 1]]
        ratios = [_ratio(_beside(settings, winner, key, side), best, measure) for side in sides]
        if min(ratios) >= COARSE:
            told = [_told(ratio, side, measure) for ratio, side in zip(ratios, sides, strict=True)]
            found[key] = (
                f"The grid is coarse in {short(key)}: {told[0]}, {told[1]}; a better one may lie "
                "between."
            )
    return found


def _told(ratio: float, number: float, measure: Measure) -> str:
    if math.isinf(ratio):
        return f"at {number:g} a trial {'was lost' if measure.target is None else 'missed it'}"
    what = measure.label if measure.lower else f"1 - {measure.label}"
    return f"at {number:g} the {what} is {ratio:.3g} times as large"


def _beside(
    settings: Sequence[Setting], winner: Setting, key: str, number: float
) -> Setting | None:
    """Return the setting that differs from the winner in one number, if it was tried."""
    for setting in settings:
        alike = all(winner.values[k] == v for k, v in setting.values.items() if k != key)
        if alike and number_in(setting.values[key]) == number:
            return setting
    return None


def _ratio(side: Setting | None, best: float, measure: Measure) -> float:
    """Return how many times as bad a neighbour is; 0 for one that has not been tried yet."""
    if side is None or side.standing == "pending":
        return 0.0
    return math.inf if side.standing != "complete" else _error(side.mean, measure) / best


def _error(value: float, measure: Measure) -> float:
    return value if measure.lower else 1 - value
