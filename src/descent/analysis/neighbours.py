"""Whether the best setting lies inside what was tried, and what to try beside it if not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from descent.analysis.settings import Measure, Setting
from descent.analysis.study import MOST_CONFIGS
from descent.analysis.trials import (
    BATCH,
    LEARNING_RATES,
    Study,
    Value,
    is_number,
    number_in,
    short,
    text,
)
from descent.config.options import RULES
from descent.errors import UserError
from descent.records.run import Run

GAIN = 0.05  # share of the error that a finer grid must promise
WIDE = 3.5  # factor between neighbours from which even a small promise is looked at
NARROW = 2.0  # factor between neighbours below which a grid is fine enough
COARSE = 1.25  # factor in the error on both sides of the best from which a grid is coarse
FLATTEST, STEEPEST = 2.0, 10.0  # factor between neighbours beyond an edge
# Options that act through 1 - x: 0.9 goes on to 0.95. Others below 1, such as dropout, do not.
MEMORIES = ("momentum", "alpha", "smoothing")


@dataclass(frozen=True)
class Side:
    """What was tried next to a number of the winner, on one side.

    Args:
        number: the neighbour's.
        setting: with that number and all else as in the winner; None if it was not tried.
        gap: the factor between the two, or how much of the winner's number they differ by.
    """

    number: float
    setting: Setting | None
    gap: float


@dataclass(frozen=True)
class Place:
    """Where a number of the winner lies among those that were tried with all else alike.

    Args:
        key: the option.
        at: the winner's number.
        below, above: its neighbours; None at an end of what was tried.
        edge: -1 or 1 at an end beyond which the option can go on, else 0.
        further: the next numbers to try: with the inner neighbour beyond an edge, between the
            neighbours where the grid is coarse; empty where this is fine.
        why: a sentence on what `further` is for; empty without.
    """

    key: str
    at: float
    below: Side | None
    above: Side | None
    edge: int
    further: tuple[float, ...]
    why: str


def places(
    study: Study, settings: Sequence[Setting], winner: Setting, measure: Measure
) -> tuple[Place, ...]:
    """Return where each number of the winner lies that was varied.

    Args:
        study: the trials.
        settings: of `settings`, best first.
        winner: one of them.
        measure: what they were compared by.
    """
    rows = training_rows(study) if BATCH in study.swept else None
    found = []
    for key in winner.values:
        at = as_number(key, winner.values[key], rows)
        line = _line(settings, winner, key, rows)
        if at is None or len(line) < 2 or at not in line:
            continue
        numbers = list(line)
        i = numbers.index(at)
        below = _side(numbers[i - 1], line, at) if i else None
        above = _side(numbers[i + 1], line, at) if i + 1 < len(numbers) else None
        found.append(_placed(study, key, winner, (below, above), numbers, measure, rows))
    return tuple(found)


def as_number(key: str, value: Value, rows: int | None) -> float | None:
    """Return a value as a number; `full` is a batch of all rows, where these are known."""
    if key == BATCH and value == "full":
        return None if rows is None else float(rows)
    return number_in(value)


def _line(
    settings: Sequence[Setting], winner: Setting, key: str, rows: int | None
) -> dict[float, Setting | None]:
    """Return the settings by a number of theirs, rising, that are like the winner otherwise.

    Where no other is, as after a random search, the numbers tried with the winner's words.
    """

    def alike(setting: Setting, words: bool) -> bool:
        return all(
            setting.values[k] == v
            for k, v in winner.values.items()
            if k != key and not (words and is_number(v))
        )

    same = {
        number: s
        for s in settings
        if alike(s, False) and (number := as_number(key, s.values[key], rows)) is not None
    }
    if len(same) > 1:
        return dict(sorted(same.items()))
    near = (as_number(key, s.values[key], rows) for s in settings if alike(s, True))
    return dict.fromkeys(sorted({number for number in near if number is not None}))


def _side(number: float, line: Mapping[float, Setting | None], at: float) -> Side:
    positive = number > 0 and at > 0
    gap = max(number / at, at / number) if positive else abs(number - at) / (abs(at) or 1)
    return Side(number, line[number], gap)


def _placed(
    study: Study,
    key: str,
    winner: Setting,
    sides: tuple[Side | None, Side | None],
    numbers: Sequence[float],
    measure: Measure,
    rows: int | None,
) -> Place:
    """Return a place with what is to be tried: beyond an edge, or nearer in a coarse grid."""
    at = as_number(key, winner.values[key], rows) or 0.0
    below, above = sides
    edge = -1 if below is None else 1 if above is None else 0
    more = beyond(key, numbers, edge, rows, bool(study.earlier)) if edge else ()
    if edge and more:
        inner = above if edge < 0 else below
        assert inner is not None
        kept = inner.number if inner.number or key in LEARNING_RATES else at / 2
        kept = float(max(1, round(kept))) if whole(key, numbers) else kept
        word, larger = ("largest", "larger") if edge > 0 else ("smallest", "smaller")
        why = (
            f"Its {short(key)}={text(winner.values[key])} is the {word} that was tried: {larger} "
            "ones may be better."
        )
        return Place(key, at, below, above, edge, tuple(sorted({kept, at, *more})), why)
    finer, why = _finer(key, winner, sides, measure)
    return Place(key, at, below, above, 0, finer, why)


def whole(key: str, numbers: Sequence[float]) -> bool:
    """Whether an option is a count."""
    rule = RULES.get(key)
    return rule.type is int if rule else all(n.is_integer() and abs(n) >= 2 for n in numbers)


def beyond(
    key: str, numbers: Sequence[float], side: int, rows: int | None = None, again: bool = False
) -> tuple[float, ...]:
    """Return the next numbers that carry a row on beyond its least (-1) or largest (1).

    They go on as the row went, within reason: a fine row would not get far in its own steps.

    Args:
        key: the option, whose rule says what it may be.
        numbers: tried, rising, two or more.
        side: which end.
        rows: that a batch can have at most.
        again: whether an earlier sweep went on already: then three numbers instead of two.
    """
    edge, inner = (numbers[-1], numbers[-2]) if side > 0 else (numbers[0], numbers[1])
    count, rule, steps = whole(key, numbers), RULES.get(key), range(1, 4 if again else 3)
    if side > 0 and rule is not None and rule.below == 1:
        if short(key) in MEMORIES:  # 0.9, 0.95, 0.975
            found = [float(f"{1 - (1 - edge) / 2**n:.4g}") for n in steps]
        else:  # 0.2, 0.4; 0.6, 0.8
            found = [float(f"{min(2 * edge or 0.1, (1 + edge) / 2):.4g}")]
    elif edge > 0:
        near = inner if inner > 0 else edge / 2
        factor = min(max(edge / near, near / edge, FLATTEST), STEEPEST) ** side
        found = [float(f"{edge * factor**n:.2g}") for n in steps]
        found = [float(max(1, round(edge * factor**n))) for n in steps] if count else found
    else:
        found = [float(f"{edge + n * (edge - inner):.4g}") for n in steps]
    if key == BATCH and rows is not None:
        found = [min(v, float(rows)) for v in found]
    fits = [v for v in found if rule is None or rule.problem(int(v) if count else v) is None]
    return tuple(v for v in dict.fromkeys(fits) if v != edge)


def _finer(
    key: str, winner: Setting, sides: tuple[Side | None, Side | None], measure: Measure
) -> tuple[tuple[float, ...], str]:
    """Return the winner's number with those half way to its neighbours, if that promises much.

    It does where the parabola through the three lies at its vertex more than `GAIN` below the
    winner, where both neighbours are `COARSE` times as bad, and where one of them was lost while
    the score still rises towards it: the best may be anywhere before it.
    """
    below, above = sides
    best = _error(winner.mean, measure)
    known = [side for side in sides if side is not None and side.setting is not None]
    if best <= 0 or len(known) < 2 or below is None or above is None:
        return (), ""
    ratios = [_ratio(side.setting, best, measure) for side in (below, above)]
    if 0.0 in ratios or max(below.gap, above.gap) <= NARROW:
        return (), ""
    noise = 2 * _noise(winner, best)
    promise = _promise(winner, (below, above), ratios)
    steep = min(ratios) >= COARSE + noise
    wide = max(below.gap, above.gap) >= WIDE  # looked at once, whatever the noise
    if promise < (GAIN if wide else max(GAIN, noise)) and not steep:
        return (), ""
    at = as_number(key, winner.values[key], None) or 0.0
    counts = whole(key, (at, below.number, above.number))
    middles = [between(at, s.number, counts) for s in (below, above) if s.gap > NARROW]
    told = [
        _told(ratio, side.number, measure)
        for ratio, side in zip(ratios, (below, above), strict=True)
    ]
    why = f"The grid is coarse in {short(key)}: {', '.join(told)}; a better one may lie between."
    return tuple(sorted({at, *middles})), why


def between(at: float, other: float, count: bool = False) -> float:
    """Return the number half way between two, on a log scale where both are above 0."""
    middle = math.sqrt(at * other) if at > 0 and other > 0 else (at + other) / 2
    return float(round(middle)) if count else float(f"{middle:.2g}")


def _promise(winner: Setting, sides: tuple[Side, Side], ratios: Sequence[float]) -> float:
    """Return by what share of its error the winner may be beaten between its neighbours."""
    steps = [math.log(side.gap) if side.gap > 1 else side.gap for side in sides]
    rises = [ratio - 1 for ratio in ratios]
    if any(map(math.isinf, rises)):
        lost = 0 if math.isinf(rises[0]) else 1
        if math.isinf(rises[1 - lost]) or sides[lost].gap <= NARROW:
            return math.inf if sides[lost].gap > WIDE else 0.0
        return rises[1 - lost] / steps[1 - lost] * steps[lost] / 2
    (left, right), (low, high) = steps, rises
    # of the parabola through (-left, low), (0, 0), (right, high)
    bend = (low / left + high / right) / (left + right)
    slope = (high / right * left - low / left * right) / (left + right)
    return slope * slope / (4 * bend) if bend > 0 else 0.0


def _noise(winner: Setting, best: float) -> float:
    """Return the standard error of the winner's mean, as a share of its error; 0 if unknown."""
    count = len(winner.scores)
    return winner.spread / math.sqrt(count) / best if count > 1 else 0.0


def _told(ratio: float, number: float, measure: Measure) -> str:
    if math.isinf(ratio):
        return f"at {number:g} a trial {'was lost' if measure.target is None else 'missed it'}"
    what = measure.label if measure.lower else f"1 - {measure.label}"
    return f"{ratio:.3g} times the {what} at {number:g}"


def _ratio(side: Setting | None, best: float, measure: Measure) -> float:
    """Return how many times as bad a neighbour is; 0 for one that has not been tried yet."""
    if side is None or side.standing in ("pending", "fewer"):
        return 0.0
    return math.inf if side.standing != "complete" else _error(side.mean, measure) / best


def _error(value: float, measure: Measure) -> float:
    return value if measure.lower else 1 - value


def training_rows(study: Study) -> int | None:
    """Return the rows that a batch can have at most; None where no run tells."""
    return rows_of(study, "train")


def rows_of(study: Study, split: str) -> int | None:
    """Return the rows of a split; None where no run tells."""
    for trial in study.trials[:MOST_CONFIGS]:
        try:
            return int(Run(trial.directory).data().rows[split])
        except (UserError, KeyError):
            continue
    return None
