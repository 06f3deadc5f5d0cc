"""The search that follows settings drawn at random: narrower ranges, or wider ones at an edge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from descent.analysis.neighbours import whole
from descent.analysis.scatter import BEST_SHARE, LEAST_BEST, is_drawn
from descent.analysis.search import Next, drawn
from descent.analysis.settings import Setting
from descent.analysis.trials import Study, Value, is_number, ordered, short, text
from descent.config.options import RULES, is_geometric

LEAST = 8  # settings of the next search; else half as many as before
BEYOND = 3.0  # factor beyond an edge
MOST_SWEEPS = 4  # of one search, this one counted


@dataclass(frozen=True)
class Range:
    """Where the best tenth of a drawn option lies.

    Args:
        key: the option.
        low, high: the next range: the best tenth's, with the next draws on both sides.
        edge: -1 or 1 where the best tenth reaches the least or the largest that was drawn, and the
            option can go on; else 0.
        why: a sentence on it.
    """

    key: str
    low: float
    high: float
    edge: int
    why: str


def ranges(study: Study, settings: Sequence[Setting]) -> tuple[Range, ...]:
    """Return the next ranges of options whose values were drawn; empty after a grid.

    Args:
        study: the trials, of one problem.
        settings: of `settings`, best first.
    """
    best = _top(settings)
    if not best:
        return ()
    keys = [key for key in study.swept if is_drawn(study, settings, key)]
    return tuple(_range(key, settings, best) for key in keys)


def _top(settings: Sequence[Setting]) -> list[Setting]:
    whole_ones = [s for s in settings if s.standing == "complete"]
    return whole_ones[: max(LEAST_BEST, math.ceil(BEST_SHARE * len(settings)))]


def _range(key: str, settings: Sequence[Setting], best: Sequence[Setting]) -> Range:
    every = sorted({float(s.values[key]) for s in settings})
    mine = [float(s.values[key]) for s in best]
    inner = (every.index(min(mine)), every.index(max(mine)))
    low, high = every[max(0, inner[0] - 1)], every[min(len(every) - 1, inner[1] + 1)]
    at = float(best[0].values[key])
    # one of the few best lies outermost by chance; the best itself among the outer two does not
    edge = -1 if at <= every[1] else 1 if at >= every[-2] else 0
    further = _beyond(key, at, every, edge) if edge else at
    edge = 0 if further == at else edge
    low, high = (min(low, further), max(high, further)) if edge else (low, high)
    counted = whole(key, every)
    low, high = (float(math.floor(low)), float(math.ceil(high))) if counted else (low, high)
    if edge:
        word, larger = ("largest", "larger") if edge > 0 else ("smallest", "smaller")
        why = f"Its {short(key)}={text(at)} is among the {word} drawn: {larger} ones may be better."
    else:
        why = (
            f"The best {len(mine)} settings have {short(key)} from {text(min(mine))} to "
            f"{text(max(mine))}, of {text(every[0])} to {text(every[-1])} drawn."
        )
    return Range(key, float(f"{low:.3g}"), float(f"{high:.3g}"), edge, why)


def _beyond(key: str, at: float, every: Sequence[float], side: int) -> float:
    """Return how far beyond an edge the next range goes, as far as the option allows."""
    if is_geometric(key, every[0], every[-1]):
        found = at * BEYOND**side
    else:
        found = at + side * (every[-1] - every[0]) / 2
    rule = RULES.get(key)
    if rule is not None and rule.problem(int(found) if whole(key, every) else found) is not None:
        return at
    return found


def narrower(study: Study, settings: Sequence[Setting], found: Sequence[Range]) -> Next | None:
    """Return the next random search; None where this one was narrow already.

    Ranges are narrowed once, to where the best tenth lies, and moved on as long as the best setting
    lies at an edge, over four sweeps at most. Options that were listed keep the values that the
    best tenth has, and numbers between them.

    Args:
        study: the trials.
        settings: of `settings`, best first.
        found: of `ranges`.
    """
    sweeps = 1 + len(study.earlier)
    if sweeps >= MOST_SWEEPS or (sweeps > 1 and not any(r.edge for r in found)):
        return None
    best = _top(settings)
    spans = {each.key: each for each in found}
    words: dict[str, str] = {}
    for key in study.swept:
        each = spans.get(key)
        if each is None:
            words[key] = ",".join(map(text, _kept(key, settings, best)))
        elif each.low < each.high:
            words[key] = f"interval({each.low:.12g},{each.high:.12g})"
        else:
            words[key] = text(each.low)
    own = {tuple(s.values.values()) for s in settings}
    count = max(LEAST, math.ceil(len(own) / (2 * sweeps)))
    moved = [short(each.key) for each in found if each.edge]
    aim = f"draw {count} settings near the best"
    aim += f", with {' and '.join(moved)} beyond what was drawn" if moved else ""
    return drawn(study, words, count, sweeps, aim)


def _kept(key: str, settings: Sequence[Setting], best: Sequence[Setting]) -> list[Value]:
    """Return the listed values that the best have, and of numbers those between them."""
    mine = ordered(s.values[key] for s in best)
    every = ordered(s.values[key] for s in settings)
    if not all(map(is_number, every)):
        return list(mine)
    return list(every[every.index(mine[0]) : every.index(mine[-1]) + 1])


def few_best(settings: Sequence[Setting], winner: Setting) -> tuple[Setting, ...]:
    """Return those that may be the best too where one seed told nothing of it: the best few."""
    return tuple(s for s in _top(settings) if s is not winner)
